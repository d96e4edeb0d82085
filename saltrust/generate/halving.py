"""Batches that are taken apart where a device has too little memory for them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from saltrust.errors import DataError
from saltrust.generate.radiographs import LoadedBatch

_Part = TypeVar("_Part")

_log = logging.getLogger(__name__)


@dataclass
class ImagesAtOnce:
    """How many images a job gives to a network together.

    Attributes
    ----------
    most : int
        Lowered when the device runs out of memory, and kept low afterwards.
    """

    most: int = 65_536


def within_memory(compute: Callable[[LoadedBatch], _Part], loaded: LoadedBatch,
                  together: ImagesAtOnce, device: torch.device, doing: str) -> list[_Part]:
    """Compute a batch; in halves, quarters and so on where a device runs out of memory.

    Every result is about one image, so that parts differ from the whole in their last bits at
    most.

    Parameters
    ----------
    compute : callable
        Given a batch, or a part of it.
    loaded : LoadedBatch
    together : ImagesAtOnce
        Shared by the batches of a job, so that what failed once is not tried again.
    device : torch.device
    doing : str
        Such as ``"explaining with model 'a'"``, for messages.

    Returns
    -------
    list
        What ``compute`` returned for each part, in the order of the images.

    Raises
    ------
    DataError
        If a single image is too much.
    """
    results: list[_Part] = []
    done, total = 0, len(loaded.images)
    while done < total:
        rows = slice(done, min(done + together.most, total))
        failed: torch.cuda.OutOfMemoryError | None = None
        try:
            results.append(compute(loaded.part(rows)))
        except torch.cuda.OutOfMemoryError as error:
            # Its frames hold what the failed attempt has allocated.
            failed = error.with_traceback(None)
        if failed is None:
            done = rows.stop
            continue
        n = rows.stop - rows.start
        if n == 1:
            raise DataError(f"{device} ran out of memory {doing} and a single image; free memory "
                            "on it, take a smaller `grid`, or say --device cpu") from failed
        together.most = n // 2
        if device.type == "cuda":
            torch.cuda.empty_cache()
        _log.warning("%s ran out of memory %s and %d images at once; going on with %d (lower "
                     "batch_size of [generate] to save the attempts)", device, doing, n,
                     together.most)
    return results
