"""The compiled pass over the pixels of one map: upsample, stretch and count, column by column.

Imported only where Numba is installed; what it was compiled to is kept on disk.  Nothing is
contracted or reordered, so that every pixel is the float32 that NumPy computes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator,unused-ignore]
def count(wide: Float32Array, lower: Any, upper: Any, weight: Float32Array, fused: bool,
          low: np.float32, span: np.float32, first: IntArray, cuts: Float32Array,
          bounds: IntArray, offsets: IntArray, plane: npt.NDArray[np.uint8],
          ) -> tuple[IntArray, IntArray]:
    """Count the bins of a map and of its parts inside masks.

    Parameters
    ----------
    wide : ndarray of float32, shape (width, rows)
        The map interpolated across, column by column.
    lower, upper : ndarray of uint32, shape (height,)
        Rows between which each new row lies; unsigned, so that no index can count from the end.
    weight : ndarray of float32, shape (height,)
    fused : bool
        Whether interpolation rounds as a fused multiply-add.
    low, span : float32
        Minimum and range of the map.
    first, cuts : ndarray of int32 and float32
        As :class:`saltrust.analysis.pixels.levels.Levels`.
    bounds, offsets : ndarray of int64
        Runs of all masks, and where those of each begin.
    plane : ndarray of uint8, shape (width, height) or (0, 0)
        Receives the level of every pixel.

    Returns
    -------
    total : ndarray of int64, shape (bins,)
    inside : ndarray of int64, shape (masks, bins)
    """
    width, height = wide.shape[0], len(lower)
    n_bins, n_masks = len(cuts), len(offsets) - 1
    # Neighbours fall into the same bin; four tables let them be counted side by side.
    tables = np.zeros((4, n_bins), dtype=np.int32)
    inside = np.zeros((n_masks, n_bins), dtype=np.int64)
    share = np.empty(height, dtype=np.float32)
    level = np.empty(height, dtype=np.uint32)
    place = np.empty(height, dtype=np.uint32)
    # The one cut that most levels with any have; a level with several is gone through.
    cut = np.full(256, np.inf, dtype=np.float32)
    several = False
    for k in range(256):
        if first[k + 1] - first[k] > 1:
            cut[k] = cuts[first[k] + 1]
        if first[k + 1] - first[k] > 2:
            several = True
    run = offsets[:-1].copy()
    scale = np.float32(255)
    one = np.float32(1)
    keep = plane.shape[0] > 0
    for x in range(width):
        source = wide[x]
        if fused:
            for y in range(height):
                above = source[upper[y]] * weight[y]
                below = np.float64(source[lower[y]]) * np.float64(one - weight[y])
                value = np.float32(below + np.float64(above))
                share[y] = (value - low) / span
        else:
            for y in range(height):
                below32 = source[lower[y]]
                value = (source[upper[y]] - below32) * weight[y] + below32
                share[y] = (value - low) / span
        for y in range(height):
            level[y] = np.uint32(np.int32(share[y] * scale))
        if keep:
            for y in range(height):
                plane[x, y] = np.uint8(level[y])
        for y in range(height):
            place[y] = first[level[y]] + np.uint32(share[y] > cut[level[y]])
        if several:
            for y in range(height):
                end = first[level[y] + np.uint32(1)]
                while place[y] + 1 < end and share[y] > cuts[place[y] + 1]:
                    place[y] += 1
        whole = height // 4 * 4
        for y in range(0, whole, 4):
            tables[0, place[y]] += 1
            tables[1, place[y + 1]] += 1
            tables[2, place[y + 2]] += 1
            tables[3, place[y + 3]] += 1
        for y in range(whole, height):
            tables[0, place[y]] += 1
        start, stop = x * height, (x + 1) * height
        for r in range(n_masks):
            while run[r] < offsets[r + 1] and bounds[run[r]] < stop:
                begin = max(bounds[run[r]], start)
                end = min(bounds[run[r] + 1], stop)
                for y in range(begin - start, end - start):
                    inside[r, place[y]] += 1
                if bounds[run[r] + 1] > stop:
                    break
                run[r] += 2
    total = np.zeros(n_bins, dtype=np.int64)
    for k in range(4):
        for b in range(n_bins):
            total[b] += tables[k, b]
    return total, inside


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator,unused-ignore]
def runs_above(plane: npt.NDArray[np.uint8], threshold: int) -> tuple[IntArray, IntArray]:
    """Runs of pixels above a threshold, each within its column, on a framed plane.

    Parameters
    ----------
    plane : ndarray of uint8, shape (width, height)
    threshold : int

    Returns
    -------
    start, stop : ndarray of int64, shape (runs,)
        As :class:`saltrust.analysis.pixels.runs.Runs` with a pitch of ``height + 2``.
    """
    width, height = plane.shape
    pitch = height + 2
    level = np.uint8(threshold)
    n = 0
    for x in range(width):
        column = plane[x]
        n += column[0] > level
        for y in range(1, height):
            n += (column[y] > level) & (column[y - 1] <= level)
    start, stop = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
    k = 0
    for x in range(width):
        column = plane[x]
        base = (x + 1) * pitch + 1
        inside = False
        for y in range(height):
            if (column[y] > level) != inside:
                if inside:
                    stop[k] = base + y
                    k += 1
                else:
                    start[k] = base + y
                inside = not inside
        if inside:
            stop[k] = base + height
            k += 1
    return start, stop
