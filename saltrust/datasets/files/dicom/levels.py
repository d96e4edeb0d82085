"""How many different values an image has, and whether a rule keeps them apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from saltrust.datasets.files.limits import bands

Convert = Callable[[npt.NDArray[Any]], npt.NDArray[np.uint8]]

#: A rule that keeps fewer of the gray levels that there could be misses the pixels.
LEAST_LEVELS = 1 / 8
#: A rule that makes more of the pixels black or white misses them.
MOST_SATURATED = 0.95
#: A rule that makes more of them so is kept and doubted.
DOUBTED_SATURATED = 0.8
#: Pixels whose values are looked at where there may be more values than 16 bits have.
_SAMPLE = 2**20


@dataclass(frozen=True)
class Levels:
    """Different values of an image, ascending, and how often each comes.

    Attributes
    ----------
    values : ndarray, shape (n,)
    counts : ndarray of int64, shape (n,)
    complete : bool
        Whether these are all; of types beyond 16 bits it is a part, with minimum and maximum.
    """

    values: npt.NDArray[Any]
    counts: npt.NDArray[np.int64]
    complete: bool

    @property
    def most(self) -> int:
        """Gray levels that an image of 8 bits could have of these."""
        return min(len(self.values), 256)


def levels_of(stored: npt.NDArray[Any], shown: npt.NDArray[np.bool_] | None) -> Levels:
    """Count the values of those pixels that are shown."""
    if stored.dtype.kind not in "iub" or stored.dtype.itemsize > 2:
        kept = stored.ravel() if shown is None else stored[shown]
        part = kept[::max(kept.size // _SAMPLE, 1)]
        if kept.size:
            part = np.append(part, [kept.min(), kept.max()])
        values, counts = np.unique(part, return_counts=True)
        return Levels(values, counts, complete=False)
    low = int(stored.min())
    counts = np.zeros(int(stored.max()) - low + 1, dtype=np.int64)
    for rows in bands(stored.shape):
        kept = stored[rows] if shown is None else stored[rows][shown[rows]]
        counts += np.bincount(kept.ravel().astype(np.int64) - low, minlength=len(counts))
    present = np.flatnonzero(counts)
    return Levels((present + low).astype(stored.dtype), counts[present], complete=True)


def converted(stored: npt.NDArray[Any], levels: Levels, convert: Convert) -> npt.NDArray[np.uint8]:
    """Gray of every pixel; of those that are not shown anything."""
    gray = np.zeros(stored.shape, dtype=np.uint8)
    if levels.complete and len(levels.values):
        low = int(stored.min())
        table = np.zeros(int(stored.max()) - low + 1, dtype=np.uint8)
        table[levels.values.astype(np.int64) - low] = convert(levels.values)
        for rows in bands(stored.shape):
            gray[rows] = table[stored[rows].astype(np.int64) - low]
    elif len(levels.values):
        for rows in bands(stored.shape):
            gray[rows] = convert(stored[rows])
    return gray


def saturated(gray: npt.NDArray[np.uint8], levels: Levels) -> float:
    """Share of pixels that are black or white, but for those of the least and largest value."""
    total = int(levels.counts.sum())
    black_or_white = (gray == 0) | (gray == 255)
    return float(levels.counts[1:-1][black_or_white[1:-1]].sum()) / max(total, 1)


def fault_of(gray: npt.NDArray[np.uint8], levels: Levels) -> str:
    """Why gray values of all levels are not believed, as a verb and its object; empty if they are.

    Examples
    --------
    >>> ramp = levels_of(np.arange(256, dtype=np.uint16).reshape(16, 16), None)
    >>> fault_of(np.full(256, 255, np.uint8), ramp)
    'leaves 1 of 256 gray levels'
    >>> fault_of(np.arange(256, dtype=np.uint8), ramp)
    ''
    """
    left = len(np.unique(gray))
    if left < 2 <= levels.most or left < LEAST_LEVELS * levels.most:
        return f"leaves {left} of {levels.most} gray levels"
    share = saturated(gray, levels)
    return f"makes {share:.0%} of the pixels black or white" if share > MOST_SATURATED else ""
