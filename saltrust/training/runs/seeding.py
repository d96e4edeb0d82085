"""Random numbers of one training run, apart from everybody else's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Seeds:
    """Independent seeds of the parts of one run.

    Attributes
    ----------
    network : int
        Initial weights, and dropout while training.
    order : int
        Order of the training images.
    augmentation : int
    """

    network: int
    order: int
    augmentation: int


def derive_seeds(study_seed: int, model_seed: int) -> Seeds:
    """Seeds of a model of a study: two models of one study never share any.

    Examples
    --------
    >>> derive_seeds(0, 1) == derive_seeds(0, 1), derive_seeds(0, 1) == derive_seeds(1, 0)
    (True, False)
    """
    state = np.random.SeedSequence([study_seed, model_seed]).generate_state(3)
    return Seeds(*(int(value) for value in state))


@contextlib.contextmanager
def seed_torch(seed: int, device: torch.device) -> Iterator[None]:
    """Give torch a seed and reproducible convolutions, and put everything back afterwards.

    Initial weights and dropout can only be drawn from torch's global generators.  On the CPU,
    results are the same for the same seed, torch and number of threads.
    """
    cpu_state = torch.get_rng_state()
    device_module = None if device.type == "cpu" else getattr(torch, device.type)
    device_state = device_module.get_rng_state() if device_module else None
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    torch.manual_seed(seed)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn
        torch.set_rng_state(cpu_state)
        if device_module:
            device_module.set_rng_state(device_state)
