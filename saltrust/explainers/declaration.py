"""What a saliency method says of itself, declared beside its function.

A method is a function of a network, a batch and the logits to explain:

    heatmaps = function(module, inputs, outputs, **parameters)

``module`` maps inputs (B, C, H, W) to logits (B, K) and is in evaluation mode with weights that
carry no gradient; ``outputs`` are the indices of F logits; the heatmaps are a tensor
(B, F, H, W), raw and signed where the method is.  Its parameters are its remaining arguments,
their defaults included, and are recorded with the maps.

A function that has an argument ``forward`` is handed the
:class:`~saltrust.explainers.passes.forward.ForwardPass` that all explainers of a batch share, and
one that has an argument ``context`` the
:class:`~saltrust.explainers.passes.context.BatchContext`: names of the images, seed, black and
white.  What such a function needs of the pass is declared by :func:`explainer`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, TypeVar

from torch import Tensor, nn

from saltrust.choices import MapReading, check_word
from saltrust.errors import UsageError

Method = TypeVar("Method", bound=Callable[..., Tensor])

#: Attribute of a decorated function that holds its :class:`Explainer`.
_DECLARATION = "__saltrust_explainer__"
#: Arguments that are handed in, not parameters of the method: the first three by position ...
N_LEADING = 3
# ... and these by name, to those that ask for them.
_SHARED = ("forward", "context")
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_NONE: Mapping[str, Any] = MappingProxyType({})

#: Limits of a number of steps, samples or pixels.
COUNT = (1, 100_000)


@dataclass(frozen=True)
class Explainer:
    """A saliency method and what it needs.

    Attributes
    ----------
    name : str
        Its label in the cubes.
    function : callable
        ``function(module, inputs, outputs, **parameters)``; see the module's docstring.
    rank : int, optional
        Where it is listed among the methods that come with the package; those without a rank
        come last, by name.
    to_inputs : bool
        Whether it takes gradients at the inputs from the shared forward pass.
    layers : tuple of str
        Which of its parameters name a layer whose feature maps it takes from the shared
        forward pass.  An empty name stands for the last spatial layer.
    baseline : str
        Which of its parameters names the gray level
        (:data:`~saltrust.explainers.passes.context.LEVELS`) from which the change of the logit
        equals the sum of the map; empty: it promises no such thing.
    limits : dict of str to (low, high)
        Range of numeric parameters, ends included; the higher end may be the name of another
        parameter.
    choices : dict of str to sequence of str or int
        What a parameter may be; of one that holds several, each of them.
    trial : dict
        Parameters that make it cheap, to try whether it works with a network at all.
    full_precision : bool
        Whether it is computed in float32 even where bfloat16 is asked for, because its maps are
        small differences of large numbers.
    reading : {"raw", "absolute", "positive"}
        What of its maps speaks for the finding, where they are segmented or ranked: all, the
        magnitude (of gradients, whose sign depends on whether the pixel is dark or bright), or
        the positive part (of attributions, where what is negative speaks against it).
    cost : str
        What a map takes, in a few words.
    """

    name: str
    function: Callable[..., Tensor]
    rank: int | None = None
    to_inputs: bool = False
    layers: tuple[str, ...] = ()
    baseline: str = ""
    limits: Mapping[str, tuple[float, float | str]] = field(default_factory=dict)
    choices: Mapping[str, Sequence[str | int]] = field(default_factory=dict)
    trial: Mapping[str, Any] = field(default_factory=dict)
    full_precision: bool = False
    reading: MapReading = "raw"
    cost: str = ""

    def __post_init__(self) -> None:
        check_word(self.reading, MapReading, f"explainer {self.name!r}: reading")

    def __call__(self, module: nn.Module, inputs: Tensor, outputs: Sequence[int],
                 **parameters: Any) -> Tensor:
        """Call the method on its own, without a shared forward pass.

        Raises
        ------
        UsageError
            If a parameter is out of range.
        """
        self.check_values({**self.defaults, **parameters})
        return self.function(module, inputs, outputs, **parameters)

    @property
    def arguments(self) -> list[inspect.Parameter]:
        """The arguments after (module, inputs, outputs), whatever those are called."""
        arguments = list(inspect.signature(self.function).parameters.values())
        leading = [item for item in arguments if item.kind in _POSITIONAL][:N_LEADING]
        return [item for item in arguments if item not in leading]

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """The arguments that a study may set, by name."""
        named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        return {item.name: item for item in self.arguments
                if item.kind in named and item.name not in _SHARED}

    @property
    def open_ended(self) -> bool:
        """Whether it takes parameters of any name."""
        return any(item.kind is item.VAR_KEYWORD for item in self.arguments)

    @property
    def defaults(self) -> dict[str, Any]:
        """Parameters that have a default, by name."""
        return {
            name: parameter.default
            for name, parameter in self.parameters.items()
            if parameter.default is not parameter.empty
        }

    @property
    def summary(self) -> str:
        """First line of the method's docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    def check_values(self, parameters: Mapping[str, Any]) -> None:
        """Hold parameters to ``limits`` and ``choices``.

        Parameters
        ----------
        parameters : mapping of str to value
            Complete.

        Raises
        ------
        UsageError
            If one is out of range, or not among the choices.
        """
        for name, (low, high) in self.limits.items():
            highest, of = ((parameters[high], f", the {high}") if isinstance(high, str)
                           else (high, ""))
            if not low <= parameters[name] <= highest:
                raise UsageError(f"explainer {self.name!r}: {name} must lie in {low:g} to "
                                 f"{highest:g}{of}, not {parameters[name]!r}")
        for name, known in self.choices.items():
            values = parameters[name]
            values = values if isinstance(values, list | tuple) else [values]
            wrong = [value for value in values if value not in known]
            if wrong or not values:
                what = f"not {wrong[0]!r}" if wrong else "and at least one"
                raise UsageError(f"explainer {self.name!r}: {name} must be "
                                 f"{' or '.join(map(repr, known))}, {what}")


