"""Area under the ROC curve, exact with ties.  NumPy only, so that training can use it too."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from saltrust.errors import DataError


def roc_auc(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Probability that a positive scores above a negative, ties counting one half.

    This is the area under the ROC curve and the Mann-Whitney statistic over the number of
    pairs.  Twice the rank sum is a whole number and is kept as one, so that the only rounding
    is that of the last division.

    Parameters
    ----------
    labels : array_like of bool or int, shape (n,)
        1 positive, 0 negative; leave uncertain and unstated labels out before.
    scores : array_like of float, shape (n,)
        Higher means more likely positive; infinities are allowed, NaN is not.

    Returns
    -------
    float
        Between 0 and 1; NaN where one of the two classes is absent.

    Raises
    ------
    DataError
        If the lengths differ, a label is neither 0 nor 1, or a score is NaN.

    References
    ----------
    J. A. Hanley and B. J. McNeil (1982), Radiology 143, 29-36.

    Examples
    --------
    >>> roc_auc([0, 0, 1, 1], [0.1, 0.4, 0.4, 0.8])
    0.875
    >>> roc_auc([1, 1], [0.2, 0.3])
    nan
    """
    truth, value = _checked(labels, scores)
    positive = truth.astype(bool)
    _, codes, ties = np.unique(value, return_inverse=True, return_counts=True)
    # Twice the midrank of each distinct score: 2 * (rows below) + ties + 1.
    doubled = 2 * (np.cumsum(ties) - ties) + ties + 1
    positives = int(positive.sum())
    negatives = len(truth) - positives
    if not positives or not negatives:
        return float("nan")
    rank_sum = int(doubled[codes.ravel()[positive]].sum())
    return (rank_sum - positives * (positives + 1)) / (2 * positives * negatives)


def roc_curve(labels: npt.ArrayLike, scores: npt.ArrayLike
              ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Points of the empirical ROC curve, one per distinct score, whose area is :func:`roc_auc`.

    Parameters
    ----------
    labels : array_like of bool or int, shape (n,)
        1 positive, 0 negative.
    scores : array_like of float, shape (n,)
        Higher means more likely positive; infinities are allowed, NaN is not.

    Returns
    -------
    false_positive_rate, true_positive_rate : ndarray of float64, shape (distinct scores + 1,)
        From (0, 0) to (1, 1), as the threshold falls; joined by straight lines, ties count one
        half.  NaN where a class is absent.

    Raises
    ------
    DataError
        If the lengths differ, a label is neither 0 nor 1, or a score is NaN.

    Examples
    --------
    >>> false, true = roc_curve([0, 0, 1, 1], [0.1, 0.4, 0.4, 0.8])
    >>> false.tolist(), true.tolist()
    ([0.0, 0.0, 0.5, 1.0], [0.0, 0.5, 1.0, 1.0])
    """
    truth, value = _checked(labels, scores)
    distinct, codes = np.unique(value, return_inverse=True)
    rates = []
    for kind in (0, 1):
        counts = np.bincount(codes.ravel()[truth == kind], minlength=len(distinct))[::-1]
        total = counts.sum()
        steps = np.cumsum(counts) / total if total else np.full(len(distinct), np.nan)
        rates.append(np.concatenate([[0.0], steps]))
    return rates[0], rates[1]


def _checked(labels: npt.ArrayLike, scores: npt.ArrayLike
             ) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    truth, value = np.asarray(labels).ravel(), np.asarray(scores).ravel()
    if len(truth) != len(value):
        raise DataError(f"{len(truth)} labels were given for {len(value)} scores; "
                        "every score needs one")
    if not np.isin(truth, (0, 1)).all():
        raise DataError("labels of an ROC curve must be 0 or 1; leave out the uncertain ones")
    if np.isnan(value).any():
        raise DataError(f"{int(np.isnan(value).sum())} of {len(value)} scores of an ROC curve "
                        "are NaN; leave those rows out or predict them")
    return truth, value
