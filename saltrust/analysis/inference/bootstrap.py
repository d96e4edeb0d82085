"""Bootstrap intervals of means, by row or by patient.

Every resample is a vector of integer weights (how often each row was drawn), so that the means
of all resamples and all columns are one matrix product and rows that a column lacks (NaN) weigh
nothing in it.  NaN never enters an order statistic: resamples that drew no row of a column are
left out for that column, and counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from saltrust.analysis.inference.estimate import check_confidence_level
from saltrust.analysis.inference.jackknife import jackknife_estimate
from saltrust.analysis.inference.resampling import cluster_codes, resample_blocks, resample_weights
from saltrust.analysis.inference.threads import one_blas_thread
from saltrust.choices import BootstrapKind, words
from saltrust.errors import DataError, UsageError, nearest

__all__ = [
    "METHODS",
    "BootstrapKind",
    "MeanInterval",
    "mean_interval",
    "percentile_interval",
    "resample_weights",
    "resampled_means",
]

FloatArray = npt.NDArray[np.float64]
#: Of fewer, resamples are too much alike for any interval (coverage .90 and less at nominal .95).
FEWEST_PATIENTS = 10
#: Up to which a mean needs to be taken over its error in each resample.
MANY_PATIENTS = 30
METHODS = words(BootstrapKind)


@dataclass(frozen=True)
class MeanInterval:
    """Means of columns with their bootstrap intervals.

    Arrays have shape (k,), or () where the values had one dimension.

    Attributes
    ----------
    mean : ndarray of float64
        Mean over the rows the column has; NaN where it has none.
    std_error : ndarray of float64
        Standard deviation (n - 1) of the means of the resamples.
    conf_low, conf_high : ndarray of float64
        Bounds of the interval; NaN where it cannot be had, and ``notes`` says why.
    n : ndarray of int64
        Rows the column has.
    clusters : ndarray of int64
        Patients these rows are of (rows, when there are no clusters).
    resamples_used : ndarray of int64
        Resamples that drew at least one row of the column.
    notes : tuple of str
        One per column; empty where there is nothing to say.
    method, confidence, resamples, seed
        As asked for.
    """

    mean: FloatArray
    std_error: FloatArray
    conf_low: FloatArray
    conf_high: FloatArray
    n: npt.NDArray[np.int64]
    clusters: npt.NDArray[np.int64]
    resamples_used: npt.NDArray[np.int64]
    notes: tuple[str, ...]
    method: str
    confidence_level: float
    resamples: int
    seed: int


@one_blas_thread()
def resampled_means(values: npt.ArrayLike, clusters: npt.ArrayLike | None = None, *,
                    resamples: int = 1000, seed: int = 0, fewest: int = 0) -> FloatArray:
    """Means of every column in every resample.

    The columns share the resamples, so that functions of several means (a difference, a
    percentage decrease) can be taken resample by resample; see :func:`percentile_interval`.

    Parameters
    ----------
    values : array_like of float, shape (n,) or (n, k)
        NaN where a row does not belong to the column.
    clusters : array_like, shape (n,), optional
        Patients; rows are resampled when left out.
    resamples : int
        Number of resamples, at least 1.
    seed : int
        Not negative.
    fewest : int
        Columns of fewer clusters than this are NaN throughout, such as with
        :data:`FEWEST_PATIENTS`.

    Returns
    -------
    ndarray of float64, shape (resamples,) or (resamples, k)
        NaN where a resample drew no row of the column.

    Raises
    ------
    DataError
        If a value is infinite or ``clusters`` has another length than ``values``.
    UsageError
        If ``resamples`` or ``seed`` is out of range.
    """
    table = _columns(values)
    sums, counts = _cluster_sums(table, clusters)
    means = _means(sums, counts, resamples, seed)
    means[:, (counts > 0).sum(axis=0) < fewest] = np.nan
    return means if np.ndim(values) == 2 else means[:, 0]


def left_out_means(values: npt.ArrayLike, clusters: npt.ArrayLike
                   ) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Means of every column without each cluster, for functions of several means.

    Parameters
    ----------
    values : array_like of float, shape (n, k)
        NaN where a row does not belong to the column.
    clusters : array_like, shape (n,)
        Patients.

    Returns
    -------
    means : ndarray of float64, shape (clusters, k)
        That of all rows for a cluster without rows in the column; NaN where no row is left.
    present : ndarray of bool, shape (clusters, k)
        Whether a cluster has rows in the column.
    """
    sums, counts = _cluster_sums(_columns(values), clusters)
    return _ratio(sums.sum(axis=0) - sums, counts.sum(axis=0) - counts), counts > 0


