"""Dividing by an estimated standard deviation: integrals over ``S = sqrt(chi2(df) / df)``."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import gammaln

from saltrust.analysis.mixed.frame import FloatArray

#: Beyond, the normal limit differs by less than 1e-9.
NORMAL_DF = 1e10

_STEP = 0.12  # of log S, where few degrees of freedom make its density wide
_NODES = 40
_DEPTH = 36.0  # log S is integrated where the integrand exceeds exp(-_DEPTH) of its maximum

Function = Callable[[FloatArray], FloatArray]


def over_scale(integrand: Callable[[FloatArray], tuple[FloatArray, ...]], log_bound: Function,
               q: FloatArray, df: FloatArray, *, step: float = _STEP) -> tuple[FloatArray, ...]:
    """Integrate functions of ``S`` over its distribution, by a trapezoid sum over ``log S``.

    Parameters
    ----------
    integrand : callable
        Takes values of ``S``, shape (rows, nodes), and returns arrays of that shape.
    log_bound : callable
        Logarithm of an upper bound, decreasing, of a tail probability at ``q S``: it shows
        where the first integrand, which has the shape of ``P(W > q S)``, lies.
    q, df : ndarray of float64, shape (rows,)
        Positive and finite.
    step : float
        Largest distance of the nodes, of ``log S``.

    Returns
    -------
    tuple of ndarray of float64, shape (rows,)
    """
    low, high = _limits(log_bound, q, df)
    nodes = max(_NODES, int(np.ceil((high - low).max() / min(step, _STEP))) + 1)
    x = low[:, None] + (high - low)[:, None] * np.linspace(0.0, 1.0, nodes)
    weight = np.exp(_log_density(x, df[:, None])) * ((high - low) / (nodes - 1))[:, None]
    return tuple((weight * values).sum(axis=1) for values in integrand(np.exp(x)))


def _log_density(x: FloatArray, df: FloatArray) -> FloatArray:
    """Log density of ``log S``; exact to rounding for millions of degrees of freedom too."""
    half = df / 2
    series = 1 / (12 * half) - 1 / (360 * half**3) + 1 / (1260 * half**5)
    # log Gamma(a) = (a - 1/2) log a - a + log(2 pi) / 2 + Stirling's series.
    stirling = np.where(
        half > 60, series,
        gammaln(half) - (half - 0.5) * np.log(half) + half - 0.5 * np.log(2 * np.pi))
    at_one = np.log(2.0) + 0.5 * np.log(half / (2 * np.pi)) - stirling
    result: FloatArray = at_one + df * (x - np.expm1(2 * x) / 2)
    return result


def _limits(log_bound: Function, q: FloatArray, df: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Where log S carries the integral."""

    def height(x: FloatArray) -> FloatArray:
        result: FloatArray = (df * (x - np.expm1(2 * x) / 2)
                              + np.minimum(log_bound(q * np.exp(x)), 0.0))
        return result

    far_left = -np.log(q).clip(min=0.0) - _DEPTH / df - 4.0
    far_right = np.full_like(q, 2.8)
    left, right = far_left.copy(), far_right.copy()
    for _ in range(60):
        first, second = left + (right - left) / 3, right - (right - left) / 3
        rising = height(first) < height(second)
        left, right = np.where(rising, first, left), np.where(rising, right, second)
    mode = (left + right) / 2
    floor = height(mode) - _DEPTH
    return _crossing(height, floor, far_left, mode), _crossing(height, floor, far_right, mode)


def _crossing(height: Function, floor: FloatArray, outside: FloatArray, inside: FloatArray,
              ) -> FloatArray:
    """Bisect for where a unimodal height falls to its floor; the outer end if it does not."""
    low, high = outside.copy(), inside.copy()
    for _ in range(30):
        middle = (low + high) / 2
        below = height(middle) < floor
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return low
