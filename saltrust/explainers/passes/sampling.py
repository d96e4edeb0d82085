"""Averages of gradients over many inputs per image: noisy copies, steps along a path."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from saltrust.explainers.passes.context import BatchContext, PassSize
from saltrust.explainers.passes.forward import run_forward
from saltrust.models.transfers import like

Points = Callable[[slice, slice], Tensor]


def average_gradient(
    module: nn.Module,
    outputs: Sequence[int],
    points: Points,
    weights: Tensor,
    direction: Tensor,
    passes: PassSize,
) -> Tensor:
    """Weighted sum, over samples of each image, of gradients along a direction.

    ``result[b, f] = sum over c of direction[b, c] * sum over s of weights[s] *
    d logit f / d input[c] at point s of image b``

    Images and samples go through the network together, ``passes.rows`` at a time, and each
    pass serves all logits; memory grows with neither of them.  Where a device runs out of
    memory, the pass is halved and tried again.

    Parameters
    ----------
    module : torch.nn.Module
    outputs : sequence of int
        Indices of F logits.
    points : callable
        ``points(images, samples)``, two slices, gives inputs (images, samples, C, H, W).
    weights : Tensor, shape (S,)
    direction : Tensor, shape (B, C, H, W)
    passes : PassSize

    Returns
    -------
    Tensor, shape (B, F, H, W)
    """
    n_images, n_samples = len(direction), len(weights)
    _, _, height, width = direction.shape
    total = direction.new_zeros(n_images, len(outputs), height, width)
    waiting = [(slice(0, n_images), slice(0, n_samples))]
    while waiting:
        images, samples = waiting.pop()
        n_rows = (images.stop - images.start) * (samples.stop - samples.start)
        if n_rows > passes.rows:
            waiting.extend(reversed(_parts(images, samples, passes)))
            continue
        try:
            part = _pass(module, outputs, points(images, samples), weights[samples],
                         direction[images])
        except torch.cuda.OutOfMemoryError:
            if not passes.halve():
                raise
            waiting.append((images, samples))
            continue
        total[images] += part
    return total


def _parts(images: slice, samples: slice, passes: PassSize) -> list[tuple[slice, slice]]:
    """Divide so that no part has more rows than a pass; samples first, then images."""
    n_images = images.stop - images.start
    if n_images > passes.rows:
        return [(_shift(part, images.start), samples) for part in passes.slices(n_images)]
    each = PassSize(max(1, passes.rows // n_images))
    n_samples = samples.stop - samples.start
    return [(images, _shift(part, samples.start)) for part in each.slices(n_samples)]


def _shift(part: slice, start: int) -> slice:
    return slice(part.start + start, part.stop + start)


def _pass(module: nn.Module, outputs: Sequence[int], points: Tensor, weights: Tensor,
          direction: Tensor) -> Tensor:
    def along(gradient: Tensor) -> Tensor:
        average = torch.einsum("s,bscyx->bcyx", weights, gradient.view(points.shape))
        return (average * direction).sum(dim=1)

    return run_forward(module, points.flatten(0, 1)).maps(outputs, along)


def gaussian_noise(context: BatchContext, inputs: Tensor, sample: int, scale: float) -> Tensor:
    """Noise of one sample for each image of a batch.

    Parameters
    ----------
    context : BatchContext
        Seed and names of the images.  The noise of an image follows from these and the number
        of the sample alone: it is the same in every batch, for every model and finding.
    inputs : Tensor, shape (B, C, H, W)
    sample : int
        Number of the sample, from 0.
    scale : float
        Standard deviation as a part of the image's range, its highest minus its lowest input.

    Returns
    -------
    Tensor, shape (B, C, H, W)
        Independent in every pixel and channel.
    """
    noise = [_standard_normal(context.seed, name, sample, inputs.shape[1:])
             for name in context.images]
    spread = inputs.amax((1, 2, 3), keepdim=True) - inputs.amin((1, 2, 3), keepdim=True)
    return like(torch.stack(noise), inputs) * (scale * spread)


def _standard_normal(seed: int, image: str, sample: int, shape: Sequence[int]) -> Tensor:
    name = int.from_bytes(hashlib.sha256(image.encode()).digest()[:16], "big")
    generator = np.random.default_rng([seed, name, sample])
    return torch.from_numpy(generator.standard_normal(tuple(shape), dtype=np.float32))
