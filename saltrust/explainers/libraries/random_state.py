"""Random numbers that follow from the image, for libraries that draw from global states."""

from __future__ import annotations

import hashlib
import random
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def random_state(seed: int, image: str, output: int, explainer: str,
                 device: torch.device | None = None) -> Iterator[None]:
    """Set every global random state by what is explained; on leaving they are as before.

    An image gets the same numbers in every batch and order, before and after a resume.

    Parameters
    ----------
    seed : int
        Of the study.
    image : str
        Its name.
    output : int
        Index of the logit.
    explainer : str
        Name of the method, as ``captum.KernelShap``.
    device : torch.device, optional
        Where numbers are drawn as well as on the CPU.
    """
    key = "\0".join((str(seed), image, str(output), explainer))
    words = np.frombuffer(hashlib.sha256(key.encode()).digest()[:16], dtype=np.uint32)
    devices = [device] if device is not None and device.type == "cuda" else []
    # Libraries draw from the global states, which nothing of ours does.
    of_numpy, of_python = np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)
            np.random.seed(words)  # noqa: NPY002
            random.seed(int(words[2]))
            yield
    finally:
        np.random.set_state(of_numpy)  # noqa: NPY002
        random.setstate(of_python)


@contextmanager
def without_warnings(packages: Sequence[str]) -> Iterator[None]:
    """Keep what packages warn of in any case, such as of hooks that they set, from the terminal.

    Parameters
    ----------
    packages : sequence of str
        Their import names.
    """
    with warnings.catch_warnings():
        for package in packages:
            warnings.filterwarnings("ignore", module=rf"{package}(\.|$)")
        yield
