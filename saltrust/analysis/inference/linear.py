"""Ordinary least squares with t intervals, as arrays in and numbers out.

Nothing here warns or divides by zero: a fit that cannot be had comes back without an estimate
and with a note.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import linalg

from saltrust.analysis.inference.estimate import Estimate, check_confidence_level, t_estimate
from saltrust.analysis.inference.threads import one_blas_thread
from saltrust.errors import DataError

FloatArray = npt.NDArray[np.float64]
_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class LeastSquares:
    """A least-squares fit of full column rank.

    Attributes
    ----------
    coefficients : ndarray of float64, shape (p,)
    unscaled_covariance : ndarray of float64, shape (p, p)
        Inverse of X'X.
    residuals : ndarray of float64, shape (n,)
    residual_sum : float
        Sum of squared residuals; exactly 0 where they are no more than rounding.
    df : int
        n - p.
    """

    coefficients: FloatArray
    unscaled_covariance: FloatArray
    residuals: FloatArray
    residual_sum: float
    df: int

    @property
    def std_errors(self) -> FloatArray:
        """Classical standard errors, shape (p,); needs ``df`` of at least 1."""
        variance = self.residual_sum / self.df
        return np.sqrt(variance * np.diag(self.unscaled_covariance))


@one_blas_thread()
def least_squares(design: npt.ArrayLike, response: npt.ArrayLike) -> LeastSquares | None:
    """Fit by QR decomposition.

    Parameters
    ----------
    design : array_like of float, shape (n, p)
        Regressors, the intercept among them.
    response : array_like of float, shape (n,)

    Returns
    -------
    LeastSquares or None
        None where the columns are linearly dependent to rounding, or n < p.

    Raises
    ------
    DataError
        If a number is not finite or the lengths differ.
    """
    x, y = np.asarray(design, dtype=np.float64), np.asarray(response, dtype=np.float64)
    if x.ndim != 2 or y.shape != (x.shape[0],):
        raise DataError(f"a regression of {y.shape} values on a design of {x.shape} is not one; "
                        "give one row per value")
    if not np.isfinite(x).all() or not np.isfinite(y).all():
        raise DataError("a regression needs finite numbers; leave incomplete rows out")
    n, p = x.shape
    if n < p:
        return None
    q, r = linalg.qr(x, mode="economic")
    size = np.sqrt((x**2).sum(axis=0))
    # What is left of a column after the ones before it: its part that only it can explain.
    if (np.abs(np.diag(r)) <= 4 * max(n, p) * _EPS * size).any():
        return None
    coefficients = linalg.solve_triangular(r, q.T @ y)
    inverse = linalg.solve_triangular(r, np.eye(p))
    residuals = y - x @ coefficients
    residual_sum = float(residuals @ residuals)
    scale = float(y @ y) + float(((x * coefficients) ** 2).sum())
    if residual_sum <= (4 * _EPS) ** 2 * n * scale:
        residual_sum = 0.0
    return LeastSquares(coefficients, inverse @ inverse.T, residuals, residual_sum, n - p)


def simple_regression(x: npt.ArrayLike, y: npt.ArrayLike, *, confidence_level: float = 0.95,
                      groups: npt.ArrayLike | None = None,
                      names: tuple[str, str] = ("the regressor", "the response")) -> Estimate:
    """Slope of one regressor, with an intercept or with one intercept per group.

    Parameters
    ----------
    x, y : array_like of float, shape (n,)
        Regressor and response, finite.
    confidence_level : float
        Between 0 and 1.
    groups : array_like, shape (n,), optional
        Labels of fixed effects: the slope is then the one within groups.
    names : tuple of str
        What notes call x and y.

    Returns
    -------
    Estimate
        ``statistic`` is t on ``df`` = n - 1 - number of intercepts.  ``r_squared`` is of the
        variation around the intercepts: with groups, the within-group one.  Without an estimate
        and with a note where there are too few rows or x does not vary (within groups); with
        an estimate but without a test where y does not vary or all points lie on the line.

    Raises
    ------
    DataError
        If a number is not finite or the lengths differ.
    UsageError
        If ``confidence`` is out of range.

    Examples
    --------
    >>> fit = simple_regression([0, 1, 2, 3], [0.0, 1.2, 1.8, 3.0])
    >>> round(fit.estimate, 3), round(fit.std_error, 4), int(fit.df)
    (0.96, 0.0849, 2)
    >>> simple_regression([1, 1, 1], [0.1, 0.2, 0.3]).note
    'the regressor is constant'
    """
    check_confidence_level(confidence_level)
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise DataError(f"a regression of {y.shape} values on {x.shape} is not one; "
                        "give one regressor per value")
    n = len(y)
    intercepts = indicators(groups, n)
    needed = intercepts.shape[1] + 2
    if n < needed:
        return Estimate(n=n, note=_too_few(n, needed))
    within = " within every group" if groups is not None else ""
    # Centring leaves the slope as it is and spares the digits a large offset would cost.
    fit = least_squares(np.column_stack([intercepts, x - x.mean()]), y)
    if fit is None or not _varies(x, intercepts):
        return Estimate(n=n, note=f"{names[0]} is constant{within}")
    if not _varies(y, intercepts):
        return Estimate(estimate=0.0, df=float(fit.df), n=n,
                        note=f"{names[1]} is constant{within}: no test")
    slope = float(fit.coefficients[-1])
    if fit.residual_sum == 0:
        return Estimate(estimate=slope, std_error=0.0, df=float(fit.df), n=n, r_squared=1.0,
                        note="perfect fit: no test")
    made = t_estimate(slope, float(fit.std_errors[-1]), float(fit.df), n,
                      confidence_level=confidence_level)
    return replace(made, r_squared=1 - fit.residual_sum / _variation(y, intercepts))


def _variation(values: FloatArray, intercepts: FloatArray) -> float:
    """Sum of squares around the mean, or around the means of groups."""
    around = values - intercepts @ (intercepts.T @ values / intercepts.sum(axis=0))
    return float(around @ around)


def _varies(values: FloatArray, intercepts: FloatArray) -> bool:
    """Whether values differ (within groups) by more than rounding."""
    rounding = (4 * _EPS) ** 2 * len(values) * float(values @ values)
    return _variation(values, intercepts) > rounding


def indicators(groups: npt.ArrayLike | None, n: int) -> FloatArray:
    """One column of ones, or one indicator column per group, shape (n, number of groups)."""
    if groups is None:
        return np.ones((n, 1))
    labels, codes = np.unique(np.asarray(groups), return_inverse=True)
    if len(codes) != n:
        raise DataError(f"{len(codes)} group labels were given for {n} rows; every row needs one")
    return (codes[:, None] == np.arange(max(len(labels), 1))).astype(np.float64)


def _too_few(n: int, needed: int) -> str:
    rows = "no rows" if n == 0 else "1 row" if n == 1 else f"{n} rows"
    groups = f" with {needed - 2} fixed effects" if needed > 3 else ""
    return f"{rows}: at least {needed} are needed{groups}"
