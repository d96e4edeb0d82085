"""Adjusting a family of contrasts of marginal means: p-values and intervals that go together."""

from __future__ import annotations

import numpy as np
from scipy.special import stdtr, stdtrit

from saltrust.analysis.inference import multiplicity
from saltrust.analysis.mixed.adjustment import dunnett, studentized_range
from saltrust.analysis.mixed.adjustment.single_step import LargestStatistic
from saltrust.analysis.mixed.frame import FloatArray
from saltrust.analysis.mixed.request import Family


def two_sided(t: FloatArray, df: FloatArray) -> FloatArray:
    """Two-sided p-values of t statistics; infinite df give the normal distribution.

    Examples
    --------
    >>> import numpy as np
    >>> two_sided(np.array([2.0, 2.0]), np.array([10.0, np.inf])).round(4)
    array([0.0734, 0.0455])
    """
    result: FloatArray = 2 * stdtr(df, -np.abs(t))
    return result


def critical_value(confidence_level: float, df: FloatArray) -> FloatArray:
    """Half width of an interval for one estimate, in standard errors."""
    result: FloatArray = -stdtrit(df, (1 - confidence_level) / 2)
    return result


def adjust(family: Family, t: FloatArray, df: FloatArray, root: FloatArray,
           confidence_level: float, *, seed: int = 0) -> tuple[FloatArray, FloatArray, str]:
    """Adjusted p-values and half widths of a family.

    Holm's stepwise method has no intervals of its own: they are Bonferroni's, as in emmeans.

    Parameters
    ----------
    family : Family
    t, df : ndarray of float64, shape (m,)
        Statistics, in the order of ``family.names``; NaN where a contrast is not estimable.
        Such contrasts count into the size of the family.
    root : ndarray of float64, shape (m, r)
        ``root @ root.T`` is the covariance of the contrasts.
    confidence_level : float
        Joint confidence of the intervals.
    seed : int
        Of the sampling that the single-step adjustment may need.

    Returns
    -------
    p_adjusted, half_width : ndarray of float64, shape (m,)
        Half widths are in standard errors.
    note : str
        The Monte Carlo error where there is one, else empty.
    """
    size = len(t)
    raw = two_sided(t, df)
    known = ~np.isnan(t)
    if size == 1 or not known.any():
        return raw, critical_value(confidence_level, df), ""
    adjusted, width = np.full(size, np.nan), np.full(size, np.nan)
    absolute, freedom = np.abs(t[known]), df[known]
    note = ""
    match family.adjustment:
        case "none":
            adjusted, width[known] = raw, critical_value(confidence_level, freedom)
        case "bonferroni" | "holm":
            adjusted = multiplicity.adjust(raw, family.adjustment, size=size)
            width[known] = critical_value(1 - (1 - confidence_level) / size, freedom)
        case "sidak":
            adjusted = -np.expm1(size * np.log1p(-raw.clip(max=1 - 1e-16)))
            width[known] = critical_value(confidence_level ** (1 / size), freedom)
        case "tukey":
            means = len(family.levels)
            adjusted[known] = studentized_range.survival(np.sqrt(2.0) * absolute, means, freedom)
            width[known] = (studentized_range.quantile(1 - confidence_level, means, freedom)
                            / np.sqrt(2.0))
        case "dunnett":
            adjusted[known] = dunnett.survival(absolute, size, freedom)
            width[known] = dunnett.critical_value(confidence_level, size, freedom)
        case "single-step":
            adjusted[known], width[known], note = _single_step(
                family, absolute, freedom, root[known], confidence_level, seed)
    # No adjustment for m tests is below the raw value or above m times it.
    return np.clip(adjusted, raw, np.minimum(size * raw, 1.0)), width, note


def _single_step(family: Family, t: FloatArray, df: FloatArray, root: FloatArray,
                 confidence_level: float, seed: int) -> tuple[FloatArray, FloatArray, str]:
    means = len(family.levels)
    if family.control is None and _as_independent_means(family, root):
        return (studentized_range.survival(np.sqrt(2.0) * t, means, df),
                studentized_range.quantile(1 - confidence_level, means, df) / np.sqrt(2.0), "")
    largest = LargestStatistic(root / np.linalg.norm(root, axis=1)[:, None], seed)
    adjusted, width = largest.survival(t, df), largest.critical_value(confidence_level, df)
    if largest.exact:
        return adjusted, width, ""
    error = float(largest.error(t, df).max())
    return adjusted, width, f"single-step p-values have a Monte Carlo error up to {error:.1g}"


def _as_independent_means(family: Family, root: FloatArray) -> bool:
    """Whether the pairs correlate as those of independent means of one variance.

    Then the largest statistic has the studentized range's distribution.  Data with a row per
    group and level are the common case.  The contrasts of the first level with the others,
    which come first, span all of them.
    """
    if family.crossed or len(root) != len(family.pairs[0]):
        return False
    against_first = root[:len(family.levels) - 1]
    covariance = against_first @ against_first.T
    expected = (np.ones_like(covariance) + np.eye(len(covariance))) / 2
    gap = np.abs(covariance / covariance[0, 0] - expected).max()
    return bool(gap < 1e-8)
