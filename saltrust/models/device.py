"""Which device computes."""

from __future__ import annotations

import torch

from saltrust.errors import UsageError, nearest
from saltrust.study import DEVICES


def choose_device(name: str = "auto") -> torch.device:
    """The device asked for, or the best one there is.

    Parameters
    ----------
    name : {'auto', 'cuda', 'mps', 'cpu'}
        ``auto`` takes CUDA, else Apple's MPS, else the CPU.

    Raises
    ------
    UsageError
        If the device is not known or this machine does not have it.

    Examples
    --------
    >>> choose_device("cpu")
    device(type='cpu')
    """
    if name not in DEVICES:
        raise UsageError(f"device {name!r} is not known; {nearest(name, DEVICES)}")
    present = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(kind for kind, there in present.items() if there)
    if not present[name]:
        there = [kind for kind, available in present.items() if available]
        raise UsageError(f"device {name!r} is not available to torch {torch.__version__} on this "
                         f"machine; take one of: auto, {', '.join(there)}")
    return torch.device(name)
