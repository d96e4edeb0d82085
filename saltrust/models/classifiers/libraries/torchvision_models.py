"""Classifiers of torchvision, all of them, by torchvision's own names."""

from __future__ import annotations

from typing import Any

from torch import nn

from saltrust.models.classifiers.libraries.contract import with_contract
from saltrust.models.preprocessing import IMAGENET, INCEPTION
from saltrust.models.torchvision_operators import import_torchvision

_models = import_torchvision().models

#: Published weights of these expect values in [-1, 1]; both have auxiliary heads.
_INCEPTIONS = ("inception_v3", "googlenet")


def names() -> list[str]:
    """Names of classifiers; networks that detect or segment are not among them."""
    return list(_models.list_models(module=_models))


def is_known(name: str) -> bool:
    """Whether it is one of :func:`names`."""
    return name in names()



def build(name: str, n_outputs: int, **arguments: Any) -> nn.Module:
    """A classifier with random weights, for three channels, without auxiliary heads.

    Parameters
    ----------
    name : str
    n_outputs : int
    **arguments
        Of the function of torchvision, as ``image_size`` of its transformers.
    """
    if name in _INCEPTIONS:
        arguments = {"aux_logits": False, "transform_input": False, "init_weights": True,
                     **arguments}
    network: Any = _models.get_model(name, weights=None, num_classes=n_outputs, **arguments)
    return with_contract(network, INCEPTION if name in _INCEPTIONS else IMAGENET)
