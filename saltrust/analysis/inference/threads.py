"""One thread for matrix products that are too small to share.

Products of a few hundred rows take less time than waking a second thread, and where another
process keeps the cores busy the first waits for the second to get its turn
(``benchmarks/busy_neighbor.py``).
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

#: Limits of the blocks that are open, or were left while others were; how many were left.
_open_blocks: list[Any] = []
_left = [0]
_turn = threading.Lock()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let BLAS compute in the calling thread alone; a context manager, and a decorator.

    The number of threads belongs to the process and is set back at the end.  Blocks may nest;
    of several Python threads the first decides, and the others compute as it lets them.

    Examples
    --------
    >>> with one_blas_thread():
    ...     pass
    >>> @one_blas_thread()
    ... def trace(matrix):
    ...     return (matrix @ matrix).trace()
    """
    # scipy.linalg brings a library of its own, which a controller made before does not know.
    controller = _controller("scipy.linalg" in sys.modules)
    with _turn:
        _open_blocks.append(controller.limit(limits=1))
    try:
        yield
    finally:
        with _turn:
            # Whoever leaves last sets back, in the order in which the others came: a block that
            # was entered later saw the limit of an earlier one.
            _left[0] += 1
            if _left[0] == len(_open_blocks):
                while _open_blocks:
                    _open_blocks.pop().restore_original_limits()
                _left[0] = 0


@cache
def _controller(scipy_loaded: bool) -> Any:  # noqa: ARG001 - a new one once scipy is loaded
    from threadpoolctl import ThreadpoolController  # looking for libraries takes milliseconds

    return ThreadpoolController().select(user_api="blas")