def interval_of_function(value: float, drawn: FloatArray, left_out: FloatArray,
                         confidence_level: float) -> tuple[float, float]:
    """Interval of a function of means, such as a difference or a percentage decrease.

    Percentiles of the function in every resample; of up to :data:`MANY_PATIENTS` patients, for
    which these are too short, t about the value with the error of the jackknife.

    Parameters
    ----------
    value : float
    drawn : ndarray of float64, shape (resamples,)
        The function in every resample; what is not finite is left out.
    left_out : ndarray of float64, shape (patients,)
        The function without each patient that has a part in it.
    confidence_level : float
        Between 0 and 1.

    Returns
    -------
    low, high : float
        NaN where fewer than two resamples are finite.
    """
    low, high, _ = percentile_interval(drawn, confidence_level)
    if np.isnan(low) or len(left_out) > MANY_PATIENTS:
        return float(low), float(high)
    made = jackknife_estimate(value, left_out, len(left_out), confidence_level=confidence_level)
    return ((float(low), float(high)) if np.isnan(made.conf_low)
            else (made.conf_low, made.conf_high))


@one_blas_thread()
def mean_interval(values: npt.ArrayLike, clusters: npt.ArrayLike | None = None, *,
                  resamples: int = 1000, confidence_level: float = 0.95, seed: int = 0,
                  method: BootstrapKind = "percentile") -> MeanInterval:
    """Means of columns with bootstrap intervals.

    Parameters
    ----------
    values : array_like of float, shape (n,) or (n, k)
        NaN where a row does not belong to the column.
    clusters : array_like, shape (n,), optional
        Patients: all rows of one are drawn together.  Rows are drawn when left out.
    resamples : int
        Number of resamples, at least 1.
    confidence_level : float
        Between 0 and 1.
    seed : int
        Not negative.
    method : {"auto", "percentile", "bca", "bootstrap-t"}
        Percentiles of the resampled means; bias-corrected and accelerated ones, with the
        acceleration of the jackknife over clusters; or quantiles of the resampled means over
        their own errors by cluster.  ``auto`` gives none of fewer than :data:`FEWEST_PATIENTS`
        clusters, bootstrap-t to :data:`MANY_PATIENTS`, and percentiles above, as what holds its
        level on scores of which a third are zero.

    Returns
    -------
    MeanInterval

    Raises
    ------
    DataError
        If a value is infinite or ``clusters`` has another length than ``values``.
    UsageError
        If an option is out of range.

    Notes
    -----
    An interval needs at least two clusters.  Where all rows are equal the interval has no width
    and a note says so; see :func:`proportion_interval` for proportions.

    References
    ----------
    B. Efron and R. J. Tibshirani, An Introduction to the Bootstrap (1993), chapters 12 to 14.

    Examples
    --------
    >>> interval = mean_interval([0.0, 1.0, 1.0, float("nan")], seed=1)
    >>> round(float(interval.mean), 3), int(interval.n)
    (0.667, 3)
    """
    if method not in METHODS:
        raise UsageError(f"bootstrap method {method!r} is not known; {nearest(method, METHODS)}")
    alpha = _tail(confidence_level)
    table = _columns(values)
    sums, counts = _cluster_sums(table, clusters)
    n = (~np.isnan(table)).sum(axis=0)
    present = (counts > 0).sum(axis=0)
    mean = _ratio(sums.sum(axis=0), counts.sum(axis=0))
    replicates = _means(sums, counts, resamples, seed)
    used = np.isfinite(replicates).sum(axis=0)
    error, low, high = (np.full(table.shape[1], np.nan) for _ in range(3))
    notes = []
    for k in range(table.shape[1]):
        note = _why_no_interval(n[k], present[k], used[k], clusters is not None)
        notes.append(note)
        if note:
            continue
        few = method == "auto" and present[k] < FEWEST_PATIENTS
        column = table[~np.isnan(table[:, k]), k]
        if np.all(column == column[0]):
            # The mean of equal numbers is that number; rounding must not give it a width.
            mean[k] = low[k] = high[k] = column[0]
            error[k] = 0.0
            notes[-1] = "all values are equal: the interval has no width"
            if few:
                low[k] = high[k] = np.nan
                notes[-1] = too_few(int(present[k]))
            continue
        drawn = replicates[np.isfinite(replicates[:, k]), k]
        levels = np.array([alpha, 1 - alpha])
        if method == "bca":
            levels = _bca_levels(drawn, mean[k], _jackknife(sums[:, k], counts[:, k]), levels)
        error[k] = np.std(drawn, ddof=1)
        low[k], high[k] = np.quantile(drawn, levels)
        if few:
            low[k] = high[k] = np.nan
            notes[-1] = too_few(int(present[k]))
        elif method == "bootstrap-t" or (method == "auto" and present[k] <= MANY_PATIENTS):
            made = _studentized(sums[:, k], counts[:, k], resamples, seed)
            if made is not None:
                center, spread, deviations = made
                high[k], low[k] = center - spread * np.quantile(deviations, levels)
    shape = np.shape(values)[1:]
    return MeanInterval(
        mean=mean.reshape(shape), std_error=error.reshape(shape), conf_low=low.reshape(shape),
        conf_high=high.reshape(shape), n=n.reshape(shape), clusters=present.reshape(shape),
        resamples_used=used.reshape(shape), notes=tuple(notes), method=method,
        confidence_level=confidence_level, resamples=resamples, seed=seed)


