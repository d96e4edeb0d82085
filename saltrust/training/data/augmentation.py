"""Light variation of training images: what differs between two films of one patient."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from saltrust.models.transfers import to_device

#: Largest shift, as a fraction of height and width.
SHIFT = 0.05
#: Largest rotation, in degrees.
ROTATION = 5.0
#: Largest relative change of contrast about the image's mean.
CONTRAST = 0.15


@dataclass(frozen=True)
class Variation:
    """How each image of a batch is varied.

    Attributes
    ----------
    shift : Tensor of float32, shape (batch, 2)
        Down and to the right, as fractions of height and width.
    angle : Tensor of float32, shape (batch,)
        In radians, clockwise as seen on the screen.
    contrast : Tensor of float32, shape (batch,)
        Factor of the distance from the image's mean.
    """

    shift: Tensor
    angle: Tensor
    contrast: Tensor


def draw_variation(n: int, generator: torch.Generator, device: torch.device) -> Variation:
    """Uniform draws up to the bounds of this module, for each of ``n`` images on its own.

    Left and right are never swapped: the heart has a side.

    Parameters
    ----------
    n : int
    generator : torch.Generator
        On the CPU; four numbers are drawn per image.
    device : torch.device
        Of the result.
    """
    draw = to_device(2 * torch.rand(n, 4, generator=generator) - 1, device)
    return Variation(SHIFT * draw[:, :2], math.radians(ROTATION) * draw[:, 2],
                     1 + CONTRAST * draw[:, 3])


def augment(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Vary every image on its own: :func:`draw_variation`, then :func:`vary`.

    Parameters
    ----------
    pixels : Tensor of uint8, shape (batch, height, width)
    generator : torch.Generator
        On the CPU.

    Returns
    -------
    Tensor of uint8, shape (batch, height, width)
        On the device of ``pixels``.
    """
    drawn = draw_variation(len(pixels), generator, pixels.device)
    return vary(pixels, drawn.shift, drawn.angle, drawn.contrast)


def vary(pixels: Tensor, shift: Tensor, angle: Tensor, contrast: Tensor) -> Tensor:
    """Rotate images about their centre, shift them, and change their contrast.

    Parameters
    ----------
    pixels : Tensor of uint8, shape (batch, height, width)
    shift : Tensor of float32, shape (batch, 2)
        Down and to the right, as fractions of height and width.
    angle : Tensor of float32, shape (batch,)
        In radians, clockwise as seen on the screen.
    contrast : Tensor of float32, shape (batch,)
        Factor of the distance from the image's mean.

    Returns
    -------
    Tensor of uint8, shape (batch, height, width)
        Bilinear, the border repeated, rounded.

    Examples
    --------
    >>> dot = torch.zeros(1, 4, 4, dtype=torch.uint8)
    >>> dot[0, 1, 1] = 200
    >>> moved = vary(dot, torch.tensor([[0.25, 0.5]]), torch.zeros(1), torch.ones(1))
    >>> moved[0].nonzero().tolist()
    [[2, 3]]
    """
    gray = move_maps(pixels.to(torch.float32), shift, angle, outside="border")
    mean = gray.mean(dim=(1, 2), keepdim=True)
    gray = mean + contrast.view(-1, 1, 1) * (gray - mean)
    return gray.round().clamp(0, 255).to(torch.uint8)


def move_maps(maps: Tensor, shift: Tensor, angle: Tensor, *, outside: str = "zeros") -> Tensor:
    """Rotate maps about their centre and shift them, as :func:`vary` moves images.

    Parameters
    ----------
    maps : Tensor of float32, shape (batch, height, width)
    shift, angle
        As of :class:`Variation`.
    outside : {'zeros', 'border'}
        What comes in from beyond the border: zeros, or the border repeated.

    Returns
    -------
    Tensor of float32, shape (batch, height, width)
        Bilinear.
    """
    batch, height, width = maps.shape
    cos, sin = torch.cos(angle), torch.sin(angle)
    # Output to input position, both in units of half the image: a rotation keeps angles only
    # where both sides have one unit, hence the aspect.
    aspect = height / width
    down, right = 2 * shift[:, 0], 2 * shift[:, 1]
    rows = (
        (cos, sin * aspect, -cos * right - sin * aspect * down),
        (-sin / aspect, cos, sin / aspect * right - cos * down),
    )
    transform = torch.stack([torch.stack(row, 1) for row in rows], 1)
    positions = functional.affine_grid(transform, [batch, 1, height, width], align_corners=False)
    return functional.grid_sample(maps.unsqueeze(1), positions, mode="bilinear",
                                  padding_mode=outside, align_corners=False).squeeze(1)
