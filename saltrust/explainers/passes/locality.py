"""Whether the places of a layer are places of the image, found out by changing parts of it.

The shape of a tensor does not tell: an attention matrix (B, heads, N, N) looks like feature maps.
So one quarter of an image of noise is changed at a time.  What a place of a plane shows depends
most on what lies under it, through residual connections also in networks whose every place
depends on the whole image; of the places of a plane that is read rightly, (nearly) all change most
with their own quarter.  Of an attention matrix, of channels last taken for channels first, of
tokens that are shifted or in another order, at most half do.
"""

from __future__ import annotations

import torch
from torch import Tensor

from saltrust.explainers.passes.layouts import Layout

#: Rows of the probe: the image, and the image with each quarter changed.
ROWS = 5
#: Share of places above which a layout is believed.
BELIEVED = 0.6


def probe_images(like: Tensor) -> Tensor:
    """An image of noise, and the same with each quarter changed.

    Parameters
    ----------
    like : Tensor, shape (1, C, H, W)
        An input of the network; gives range, device and dtype.

    Returns
    -------
    Tensor, shape (5, C, H, W)
        The quarters in the order of reading.
    """
    generator = torch.Generator().manual_seed(0)
    scale = max(1.0, float(like.detach().abs().max()))
    noise = torch.rand(2, *like.shape[1:], generator=generator) * 2 - 1
    base, other = (noise * scale).to(like)
    images: Tensor = base.repeat(ROWS, 1, 1, 1)
    height, width = like.shape[2] // 2, like.shape[3] // 2
    quarters = [(rows, columns) for rows in (slice(None, height), slice(height, None))
                for columns in (slice(None, width), slice(width, None))]
    for image, (rows, columns) in zip(images[1:], quarters, strict=True):
        image[:, rows, columns] = other[:, rows, columns]
    return images


def changes(values: Tensor, channels: int) -> Tensor:
    """How much each place changes with each quarter.

    Parameters
    ----------
    values : Tensor
        What a layer returned for :func:`probe_images`; its rows are images or windows of images.
    channels : int
        The dimension that holds the channels, which is averaged and kept.
    """
    rows = values.detach().float().reshape(ROWS, -1, *values.shape[1:])
    change: Tensor = (rows[1:] - rows[:1]).abs().flatten(0, 1).mean(dim=channels, keepdim=True)
    return change


def agreement(change: Tensor, layout: Layout) -> float:
    """Share of the places of a layout that change most with their own quarter.

    Parameters
    ----------
    change : Tensor
        From :func:`changes`, the dimension of the channels being 1.
    layout : Layout

    Returns
    -------
    float
        0 where nothing changes.
    """
    plane = layout.plane(change)[:, 0]
    largest, quarter = plane.max(dim=0)
    height, width = layout.grid
    # A row or column in the middle belongs to both sides.
    right_row = _side(quarter // 2, height).view(height, width)
    right_column = _side((quarter % 2).T, width).view(width, height).T
    counted = largest > 0
    if not bool(counted.any()):
        return 0.0
    return float((right_row & right_column)[counted].float().mean())


def _side(half: Tensor, length: int) -> Tensor:
    """Whether each row lies in the half (0 or 1) that is named for it."""
    centers = 2 * torch.arange(length, device=half.device).view(-1, 1) + 1
    return torch.where(half == 0, centers <= length, centers >= length)
