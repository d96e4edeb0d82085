"""Areas under the precision-recall and ROC curves of a heatmap, exact with ties.

One sort of the map serves all three areas.  Arrays of 16-bit or smaller numbers are counted
instead of sorted: a histogram of at most 65,536 values holds all that the curves need.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from saltrust.errors import DataError

IntArray = npt.NDArray[np.int64]

_NAN = float("nan")
#: Pixels that are counted at a time.
_BLOCK = 1 << 18


class CurveAreas(NamedTuple):
    """What the curves of one map and one mask come to.

    Attributes
    ----------
    auprc : float
        Area under the precision-recall curve by the trapezoidal rule, from recall 0 and
        precision 1 on, as protocol A computes it.
    average_precision : float
        Sum of precision times the gain of recall: no interpolation between thresholds.
    auroc : float
        Probability that a pixel inside is hotter than one outside, ties counting one half.
    prevalence : float
        Share of the pixels that are inside: the average precision of a map without information.
    """

    auprc: float
    average_precision: float
    auroc: float
    prevalence: float


class PrecisionRecall(NamedTuple):
    """A precision-recall curve.

    Attributes
    ----------
    recall, precision : ndarray of float64, shape (n,)
        Recall ascends from 0 to 1.
    """

    recall: npt.NDArray[np.float64]
    precision: npt.NDArray[np.float64]


def curve_areas(values: npt.ArrayLike, mask: npt.ArrayLike) -> CurveAreas:
    """Areas under the curves of a map as a classifier of its pixels.

    Parameters
    ----------
    values : array_like of float or int, any shape
        The map; higher means more likely inside.  ``uint8``, ``int8``, ``uint16``, ``int16``
        and ``float16`` arrays are counted instead of sorted.
    mask : array_like of bool, the same shape
        True inside.

    Returns
    -------
    CurveAreas
        All but the prevalence NaN where nothing is inside; ``auroc`` NaN where nothing is outside.

    Raises
    ------
    DataError
        If the shapes differ, there is no pixel, the mask is not boolean (or 0 and 1), or a
        value is not finite.

    Notes
    -----
    On maps with many ties the trapezoid is inflated, since it joins far points of the curve by
    a line: a flat map has AUPRC (1 + prevalence) / 2, but its average precision is the prevalence.

    References
    ----------
    J. Davis and M. Goadrich (2006), Proc. 23rd ICML, 233-240, on interpolation;
    J. A. Hanley and B. J. McNeil (1982), Radiology 143, 29-36.

    Examples
    --------
    >>> areas = curve_areas([0.1, 0.4, 0.35, 0.8], [False, False, True, True])
    >>> [round(area, 4) for area in areas]
    [0.7917, 0.8333, 0.75, 0.5]
    >>> flat = curve_areas([3, 3, 3, 3], [True, False, False, False])
    >>> flat.auprc, flat.average_precision, flat.auroc
    (0.625, 0.25, 0.5)
    """
    hits, above, level = _counts(values, mask)
    positives = int(hits.sum())
    return _areas(hits, above, level, positives, np.size(values) - positives)


def precision_recall_curve(values: npt.ArrayLike, mask: npt.ArrayLike) -> PrecisionRecall:
    """The precision-recall curve of a map, whose areas are those of :func:`curve_areas`.

    Parameters
    ----------
    values, mask : array_like
        As there; something has to be inside.

    Returns
    -------
    PrecisionRecall
        From recall 0 and precision 1 on, two points for every distinct value that a pixel inside
        has, hottest first: of the threshold just above it, and of itself.

    Raises
    ------
    DataError
        As :func:`curve_areas`, and where nothing is inside.

    Examples
    --------
    >>> curve = precision_recall_curve([0.1, 0.4, 0.35, 0.8], [False, False, True, True])
    >>> curve.recall.tolist(), [round(value, 3) for value in curve.precision.tolist()]
    ([0.0, 0.0, 0.5, 0.5, 1.0], [1.0, 1.0, 1.0, 0.5, 0.667])
    """
    hits, above, level = _counts(values, mask)
    if not len(hits):
        raise DataError("a mask without a pixel has no precision-recall curve; choose a positive")
    true = np.cumsum(hits)
    recall = np.stack([true - hits, true], axis=1).ravel() / true[-1]
    precision = np.stack([_entering(hits, above), true / (true + above + level)], axis=1).ravel()
    return PrecisionRecall(np.concatenate([[0.0], recall]), np.concatenate([[1.0], precision]))


def _entering(hits: IntArray, above: IntArray) -> npt.NDArray[np.float64]:
    """Precision at the threshold just above each value.

    There is none above the hottest pixel, where the curve begins at 1.
    """
    before = np.cumsum(hits) - hits
    reached = before + above
    return np.divide(before, reached, out=np.ones(len(hits)), where=reached > 0)


def _counts(values: npt.ArrayLike, mask: npt.ArrayLike) -> tuple[IntArray, IntArray, IntArray]:
    """Pixels at every distinct value (:func:`_count_sorted`), whatever the type of the map."""
    score, inside = np.asarray(values), np.asarray(mask)
    _check(score, inside)
    inside = inside.astype(bool, copy=False).ravel()
    score = score.astype(score.dtype.newbyteorder("="), copy=False).ravel()
    count = _counts_by_value if score.dtype.itemsize <= 2 else _count_sorted
    return count(score, inside)


def _check(score: npt.NDArray[Any], inside: npt.NDArray[Any]) -> None:
    if score.shape != inside.shape:
        raise DataError(f"the map has shape {score.shape} but the mask {inside.shape}; bring both "
                        "to one size")
    if score.size == 0:
        raise DataError("a map without pixels has no precision-recall curve")
    if score.dtype.kind not in "fiub":
        raise DataError(f"a map of dtype {score.dtype} cannot be ranked; give numbers")
    if inside.dtype != np.bool_ and not np.isin(inside, (0, 1)).all():
        raise DataError("a mask must be boolean, or 0 and 1")


def _counts_by_value(score: npt.NDArray[Any], inside: npt.NDArray[np.bool_]
                     ) -> tuple[IntArray, IntArray, IntArray]:
    """As :func:`_count_sorted`, by histograms of the bits of at most 16-bit numbers."""
    bits = score.view(f"u{score.dtype.itemsize}")
    everywhere = _in_order(_histogram(bits), score.dtype)
    positive = _in_order(_histogram(bits[inside]), score.dtype)
    held = np.flatnonzero(positive)[::-1]
    negative = everywhere - positive
    not_above = np.cumsum(negative)
    return positive[held], not_above[-1] - not_above[held], negative[held]


def _histogram(bits: npt.NDArray[Any]) -> IntArray:
    """How often each number occurs."""
    counts = np.zeros(1 << (8 * bits.dtype.itemsize), dtype=np.int64)
    # bincount converts to 64 bits; in blocks the converted numbers stay in the cache.
    wide = np.empty(min(_BLOCK, len(bits)), dtype=np.intp)
    for start in range(0, len(bits), _BLOCK):
        block = bits[start:start + _BLOCK]
        wide[:len(block)] = block
        counts += np.bincount(wide[:len(block)], minlength=len(counts))
    return counts


def _in_order(counts: IntArray, dtype: np.dtype[Any]) -> IntArray:
    """Counts by bit pattern rearranged by ascending value."""
    if dtype.kind in "ub":
        return counts
    half = len(counts) // 2
    if dtype.kind == "i":
        return np.concatenate([counts[half:], counts[:half]])
    if counts[0x7C00:half].any() or counts[half + 0x7C00:].any():
        raise _not_finite()
    # Negative numbers run backwards, and the last of them is -0.0, which ties with 0.0.
    ordered = np.concatenate([counts[half:][::-1], counts[:half]])
    ordered[half] += ordered[half - 1]
    ordered[half - 1] = 0
    return ordered


def _count_sorted(score: npt.NDArray[Any], inside: npt.NDArray[np.bool_]
                  ) -> tuple[IntArray, IntArray, IntArray]:
    """Pixels at every distinct value that is held by a pixel inside, hottest first.

    Returns
    -------
    hits : ndarray of int64, shape (k,)
        Pixels inside with this value.
    above : ndarray of int64, shape (k,)
        Pixels outside that are hotter.
    level : ndarray of int64, shape (k,)
        Pixels outside with this value.
    """
    # Inside and outside sorted apart make up one sort of the map, and need no permutation.
    positive, negative = np.sort(score[inside]), np.sort(score[~inside])
    # NaN sorts last, infinities at the ends.
    for part in (positive, negative):
        if len(part) and not (np.isfinite(part[0]) and np.isfinite(part[-1])):
            raise _not_finite()
    first = np.flatnonzero(np.concatenate([[True], positive[1:] != positive[:-1]]
                                          if len(positive) else [[]]))
    distinct = positive[first]
    hits = np.diff(np.append(first, len(positive)))
    low = np.searchsorted(negative, distinct, side="left")
    high = np.searchsorted(negative, distinct, side="right")
    return hits[::-1], (len(negative) - high)[::-1], (high - low)[::-1]


def _areas(hits: IntArray, above: IntArray, level: IntArray, positives: int, negatives: int
           ) -> CurveAreas:
    prevalence = positives / (positives + negatives)
    if not positives:
        return CurveAreas(_NAN, _NAN, _NAN, prevalence)
    true = np.cumsum(hits)
    gain = hits / positives
    precision = true / (true + above + level)
    entering = _entering(hits, above)
    average_precision = float(np.sum(gain * precision))
    auprc = float(np.sum(gain * (precision + entering)) / 2)
    if not negatives:
        return CurveAreas(auprc, average_precision, _NAN, prevalence)
    # Twice the number of pairs in which the pixel inside is hotter: whole numbers, no rounding.
    doubled = int(np.sum(hits * (2 * (negatives - above) - level)))
    return CurveAreas(auprc, average_precision, doubled / (2 * positives * negatives), prevalence)


def _not_finite() -> DataError:
    return DataError("a map with NaN or infinite values has no precision-recall curve; count it "
                     "as a failure or leave it out")
