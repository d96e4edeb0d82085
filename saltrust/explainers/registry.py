"""Which saliency methods there are, and how a study's choice becomes a callable.

A method is a function of a network, a batch and the logits to explain:

    heatmaps = function(module, inputs, outputs, **parameters)

``module`` maps inputs (B, C, H, W) to logits (B, K) and is in evaluation mode with weights that
carry no gradient; ``outputs`` are the indices of F logits; the heatmaps are a tensor
(B, F, H, W), raw and signed where the method is.  Its parameters are its remaining arguments,
their defaults included, and are recorded with the maps.

A function that has an argument ``forward`` is handed the
:class:`~saltrust.explainers.passes.forward.ForwardPass` that all explainers of a batch share, and
one
that has an argument ``context`` the :class:`~saltrust.explainers.passes.context.BatchContext`:
names of
the images, seed, black and white.  What such a function needs of the pass is declared with it,
as an :class:`Explainer`.

A user's own method is named ``package.module:function`` in the study, or registered under an
entry point of the group ``saltrust.explainers``; either may give a plain function or an
:class:`Explainer`.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from typing import Any

import torch
from torch import Tensor, nn

from saltrust.errors import DataError, SaltrustError, UsageError, nearest
from saltrust.explainers.methods.class_activation import eigencam, gradcam, gradcam_plus_plus
from saltrust.explainers.methods.deeplift import deeplift
from saltrust.explainers.methods.gradient import grad, input_x_gradient
from saltrust.explainers.methods.guided import deconvnet, guided_backprop, guided_gradcam
from saltrust.explainers.methods.integrated_gradients import QUADRATURES, ig, smooth_ig
from saltrust.explainers.methods.occlusion import occlusion
from saltrust.explainers.methods.smoothgrad import smoothgrad
from saltrust.explainers.methods.xrai import xrai
from saltrust.explainers.passes.context import LEVELS, BatchContext
from saltrust.explainers.passes.forward import ForwardPass, frozen
from saltrust.explainers.passes.layers import feature_layer
from saltrust.models.classifiers.registry import import_attribute
from saltrust.study import ExplainerSpec

ENTRY_POINTS = "saltrust.explainers"

# Arguments that are handed in, not parameters of the method: the first three by position ...
_N_LEADING = 3
# ... and these by name, to those that ask for them.
_SHARED = ("forward", "context")


@dataclass(frozen=True)
class Explainer:
    """A saliency method as the registry knows it.

    Attributes
    ----------
    name : str
        Its label in the cubes.
    function : callable
        ``function(module, inputs, outputs, **parameters)``; see the module's docstring.
    to_inputs : bool
        Whether it takes gradients at the inputs from the shared forward pass.
    layers : tuple of str
        Which of its parameters name a layer whose feature maps it takes from the shared
        forward pass.  An empty name stands for the last spatial layer.
    baseline : str
        Which of its parameters names the gray level
        (:data:`~saltrust.explainers.passes.context.LEVELS`)
        from which the change of the logit equals the sum of the map; empty: it promises no such
        thing.
    limits : dict of str to (low, high)
        Range of numeric parameters, ends included; the higher end may be the name of another
        parameter.
    choices : dict of str to sequence of str
        What a parameter may be; of one that holds several, each of them.
    trial : dict
        Parameters that make it cheap, to try whether it works with a network at all.
    full_precision : bool
        Whether it is computed in float32 even where bfloat16 is asked for, because its maps are
        small differences of large numbers.
    """

    name: str
    function: Callable[..., Tensor]
    to_inputs: bool = False
    layers: tuple[str, ...] = ()
    baseline: str = ""
    limits: Mapping[str, tuple[float, float | str]] = field(default_factory=dict)
    choices: Mapping[str, Sequence[str]] = field(default_factory=dict)
    trial: Mapping[str, Any] = field(default_factory=dict)
    full_precision: bool = False

    def __call__(self, module: nn.Module, inputs: Tensor, outputs: Sequence[int],
                 **parameters: Any) -> Tensor:
        """Call the method on its own, without a shared forward pass.

        Raises
        ------
        UsageError
            If a parameter is out of range.
        """
        _check_values(self, {**self.defaults, **parameters})
        return self.function(module, inputs, outputs, **parameters)

    @property
    def defaults(self) -> dict[str, Any]:
        """Parameters that have a default, by name."""
        return {
            name: parameter.default
            for name, parameter in _parameters(self.function).items()
            if parameter.default is not parameter.empty
        }

    @property
    def summary(self) -> str:
        """First line of the method's docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]


