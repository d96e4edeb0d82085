"""XRAI: attributions gathered into regions of the image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from saltrust.explainers.declaration import COUNT, explainer
from saltrust.explainers.methods.integrated_gradients import QUADRATURES, ig
from saltrust.explainers.methods.xrai.regions import Segmentation, grow_regions
from saltrust.explainers.passes.context import LEVELS, BatchContext
from saltrust.explainers.passes.forward import ForwardPass


@explainer(rank=6, limits={"steps": COUNT, "min_pixels": COUNT},
           choices={"baselines": LEVELS, "quadrature": QUADRATURES}, trial={"steps": 1},
           reading="positive",
           cost="`ig` for each baseline, and regions that grow on the CPU")
def xrai(
    module: nn.Module,
    inputs: Tensor,
    outputs: Sequence[int],
    *,
    steps: int = 25,
    baselines: tuple[str, ...] = ("black", "white"),
    quadrature: str = "right",
    min_pixels: int = 50,
    forward: ForwardPass | None = None,
    context: BatchContext | None = None,
) -> Tensor:
    """XRAI: regions of the image, ranked by the density of integrated gradients in them.

    ``heatmap[y, x]`` is the mean attribution of the pixels that were added together with
    (y, x) when a region grows over the image: of overlapping segments at six scales, always the
    one whose pixels outside the region have the highest mean attribution comes next.  The
    attribution is the mean of :func:`~saltrust.explainers.methods.integrated_gradients.ig` over the
    baselines.

    The radiograph is segmented once for all findings and models
    (:func:`saltrust.explainers.methods.xrai.segments.segment`); the same attribution gives the same
    regions as the authors' ``saliency.core.XRAI`` in full mode.

    Parameters
    ----------
    module : torch.nn.Module
        Returns logits of shape (B, K).
    inputs : Tensor, shape (B, C, H, W), floating
    outputs : sequence of int
        Indices of the F logits to explain.
    steps : int
        Of integrated gradients, at least 1.
    quadrature : {'right', 'midpoint', 'trapezoid', 'gauss-legendre'}
        Positions and weights of these steps
        (:func:`~saltrust.explainers.methods.integrated_gradients.path_positions`).
    baselines : list of 'black', 'gray', 'white'
        Of integrated gradients; maps of the study's own ``ig`` are shared where they are of the
        same steps, quadrature and baseline.
    min_pixels : int
        Segments that would add fewer pixels are dropped.
    forward : ForwardPass, optional
        A pass over the same inputs, in which maps of ``ig`` are kept.
    context : BatchContext, optional
        Black and white, gray values to segment, and segments that are known already.

    Returns
    -------
    Tensor, shape (B, F, H, W), dtype of ``inputs``
        Signed, in logits per pixel; piecewise constant.  Channels are summed in the
        attribution (the authors' code takes their maximum when given several).  NaN throughout
        where an attribution is not finite.

    References
    ----------
    Kapishnikov, Bolukbasi, Viegas, Terry 2019, "XRAI: better attributions through regions",
    algorithm 1: black and white baselines.  The number of steps is protocol A's.
    """
    context = BatchContext.of(inputs) if context is None else context
    attribution = torch.stack([
        ig(module, inputs, outputs, steps=steps, baseline=baseline, quadrature=quadrature,
           forward=forward, context=context) for baseline in baselines]).mean(dim=0)
    values = attribution.detach().cpu().double().numpy()
    maps = np.empty_like(values)
    height, width = values.shape[2:]
    for image, gray in enumerate(context.gray(inputs)):
        segmentation = Segmentation.of(context.segments.masks(gray), (height, width))
        for finding, of_finding in enumerate(values[image]):
            maps[image, finding] = (
                grow_regions(of_finding, segmentation, min_pixels).heatmap
                if np.isfinite(of_finding).all() else np.nan)
    return torch.from_numpy(maps).to(inputs)
