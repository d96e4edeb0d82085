"""The compiled filters of the structural similarity: one pass over the rows of two maps.

Imported only where Numba is installed; what it was compiled to is kept on disk.  Nothing is
reordered or contracted, so that identical maps have a similarity of exactly 1.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

FloatArray = npt.NDArray[np.float64]


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator,unused-ignore]
def mean_similarity(first: FloatArray, second: FloatArray, taps: FloatArray, freedom: float,
                    c1: float, c2: float) -> float:
    """Mean of the local similarities where the whole window fits.

    Each row is filtered along once and kept until the window has passed it; the rows kept are
    then filtered across.

    Parameters
    ----------
    first, second : ndarray of float64, shape (height, width)
        Finite.
    taps : ndarray of float64, shape (radius + 1,)
        The window is separable and symmetric: its weight at distance 0, 1, ... radius.
    freedom : float
        Factor of variances and covariance under the window, 1 or N / (N - 1).
    c1, c2 : float
        Constants (K1 L)^2 and (K2 L)^2.
    """
    height, width = first.shape
    radius = len(taps) - 1
    depth, inner = 2 * radius + 1, width - 2 * radius
    # x, y, xy and x^2 + y^2 of a row; the last rows of them filtered along; all sums of a row.
    planes = np.empty((4, width))
    kept = np.empty((depth, 4, inner))
    sums = np.empty((4, inner))
    # Numerator and denominator of the covariance term are divided by 2 freedom.
    offset = c2 / freedom
    total = 0.0
    for row in range(height):
        x, y = first[row], second[row]
        for column in range(width):
            a, b = x[column], y[column]
            planes[0, column] = a
            planes[1, column] = b
            planes[2, column] = a * b
            planes[3, column] = a * a + b * b
        for plane in range(4):
            source, target = planes[plane], kept[row % depth, plane]
            for column in range(inner):
                target[column] = taps[0] * source[column + radius]
            for k in range(1, radius + 1):
                tap, left, right = taps[k], source[radius - k:], source[radius + k:]
                for column in range(inner):
                    target[column] += tap * (left[column] + right[column])
        if row < depth - 1:
            continue
        center = row - radius
        for plane in range(4):
            middle, target = kept[center % depth, plane], sums[plane]
            for column in range(inner):
                target[column] = taps[0] * middle[column]
            for k in range(1, radius + 1):
                tap = taps[k]
                above, below = kept[(center - k) % depth, plane], kept[(center + k) % depth, plane]
                for column in range(inner):
                    target[column] += tap * (above[column] + below[column])
        for column in range(inner):
            p, q = sums[0, column], sums[1, column]
            product, squares = p * q, p * p + q * q
            planes[0, column] = (
                (2 * product + c1) * (2 * (sums[2, column] - product) + offset)
                / ((squares + c1) * (sums[3, column] - squares + offset)))
        line = 0.0
        for column in range(inner):
            line += planes[0, column]
        total += line
    return total / ((height - 2 * radius) * inner)
