"""Masks as runs of pixels in column-major order, the order in which native masks are kept.

Area, membership and overlap follow from the bounds of the runs, so that a mask of millions of
pixels is compared without being decoded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from saltrust.errors import UsageError

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RunMask:
    """A mask of known size.

    Attributes
    ----------
    height, width : int
    bounds : ndarray of int64, shape (2 * runs,)
        First pixel and the one after the last of every run, as ``column * height + row``;
        ascending.

    Examples
    --------
    >>> mask = mask_of_pixels(np.array([[0, 1, 1], [0, 1, 0]], dtype=bool))
    >>> mask.bounds.tolist(), mask.area, mask.covers(1, 1), mask.covers(1, 2)
    ([2, 5], 3, True, False)
    """

    height: int
    width: int
    bounds: IntArray

    @property
    def area(self) -> int:
        """Number of pixels inside."""
        return int((self.bounds[1::2] - self.bounds[::2]).sum())

    def covers(self, row: int, column: int) -> bool:
        """Whether a pixel is inside; one outside the image is not."""
        if not (0 <= row < self.height and 0 <= column < self.width):
            return False
        return bool(self.inside(np.array([column * self.height + row]))[0])

    def inside(self, positions: IntArray) -> npt.NDArray[np.bool_]:
        """Whether pixels, given as ``column * height + row``, are inside."""
        return np.searchsorted(self.bounds, positions, side="right") % 2 == 1

    def shared_with(self, other: RunMask) -> int:
        """Number of pixels inside both.

        Raises
        ------
        UsageError
            If the sizes differ.
        """
        if (self.height, self.width) != (other.height, other.width):
            raise UsageError(
                f"masks of {self.height} x {self.width} and {other.height} x {other.width} pixels "
                "cannot be compared; bring them to one size")
        before = other._pixels_before(self.bounds)
        return int((before[1::2] - before[::2]).sum())

    def cropped(self) -> npt.NDArray[np.bool_]:
        """Pixels of the smallest box that holds all that is inside.

        Returns
        -------
        ndarray of bool, shape (rows, columns)
            Empty where the mask is.
        """
        if not len(self.bounds):
            return np.zeros((0, 0), dtype=bool)
        starts, stops = self.bounds[::2], self.bounds[1::2]
        left, right = int(starts[0]) // self.height, int(stops[-1] - 1) // self.height + 1
        top, bottom = 0, self.height
        if ((stops - 1) // self.height == starts // self.height).all():
            top = int((starts % self.height).min())
            bottom = int(((stops - 1) % self.height).max()) + 1
        ends = np.concatenate([[left * self.height], self.bounds, [right * self.height]])
        inside = np.arange(len(ends) - 1) % 2 == 1
        columns = np.repeat(inside, np.diff(ends)).reshape(right - left, self.height)
        return np.ascontiguousarray(columns[:, top:bottom].T)

    def _pixels_before(self, positions: IntArray) -> IntArray:
        """Number of pixels inside that precede each position."""
        starts, stops = self.bounds[::2], self.bounds[1::2]
        if not len(starts):
            return np.zeros(len(positions), dtype=np.int64)
        ended = np.searchsorted(stops, positions, side="right")
        totals = np.concatenate([[0], np.cumsum(stops - starts)])
        current = np.minimum(ended, len(starts) - 1)
        partial = np.where(ended < len(starts), np.maximum(positions - starts[current], 0), 0)
        return totals[ended] + partial


def mask_of_runs(lengths: IntArray, height: int, width: int) -> RunMask:
    """Make a mask of run lengths, background first (:func:`saltrust.cache.rle.run_lengths`).

    Examples
    --------
    >>> mask_of_runs(np.array([2, 3, 1]), 2, 3).bounds.tolist()
    [2, 5]
    """
    ends = np.cumsum(lengths)
    return RunMask(height, width, ends[:len(ends) // 2 * 2].astype(np.int64))


def mask_of_pixels(mask: npt.NDArray[np.bool_]) -> RunMask:
    """Make a mask of pixels, shape (height, width)."""
    height, width = mask.shape
    return RunMask(height, width, bounds_of(np.ascontiguousarray(mask.T)))


def bounds_of(columns: npt.NDArray[np.bool_]) -> IntArray:
    """Bounds of the runs of a C-contiguous mask of shape (width, height)."""
    flat = columns.reshape(-1)
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    first = [0] if flat.size and flat[0] else []
    last = [flat.size] if flat.size and flat[-1] else []
    return np.concatenate([first, changes, last]).astype(np.int64)
