"""The studentized range distribution, fast and with a relatively accurate upper tail.

``scipy.stats.studentized_range`` needs seconds for the quantiles of 36 contrasts.  Here both
integrals are trapezoid sums of smooth, rapidly decaying integrands, for which that rule
converges exponentially (L. N. Trefethen and J. A. C. Weideman (2014), SIAM Rev. 56, 385-458),
and whole families of contrasts are evaluated at once.

For ``k`` independent standard normal variables with range ``W`` and an independent
``S = sqrt(chi2(df) / df)`` the studentized range is ``Q = W / S``.  The upper tail is
integrated itself, never one minus the distribution function, so that small p-values keep
their digits.  ``k`` need not be an integer: the Dunnett approximation uses fractional k.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numpy.polynomial import chebyshev
from scipy.special import log_ndtr, ndtr, ndtri, stdtrit

from saltrust.analysis.mixed.adjustment.scale_mixture import NORMAL_DF, over_scale
from saltrust.analysis.mixed.frame import FloatArray
from saltrust.errors import UsageError

_SQRT_2PI = float(np.sqrt(2 * np.pi))
_RANGE_STEP = 0.6  # of the standard deviation of the largest of k
_RANGE_HALF_WIDTH = 8.6
_NEWTON_STEPS = 40
_CHUNK = 256  # statistics evaluated at once, which bounds the memory


def survival(q: npt.ArrayLike, k: float, df: npt.ArrayLike) -> FloatArray:
    """Probability that the studentized range exceeds ``q``.

    Parameters
    ----------
    q : array_like of float
        Non-negative; for a t statistic of a pairwise difference it is ``sqrt(2) * abs(t)``.
    k : float
        Number of means, at least 2; fractions are allowed.
    df : array_like of float
        Degrees of freedom, positive; infinity gives the range of normal variables.
        Broadcast against ``q``.

    Returns
    -------
    ndarray of float64
        NaN where ``q`` or ``df`` is NaN.

    Raises
    ------
    UsageError
        If ``k`` is below 2 or a ``df`` is not positive.

    Examples
    --------
    The tables' 3.877 for 3 means and 10 degrees of freedom leaves 5% above it:

    >>> survival([3.876777], 3, [10]).round(6)
    array([0.05])
    """
    return _tail(q, k, df)[0]


def quantile(upper: float, k: float, df: npt.ArrayLike) -> FloatArray:
    """Value that the studentized range exceeds with probability ``upper``.

    Parameters
    ----------
    upper : float
        Upper tail probability in (0, 1), such as 0.05.
    k : float
        Number of means, at least 2; fractions are allowed.
    df : array_like of float
        Degrees of freedom, positive; infinity gives the range of normal variables.

    Returns
    -------
    ndarray of float64, shape of ``df``
        Relative error below 1e-9.

    Raises
    ------
    UsageError
        If ``k`` or ``df`` is out of range, or ``upper`` lies outside (0, 1).

    Examples
    --------
    >>> quantile(0.05, 3, [10, float("inf")]).round(6)
    array([3.876777, 3.314493])
    """
    if not 0 < upper < 1:
        raise UsageError(f"a tail probability of {upper} must lie between 0 and 1")
    wanted = np.asarray(df, dtype=np.float64)
    # Balanced data give equal degrees of freedom up to rounding: solve each once.
    kept, places = np.unique(_to_digits(wanted.ravel(), 11), return_inverse=True)
    solved = np.full(len(kept), np.nan)
    open_ = ~np.isnan(kept)
    if open_.any():
        solved[open_] = _solve_many(upper, k, kept[open_])
    return solved[places].reshape(wanted.shape)


def _solve_many(upper: float, k: float, df: FloatArray) -> FloatArray:
    """Solve for sorted df: each by itself, or at a few points between which q is smooth.

    The logarithm of q is nearly a polynomial in 1 / df: over a range of 1.25 six Chebyshev
    nodes leave an error below 1e-12, over a range of 3 twelve below 1e-10.
    """
    nodes = 6 if df[-1] <= 1.25 * df[0] else 12
    if len(df) <= nodes or df[-1] > 3 * df[0]:
        return _solve(upper, k, df)
    low, high = 1 / df[-1], 1 / df[0]
    place = np.cos(np.pi * (np.arange(nodes) + 0.5) / nodes)
    solved = _solve(upper, k, 1 / ((low + high) / 2 + (high - low) / 2 * place))
    fitted = chebyshev.chebfit(place, np.log(solved), nodes - 1)
    result: FloatArray = np.exp(
        chebyshev.chebval((2 / df - low - high) / (high - low), fitted))
    return result


def _solve(upper: float, k: float, df: FloatArray) -> FloatArray:
    """Newton's method on the logarithms of the tail and of q.

    The tail bends slowly on these scales, and a step of the logarithm cannot make q negative.
    The middle one of several df is solved first, from Bonferroni's value; the ratio of the two
    hardly depends on df, so that the others start close.
    """
    each = upper / (k * (k - 1))
    bonferroni = np.where(df > NORMAL_DF, -ndtri(each), -stdtrit(np.minimum(df, NORMAL_DF), each))
    log_q = np.log(np.maximum(np.sqrt(2.0) * bonferroni, 1e-3))
    if len(df) > 1:
        middle = len(df) // 2
        log_q += np.log(_solve(upper, k, df[middle:middle + 1])) - log_q[middle]
    for _ in range(_NEWTON_STEPS):
        q = np.exp(log_q)
        tail, density = _tail(q, k, df)
        step = tail * (np.log(tail) - np.log(upper)) / (density * q)
        log_q += np.clip(step, -1.0, 1.0)
        if np.abs(step).max() < 1e-6:  # the next one would be of the order of its square
            break
    result: FloatArray = np.exp(log_q)
    return result


def _tail(q: npt.ArrayLike, k: float, df: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Upper tail and density of the studentized range."""
    values, freedom = np.broadcast_arrays(np.asarray(q, dtype=np.float64),
                                          np.asarray(df, dtype=np.float64))
    if k < 2:
        raise UsageError(f"a studentized range needs at least 2 means, not {k}")
    if (freedom <= 0).any():
        raise UsageError("degrees of freedom must be positive")
    tail = np.full(values.shape, np.nan)
    density = np.full(values.shape, np.nan)
    normal = (freedom > NORMAL_DF) & ~np.isnan(values)
    tail[normal], density[normal] = range_tail(np.maximum(values[normal], 0.0), k)
    zero = (values <= 0) & (freedom <= NORMAL_DF)
    tail[zero], density[zero] = 1.0, 0.0
    rest = (values > 0) & (freedom <= NORMAL_DF)
    for wide in (False, True):
        # Few degrees of freedom need more nodes: keep them apart.
        rows = rest & ((freedom < 6) == wide)
        flat = np.flatnonzero(rows)
        for start in range(0, len(flat), _CHUNK):
            part = np.unravel_index(flat[start:start + _CHUNK], rows.shape)
            tail[part], density[part] = _studentized(values[part], k, freedom[part])
    return tail, density


