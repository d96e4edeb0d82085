"""Maps of what attends to what: rollout, and attention weighted with its gradient."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from saltrust.errors import DataError
from saltrust.explainers.declaration import explainer
from saltrust.explainers.passes.attention import AttentionWeights
from saltrust.explainers.passes.forward import (
    ForwardPass,
    map_threads,
    recording,
    run_forward,
)
from saltrust.explainers.passes.layers import feature_layers
from saltrust.explainers.passes.layouts import Layout


@explainer(rank=15, reading="positive",
           cost="a forward pass; the same map for all findings")
def attention_rollout(
    module: nn.Module,
    inputs: Tensor,
    outputs: Sequence[int],
) -> Tensor:
    """Attention rollout: how much of each patch reaches the tokens that are read, by attention.

    ``R = product over layers, the last first, of (mean over heads of A + I) / 2``, where ``A`` is
    the attention of a layer, a row for each token that attends.  The heatmap is the row of the
    class token, without its class and register tokens, upsampled; of several tokens that the
    logits are read from (class and distillation token, or all patches where these are averaged)
    it is the mean of their rows.

    The map does not depend on the finding: all findings of an image get the same.

    Parameters
    ----------
    module : torch.nn.Module
        A vision transformer all of whose tokens attend to each other, which returns logits of
        shape (B, K), whatever it computes attention with.  Not modified.
    inputs : Tensor, shape (B, C, H, W), floating
    outputs : sequence of int
        Indices of the F logits, of which only the number counts.

    Returns
    -------
    Tensor, shape (B, F, H, W), dtype of ``inputs``
        At least 0; the shares of all tokens add up to 1.  Bilinear upsampling with half-pixel
        centres.

    Raises
    ------
    DataError
        If the network has no attention among all its patches, as convolutional networks and
        those that attend within windows.

    References
    ----------
    Abnar, Zuidema 2020, "Quantifying attention flow in transformers", eq. 1; for images
    Dosovitskiy et al. 2021, "An image is worth 16x16 words", appendix D.7.
    """
    layout, run, weights = _attention(module, inputs)
    heads = [_of_heads(part.detach(), len(inputs)).mean(dim=1) for part in weights]
    one = torch.eye(heads[0].shape[1], dtype=inputs.dtype, device=inputs.device)
    rollout = one.expand_as(heads[0])
    for attention in heads:
        rollout = (attention.to(inputs.dtype) + one) / 2 @ rollout
    maps = _read(rollout, _readout(run, weights[-1]), layout, inputs)
    return maps.unsqueeze(1).repeat(1, len(outputs), 1, 1)


@explainer(rank=16, reading="positive",
           cost="a backward pass for each finding")
def chefer(
    module: nn.Module,
    inputs: Tensor,
    outputs: Sequence[int],
) -> Tensor:
    """Transformer attribution: attention that speaks for the finding, added up over layers.

    ``R = I``, then from the first layer to the last
    ``R <- R + mean over heads of max(d logit / d A * A, 0) R``.  The heatmap is the row of the
    class token, without its class and register tokens, upsampled; of several tokens that the
    logits are read from it is the mean of their rows, as for :func:`attention_rollout`.

    Parameters
    ----------
    module : torch.nn.Module
        A vision transformer all of whose tokens attend to each other, which returns logits of
        shape (B, K), whatever it computes attention with.  Not modified.
    inputs : Tensor, shape (B, C, H, W), floating
    outputs : sequence of int
        Indices of the F logits to explain.

    Returns
    -------
    Tensor, shape (B, F, H, W), dtype of ``inputs``
        At least 0, in logits.  Bilinear upsampling with half-pixel centres.

    Raises
    ------
    DataError
        If the network has no attention among all its patches, as convolutional networks and
        those that attend within windows.

    References
    ----------
    Chefer, Gur, Wolf 2021, "Generic attention-model explainability for interpreting bi-modal and
    encoder-decoder transformers", eq. 5 and 6, for self-attention.
    """
    layout, run, weights = _attention(module, inputs)
    rows = _readout(run, weights[-1])

    def of_logit(output: int) -> Tensor:
        with recording():
            logit = run.logits[:, output].sum()
        gradients = torch.autograd.grad(logit, weights, retain_graph=True, allow_unused=True)
        relevance = torch.eye(weights[0].shape[-1], dtype=inputs.dtype, device=inputs.device)
        relevance = relevance.expand(len(inputs), -1, -1)
        for attention, gradient in zip(weights, gradients, strict=True):
            if gradient is not None:
                speaks = _of_heads((attention.detach() * gradient).relu(), len(inputs)).mean(dim=1)
                relevance = relevance + speaks.to(inputs.dtype) @ relevance
        return _read(relevance, rows, layout, inputs)

    return torch.stack(map_threads(of_logit, outputs, inputs.device), dim=1)


def _attention(module: nn.Module, inputs: Tensor) -> tuple[Layout, ForwardPass, list[Tensor]]:
    """How tokens lie on the image, a pass, and the attention of each layer.

    Attention is of shape (B, heads, N, N), or (B * heads, N, N) where a network computes it so.
    """
    kind = type(module).__name__
    known = feature_layers(module, inputs[:1])
    if not known.attends:
        raise DataError(f"{kind} has no attention (a softmax over places), so there is none to "
                        "map; use `gradcam`")
    with AttentionWeights() as mode:
        run = run_forward(module, inputs)
    # Of some networks, a softmax decides something else, or is computed for nothing.
    weights = [part for part, used in zip(mode.weights, _used(run, mode.weights), strict=True)
               if used]
    layouts = {layer.tokens: layer.layout for layer in known.layers if layer.tokens}
    for part in weights:
        queries, keys = part.shape[-2:]
        by_image = part.ndim in (3, 4) and len(part) % len(inputs) == 0 and (
            part.ndim == 3 or len(part) == len(inputs))
        if not by_image or queries != keys or keys not in layouts:
            raise DataError(
                f"{kind} has attention of shape {' x '.join(map(str, part.shape))} for "
                f"{len(inputs)} images, which is not among all patches of an image (but in "
                "windows, of channels, or of other tokens), so it cannot be followed from layer "
                "to layer; use `gradcam`")
    sizes = {part.shape[-1] for part in weights}
    if len(sizes) != 1:
        raise DataError(f"{kind} attends to {' and '.join(map(str, sorted(sizes)))} tokens in "
                        "turn, so its attention cannot be followed from layer to layer; use "
                        "`gradcam`")
    return layouts[sizes.pop()], run, weights


def _used(run: ForwardPass, weights: Sequence[Tensor]) -> list[bool]:
    if not run.logits.requires_grad:
        return [False] * len(weights)
    with recording():
        total = run.logits.sum()
    gradients = torch.autograd.grad(total, weights, retain_graph=True, allow_unused=True)
    return [gradient is not None for gradient in gradients]


def _of_heads(values: Tensor, images: int) -> Tensor:
    """(B, heads, N, N), whether or not images and heads are one dimension."""
    return values.reshape(images, -1, *values.shape[-2:])


def _readout(run: ForwardPass, last: Tensor) -> Tensor:
    """The tokens that the logits are read from, as shares, shape (N,).

    They are those whose attention in the last layer matters to a logit.
    """
    with recording():
        total = run.logits.square().sum()
    (gradient,) = torch.autograd.grad(total, last, retain_graph=True)
    matters = _of_heads(gradient, len(run.inputs)).abs().sum(dim=(0, 1, 3)) > 0
    matters |= ~matters.any()
    return matters.to(run.inputs.dtype) / matters.sum()


def _read(relevance: Tensor, rows: Tensor, layout: Layout, inputs: Tensor) -> Tensor:
    """Maps (B, H, W) of how much reaches the tokens that are read."""
    reaching = torch.einsum("n,bnk->bk", rows, relevance)
    places = reaching[:, layout.before:layout.before + layout.positions]
    plane = places.reshape(len(places), 1, *layout.grid)
    return functional.interpolate(plane, size=inputs.shape[2:], mode="bilinear",
                                  align_corners=False)[:, 0]
