"""Spearman's correlation where rows of one patient may be alike.

The error is that of leaving out one patient after the other, on Fisher's z scale, with t of as
many degrees of freedom as there are patients but one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from saltrust.analysis.inference.clustered import few_degrees
from saltrust.analysis.inference.correlation import strata_rows, weighted_rho
from saltrust.analysis.inference.estimate import Estimate
from saltrust.analysis.inference.jackknife import jackknife_estimate
from saltrust.analysis.inference.resampling import cluster_codes
from saltrust.analysis.inference.threads import one_blas_thread
from saltrust.errors import DataError

FloatArray = npt.NDArray[np.float64]

#: Up to so many patients each is left out in fact; beyond, the derivative says the same.
MOST_LEFT_OUT = 200


@one_blas_thread()
def clustered_spearman(fit: Estimate, x: npt.ArrayLike, y: npt.ArrayLike,
                       clusters: npt.ArrayLike, *, strata: npt.ArrayLike | None = None,
                       keep_interval: bool = False, confidence_level: float = 0.95) -> Estimate:
    r"""A rank correlation with the error of patients in the place of that of rows.

    Parameters
    ----------
    fit : Estimate
        Of :func:`saltrust.analysis.inference.correlation.spearman` with the same x, y and strata.
    x, y : array_like of float, shape (n,)
    clusters : array_like, shape (n,)
        Patient of each row; a row without a label is its own.
    strata : array_like, shape (n,), optional
        As there.
    keep_interval : bool
        Whether interval and error stay those of ``fit``, which are of resampled patients, and the
        test alone is replaced.
    confidence_level : float
        Between 0 and 1.

    Returns
    -------
    Estimate
        ``statistic`` is z over its error, t on ``df`` = G - 1 for G patients; ``std_error`` is
        that of rho by the delta method.  Without error and test, and with a note, where ``fit``
        has none, there is one patient, or one patient alone settles the correlation.

    Raises
    ------
    DataError
        If there is not one label per row.

    Notes
    -----
    Beyond :data:`MOST_LEFT_OUT` patients the sums over patients of the derivative of z in the
    weight of each row take the place of differences (the infinitesimal jackknife), times
    G / (G - 1).

    References
    ----------
    L. A. Jaeckel (1972), The infinitesimal jackknife, Bell Laboratories; B. Efron and C. Stein
    (1981), Annals of Statistics 9, 586-596.
    """
    untested = Estimate(estimate=fit.estimate, n=fit.n, note=fit.note)
    if math.isnan(fit.p_value) or math.isnan(fit.statistic):
        return untested
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    codes, count = cluster_codes(clusters)
    if len(codes) != len(x):
        raise DataError(f"{len(codes)} cluster labels were given for {len(x)} rows; "
                        "every row needs one")
    if count < 2:
        return replace(untested, note="1 patient: no clustered error")
    parts = strata_rows(strata, len(x))
    z = math.atanh(fit.estimate)
    made = jackknife_estimate(z, _without_each(x, y, parts, codes, count, z), fit.n,
                              confidence_level=confidence_level)
    if math.isnan(made.p_value):
        return replace(untested, note=made.note)
    scale = 1 - fit.estimate**2
    tested = Estimate(fit.estimate, scale * made.std_error, math.tanh(made.conf_low),
                      math.tanh(made.conf_high), made.statistic, made.df, made.p_value, fit.n,
                      "; ".join(filter(None, (fit.note, few_degrees(made.df)))))
    return tested if not keep_interval else replace(
        tested, std_error=fit.std_error, conf_low=fit.conf_low, conf_high=fit.conf_high)


def left_out_spearman(rho: float, x: npt.ArrayLike, y: npt.ArrayLike, clusters: npt.ArrayLike, *,
                      strata: npt.ArrayLike | None = None) -> FloatArray:
    """A rank correlation without each patient, in the order in which patients appear.

    Parameters
    ----------
    rho : float
        Of all patients, not 1 or -1.
    x, y : array_like of float, shape (n,)
    clusters : array_like, shape (n,)
    strata : array_like, shape (n,), optional

    Returns
    -------
    ndarray of float64, shape (patients,)
        NaN where there is none without a patient.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    codes, count = cluster_codes(clusters)
    return np.tanh(_without_each(x, y, strata_rows(strata, len(x)), codes, count,
                                 math.atanh(rho)))


def _without_each(x: FloatArray, y: FloatArray, parts: Sequence[npt.NDArray[np.int64]],
                  codes: npt.NDArray[np.int64], count: int, z: float) -> FloatArray:
    """The correlation on Fisher's scale without each patient; not finite where it is 1 or none."""
    if count > MOST_LEFT_OUT:
        sums = np.bincount(codes, weights=_derivative(x, y, parts), minlength=count)
        # Leaving out weight 1 of G; the scale makes the jackknife's variance G / (G - 1) of theirs.
        return z - sums * count / (count - 1)
    kept = (codes != np.arange(count)[:, None]).astype(np.float64)
    rho = weighted_rho(x, y, parts, kept)
    with np.errstate(divide="ignore", invalid="ignore"):
        # Rounding may leave a perfect correlation beside 1.
        return np.arctanh(np.where(1 - np.abs(rho) < 1e-12, np.sign(rho), rho))


def _derivative(x: FloatArray, y: FloatArray, parts: Sequence[npt.NDArray[np.int64]]
                ) -> FloatArray:
    """How z changes with the weight of each row, shape (n,)."""
    products = np.zeros(3)
    slopes = np.zeros((3, len(x)))
    for part in parts:
        first, second = (_centered_ranks(values[part]) for values in (x, y))
        for row, (a, b, of_a, of_b) in enumerate(((first, first, x, x), (second, second, y, y),
                                                  (first, second, x, y))):
            products[row] += (a * b).sum()
            # A row counts itself, moves the ranks of the others, and adds to their number.
            slopes[row, part] = (a * b + _above(of_a[part], b) + _above(of_b[part], a)
                                 - 2 * (a * b).mean())
    spread = np.sqrt(products[0] * products[1])
    rho = products[2] / spread
    change = slopes[2] / spread - rho / 2 * (slopes[0] / products[0] + slopes[1] / products[1])
    return np.asarray(change / (1 - rho * rho))


def _centered_ranks(values: FloatArray) -> FloatArray:
    """Midranks about their mean, over their number."""
    _, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - counts + (counts + 1) / 2
    return np.asarray((ranks[codes] - (len(values) + 1) / 2) / len(values))


def _above(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Per row the mean of weights times half the sign of every other value less its own."""
    _, codes = np.unique(values, return_inverse=True)
    totals = np.bincount(codes, weights=weights)
    below = np.cumsum(totals) - totals
    above = totals.sum() - below - totals
    return np.asarray((above - below)[codes] / (2 * len(values)))