def _studentized(q: FloatArray, k: float, df: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Upper tail and density for one-dimensional q > 0 and finite df."""
    # The range of many variables varies little, so that its tail is steep in log S.
    spread = 1.35 / np.sqrt(1 + 2 * np.log(k)) / (2 * np.sqrt(2 * np.log(k)))

    def bound(w: FloatArray) -> FloatArray:
        result: FloatArray = np.log(k * (k - 1)) + log_ndtr(-w / np.sqrt(2.0))
        return result

    def integrand(scale: FloatArray) -> tuple[FloatArray, FloatArray]:
        tail, density = range_tail(q[:, None] * scale, k)
        return tail, density * scale

    tail, density = over_scale(integrand, bound, q, df, step=0.8 * spread)
    return tail.clip(max=1.0), density


def range_tail(w: npt.ArrayLike, k: float) -> tuple[FloatArray, FloatArray]:
    """Upper tail and density of the range of ``k`` independent standard normal variables.

    Parameters
    ----------
    w : array_like of float
        Non-negative ranges.
    k : float
        Number of variables, at least 2.

    Returns
    -------
    tail, density : ndarray of float64, shape of ``w``
        ``P(W > w)`` and the density at ``w``.
    """
    ranges = np.asarray(w, dtype=np.float64)
    flat = ranges.reshape(-1, 1)
    # Where a range is exceeded, its midpoint is near zero: the largest value lies around w / 2,
    # and around the mode of the maximum when w is small; the width holds both.
    step = _RANGE_STEP / np.sqrt(1 + 2 * np.log(k))
    nodes = int(np.ceil(_RANGE_HALF_WIDTH / step))
    offset = step * np.arange(-nodes, nodes + 1)
    largest = flat / 2 + offset
    smallest = largest - flat
    phi = np.exp(-0.5 * largest**2) / _SQRT_2PI
    below = ndtr(largest)
    ratio = np.minimum(ndtr(smallest) / below, 1.0)
    with np.errstate(divide="ignore"):
        exceeded = -np.expm1((k - 1) * np.log1p(-ratio))
    tail = k * phi * below ** (k - 1) * exceeded
    # The density of the largest at z, of the smallest at z - w, the others between them.
    density = (k * (k - 1) * phi * np.exp(-0.5 * smallest**2) / _SQRT_2PI
               * (below * (1 - ratio)) ** (k - 2))
    return ((tail.sum(axis=1) * step).clip(max=1.0).reshape(ranges.shape),
            (density.sum(axis=1) * step).reshape(ranges.shape))


def _to_digits(values: FloatArray, digits: int) -> FloatArray:
    """Round to significant digits."""
    finite = np.isfinite(values) & (values > 0)
    power = np.where(finite, np.floor(np.log10(np.where(finite, values, 1.0))), 0.0)
    unit = 10.0 ** (digits - 1 - power)
    return np.where(finite, np.round(np.where(finite, values, 1.0) * unit) / unit, values)
