"""Finding the layer whose feature maps a class activation map is made from."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from saltrust.errors import UsageError
from saltrust.explainers.passes.forward import (
    check_logits,
    freeze,
    recording,
    tensor_of,
)
from saltrust.explainers.passes.layouts import FeatureLayer, Layout, possible_layouts
from saltrust.explainers.passes.locality import (
    BELIEVED,
    ROWS,
    agreement,
    changes,
    probe_images,
)

# They resample feature maps and learn nothing; the papers take the maps before them.
_POOLING = (
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
    nn.AvgPool2d,
    nn.MaxPool2d,
    nn.FractionalMaxPool2d,
    nn.LPPool2d,
)
# What they return are planes, whatever the network does elsewhere.
_OF_PLANES = (*_POOLING, nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.InstanceNorm2d,
              nn.Upsample)
# Networks that call none of these have planes only.
_REORDERS = frozenset({
    "einsum", "layer_norm", "moveaxis", "movedim", "multi_head_attention_forward", "permute",
    "scaled_dot_product_attention", "softmax", "swapaxes", "swapdims", "transpose",
})
_ATTENDS = frozenset({"multi_head_attention_forward", "scaled_dot_product_attention"})
_NORM = re.compile(r"norm|affine|(^|_)ln(_|\d|$)", re.IGNORECASE)
_LISTED = 6
# By how much another layout must fit better than the one that values of a shape had before.
_DOUBT = 0.15
# Share of places above which an order that is rarely met is believed.
_STRANGE = 0.8
_IN_A_LIST = re.compile(r"(?:^|\.)\d+$")


@dataclass(frozen=True)
class _Call:
    """A submodule that returned a tensor, in the order in which they finish."""

    name: str
    number: int
    part: nn.Module
    output: Tensor
    alone: bool


@dataclass(frozen=True)
class _Attention:
    """Where attention was computed: the submodules that were running, and the calls before."""

    running: tuple[str, ...]
    calls_before: int


@dataclass(frozen=True)
class FeatureLayers:
    """The layers of a network from which class activation maps can be made.

    Attributes
    ----------
    layers : tuple of FeatureLayer
        Every call that returned values which can be brought to a plane of more than one place, in
        the order in which they finish; a container follows what it contains.
    automatic : FeatureLayer or None
        The one that is taken where none is named; None where no logit depends on any.
    others : dict of str to tuple of int
        Submodules that returned something else, with the shape of it.
    attends : bool
        Whether the network attends to places.
    """

    layers: tuple[FeatureLayer, ...]
    automatic: FeatureLayer | None
    others: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    attends: bool = False


# A network is looked at once for each size of image.
_LOOKED_AT: WeakKeyDictionary[nn.Module, dict[Any, FeatureLayers]] = WeakKeyDictionary()


def feature_layers(module: nn.Module, inputs: Tensor) -> FeatureLayers:
    """The layers whose values can be brought to a plane, and the one to take.

    A network of planes only, as convolutional ones are, is run once.  One that reorders its
    values is run a second time on an image that is changed in parts, which tells how the values
    of each layer lie on the image (:mod:`saltrust.explainers.passes.locality`).

    Parameters
    ----------
    module : torch.nn.Module
        Left as it was found.
    inputs : Tensor, shape (1, C, H, W)
        A probe of the size that will be explained.

    Returns
    -------
    FeatureLayers
        Automatically taken is, of a network that ends in blocks of attention (or of mixing) of
        tokens, the first norm of the last block: after its attention the logits depend on the
        class token alone.  Of others it is the last that finishes, on which a logit depends, and
        which no pooling layer made.

    Raises
    ------
    DataError
        If the network does not return logits.
    """
    parts = tuple((name, id(part)) for name, part in module.named_modules())
    key = (tuple(inputs.shape[1:]), inputs.dtype, inputs.device, parts)
    kept = _LOOKED_AT.setdefault(module, {})
    if key not in kept:
        kept[key] = _look_at(module, inputs[:1])
    return kept[key]


def feature_layer(module: nn.Module, inputs: Tensor, name: str = "") -> str:
    """The name of the layer to take feature maps from (:func:`find_layer`)."""
    return find_layer(module, inputs, name).name


def find_layer(module: nn.Module, inputs: Tensor, name: str = "") -> FeatureLayer:
    """The layer to take feature maps from: the one named, or else the one taken automatically.

    Functions that the network calls itself are not submodules: DenseNet121 rectifies by a
    function after ``features``, so its layer is ``features``, before that rectifier; ResNet's is
    ``layer4``, InceptionV3's ``Mixed_7c``, EfficientNet's ``features``, VGG16's last rectifier,
    that of vision transformers ``blocks.11.norm1`` or its like (:func:`feature_layers`).  Of a
    submodule that is called several times it is the last call that returned feature maps.

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
    known = feature_layers(module, inputs)
    if name:
        for layer in reversed(known.layers):
            if layer.name == name:
                return layer
        raise UsageError(_unknown_layer(module, name, known))
    if known.automatic is None:
        raise UsageError(
            f"{type(module).__name__} has no submodule that returns spatial feature maps for "
            f"inputs of {inputs.shape[2]} x {inputs.shape[3]}; a class activation map cannot be "
            "made of it")
    return known.automatic


