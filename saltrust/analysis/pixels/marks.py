"""Marks of a map: where it would point a reader to, and how strongly."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from saltrust.analysis.pixels.histogram_thresholds import histogram_threshold
from saltrust.analysis.pixels.segmentation import histogram, quantize
from saltrust.errors import UsageError

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.int64]

#: Neighbours of a pixel, diagonals included.
_EIGHT = np.ones((3, 3), dtype=bool)


class Marks(NamedTuple):
    """Marks of one map, the highest rating first, then in row order.

    Attributes
    ----------
    rows, columns : ndarray of int64, shape (n,)
        Pixel of the map.
    ratings : ndarray of float64, shape (n,)
        Its value.
    """

    rows: IntArray
    columns: IntArray
    ratings: npt.NDArray[np.float64]

    def first(self, most: int | None) -> Marks:
        """The highest ones; all where no number is given."""
        return Marks(self.rows[:most], self.columns[:most], self.ratings[:most])


def peaks(values: FloatArray, distance: int = 1) -> Marks:
    """Local maxima of a map, one for each plateau.

    A pixel is a peak where no pixel of the square of ``2 * distance + 1`` pixels about it is
    higher, as of ``skimage.feature.peak_local_max`` with ``exclude_border=False``, and where it is
    above the smallest value of the map.  Connected pixels of one value are a plateau, which has
    one peak, the pixel next to its centre, and none where a neighbour of any of them is higher.
    Of equal peaks within the distance the first in row order stays.

    Parameters
    ----------
    values : ndarray of float, shape (height, width)
        Finite.
    distance : int
        In pixels of the map, at least 1.

    Returns
    -------
    Marks

    Raises
    ------
    UsageError
        If the distance is below 1.

    Examples
    --------
    >>> peaks(np.array([[0, 0, 0, 0, 0], [0, 3, 3, 3, 0], [0, 0, 0, 0, 2]])).columns.tolist()
    [2]
    """
    if distance < 1:
        raise UsageError(f"a distance of {distance} pixels between marks must be at least 1")
    highest = ndimage.maximum_filter(values, size=2 * distance + 1, mode="nearest")
    candidate = (values == highest) & (values > values.min())
    if not candidate.any():
        return _none()
    # A candidate's neighbours of the same value need not be candidates: the whole plateau counts.
    local = values == (highest if distance == 1
                       else ndimage.maximum_filter(values, size=3, mode="nearest"))
    kept = []
    for rows, columns, whole in _plateaus(values, candidate, local):
        if not whole:
            continue
        away = ((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
        at = int(np.flatnonzero(away <= away.min() + 1e-9)[0])
        if candidate[rows[at], columns[at]]:
            kept.append((int(rows[at]), int(columns[at])))
    if not kept:
        return _none()
    marks = _in_order(values, np.array(kept, dtype=np.int64))
    return _spaced(marks, distance)


def components(values: FloatArray, threshold: float | None = None) -> Marks:
    """Connected parts of a map above a threshold, each marked at its highest pixel.

    Parameters
    ----------
    values : ndarray of float, shape (height, width)
        Finite, not all equal.
    threshold : float, optional
        Share of the range of the map, in [0, 1); Otsu's by default.  Pixels strictly above it
        belong to a component; diagonal neighbours are connected.

    Returns
    -------
    Marks
        Of equal highest pixels of a component the first in row order.

    Examples
    --------
    >>> components(np.array([[1.0, 2.0, 0.0, 0.0, 4.0]]), 0.2).ratings.tolist()
    [4.0, 2.0]
    """
    low, high = float(values.min()), float(values.max())
    if threshold is None:
        levels = quantize(values.astype(np.float32), low, high)
        above = levels > histogram_threshold(histogram(levels), "otsu")
    else:
        above = (values.astype(np.float64) - low) > threshold * (high - low)
    number, count = ndimage.label(above, structure=_EIGHT)
    if not count:
        return _none()
    places = np.argwhere(above)
    part = number[above]
    # A stable order keeps equal pixels as they lie; SciPy's maximum_position does not.
    order = np.lexsort((-values[above], part))
    first = order[np.searchsorted(part[order], np.arange(1, count + 1))]
    return _in_order(values, places[first].astype(np.int64))


def _plateaus(values: FloatArray, candidate: npt.NDArray[np.bool_], local: npt.NDArray[np.bool_]
              ) -> list[tuple[IntArray, IntArray, bool]]:
    """Pixels of every plateau that has a candidate, and whether no neighbour is higher."""
    at = np.argwhere(candidate)
    known = np.zeros(values.shape, dtype=bool)
    plateaus = []
    for row, column in at.tolist():
        if known[row, column]:
            continue
        rows, columns = _connected(values, row, column)
        known[rows, columns] = True
        plateaus.append((rows, columns, bool(local[rows, columns].all())))
    return plateaus


def _connected(values: FloatArray, row: int, column: int) -> tuple[IntArray, IntArray]:
    """Pixels connected with one by its value, in row order."""
    about = values[max(row - 1, 0):row + 2, max(column - 1, 0):column + 2]
    if np.count_nonzero(about == values[row, column]) == 1:
        return np.array([row]), np.array([column])
    number, _ = ndimage.label(values == values[row, column], structure=_EIGHT)
    rows, columns = np.nonzero(number == number[row, column])
    return rows.astype(np.int64), columns.astype(np.int64)


def _in_order(values: FloatArray, at: IntArray) -> Marks:
    """Marks at pixels, the highest first, then in row order."""
    ratings = values[at[:, 0], at[:, 1]].astype(np.float64)
    order = np.lexsort((at[:, 1], at[:, 0], -ratings))
    return Marks(at[order, 0], at[order, 1], ratings[order])


def _spaced(marks: Marks, distance: int) -> Marks:
    """Marks without those that lie within a distance of an earlier one."""
    kept: list[int] = []
    for k in range(len(marks.rows)):
        near = np.maximum(np.abs(marks.rows[kept] - marks.rows[k]),
                          np.abs(marks.columns[kept] - marks.columns[k])) <= distance
        if not near.any():
            kept.append(k)
    return Marks(marks.rows[kept], marks.columns[kept], marks.ratings[kept])


def _none() -> Marks:
    return Marks(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0))
