"""What one pass over the pixels of a map finds.

Otsu's threshold, the peak, and the histogram of the map; per reference reader also the histogram
inside the mask (:mod:`saltrust.analysis.pixels.levels`), and how much of the map lies in the mask
(:mod:`saltrust.analysis.pixels.relevance`).  About 2 kB a map remain of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from saltrust.analysis.pixels.levels import Levels, count_levels, filled_above
from saltrust.analysis.pixels.relevance import (
    NOTHING,
    RegionSums,
    Relevance,
    quantus_relevance,
    rank_accuracy,
    relevance,
    uninformative,
)
from saltrust.analysis.pixels.run_masks import RunMask
from saltrust.analysis.pixels.segmentation import otsu_level
from saltrust.analysis.pixels.upsampling import Arithmetic, bilinear_map, is_finite
from saltrust.cache.flatness import is_flat
from saltrust.cache.schema import Status
from saltrust.choices import Definition, RelevanceDefinition


class MapCounts(NamedTuple):
    """What the pass finds in one map.

    Attributes
    ----------
    outcome : int
        A :class:`saltrust.cache.schema.Status`: OK, FLAT or NONFINITE.
    threshold : int
        Otsu's, on 0..255; -1 where the map is not usable, as all that follows but counts.
    peak_y, peak_x, n_peak : int
        First maximum in row order, and the number of pixels that share it.
    area : int
        Pixels of the segmentation by Otsu's threshold.
    total : ndarray of int32, shape (bins,)
    shared : ndarray of int32, shape (readers,)
        Pixels of that segmentation inside the mask of each reference reader.
    covered : ndarray of int8, shape (readers,)
        Whether the mask of the reader holds the peak.
    inside : ndarray of int32, shape (readers, bins)
    mass, rank, energy : ndarray of float64, shape (readers,)
        Shares in the mask of each reader; NaN where it is empty or there is none.
    """

    outcome: int
    threshold: int
    peak_y: int
    peak_x: int
    n_peak: int
    area: int
    total: npt.NDArray[np.int32]
    shared: npt.NDArray[np.int32]
    covered: npt.NDArray[np.int8]
    inside: npt.NDArray[np.int32]
    mass: npt.NDArray[np.float64]
    rank: npt.NDArray[np.float64]
    energy: npt.NDArray[np.float64]


#: Dimensions of each field, and its type.
FIELDS: dict[str, tuple[tuple[str, ...], str]] = {
    "outcome": (("map",), "uint8"), "threshold": (("map",), "int16"),
    "peak_y": (("map",), "int32"), "peak_x": (("map",), "int32"),
    "n_peak": (("map",), "int32"), "area": (("map",), "int32"),
    "total": (("map", "level"), "int32"), "shared": (("map", "reader"), "int32"),
    "covered": (("map", "reader"), "int8"), "inside": (("map", "reader", "level"), "int32"),
    **dict.fromkeys(("mass", "rank", "energy"), (("map", "reader"), "float64")),
}


def count_map(values: npt.NDArray[np.float32], size: tuple[int, int], definition: Definition,
              levels: Levels, masks: Sequence[RunMask | None],
              relevance_by: RelevanceDefinition = "default") -> MapCounts:
    """Pass over one map.

    Parameters
    ----------
    values : ndarray of float32, shape (rows, columns)
        As stored, or what is read of that.
    size : (int, int)
        Height and width of the masks.
    definition : {"default", "peer"}
        ``"peer"``: rounding of the released pipeline, and contours filled.
    levels : Levels
    masks : sequence of (RunMask or None)
        Of each reference reader; None where the reader did not annotate.
    relevance_by : {"default", "quantus"}

    Returns
    -------
    MapCounts
    """
    if not is_finite(values):
        return unusable(Status.NONFINITE, levels, masks)
    arithmetic: Arithmetic = "torch" if definition == "peer" else "lerp"
    heatmap = bilinear_map(values, *size, arithmetic)
    peak, low = heatmap.peak(), heatmap.minimum()
    if is_flat(low, peak.value):
        return unusable(Status.FLAT, levels, masks)
    known = [(r, mask) for r, mask in enumerate(masks) if mask is not None and len(mask.bounds)]
    counts = count_levels(heatmap, low, peak.value, levels, [mask for _, mask in known])
    threshold = otsu_level(levels.of_level(counts.total), definition)
    inside = np.zeros((len(masks), levels.n), dtype=np.int32)
    shared, covered = np.zeros(len(masks), dtype=np.int32), np.zeros(len(masks), dtype=np.int8)
    above = slice(int(levels.first[threshold + 1]), None)
    area = int(counts.total[above].sum())
    filled = None
    if definition == "peer":
        filled = filled_above(heatmap, low, peak.value, threshold)
        area = filled.area
    for row, (r, mask) in zip(counts.inside, known, strict=True):
        inside[r] = row
        shared[r] = filled.shared_with(mask) if filled is not None else row[above].sum()
        covered[r] = mask.covers(peak.row, peak.column)
    shares = [NOTHING] * len(masks)
    sums = RegionSums(values, *size, arithmetic) if known and relevance_by == "default" else None
    for row, (r, mask) in zip(counts.inside, known, strict=True):
        shares[r] = (quantus_relevance(heatmap, mask) if sums is None else relevance(
            sums, rank_accuracy(heatmap, low, peak.value, levels, counts.total, row, mask), mask))
    return MapCounts(Status.OK, threshold, peak.row, peak.column, peak.n, area,
                     counts.total.astype(np.int32), shared, covered, inside, *_by_share(shares))


def unusable(outcome: Status, levels: Levels, masks: Sequence[RunMask | None]) -> MapCounts:
    """The counts of a map that is flat, not finite or not stored."""
    readers = len(masks)
    shares = [NOTHING if mask is None else uninformative(mask) for mask in masks]
    return MapCounts(outcome, -1, -1, -1, -1, 0, np.zeros(levels.n, dtype=np.int32),
                     np.zeros(readers, dtype=np.int32), np.zeros(readers, dtype=np.int8),
                     np.zeros((readers, levels.n), dtype=np.int32), *_by_share(shares))


def _by_share(shares: Sequence[Relevance]) -> list[npt.NDArray[np.float64]]:
    """Mass, rank and energy of every reader."""
    return list(np.array(shares, dtype=np.float64).reshape(-1, 3).T)
