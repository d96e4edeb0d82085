"""The compiled pass over the pixels of one map: upsample, stretch and count, in strips.

A strip is a few columns wide, so that a row of it is one or a few vectors of the processor and
all that is held of it stays in its cache.  Imported only where Numba is installed; what it was
compiled to is kept on disk.  Nothing is contracted or reordered, so that every pixel is the
float32 that NumPy computes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

#: Columns of a strip.
STRIP = 32


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator,unused-ignore]
def widen(source: Float32Array, lower: Any, upper: Any, weight: Float32Array, fused: bool,
          ) -> Float32Array:
    """Interpolate the rows of a map across.

    Parameters
    ----------
    source : ndarray of float32, shape (rows, columns)
    lower, upper : ndarray of uint32, shape (width,)
        Columns between which each new column lies; unsigned, so that no index can count from
        the end.
    weight : ndarray of float32, shape (width,)
        Of the upper one.
    fused : bool
        Whether interpolation rounds as a fused multiply-add.

    Returns
    -------
    ndarray of float32, shape (rows, width)
    """
    width = len(lower)
    wide = np.empty((source.shape[0], width), dtype=np.float32)
    one = np.float32(1)
    for r in range(source.shape[0]):
        row, out = source[r], wide[r]
        if fused:
            for x in range(width):
                above = row[upper[x]] * weight[x]
                below = np.float64(row[lower[x]]) * np.float64(one - weight[x])
                out[x] = np.float32(below + np.float64(above))
        else:
            for x in range(width):
                below32 = row[lower[x]]
                out[x] = (row[upper[x]] - below32) * weight[x] + below32
    return wide


# What is done to a whole strip stands in functions of its own, without a branch: merged into the
# loops over strips, the compiler no longer turns it into vectors.


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator,unused-ignore]
def _stretch(strip: Float32Array, lower: Any, upper: Any, weight: Float32Array,
             low: np.float32, span: np.float32, share: Float32Array) -> None:
    """Interpolate a strip down and stretch it to 0..1, shape (height, columns)."""
    for y in range(len(lower)):
        below, above, part, row = strip[lower[y]], strip[upper[y]], weight[y], share[y]
        for j in range(STRIP):
            row[j] = ((above[j] - below[j]) * part + below[j] - low) / span


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator,unused-ignore]
def _stretch_fused(strip: Float32Array, lower: Any, upper: Any, weight: Float32Array,
                   low: np.float32, span: np.float32, share: Float32Array) -> None:
    """As :func:`_stretch`, rounding as a fused multiply-add."""
    for y in range(len(lower)):
        below, above, part, row = strip[lower[y]], strip[upper[y]], weight[y], share[y]
        rest = np.float64(np.float32(1) - part)
        for j in range(STRIP):
            value = np.float32(np.float64(below[j]) * rest + np.float64(above[j] * part))
            row[j] = (value - low) / span


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator,unused-ignore]
def _place_evenly(share: Float32Array, steps: float, place: npt.NDArray[np.uint16]) -> None:
    """Bins where the cuts are those of 0, 1 / steps, 2 / steps, ..."""
    scale = np.float32(255)
    for y in range(len(share)):
        source, row = share[y], place[y]
        for j in range(STRIP):
            # A product of float32 and a small whole number is exact in float64.
            row[j] = np.uint16(np.int32(source[j] * scale)
                               + np.int32(np.ceil(np.float64(source[j]) * steps)))


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator,unused-ignore]
def _place(share: Float32Array, n: int, first: IntArray, cuts: Float32Array,
           place: npt.NDArray[np.uint16]) -> None:
    """Bins of the first n columns, whatever the cuts."""
    for y in range(len(share)):
        for j in range(n):
            level = np.int32(share[y, j] * np.float32(255))
            at, end = first[level], first[level + 1]
            while at + 1 < end and share[y, j] > cuts[at + 1]:
                at += 1
            place[y, j] = np.uint16(at)


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator,unused-ignore]
def _mark_above(share: Float32Array, least: np.float32, marks: npt.NDArray[np.uint8]) -> None:
    """Where the level reaches a number: the truncated product does where the product does."""
    for y in range(len(share)):
        source, row = share[y], marks[y]
        for j in range(STRIP):
            row[j] = np.uint8(source[j] * np.float32(255) >= least)


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator,unused-ignore]
def _tally(place: npt.NDArray[np.uint16], tables: IntArray) -> None:
    """Count bins of a whole strip.

    Neighbours fall into the same bin; four tables let them be counted side by side.
    """
    flat = place.reshape(-1)
    for k in range(0, len(flat), 4):
        tables[0, flat[k]] += 1
        tables[1, flat[k + 1]] += 1
        tables[2, flat[k + 2]] += 1
        tables[3, flat[k + 3]] += 1


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator,unused-ignore]
def count(wide: Float32Array, lower: Any, upper: Any, weight: Float32Array, fused: bool,
          low: np.float32, span: np.float32, first: IntArray, cuts: Float32Array, steps: float,
          bounds: IntArray, offsets: IntArray) -> tuple[IntArray, IntArray]:
    """Count the bins of a map and of its parts inside masks.

    Parameters
    ----------
    wide : ndarray of float32, shape (rows, width)
        The map interpolated across.
    lower, upper : ndarray of uint32, shape (height,)
        Rows between which each new row lies.
    weight : ndarray of float32, shape (height,)
    fused : bool
    low, span : float32
        Minimum and range of the map.
    first : ndarray of uint32, shape (257,)
        First bin of each of the 256 levels, and the number of bins, below 2**16.
    cuts : ndarray of float32, shape (bins,)
        What a pixel exceeds in that bin or a later one of its level.
    steps : float
        Where the cuts are those of the thresholds 0, 1 / steps, 2 / steps, ...: their number,
        so that a product tells how many a pixel exceeds; 0 otherwise.
    bounds, offsets : ndarray of int64
        Runs of all masks, and where those of each begin.

    Returns
    -------
    total : ndarray of int64, shape (bins,)
    inside : ndarray of int64, shape (masks, bins)
    """
    width, height = wide.shape[1], len(lower)
    n_bins, n_masks = len(cuts), len(offsets) - 1
    tables = np.zeros((4, n_bins), dtype=np.int64)
    inside = np.zeros((n_masks, n_bins), dtype=np.int64)
    strip = np.zeros((wide.shape[0], STRIP), dtype=np.float32)
    share = np.empty((height, STRIP), dtype=np.float32)
    place = np.empty((height, STRIP), dtype=np.uint16)
    run = offsets[:-1].copy()
    for left in range(0, width, STRIP):
        n = min(STRIP, width - left)
        strip[:, :n] = wide[:, left:left + n]
        if fused:
            _stretch_fused(strip, lower, upper, weight, low, span, share)
        else:
            _stretch(strip, lower, upper, weight, low, span, share)
        if steps > 0:
            _place_evenly(share, steps, place)
        else:
            _place(share, n, first, cuts, place)
        if n == STRIP:
            _tally(place, tables)
        else:
            for y in range(height):
                for j in range(n):
                    tables[0, place[y, j]] += 1
        for j in range(n):
            start = (left + j) * height
            stop = start + height
            for r in range(n_masks):
                while run[r] < offsets[r + 1] and bounds[run[r]] < stop:
                    begin, end = max(bounds[run[r]], start), min(bounds[run[r] + 1], stop)
                    for y in range(begin - start, end - start):
                        inside[r, place[y, j]] += 1
                    if bounds[run[r] + 1] > stop:
                        break
                    run[r] += 2
    return tables.sum(axis=0), inside


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator,unused-ignore]
def runs_above(wide: Float32Array, lower: Any, upper: Any, weight: Float32Array, fused: bool,
               low: np.float32, span: np.float32, threshold: int) -> IntArray:
    """Where columns enter and leave the pixels above a threshold, on a framed plane.

    Parameters
    ----------
    wide : ndarray of float32, shape (rows, width)
        The map interpolated across.
    lower, upper : ndarray of uint32, shape (height,)
        Rows between which each new row lies.
    weight : ndarray of float32, shape (height,)
        Share of the upper one.
    fused : bool
        Whether sums round as a fused multiply-add.
    low, span : float32
        Minimum and range of the map.
    threshold : int
        On 0..255.

    Returns
    -------
    ndarray of int64, shape (2 * runs,)
        Starts and stops of runs in turn, ascending, as of :class:`saltrust.analysis.pixels.
        runs.Runs` with a pitch of ``height + 2``.
    """
    width, height = wide.shape[1], len(lower)
    strip = np.zeros((wide.shape[0], STRIP), dtype=np.float32)
    share = np.empty((height, STRIP), dtype=np.float32)
    # A row of background above and below.
    marks = np.zeros((height + 2, STRIP), dtype=np.uint8)
    eights = marks.reshape(-1).view(np.uint64).reshape(height + 2, STRIP // 8)
    places = np.empty(4096, dtype=np.int64)
    k = 0
    for left in range(0, width, STRIP):
        n = min(STRIP, width - left)
        strip[:, :n] = wide[:, left:left + n]
        if fused:
            _stretch_fused(strip, lower, upper, weight, low, span, share)
        else:
            _stretch(strip, lower, upper, weight, low, span, share)
        _mark_above(share, np.float32(threshold + 1), marks[1:-1])
        for y in range(1, height + 2):
            same = True
            for part in range(STRIP // 8):
                same &= eights[y, part] == eights[y - 1, part]
            if same:
                continue
            if k + STRIP > len(places):
                places = np.concatenate((places, np.empty_like(places)))
            for j in range(n):
                if marks[y, j] != marks[y - 1, j]:
                    places[k] = (left + j + 1) * (height + 2) + y
                    k += 1
    return np.sort(places[:k])


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator,unused-ignore]
def gather_level(wide: Float32Array, lower: Any, upper: Any, weight: Float32Array, fused: bool,
                 low: np.float32, span: np.float32, level: int, smallest: Float32Array,
                 largest: Float32Array) -> tuple[Float32Array, IntArray]:
    """Values and places of the pixels of one level; rows that cannot hold it are passed over.

    Parameters
    ----------
    wide, lower, upper, weight, fused, low, span
        Of :func:`runs_above`, which takes the same.
    level : int
        On 0..255.
    smallest, largest : ndarray of float32, shape (rows, strips)
        Bounds of the values of every row in strips of :data:`STRIP` columns.

    Returns
    -------
    values : ndarray of float32, shape (pixels,)
    positions : ndarray of int64, shape (pixels,)
        ``column * height + row``.
    """
    width, height = wide.shape[1], len(lower)
    values, places = np.empty(4096, dtype=np.float32), np.empty(4096, dtype=np.int64)
    value, place = np.empty(STRIP, dtype=np.float32), np.empty(STRIP, dtype=np.int32)
    # Bounds of the level in values, and what rounding can take a value beyond them.
    slack = 1e-3 * np.float64(span) + 1e-6 * (abs(np.float64(low)) + np.float64(span))
    least = np.float64(low) + level * np.float64(span) / 255 - slack
    most = np.float64(low) + (level + 1) * np.float64(span) / 255 + slack
    k = 0
    for left in range(0, width, STRIP):
        n = min(STRIP, width - left)
        bottom, top = smallest[:, left // STRIP], largest[:, left // STRIP]
        y = 0
        while y < height:
            a, b, part = lower[y], upper[y], weight[y]
            if max(top[a], top[b]) < least or min(bottom[a], bottom[b]) > most:
                # So are all rows between the same two.
                while y < height and lower[y] == a:
                    y += 1
                continue
            share, rest = np.float64(part), 1 - np.float64(part)
            if (rest * top[a] + share * top[b] >= least
                    and rest * bottom[a] + share * bottom[b] <= most):
                _levels_of_row(wide[a, left:left + n], wide[b, left:left + n], part, fused, low,
                               span, value, place)
                if k + n > len(values):
                    values = np.concatenate((values, np.empty_like(values)))
                    places = np.concatenate((places, np.empty_like(places)))
                for j in range(n):
                    # Written whether it is one or not, so that nothing branches.
                    values[k], places[k] = value[j], (left + j) * height + y
                    k += place[j] == level
            y += 1
    return values[:k].copy(), places[:k].copy()


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator,unused-ignore]
def _levels_of_row(below: Float32Array, above: Float32Array, part: np.float32, fused: bool,
                   low: np.float32, span: np.float32, value: Float32Array, place: Any) -> None:
    """Values of one row of a strip and their levels, as :func:`_stretch` has them."""
    if fused:
        rest = np.float64(np.float32(1) - part)
        for j in range(len(below)):
            value[j] = np.float32(np.float64(below[j]) * rest + np.float64(above[j] * part))
    else:
        for j in range(len(below)):
            value[j] = (above[j] - below[j]) * part + below[j]
    for j in range(len(below)):
        place[j] = np.int32((value[j] - low) / span * np.float32(255))
