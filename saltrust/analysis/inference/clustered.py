"""Standard errors of least squares when rows of the same patient are alike.

The bias-reduced sandwich CR2 of Bell and McCaffrey with Satterthwaite degrees of freedom: it
holds its level with few or unequal clusters, where the plain sandwich is too narrow, and is HC2
when every cluster is one row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

from saltrust.analysis.inference.estimate import Estimate, check_confidence_level, t_estimate
from saltrust.analysis.inference.linear import LeastSquares, indicators, least_squares
from saltrust.analysis.inference.resampling import cluster_codes
from saltrust.analysis.inference.threads import one_blas_thread
from saltrust.errors import DataError

FloatArray = npt.NDArray[np.float64]

#: Below which Satterthwaite's approximation is rough (Pustejovsky and Tipton 2018).
FEWEST_DEGREES = 4.0


@dataclass(frozen=True)
class RobustError:
    """Cluster-robust precision of one coefficient; all NaN where it cannot be had.

    Attributes
    ----------
    std_error, df, conf_low, conf_high, p_value : float
        CR2 error, Satterthwaite degrees of freedom, t interval and two-sided p-value.
    clusters : int
    """

    std_error: float = float("nan")
    df: float = float("nan")
    conf_low: float = float("nan")
    conf_high: float = float("nan")
    p_value: float = float("nan")
    clusters: int = 0


@one_blas_thread()
def cr2(design: npt.ArrayLike, fit: LeastSquares, clusters: npt.ArrayLike, *,
        column: int = -1, confidence_level: float = 0.95) -> RobustError:
    """CR2 error of one coefficient.

    Parameters
    ----------
    design : array_like of float, shape (n, p)
        What ``fit`` was fitted on.
    fit : LeastSquares
    clusters : array_like, shape (n,)
        Patient of each row; a row without a label is its own cluster.
    column : int
        Which coefficient; the last by default.
    confidence_level : float
        Between 0 and 1.

    Returns
    -------
    RobustError
        NaN with fewer than two clusters or without residual variation.

    Raises
    ------
    DataError
        If there is not one label per row.

    Notes
    -----
    With M = inv(X'X) and H = XMX', the adjustment of cluster c is the symmetric (I - H_cc)^-1/2,
    a pseudo-inverse where a cluster alone settles a coefficient.  As f(X_c M X_c') X_c equals
    X_c R f(R X_c'X_c R) R^-1 with R = M^1/2, only p by p matrices are decomposed.

    References
    ----------
    R. M. Bell and D. F. McCaffrey (2002), Survey Methodology 28, 169-181; J. E. Pustejovsky
    and E. Tipton (2018), J. Bus. Econ. Stat. 36, 672-683 (degrees of freedom, eq. 11).
    """
    check_confidence_level(confidence_level)
    x = np.asarray(design, dtype=np.float64)
    codes, count = cluster_codes(clusters)
    if len(codes) != len(x):
        raise DataError(f"{len(codes)} cluster labels were given for {len(x)} rows; "
                        "every row needs one")
    if count < 2 or fit.residual_sum == 0:
        return RobustError(clusters=count)
    values, vectors = np.linalg.eigh(fit.unscaled_covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    scaled = x @ root
    gram = np.zeros((count, x.shape[1], x.shape[1]))
    np.add.at(gram, codes, scaled[:, :, None] * scaled[:, None, :])
    shares, axes = np.linalg.eigh(gram)
    # An eigenvalue of 1 is a direction that this cluster alone settles: it has no residual.
    free = 1 - shares > 1e-10
    factor = np.where(free, 1 / np.sqrt(np.where(free, 1 - shares, 1.0)), 0.0)
    weights = np.einsum("cij,cj,ckj,k->ci", axes, factor, axes, root[column])
    loads = np.einsum("ni,ni->n", scaled, weights[codes])
    sums = np.bincount(codes, weights=loads * fit.residuals, minlength=count)
    variance = float(sums @ sums)
    if variance <= 0:
        return RobustError(clusters=count)
    error = float(np.sqrt(variance))
    df = _satterthwaite(scaled, loads, codes, count)
    half = float(stdtrit(df, (1 + confidence_level) / 2)) * error
    estimate = float(fit.coefficients[column])
    return RobustError(error, df, estimate - half, estimate + half,
                       float(2 * stdtr(df, -abs(estimate) / error)), count)


def clustered_mean(values: npt.ArrayLike, clusters: npt.ArrayLike, *, null: float = 0.0,
                   confidence_level: float = 0.95) -> Estimate:
    """A mean of rows with the CR2 error of patients and a t test that no resample bounds.

    Parameters
    ----------
    values : array_like of float, shape (n,)
        NaN is left out.
    clusters : array_like, shape (n,)
        Patient of each row.
    null : float
        Tested value.
    confidence_level : float
        Between 0 and 1.

    Returns
    -------
    Estimate
        Of single rows the one-sample t test.  Without an error, and with a note, where there are
        no rows, one patient only, or no variation.

    Examples
    --------
    >>> made = clustered_mean([1.0, 2.0, 3.0], ["a", "b", "c"])
    >>> round(made.std_error, 4), round(made.df, 4)
    (0.5774, 2.0)
    """
    column = np.asarray(values, dtype=np.float64)
    known = ~np.isnan(column)
    column, n = column[known], int(known.sum())
    if not n:
        return Estimate(note="no rows")
    mean = float(column.mean())
    if np.ptp(column) == 0:
        return Estimate(estimate=mean, n=n, note="all values are equal: no test")
    design = np.ones((n, 1))
    squares = least_squares(design, column)
    robust = RobustError() if squares is None else cr2(
        design, squares, np.asarray(clusters)[known], confidence_level=confidence_level)
    if math.isnan(robust.std_error):
        return Estimate(estimate=mean, n=n, note="rows of 1 patient: no test"
                        if robust.clusters == 1 else "no variation between patients: no test")
    return t_estimate(mean, robust.std_error, robust.df, n, null=null,
                      confidence_level=confidence_level)


def few_degrees(df: float) -> str:
    """What is said of a clustered test with hardly any degrees of freedom; else nothing.

    Examples
    --------
    >>> few_degrees(2.31), few_degrees(4.0)
    ('2.3 degrees of freedom: p and interval are rough below 4', '')
    """
    return (f"{df:.1f} degrees of freedom: p and interval are rough below {FEWEST_DEGREES:g}"
            if df < FEWEST_DEGREES else "")


def one_patient(fit: Estimate, clusters: int) -> Estimate:
    """An estimate of independent rows, which says so where its test is of one patient's rows."""
    if clusters != 1 or math.isnan(fit.p_value):
        return fit
    return replace(fit, note="; ".join(filter(None, (
        fit.note, "rows of 1 patient, taken as independent"))))


@one_blas_thread()
def robust_slope(fit: Estimate, x: npt.ArrayLike, y: npt.ArrayLike, clusters: npt.ArrayLike, *,
                 groups: npt.ArrayLike | None = None, confidence_level: float = 0.95) -> Estimate:
    """A slope with its CR2 error in the place of the classical one.

    Parameters
    ----------
    fit : Estimate
        Of :func:`saltrust.analysis.inference.linear.simple_regression` with the same x, y and
        groups.
    x, y : array_like of float, shape (n,)
        Regressor and response.
    clusters : array_like, shape (n,)
        Patient of each row.
    groups : array_like, shape (n,), optional
        Labels of fixed effects.
    confidence_level : float
        Between 0 and 1.

    Returns
    -------
    Estimate
        The same slope; without error and test, and with a note, where ``fit`` has none or the
        rows are of one patient.
    """
    untested = Estimate(estimate=fit.estimate, n=fit.n, note=fit.note, r_squared=fit.r_squared)
    if math.isnan(fit.p_value):
        return untested
    x = np.asarray(x, dtype=np.float64)
    design = np.column_stack([indicators(groups, len(x)), x - x.mean()])
    squares = least_squares(design, y)
    robust = (RobustError() if squares is None
              else cr2(design, squares, clusters, confidence_level=confidence_level))
    if math.isnan(robust.std_error):
        why = "1 patient" if robust.clusters == 1 else "no variation between patients"
        return replace(untested, note=f"{why}: no clustered error")
    return Estimate(fit.estimate, robust.std_error, robust.conf_low, robust.conf_high,
                    fit.estimate / robust.std_error, robust.df, robust.p_value, fit.n,
                    "; ".join(filter(None, (fit.note, few_degrees(robust.df)))), fit.r_squared)


def _satterthwaite(scaled: FloatArray, loads: FloatArray, codes: npt.NDArray[np.int64],
                   count: int) -> float:
    """Degrees of freedom (sum of diag B)^2 / sum of B^2 with B = D - U'U, never formed."""
    squared = np.bincount(codes, weights=loads**2, minlength=count)
    shared = np.zeros((count, scaled.shape[1]))
    np.add.at(shared, codes, scaled * loads[:, None])
    lengths = (shared**2).sum(axis=1)
    squares = (squared**2).sum() - 2 * (squared * lengths).sum() + ((shared.T @ shared) ** 2).sum()
    return float((squared - lengths).sum() ** 2 / squares)
