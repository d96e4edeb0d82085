"""Masks and boxes that move with their varied images."""

from __future__ import annotations

import torch
from torch import Tensor

from saltrust.training.data.augmentation import Variation, moved


def move_masks(masks: Tensor, variation: Variation) -> Tensor:
    """Masks of varied images.

    Parameters
    ----------
    masks : Tensor of bool, shape (batch, finding, H, W)
    variation : Variation

    Returns
    -------
    Tensor of bool, shape (batch, finding, H, W)
        In where at least half of a pixel is; the border is repeated, as that of the images.
    """
    return torch.stack([
        moved(masks[:, column].float(), variation.shift, variation.angle, outside="border") >= 0.5
        for column in range(masks.shape[1])], dim=1)


def move_boxes(boxes: Tensor, variation: Variation, image: int, size: tuple[int, int]) -> Tensor:
    """Upright boxes around the moved boxes of one image, cut off at its border.

    Parameters
    ----------
    boxes : Tensor of float32, shape (n, 4)
        y0, x0, y1, x1 in pixels.
    variation : Variation
    image : int
        Position in the batch.
    size : (int, int)
        Height and width of the image.

    Returns
    -------
    Tensor of float32, shape (n, 4)
        On the CPU; a box that has left the image has no extent.
    """
    height, width = size
    # Corners turn about the centre of the image, clockwise on the screen, and then move.
    y = boxes[:, [0, 0, 2, 2]] - height / 2
    x = boxes[:, [1, 3, 1, 3]] - width / 2
    angle, (down, right) = variation.angle[image].cpu(), variation.shift[image].cpu()
    cos, sin = torch.cos(angle), torch.sin(angle)
    rows = (sin * x + cos * y + height * (0.5 + down)).clamp(0, height)
    columns = (cos * x - sin * y + width * (0.5 + right)).clamp(0, width)
    return torch.stack([rows.amin(1), columns.amin(1), rows.amax(1), columns.amax(1)], dim=1)
