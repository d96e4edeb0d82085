"""Smooth fields in relative coordinates: bumps, noise and ellipses.

Only sums, products and quotients of uniform draws are used.  IEEE 754 fixes their every bit, as
it does not for exponentials and logarithms, so a seed gives the same study on any machine.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def pixel_centers(size: int) -> FloatArray:
    """Relative positions of the centers of ``size`` pixels in a row, within (0, 1)."""
    return (np.arange(size) + 0.5) / size


def bump(center: FloatArray, spread: FloatArray | float, size: int) -> FloatArray:
    """Hills of height 1 on a square grid.

    Parameters
    ----------
    center : ndarray of float64, shape (..., 2)
        Row and column of the tops, relative.
    spread : float or ndarray of float64, shape (...)
        Distance at which a hill has a quarter of its height, relative.
    size : int
        Pixels along each side of the grid.

    Returns
    -------
    ndarray of float64, shape (..., size, size)
    """
    at = pixel_centers(size)
    rows = (at[:, None] - center[..., 0, None, None]) ** 2
    columns = (at - center[..., 1, None, None]) ** 2
    falloff = 1 + (rows + columns) / np.asarray(spread)[..., None, None] ** 2
    return np.asarray(1 / (falloff * falloff))


def noise(generator: np.random.Generator, shape: tuple[int, ...], size: int) -> FloatArray:
    """Smooth noise of mean 0 and standard deviation 0.58, correlated over three pixels.

    Returns
    -------
    ndarray of float64, shape (*shape, size, size)
    """
    white = 2 * generator.random((*shape, size, size)) - 1
    rows = white + np.roll(white, 1, axis=-2) + np.roll(white, -1, axis=-2)
    return np.asarray((rows + np.roll(rows, 1, axis=-1) + np.roll(rows, -1, axis=-1)) / 3)


def fill_ellipses(ellipses: FloatArray, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Mask of the pixels whose center lies in any ellipse.

    Parameters
    ----------
    ellipses : ndarray of float64, shape (n, 4)
        Row and column of the center, half axes along rows and columns, all relative.
    shape : (int, int)
        Height and width.

    Returns
    -------
    ndarray of bool, shape ``shape``
    """
    rows, columns = (pixel_centers(length) for length in shape)
    mask = np.zeros(shape, dtype=bool)
    for y, x, half_height, half_width in ellipses.tolist():
        mask |= (((rows - y) / half_height) ** 2)[:, None] + ((columns - x) / half_width) ** 2 <= 1
    return mask


def saturate(value: FloatArray) -> FloatArray:
    """A sigmoid curve from 0 to 1 without exponentials: 0.5 + 0.5 v / (1 + |v|)."""
    return np.asarray(0.5 + 0.5 * value / (1 + np.abs(value)))
