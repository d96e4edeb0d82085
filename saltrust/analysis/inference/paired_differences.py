"""What stands beside a mixed model: paired differences per image, without its assumptions.

Equivalence of single images is ``ttost_paired`` of statsmodels (a test compares them); one
computation serves these and patients with several, and needs no import of 0.5 s.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from saltrust.analysis.inference.bootstrap import (
    FEWEST_PATIENTS,
    interval_of_function,
    left_out_means,
    mean_interval,
    resampled_means,
    zero_p_value,
)
from saltrust.analysis.inference.clustered import clustered_mean
from saltrust.analysis.inference.estimate import Estimate
from saltrust.analysis.inference.resampling import cluster_codes
from saltrust.analysis.inference.sign_flips import sign_flip_test

FloatArray = npt.NDArray[np.float64]

#: Patients, and level of Spearman's test, for numbers of images to be called informative.
FEWEST_TO_JUDGE, LEVEL_TO_JUDGE = 10, 0.05


def bootstrap(values: FloatArray, patients: npt.NDArray[Any], *, resamples: int, seed: int,
              confidence_level: float) -> Estimate:
    """Mean difference with a bootstrap interval and the p-value that goes with it.

    Both are studentized of up to :data:`saltrust.analysis.inference.bootstrap.MANY_PATIENTS`
    patients, and neither is given of fewer than :data:`FEWEST_PATIENTS`, of which resampled
    means vary too little.

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
    made = mean_interval(values, patients, resamples=resamples, seed=seed, method="auto",
                         confidence_level=confidence_level)
    p_value = zero_p_value(values, patients, resamples=resamples, seed=seed)
    return Estimate(estimate=float(values.mean()), std_error=float(np.std(drawn, ddof=1)),
                    conf_low=float(made.conf_low), conf_high=float(made.conf_high),
                    p_value=p_value, n=len(values), note=made.notes[0])


def signed_rank(values: FloatArray, patients: npt.NDArray[Any]) -> Estimate:
    """The signed-rank test for several images a patient.

    Signed ranks are added up by patient, and the sums keep or turn their signs together
    (:func:`saltrust.analysis.inference.sign_flips.sign_flip_test`).  The hypothesis is that
    every patient's differences are symmetric about zero, together; it is not about the mean.

    Parameters
    ----------
    values : ndarray of float64, shape (n,)
        Differences per image; zeros are dropped.
    patients : ndarray, shape (n,)

    Returns
    -------
    Estimate
        The estimate is the median difference; where it is zero, the rank correlation, which has
        the sign of the ranks.  Where patients with many images differ from those with few in
        how large their differences are, images count by the reciprocal of their patient's
        number (Datta and Satten), and the note says so; else all alike (Rosner, Glynn and Lee).

    References
    ----------
    B. Rosner, R. J. Glynn and M.-L. T. Lee (2006), Biometrics 62, 185-192.
    S. Datta and G. A. Satten (2008), Biometrics 64, 501-507.
    """
    median = float(np.median(values))
    nonzero, codes = values[values != 0], cluster_codes(patients[values != 0])[0]
    if not len(nonzero):
        return Estimate(estimate=median, p_value=1.0, n=len(values),
                        note="all differences are zero")
    ranks = stats.rankdata(np.abs(nonzero))
    informative = _size_informs(np.abs(nonzero), codes)
    weights = within_cluster_ranks(np.abs(nonzero), codes) if informative else ranks
    test = sign_flip_test(np.bincount(codes, weights=np.sign(nonzero) * weights))
    # Where the median is zero the ranks still say on which side the values lie.
    side = median if median else float((np.sign(nonzero) * ranks).sum() / ranks.sum())
    notes = ("" if median else "the median is zero; estimate is the rank correlation",
             "patients count alike: how many images one has goes with how they differ"
             if informative else "")
    return Estimate(estimate=side, statistic=test.statistic, p_value=test.p_value, n=len(values),
                    note="; ".join(filter(None, notes)))


def within_cluster_ranks(sizes: FloatArray, codes: npt.NDArray[np.int64]) -> FloatArray:
    """Ranks as expected when one value of each cluster is drawn, over the cluster's number.

    Parameters
    ----------
    sizes : ndarray of float64, shape (n,)
        Absolute differences.
    codes : ndarray of int64, shape (n,)
        Cluster of each, from 0.

    Returns
    -------
    ndarray of float64, shape (n,)
        ``(1 + sum over other clusters of their share of smaller values) / n_c``, ties counting
        one half.

    References
    ----------
    S. Datta and G. A. Satten (2008), Biometrics 64, 501-507.

    Examples
    --------
    >>> within_cluster_ranks(np.array([1.0, 3.0, 2.0]), np.array([0, 0, 1]))
    array([0.5, 1. , 1.5])
    """
    numbers = np.bincount(codes)[codes]
    values, places = np.unique(sizes, return_inverse=True)
    weight = np.bincount(places, weights=1 / numbers, minlength=len(values))
    below = (np.cumsum(weight) - weight / 2)[places]
    order = np.lexsort((sizes, codes))
    starts = np.searchsorted(codes[order], np.arange(codes.max() + 1))
    alike = np.empty(len(sizes))
    for rows in np.split(order, starts[1:]):
        alike[rows] = (stats.rankdata(sizes[rows]) - 0.5) / len(rows)
    ranks: FloatArray = (1 + below - alike) / numbers
    return ranks


