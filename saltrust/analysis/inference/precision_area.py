"""Areas under precision-recall curves of cases, with the jackknife over patients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from saltrust.analysis.inference.estimate import Estimate
from saltrust.analysis.inference.jackknife import share_jackknife
from saltrust.analysis.inference.resampling import cluster_codes

FloatArray = npt.NDArray[np.float64]

#: Numbers of a block of patients who are left out one by one.
_BLOCK = 4_000_000


class PrecisionAreas(NamedTuple):
    """Estimates of :func:`precision_areas`.

    Attributes
    ----------
    average_precision : Estimate
        Sum of precision times the gain of recall.
    auprc : Estimate
        By the trapezoidal rule, from recall 0 and precision 1 on.
    """

    average_precision: Estimate
    auprc: Estimate


def precision_areas(positive: npt.ArrayLike, scores: npt.ArrayLike, patients: npt.ArrayLike, *,
                    confidence_level: float = 0.95) -> PrecisionAreas:
    """Both areas under the precision-recall curve of cases, with intervals by patient.

    Parameters
    ----------
    positive : array_like of bool, shape (n,)
    scores : array_like of float, shape (n,)
        Finite; equal ones are one threshold.
    patients : array_like, shape (n,)
    confidence_level : float

    Returns
    -------
    PrecisionAreas
        The interval is t with the error of the jackknife over patients, on the scale of the
        log-odds, as Boyd's logit interval of independent cases; NaN without positives.

    References
    ----------
    K. Boyd, K. H. Eng and C. D. Page (2013), ECML PKDD, 451-466.

    Examples
    --------
    >>> made = precision_areas([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], [1, 2, 3, 4])
    >>> round(made.average_precision.estimate, 4), round(made.auprc.estimate, 4)
    (0.8333, 0.7917)
    """
    inside = np.asarray(positive, dtype=bool).ravel()
    n = len(inside)
    if not inside.any():
        return PrecisionAreas(*(Estimate(n=n, note="no positive case") for _ in range(2)))
    _, level = np.unique(-np.asarray(scores, dtype=np.float64).ravel(), return_inverse=True)
    codes, count = cluster_codes(patients)
    hits, misses = (np.bincount(level, weights=chosen, minlength=level.max() + 1
                                ).astype(np.float64) for chosen in (inside, ~inside))
    whole = _areas(hits[None], misses[None])[:, 0]
    left_out = np.concatenate(list(_without(codes, count, level, inside, hits, misses)), axis=1)
    return PrecisionAreas(*(
        share_jackknife(float(value), without, n, confidence_level=confidence_level)
        for value, without in zip(whole, left_out, strict=True)))


def _without(codes: npt.NDArray[np.intp], count: int, level: npt.NDArray[np.intp],
             inside: npt.NDArray[np.bool_], hits: FloatArray, misses: FloatArray
             ) -> Iterator[FloatArray]:
    """Areas without each patient, shape (2, patients), a block of patients at a time."""
    step = max(1, _BLOCK // len(hits))
    for start in range(0, count, step):
        rows = np.flatnonzero((codes >= start) & (codes < start + step))
        size = min(step, count - start)
        taken = np.zeros((2, size, len(hits)))
        np.add.at(taken, ((~inside[rows]).astype(int), codes[rows] - start, level[rows]), 1.0)
        yield _areas(hits - taken[0], misses - taken[1])


def _areas(hits: FloatArray, misses: FloatArray) -> FloatArray:
    """Average precision and trapezoid of rows of counts by falling score, shape (2, rows)."""
    true, wrong = np.cumsum(hits, axis=1), np.cumsum(misses, axis=1)
    called, positives = true + wrong, true[:, -1:]
    # Before the first case the curve is at recall 0, precision 1.
    precision = np.divide(true, called, out=np.ones_like(true), where=called > 0)
    recall = np.divide(true, positives, out=np.full_like(true, np.nan), where=positives > 0)
    gain = np.diff(recall, axis=1, prepend=0.0)
    before = np.concatenate([np.ones((len(true), 1)), precision[:, :-1]], axis=1)
    return np.stack([(gain * precision).sum(axis=1), (gain * (precision + before) / 2).sum(axis=1)])