def percentile_interval(replicates: npt.ArrayLike, confidence_level: float = 0.95
                        ) -> tuple[FloatArray, FloatArray, npt.NDArray[np.int64]]:
    """Percentile interval of resampled statistics.

    Parameters
    ----------
    replicates : array_like of float, shape (resamples,) or (resamples, k)
        What is not finite (no row drawn, a division by zero) is left out.
    confidence_level : float
        Between 0 and 1.

    Returns
    -------
    low, high : ndarray of float64, shape () or (k,)
        NaN where fewer than two replicates are finite.
    used : ndarray of int64, shape () or (k,)
        Number of finite replicates.
    """
    alpha = _tail(confidence_level)
    drawn = np.asarray(replicates, dtype=np.float64)
    shape = drawn.shape[1:]
    drawn = drawn.reshape(drawn.shape[0], -1)
    bounds = np.full((2, drawn.shape[1]), np.nan)
    finite = np.isfinite(drawn)
    used = finite.sum(axis=0)
    for k in np.flatnonzero(used >= 2):
        bounds[:, k] = np.quantile(drawn[finite[:, k], k], [alpha, 1 - alpha])
    return bounds[0].reshape(shape), bounds[1].reshape(shape), used.reshape(shape)


def _tail(confidence_level: float) -> float:
    check_confidence_level(confidence_level)
    return (1 - confidence_level) / 2


def _columns(values: npt.ArrayLike) -> FloatArray:
    table = np.asarray(values, dtype=np.float64)
    if table.ndim not in (1, 2):
        raise UsageError(f"values to resample must have shape (n,) or (n, k), not {table.shape}")
    if np.isinf(table).any():
        raise DataError("values to resample hold an infinite number; leave such rows out as NaN")
    return table[:, None] if table.ndim == 1 else table


def _cluster_sums(table: FloatArray, clusters: npt.ArrayLike | None
                  ) -> tuple[FloatArray, FloatArray]:
    """Sum and number of the values of each cluster and column, both (clusters, k)."""
    known = ~np.isnan(table)
    filled = np.where(known, table, 0.0)
    if clusters is None:
        return filled, known.astype(np.float64)
    labels: npt.NDArray[Any] = np.asarray(clusters).ravel()
    if len(labels) != len(table):
        raise DataError(f"{len(labels)} cluster labels were given for {len(table)} rows; "
                        "every row needs one")
    codes, count = cluster_codes(labels)
    sums, counts = np.zeros((2, count, table.shape[1]))
    np.add.at(sums, codes, filled)
    np.add.at(counts, codes, known)
    return sums, counts


def _ratio(sums: FloatArray, counts: FloatArray) -> FloatArray:
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


def _means(sums: FloatArray, counts: FloatArray, resamples: int, seed: int) -> FloatArray:
    both = np.hstack([sums, counts])
    k = sums.shape[1]
    products = np.concatenate(
        [block @ both for block in resample_blocks(len(both), resamples, seed)])
    return _ratio(products[:, :k], products[:, k:])