_COUNT = (1, 100_000)

#: The methods that come with the package, in the order in which they are listed.
BUILT_IN: dict[str, Explainer] = {
    explainer.name: explainer
    for explainer in (
        Explainer("grad", grad, to_inputs=True),
        Explainer("smoothgrad", smoothgrad, limits={"samples": _COUNT, "noise": (0, 10)},
                  trial={"samples": 1}),
        Explainer("ig", ig, baseline="baseline", limits={"steps": _COUNT},
                  choices={"baseline": LEVELS, "quadrature": QUADRATURES}, trial={"steps": 1}),
        Explainer("smooth_ig", smooth_ig,
                  limits={"steps": _COUNT, "samples": _COUNT, "noise": (0, 10)},
                  choices={"baseline": LEVELS, "quadrature": QUADRATURES},
                  trial={"steps": 1, "samples": 1}),
        Explainer("gradcam", gradcam, layers=("layer",)),
        Explainer("xrai", xrai, limits={"steps": _COUNT, "min_pixels": _COUNT},
                  choices={"baselines": LEVELS, "quadrature": QUADRATURES}, trial={"steps": 1}),
        Explainer("guided_backprop", guided_backprop, to_inputs=True),
        Explainer("guided_gradcam", guided_gradcam, to_inputs=True, layers=("layer",)),
        Explainer("deconvnet", deconvnet, to_inputs=True),
        Explainer("gradcam_plus_plus", gradcam_plus_plus, layers=("layer",)),
        Explainer("eigencam", eigencam, layers=("layer",)),
        Explainer("occlusion", occlusion, limits={"window": _COUNT, "stride": (1, "window")},
                  choices={"fill": LEVELS}, trial={"window": 100_000, "stride": 100_000},
                  full_precision=True),
        Explainer("deeplift", deeplift, baseline="baseline", choices={"baseline": LEVELS},
                  full_precision=True),
        Explainer("input_x_gradient", input_x_gradient, to_inputs=True),
    )
}


@dataclass(frozen=True)
class BoundExplainer:
    """A saliency method with all its parameters, ready to be called.

    Attributes
    ----------
    explainer : Explainer
    parameters : dict
        Complete, defaults included; plain JSON values.
    """

    explainer: Explainer
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its label in the cubes."""
        return self.explainer.name

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers whose feature maps the shared forward pass must keep."""
        return tuple(self.parameters[name] for name in self.explainer.layers)

    @property
    def baseline(self) -> str:
        """The gray level that its maps are complete to; empty where there is none."""
        name = self.explainer.baseline
        return str(self.parameters[name]) if name else ""

    def for_trial(self) -> BoundExplainer:
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
            found = {
                name: feature_layer(module, inputs, self.parameters[name])
                for name in self.explainer.layers
            }
        except UsageError as error:
            raise UsageError(f"explainer {self.name!r}: {error}") from None
        return replace(self, parameters={**self.parameters, **found})

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
        function = self.explainer.function
        asked = {item.name for item in _arguments(function)}
        context = BatchContext.of(forward.inputs.detach()) if context is None else context
        offered = {"forward": forward, "context": context}
        shared = {key: value for key, value in offered.items() if key in asked}
        with frozen(forward.module), self._own_errors():
            maps = function(
                forward.module, forward.inputs.detach(), tuple(outputs),
                **self.parameters, **shared,
            )
        batch, _, height, width = forward.inputs.shape
        wanted = (batch, len(outputs), height, width)
        if not isinstance(maps, Tensor) or tuple(maps.shape) != wanted:
            got = tuple(maps.shape) if isinstance(maps, Tensor) else type(maps).__name__
            raise DataError(
                f"explainer {self.name!r} returned {got}; it must return a tensor of shape "
                f"{wanted}, as (images, findings, height, width)"
            )
        return maps.detach()

    @contextmanager
    def _own_errors(self) -> Iterator[None]:
        """Put what a user's own function raises into a sentence; running out of memory is not
        its fault.
        """
        try:
            yield
        except (SaltrustError, torch.cuda.OutOfMemoryError):
            raise
        except Exception as error:
            if self.explainer is BUILT_IN.get(self.name):
                raise
            raise DataError(f"explainer {self.name!r} failed with {type(error).__name__}: {error}"
                            ) from error


