"""Attention taken apart, whatever a network computes it with.

Attention is ``P V`` with ``P = softmax(Q K' s + mask)``, a row for each token that attends.
Networks compute it in one fused function, in a module of torch, or by hand.  While an
:class:`ExplicitAttention` is active, the first two are computed as the third, so that the weights
``P`` are tensors of the graph and the parts can follow rules of their own.

Operations are intercepted where Python calls them; the network is not touched.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from saltrust.errors import DataError
from saltrust.explainers.passes.layers import is_attention


class ExplicitAttention(TorchFunctionMode):
    """Has attention computed by matrix products and a softmax, which a subclass may replace."""

    def __torch_function__(self, func: Callable[..., Any], types: Sequence[type],
                           args: tuple[Any, ...] = (),
                           kwargs: Mapping[str, Any] | None = None) -> Any:
        keywords = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name == "scaled_dot_product_attention":
            # Its parts are intercepted in their turn.
            with self:
                return _attend(*args, **keywords)
        if name == "multi_head_attention_forward":
            with self:
                return _attend_in_heads(*args, **keywords)
        return self.compute(func, args, keywords)

    def compute(self, func: Callable[..., Any], args: tuple[Any, ...],
                keywords: dict[str, Any]) -> Any:
        """What an operation gives.

        Parameters
        ----------
        func : callable
        args, keywords
            What it was called with.
        """
        return func(*args, **keywords)


class AttentionWeights(ExplicitAttention):
    """Keeps the weights of every softmax over places, in the order in which they are computed.

    Attributes
    ----------
    weights : list of Tensor
        Of shape (..., queries, keys), parts of the graph.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[Tensor] = []

    def compute(self, func: Callable[..., Any], args: tuple[Any, ...],
                keywords: dict[str, Any]) -> Any:
        """As above; keeps what a softmax gives."""
        result = func(*args, **keywords)
        if getattr(func, "__name__", "") == "softmax" and is_attention(args, keywords):
            self.weights.append(result)
        return result


def _attend(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None,
            _dropout: float = 0.0, is_causal: bool = False, *, scale: float | None = None,
            enable_gqa: bool = False, **_others: Any) -> Tensor:
    """Scaled dot-product attention; of a network in evaluation mode, so without dropout."""
    if enable_gqa:
        groups = query.shape[-3] // key.shape[-3]
        key, value = (part.repeat_interleave(groups, -3) for part in (key, value))
    return torch.matmul(_weights(query, key, attn_mask, is_causal, scale), value)


def _weights(query: Tensor, key: Tensor, attn_mask: Tensor | None, is_causal: bool = False,
             scale: float | None = None) -> Tensor:
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = torch.matmul(query * scale, key.transpose(-2, -1))
    if is_causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(later, -math.inf)
    if attn_mask is not None:
        scores = (scores.masked_fill(~attn_mask, -math.inf) if attn_mask.dtype == torch.bool
                  else scores + attn_mask)
    return torch.softmax(scores, dim=-1)


def _attend_in_heads(query: Tensor, key: Tensor, value: Tensor, _size: int, heads: int,
                     in_proj_weight: Tensor | None, in_proj_bias: Tensor | None,
                     *others: Any, **keywords: Any) -> tuple[Tensor, Tensor | None]:
    """What :class:`torch.nn.MultiheadAttention` computes, tokens first."""
    names = ("bias_k", "bias_v", "add_zero_attn", "dropout_p", "out_proj_weight", "out_proj_bias")
    given = dict(zip(names, others, strict=False)) | keywords
    if given["bias_k"] is not None or given["bias_v"] is not None or given["add_zero_attn"]:
        raise DataError("the network's attention (torch.nn.MultiheadAttention) has keys that "
                        "belong to no token (add_bias_kv or add_zero_attn), whose share no "
                        "explainer of attention knows to place")
    weights = ((given["q_proj_weight"], given["k_proj_weight"], given["v_proj_weight"])
               if in_proj_weight is None else in_proj_weight.chunk(3))
    biases = (None,) * 3 if in_proj_bias is None else in_proj_bias.chunk(3)
    parts = []
    for tokens, weight, bias in zip((query, key, value), weights, biases, strict=True):
        projected = functional.linear(tokens, weight, bias)
        # (N, B, C) to (B, heads, N, C / heads)
        split = projected.reshape(len(projected), -1, heads, projected.shape[-1] // heads)
        parts.append(split.permute(1, 2, 0, 3))
    mask = given.get("attn_mask")
    if mask is not None and mask.ndim == 3:
        mask = mask.reshape(-1, heads, *mask.shape[1:])
    mask = None if mask is None else _as_added(mask, parts[0].dtype)
    padding = given.get("key_padding_mask")
    if padding is not None:
        padding = _as_added(padding, parts[0].dtype)[:, None, None]
        mask = padding if mask is None else mask + padding
    # A causal module hands in its mask as well.
    attention = _weights(parts[0], parts[1], mask)
    joined = torch.matmul(attention, parts[2]).permute(2, 0, 1, 3).flatten(2)
    joined = joined.reshape(*query.shape[:-1], joined.shape[-1])
    result = functional.linear(joined, given["out_proj_weight"], given["out_proj_bias"])
    if not given.get("need_weights", True):
        return result, None
    return result, attention.mean(1) if given.get("average_attn_weights", True) else attention


def _as_added(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask to be added to scores; True in a mask of torch.nn.MultiheadAttention shuts out."""
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=dtype).masked_fill(mask, -math.inf)
