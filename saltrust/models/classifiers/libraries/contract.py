"""What a network of another library states of itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from saltrust.models.preprocessing import Preprocessing


def with_contract(network: Any, preprocessing: Preprocessing,
                  output: Mapping[str, Any] | None = None) -> nn.Module:
    """Let a network say what its input must be and what its outputs are.

    Parameters
    ----------
    network : torch.nn.Module
        Changed in place.
    preprocessing : Preprocessing
    output : mapping, optional
        Any of ``kind``, ``findings`` and ``select``; plain logits where it is left out.

    Returns
    -------
    torch.nn.Module
        The same network.
    """
    network.preprocessing = preprocessing
    if output is not None:
        network.output = dict(output)
    stated: nn.Module = network
    return stated
