"""One thread for matrix products that are too small to share.

Products of a few hundred rows take less time than waking a second thread, and where another
process keeps the cores busy the first waits for the second to get its turn
(``benchmarks/busy_neighbor.py``).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any

_lock = Lock()
_open: list[Any] = []  # one entry for every block that is open, in whatever thread


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let BLAS compute in the calling thread alone; a context manager, and a decorator.

    The number of threads belongs to the process: it is set when the first block opens and set
    back when the last one closes, so that blocks may nest, and overlap in several threads.
    Where analyses call each other, the outermost decides at once for all.

    Examples
    --------
    >>> with one_blas_thread():
    ...     pass
    >>> @one_blas_thread()
    ... def trace(matrix):
    ...     return (matrix @ matrix).trace()
    """
    with _lock:
        # scipy.linalg brings a library of its own, which a controller made before does not know.
        _open.append(_controller("scipy.linalg" in sys.modules).limit(limits=1)
                     if not _open else None)
    try:
        yield
    finally:
        with _lock:
            limit = _open[0] if len(_open) == 1 else None
            _open.pop()
            if limit is not None:
                limit.restore_original_limits()


@cache
def _controller(scipy_loaded: bool) -> Any:  # noqa: ARG001 - a new one once scipy is loaded
    from threadpoolctl import ThreadpoolController  # looking for libraries takes milliseconds

    return ThreadpoolController().select(user_api="blas")
