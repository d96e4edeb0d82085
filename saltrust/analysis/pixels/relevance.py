r"""How much of a map lies in a mask: mass accuracy, rank accuracy, the energy pointing game.

With the positive values :math:`v^+` of a map, brought to the size of a mask M of K pixels,

.. math:: \mathrm{mass} = \frac{\sum_{M} v^+}{\sum v^+}, \qquad
          \mathrm{energy} = \frac{\sum_{B(M)} v^+}{\sum v^+}, \qquad
          \mathrm{rank} = \frac{|\mathrm{top}_K \cap M|}{K},

B(M) being the smallest box that holds the mask, and pixels that tie at the K-th value counting with
the share of them that are among the K.  Sums of a bilinear map are those of its rows and columns
times weights, so that no pixel is computed for them; ranks need the pixels of one level alone.

References
----------
L. Arras, A. Osman and W. Samek (2022), Information Fusion 81, 14-40 (mass and rank accuracy);
H. Wang et al. (2020), Score-CAM, CVPR Workshops, 111-119 (energy pointing game).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from saltrust.analysis.pixels.levels import Levels
from saltrust.analysis.pixels.run_masks import RunMask
from saltrust.analysis.pixels.upsampling import (
    Arithmetic,
    BilinearMap,
    compiled,
    sample_positions,
)

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


class Relevance(NamedTuple):
    """How much of a map lies in a mask.

    Attributes
    ----------
    mass, rank, energy : float
        In 0..1; NaN of an empty mask.
    """

    mass: float
    rank: float
    energy: float


NOTHING = Relevance(float("nan"), float("nan"), float("nan"))


def uninformative(mask: RunMask) -> Relevance:
    """What a map that says nothing has: the shares of the image that mask and box cover."""
    if not len(mask.bounds):
        return NOTHING
    pixels = mask.height * mask.width
    top, bottom, left, right = _box(mask)
    share = mask.area / pixels
    return Relevance(share, share, (bottom - top) * (right - left) / pixels)


class RegionSums:
    """Sums of the positive values of a map over regions of the size it is brought to.

    A sum over the first rows of a new column is one over the rows of two old columns, each a sum
    of whole old rows and a part of one.

    Parameters
    ----------
    values : ndarray of float32, shape (rows, columns)
        Finite; negative values count as 0, before the map is brought to its new size.
    height, width : int
        New size.
    arithmetic : {"lerp", "torch"}
        Of :func:`saltrust.analysis.pixels.upsampling.bilinear_map`; its float32 rounding, of one
        part in ten million, is not repeated.
    """

    def __init__(self, values: Float32Array, height: int, width: int,
                 arithmetic: Arithmetic = "lerp") -> None:
        self._values = np.maximum(values, 0).astype(np.float64)
        self._height, self._width = height, width
        self._down = sample_positions(len(values), height, arithmetic)
        self._across = sample_positions(values.shape[1], width, arithmetic)
        upper = np.minimum(np.arange(len(values)) + 1, len(values) - 1)
        self._step = self._values[upper] - self._values
        # Of every old row: the first new row between it and the next, and the one after the last.
        lower = self._down[0]
        rows = np.arange(len(values))
        self._first = np.searchsorted(lower, rows)
        self._before = np.concatenate([[0.0], np.cumsum(self._down[2], dtype=np.float64)])
        ends = np.searchsorted(lower, rows, side="right")
        whole = ((ends - self._first)[:, None] * self._values
                 + (self._before[ends] - self._before[self._first])[:, None] * self._step)
        #: Of old columns, the sum of all new rows before those of each old row.
        self._above = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(whole, axis=0)])
        column_sums = self._widened(self._above[-1][None])[0]
        self._left = np.concatenate([[0.0], np.cumsum(column_sums)])

    @property
    def total(self) -> float:
        """Of the whole map."""
        return float(self._left[-1])

    def box(self, top: int, bottom: int, left: int, right: int) -> float:
        """Of the rows from ``top`` to before ``bottom``, and columns likewise."""
        sums = self._rows_before(np.array([top, bottom]))
        return float(self._widened((sums[1] - sums[0])[None])[0, left:right].sum())

    def inside(self, mask: RunMask) -> float:
        """Of the pixels of a mask."""
        column, y = np.divmod(mask.bounds, self._height)
        held = column < self._width
        column, y = column[held], y[held]
        sums = np.full(len(held), self.total)
        lower, upper, weight = self._across
        below, above = self._before_in(y, lower[column]), self._before_in(y, upper[column])
        sums[held] = self._left[column] + below + (above - below) * weight[column]
        return float(sums[1::2].sum() - sums[::2].sum())

    def _before_in(self, y: IntArray, column: npt.NDArray[np.intp]) -> FloatArray:
        """Of old columns, the sum of the new rows before some of them."""
        r = self._down[0][y]
        return np.asarray(self._above[r, column] + (y - self._first[r]) * self._values[r, column]
                          + (self._before[y] - self._before[self._first[r]])
                          * self._step[r, column])

    def _rows_before(self, y: IntArray) -> FloatArray:
        """The same of every old column, shape (len(y), columns); ``y`` may be the height."""
        r = self._down[0][np.minimum(y, self._height - 1)]
        return np.asarray(self._above[r] + (y - self._first[r])[:, None] * self._values[r]
                          + (self._before[y] - self._before[self._first[r]])[:, None]
                          * self._step[r])

    def _widened(self, rows: FloatArray) -> FloatArray:
        """Rows of old columns as rows of new ones."""
        lower, upper, weight = self._across
        return np.asarray(rows[:, lower] + (rows[:, upper] - rows[:, lower]) * weight)


def rank_accuracy(heatmap: BilinearMap, low: float, high: float, levels: Levels, total: IntArray,
                  inside: IntArray, mask: RunMask, *, use_compiled: bool | None = None) -> float:
    """Share of the highest pixels, as many as a mask has, that lie in the mask.

    Parameters
    ----------
    heatmap : BilinearMap
    low, high : float
        Minimum and maximum of the map, ``low < high``.
    levels : Levels
    total, inside : ndarray of int, shape (bins,)
        Pixels of every bin, and those inside the mask.
    mask : RunMask
        Not empty.
    use_compiled : bool, optional
        By default where Numba is installed.  The values are the same.
    """
    size = mask.area
    of_level, of_mask = levels.of_level(total), levels.of_level(inside)
    # Pixels of a level and those above it.
    through = np.cumsum(of_level[::-1])[::-1]
    level = int(np.flatnonzero(through >= size)[-1])
    rest = size - int(through[level] - of_level[level])
    hit = float(of_mask[level + 1:].sum())
    if of_mask[level] in (0, of_level[level]):
        return (hit + (rest if of_mask[level] else 0)) / size
    values, positions = pixels_of_level(heatmap, low, high, level, use_compiled=use_compiled)
    least = np.partition(values, len(values) - rest)[len(values) - rest]
    covered = mask.inside(positions)
    higher, tied = values > least, values == least
    of_ties = (rest - np.count_nonzero(higher)) / np.count_nonzero(tied)
    return (hit + np.count_nonzero(higher & covered)
            + of_ties * np.count_nonzero(tied & covered)) / size


def pixels_of_level(heatmap: BilinearMap, low: float, high: float, level: int, *,
                    use_compiled: bool | None = None) -> tuple[Float32Array, IntArray]:
    """Values of the pixels of one of the 256 levels, and ``column * height + row`` of each."""
    if compiled() if use_compiled is None else use_compiled:
        from saltrust.analysis.pixels.level_kernel import STRIP, gather_level

        wide, lower, upper, weight = heatmap.parts()
        made: tuple[Float32Array, IntArray] = gather_level(
            np.ascontiguousarray(wide), lower.astype(np.uint32), upper.astype(np.uint32), weight,
            heatmap.arithmetic == "torch", np.float32(low), np.float32(high) - np.float32(low),
            level, *heatmap.bounds_of_strips(STRIP))
        return made
    span = np.float32(high) - np.float32(low)
    values, positions = [], []
    for band in heatmap.bands():
        rows = heatmap.rows(band)
        share = (rows - np.float32(low)) / span
        y, x = np.nonzero((share * np.float32(255)).astype(np.uint8) == level)
        values.append(rows[y, x])
        positions.append(x * heatmap.height + y + band.start)
    return np.concatenate(values), np.concatenate(positions).astype(np.int64)


def relevance(sums: RegionSums, rank: float, mask: RunMask) -> Relevance:
    """The three shares of a map in a mask that is not empty.

    A map without positive values has the mass of one that says nothing
    (:func:`uninformative`).
    """
    total = sums.total
    if total <= 0:
        return uninformative(mask)._replace(rank=rank)
    return Relevance(min(max(sums.inside(mask) / total, 0.0), 1.0), rank,
                     min(max(sums.box(*_box(mask)) / total, 0.0), 1.0))


def quantus_relevance(heatmap: BilinearMap, mask: RunMask) -> Relevance:
    """Mass and rank accuracy as Quantus 0.5 has them.

    Negative values are summed as they are, and of pixels that tie at the K-th value those count
    that ``argsort`` happens to put last.  The energy pointing game, which Quantus does not have, is
    of the sums likewise.

    Parameters
    ----------
    heatmap : BilinearMap
    mask : RunMask
        Not empty.

    References
    ----------
    A. Hedström et al. (2023), J. Mach. Learn. Res. 24(34), 1-11.
    """
    values = heatmap.values().astype(np.float64)
    inside = mask.inside(np.add.outer(np.arange(mask.height), np.arange(mask.width) * mask.height
                                      ).ravel())
    flat = values.ravel()
    last = np.argsort(flat)[-mask.area:]
    total = float(flat.sum())
    top, bottom, left, right = _box(mask)
    if total == 0:
        return Relevance(float("nan"), float(inside[last].mean()), float("nan"))
    return Relevance(float(flat[inside].sum()) / total, float(inside[last].mean()),
                     float(values[top:bottom, left:right].sum()) / total)


def _box(mask: RunMask) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of the smallest box about a mask, the ends not in it."""
    starts, stops = mask.bounds[::2], mask.bounds[1::2]
    left, right = int(starts[0]) // mask.height, int(stops[-1] - 1) // mask.height + 1
    if ((stops - 1) // mask.height == starts // mask.height).all():
        return (int((starts % mask.height).min()), int(((stops - 1) % mask.height).max()) + 1,
                left, right)
    # A run that goes on in the next column ends at the bottom and begins at the top.
    return 0, mask.height, left, right
