"""Smooth fields over the image that the phantom is made of: steps, unions and noise."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

Field = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def blend(first: Field, second: Field, width: float) -> Field:
    """Union of two levels whose corner is rounded off over ``width``."""
    overlap = np.clip(0.5 + 0.5 * (first - second) / width, 0, 1)
    return second + (first - second) * overlap + width * overlap * (1 - overlap)


def smooth_step(level: Field, softness: float) -> Field:
    """Cubic step from 0 at ``-softness`` to 1 at ``softness``."""
    t = np.clip(level / (2 * softness) + 0.5, 0.0, 1.0)
    return t * t * (3 - 2 * t)


@lru_cache(maxsize=64)
def _spline_weights(size: int, knots: int) -> csr_array:
    """Cubic B-spline weights of ``knots + 3`` coefficients at ``size`` pixel centres.

    Sparse, so that products take no BLAS: its threads would cost more than the product, and
    its sums depend on the processor.
    """
    position = (np.arange(size) + 0.5) / size * knots
    cell = np.minimum(position.astype(int), knots - 1)
    t = position - cell
    weights = np.zeros((size, knots + 3))
    basis = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    for offset, values in enumerate(basis):
        weights[np.arange(size), cell + offset] = values / 6
    return csr_array(weights)


def smooth_noise(rng: np.random.Generator, size: int, knots: int) -> Field:
    """Smooth random field of about unit variance, the same picture at every ``size``.

    Parameters
    ----------
    rng : numpy.random.Generator
    size : int
        Height and width in pixels.
    knots : int
        Independent values along each side: the larger, the finer the structure.

    Returns
    -------
    ndarray of float64, shape (size, size)
    """
    weights = _spline_weights(size, knots)
    # The mean squared weight of a cubic B-spline is 151/315 in each direction.
    rows = weights @ rng.standard_normal((knots + 3, knots + 3))
    return np.asarray((weights @ rows.T).T) / (151 / 315)