def _size_informs(sizes: FloatArray, codes: npt.NDArray[np.int64]) -> bool:
    """Whether a patient's number of images goes with how much they differ.

    Judged by absolute differences, which no sign can change, so that looking costs no error.
    """
    numbers = np.bincount(codes)
    if len(set(numbers.tolist())) < 2 or len(numbers) < FEWEST_TO_JUDGE:
        return False
    means = np.bincount(codes, weights=sizes) / numbers
    if np.ptp(means) == 0:
        return False
    return bool(stats.spearmanr(numbers, means).pvalue < LEVEL_TO_JUDGE)


def effect_size(values: FloatArray, patients: npt.NDArray[Any], *, resamples: int, seed: int,
                confidence_level: float) -> Estimate:
    """Cohen's d of the differences (mean over SD) with a bootstrap interval of patients."""
    spread = float(np.std(values, ddof=1))
    if spread == 0:
        return Estimate(n=len(values), note="all differences are equal")
    both = np.column_stack([values, values**2])
    drawn, left_out = (_over_deviation(moments, len(values)) for moments in (
        resampled_means(both, patients, resamples=resamples, seed=seed, fewest=FEWEST_PATIENTS),
        left_out_means(both, patients)[0]))
    effect = float(values.mean()) / spread
    low, high = interval_of_function(effect, drawn, left_out, confidence_level)
    return Estimate(estimate=effect, conf_low=low, conf_high=high, n=len(values))


def _over_deviation(moments: FloatArray, n: int) -> FloatArray:
    """Means over standard deviations, from first and second moments; NaN where nothing varies."""
    variance = np.maximum(moments[:, 1] - moments[:, 0] ** 2, 0) * n / (n - 1)
    return np.divide(moments[:, 0], np.sqrt(variance), out=np.full(len(moments), np.nan),
                     where=variance > 0)


def non_inferiority(values: FloatArray, patients: npt.NDArray[Any], margin: float, *,
                    confidence_level: float = 0.95) -> Estimate:
    """One-sided t test that the mean difference lies above minus the margin: no worse by more.

    Parameters
    ----------
    values : ndarray of float64, shape (n,)
        Differences per image, high ones being good.
    patients : ndarray, shape (n,)
        As of :func:`equivalence`.
    margin : float
        Above 0.
    confidence_level : float
        Of the bound, one minus the level of the test.

    Returns
    -------
    Estimate
        ``conf_low`` is the one-sided lower bound, which lies above minus the margin where the
        test rejects; ``conf_high`` is infinite.  Without a p-value where the images are of one
        patient.

    References
    ----------
    E. Lesaffre (2008), Bulletin of the NYU Hospital for Joint Diseases 66, 150-154.

    Examples
    --------
    >>> made = non_inferiority(np.array([0.0, 0.1, -0.1, 0.05]), np.arange(4), 0.2)
    >>> round(made.conf_low, 3), made.p_value < 0.05
    (-0.088, True)
    """
    n, mean = len(values), float(values.mean())
    if np.ptp(values) == 0:
        return Estimate(estimate=mean, p_value=0.0 if mean > -margin else 1.0, n=n)
    tested = clustered_mean(values, patients)
    if np.isnan(tested.std_error):
        return tested
    statistic = (mean + margin) / tested.std_error
    low = mean - float(stats.t.ppf(confidence_level, tested.df)) * tested.std_error
    return Estimate(mean, tested.std_error, low, float("inf"), statistic, tested.df,
                    float(stats.t.sf(statistic, tested.df)), n)


def equivalence(values: FloatArray, patients: npt.NDArray[Any], margin: float) -> Estimate:
    """Two one-sided t tests (TOST) that the mean difference lies within the margin.

    Parameters
    ----------
    values : ndarray of float64, shape (n,)
        Differences per image.
    patients : ndarray, shape (n,)
        Whose images are alike: the error is CR2, the degrees of freedom Satterthwaite's
        (:func:`saltrust.analysis.inference.clustered.cr2`); of single images the classical.
    margin : float
        Above 0.

    Returns
    -------
    Estimate
        Without a p-value where the images are of one patient.

    References
    ----------
    D. J. Schuirmann (1987), J. Pharmacokinet. Biopharm. 15, 657-680.
    """
    n, mean = len(values), float(values.mean())
    if np.ptp(values) == 0:
        return Estimate(estimate=mean, p_value=0.0 if abs(mean) < margin else 1.0, n=n)
    tested = clustered_mean(values, patients)
    if np.isnan(tested.std_error):
        return tested
    p_value = max(float(stats.t.sf((mean + margin) / tested.std_error, tested.df)),
                  float(stats.t.cdf((mean - margin) / tested.std_error, tested.df)))
    return Estimate(estimate=mean, std_error=tested.std_error, df=tested.df, p_value=p_value, n=n)
