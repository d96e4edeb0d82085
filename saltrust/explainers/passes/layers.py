"""Finding the layer whose feature maps a class activation map is made from."""

from __future__ import annotations

import difflib
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from saltrust.errors import UsageError
from saltrust.explainers.passes.forward import check_logits, freeze

# They resample feature maps and learn nothing; the papers take the maps before them.
_POOLING = (
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
    nn.AvgPool2d,
    nn.MaxPool2d,
    nn.FractionalMaxPool2d,
    nn.LPPool2d,
)


@dataclass(frozen=True)
class SpatialLayer:
    """A submodule that returned feature maps.

    Attributes
    ----------
    name : str
        Dotted name.
    shape : tuple of int
        (channels, height, width).
    output : Tensor
        The feature maps.
    pooled : bool
        Whether a pooling layer made them.
    """

    name: str
    shape: tuple[int, ...]
    output: Tensor
    pooled: bool


def spatial_layers(module: nn.Module, inputs: Tensor) -> tuple[list[SpatialLayer], Tensor]:
    """The submodules that return feature maps, in the order in which they finish.

    Parameters
    ----------
    module : torch.nn.Module
    inputs : Tensor, shape (B, C, H, W)
        A probe of the size that will be explained; one image does.

    Returns
    -------
    list of SpatialLayer
        Every call that returned a tensor of shape (B, channels, height, width) with more
        than one position; a container follows what it contains.
    Tensor
        The logits of the probe, with their graph.
    """
    calls: list[tuple[str, nn.Module, Tensor]] = []

    def listen(name: str) -> Any:
        def hook(part: nn.Module, _args: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.is_floating_point() and output.ndim == 4:
                calls.append((name, part, output))

        return hook

    probe = inputs.detach().requires_grad_()
    with freeze(module), torch.enable_grad(), ExitStack() as hooks:
        for name, part in module.named_modules():
            if name:
                hooks.enter_context(part.register_forward_hook(listen(name)))
        logits = module(probe.clone())
    check_logits(module, logits, len(probe))
    # A container that ends in pooling hands on the very tensor that the pooling made.
    pooled = {id(output) for _, part, output in calls if isinstance(part, _POOLING)}
    layers = [
        SpatialLayer(name, tuple(output.shape[1:]), output, id(output) in pooled)
        for name, _, output in calls
        if output.shape[2] * output.shape[3] > 1
    ]
    return layers, logits


def feature_layer(module: nn.Module, inputs: Tensor, name: str = "") -> str:
    """The layer to take feature maps from: the one named, or else the last spatial one.

    Found automatically, it is the submodule that finishes last among those whose output has
    shape (B, channels, height, width) with more than one position, on which a logit depends,
    and which no pooling layer made.  Functions that the network calls itself are not
    submodules: DenseNet121 rectifies by a function after ``features``, so its layer is
    ``features``, before that rectifier; ResNet's is ``layer4``, InceptionV3's ``Mixed_7c``,
    EfficientNet's ``features``, VGG16's last rectifier.

    Parameters
    ----------
    module : torch.nn.Module
        Left as it was found.
    inputs : Tensor, shape (B, C, H, W)
        A probe of the size that will be explained; one image does.
    name : str
        Dotted name of a submodule; empty: found automatically.

    Raises
    ------
    UsageError
        If there is no such submodule, if it returns no feature maps, or if the network has
        none at all.
    """
    layers, logits = spatial_layers(module, inputs)
    if name:
        if name in {layer.name for layer in layers}:
            return name
        raise UsageError(_unknown_layer(module, name, [layer.name for layer in layers]))
    for layer in reversed(layers):
        if not layer.pooled and _reaches(layer.output, logits):
            return layer.name
    raise UsageError(
        f"{type(module).__name__} has no submodule that returns spatial feature maps for inputs "
        f"of {inputs.shape[2]} x {inputs.shape[3]}; a class activation map cannot be made of it"
    )


def _reaches(features: Tensor, logits: Tensor) -> bool:
    if not (features.requires_grad and logits.requires_grad):
        return False
    (gradient,) = torch.autograd.grad(
        logits.sum(), features, retain_graph=True, allow_unused=True
    )
    return gradient is not None


def _unknown_layer(module: nn.Module, name: str, spatial: list[str]) -> str:
    kind = type(module).__name__
    if name in dict(module.named_modules()):
        what = f"layer {name!r} of {kind} returns no spatial feature maps"
    else:
        what = f"{kind} has no layer {name!r}"
    close = difflib.get_close_matches(name, dict.fromkeys(spatial), n=1)
    if close:
        return f"{what}; did you mean {close[0]!r}?"
    # Hundreds of names would drown the message.
    last = f", such as {spatial[-1]!r}," if spatial else ""
    return f"{what}; name one that does{last} or leave `layer` out to have it found"