def explainer(
    *,
    rank: int | None = None,
    to_inputs: bool = False,
    layers: tuple[str, ...] = (),
    baseline: str = "",
    limits: Mapping[str, tuple[float, float | str]] = _NONE,
    choices: Mapping[str, Sequence[str | int]] = _NONE,
    trial: Mapping[str, Any] = _NONE,
    full_precision: bool = False,
    reading: MapReading = "raw",
    cost: str = "",
) -> Callable[[Method], Method]:
    """Declare a function to be a saliency method, and what it needs.

    The function stays what it is, to be called and read; its name is the method's name.

    Parameters
    ----------
    rank : int, optional
        Where the method is listed among those that come with the package; without a rank it
        comes last.
    to_inputs : bool
        Whether it takes gradients at the inputs from the shared forward pass.
    layers : tuple of str
        Which of its parameters name a layer whose feature maps it takes from the shared
        forward pass.
    baseline : str
        Which of its parameters names the gray level from which the change of the logit equals
        the sum of the map.
    limits : dict of str to (low, high)
        Range of numeric parameters, ends included; the higher end may be the name of another
        parameter.
    choices : dict of str to sequence of str or int
        What a parameter may be.
    trial : dict
        Parameters that make it cheap, to try whether it works with a network at all.
    full_precision : bool
        Whether it is computed in float32 even where bfloat16 is asked for.
    reading : {"raw", "absolute", "positive"}
        What of its maps is segmented and ranked; a study may say otherwise.
    cost : str
        What a map takes, in a few words, for `saltrust info --explainers`.

    Returns
    -------
    callable
        The decorator.

    Examples
    --------
    >>> @explainer(limits={"gain": (0, 10)})
    ... def brightness(module, inputs, outputs, gain: float = 1.0):
    ...     "Gray values of the radiograph itself."
    ...     return gain * inputs.mean(1, keepdim=True).expand(-1, len(outputs), -1, -1)
    >>> declared_explainer(brightness).defaults
    {'gain': 1.0}
    """
    def declare(function: Method) -> Method:
        declaration = Explainer(function.__name__, function, rank, to_inputs, layers, baseline,
                                limits, choices, trial, full_precision, reading, cost)
        setattr(function, _DECLARATION, declaration)
        return function

    return declare


def declared_explainer(function: Any) -> Explainer | None:
    """What :func:`explainer` attached to a function; None where it did not."""
    declaration = getattr(function, _DECLARATION, None)
    if not isinstance(declaration, Explainer):
        return None
    # A wrapper inherits what its function declares, and is to be called all the same.
    return replace(declaration, function=function)
