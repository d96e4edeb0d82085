"""Light variation of training images: what differs between two films of one patient."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

#: Largest shift, as a fraction of height and width.
SHIFT = 0.05
#: Largest rotation, in degrees.
ROTATION = 5.0
#: Largest relative change of contrast about the image's mean.
CONTRAST = 0.15


def augment(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Shift, rotate a little and change the contrast of every image on its own.

    Each image is shifted by up to ``SHIFT`` in both directions, rotated by up to ``ROTATION``
    degrees about its centre (bilinear, the border repeated), and its contrast changed by up to
    ``CONTRAST``; all uniformly.  Left and right are never swapped: the heart has a side.

    Parameters
    ----------
    pixels : Tensor of uint8, shape (batch, height, width)
    generator : torch.Generator
        On the CPU; four numbers are drawn per image.

    Returns
    -------
    Tensor of uint8, shape (batch, height, width)
        On the device of ``pixels``.
    """
    batch, height, width = pixels.shape
    draw = 2 * torch.rand(batch, 4, generator=generator) - 1
    angle = draw[:, 2] * math.radians(ROTATION)
    cos, sin = torch.cos(angle), torch.sin(angle)
    # Rows map output to input positions in units of half the image, so that a rotation keeps
    # angles only if the sides are brought to one unit first.
    aspect = height / width
    transform = torch.stack([
        torch.stack([cos, -sin * aspect, 2 * SHIFT * draw[:, 0]], 1),
        torch.stack([sin / aspect, cos, 2 * SHIFT * draw[:, 1]], 1),
    ], 1).to(pixels.device)
    gray = pixels.to(torch.float32).unsqueeze(1)
    positions = functional.affine_grid(transform, [batch, 1, height, width], align_corners=False)
    gray = functional.grid_sample(gray, positions, mode="bilinear", padding_mode="border",
                                  align_corners=False).squeeze(1)
    factor = (1 + CONTRAST * draw[:, 3]).to(pixels.device).view(-1, 1, 1)
    mean = gray.mean(dim=(1, 2), keepdim=True)
    return (mean + factor * (gray - mean)).round().clamp(0, 255).to(torch.uint8)
