"""Networks of torchxrayvision (Cohen et al., MIDL 2022), which read values of -1024 to 1024."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torchxrayvision as xrv
from torch import Tensor, nn

from saltrust.models.classifiers.libraries.contract import with_contract
from saltrust.models.preprocessing import Preprocessing
from saltrust.models.torchvision_operators import import_torchvision

#: Black and white as ``torchxrayvision.datasets.normalize`` makes them.
_CONTRACT = Preprocessing((0.0,), (1.0,), 1, (-1024.0, 1024.0))
_CLASSES = ("DenseNet", "ResNet")
_THRESHOLDS = "op_threshs"


def names() -> list[str]:
    """The two networks, and the names of their published weights."""
    return [*_CLASSES, *(name for name in xrv.models.model_urls
                         if name.startswith(("densenet", "resnet")))]


def is_known(name: str) -> bool:
    """Whether it is one of :func:`names`."""
    return name in names()



def build(name: str, n_outputs: int, **arguments: Any) -> nn.Module:
    """A network with random weights whose outputs are logits.

    The library's own, with published weights, returns probabilities that are stretched so that
    each finding's operating point is a half; thresholds in a file are therefore not applied.

    Parameters
    ----------
    name : str
        ``DenseNet``, ``ResNet`` (of 50 layers), or the name of published weights, whose file is
        given as ``checkpoint``.
    n_outputs : int
    **arguments
        Of ``torchxrayvision.models.DenseNet``; a ResNet takes those of torchvision.
    """
    if name.lower().startswith("resnet"):
        models = import_torchvision().models
        make = models.resnet101 if name.startswith("resnet101") else models.resnet50
        network: Any = make(weights=None, num_classes=n_outputs, **arguments)
        network.conv1 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
        contract = _CONTRACT
    else:
        network = xrv.models.DenseNet(num_classes=n_outputs, **arguments)
        channels = int(arguments.get("in_channels", 1))
        contract = Preprocessing((0.0,) * channels, (1.0,) * channels, channels,
                                 _CONTRACT.input_range)
    return with_contract(network, contract)


def findings(name: str, tensors: Mapping[str, Tensor]) -> list[str] | None:
    """The findings of weights with as many outputs as the library has.

    Parameters
    ----------
    name : str
        Of published weights, which says it, or of a class: then outputs whose operating point is
        NaN were not trained.
    tensors : mapping of str to Tensor

    Returns
    -------
    list of str or None
        Empty text for outputs that were not trained.
    """
    heads = [tensor for key, tensor in tensors.items()
             if key.endswith(("classifier.weight", "fc.weight")) and tensor.ndim == 2]
    if name in _CLASSES:
        published = list(xrv.datasets.default_pathologies)
        for key, tensor in tensors.items():
            if key.endswith(_THRESHOLDS) and tensor.shape == (len(published),):
                published = ["" if absent else finding for finding, absent
                             in zip(published, tensor.isnan().tolist(), strict=True)]
    else:
        published = list(xrv.models.model_urls[name]["labels"])
    return published if heads and len(heads[-1]) == len(published) else None
