"""Gradients integrated along the straight path from a baseline image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from saltrust.explainers.declaration import COUNT, explainer
from saltrust.explainers.passes.context import LEVELS, BatchContext
from saltrust.explainers.passes.forward import ForwardPass
from saltrust.explainers.passes.sampling import average_gradient, gaussian_noise
from saltrust.models.transfers import like

#: Ways to approximate the integral; see :func:`path_positions`.
QUADRATURES = ("right", "midpoint", "trapezoid", "gauss-legendre")


@explainer(rank=3, baseline="baseline", limits={"steps": COUNT},
           choices={"baseline": LEVELS, "quadrature": QUADRATURES}, trial={"steps": 1},
           reading="positive",
           cost="`steps` backward passes for each finding")
def ig(
    module: nn.Module,
    inputs: Tensor,
    outputs: Sequence[int],
    *,
    steps: int = 25,
    baseline: str = "black",
    quadrature: str = "right",
    forward: ForwardPass | None = None,
    context: BatchContext | None = None,
) -> Tensor:
    """Integrated gradients: how the logit's change from a baseline divides among the pixels.

    ``heatmap[y, x] = sum over c of (input - baseline)[c, y, x] * sum over k of w[k] *
    d logit / d input[c, y, x]`` at ``baseline + a[k] * (input - baseline)``.

    Up to the error of the sum over steps, the map adds up to logit(input) - logit(baseline)
    (completeness); :func:`saltrust.explainers.explain.explain` returns the difference.

    Parameters
    ----------
    module : torch.nn.Module
        Returns logits of shape (B, K).
    inputs : Tensor, shape (B, C, H, W), floating
    outputs : sequence of int
        Indices of the F logits to explain.
    steps : int
        At least 1.
    baseline : {'black', 'gray', 'white'}
        Gray level of the baseline image, before it is normalised for the network.
    quadrature : {'right', 'midpoint', 'trapezoid', 'gauss-legendre'}
        Positions ``a`` and weights ``w`` of the steps (:func:`path_positions`).
    forward : ForwardPass, optional
        A pass over the same inputs, in which the maps are kept for XRAI.
    context : BatchContext, optional
        Says what black and white are; without it, the lowest and highest value of each
        channel.

    Returns
    -------
    Tensor, shape (B, F, H, W), dtype of ``inputs``
        Raw and signed, in logits: positive where the pixel, being as it is and not as in the
        baseline, raises the logit.  Summed over channels.

    References
    ----------
    Sundararajan, Taly, Yan 2017, "Axiomatic attribution for deep networks", eq. 1 and 3.
    The number of steps is protocol A's.
    """
    context = BatchContext.of(inputs) if context is None else context

    def compute() -> Tensor:
        return _along_path(module, inputs, outputs, context.level(baseline, inputs), steps,
                           quadrature, context)

    if forward is None:
        return compute()
    return forward.compute_once(("ig", tuple(outputs), steps, baseline, quadrature), compute)


@explainer(rank=4, limits={"steps": COUNT, "samples": COUNT, "noise": (0, 10)},
           choices={"baseline": LEVELS, "quadrature": QUADRATURES},
           trial={"steps": 1, "samples": 1}, reading="positive",
           cost="`samples` x `steps` backward passes for each finding")
def smooth_ig(
    module: nn.Module,
    inputs: Tensor,
    outputs: Sequence[int],
    *,
    steps: int = 25,
    samples: int = 25,
    noise: float = 0.15,
    baseline: str = "black",
    quadrature: str = "right",
    context: BatchContext | None = None,
) -> Tensor:
    """Smooth integrated gradients: the mean of the maps of :func:`ig` over noisy copies.

    ``heatmap = mean over n of ig(input + noise * (max - min) * e[n])``, where ``e[n]`` is
    standard normal in every pixel and channel, and max and min are those of the image's inputs.

    The map adds up to the mean change of the logit from the baseline over the noisy copies, not
    to that of the image itself.

    Parameters
    ----------
    module : torch.nn.Module
        Returns logits of shape (B, K).
    inputs : Tensor, shape (B, C, H, W), floating
    outputs : sequence of int
        Indices of the F logits to explain.
    steps : int
        On each path, at least 1.
    samples : int
        Noisy copies, at least 1: the same as in
        :func:`saltrust.explainers.methods.smoothgrad.smoothgrad`.
    noise : float
        Standard deviation as a part of the image's range.
    baseline : {'black', 'gray', 'white'}
        Gray level of the baseline image, before it is normalised for the network; it carries
        no noise.
    quadrature : {'right', 'midpoint', 'trapezoid', 'gauss-legendre'}
        Positions and weights of the steps (:func:`path_positions`).
    context : BatchContext, optional
        Seed and names of the images, from which the noise follows; black and white.

    Returns
    -------
    Tensor, shape (B, F, H, W), dtype of ``inputs``
        Raw and signed, in logits, summed over channels.

    References
    ----------
    Smilkov et al. 2017, "SmoothGrad: removing noise by adding noise", section 3, applied to
    Sundararajan et al. 2017.  Steps and samples are protocol A's.
    """
    context = BatchContext.of(inputs) if context is None else context
    level = context.level(baseline, inputs)
    total = inputs.new_zeros(len(inputs), len(outputs), *inputs.shape[2:])
    for sample in range(samples):
        noisy = inputs + gaussian_noise(context, inputs, sample, noise)
        total += _along_path(module, noisy, outputs, level, steps, quadrature, context)
    return total / samples


def path_positions(quadrature: str, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Where on the path from baseline (0) to image (1) gradients are taken, and their weights.

    ``right``: k / m with weights 1 / m for k = 1 to m (Sundararajan et al., eq. 3); ``midpoint``:
    (k - 1/2) / m; ``trapezoid``: from 0 to 1 with half weight at both ends; ``gauss-legendre``:
    exact for polynomials up to degree 2 m - 1.

    Returns
    -------
    positions, weights : ndarray of float64, shape (steps,)
        The weights add up to 1.

    Examples
    --------
    >>> path_positions("right", 4)[0]
    array([0.25, 0.5 , 0.75, 1.  ])
    >>> path_positions("trapezoid", 3)
    (array([0. , 0.5, 1. ]), array([0.25, 0.5 , 0.25]))
    """
    equal = np.full(steps, 1 / steps)
    numbers = np.arange(1, steps + 1)
    if quadrature == "right":
        return numbers / steps, equal
    if quadrature == "midpoint" or steps == 1:
        return (numbers - 0.5) / steps, equal
    if quadrature == "trapezoid":
        weights = np.full(steps, 1 / (steps - 1))
        weights[[0, -1]] /= 2
        return np.linspace(0, 1, steps), weights
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    return (nodes + 1) / 2, weights / 2


def _along_path(module: nn.Module, inputs: Tensor, outputs: Sequence[int], baseline: Tensor,
                steps: int, quadrature: str, context: BatchContext) -> Tensor:
    positions, weights = (
        like(torch.as_tensor(values), inputs) for values in path_positions(quadrature, steps))
    direction = inputs - baseline
    start = baseline.expand(len(inputs), -1, -1, -1)

    def points(images: slice, part: slice) -> Tensor:
        along = positions[part].view(1, -1, 1, 1, 1)
        return start[images, None] + along * direction[images, None]

    return average_gradient(module, outputs, points, weights, direction, context.passes)
