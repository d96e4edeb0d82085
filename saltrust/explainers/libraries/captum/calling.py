"""One call of captum: what a class and its ``attribute`` are given, and the map of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from saltrust.errors import DataError, UsageError
from saltrust.explainers.libraries.captum.composition import Composition, captum_class
from saltrust.explainers.libraries.captum.superpixels import (
    permuting,
    place_numbers,
    superpixels,
)
from saltrust.explainers.libraries.random_state import random_state
from saltrust.explainers.passes.context import BatchContext
from saltrust.explainers.passes.forward import run_forward, tensor_of
from saltrust.explainers.passes.layers import feature_layers, find_layer
from saltrust.explainers.passes.layouts import FeatureLayer

#: Superpixels of which all orders are gone through: 8 have 40,320.
MOST_OF_ALL_ORDERS = 8


class Call:
    """Some images and all findings, explained by one method.

    Parameters
    ----------
    composition : Composition
    module : torch.nn.Module
    inputs : Tensor, shape (B, C, H, W)
        Of methods that draw numbers, one image.
    context : BatchContext
        Of these images.
    parameters : mapping
        Complete.

    Raises
    ------
    UsageError
        If captum would read the layer otherwise than it lies, or there is no such neuron.
    DataError
        If an image has more superpixels than can be served.
    """

    def __init__(self, composition: Composition, module: nn.Module, inputs: Tensor,
                 context: BatchContext, parameters: Mapping[str, Any]) -> None:
        self._composition = composition
        self._module = module
        self._inputs = inputs
        self._context = context
        self._parameters = parameters
        self._layer = (find_layer(module, inputs[:1], parameters["layer"])
                       if composition.needs_layer else None)
        if composition.inner == "LayerLRP":
            self._layer = _with_rule(module, inputs[:1], self._layer)
        self._check_layer()
        self._keywords = self._arguments()

    def maps(self, outputs: Sequence[int]) -> Tensor:
        """Maps (B, F, H, W)."""
        if "target" not in self._composition.arguments:
            return self._map(0, {}).unsqueeze(1).repeat(1, len(outputs), 1, 1)
        return torch.stack([self._map(output, {"target": output}) for output in outputs], dim=1)

    def _map(self, output: int, target: Mapping[str, Any]) -> Tensor:
        """The map (B, H, W) of one logit."""
        with random_state(self._context.seed, self._context.images[0], output,
                          self._composition.name, self._inputs.device):
            given = self._attribute({**self._keywords, **target})
        values = tensor_of(given)
        if values is None:
            raise UsageError(f"explainer {self._composition.name!r} gives no map but "
                             f"{type(given).__name__}; name another `layer`")
        values = values.detach()[:len(self._inputs)] if self._permutes else values.detach()
        if not self._composition.is_of_places:
            return values.sum(dim=1)
        assert self._layer is not None
        plane = values if self._composition.inner == "LayerGradCam" else (
            self._layer.layout.plane(values))
        return functional.interpolate(plane.sum(dim=1, keepdim=True), self._inputs.shape[2:],
                                      mode="bilinear")[:, 0]

    def _attribute(self, keywords: dict[str, Any]) -> Any:
        """Call captum; where it takes all samples at once, in parts."""
        inputs = self._inputs.clone()
        forward: Any = self._module
        if self._permutes:
            # captum permutes nothing in a batch of one, and LayerFeaturePermutation of 0.9 applies
            # the target twice.
            inputs = inputs.repeat(2, 1, 1, 1)
            forward = _of_output(self._module, keywords.pop("target"))
        method = self._method(forward)
        if "target" in self._composition.arguments or "Neuron" in self._composition.inner:
            inputs.requires_grad_()
        samples = keywords.get("n_samples", 0)
        rows = self._context.passes.rows
        if not self._composition.inner.endswith("GradientShap") or samples <= rows:
            return method.attribute(inputs, **keywords)
        total: Any = 0
        for first in range(0, samples, rows):
            count = min(rows, samples - first)
            part = tensor_of(method.attribute(inputs, **{**keywords, "n_samples": count}))
            total = total + count / samples * part
        return total

    @property
    def _permutes(self) -> bool:
        return "Permutation" in self._composition.inner

    def _method(self, forward: Any) -> Any:
        composition = self._composition
        arguments: list[Any] = [forward]
        keywords = composition.of_class(self._parameters)
        if self._layer is not None:
            arguments.append(self._module.get_submodule(self._layer.name))
        attribution = composition.attribution
        if composition.inner == "FeaturePermutation":
            keywords["perm_func"] = permuting()
        elif composition.inner == "LayerFeaturePermutation":
            attribution = _permuting_places(attribution, self._layer)
        method = attribution(*arguments, **keywords)
        for name in reversed(composition.wrappers):
            method = captum_class(name)(method)
        return method

    def _arguments(self) -> dict[str, Any]:
        """All that ``attribute`` is given besides inputs and target."""
        composition, inputs, context = self._composition, self._inputs, self._context
        parameters, known = self._parameters, self._composition.arguments
        keywords = composition.of_call(parameters)
        rows = context.passes.rows
        if composition.takes_distribution:
            levels = [context.level(level, inputs) for level in parameters["baselines"]]
            keywords["baselines"] = torch.cat([
                level.expand(1, -1, *inputs.shape[2:]) for level in levels])
        elif "baselines" in known:
            keywords["baselines"] = context.level(
                parameters["baseline"], inputs).expand_as(inputs).contiguous()
        if composition.has_superpixels:
            keywords["feature_mask"] = self._superpixels()
        if "layer_mask" in known:
            keywords["layer_mask"] = self._places()
        if "sliding_window_shapes" in known:
            keywords |= self._windows()
        if "neuron_selector" in known:
            keywords["neuron_selector"] = self._neuron()
        if "internal_batch_size" in known:
            keywords["internal_batch_size"] = rows
        if "perturbations_per_eval" in known:
            keywords["perturbations_per_eval"] = max(1, rows // len(inputs))
        if composition.wrappers:
            keywords["nt_samples_batch_size"] = self._noisy_copies()
            keywords["draw_baseline_from_distrib"] = composition.takes_distribution
            if "perturbations_per_eval" in keywords:
                keywords["perturbations_per_eval"] = 1
        return keywords

    def _noisy_copies(self) -> int:
        """How many noisy copies go through the network at once."""
        rows = self._context.passes.rows
        if self._composition.takes_distribution:
            rows //= self._parameters.get("n_samples", len(self._parameters["baselines"]))
        return max(1, min(rows, int(self._parameters["nt_samples"])))

    def _superpixels(self) -> Tensor:
        mask = superpixels(self._context, self._inputs, self._parameters["scale"])
        count = int(mask.max()) + 1
        if self._composition.inner == "ShapleyValues" and count > MOST_OF_ALL_ORDERS:
            raise DataError(
                f"explainer {self._composition.name!r}: image {self._context.images[0]!r} has "
                f"{count} superpixels, whose orders are too many to go through all (of "
                f"{MOST_OF_ALL_ORDERS} it can be done); take captum.ShapleyValueSampling")
        return mask

    def _windows(self) -> dict[str, Any]:
        channels, *size = self._inputs.shape[1:]
        window, stride = self._parameters["window"], self._parameters["stride"]
        shape = [min(window, length) for length in size]
        strides = [min(stride, length) for length in shape]
        return {"sliding_window_shapes": (channels, *shape), "strides": (channels, *strides)}

    def _places(self) -> Tensor:
        """Each place of the layer, all its channels together."""
        assert self._layer is not None
        return place_numbers(self._layer.layout, self._values_of_layer())

    def _neuron(self) -> tuple[int, ...]:
        """Which value of the layer is explained."""
        assert self._layer is not None
        neuron, sizes = tuple(self._parameters["neuron"]), self._values_of_layer().shape[1:]
        if len(neuron) != len(sizes) or not all(
                type(at) is int and 0 <= at < size
                for at, size in zip(neuron, sizes, strict=True)):
            raise UsageError(
                f"explainer {self._composition.name!r} explains one value of layer "
                f"{self._layer.name!r}, which has {' x '.join(map(str, sizes))}: give its position "
                f"as the parameter `neuron`, such as {[size // 2 for size in sizes]}, not "
                f"{list(neuron)}")
        return neuron

    def _values_of_layer(self) -> Tensor:
        """What the layer returns for the first image."""
        assert self._layer is not None
        kept: list[Tensor] = []
        handle = self._module.get_submodule(self._layer.name).register_forward_hook(
            lambda _module, _inputs, output: kept.append(output))
        try:
            run_forward(self._module, self._inputs[:1], to_inputs=False)
        finally:
            handle.remove()
        values = tensor_of(kept[-1])
        assert values is not None
        return values.detach()

    def _check_layer(self) -> None:
        """Refuse layers that captum reads otherwise than they lie."""
        layer, name = self._layer, self._composition.name
        if layer is None or layer.layout.kind == "plane":
            return
        if "GradCam" in self._composition.inner:
            raise UsageError(
                f"explainer {name!r}: captum takes the second dimension of a layer for its "
                f"channels, and {layer.name!r} has {layer.layout.kind}; take "
                f"{self._composition.known.instead!r} of saltrust, or name a `layer` of planes")
        if layer.layout.kind in ("windows", "sequence first"):
            raise UsageError(
                f"explainer {name!r}: captum takes the first dimension of a layer for the images, "
                f"and {layer.name!r} has {layer.layout.kind}; name another `layer`")


def _permuting_places(attribution: Any, layer: FeatureLayer | None) -> Any:
    """``LayerFeaturePermutation`` that permutes the places of one image."""
    assert layer is not None
    permute = permuting(layer.layout)

    class OfPlaces(attribution):  # type: ignore[misc]
        """Its features are permuted within an image."""

        @property
        def attributor(self) -> Any:
            """What the layer's values are given to."""
            return lambda forward_func: captum_class("FeaturePermutation")(forward_func, permute)

    return OfPlaces


def _of_output(module: nn.Module, output: int) -> Callable[[Tensor], Tensor]:
    """The network as a function that returns one of its logits."""
    return lambda inputs: module(inputs)[:, output]


def _with_rule(module: nn.Module, probe: Tensor, layer: FeatureLayer | None) -> FeatureLayer:
    """The layer, or the last before it with values of the same size that captum has a rule for.

    captum keeps the relevance of modules with a rule, such as convolutions, not that of rectifiers
    and containers, through which it passes unchanged.
    """
    from captum.attr._core.lrp import SUPPORTED_LAYERS_WITH_RULES

    assert layer is not None
    known = feature_layers(module, probe).layers
    for other in reversed(known[:known.index(layer) + 1]):
        same_size = (other.layout, other.channels) == (layer.layout, layer.channels)
        if same_size and type(module.get_submodule(other.name)) in SUPPORTED_LAYERS_WITH_RULES:
            return other
    raise UsageError(f"explainer 'captum.LayerLRP': captum has no rule for {layer.name!r} of "
                     f"{type(module).__name__}, nor for a module before it of that size; name a "
                     "convolution, batch norm or pooling as `layer`")
