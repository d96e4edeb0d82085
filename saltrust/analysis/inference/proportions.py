"""Intervals of proportions: Wilson's, also with what patients make of the number of rows.

``proportion_confint`` of statsmodels gives Wilson's interval too, without that of patients (a test
compares them); its import takes 0.5 s of commands that take 2, and a call thirty times as long.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri, stdtrit

from saltrust.analysis.inference.bootstrap import MeanInterval, mean_interval
from saltrust.analysis.inference.clustered import clustered_mean
from saltrust.analysis.inference.estimate import check_confidence_level
from saltrust.analysis.inference.threads import one_blas_thread
from saltrust.choices import BootstrapKind
from saltrust.errors import DataError, UsageError


@one_blas_thread()
def proportion_interval(values: npt.ArrayLike, clusters: npt.ArrayLike | None = None, *,
                        resamples: int = 1000, confidence_level: float = 0.95, seed: int = 0,
                        method: BootstrapKind = "percentile") -> MeanInterval:
    """:func:`mean_interval` of zeros and ones, with Wilson's interval where it holds its level.

    Where every row is a hit (or every row a miss) no resample differs and the bootstrap gives
    an interval without width however few the rows.  Those columns get Wilson's interval
    instead, its n the number of clusters: when patients do not differ at all, several images
    of one patient cannot be counted as independent evidence.  The note of the column says so.
    So do all columns under ``auto``, with the effective number of rows
    (:func:`clustered_wilson`): shares of few patients are too coarse for bootstrap-t, and near 0
    and 1 percentiles cover too rarely even with 40.

    Parameters
    ----------
    values : array_like of float, shape (n,) or (n, k)
        0 or 1; NaN where a row does not belong to the column.
    clusters : array_like, shape (n,), optional
        Patients: all rows of one are drawn together.  Rows are drawn when left out.
    resamples : int
        Number of resamples, at least 1.
    confidence_level : float
        Between 0 and 1.
    seed : int
        Not negative.
    method : {"auto", "percentile", "bca", "bootstrap-t"}
        Of the bootstrap; ``auto`` takes Wilson's interval.

    Returns
    -------
    MeanInterval

    Raises
    ------
    DataError
        If a value is neither 0, 1 nor NaN, or ``clusters`` has another length than ``values``.
    UsageError
        If an option is out of range.

    Examples
    --------
    >>> interval = proportion_interval([1.0] * 11)
    >>> round(float(interval.conf_low), 3), float(interval.conf_high)
    (0.741, 1.0)
    """
    table = np.asarray(values, dtype=np.float64)
    table = table[:, None] if table.ndim == 1 else table
    if not np.isin(table[~np.isnan(table)], (0.0, 1.0)).all():
        raise DataError("a proportion needs values that are 0, 1 or missing")
    interval = mean_interval(values, clusters, resamples=resamples,
                             confidence_level=confidence_level, seed=seed, method=method)
    mean, count = np.atleast_1d(interval.mean), np.atleast_1d(interval.clusters)
    low, high = np.atleast_1d(interval.conf_low).copy(), np.atleast_1d(interval.conf_high).copy()
    notes = list(interval.notes)
    for k in np.flatnonzero((mean == 0) | (mean == 1)):
        low[k], high[k] = wilson_interval(int(mean[k]) * int(count[k]), int(count[k]),
                                          confidence_level)
        unit = ("row" if clusters is None else "patient") + ("" if count[k] == 1 else "s")
        notes[k] = f"all {'hits' if mean[k] else 'misses'}: Wilson interval on {count[k]} {unit}"
    between = (count > 1) & (mean > 0) & (mean < 1)
    for k in np.flatnonzero(between) if method == "auto" else ():
        owners: npt.NDArray[Any] = np.arange(len(table)) if clusters is None else np.asarray(
            clusters).ravel()
        known = ~np.isnan(table[:, k])
        low[k], high[k] = clustered_wilson(table[known, k], owners[known], confidence_level)
        notes[k] = ""
    shape = np.shape(values)[1:]
    return MeanInterval(
        mean=interval.mean, std_error=interval.std_error, conf_low=low.reshape(shape),
        conf_high=high.reshape(shape), n=interval.n, clusters=interval.clusters,
        resamples_used=interval.resamples_used, notes=tuple(notes), method=method,
        confidence_level=confidence_level, resamples=resamples, seed=seed)


def wilson_interval(successes: int, n: int, confidence_level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion.

    Parameters
    ----------
    successes, n : int
        0 <= successes <= n.
    confidence_level : float
        Between 0 and 1.

    Returns
    -------
    tuple of float
        Bounds; both NaN where n is 0.

    References
    ----------
    E. B. Wilson (1927), J. Am. Stat. Assoc. 22, 209-212.

    Examples
    --------
    >>> low, high = wilson_interval(11, 11)
    >>> round(low, 4), high
    (0.7412, 1.0)
    """
    if not 0 <= successes <= n:
        raise UsageError(f"{successes} of {n} is not a proportion: successes must lie in 0..n")
    check_confidence_level(confidence_level)
    z = -ndtri((1 - confidence_level) / 2)
    if n == 0:
        return float("nan"), float("nan")
    low, high = _score(successes / n, n, z)
    return (0.0 if successes == 0 else low), (1.0 if successes == n else high)


def clustered_wilson(values: npt.ArrayLike, clusters: npt.ArrayLike,
                     confidence_level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval with the number of rows that patients leave.

    The effective number is that whose binomial variance is the CR2 variance of the share, at
    most the number of rows; Satterthwaite's t takes the place of the normal quantile.

    Parameters
    ----------
    values : array_like of float, shape (n,)
        0 or 1.
    clusters : array_like, shape (n,)
        Patient of each row.
    confidence_level : float
        Between 0 and 1.

    Returns
    -------
    tuple of float
        Bounds; of the number of patients where the share is 0 or 1 or has no error.

    References
    ----------
    E. L. Korn and B. I. Graubard (1998), Survey Methodology 24, 193-201, of effective sizes;
    E. B. Wilson (1927).

    Examples
    --------
    >>> low, high = clustered_wilson([1, 0, 1, 1, 0, 1], [1, 1, 2, 2, 3, 3])
    >>> round(low, 3), round(high, 3)
    (0.112, 0.969)
    """
    check_confidence_level(confidence_level)
    rows = np.asarray(values, dtype=np.float64)
    patients = len(set(np.asarray(clusters).ravel().tolist()))
    share = float(rows.mean()) if len(rows) else float("nan")
    if not 0 < share < 1:
        return wilson_interval(int(share * patients) if len(rows) else 0, patients,
                               confidence_level)
    made = clustered_mean(rows, clusters)
    if not made.std_error > 0:
        return _score(share, patients, -ndtri((1 - confidence_level) / 2))
    size = min(share * (1 - share) / made.std_error**2, len(rows))
    return _score(share, size, float(stdtrit(made.df, (1 + confidence_level) / 2)))


def _score(share: float, n: float, z: float) -> tuple[float, float]:
    center = share + z * z / (2 * n)
    half = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return float((center - half) / scale), float((center + half) / scale)
