"""DeepLIFT: differences from a baseline, propagated through every nonlinearity."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from saltrust.explainers.declaration import explainer
from saltrust.explainers.passes.context import LEVELS, BatchContext
from saltrust.explainers.passes.differences import Differences
from saltrust.explainers.passes.forward import run_forward
from saltrust.explainers.passes.visibility import refuse_compiled, warn_of_own_functions


@explainer(rank=13, baseline="baseline", choices={"baseline": LEVELS}, full_precision=True,
           reading="positive",
           cost="a backward pass of two images for each finding")
def deeplift(
    module: nn.Module,
    inputs: Tensor,
    outputs: Sequence[int],
    *,
    baseline: str = "black",
    context: BatchContext | None = None,
) -> Tensor:
    """DeepLIFT with the rescale rule: the logit's change from a baseline, layer by layer.

    ``heatmap[y, x] = sum over c of (input - baseline)[c, y, x] * m[c, y, x]``, where ``m`` is
    what the gradient becomes when each nonlinearity ``f`` hands on
    ``(f(x) - f(x0)) / (x - x0)`` for its derivative; ``x0`` is its input for the baseline.

    All elementwise nonlinearities are served, as module or function, in place or reused, and
    so are max pooling, products of two activations (gates) and log-sum-exp; the rules stand in
    :mod:`saltrust.explainers.passes.differences`.  Where a network uses nothing else, the map adds
    up
    to logit(input) - logit(baseline) (completeness).  Other operations, such as softmax, keep
    their gradient: :func:`saltrust.explainers.explain.explain` returns by how much the sum is
    missed.

    Parameters
    ----------
    module : torch.nn.Module
        Returns logits of shape (B, K).  Not modified.
    inputs : Tensor, shape (B, C, H, W), floating
    outputs : sequence of int
        Indices of the F logits to explain.
    baseline : {'black', 'gray', 'white'}
        Gray level of the baseline image, before it is normalised for the network.
    context : BatchContext, optional
        Says what black and white are; without it, the lowest and highest value of each
        channel.

    Returns
    -------
    Tensor, shape (B, F, H, W), dtype of ``inputs``
        Raw and signed, in logits: positive where the pixel, being as it is and not as in the
        baseline, raises the logit.  Summed over channels.

    Raises
    ------
    DataError
        If a part of the network was compiled by ``torch.jit``, where no rule can act.

    References
    ----------
    Shrikumar, Greenside, Kundaje 2017, "Learning important features through propagating
    activation differences", section 3.5.1; as a modified gradient in Ancona et al. 2018,
    "Towards better understanding of gradient-based attribution methods", table 1.
    """
    refuse_compiled(module, "deeplift")
    context = BatchContext.of(inputs) if context is None else context
    level = context.level(baseline, inputs).expand_as(inputs)
    maps = []
    done = 0
    while done < len(inputs):
        # Each image goes through together with its baseline.
        part = slice(done, done + max(1, context.passes.rows // 2))
        try:
            maps.append(_attribution(module, inputs[part], level[part], outputs))
        except torch.cuda.OutOfMemoryError:
            if not context.passes.halve():
                raise
            continue
        done = part.stop
    return torch.cat(maps)


def _attribution(module: nn.Module, inputs: Tensor, baseline: Tensor,
                 outputs: Sequence[int]) -> Tensor:
    n_images = len(inputs)
    with Differences(2 * n_images):
        forward = run_forward(module, torch.cat([inputs, baseline]))
    warn_of_own_functions(module, forward.logits, "deeplift")
    change = inputs - baseline
    return forward.maps(
        outputs, lambda multiplier: (multiplier[:n_images] * change).sum(dim=1))
