"""Comparisons with a control: the approximation of Dunnett's distribution that emmeans uses.

R. V. Lenth's ``dunnettx`` mixes the studentized range, for a fractional number of means that
has as many pairs as there are contrasts, with Sidak's bound.  It is deterministic and close to
Dunnett's where the estimates correlate by about one half; the exact distribution is the
single-step adjustment's.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import fdtri, stdtr

from saltrust.analysis.mixed.adjustment import studentized_range
from saltrust.analysis.mixed.adjustment.scale_mixture import NORMAL_DF
from saltrust.analysis.mixed.frame import FloatArray

#: To which emmeans finds a critical value.
_TOLERANCE = 5e-4


def survival(t: FloatArray, contrasts: int, df: FloatArray) -> FloatArray:
    """Probability that the largest of ``contrasts`` absolute t statistics exceeds ``t``.

    Parameters
    ----------
    t : ndarray of float64
        Absolute statistics.
    contrasts : int
        How many are made, at least 1.
    df : ndarray of float64, shape of ``t``

    Returns
    -------
    ndarray of float64
    """
    share = (contrasts - 1) / contrasts
    tukey = studentized_range.survival(np.sqrt(2.0) * t, _means(contrasts), df)
    sidak = -np.expm1(contrasts * np.log1p(-2 * stdtr(df, -np.abs(t))))
    result: FloatArray = share * tukey + (1 - share) * sidak
    return result


def critical_value(confidence_level: float, contrasts: int, df: FloatArray) -> FloatArray:
    """Half width of simultaneous intervals, in standard errors.

    As emmeans, the root is looked for between the values for Tukey and for Sidak by Brent's
    method to 5e-4, and Tukey's is taken where the two are closer than that: the intervals of
    both programs then agree, where an exact root would differ in their fourth digit.

    Parameters
    ----------
    confidence_level : float
        Joint confidence of the intervals, such as 0.95.
    contrasts : int
    df : ndarray of float64
    """
    tukey = studentized_range.quantile(1 - confidence_level, _means(contrasts), df) / np.sqrt(2.0)
    finite = np.minimum(df, NORMAL_DF)
    sidak = np.sqrt(fdtri(1.0, finite, confidence_level ** (1 / contrasts)))
    values = tukey.copy()
    solved: dict[tuple[float, float, float], float] = {}
    for index in np.flatnonzero(np.abs(tukey - sidak) >= _TOLERANCE):
        key = (float(tukey[index]), float(sidak[index]), float(df[index]))
        if key not in solved:
            freedom = df[index:index + 1]

            def excess(t: float, freedom: FloatArray = freedom) -> float:
                return 1 - confidence_level - float(survival(np.array([t]), contrasts, freedom)[0])

            solved[key] = _brent(excess, key[0], key[1])
        values[index] = solved[key]
    return values


def _means(contrasts: int) -> float:
    """Number of means that have so many pairs."""
    return (1 + float(np.sqrt(1 + 8 * contrasts))) / 2


def _brent(function: Callable[[float], float], start: float, end: float) -> float:
    """Root by the algorithm of R. P. Brent (1973), *Algorithms for Minimization without
    Derivatives*, section 4.6, stopped at emmeans' tolerance.

    ``a`` is the previous iterate, ``b`` the best, and the root lies between ``b`` and ``c``.
    """
    a, b, c = start, end, start
    fa, fb = function(a), function(b)
    fc = fa
    if (fa > 0) == (fb > 0):
        return start
    while True:
        previous = b - a
        if abs(fc) < abs(fb):
            a, b, c = b, c, b
            fa, fb, fc = fb, fc, fb
        tolerance = 2 * np.finfo(float).eps * abs(b) + _TOLERANCE / 2
        step = (c - b) / 2
        if abs(step) <= tolerance or fb == 0:
            return b
        if abs(previous) >= tolerance and abs(fa) > abs(fb):
            if a == c:  # two points: secant
                p, q = (c - b) * fb / fa, 1 - fb / fa
            else:  # three: inverse quadratic
                r, s, u = fa / fc, fb / fc, fb / fa
                p = u * ((c - b) * r * (r - s) - (b - a) * (s - 1))
                q = (r - 1) * (s - 1) * (u - 1)
            p, q = (p, -q) if p > 0 else (-p, q)
            if p < 0.75 * (c - b) * q - abs(tolerance * q) / 2 and p < abs(previous * q / 2):
                step = p / q
        if abs(step) < tolerance:
            step = float(np.copysign(tolerance, step))
        a, fa = b, fb
        b += step
        fb = function(b)
        if (fb > 0) == (fc > 0):
            c, fc = a, fa
