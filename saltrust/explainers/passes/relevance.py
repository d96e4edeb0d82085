"""Rules of AttnLRP: how relevance goes back through a transformer.

Relevance ``R`` is shared among the inputs of each operation.  The rules are put into the gradient:
what autograd delivers is ``g = R / x``, so that relevance is value times gradient everywhere.
While a :class:`Relevance` is active, an operation hands on

- linear ``z = W x + b`` (convolutions, sums, averages, batch norm): ``R x W' / z``, the epsilon
  rule with epsilon toward 0, whose ``g`` is the gradient; what falls to ``b`` is lost;
- elementwise ``y = f(x)``: all of ``R`` (identity rule), ``g f(x) / x``, and nothing where ``x``
  is 0;
- product of two activations, elementwise or of matrices: half of ``R`` to each;
- softmax ``p`` of ``x``: ``x (R - p sum R)``, whose ``g`` is the gradient;
- layer norm and its relatives: as linear in ``x``, its deviation held constant;
- maximum: all to where it is.

The rules are those of Achtibat et al. 2024, eq. 8 (linear), 9 (elementwise), 13 (softmax), 15
(products), 17 (norms).  Operations are intercepted where Python calls them; the network is not
touched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from saltrust.explainers.passes.attention import ExplicitAttention
from saltrust.explainers.passes.elementwise import LINEAR, Compositions

_PRODUCTS = frozenset({"bilinear", "bmm", "einsum", "matmul", "mul", "multiply"})
_QUOTIENTS = frozenset({"div", "divide", "true_divide", "truediv"})
# Deviations, by which norms that a network writes out itself divide.
_CONSTANT = frozenset({"linalg_norm", "linalg_vector_norm", "norm", "rsqrt", "std", "vector_norm",
                       "var"})


class Relevance(ExplicitAttention):
    """Has operations hand back relevance divided by their inputs."""

    def __init__(self) -> None:
        super().__init__()
        self._compositions = Compositions()

    def compute(self, func: Callable[..., Any], args: tuple[Any, ...],
                keywords: dict[str, Any]) -> Any:
        """What an operation gives, recorded so that its gradient follows the rule."""
        name = str(getattr(func, "__name__", ""))
        if not torch.is_grad_enabled() or not any(
                _is_active(value) for value in (*args, *keywords.values())):
            return func(*args, **keywords)
        in_place = bool(keywords.get("inplace")) or (
            name.endswith("_") and not name.endswith("__"))
        plain = name.strip("_")
        compositions = self._compositions.compose(plain, func, args, keywords)
        nearest = compositions[0] if compositions else None
        if nearest is not None and nearest.root.requires_grad and nearest.curved and (
                plain not in LINEAR or nearest.joined):
            result = _Identity.apply(  # type: ignore[no-untyped-call]
                nearest.root, nearest.function)
        else:
            result = self._by_rule(plain, func, args, keywords)
            in_place = False
        if in_place:
            result = args[0].copy_(result)
        self._compositions.remember(result, compositions)
        return result

    def _by_rule(self, name: str, func: Callable[..., Any], args: tuple[Any, ...],
                 keywords: dict[str, Any]) -> Any:
        if name == "layer_norm":
            return _layer_norm(*args, **keywords)
        if name == "rms_norm":
            return _rms_norm(*args, **keywords)
        if name == "group_norm":
            return _group_norm(*args, **keywords)
        if name == "normalize":
            return args[0] * _constant_factor(args[0], func(*args, **keywords))
        if name in _CONSTANT:
            result = func(*args, **keywords)
            return result.detach() if isinstance(result, Tensor) else result
        if name in ("var_mean", "std_mean"):
            deviation, mean = func(*args, **keywords)
            return deviation.detach(), mean
        if name in _QUOTIENTS and _is_active(args[1]):
            return func(args[0], args[1].detach(), *args[2:], **keywords)
        if name in ("matmul", "rmatmul", *_PRODUCTS):
            operands = [value for value in (*args, *keywords.values()) if _is_active(value)]
            result = func(*args, **keywords)
            return _Half.apply(result) if len(operands) > 1 else result  # type: ignore[no-untyped-call]
        return func(*args, **keywords)


def _is_active(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def _layer_norm(input: Tensor, normalized_shape: Any, weight: Tensor | None = None,
                bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    axes = tuple(range(-len(normalized_shape), 0))
    variance = input.detach().var(axes, unbiased=False, keepdim=True)
    result = (input - input.mean(axes, keepdim=True)) * torch.rsqrt(variance + eps)
    result = result if weight is None else result * weight
    return result if bias is None else result + bias


def _rms_norm(input: Tensor, normalized_shape: Any, weight: Tensor | None = None,
              eps: float | None = None) -> Tensor:
    plain = functional.rms_norm(input.detach(), normalized_shape, None, eps)
    result = input * _constant_factor(input, plain)
    return result if weight is None else result * weight


def _group_norm(input: Tensor, num_groups: int, weight: Tensor | None = None,
                bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    groups = input.reshape(len(input), num_groups, -1)
    result = _layer_norm(groups, groups.shape[2:], eps=eps).view_as(input)
    shape = (1, -1, *[1] * (input.ndim - 2))
    result = result if weight is None else result * weight.view(shape)
    return result if bias is None else result + bias.view(shape)


def _constant_factor(values: Tensor, scaled: Tensor) -> Tensor:
    """By what values were multiplied, as a constant; 0 where they are 0."""
    values, scaled = values.detach(), scaled.detach()
    return torch.where(values == 0, 0, scaled / torch.where(values == 0, 1, values))


class _Identity(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        result = function(values)
        ctx.save_for_backward(_constant_factor(values, result))
        return result.clone() if result is values else result

    @staticmethod
    def backward(ctx: Any, signal: Tensor) -> tuple[Tensor, None]:
        (factor,) = ctx.saved_tensors
        return signal * factor, None


class _Half(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, values: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    def backward(_ctx: Any, signal: Tensor) -> Tensor:
        return signal / 2
