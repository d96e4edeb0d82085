"""Inference under Firth's penalised likelihood, whose Wald tests are far too cautious."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq, minimize_scalar
from scipy.special import chdtrc, chdtri, expit

FloatArray = npt.NDArray[np.float64]

#: Bounds are looked for up to this many Wald errors away.
_FARTHEST = 2.0**12


class Profile(NamedTuple):
    """Of one slope under the penalised likelihood.

    Attributes
    ----------
    conf_low, conf_high : float
        Infinite where the profile stays above its limit.
    statistic : float
        Signed root of the penalised likelihood ratio against the tested slope.
    p_value : float
    """

    conf_low: float
    conf_high: float
    statistic: float
    p_value: float


def profile(x: npt.ArrayLike, y: npt.ArrayLike, beta: npt.ArrayLike, std_error: float, *,
            null: float = 0.0, confidence_level: float = 0.95) -> Profile:
    r"""Profile interval and likelihood ratio test of the slope of a logit on one regressor.

    The profile of a slope is the largest penalised likelihood
    :math:`\ell(\beta) + \tfrac12 \log |I(\beta)|` over intercepts, the penalty being that of both
    coefficients throughout.

    Parameters
    ----------
    x : array_like of float, shape (n,)
    y : array_like of 0 or 1, shape (n,)
    beta : array_like of float, shape (2,)
        Intercept and slope where the penalised likelihood is largest.
    std_error : float
        Of the slope, by Wald: where the search for the bounds begins.
    null : float
        Slope that is tested.
    confidence_level : float
        Between 0 and 1.

    Returns
    -------
    Profile

    References
    ----------
    G. Heinze and M. Schemper (2002), Statistics in Medicine 21, 2409-2419.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    intercept, slope = np.asarray(beta, dtype=np.float64).tolist()
    best = _penalized(x, y, intercept, slope)
    limit = float(chdtri(1, 1 - confidence_level))

    def fall(candidate: float) -> float:
        # The likelihood keeps the positives in balance: the line turns about the middle.
        near = intercept + (slope - candidate) * float(x.mean())
        return 2 * (best - _largest(x, y, candidate, near))

    bounds = []
    for side in (-1, 1):
        step = std_error
        while fall(slope + side * step) < limit and step < _FARTHEST * std_error:
            step *= 2
        inner, outer = slope, slope + side * step
        bounds.append(side * np.inf if fall(outer) < limit else float(brentq(
            lambda value: fall(value) - limit, inner, outer, xtol=1e-9 * std_error)))
    ratio = max(fall(null), 0.0)
    return Profile(bounds[0], bounds[1], float(np.copysign(np.sqrt(ratio), slope - null)),
                   float(chdtrc(1, ratio)))


def _penalized(x: FloatArray, y: FloatArray, intercept: float, slope: float) -> float:
    linear = intercept + slope * x
    p = expit(linear)
    weight = p * (1 - p)
    total, first = weight.sum(), (weight * x).sum()
    determinant = total * (weight * x * x).sum() - first**2
    if determinant <= 0:
        return -np.inf
    # log(1 + exp(linear)) without overflow.
    likelihood = (y * linear - np.logaddexp(0, linear)).sum()
    return float(likelihood + 0.5 * np.log(determinant))


def _largest(x: FloatArray, y: FloatArray, slope: float, near: float) -> float:
    """Penalised likelihood of a slope at its best intercept."""
    best = minimize_scalar(lambda intercept: -_penalized(x, y, intercept, slope),
                           bracket=(near - 0.5, near + 0.5), tol=1e-10)
    return float(-best.fun)
