"""The interval of an area under a ROC curve that holds its level near 1 and with few cases."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import stdtr, stdtrit

from saltrust.analysis.inference.estimate import Estimate, check_confidence_level
from saltrust.analysis.inference.resampling import cluster_codes

#: Of a root of the interval; areas are between 0 and 1.
_TOLERANCE = 1e-12
#: How far from 0 and 1 the search begins.
_BESIDE = 1e-9


class EffectiveSizes(NamedTuple):
    """What cases of several images a patient are worth.

    Attributes
    ----------
    positives, negatives : float
        Above 0, not necessarily whole.
    df : float
        Degrees of freedom of what they were estimated from; infinite where they are known.
    """

    positives: float
    negatives: float
    df: float = np.inf


def effective_sizes(labels: npt.ArrayLike, clusters: npt.ArrayLike, clustered_variance: float,
                    variance: float, df: float) -> EffectiveSizes:
    """How many independent positives and negatives the cases of several images a patient are.

    Parameters
    ----------
    labels : array_like of bool, shape (n,)
    clusters : array_like, shape (n,)
        Patients.
    clustered_variance, variance : float
        Of the area, by Obuchowski with patients and by DeLong without
        (:func:`saltrust.analysis.inference.auc_covariance.auc_covariance`).
    df : float
        Of the first.

    Returns
    -------
    EffectiveSizes
        The numbers of cases over the ratio of the two variances (the design effect), which is
        known to be 1 where every case is a patient.  Where an area of 0 or 1 leaves neither
        variance, the numbers of patients: patients alone are known to be independent.

    Examples
    --------
    >>> tuple(effective_sizes([1, 1, 0, 0, 0], [1, 1, 2, 3, 4], 0.02, 0.01, 3.0))
    (1.0, 1.5, 3.0)
    >>> tuple(effective_sizes([1, 1, 0, 0, 0], [1, 1, 2, 3, 4], 0.0, 0.0, 3.0))
    (1.0, 3.0, inf)
    """
    positive = np.asarray(labels).astype(bool)
    codes, count = cluster_codes(clusters)
    if count < len(codes) and variance > 0 and clustered_variance > 0:
        ratio = clustered_variance / variance
        return EffectiveSizes(float(positive.sum() / ratio), float((~positive).sum() / ratio), df)
    return EffectiveSizes(*(float(len(np.unique(codes[side]))) for side in (positive, ~positive)))


def modeled_variance(area: float, positives: float, negatives: float) -> float:
    r"""Variance of an area as a function of the area and of the numbers of cases alone.

    :math:`\theta (1-\theta) [1 + n^* (1-\theta)/(2-\theta) + n^* \theta/(1+\theta)] / (mn)` with
    :math:`n^* = (m + n)/2 - 1`, as between two exponential distributions.

    Parameters
    ----------
    area : float
        Between 0 and 1.
    positives, negatives : float
        Above 0; effective ones need not be whole.

    Returns
    -------
    float

    References
    ----------
    J. A. Hanley and B. J. McNeil (1982), Radiology 143, 29-36; R. G. Newcombe (2006), Statistics
    in Medicine 25, 559-573 (the mean of the two numbers in the place of each).

    Examples
    --------
    >>> modeled_variance(0.5, 1, 1)
    0.25
    """
    shared = max((positives + negatives) / 2 - 1, 0.0)
    return (area * (1 - area) / (positives * negatives)
            * (1 + shared * (1 - area) / (2 - area) + shared * area / (1 + area)))


def score_interval(area: float, sizes: EffectiveSizes, confidence_level: float = 0.95
                   ) -> tuple[float, float]:
    r"""Newcombe's method 5: all areas whose own variance does not rule out what was seen.

    Parameters
    ----------
    area : float
        Between 0 and 1.
    sizes : EffectiveSizes
        Where they are estimated, z is the quantile of t with their degrees of freedom: with
        eight positive patients of several images the normal one covers too rarely.
    confidence_level : float
        Between 0 and 1.

    Returns
    -------
    low, high : float
        The solutions :math:`\theta` of :math:`|\hat\theta - \theta| = z \sqrt{v(\theta)}`, with
        the variance of :func:`modeled_variance`.  Within 0 and 1, and with a width at both.

    References
    ----------
    R. G. Newcombe (2006), Statistics in Medicine 25, 559-573.

    Examples
    --------
    >>> low, high = score_interval(1.0, EffectiveSizes(10, 10))
    >>> round(low, 3), high
    (0.8, 1.0)
    """
    check_confidence_level(confidence_level)
    squared = float(stdtrit(sizes.df, (1 + confidence_level) / 2)) ** 2

    def excess(theta: float) -> float:
        variance = modeled_variance(theta, sizes.positives, sizes.negatives)
        return (theta - area) ** 2 - squared * variance

    return _bound(excess, 0.0, area), _bound(excess, 1.0, area)


def score_estimate(area: float, std_error: float, sizes: EffectiveSizes, n: int,
                   confidence_level: float = 0.95) -> Estimate:
    """An area with :func:`score_interval` and the test against one half that inverts it.

    Parameters
    ----------
    area, std_error : float
        The error is reported as it is; the interval does not come from it.
    sizes : EffectiveSizes
    n : int
        Cases.
    confidence_level : float

    Returns
    -------
    Estimate
    """
    low, high = score_interval(area, sizes, confidence_level)
    statistic = (area - 0.5) / np.sqrt(modeled_variance(0.5, sizes.positives, sizes.negatives))
    return Estimate(estimate=area, std_error=std_error, conf_low=low, conf_high=high,
                    statistic=float(statistic), df=sizes.df,
                    p_value=float(2 * stdtr(sizes.df, -abs(statistic))), n=n)


def _bound(excess: Callable[[float], float], end: float, area: float) -> float:
    """Where the excess is zero between the end of the scale and the area."""
    if area == end or excess(end) <= 0:
        return end
    # At an area of 0 or 1 the variance vanishes, and so does the excess: a little beside it the
    # excess is negative, as it is at any other area.
    inner = min(max(area, _BESIDE), 1 - _BESIDE)
    return float(brentq(excess, end, inner, xtol=_TOLERANCE))
