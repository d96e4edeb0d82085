"""What of a mask file is foreground, and files that are no masks but are given as such.

A mask has one value beside black.  Edges may be smoothed and JPEG may have left noise: what is
nearer to black than to the largest value is background.  Refused are pictures in which more than
edges lie between the two: radiographs and heatmaps, and maps of several classes, whose values or
colours say which; and a mask of nearly the whole image, which is one turned inside out.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt

from saltrust.errors import DataError

#: Noise of JPEG around black and around the largest value, as a part of it.
_NOISE = 1 / 8
#: A picture whose largest value is below this has classes, not noise.
_MOST_CLASSES = 32
#: Width in pixels of what is no edge any more.
_EDGE = 5
#: Levels between black and the largest value that only pictures have.
_MOST_LEVELS = 16
#: Of the image; no finding is larger.
_LARGEST = 0.95
#: Part of the foreground from which a second value or colour is a class.
_CLASS_PART = 0.1
#: Levels by which JPEG moves a flat region.
_ROUNDING = 8


def foreground(values: npt.NDArray[np.integer], path: Path) -> npt.NDArray[np.bool_]:
    """Foreground of a mask.

    Parameters
    ----------
    values : ndarray of int, shape (height, width)
        Gray values, of colours the largest channel; transparent pixels are 0.
    path : path
        For the error.

    Returns
    -------
    ndarray of bool, shape (height, width)

    Raises
    ------
    DataError
        If it is no mask of one finding.

    Examples
    --------
    >>> foreground(np.array([[0, 3, 120, 255, 251]]), Path("m.png")).astype(int)
    array([[0, 0, 0, 1, 1]])
    """
    counts = np.bincount(values.ravel())
    levels = np.flatnonzero(counts)
    levels = levels[levels > 0]
    if not levels.size:
        return np.zeros(values.shape, dtype=bool)
    largest = int(levels[-1])
    if len(levels) > 1:
        _check_levels(values, counts, levels, path)
    mask = 2 * values.astype(np.int64) > largest
    if mask.mean() > _LARGEST:
        raise DataError(f"the mask {path} covers {mask.mean():.0%} of the image, more than any "
                        "finding; if black is what was drawn, turn its values round, and see that "
                        "it is no radiograph")
    return mask


def _check_levels(values: npt.NDArray[np.integer], counts: npt.NDArray[np.intp],
                  levels: npt.NDArray[np.intp], path: Path) -> None:
    """Refuse values that neither noise nor smooth edges explain."""
    largest = int(levels[-1])
    low, high = _NOISE * largest, (1 - _NOISE) * largest
    between = levels[(levels > low) & (levels < high)]
    inside = (values > low) & (values < high)
    many = len(between) > _MOST_LEVELS
    if largest >= _MOST_CLASSES and many and (
            _has_square(inside) or inside.sum() > counts[levels[levels >= high]].sum()):
        raise DataError(f"the mask {path} has {len(levels) + 1} gray levels, as a radiograph or a "
                        "heatmap has; give a mask: black, and one value where the finding is")
    top = levels[levels >= high]
    heavy = top[counts[top] >= _CLASS_PART * counts[top].sum()]
    if (largest < _MOST_CLASSES or _has_square(inside)
            or heavy.max(initial=0) - heavy.min(initial=largest) > _ROUNDING):
        named = ", ".join(map(str, levels[:6].tolist())) + (", ..." if len(levels) > 6 else "")
        raise DataError(f"the mask {path} has the values {named} beside 0, as a map of several "
                        "classes has; write a mask for each finding")


def _has_square(inside: npt.NDArray[np.bool_]) -> bool:
    """Whether a square is filled that is wider than any edge."""
    for axis in (0, 1):
        size = inside.shape[axis] - _EDGE + 1
        if size < 1:
            return False
        # Shifts in place of a filter: of 20 million pixels they take a tenth of a second.
        shifted = [inside.take(range(k, k + size), axis) if axis else inside[k:k + size]
                   for k in range(_EDGE)]
        inside = np.logical_and.reduce(shifted)
    return bool(inside.any())


class MaskColors:
    """The colours of a mask, of which there may be one beside black."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()

    def look(self, colors: npt.NDArray[np.integer]) -> None:
        """Count the colours of some rows, shape (rows, width, 3), where they are not gray."""
        flat = colors.reshape(-1, 3)
        if (flat[:, :1] == flat).all():
            return
        strong = flat[2 * flat.max(axis=1).astype(np.int64) > int(flat.max())].astype(np.int64)
        kinds, numbers = np.unique(strong @ (2**32, 2**16, 1), return_counts=True)
        self.counts.update(dict(zip(kinds.tolist(), numbers.tolist(), strict=True)))

    def check(self, path: Path) -> None:
        """Raise a DataError where there are several colours that noise does not explain."""
        if len(self.counts) < 2:
            return
        kinds = np.array([[kind >> 32, kind >> 16 & 0xffff, kind & 0xffff]
                          for kind in self.counts])
        numbers = np.array(list(self.counts.values()))
        most = kinds[np.argmax(numbers)]
        far = np.abs(kinds - most).max(axis=1) > 2 * _NOISE * most.max()
        if numbers[far].sum() > _CLASS_PART * numbers.sum():
            raise DataError(f"the mask {path} has several colours, as a map of several classes or "
                            "an overlay has; write a mask for each finding")
