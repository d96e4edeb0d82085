"""Memory that does not suffice, as one sentence."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from saltrust.errors import DataError
from saltrust.training.runs.run import Run

#: What torch's allocators say on Linux, macOS (also of MPS) and Windows, in a plain RuntimeError.
_WORDS = ("can't allocate memory", "out of memory", "not enough memory")


@contextlib.contextmanager
def memory_suffices(run: Run) -> Iterator[None]:
    """Turn an allocation that fails into a DataError that names the way out.

    Raises
    ------
    DataError
        If memory, of the machine or of the device, is too small.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not (isinstance(error, MemoryError | torch.cuda.OutOfMemoryError)
                or any(words in str(error).lower() for words in _WORDS)):
            raise
        raise DataError(f"model {run.name!r} does not fit in the memory of the {run.device.type}: "
                        f"lower `batch_size` under [train] (now {run.spec.batch_size}) or the "
                        f"grid; {run.kept()}") from error