def is_known_plane(module: nn.Module) -> bool:
    """Whether what a module returns are planes by what the module is."""
    return isinstance(module, _OF_PLANES)


def _look_at(module: nn.Module, probe: Tensor) -> FeatureLayers:
    calls, attentions, logits, reorders = _watch(module, probe)
    if reorders:
        layouts = _layouts_by_changes(module, probe, calls)
    else:
        layouts = [Layout("plane", (call.output.shape[2], call.output.shape[3]))
                   if call.output.ndim == 4 and call.output.shape[2] * call.output.shape[3] > 1
                   else None for call in calls]
    layers = [None if layout is None else FeatureLayer(
        call.name, call.number, layout.plane(call.output).shape[1], layout,
        _token_count(call.output, layout))
        for call, layout in zip(calls, layouts, strict=True)]
    known = tuple(layer for layer in layers if layer is not None)
    names = {layer.name for layer in known}
    others = {call.name: tuple(call.output.shape) for call in calls if call.name not in names}
    return FeatureLayers(known, _automatic(calls, layers, attentions, logits), others,
                         bool(attentions))


def _token_count(values: Tensor, layout: Layout) -> int:
    if layout.kind not in ("tokens", "sequence first"):
        return 0
    return int(values.shape[1 if layout.kind == "tokens" else 0])


class _Watch(TorchFunctionMode):
    """Notes where a network attends to places, and whether it reorders its values at all."""

    def __init__(self, attend: Callable[[], None]) -> None:
        super().__init__()
        self.reorders = False
        self._attend = attend

    def __torch_function__(self, func: Callable[..., Any], types: Sequence[type],
                           args: tuple[Any, ...] = (),
                           kwargs: Mapping[str, Any] | None = None) -> Any:
        name = getattr(func, "__name__", "")
        if name == "__get__" and getattr(func, "__self__", None) in _TURNED:
            name = "transpose"
        self.reorders |= name.strip("_") in _REORDERS
        keywords = dict(kwargs or {})
        if name in _ATTENDS or (name == "softmax" and is_attention(args, keywords)):
            self._attend()
        return func(*args, **keywords)


_TURNED = (Tensor.T, Tensor.mT, Tensor.H, Tensor.mH)


def is_attention(args: Sequence[Any], keywords: Mapping[str, Any]) -> bool:
    """Whether a softmax is one over places, for each of several others.

    Parameters
    ----------
    args, keywords
        What softmax was called with.
    """
    values = args[0] if args else keywords.get("input")
    dim = args[1] if len(args) > 1 else keywords.get("dim")
    return (isinstance(values, Tensor) and values.ndim >= 3 and values.shape[-1] > 1
            and dim in (-1, values.ndim - 1))


