"""Shares and hits by a logit of their mean, where rows of one patient may be alike.

A share in 0..1, such as an overlap, has the quasi-likelihood of Papke and Wooldridge (1996), which
asks for no distribution; statsmodels fits the same, without errors that hold with few patients.
Hits have estimating equations with an independence working correlation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from saltrust.analysis.inference.clustered import RobustError, few_degrees
from saltrust.analysis.inference.clustered_glm import glm_cr2, mancl_derouen
from saltrust.analysis.inference.estimate import Estimate, check_confidence_level, t_estimate
from saltrust.analysis.inference.logistic import newton_logit
from saltrust.analysis.inference.shares import checked_shares
from saltrust.analysis.inference.threads import one_blas_thread
from saltrust.choices import MeanCovariance, check_word

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LogitMean:
    """A logit of a mean on one regressor.

    Attributes
    ----------
    slope : Estimate
        On the scale of log odds.
    marginal : Estimate
        How the mean changes with the regressor, averaged over the rows; its error by the delta
        method.
    clusters : int
    """

    slope: Estimate
    marginal: Estimate
    clusters: int = 0


@one_blas_thread()
def logit_mean(x: npt.ArrayLike, y: npt.ArrayLike, clusters: npt.ArrayLike, *,
               covariance: MeanCovariance = "cr2", confidence_level: float = 0.95) -> LogitMean:
    """Fit log odds of the mean of ``y`` on ``x`` with an intercept.

    Parameters
    ----------
    x : array_like of float, shape (n,)
    y : array_like of float, shape (n,)
        In 0..1.
    clusters : array_like, shape (n,)
        Patient of each row; a row without a label is its own.
    covariance : {"cr2", "mancl-derouen"}
        The bias-reduced sandwich with Satterthwaite's t, or that of Mancl and DeRouen (2001) with
        t of G - p degrees of freedom for G patients and p = 2 coefficients.
    confidence_level : float
        Between 0 and 1.

    Returns
    -------
    LogitMean
        Without an estimate, and with a note, where nothing varies, n < 3, or the likelihood has
        no maximum; without errors, and with a note, where there is one patient.

    Raises
    ------
    DataError
        If a number is not finite or y lies outside 0..1.
    UsageError
        If the covariance is not known.

    References
    ----------
    L. E. Papke and J. M. Wooldridge (1996), J. Appl. Econometrics 11, 619-632; L. A. Mancl and
    T. A. DeRouen (2001), Biometrics 57, 126-134.
    """
    check_confidence_level(confidence_level)
    check_word(covariance, MeanCovariance, "covariance")
    x, y, _, _ = checked_shares(x, y, clusters, "the logit of a mean")
    n = len(y)
    nothing = Estimate(n=n, note=_why_not(x, y))
    if nothing.note:
        return LogitMean(nothing, nothing)
    design = np.column_stack([np.ones(n), x])
    fitted = newton_logit(design, y, firth=False)
    if fitted is None:
        nothing = Estimate(n=n, note="the likelihood has no maximum: the regressor separates "
                                     "the responses")
        return LogitMean(nothing, nothing)
    beta = fitted[0]
    p = expit(design @ beta)
    variances = p * (1 - p)
    bent = variances * (1 - 2 * p)
    effect = float(beta[1] * variances.mean())
    gradient = np.array([beta[1] * bent.mean(), variances.mean() + beta[1] * (x * bent).mean()])
    take = mancl_derouen if covariance == "mancl-derouen" else glm_cr2
    both = [take(design, variances, y - p, clusters, contrast=contrast)
            for contrast in (np.array([0.0, 1.0]), gradient)]
    slope, marginal = (_tested(value, robust, n, confidence_level)
                       for value, robust in zip((float(beta[1]), effect), both, strict=True))
    return LogitMean(slope, marginal, both[0].clusters)


def _why_not(x: FloatArray, y: FloatArray) -> str:
    n = len(y)
    if n < 3:
        return f"{n} row{'s' * (n != 1)}: at least 3 are needed"
    if np.ptp(x) == 0:
        return "the regressor is constant"
    return "the response is constant" if np.ptp(y) == 0 else ""


def _tested(value: float, robust: RobustError, n: int, confidence_level: float) -> Estimate:
    if not robust.df > 0 or np.isnan(robust.std_error):
        few = f"{robust.clusters} patient{'s' * (robust.clusters != 1)}"
        return Estimate(estimate=value, n=n, note=f"{few}: no clustered error")
    return t_estimate(value, robust.std_error, robust.df, n, confidence_level=confidence_level,
                      note=few_degrees(robust.df))
