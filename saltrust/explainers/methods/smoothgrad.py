"""Gradients averaged over noisy copies of the image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from saltrust.explainers.declaration import COUNT, explainer
from saltrust.explainers.passes.context import BatchContext
from saltrust.explainers.passes.sampling import average_gradient, gaussian_noise


@explainer(rank=2, limits={"samples": COUNT, "noise": (0, 10)}, trial={"samples": 1},
           reading="absolute",
           cost="`samples` backward passes for each finding")
def smoothgrad(
    module: nn.Module,
    inputs: Tensor,
    outputs: Sequence[int],
    *,
    samples: int = 25,
    noise: float = 0.15,
    context: BatchContext | None = None,
) -> Tensor:
    """SmoothGrad: the mean gradient over copies of the image with Gaussian noise.

    ``heatmap[y, x] = mean over n of sum over c of d logit / d input[c, y, x]`` at
    ``input + noise * (max - min) * e[n]``, where ``e[n]`` is standard normal in every pixel and
    channel, and max and min are those of the image's inputs.

    Parameters
    ----------
    module : torch.nn.Module
        Returns logits of shape (B, K).
    inputs : Tensor, shape (B, C, H, W), floating
    outputs : sequence of int
        Indices of the F logits to explain.
    samples : int
        Noisy copies, at least 1.
    noise : float
        Standard deviation as a part of the image's range.
    context : BatchContext, optional
        Seed and names of the images, from which the noise follows: an image gets the same
        noise in every batch, for every model and finding.

    Returns
    -------
    Tensor, shape (B, F, H, W), dtype of ``inputs``
        Raw and signed, summed over channels, without squares or absolute values.

    References
    ----------
    Smilkov, Thorat, Kim, Viegas, Wattenberg 2017, "SmoothGrad: removing noise by adding noise",
    section 3: noise of 10% to 20% of the range.  The number of samples is protocol A's.
    """
    context = BatchContext.of(inputs) if context is None else context

    def points(images: slice, part: slice) -> Tensor:
        copies = [gaussian_noise(context.part(images), inputs[images], sample, noise)
                  for sample in range(part.start, part.stop)]
        return torch.stack(copies, dim=1).add_(inputs[images, None])

    weights = inputs.new_full((samples,), 1 / samples)
    return average_gradient(module, outputs, points, weights, torch.ones_like(inputs),
                            context.passes)
