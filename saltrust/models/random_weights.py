"""Networks whose upper stages are random again."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from saltrust.models.stages import NORMALIZATIONS, Stage

#: Standard deviation of a standard normal variable cut off at two standard deviations.
_TRUNCATED_DEVIATION = 0.87962566103423978

_FRESH = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0,
          "num_batches_tracked": 0.0}


def randomize_weights(module: nn.Module, stages: Iterable[Stage], seed: int,
                      name: str = "") -> nn.Module:
    """A copy of a network in which some stages are as if they had never been trained.

    Weights are drawn from a normal distribution cut off at two standard deviations, with mean
    0 and variance 2 / fan-in (He et al., ICCV 2015, equation 10), so that signals neither die
    nor overflow on their way through dozens of random layers; this is Keras's ``he_normal``.
    Nothing of the trained weights enters, not even their size.  Biases are 0.  Normalisations
    have weight 1, bias 0, running mean 0 and running variance 1.

    Every tensor has a stream of its own, by seed, name of the network and of the tensor: a
    network that is random down to some stage shares its random weights with the one that is
    random further down, whichever stages are asked for.

    Parameters
    ----------
    module : torch.nn.Module
        Not modified; on the CPU.
    stages : iterable of Stage
    seed : int
    name : str
        Networks of different names get different weights.

    Returns
    -------
    torch.nn.Module

    Notes
    -----
    Buffers of other layers than normalisations are constants of the architecture and stay.

    Examples
    --------
    >>> layer = nn.Linear(3, 2)
    >>> drawn = randomize_weights(layer, [Stage("", ("weight", "bias"))], seed=1)
    >>> drawn.bias.tolist(), bool((drawn.weight.abs() <= 2 * (2 / 3) ** 0.5 / 0.8796).all())
    ([0.0, 0.0], True)
    """
    fresh = copy.deepcopy(module)
    parameters = dict(fresh.named_parameters())
    with torch.no_grad():
        for entry in (entry for stage in stages for entry in stage.entries):
            owner, _, attribute = entry.rpartition(".")
            part = fresh.get_submodule(owner)
            if isinstance(part, NORMALIZATIONS) and attribute in _FRESH:
                getattr(part, attribute).fill_(_FRESH[attribute])
            elif entry in parameters:
                _draw(parameters[entry], attribute, part, _seed_of(seed, name, entry))
    return fresh


def _draw(parameter: Tensor, attribute: str, owner: nn.Module, seed: int) -> None:
    if attribute.endswith("bias") and parameter.ndim <= 1:
        parameter.zero_()
        return
    deviation = math.sqrt(2 / _fan_in(parameter, owner)) / _TRUNCATED_DEVIATION
    drawn = torch.empty(parameter.shape, dtype=torch.float32)
    nn.init.trunc_normal_(drawn, std=deviation, a=-2 * deviation, b=2 * deviation,
                          generator=torch.Generator().manual_seed(seed))
    parameter.copy_(drawn)


def _fan_in(parameter: Tensor, owner: nn.Module) -> int:
    """Inputs that add up to one output; of a vector, its length."""
    if parameter.ndim < 2:
        return max(parameter.numel(), 1)
    if isinstance(owner, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        return max(parameter.shape[0] // owner.groups * parameter[0, 0].numel(), 1)
    return max(parameter[0].numel(), 1)


def _seed_of(seed: int, *names: str) -> int:
    text = "\n".join((str(seed), *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
