"""Tensors on their way to a device and back, so that neither waits for the other.

A copy between a GPU and memory that the system may page out holds up the thread that asks for it
until all work given to the device so far is done.  From and to pinned memory it is one more piece
of work in the queue, and Python goes on to queue the next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Floats = npt.NDArray[np.float32]


def to_device(values: Tensor, device: torch.device | str) -> Tensor:
    """A tensor on a device; of memory on a CUDA device without waiting for it.

    Parameters
    ----------
    values : Tensor
    device : torch.device

    Returns
    -------
    Tensor
        ``values`` itself where it lies on the device.

    Examples
    --------
    >>> to_device(torch.arange(3), "cpu").tolist()
    [0, 1, 2]
    """
    device = torch.device(device)
    if device.type != "cuda" or values.device.type != "cpu":
        return values.to(device)
    # torch keeps the pinned memory until the copy is over.
    return values.pin_memory().to(device, non_blocking=True)


def like(values: Tensor, other: Tensor) -> Tensor:
    """A tensor on the device and of the dtype of another, as :func:`to_device`."""
    return to_device(values.to(other.dtype), other.device)


def begin_copies(values: Sequence[Tensor]) -> Callable[[], list[Floats]]:
    """Have tensors copied to memory, as float32, while the caller goes on.

    Parameters
    ----------
    values : sequence of Tensor
        Of any floating type, all on one device.

    Returns
    -------
    callable
        Without arguments; waits for the copies, in any thread, and returns them as arrays in the
        order of ``values``.

    Examples
    --------
    >>> finish = begin_copies([torch.ones(2), torch.zeros(1)])
    >>> [copy.tolist() for copy in finish()]
    [[1.0, 1.0], [0.0]]
    """
    if not values or values[0].device.type != "cuda":
        copies = [value.to("cpu", torch.float32) for value in values]
        return lambda: [copy.numpy() for copy in copies]
    with torch.cuda.device(values[0].device):
        pinned = []
        for value in values:
            copy = torch.empty(value.shape, dtype=torch.float32, pin_memory=True)
            pinned.append(copy.copy_(value.to(torch.float32), non_blocking=True))
        copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
        copied.record()

    def finish() -> list[Floats]:
        copied.synchronize()
        return [copy.numpy() for copy in pinned]

    return finish
