"""Parts of an image that are one feature each, and how one is permuted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from saltrust.explainers.methods.xrai.segments import SCALES, resized
from saltrust.explainers.passes.context import BatchContext
from saltrust.explainers.passes.layouts import Layout


def superpixels(context: BatchContext, inputs: Tensor, scale: int) -> Tensor:
    """The superpixels of each image: the segments that XRAI has at one of its scales.

    Parameters
    ----------
    context : BatchContext
    inputs : Tensor, shape (B, C, H, W)
    scale : {50, 100, 150, 250, 500, 1200}
        Of Felzenszwalb's and Huttenlocher's method: the higher, the fewer and larger they are.

    Returns
    -------
    Tensor of int64, shape (B, 1, H, W)
        Numbers from 0, none left out, of each image for itself.  An image that is one segment,
        as a uniform one is, is cut into its quarters.
    """
    height, width = inputs.shape[2:]
    masks = []
    for gray in context.gray(inputs):
        labels = resized(context.segments.labels(gray)[SCALES.index(scale)], (height, width))
        numbers = np.unique(labels, return_inverse=True)[1].reshape(height, width)
        if not numbers.any():
            rows, columns = np.arange(height) >= height / 2, np.arange(width) >= width / 2
            numbers = 2 * rows[:, None] + columns
        masks.append(torch.from_numpy(numbers.astype(np.int64)))
    return torch.stack(masks)[:, None].to(inputs.device)


def place_numbers(layout: Layout, values: Tensor) -> Tensor:
    """Numbers of the places of a layer, in the form of its values.

    Parameters
    ----------
    layout : Layout
    values : Tensor
        What the layer returned for one image.

    Returns
    -------
    Tensor of int64, shape of ``values``
        Values of one place have one number; what is no place, as class tokens, is the last.
    """
    plane = layout.plane(values)
    numbers = torch.arange(layout.positions, device=values.device).view(1, 1, *layout.grid)
    outside = torch.full_like(values, layout.positions, dtype=torch.int64)
    placed: Tensor = layout.values(numbers.expand(1, plane.shape[1], *layout.grid), outside)
    return placed


def permuting(layout: Layout | None = None) -> Callable[[Tensor, Tensor], Tensor]:
    """How a feature is permuted: its places take the values of places drawn from the whole image.

    captum permutes features among the images of a batch, so that a map depends on the batch and
    a single image has none; this is the same among the places of one image.

    Parameters
    ----------
    layout : Layout, optional
        How values lie on the image; without one they are a plane.
    """
    def permute(values: Tensor, mask: Tensor) -> Tensor:
        plane = values if layout is None else layout.plane(values)
        order = torch.randperm(plane.shape[2] * plane.shape[3]).to(plane.device)
        moved = plane.flatten(2)[..., order].view(plane.shape)
        moved = moved if layout is None else layout.values(moved, values)
        return torch.where(mask, moved, values)

    return permute
