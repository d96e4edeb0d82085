"""Logistic regression of zeros and ones on one regressor, and what to do when it separates them.

Where a value of the regressor parts all zeros from all ones, the likelihood has no maximum; Firth's
penalised likelihood has one, and is used and said.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from saltrust.analysis.inference.estimate import Estimate, check_confidence_level
from saltrust.analysis.inference.resampling import cluster_codes
from saltrust.analysis.inference.threads import one_blas_thread
from saltrust.errors import DataError

FloatArray = npt.NDArray[np.float64]

_STEPS = 200
_TOLERANCE = 1e-10
SEPARATED = "hits and misses are separated: Firth's penalised likelihood"


@dataclass(frozen=True)
class LogisticFit:
    """Slope on the scale of log odds.

    Attributes
    ----------
    slope : Estimate
        ``statistic`` is z; Wald interval and test.
    clustered_error : float
        Standard error of the slope allowing for rows of one cluster to be alike; NaN where it
        cannot be had.
    """

    slope: Estimate
    clustered_error: float = float("nan")


@one_blas_thread()
def logistic_regression(x: npt.ArrayLike, y: npt.ArrayLike, *,
                        clusters: npt.ArrayLike | None = None,
                        confidence_level: float = 0.95) -> LogisticFit:
    """Fit log odds of ``y`` on ``x`` with an intercept.

    Parameters
    ----------
    x : array_like of float, shape (n,)
    y : array_like of 0 or 1, shape (n,)
    clusters : array_like, shape (n,), optional
        Patients, for the clustered error: the sandwich with factor G/(G-1) times
        (n-1)/(n-2), as statsmodels.
    confidence_level : float
        Between 0 and 1.

    Returns
    -------
    LogisticFit
        Without an estimate, and with a note, where y or x does not vary or n < 3.

    Raises
    ------
    DataError
        If a number is not finite or y is neither 0 nor 1.

    References
    ----------
    D. Firth (1993), Biometrika 80, 27-38; G. Heinze and M. Schemper (2002), Stat. Med. 21,
    2409-2419.

    Examples
    --------
    >>> fit = logistic_regression([0, 0, 1, 1], [0, 1, 1, 1]).slope
    >>> fit.note.startswith("hits and misses are separated")
    True
    """
    check_confidence_level(confidence_level)
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.shape != y.shape or not np.isfinite(x).all() or not np.isin(y, (0.0, 1.0)).all():
        raise DataError("a logistic regression needs one finite regressor and one 0 or 1 per row")
    n = len(y)
    if n < 3:
        return LogisticFit(Estimate(n=n, note=f"{n} row{'s' * (n != 1)}: at least 3 are needed"))
    if np.ptp(x) == 0:
        return LogisticFit(Estimate(n=n, note="the regressor is constant"))
    if np.ptp(y) == 0:
        return LogisticFit(Estimate(n=n, note="all hits" if y[0] else "all misses"))
    design = np.column_stack([np.ones(n), x - x.mean()])
    firth = _separated(x, y)
    fitted = _newton(design, y, firth=firth)
    if fitted is None:
        return LogisticFit(Estimate(n=n, note="the fit does not converge"))
    beta, covariance = fitted
    error = float(np.sqrt(covariance[1, 1]))
    statistic = float(beta[1]) / error
    half = float(ndtri((1 + confidence_level) / 2)) * error
    slope = Estimate(
        estimate=float(beta[1]), std_error=error, conf_low=float(beta[1]) - half,
        conf_high=float(beta[1]) + half, statistic=statistic, df=float("inf"),
        p_value=float(2 * ndtr(-abs(statistic))), n=n, note=SEPARATED if firth else "")
    return LogisticFit(slope, _clustered(design, y, beta, covariance, clusters))


def _separated(x: FloatArray, y: FloatArray) -> bool:
    """Whether a threshold on x parts zeros from ones, ties at the threshold included."""
    zeros, ones = x[y == 0], x[y == 1]
    return bool(zeros.max() <= ones.min() or ones.max() <= zeros.min())


def _newton(design: FloatArray, y: FloatArray, *, firth: bool
            ) -> tuple[FloatArray, FloatArray] | None:
    beta = np.zeros(design.shape[1])
    for _ in range(_STEPS):
        p = _expit(design @ beta)
        weight = p * (1 - p)
        information = design.T @ (design * weight[:, None])
        if np.linalg.cond(information) > 1e12:
            return None
        covariance = np.asarray(np.linalg.inv(information), dtype=np.float64)
        residual = y - p
        if firth:
            leverage = weight * np.einsum("ni,ij,nj->n", design, covariance, design)
            residual = residual + leverage * (0.5 - p)
        step = covariance @ (design.T @ residual)
        # Long steps overshoot where the likelihood is flat.
        step *= min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-300))
        beta = beta + step
        if float(np.abs(step).max()) < _TOLERANCE * (1 + float(np.abs(beta).max())):
            return beta, covariance
    return None


def _clustered(design: FloatArray, y: FloatArray, beta: FloatArray, covariance: FloatArray,
               clusters: npt.ArrayLike | None) -> float:
    if clusters is None:
        return float("nan")
    codes, count = cluster_codes(clusters)
    n, p = design.shape
    if count < 2 or n <= p:
        return float("nan")
    scores = np.zeros((count, p))
    np.add.at(scores, codes, design * (y - _expit(design @ beta))[:, None])
    sandwich = covariance @ (scores.T @ scores) @ covariance
    factor = count / (count - 1) * (n - 1) / (n - p)
    return float(np.sqrt(factor * sandwich[1, 1]))


def _expit(values: FloatArray) -> FloatArray:
    return np.asarray(1 / (1 + np.exp(-np.clip(values, -500, 500))), dtype=np.float64)
