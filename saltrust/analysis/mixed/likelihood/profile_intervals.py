"""Profile likelihood intervals of standard deviations, as ``confint(method="profile")`` of lme4.

By maximum likelihood, whatever the fit, as lme4 does: the values at which the deviance,
minimized over all else, is a quantile of chi-squared above its minimum.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import brentq, minimize
from scipy.special import chdtri

from saltrust.analysis.mixed.frame import FloatArray
from saltrust.analysis.mixed.likelihood import covariances
from saltrust.analysis.mixed.likelihood.computation import likelihood
from saltrust.analysis.mixed.likelihood.profile import profile
from saltrust.analysis.mixed.likelihood.sufficient import Sufficient

#: A bound this many times the estimate away is none.
_ENDLESS = 1e6


def profile_intervals(data: Sufficient, ratios: FloatArray, level: float,
                      ) -> dict[int, tuple[float, float]]:
    """Intervals of the standard deviations of terms with one effect, and of the residual.

    Parameters
    ----------
    data : Sufficient
    ratios : ndarray of float64, shape (m,)
        At the maximum of the ordinary likelihood.
    level : float
        Of the intervals.

    Returns
    -------
    dict of int to (float, float)
        By term, -1 for the residual; on the scale of ``data``.
    """
    evaluate = likelihood(data)
    best = profile(data, evaluate, ratios, reml=False)
    limit = best.deviance + float(chdtri(1, 1 - level))
    sd = np.sqrt(best.variance)
    # The factors of the covariances, not relative, and the log of the residual's deviation.
    place = np.append(covariances.factor(data.groups, ratios) * sd, np.log(sd))

    def deviance(at: FloatArray) -> tuple[float, FloatArray]:
        variance = float(np.exp(2 * at[-1]))
        now = covariances.of_factor(data.groups, at[:-1]) / variance
        here = profile(data, evaluate, now, reml=False)
        slope = here.log_dets_1 + here.quadratic_1 / variance
        value = (here.pieces.log_det + data.n * (np.log(2 * np.pi) + 2 * at[-1])
                 + here.quadratic / variance)
        gradient = np.append(
            covariances.jacobian(data.groups, at[:-1]).T @ slope / variance,
            2 * data.n - 2 * here.quadratic / variance - 2 * now @ slope)
        return float(value), gradient

    made = {}
    for index, element in enumerate(covariances.elements(data.groups)):
        if len(data.groups[element.term].effects) == 1:
            made[element.term] = _interval(deviance, place, index, limit)
    low, high = _interval(deviance, place, len(place) - 1, limit, floor=None)
    made[-1] = float(np.exp(low)), float(np.exp(high))
    return made


def _interval(deviance: Callable[[FloatArray], tuple[float, FloatArray]], place: FloatArray,
              index: int, limit: float, floor: float | None = 0.0) -> tuple[float, float]:
    """Where the deviance, minimized over all but one parameter, passes the limit."""
    others = np.arange(len(place)) != index
    warm = place[others].copy()

    def excess(value: float) -> float:
        nonlocal warm

        def over(rest: FloatArray) -> tuple[float, FloatArray]:
            at = np.empty(len(place))
            at[index], at[others] = value, rest
            value_at, gradient = deviance(at)
            return value_at - limit, gradient[others]

        done = minimize(over, warm, jac=True, method="BFGS", options={"gtol": 1e-5})
        warm = done.x
        return float(done.fun)

    center = float(place[index])
    width = max(0.1 * abs(center), 0.02)
    high = center + width
    while excess(high) < 0:
        width *= 1.6
        high = center + width
        if width > _ENDLESS * max(abs(center), 1.0):
            return floor or 0.0, float("inf")
    upper = float(brentq(excess, center, high, xtol=1e-9, rtol=1e-9))
    warm = place[others].copy()
    if floor is not None and excess(floor) <= 0:
        return floor, upper
    width = max(0.1 * abs(center), 0.02)
    low = center - width if floor is None else floor
    while floor is None and excess(low) < 0:
        width *= 1.6
        low = center - width
    warm = place[others].copy()
    return float(brentq(excess, low, center, xtol=1e-9, rtol=1e-9)), upper
