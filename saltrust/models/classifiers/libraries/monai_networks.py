"""Classifiers of MONAI, of two dimensions and one gray channel unless `arguments` say otherwise."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from monai.networks import nets
from torch import nn

from saltrust.errors import UsageError
from saltrust.models.classifiers.libraries.contract import with_contract
from saltrust.models.preprocessing import Preprocessing

#: Those of ``monai.networks.nets`` that classify images.
_CLASSIFIERS = (
    "DenseNet", "DenseNet121", "DenseNet169", "DenseNet201", "DenseNet264", "EfficientNetBN",
    "ResNet", "SENet154", "SEResNet50", "SEResNet101", "SEResNet152", "SEResNext50",
    "SEResNext101", "ViT", "resnet10", "resnet18", "resnet34", "resnet50", "resnet101",
    "resnet152", "resnet200")

#: As they name the number of input channels and of outputs.
_CHANNELS = ("in_channels", "n_input_channels")
_OUTPUTS = ("num_classes", "out_channels")


def names() -> list[str]:
    """Names of classifiers; networks that segment or generate are not among them."""
    return [name for name in _CLASSIFIERS if hasattr(nets, name)]


def is_known(name: str) -> bool:
    """Whether it is one of :func:`names`."""
    return name in names()



def build(name: str, n_outputs: int, **arguments: Any) -> nn.Module:
    """A classifier with random weights, for gray values of 0 to 1.

    Parameters
    ----------
    name : str
    n_outputs : int
    **arguments
        Of the class or function of MONAI.  ``spatial_dims`` is 2; ``in_channels`` is 1 and may be
        said of ResNets too, which call it ``n_input_channels``; a ViT needs ``img_size``
        and ``patch_size``, and its logits are not bounded.

    Raises
    ------
    UsageError
        If ``spatial_dims`` is not 2.
    """
    factory = getattr(nets, name)
    channels = next((arguments.pop(key) for key in _CHANNELS if key in arguments), 1)
    if arguments.setdefault("spatial_dims", 2) != 2:
        raise UsageError(f"architecture 'monai:{name}': spatial_dims must be 2, as radiographs "
                         f"have, not {arguments['spatial_dims']!r}")
    if name == "ViT":
        # It would end in a hyperbolic tangent; anything but its default leaves that out.
        arguments = {"classification": True, "post_activation": "none", **arguments}
    if name == "EfficientNetBN":
        arguments = {"model_name": "efficientnet-b0", **arguments}
    if "pretrained" in _keywords(factory):
        arguments["pretrained"] = False
    network: Any = factory(**{_taken(factory, _CHANNELS): channels,
                                    _taken(factory, _OUTPUTS): n_outputs}, **arguments)
    return with_contract(network, Preprocessing((0.0,) * channels, (1.0,) * channels, channels),
                         {"select": 0} if name == "ViT" else None)


def _keywords(factory: Callable[..., Any]) -> set[str]:
    """Parameters of a class or function and of what it hands its keywords on to."""
    keywords: set[str] = set()
    for part in inspect.getmro(factory) if inspect.isclass(factory) else (factory, nets.ResNet):
        if part is not object:
            keywords |= set(inspect.signature(part).parameters)
    return keywords


def _taken(factory: Callable[..., Any], words: tuple[str, ...]) -> str:
    keywords = _keywords(factory)
    return next(word for word in words if word in keywords)
