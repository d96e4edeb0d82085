"""Rules by which differences from a baseline go back through a network.

A batch holds images in its first half and their baselines in its second.  While
:class:`Differences` is active, operations that are not linear get another way back, so that what
autograd delivers are multipliers ``m`` with ``sum of m * (x - x0) = f(x) - f(x0)`` instead of
derivatives:

- elementwise ``y = f(x)``: ``(y - y0) / (x - x0)``, and the derivative where the two inputs are
  the same (the rescale rule of DeepLIFT);
- max pooling of a window with maximum ``y``: if ``y > y0``, the gain goes to where ``y`` is; if
  ``y < y0``, the loss goes to where ``y0`` was;
- product ``y = a b`` of two activations: ``(b + b0) / 2`` for ``a`` and ``(a + a0) / 2`` for
  ``b``, the Shapley values of the two; quotients as products with the reciprocal;
- what masks values by themselves, as ``x * (x > 0)`` and ``where(x > 0, x, 0.1 * x)`` do, and the
  larger or smaller of two functions of the same values: as the elementwise function that it is;
- log-sum-exp: as exponential, sum and logarithm, one after the other.

Operations are intercepted where Python calls them, so it makes no difference whether a network
uses modules or functions, works in place, or uses a module twice.  The network is not touched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from saltrust.explainers.passes.elementwise import Composition, Compositions

# Their difference quotient is exact however close the two inputs are.
_PIECEWISE_LINEAR = frozenset({
    "abs", "clamp", "clamp_max", "clamp_min", "hardsigmoid", "hardtanh", "leaky_relu", "prelu",
    "relu", "relu6", "threshold",
})
_SMOOTH = frozenset({
    "celu", "elu", "erf", "exp", "expm1", "gelu", "hardswish", "log", "log1p", "logsigmoid",
    "mish", "pow", "reciprocal", "rsqrt", "selu", "sigmoid", "silu", "softplus", "softsign",
    "sqrt", "square", "tanh",
})
_PRODUCTS = frozenset({"mul", "multiply"})
_QUOTIENTS = frozenset({"div", "divide", "true_divide", "truediv"})
# What an activation is written with besides; the others have rules of their own.
_MASKING = frozenset({
    "masked_fill", "max", "maximum", "min", "minimum", "mul", "multiply", "where",
})


class Differences(TorchFunctionMode):
    """Has nonlinear operations hand back multipliers of differences.

    Parameters
    ----------
    rows : int
        Of the batch: images, then as many baselines.
    """

    def __init__(self, rows: int) -> None:
        super().__init__()
        self._rows = rows
        self._compositions = Compositions()

    def __torch_function__(self, func: Callable[..., Any], types: Sequence[type],
                           args: tuple[Any, ...] = (),
                           kwargs: Mapping[str, Any] | None = None) -> Any:
        keywords = dict(kwargs or {})
        if not any(self._is_pairs(value) or self._compositions.is_mask(value)
                   for value in (*args, *keywords.values())):
            return func(*args, **keywords)
        in_place = bool(keywords.get("inplace")) or _changes_its_argument(func)
        plain = {name: value for name, value in keywords.items() if name != "inplace"}
        name = _name(func).strip("_")
        compositions = self._compositions.compose(name, func, args, plain)
        result = self._replacement(name, func, args, plain,
                                   compositions[0] if compositions else None)
        if result is None:
            result = func(*args, **keywords)
        elif in_place:
            result = args[0].copy_(result)
        self._compositions.remember(result, compositions)
        return result

    def _is_pairs(self, value: Any) -> bool:
        return (isinstance(value, Tensor) and value.requires_grad and value.ndim > 0
                and len(value) == self._rows)

    def _replacement(self, name: str, func: Callable[..., Any], args: tuple[Any, ...],
                     keywords: dict[str, Any], composition: Composition | None) -> Tensor | None:
        """What stands for an operation; None where it may stay as it is."""
        if composition is not None and composition.curved and name in _MASKING and (
                composition.joined or name in ("where", "masked_fill")):
            # Such as x * (x > 0), of which the mask carries no gradient.
            masked = any(isinstance(value, Tensor) and not value.requires_grad
                         and value.numel() > 1 for value in (*args, *keywords.values()))
            if masked or name not in _PRODUCTS:
                return _Rescaled.apply(  # type: ignore[no-any-return,no-untyped-call]
                    composition.root, composition.function, True)
        if not args or not self._is_pairs(args[0]):
            return None
        values, *others = args
        if name in _PIECEWISE_LINEAR or name in _SMOOTH:
            if any(self._is_pairs(other) for other in [*others, *keywords.values()]):
                return None
            plain = _out_of_place_function(name, func)
            return _Rescaled.apply(  # type: ignore[no-any-return,no-untyped-call]
                values, lambda x: plain(x, *others, **keywords), name in _SMOOTH)
        if name == "max_pool2d" and not keywords.get("return_indices"):
            return _MaxPooled.apply(  # type: ignore[no-any-return,no-untyped-call]
                values, tuple(others), keywords)
        if name in _PRODUCTS and len(others) == 1 and self._is_pairs(others[0]):
            return _product(values, others[0])
        if name in _QUOTIENTS and len(others) == 1 and self._is_pairs(others[0]):
            inverse = _Rescaled.apply(  # type: ignore[no-untyped-call]
                others[0], torch.reciprocal, True)
            return _product(values, inverse)
        if name in ("maximum", "minimum") and len(others) == 1 and self._is_pairs(others[0]):
            apart = _Rescaled.apply(  # type: ignore[no-untyped-call]
                values - others[0], torch.abs, False)
            total = values + others[0]
            chosen: Tensor = (total + apart if name == "maximum" else total - apart) / 2
            return chosen
        if name == "logsumexp":
            return _log_sum_exp(values, *others, **keywords)
        return None


def _name(func: Callable[..., Any]) -> str:
    return str(getattr(func, "__name__", ""))


def _changes_its_argument(func: Callable[..., Any]) -> bool:
    return _name(func).endswith("_") and not _name(func).endswith("__")


def _out_of_place_function(name: str, func: Callable[..., Any]) -> Callable[..., Any]:
    if not _changes_its_argument(func):
        return func
    plain: Callable[..., Any] = getattr(Tensor, name, None) or getattr(functional, name)
    return plain


class _Rescaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, function: Callable[[Tensor], Tensor],
                smooth: bool) -> Tensor:
        result = function(values)
        # Where a function works in place after all, its input is gone.
        ctx.save_for_backward(values.clone(), result.clone())
        ctx.function, ctx.smooth = function, smooth
        return result

    @staticmethod
    def backward(ctx: Any, signal: Tensor) -> tuple[Tensor, None, None]:
        values, results = ctx.saved_tensors
        value, value0 = values.chunk(2)
        result, result0 = results.chunk(2)
        change = value - value0
        # Below it, rounding of the results spoils the quotient more than curvature the slope.
        nearest = torch.finfo(values.dtype).eps ** 0.5 if ctx.smooth else 0.0
        close = change.abs() <= nearest
        with torch.enable_grad():
            middle = ((value + value0) / 2).detach().requires_grad_()
            (slope,) = torch.autograd.grad(ctx.function(middle).sum(), middle)
        slope = torch.where(close, slope, (result - result0) / torch.where(close, 1, change))
        return signal * torch.cat([slope, slope]), None, None


class _MaxPooled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, others: tuple[Any, ...],
                keywords: dict[str, Any]) -> Tensor:
        result: Tensor
        result, where = functional.max_pool2d(
            values, *others, **{**keywords, "return_indices": True})
        ctx.save_for_backward(values.clone(), result.clone(), where)
        return result

    @staticmethod
    def backward(ctx: Any, signal: Tensor) -> tuple[Tensor, None, None]:
        values, results, where = ctx.saved_tensors
        value, value0 = values.chunk(2)
        result, result0 = results.chunk(2)
        highest = torch.maximum(result, result0)
        gain, loss = highest - result0, result - highest
        place, place0 = (half.flatten(2) for half in where.chunk(2))
        change = value - value0
        halves = []
        for half in signal.chunk(2):
            total = torch.zeros_like(value).flatten(2)
            total.scatter_add_(2, place, (half * gain).flatten(2))
            total.scatter_add_(2, place0, (half * loss).flatten(2))
            # Where nothing changed, nothing was gained or lost either.
            halves.append(total.view_as(value) / torch.where(change == 0, 1, change))
        return torch.cat(halves), None, None


def _product(left: Tensor, right: Tensor) -> Tensor:
    linear = left * _mean_of_pairs(right) + _mean_of_pairs(left) * right
    return linear + (left * right - linear).detach()


def _mean_of_pairs(values: Tensor) -> Tensor:
    first, second = values.detach().chunk(2)
    mean = (first + second) / 2
    return torch.cat([mean, mean])


def _log_sum_exp(values: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    # The same for an image and its baseline, so that it drops out of their difference.
    first, second = values.detach().amax(dim, keepdim=True).chunk(2)
    shift = torch.maximum(first, second).repeat(2, *[1] * (values.ndim - 1))
    exponentials = _Rescaled.apply(values - shift, torch.exp, True)  # type: ignore[no-untyped-call]
    total = exponentials.sum(dim=dim, keepdim=True)
    result: Tensor = _Rescaled.apply(total, torch.log, True) + shift  # type: ignore[no-untyped-call]
    return result if keepdim else result.squeeze(dim)
