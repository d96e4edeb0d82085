"""What stands beside a mixed model: paired differences per image, without its assumptions."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from saltrust.analysis.inference.bootstrap import percentile_interval, resampled_means
from saltrust.analysis.inference.estimate import Estimate

FloatArray = npt.NDArray[np.float64]


def bootstrap(values: FloatArray, patients: npt.NDArray[Any], *, resamples: int, seed: int,
              confidence_level: float) -> Estimate:
    """Mean difference with a percentile interval and the p-value that inverts it.

    Parameters
    ----------
    values : ndarray of float64, shape (n,)
        Differences per image.
    patients : ndarray, shape (n,)
        What is resampled.
    resamples : int
        Number of resamples, at least 1.
    seed : int
        Not negative.
    confidence_level : float
        Between 0 and 1.
    """
    drawn = resampled_means(values, patients, resamples=resamples, seed=seed)
    low, high, _ = percentile_interval(drawn, confidence_level)
    tail = min(np.sum(drawn <= 0), np.sum(drawn >= 0))
    p_value = min(1.0, 2 * (float(tail) + 1) / (len(drawn) + 1))
    return Estimate(estimate=float(values.mean()), std_error=float(np.std(drawn, ddof=1)),
                    conf_low=float(low), conf_high=float(high), p_value=p_value, n=len(values))


def signed_rank(values: FloatArray) -> Estimate:
    """Wilcoxon's signed-rank test, zeros dropped; the estimate is the median difference.

    Where the median is zero it is the rank correlation, which has the sign of the ranks.
    """
    median = float(np.median(values))
    nonzero = values[values != 0]
    if not len(nonzero):
        return Estimate(estimate=median, p_value=1.0, n=len(values),
                        note="all differences are zero")
    with warnings.catch_warnings():
        # Ties and few values make the test approximate, not wrong.
        warnings.simplefilter("ignore")
        test = stats.wilcoxon(nonzero)
    ranks = stats.rankdata(np.abs(nonzero))
    positive = float(ranks[nonzero > 0].sum())
    total = float(ranks.sum())
    # Where the median is zero the ranks still say on which side the values lie.
    side = median if median else (2 * positive - total) / total
    return Estimate(estimate=side, statistic=positive, p_value=float(test.pvalue), n=len(values),
                    note="" if median else "the median is zero; estimate is the rank correlation")


def effect_size(values: FloatArray, patients: npt.NDArray[Any], *, resamples: int, seed: int,
                confidence_level: float) -> Estimate:
    """Cohen's d of the differences (mean over SD) with a bootstrap interval of patients."""
    spread = float(np.std(values, ddof=1))
    if spread == 0:
        return Estimate(n=len(values), note="all differences are equal")
    moments = resampled_means(np.column_stack([values, values**2]), patients,
                              resamples=resamples, seed=seed)
    variance = np.maximum(moments[:, 1] - moments[:, 0] ** 2, 0) * len(values) / (len(values) - 1)
    drawn = np.divide(moments[:, 0], np.sqrt(variance), out=np.full(len(moments), np.nan),
                      where=variance > 0)
    low, high, _ = percentile_interval(drawn, confidence_level)
    return Estimate(estimate=float(values.mean()) / spread, conf_low=float(low),
                    conf_high=float(high), n=len(values))


def equivalence(values: FloatArray, margin: float) -> Estimate:
    """Two one-sided t tests (TOST) that the mean difference lies within the margin.

    References
    ----------
    D. J. Schuirmann (1987), J. Pharmacokinet. Biopharm. 15, 657-680.
    """
    n = len(values)
    mean, error = float(values.mean()), float(np.std(values, ddof=1)) / np.sqrt(n)
    if error == 0:
        return Estimate(estimate=mean, p_value=0.0 if abs(mean) < margin else 1.0, n=n)
    p_value = max(float(stats.t.sf((mean + margin) / error, n - 1)),
                  float(stats.t.cdf((mean - margin) / error, n - 1)))
    return Estimate(estimate=mean, p_value=p_value, n=n)