def _watch(module: nn.Module, probe: Tensor
           ) -> tuple[list[_Call], list[_Attention], Tensor, bool]:
    calls: list[_Call] = []
    attentions: list[_Attention] = []
    running: list[str] = []
    numbers: dict[str, int] = {}

    def start(name: str) -> Any:
        return lambda _part, _args: running.append(name)

    def finish(name: str) -> Any:
        def hook(part: nn.Module, _args: Any, output: Any) -> None:
            running.pop()
            number = numbers[name] = numbers.get(name, -1) + 1
            values = tensor_of(output)
            if values is not None and values.ndim in (3, 4):
                calls.append(_Call(name, number, part, values, isinstance(output, Tensor)))

        return hook

    mode = _Watch(lambda: attentions.append(_Attention(tuple(running), len(calls))))
    with recording(), freeze(module), torch.enable_grad(), ExitStack() as hooks:
        probe = probe.detach().clone().requires_grad_()
        for name, part in module.named_modules():
            if name:
                hooks.enter_context(part.register_forward_pre_hook(start(name)))
                hooks.enter_context(part.register_forward_hook(finish(name)))
        with mode:
            logits = module(probe.clone())
    check_logits(module, logits, len(probe))
    return calls, attentions, logits, mode.reorders


def _layouts_by_changes(module: nn.Module, probe: Tensor,
                        calls: Sequence[_Call]) -> list[Layout | None]:
    """How the values of each call lie on the image."""
    size = (probe.shape[2], probe.shape[3])
    grids = list(dict.fromkeys(
        (call.output.shape[2], call.output.shape[3]) for call in calls
        if call.output.ndim == 4 and is_known_plane(call.part)))
    before = getattr(module, "num_prefix_tokens", 0)
    before = before if isinstance(before, int) else 0
    layouts: dict[tuple[str, int], Layout | None] = {}
    numbers: dict[str, int] = {}
    believed: dict[tuple[int, ...], Layout] = {}

    def finish(name: str) -> Any:
        def hook(part: nn.Module, _args: Any, output: Any) -> None:
            number = numbers[name] = numbers.get(name, -1) + 1
            values = tensor_of(output)
            if values is not None and values.ndim in (3, 4):
                possible = possible_layouts(tuple(values.shape), ROWS, size, grids, before)
                layouts[name, number] = _layout(part, values, list(possible), believed)

        return hook

    with recording(), freeze(module), torch.no_grad(), ExitStack() as hooks:
        for name, part in module.named_modules():
            if name:
                hooks.enter_context(part.register_forward_hook(finish(name)))
        module(probe_images(probe))
    return [layouts.get((call.name, call.number)) for call in calls]


def _layout(part: nn.Module, values: Tensor, possible: Sequence[Layout],
            believed: dict[tuple[int, ...], Layout]) -> Layout | None:
    """How values lie on the image, of which each quarter was changed.

    Values that mix all places keep no trace of where they are: they are taken to lie as those
    before them that have their shape, or as many tokens.
    """
    if values.ndim == 4 and is_known_plane(part):
        height, width = values.shape[2:]
        if height * width == 1:
            return None
        believed[tuple(values.shape[1:])] = plane = Layout("plane", (height, width))
        return plane
    reduced: dict[int, Tensor] = {}
    shares: dict[Layout, float] = {}
    for layout in possible:
        channels = 1 if layout.kind in ("plane", "channels first") else values.ndim - 1
        turned = layout.kind == "sequence first"
        if channels not in reduced:
            reduced[channels] = changes(values.transpose(0, 1) if turned else values, channels)
        # Images come first in the changes, whatever came first in the values.
        shares[layout] = agreement(reduced[channels],
                                   replace(layout, kind="tokens") if turned else layout)
        if shares[layout] == 1:
            break
    best = max(shares, key=lambda layout: shares[layout], default=None)
    shape = tuple(values.shape[1:])
    if best is not None and best.kind in ("windows", "unrolled") and shares[best] < _STRANGE:
        best = None
    before = believed.get(shape if len(shape) == 3 else shape[:1])
    if before is not None and before in possible and (best is None or shares[best] <= BELIEVED
                               or shares.get(before, 0.0) >= shares[best] - _DOUBT):
        return before
    if best is None or shares[best] <= BELIEVED:
        return None
    if best.kind != "channels first":
        believed[shape if len(shape) == 3 else shape[:1]] = best
    return best


