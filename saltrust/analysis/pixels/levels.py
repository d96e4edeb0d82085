"""Histograms of a map inside and outside of masks, exact at every threshold that is asked for.

A map is stretched to 0..1 in float32, as :func:`saltrust.analysis.pixels.segmentation.quantize`
does.  Bins begin where the truncated level ``k`` of 255 begins and, within a level, just above
each threshold of a grid.  One histogram then gives Otsu's threshold and the pixels strictly above
Otsu's or any grid threshold, with the strictness of the released CheXlocalize code.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from saltrust.analysis.pixels.run_masks import RunMask, mask_of_pixels
from saltrust.analysis.pixels.runs import Runs, filled
from saltrust.analysis.pixels.segmentation import fill_contours, quantize
from saltrust.analysis.pixels.upsampling import BilinearMap, compiled
from saltrust.errors import UsageError

Counts = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]

#: Thresholds on 0..1 at which every histogram is exact, beside the 256 levels.
THRESHOLDS = tuple(k / 20 for k in range(20))


@dataclass(frozen=True)
class Levels:
    """Where the bins of the histograms begin.

    Attributes
    ----------
    thresholds : tuple of float
        Ascending, in [0, 1).
    first : ndarray of int64, shape (257,)
        First bin of each of the 256 levels, and the number of bins.
    cuts : ndarray of float32, shape (bins,)
        A pixel is in bin ``i`` of its level or a later one if it exceeds ``cuts[i]``;
        -inf for the first bin of a level.
    """

    thresholds: tuple[float, ...]
    first: npt.NDArray[np.int64]
    cuts: Float32Array

    @property
    def n(self) -> int:
        """Number of bins."""
        return len(self.cuts)

    @property
    def steps(self) -> int:
        """Number of thresholds where they are 0, 1 / number, 2 / number, ...; else 0."""
        number = len(self.thresholds)
        return number if self.thresholds == tuple(k / number for k in range(number)) else 0

    def of_level(self, counts: npt.NDArray[np.integer]) -> Counts:
        """Sum bins to the 256 levels: shape (..., bins) to (..., 256)."""
        return np.add.reduceat(counts, self.first[:-1], axis=-1).astype(np.int64)

    def bin_above(self, threshold: float) -> int:
        """First bin whose pixels are all above a threshold: :func:`bin_above` of the cuts."""
        return bin_above(self.cuts, threshold)


def bin_above(cuts: npt.NDArray[np.float32], threshold: float) -> int:
    """First bin whose pixels are all above a threshold of the grid, on 0..1.

    Parameters
    ----------
    cuts : ndarray of float32, shape (bins,)
        Where the bins begin.
    threshold : float

    Raises
    ------
    UsageError
        If it is not on the grid.
    """
    place = np.flatnonzero(cuts == _cuts([threshold])[0])
    if not len(place):
        raise UsageError(f"threshold {threshold:g} is not among those of the histogram")
    return int(place[0])


def levels_for(thresholds: Iterable[float] = ()) -> Levels:
    """Lay out bins for the standard thresholds and further ones.

    Parameters
    ----------
    thresholds : iterable of float
        In [0, 1).

    Raises
    ------
    UsageError
        If a threshold is out of range.

    Examples
    --------
    >>> levels = levels_for([0.33])
    >>> levels.n, levels.bin_above(0.0)
    (277, 1)
    """
    every = (*THRESHOLDS, *map(float, thresholds))
    # Thresholds that no float32 lies between are one.
    wanted = sorted(dict(zip(_cuts(every).tolist(), every, strict=True)).values())
    for threshold in wanted:
        if not 0 <= threshold < 1:
            raise UsageError(f"threshold {threshold:g} must be at least 0 and below 1: it is a "
                             "share of the range of the map")
    exact = _cuts(wanted)
    level = (exact * np.float32(255)).astype(np.int64)
    extra = np.bincount(level, minlength=256)
    first = np.concatenate([[0], np.cumsum(1 + extra)])
    cuts = np.full(first[-1], -np.inf, dtype=np.float32)
    place = np.ones(len(cuts), dtype=bool)
    place[first[:-1]] = False
    cuts[place] = exact
    return Levels(tuple(wanted), first.astype(np.int64), cuts)


def _cuts(thresholds: Sequence[float]) -> Float32Array:
    """The largest float32 not above each threshold: above it is above the threshold."""
    exact = np.asarray(thresholds, dtype=np.float64)
    rounded = exact.astype(np.float32)
    below = np.nextafter(rounded, np.float32(-np.inf))
    return np.where(rounded.astype(np.float64) > exact, below, rounded)


@dataclass(frozen=True)
class LevelCounts:
    """Histograms of one map.

    Attributes
    ----------
    total : ndarray of int64, shape (bins,)
        All pixels.
    inside : ndarray of int64, shape (masks, bins)
        Pixels inside each mask.
    """

    total: Counts
    inside: Counts


def count_levels(heatmap: BilinearMap, low: float, high: float, levels: Levels,
                 masks: Sequence[RunMask], *, use_compiled: bool | None = None) -> LevelCounts:
    """Upsample a map and count its levels in one pass.

    Parameters
    ----------
    heatmap : BilinearMap
    low, high : float
        Minimum and maximum of the whole map, ``low < high``.
    levels : Levels
    masks : sequence of RunMask
        Of the size of the map.
    use_compiled : bool, optional
        By default where Numba is installed.  The values are the same.

    Returns
    -------
    LevelCounts

    Raises
    ------
    UsageError
        If a mask has another size than the map.
    """
    for mask in masks:
        if (mask.height, mask.width) != (heatmap.height, heatmap.width):
            raise UsageError(
                f"a mask of {mask.height} x {mask.width} pixels cannot be laid on a map of "
                f"{heatmap.height} x {heatmap.width}; bring them to one size")
    if use_compiled is None:
        use_compiled = compiled()
    if use_compiled and levels.n < 1 << 16:
        from saltrust.analysis.pixels.level_kernel import count

        offsets = np.cumsum([0, *(len(mask.bounds) for mask in masks)])
        bounds = np.concatenate([np.zeros(0, dtype=np.int64), *(mask.bounds for mask in masks)])
        total, inside = count(*_compiled_parts(heatmap, low, high),
                              levels.first.astype(np.uint32), levels.cuts, float(levels.steps),
                              bounds, offsets)
        return LevelCounts(total, inside)
    return _count_in_bands(heatmap, low, high, levels, masks)


def filled_above(heatmap: BilinearMap, low: float, high: float, threshold: int, *,
                 use_compiled: bool | None = None) -> RunMask:
    """Pixels above a threshold, without single pixels and with holes filled.

    Parameters
    ----------
    heatmap : BilinearMap
    low, high : float
        Minimum and maximum of the whole map, ``low < high``.
    threshold : int
        On 0..255.
    use_compiled : bool, optional
        By default where Numba is installed.

    Returns
    -------
    RunMask
        The pixels that :func:`saltrust.analysis.pixels.segmentation.fill_contours` keeps and
        fills of the map above the threshold.
    """
    width, height = heatmap.width, heatmap.height
    if use_compiled is None:
        use_compiled = compiled()
    if not use_compiled:
        above = np.empty((height, width), dtype=bool)
        for band in heatmap.bands():
            above[band] = quantize(heatmap.rows(band), low, high) > threshold
        return mask_of_pixels(fill_contours(above))
    from saltrust.analysis.pixels.level_kernel import runs_above

    ends = runs_above(*_compiled_parts(heatmap, low, high), threshold)
    runs = filled(Runs(ends[::2], ends[1::2], height + 2), width + 2)
    # From the framed plane back to the mask: a row and a column less on every side.
    bounds = np.stack([runs.start, runs.stop - 1], axis=1)
    bounds = (bounds // runs.pitch - 1) * height + bounds % runs.pitch - 1
    bounds[:, 1] += 1
    return RunMask(height, width, bounds.reshape(-1))


def _compiled_parts(heatmap: BilinearMap, low: float, high: float
                    ) -> tuple[Any, Any, Any, Any, bool, Any, Any]:
    """What every compiled pass over a map begins with."""
    wide, lower, upper, weight = heatmap.parts()
    return (np.ascontiguousarray(wide), lower.astype(np.uint32), upper.astype(np.uint32), weight,
            heatmap.arithmetic == "torch", np.float32(low), np.float32(high) - np.float32(low))


def _count_in_bands(heatmap: BilinearMap, low: float, high: float, levels: Levels,
                    masks: Sequence[RunMask]) -> LevelCounts:
    total = np.zeros(levels.n, dtype=np.int64)
    inside = np.zeros((len(masks), levels.n), dtype=np.int64)
    span = np.float32(high) - np.float32(low)
    split = np.flatnonzero(np.diff(levels.first) > 1)
    across = np.arange(heatmap.width, dtype=np.int64) * heatmap.height
    for band in heatmap.bands():
        share = heatmap.rows(band)
        share -= np.float32(low)
        share /= span
        level = (share * np.float32(255)).astype(np.uint8)
        place = levels.first[level]
        for k in split.tolist():
            at = level == k
            for cut in levels.cuts[levels.first[k] + 1:levels.first[k + 1]]:
                place[at] += share[at] > cut
        total += np.bincount(place.ravel(), minlength=levels.n)
        rows = np.arange(band.start, band.stop, dtype=np.int64)
        for r, mask in enumerate(masks):
            covered = mask.inside((rows[:, None] + across).ravel())
            inside[r] += np.bincount(place.ravel()[covered], minlength=levels.n)
    return LevelCounts(total, inside)