def _why_no_interval(n: int, clusters: int, used: int, clustered: bool) -> str:
    if n == 0:
        return "no rows"
    if clusters < 2:
        rows = "1 row" if n == 1 else f"{n} rows"
        return f"{rows} of 1 patient: no interval" if clustered else f"{rows}: no interval"
    if used < 2:
        return "fewer than 2 resamples drew a row: no interval"
    return ""


def too_few(patients: int) -> str:
    """The note of what has fewer patients than a bootstrap needs."""
    return (f"{patients} patient{'s' * (patients != 1)}, fewer than {FEWEST_PATIENTS}: no "
            "bootstrap interval")


def zero_p_value(values: FloatArray, clusters: npt.NDArray[Any], *, resamples: int,
                 seed: int) -> float:
    """Two-sided p of a mean of zero: the level at which the interval ``auto`` reaches zero.

    Parameters
    ----------
    values : ndarray of float64, shape (n,)
    clusters : ndarray, shape (n,)
        Patients.
    resamples, seed : int
        As of :func:`mean_interval`.

    Returns
    -------
    float
        NaN of fewer than :data:`FEWEST_PATIENTS`, but 1 where all values are zero.
    """
    sums, counts = _cluster_sums(_columns(values), clusters)
    if not values.any():
        return 1.0
    if len(sums) < FEWEST_PATIENTS:
        return float("nan")
    made = (_studentized(sums[:, 0], counts[:, 0], resamples, seed)
            if len(sums) <= MANY_PATIENTS else None)
    if made is None:
        drawn = _means(sums, counts, resamples, seed)[:, 0]
    else:
        mean, error, deviations = made
        drawn = mean / error - deviations
    tail = min(np.sum(drawn <= 0), np.sum(drawn >= 0))
    return float(min(1.0, 2 * (tail + 1) / (len(drawn) + 1)))


def _studentized(sums: FloatArray, counts: FloatArray, resamples: int, seed: int
                 ) -> tuple[float, float, FloatArray] | None:
    """Mean of a column, its error as a ratio of sums over clusters, and the deviations of the
    resampled means over their own errors.

    None where patients do not differ, so that there is no error to take anything over.
    """
    parts = np.stack([sums, counts, sums**2, sums * counts, counts**2], axis=1)
    size = np.count_nonzero(counts)

    def mean_and_error(totals: FloatArray) -> tuple[FloatArray, FloatArray]:
        total, n, squares, products, numbers = totals.T
        mean = _ratio(total, n)
        spread = np.maximum(squares - 2 * mean * products + mean**2 * numbers, 0)
        return mean, _ratio(np.sqrt(spread * (size / (size - 1))), n)

    mean, error = mean_and_error(parts.sum(axis=0)[None])
    drawn, errors = mean_and_error(np.concatenate(
        [block @ parts for block in resample_blocks(len(parts), resamples, seed)]))
    # A resample of equal patients has no error to compare with.
    usable = errors > 1e-12 * error
    if usable.sum() < 2:
        return None
    return float(mean[0]), float(error[0]), (drawn[usable] - mean) / errors[usable]


def _jackknife(sums: FloatArray, counts: FloatArray) -> FloatArray:
    """Means with one cluster left out, for the clusters that have rows, where rows remain."""
    kept = counts > 0
    left = counts.sum() - counts[kept]
    return _ratio(sums.sum() - sums[kept], left)[left > 0]


def _bca_levels(drawn: FloatArray, mean: float, left_out: FloatArray,
                levels: FloatArray) -> FloatArray:
    """Percentile levels of the BCa interval (Efron and Tibshirani 1993, eqs. 14.10 to 14.15)."""
    below = (np.mean(drawn < mean) + np.mean(drawn <= mean)) / 2
    # With every resample on one side the correction is infinite; half a resample keeps it finite.
    half = 0.5 / len(drawn)
    bias = ndtri(np.clip(below, half, 1 - half))
    away = left_out.mean() - left_out
    # In units of a power of two, which is exact: cubes of very small numbers would be 0.
    away = np.ldexp(away, -int(np.frexp(np.abs(away).max())[1]))
    spread = np.sum(away**2)
    acceleration = np.sum(away**3) / (6 * spread**1.5) if spread > 0 else 0.0
    moved = bias + ndtri(levels)
    return ndtr(bias + moved / (1 - acceleration * moved))