def resolve(spec: ExplainerSpec) -> BoundExplainer:
    """Find the method a study names and bind its parameters.

    Parameters
    ----------
    spec : ExplainerSpec
        ``name`` is built in, of an entry point, or ``package.module:function``.

    Raises
    ------
    UsageError
        If there is no such method, it cannot be imported, or a parameter is unknown,
        missing, of another type than its default, or not a plain value.

    Examples
    --------
    >>> resolve(ExplainerSpec("gradcam")).parameters
    {'layer': ''}
    >>> resolve(ExplainerSpec("gradcam", {"layr": "features"}))
    Traceback (most recent call last):
    saltrust.errors.UsageError: explainer 'gradcam' has no parameter 'layr'; did you mean 'layer'?
    """
    explainer = find(spec.name)
    return BoundExplainer(explainer, _bind(explainer, spec.parameters))


def find(name: str) -> Explainer:
    """Look a saliency method up by the name a study gives it (see :func:`resolve`)."""
    if name in BUILT_IN:
        return BUILT_IN[name]
    if ":" in name:
        return _declared(name, import_attribute(name, f"explainer {name!r}"))
    registered = {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
    if name not in registered:
        raise UsageError(
            f"there is no explainer {name!r}; {nearest(name, [*BUILT_IN, *registered])} "
            "(your own is named package.module:function)"
        )
    entry = registered[name]
    try:
        return _declared(name, entry.load())
    except Exception as error:
        raise UsageError(
            f"explainer {name!r} could not be loaded from its entry point {entry.value}: {error}"
        ) from error


def explainer_names() -> list[str]:
    """Names of all methods that are built in or registered by entry points."""
    return list(dict.fromkeys([*BUILT_IN, *sorted(entry_points(group=ENTRY_POINTS).names)]))


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


def _arguments(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """The arguments after (module, inputs, outputs), whatever those are called."""
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    arguments = list(inspect.signature(function).parameters.values())
    leading = [item for item in arguments if item.kind in positional][:_N_LEADING]
    return [item for item in arguments if item not in leading]


def _parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {item.name: item for item in _arguments(function)
            if item.kind in named and item.name not in _SHARED}


def _bind(explainer: Explainer, given: Mapping[str, Any]) -> dict[str, Any]:
    declared = _parameters(explainer.function)
    open_ended = any(item.kind is item.VAR_KEYWORD for item in _arguments(explainer.function))
    for name, value in given.items():
        if name not in declared and not open_ended:
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
    _check_values(explainer, parameters)
    return parameters


def _check_values(explainer: Explainer, parameters: Mapping[str, Any]) -> None:
    for name, (low, high) in explainer.limits.items():
        highest, of = (parameters[high], f", the {high}") if isinstance(high, str) else (high, "")
        if not low <= parameters[name] <= highest:
            raise UsageError(f"explainer {explainer.name!r}: {name} must lie in {low:g} to "
                             f"{highest:g}{of}, not {parameters[name]!r}")
    for name, known in explainer.choices.items():
        values = parameters[name]
        values = [values] if isinstance(values, str) else values
        wrong = [value for value in values if value not in known]
        if wrong or not values:
            what = f"not {wrong[0]!r}" if wrong else "and at least one"
            raise UsageError(f"explainer {explainer.name!r}: {name} must be "
                             f"{' or '.join(map(repr, known))}, {what}")


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


def _declared(name: str, found: Any) -> Explainer:
    if isinstance(found, Explainer):
        return replace(found, name=name)
    if not callable(found):
        raise UsageError(f"explainer {name!r} is not a function but of type "
                         f"{type(found).__name__}")
    arguments = inspect.signature(found).parameters.values()
    positional = [item.name for item in arguments
                  if item.kind in (item.POSITIONAL_ONLY, item.POSITIONAL_OR_KEYWORD)]
    if len(positional) < _N_LEADING:
        raise UsageError(f"explainer {name!r} must be a function of (module, inputs, outputs, "
                         f"**parameters); it takes ({', '.join(positional)})")
    return Explainer(name, found)
