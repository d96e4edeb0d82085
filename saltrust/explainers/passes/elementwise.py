"""Functions of single values that a network writes out in several operations.

``x * sigmoid(1.702 * x)``, ``x * (x > 0)``, ``(x + abs(x)) / 2``, ``where(x > 0, x, 0.1 * x)``
and ``x * relu6(x + 3) / 6`` are activations as much as those that torch has a name for, and the
rules of explainers are about the whole of them, not about their factors.
:class:`Compositions` knows of each
result which function of which tensor it is, as long as it depends on the values of one tensor,
place by place, and on constants.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.weak import WeakIdKeyDictionary

LINEAR = frozenset({
    "add", "clone", "contiguous", "detach", "div", "divide", "double", "float", "full_like",
    "half", "mul", "multiply", "neg", "negative", "ones_like", "radd", "rdiv", "rmul", "rsub",
    "rtruediv", "sub", "subtract", "to", "true_divide", "truediv", "type", "type_as", "zeros_like",
})
_CURVED = frozenset({
    "abs", "absolute", "celu", "clamp", "clamp_max", "clamp_min", "clip", "elu", "erf", "erfc",
    "exp", "expit", "expm1", "ge", "gelu", "greater", "gt", "hardsigmoid", "hardswish", "hardtanh",
    "heaviside", "le", "leaky_relu", "less", "log", "log1p", "log_ndtr", "logaddexp",
    "logical_not", "logsigmoid", "lt", "masked_fill", "max", "maximum", "min", "minimum", "mish",
    "ndtr", "pow", "reciprocal", "relu", "relu6", "rpow", "rsqrt", "selu", "sigmoid", "sign",
    "silu", "softplus", "softsign", "sqrt", "square", "tanh", "threshold", "where",
})
_PRODUCTS = frozenset({"div", "divide", "mul", "multiply", "true_divide", "truediv"})
#: What joins two functions of the same tensor to a third.
JOINS = frozenset({
    "add", "div", "divide", "masked_fill", "max", "maximum", "min", "minimum", "mul", "multiply",
    "sub", "subtract", "true_divide", "truediv", "where",
})


_SLOPE = 0.2


@dataclass(frozen=True)
class Composition:
    """A function of the values of one tensor, each by itself.

    Attributes
    ----------
    root : Tensor
    function : callable
    curved : int
        How many of its operations are not linear.
    joined : bool
        Whether its last operation joins two functions of the tensor.
    """

    root: Tensor
    function: Callable[[Tensor], Tensor]
    curved: int = 0
    joined: bool = False


class Compositions:
    """What is known of the tensors of one forward pass."""

    def __init__(self) -> None:
        self._known: Any = WeakIdKeyDictionary()

    def compose(self, name: str, func: Callable[..., Any], args: tuple[Any, ...],
                keywords: Mapping[str, Any]) -> list[Composition]:
        """Which function of which tensors an operation gives, the nearest tensor first.

        Parameters
        ----------
        name : str
            Of the function, without underscores around it.
        func : callable
        args, keywords
            What it is called with; it has not been called yet.

        Returns
        -------
        list of Composition
            Empty where the operation depends on several tensors, or on the place.
        """
        if name not in LINEAR and name not in _CURVED:
            return []
        named = {key: value for key, value in keywords.items() if key != "inplace"}
        given = [*args, *named.values()]
        known = [self._of(value) for value in given]
        if any(not parts and isinstance(value, Tensor) and value.numel() != 1
               for parts, value in zip(known, given, strict=True)):
            return []
        dependent = [parts for parts in known if parts]
        if not dependent:
            return []
        plain = _out_of_place(name, func)
        joins = name in JOINS and len(dependent) > 1
        product = joins and name in _PRODUCTS
        composed = []
        for part in dependent[0]:
            root = part.root
            inner = [next((one for one in parts if one.root is root), None) for parts in known]
            if sum(one is not None for one in inner) < len(dependent):
                continue
            functions = [None if one is None else one.function for one in inner]
            curved = sum(one.curved for one in inner if one is not None) + (
                name in _CURVED or product)
            composed.append(Composition(
                root, _function(plain, given, functions, len(args), list(named)), curved, joins))
        return composed

    def remember(self, result: Any, compositions: Sequence[Composition]) -> None:
        """Note what a result is."""
        if isinstance(result, Tensor) and compositions:
            kept = [(one, one.root._version) for one in compositions if one.root is not result]
            self._known[result] = (kept, result._version)

    def is_mask(self, value: Any) -> bool:
        """Whether a tensor says of each value of another whether something holds."""
        return (isinstance(value, Tensor) and value.dtype == torch.bool
                and bool(self._of(value)))

    def _of(self, value: Any) -> list[Composition]:
        if not isinstance(value, Tensor):
            return []
        composed = []
        if value.requires_grad and value.is_floating_point():
            composed.append(Composition(value, _identity))
        if value in self._known:
            kept, version = self._known[value]
            if value._version == version:
                composed += [one for one, of_root in kept if one.root._version == of_root]
        return composed


def _identity(values: Tensor) -> Tensor:
    return values


def _function(plain: Callable[..., Any], given: Sequence[Any],
              functions: Sequence[Callable[[Tensor], Tensor] | None], n_args: int,
              names: Sequence[str]) -> Callable[[Tensor], Tensor]:
    # What depends on the tensor is not kept.
    constants = [value if function is None else None
                 for value, function in zip(given, functions, strict=True)]

    def function(x: Tensor) -> Tensor:
        values = [constant if inner is None else inner(x)
                  for constant, inner in zip(constants, functions, strict=True)]
        result: Tensor = plain(*values[:n_args],
                               **dict(zip(names, values[n_args:], strict=True)))
        return result

    return function


def is_rectifier(function: Callable[[Tensor], Tensor], like: Tensor,
                 slope: float | None = None) -> bool:
    """Whether a function lets positive values through and negative ones hardly.

    It grows about evenly above 0, where asked for with a slope, and reaches at most half as far
    below.

    Examples
    --------
    >>> x = torch.zeros(())
    >>> is_rectifier(lambda x: x * (x > 0), x), is_rectifier(lambda x: x * x, x)
    (True, False)
    """
    points = torch.tensor([-4.0, -2.0, 2.0, 4.0], dtype=like.dtype, device=like.device)
    try:
        with torch.no_grad():
            far_below, below, above, far_above = function(points).tolist()
    except (RuntimeError, ValueError, TypeError):
        return False
    if slope is not None and abs(far_above / 4 - slope) > _SLOPE:
        return False
    return bool(above > 0 and 1.5 * above <= far_above <= 3 * above
                and abs(far_below) <= far_above / 2 and abs(below) <= above / 2)


def _out_of_place(name: str, func: Callable[..., Any]) -> Callable[..., Any]:
    given_name = str(getattr(func, "__name__", ""))
    if not given_name.endswith("_") or given_name.endswith("__"):
        return func
    plain: Callable[..., Any] = getattr(Tensor, name, None) or getattr(functional, name)
    return plain
