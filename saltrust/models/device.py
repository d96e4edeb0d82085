"""Which device computes, and on how many threads."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

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
        name = next(kind for kind, is_present in present.items() if is_present)
    if not present[name]:
        names = [kind for kind, available in present.items() if available]
        raise UsageError(f"device {name!r} is not available to torch {torch.__version__} on this "
                         f"machine; take one of: auto, {', '.join(names)}")
    return torch.device(name)


def available_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Cores that this process may use: the machine's, its affinity's, its container's.

    torch counts the cores of the machine; in a container that is given two of sixty-four, its
    threads would mostly wait for each other.

    Parameters
    ----------
    cgroup : pathlib.Path
        Where Linux mounts the limits of the control group, version 2 or 1.
    """
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = min(cores, len(os.sched_getaffinity(0)))
    return min(cores, _container_cores(cgroup) or cores)


def _container_cores(cgroup: Path) -> int | None:
    try:
        if (cgroup / "cpu.max").exists():
            quota, period = (cgroup / "cpu.max").read_text().split()[:2]
        else:
            quota, period = (
                (cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text().strip()
                for name in ("quota", "period")
            )
        share = float(quota) / float(period)  # "max" and -1 stand for no limit.
    except (OSError, ValueError, ZeroDivisionError):
        return None
    return max(1, math.ceil(share)) if share > 0 else None


@contextlib.contextmanager
def limit_threads() -> Iterator[int]:
    """Let torch use no more threads than there are cores for it, for as long as this lasts.

    ``OMP_NUM_THREADS``, where set, is left to decide.

    Yields
    ------
    int
        Number of threads.
    """
    before = torch.get_num_threads()
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(before, available_cores()))
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
