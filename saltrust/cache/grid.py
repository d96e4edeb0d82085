"""Bringing native-size masks onto the grid of the study."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

#: Columns are summed together up to so many pixels: those of a film would take gigabytes.
_PIXELS_AT_ONCE = 4 * 2**20


def mask_to_grid(mask: npt.NDArray[np.bool_], grid: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Resample a mask by area: a grid pixel is in when at least half of it is covered.

    A mask that would vanish so (a thin line, a small lesion) keeps the grid pixels with at
    least half of the largest coverage, so that a positive never turns into a negative.

    Parameters
    ----------
    mask : ndarray of bool, shape (height, width)
    grid : (int, int)
        Height and width of the result.

    Returns
    -------
    ndarray of bool, shape grid

    Examples
    --------
    >>> mask_to_grid(np.eye(4, dtype=bool), (2, 2))
    array([[ True, False],
           [False,  True]])
    """
    if mask.shape == tuple(grid):
        return mask.copy()
    if not mask.any():
        return np.zeros(grid, dtype=bool)
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(mask.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    crop = mask[top:rows[-1] + 1, left:columns[-1] + 1]
    step = max(_PIXELS_AT_ONCE // len(crop), 1)
    covered = np.concatenate([
        _covered(crop[:, start:start + step].astype(np.float64), top, mask.shape[0], grid[0])
        for start in range(0, crop.shape[1], step)], axis=1)
    covered = _covered(covered.T, left, mask.shape[1], grid[1]).T
    pixel = (mask.shape[0] / grid[0]) * (mask.shape[1] / grid[1])
    # The area is a sum of products of binary fractions or not: leave rounding room at half.
    inside = covered >= 0.5 * pixel * (1 - 1e-12)
    if not inside.any():
        inside = covered >= 0.5 * covered.max()
    return inside


def _covered(values: npt.NDArray[np.float64], start: int, size: int, cells: int,
             ) -> npt.NDArray[np.float64]:
    """Integrate along axis 0 over ``cells`` equal parts of ``size`` rows; crop from ``start``."""
    total = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    edges = np.clip(np.arange(cells + 1) * (size / cells) - start, 0, len(values))
    below = np.minimum(edges.astype(np.intp), len(values) - 1)
    part = (edges - below)[:, None]
    at_edges = total[below] + part * values[below]
    return np.diff(at_edges, axis=0)
