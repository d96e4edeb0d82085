"""Spearman's rank correlation, over all rows or within strata, with intervals.

Within strata, ranks are taken in each stratum, centred there and divided by its number of rows;
the correlation of these is a pooled correlation that no difference between strata can make or
hide (each stratum may even have its own monotone scale), to which every stratum contributes by
its number of rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri, stdtr

from saltrust.analysis.inference.bootstrap import percentile_interval
from saltrust.analysis.inference.estimate import Estimate, check_confidence_level
from saltrust.analysis.inference.resampling import cluster_codes, resample_blocks
from saltrust.analysis.inference.threads import one_blas_thread
from saltrust.choices import CorrelationInterval, words
from saltrust.errors import DataError, UsageError, nearest

FloatArray = npt.NDArray[np.float64]
#: Of rows taken as independent, or of resampled patients; the jackknife is a module of its own.
INTERVALS = tuple(name for name in words(CorrelationInterval) if name != "jackknife")

_EPS = float(np.finfo(np.float64).eps)


@one_blas_thread()
def spearman(x: npt.ArrayLike, y: npt.ArrayLike, *, interval: CorrelationInterval = "bonett-wright",
             confidence_level: float = 0.95, strata: npt.ArrayLike | None = None,
             clusters: npt.ArrayLike | None = None, resamples: int = 1000,
             seed: int = 0, names: tuple[str, str] = ("x", "y")) -> Estimate:
    """Spearman's rho with an interval and a test.

    Parameters
    ----------
    x, y : array_like of float, shape (n,)
        Finite; ties get midranks.
    interval : {"bonett-wright", "fisher", "bootstrap"}
        On Fisher's z scale with standard error ``sqrt((1 + rho**2 / 2) / (n - 3))`` (Bonett and
        Wright) or ``1 / sqrt(n - 3)`` (as for Pearson's correlation of normal data: too short
        for large rho; what the code released with protocol S uses); or percentiles of
        the bootstrap.
    confidence_level : float
        Between 0 and 1.
    strata : array_like, shape (n,), optional
        Labels; the correlation is then the one within strata (see the module).  With g
        strata, n - (g - 1) takes the place of n above and below, as for a partial correlation.
    clusters : array_like, shape (n,), optional
        Patients to resample instead of rows; only the bootstrap uses them.
    resamples, seed : int
        Of the bootstrap.
    names : tuple of str
        What notes call x and y.

    Returns
    -------
    Estimate
        ``statistic`` is ``rho * sqrt((n - 2) / (1 - rho**2))``, t on ``df`` = n - 2.
        ``std_error`` is that of rho: ``(1 - rho**2)`` times the one on the z scale, or the
        standard deviation over the resamples.  ``n`` is the number of rows.  Without an
        estimate and with a note where n is below 4 or x or y is constant.

    Raises
    ------
    DataError
        If a number is not finite or the lengths differ.
    UsageError
        If an option is out of range.

    References
    ----------
    D. G. Bonett and T. A. Wright (2000), Psychometrika 65, 23-28.

    Examples
    --------
    >>> rho = spearman([1, 2, 3, 4, 5, 6], [1, 3, 2, 4, 6, 5])
    >>> round(rho.estimate, 4), round(rho.conf_low, 4), round(rho.conf_high, 4)
    (0.8857, 0.0664, 0.9916)
    """
    check_confidence_level(confidence_level)
    if interval not in INTERVALS:
        raise UsageError(f"interval {interval!r} is not known; {nearest(interval, INTERVALS)}")
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise DataError(f"a correlation of {x.shape} with {y.shape} values is not one; "
                        "give pairs")
    if not np.isfinite(x).all() or not np.isfinite(y).all():
        raise DataError("a correlation needs finite numbers; leave incomplete rows out")
    n = len(x)
    parts = strata_rows(strata, n)
    free = n - max(len(parts) - 1, 0)
    if free < 4:
        return Estimate(n=n, note=_too_few(n, len(parts)))
    within = " within every group" if strata is not None else ""
    for name, values in zip(names, (x, y), strict=True):
        if all(np.all(values[part] == values[part[0]]) for part in parts):
            return Estimate(n=n, note=f"{name} is constant{within}")
    rho = float(weighted_rho(x, y, parts, np.ones((1, n)))[0])
    df = float(free - 2)
    if 1 - abs(rho) <= 4 * _EPS:
        # The t statistic is infinite; p = 0 is what scipy gives too.
        return Estimate(estimate=float(np.sign(rho)), df=df, p_value=0.0, n=n,
                        note="perfect rank correlation: no interval")
    statistic = rho * np.sqrt(df / (1 - rho * rho))
    note = ""
    if interval == "bootstrap":
        drawn = _bootstrap(x, y, parts, clusters=clusters, resamples=resamples, seed=seed)
        low, high, used = (value.item() for value in percentile_interval(drawn, confidence_level))
        error = float(np.std(drawn[np.isfinite(drawn)], ddof=1)) if used > 1 else float("nan")
        if used < resamples:
            note = f"{resamples - used} of {resamples} resamples have no correlation"
    else:
        low, high, error = fisher_interval(rho, free, confidence_level, interval)
    return Estimate(estimate=rho, std_error=error, conf_low=low, conf_high=high,
                    statistic=float(statistic), df=df,
                    p_value=float(2 * stdtr(df, -abs(statistic))), n=n, note=note)


def fisher_interval(rho: float, n: int, confidence_level: float = 0.95,
                    interval: CorrelationInterval = "bonett-wright") -> tuple[float, float, float]:
    """CorrelationInterval of a rank correlation on Fisher's z scale.

    Parameters
    ----------
    rho : float
        Between -1 and 1, exclusive.
    n : int
        At least 4.
    confidence_level : float
        Between 0 and 1.
    interval : {"bonett-wright", "fisher"}
        Which standard error (see :func:`spearman`).

    Returns
    -------
    low, high, std_error : float
        The standard error by the delta method, on the scale of rho.

    Examples
    --------
    >>> low, high, _ = fisher_interval(0.285, 1534, interval="fisher")
    >>> round(low, 3), round(high, 3)
    (0.238, 0.33)
    """
    if interval == "bootstrap" or not abs(rho) < 1 or n < 4:
        raise UsageError(f"no {interval} interval on the z scale for rho = {rho}, n = {n}")
    inflation = 1 + rho * rho / 2 if interval == "bonett-wright" else 1.0
    error = float(np.sqrt(inflation / (n - 3)))
    half = float(ndtri((1 + confidence_level) / 2)) * error
    center = np.arctanh(rho)
    return (float(np.tanh(center - half)), float(np.tanh(center + half)),
            (1 - rho * rho) * error)


def _too_few(n: int, strata: int) -> str:
    rows = "no rows" if n == 0 else "1 row" if n == 1 else f"{n} rows"
    where = f" in {strata} groups" if strata > 1 else ""
    return f"{rows}{where}: at least {max(strata, 1) + 3} are needed"


def strata_rows(labels: npt.ArrayLike | None, n: int) -> list[npt.NDArray[np.int64]]:
    """Rows of every stratum; of all where there are none, with a DataError where some lack one."""
    if labels is None:
        return [np.arange(n)]
    _, codes = np.unique(np.asarray(labels), return_inverse=True)
    if len(codes) != n:
        raise DataError(f"{len(codes)} stratum labels were given for {n} rows; "
                        "every row needs one")
    return [np.flatnonzero(codes == code) for code in range(codes.max(initial=-1) + 1)]


def _bootstrap(x: FloatArray, y: FloatArray, parts: Sequence[npt.NDArray[np.int64]],
               *, clusters: npt.ArrayLike | None, resamples: int, seed: int) -> FloatArray:
    codes, count = cluster_codes(np.arange(len(x)) if clusters is None else clusters)
    if len(codes) != len(x):
        raise DataError(f"{len(codes)} cluster labels were given for {len(x)} rows; "
                        "every row needs one")
    return np.concatenate([weighted_rho(x, y, parts, block[:, codes].astype(np.float64))
                           for block in resample_blocks(count, resamples, seed)])


def weighted_rho(x: FloatArray, y: FloatArray, parts: Sequence[npt.NDArray[np.int64]],
                  weights: FloatArray) -> FloatArray:
    """Rank correlation within parts for rows repeated by weights.

    Parameters
    ----------
    x, y : ndarray of float64, shape (n,)
    parts : sequence of ndarray of int64
        Rows of each stratum.
    weights : ndarray of float64, shape (b, n)

    Returns
    -------
    ndarray of float64, shape (b,)
        NaN where x or y is constant within every stratum.
    """
    products = np.zeros((3, len(weights)))
    for part in parts:
        drawn = weights[:, part]
        total = drawn.sum(axis=1, keepdims=True)
        scale = np.maximum(total, 1)
        first = (_midranks(x[part], drawn) - (total + 1) / 2) / scale
        second = (_midranks(y[part], drawn) - (total + 1) / 2) / scale
        for row, factors in enumerate((first * first, second * second, first * second)):
            products[row] += (drawn * factors).sum(axis=1)
    spread = np.sqrt(products[0] * products[1])
    return np.divide(products[2], spread, out=np.full(len(weights), np.nan), where=spread > 0)


def _midranks(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Midrank of every row among rows repeated by weights, shape (b, n)."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    ties = np.add.reduceat(weights[:, order], starts, axis=1)
    ranks = np.cumsum(ties, axis=1) - ties + (ties + 1) / 2
    group = np.empty(len(values), dtype=np.int64)
    group[order] = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(values)]))
    return ranks[:, group]