def _automatic(calls: Sequence[_Call], layers: Sequence[FeatureLayer | None],
               attentions: Sequence[_Attention], logits: Tensor) -> FeatureLayer | None:
    norm = _norm_of_last_block(calls, layers, attentions)
    if norm is not None and _speaks(calls[norm].output, layers[norm], logits):
        return layers[norm]
    # A container that ends in pooling hands on the very tensor that the pooling made.
    pooled = {id(call.output) for call in calls if isinstance(call.part, _POOLING)}
    for call, layer in zip(reversed(calls), reversed(layers), strict=True):
        # Of several tensors, such as the levels of an encoder, none is the last.
        if layer is None or not call.alone or id(call.output) in pooled:
            continue
        if _speaks(call.output, layer, logits):
            return layer
    return None


def _norm_of_last_block(calls: Sequence[_Call], layers: Sequence[FeatureLayer | None],
                        attentions: Sequence[_Attention]) -> int | None:
    """Position of the first norm of the last block of attention, or of tokens."""
    norms = [position for position, (call, layer) in enumerate(zip(calls, layers, strict=True))
             if layer is not None and layer.layout.kind != "plane" and _is_norm(call)]
    if not attentions:
        blocks = [call.name.rpartition(".")[0] for call, layer in zip(calls, layers, strict=True)
                  if layer is not None and layer.tokens and _is_norm(call)]
        blocks = [block for block in blocks if _IN_A_LIST.search(block)]
        return next((position for position in norms if blocks
                     and calls[position].name.rpartition(".")[0] == blocks[-1]), None)
    last = attentions[-1]
    by_name = {call.name: call.part for call in calls}
    for ancestor in reversed(last.running):
        if sum(ancestor in attention.running for attention in attentions) > 1:
            return None
        inside = [position for position in norms
                  if calls[position].name.startswith(f"{ancestor}.")]
        for position in inside:
            if position < last.calls_before:
                return position
        part = by_name.get(ancestor)
        if inside and part is not None and "attention" not in type(part).__name__.lower():
            return inside[0]
    return None


def _is_norm(call: _Call) -> bool:
    short = call.name.rpartition(".")[2]
    named = _NORM.search(short) or _NORM.search(type(call.part).__name__)
    return named is not None and all(weight.numel() == max(weight.shape, default=1)
                                     for weight in call.part.parameters())


def _speaks(values: Tensor, layer: FeatureLayer | None, logits: Tensor) -> bool:
    """Whether a logit depends on feature maps."""
    if layer is None or not (values.requires_grad and logits.requires_grad):
        return False
    (gradient,) = torch.autograd.grad(
        logits.sum(), values, retain_graph=True, allow_unused=True
    )
    if gradient is None:
        return False
    # Of tokens, the last blocks hand on the class token alone, which is no place.
    return (layer.layout.kind == "plane" or bool(layer.layout.plane(gradient).any())
            or not bool(gradient.any()))


def _unknown_layer(module: nn.Module, name: str, known: FeatureLayers) -> str:
    kind = type(module).__name__
    spatial = list(dict.fromkeys(layer.name for layer in known.layers))
    if name in dict(module.named_modules()):
        what = f"layer {name!r} of {kind} returns no spatial feature maps"
        if name in known.others:
            shape = " x ".join(map(str, known.others[name][1:]))
            what += f" (of one image {shape}, which lie on no plane of it)"
    else:
        what = f"{kind} has no layer {name!r}"
    close = difflib.get_close_matches(name, spatial, n=1)
    # Hundreds of names would drown the message.
    last = ", ".join(map(repr, spatial[-_LISTED:]))
    if close:
        return f"{what}; did you mean {close[0]!r}? Among those that do are {last}"
    such = f", such as {last}," if spatial else ""
    return f"{what}; name one that does{such} or leave `layer` out to have it found"
