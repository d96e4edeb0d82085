"""Logistic regression of zeros and ones on one regressor, and what to do when it separates them.

Where a value of the regressor parts all zeros from all ones, the likelihood has no maximum; Firth's
penalised likelihood has one, and is used and said.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import expit, ndtr, ndtri

from saltrust.analysis.inference.clustered import RobustError, few_degrees
from saltrust.analysis.inference.clustered_glm import glm_cr2
from saltrust.analysis.inference.estimate import Estimate, check_confidence_level, t_estimate
from saltrust.analysis.inference.firth import profile
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
        Rows as independent: ``statistic`` is z, Wald interval and test.  Where zeros and ones
        are separated, the profile interval and the test of the penalised likelihood ratio.
    clustered : Estimate
        The same slope with CR2 errors and t of Satterthwaite's degrees of freedom, where rows of
        one patient may be alike; without an error, and with a note, where it cannot be had.
    """

    slope: Estimate
    clustered: Estimate


@one_blas_thread()
def logistic_regression(x: npt.ArrayLike, y: npt.ArrayLike, *,
                        clusters: npt.ArrayLike | None = None, null: float = 0.0,
                        confidence_level: float = 0.95) -> LogisticFit:
    """Fit log odds of ``y`` on ``x`` with an intercept.

    Parameters
    ----------
    x : array_like of float, shape (n,)
    y : array_like of 0 or 1, shape (n,)
    clusters : array_like, shape (n,), optional
        Patients; where left out every row is one.
    null : float
        Slope that is tested.
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
    why = _why_not(x, y)
    fitted = None
    if not why:
        design = np.column_stack([np.ones(len(y)), x - x.mean()])
        firth = _separated(x, y)
        fitted = newton_logit(design, y, firth=firth)
        why = "" if fitted else "the fit does not converge"
    if fitted is None:
        nothing = Estimate(n=len(y), note=why)
        return LogisticFit(nothing, nothing)
    beta, covariance = fitted
    error = float(np.sqrt(covariance[1, 1]))
    statistic = (float(beta[1]) - null) / error
    half = float(ndtri((1 + confidence_level) / 2)) * error
    slope = Estimate(
        estimate=float(beta[1]), std_error=error, conf_low=float(beta[1]) - half,
        conf_high=float(beta[1]) + half, statistic=statistic, df=float("inf"),
        p_value=float(2 * ndtr(-abs(statistic))), n=len(y))
    if firth:
        of_ratio = profile(design[:, 1], y, beta, error, null=null,
                           confidence_level=confidence_level)
        slope = replace(slope, note=SEPARATED, **of_ratio._asdict())
    p = expit(design @ beta)
    robust = glm_cr2(design, p * (1 - p), y - p,
                     np.arange(len(y)) if clusters is None else clusters)
    return LogisticFit(slope, _clustered(slope, robust, null, confidence_level))


def _why_not(x: FloatArray, y: FloatArray) -> str:
    n = len(y)
    if n < 3:
        return f"{n} row{'s' * (n != 1)}: at least 3 are needed"
    if np.ptp(x) == 0:
        return "the regressor is constant"
    return ("all hits" if y[0] else "all misses") if np.ptp(y) == 0 else ""


def _clustered(slope: Estimate, robust: RobustError, null: float, confidence_level: float
               ) -> Estimate:
    if np.isnan(robust.std_error):
        why = "1 patient" if robust.clusters == 1 else "no variation between patients"
        return Estimate(estimate=slope.estimate, n=slope.n, note="; ".join(filter(None, (
            slope.note, f"{why}: no clustered error"))))
    return t_estimate(slope.estimate, robust.std_error, robust.df, slope.n, null=null,
                      confidence_level=confidence_level,
                      note="; ".join(filter(None, (slope.note, few_degrees(robust.df)))))


def _separated(x: FloatArray, y: FloatArray) -> bool:
    """Whether a threshold on x parts zeros from ones, ties at the threshold included."""
    zeros, ones = x[y == 0], x[y == 1]
    return bool(zeros.max() <= ones.min() or ones.max() <= zeros.min())


def newton_logit(design: FloatArray, y: FloatArray, *, firth: bool
                 ) -> tuple[FloatArray, FloatArray] | None:
    """Coefficients and their inverse information; None where the likelihood has no maximum.

    Parameters
    ----------
    design : ndarray of float64, shape (n, p)
    y : ndarray of float64, shape (n,)
        In 0..1.
    firth : bool
        Whether the likelihood is penalised.
    """
    beta = np.zeros(design.shape[1])
    for _ in range(_STEPS):
        p = expit(design @ beta)
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
