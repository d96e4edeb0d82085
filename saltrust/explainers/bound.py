"""A saliency method with the parameters that a study gives it, ready to be called."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from saltrust.choices import MapReading
from saltrust.errors import DataError, SaltrustError, UsageError, nearest
from saltrust.explainers.declaration import Explainer
from saltrust.explainers.passes.context import BatchContext
from saltrust.explainers.passes.forward import ForwardPass, freeze
from saltrust.explainers.passes.guests import unhooked, with_graph_if_needed
from saltrust.explainers.passes.layers import find_layer
from saltrust.explainers.passes.layouts import FeatureLayer
from saltrust.models.user_code import describe_error

# Errors of methods that live here are the package's fault, and stay as they are.
_METHODS = "saltrust.explainers.methods."


@dataclass(frozen=True)
class BoundExplainer:
    """A saliency method with all its parameters, ready to be called.

    Attributes
    ----------
    explainer : Explainer
    parameters : dict
        Complete, defaults included; plain JSON values.
    features : tuple of FeatureLayer
        The layers that its parameters name, as they lie on the image, once it was fitted to a
        network (:meth:`fit`).
    """

    explainer: Explainer
    parameters: Mapping[str, Any] = field(default_factory=dict)
    features: tuple[FeatureLayer, ...] = ()

    @property
    def name(self) -> str:
        """Its label in the cubes."""
        return self.explainer.name

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers whose feature maps the shared forward pass must keep."""
        return tuple(self.parameters[name] for name in self.explainer.layers)

    @property
    def reading(self) -> MapReading:
        """What of its maps is segmented and ranked."""
        return self.explainer.reading

    @property
    def is_fitted(self) -> bool:
        """Whether it is known how the layers that it takes lie on the image."""
        return len(self.features) == len(self.explainer.layers)

    @property
    def baseline(self) -> str:
        """The gray level that its maps are complete to; empty where there is none."""
        name = self.explainer.baseline
        return str(self.parameters[name]) if name else ""

    def with_trial_parameters(self) -> BoundExplainer:
        """The same with parameters that make it cheap."""
        return replace(self, parameters={**self.parameters, **self.explainer.trial})

    def fit(self, module: nn.Module, inputs: Tensor) -> BoundExplainer:
        """Settle the names of layers for one network.

        Parameters
        ----------
        module : torch.nn.Module
        inputs : Tensor, shape (1, C, H, W)
            A probe of the size that will be explained.

        Raises
        ------
        UsageError
            If the network has no such layer, or it returns no feature maps.
        """
        try:
            layers = {
                name: find_layer(module, inputs, self.parameters[name])
                for name in self.explainer.layers
            }
        except UsageError as error:
            raise UsageError(f"explainer {self.name!r}: {error}") from None
        names = {name: layer.name for name, layer in layers.items()}
        return replace(self, parameters={**self.parameters, **names},
                       features=tuple(layers.values()))

    def __call__(self, forward: ForwardPass, outputs: Sequence[int],
                 context: BatchContext | None = None) -> Tensor:
        """Explain the batch of a forward pass.

        Returns
        -------
        Tensor, shape (B, F, H, W)
            Detached.

        Raises
        ------
        DataError
            If the method returns anything else, or, being a user's own, fails.
        """
        asked = {item.name for item in self.explainer.arguments}
        context = BatchContext.of(forward.inputs.detach()) if context is None else context
        offered = {"forward": forward, "context": context}
        shared = {key: value for key, value in offered.items() if key in asked}
        def call() -> Any:
            return self.explainer.function(
                forward.module, forward.inputs.detach(), tuple(outputs),
                **self.parameters, **shared,
            )

        with freeze(forward.module), self._report_errors():
            if self._is_built_in:
                maps = call()
            else:
                with torch.inference_mode(False), torch.enable_grad(), unhooked(forward.module):
                    maps = with_graph_if_needed(forward.module, call)
        batch, _, height, width = forward.inputs.shape
        wanted = (batch, len(outputs), height, width)
        if not isinstance(maps, Tensor) or tuple(maps.shape) != wanted:
            got = tuple(maps.shape) if isinstance(maps, Tensor) else type(maps).__name__
            raise DataError(
                f"explainer {self.name!r} returned {got}; it must return a tensor of shape "
                f"{wanted}, as (images, findings, height, width)"
            )
        return maps.detach()

    @property
    def _is_built_in(self) -> bool:
        return str(getattr(self.explainer.function, "__module__", "")).startswith(_METHODS)

    @contextmanager
    def _report_errors(self) -> Iterator[None]:
        """Put what a user's own function raises into a sentence; running out of memory is not
        its fault.
        """
        try:
            yield
        except (SaltrustError, torch.cuda.OutOfMemoryError):
            raise
        except Exception as error:
            if self._is_built_in:
                raise
            raise DataError(f"explainer {self.name!r} failed with {describe_error(error)}"
                            ) from error


def bind(explainer: Explainer, given: Mapping[str, Any]) -> BoundExplainer:
    """Give a method its parameters.

    Parameters
    ----------
    explainer : Explainer
    given : mapping of str to value
        By the study; the others have their defaults.

    Raises
    ------
    UsageError
        If a parameter is unknown, missing, of another type than its default, out of range, or
        not a plain value.
    """
    declared = explainer.parameters
    for name, value in given.items():
        if name not in declared and not explainer.open_ended:
            hint = nearest(name, declared) if declared else "it has none"
            raise UsageError(f"explainer {explainer.name!r} has no parameter {name!r}; {hint}")
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):
            raise UsageError(f"explainer {explainer.name!r}: {name} = {value!r} is not a plain "
                             "value (text, finite number, boolean, list, table)") from None
    parameters = {**explainer.defaults, **given}
    missing = [name for name in declared if name not in parameters]
    if missing:
        raise UsageError(f"explainer {explainer.name!r} needs the parameter {missing[0]!r}; give "
                         "it under `parameters` in the study")
    for name, default in explainer.defaults.items():
        parameters[name] = _as_type(explainer.name, name, parameters[name], default)
    explainer.check_values(parameters)
    return BoundExplainer(explainer, parameters)


def describe_parameters(fitted: Mapping[str, BoundExplainer]) -> str:
    """The parameters of one method over all models, as JSON.

    Parameters
    ----------
    fitted : mapping of str to BoundExplainer
        The same method as settled for each model.

    Returns
    -------
    str
        ``{"layer": "features"}``; a parameter that differs between models is an object:
        ``{"layer": {"model_a": "features", "model_b": "layer4"}}``.
    """
    each = {model: dict(bound.parameters) for model, bound in fitted.items()}
    names = dict.fromkeys(name for parameters in each.values() for name in parameters)
    merged = {}
    for name in names:
        values = {model: parameters[name] for model, parameters in each.items()}
        first, *others = values.values()
        merged[name] = first if all(value == first for value in others) else values
    return json.dumps(merged, sort_keys=True)


def _as_type(explainer: str, name: str, value: Any, default: Any) -> Any:
    """Hold a parameter to the type of its default; a whole number does for a float."""
    if default is None or type(value) is type(default):
        return value
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(default, tuple) and isinstance(value, list):
        return tuple(value)
    raise UsageError(f"explainer {explainer!r}: {name} must be of type {type(default).__name__}, "
                     f"not {value!r}")
