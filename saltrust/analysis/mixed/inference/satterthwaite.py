"""Inference with the likelihood's covariance: Satterthwaite's degrees of freedom, or none.

Satterthwaite's are computed as by lmerTest:

A. Kuznetsova, P. B. Brockhoff and R. H. B. Christensen (2017), J. Stat. Softw. 82(13):
``df = 2 v^2 / (g' A g)`` for a combination with variance ``v``, where ``g`` is its gradient in
the variance parameters and ``A`` the asymptotic covariance of these, twice the inverse Hessian
of the deviance.  The parameters are the relative standard deviations (of random slopes, the
elements of the Cholesky factor) and the logarithm of the residual's, for which ``A`` exists at
variances of zero too; lmerTest differentiates numerically what is exact here.
"""

from __future__ import annotations

import numpy as np

from saltrust.analysis.mixed.fitted import MixedFit
from saltrust.analysis.mixed.frame import FloatArray
from saltrust.analysis.mixed.likelihood import covariances

_CURVED = 1e-12  # eigenvalues of the Hessian below this share of the largest are flat


class Satterthwaite:
    """Inference with the covariance of the likelihood and Satterthwaite's df."""

    def __init__(self, fit: MixedFit) -> None:
        optimum = fit.optimum
        groups = fit.data.groups
        theta = covariances.factor(groups, optimum.ratios)
        chain = covariances.jacobian(groups, theta)
        rank = fit.data.rank
        self.inverse = np.asarray(np.linalg.inv(optimum.information), dtype=np.float64)
        self.unit = fit.residual_variance
        #: Derivatives of the information in theta.
        self.slopes: FloatArray = np.tensordot(chain.T, optimum.pieces.form_1[:, :rank, :rank],
                                               axes=1)
        self.parameter_covariance = 2 * pseudo_inverse(_hessian(fit, chain))

    @property
    def covariance(self) -> FloatArray:
        """Covariance of the basis coefficients."""
        result: FloatArray = self.unit * self.inverse
        return result

    def degrees(self, rows: FloatArray) -> FloatArray:
        """Degrees of freedom of each row."""
        solved = rows @ self.inverse
        variance = np.einsum("ij,ij->i", solved, rows)
        gradient = np.empty((len(rows), len(self.slopes) + 1))
        gradient[:, :-1] = -np.einsum("ia,jab,ib->ij", solved, self.slopes, solved)
        gradient[:, -1] = 2 * variance
        spread = np.einsum("ij,jk,ik->i", gradient, self.parameter_covariance, gradient)
        with np.errstate(divide="ignore", invalid="ignore"):
            result: FloatArray = 2 * variance**2 / spread
        return result

    def f_test(self, rows: FloatArray, effects: FloatArray) -> tuple[float, int, float]:
        """F test of all rows together, from independent combinations of them."""
        values, vectors = np.linalg.eigh(rows @ self.covariance @ rows.T)
        kept = values > np.sqrt(np.finfo(float).eps) * values[-1]
        turned = vectors[:, kept].T
        statistic = float(((turned @ effects) ** 2 / values[kept]).mean())
        each = self.degrees(turned @ rows)
        return statistic, int(kept.sum()), _joint_degrees(each)


class Asymptotic:
    """Inference with infinite df: normal instead of t, as multcomp uses for mixed models."""

    def __init__(self, fit: MixedFit) -> None:
        inverse = np.linalg.inv(fit.optimum.information)
        self._covariance = np.asarray(fit.residual_variance * inverse, dtype=np.float64)

    @property
    def covariance(self) -> FloatArray:
        """Covariance of the basis coefficients."""
        return self._covariance

    def degrees(self, rows: FloatArray) -> FloatArray:
        """Infinity for each row."""
        return np.full(len(rows), np.inf)

    def f_test(self, rows: FloatArray, effects: FloatArray) -> tuple[float, int, float]:
        """Wald's chi-squared per degree of freedom."""
        wald = float(effects @ np.linalg.solve(rows @ self.covariance @ rows.T, effects))
        return wald / len(rows), len(rows), float("inf")


def _joint_degrees(each: FloatArray) -> float:
    """Denominator df of the mean of independent squared t variables (Fai and Cornelius 1996)."""
    if len(each) == 1 or np.ptp(each) < 1e-8:
        return float(each.mean())
    if (each <= 2).any():
        return 2.0
    expected = float((each / (each - 2)).sum())
    return 2 * expected / (expected - len(each))


def _hessian(fit: MixedFit, chain: FloatArray) -> FloatArray:
    """Second derivatives of the deviance in the parameters, nothing profiled out."""
    optimum = fit.optimum
    m = len(chain)
    hessian = np.empty((m + 1, m + 1))
    slope = optimum.log_dets_1 + optimum.quadratic_1 / optimum.variance
    curvature = optimum.log_dets_2 + optimum.quadratic_2 / optimum.variance
    hessian[:m, :m] = chain.T @ curvature @ chain + covariances.bend(fit.data.groups, slope)
    hessian[:m, m] = hessian[m, :m] = -2 * chain.T @ optimum.quadratic_1 / optimum.variance
    hessian[m, m] = 4 * optimum.degrees
    return hessian


def pseudo_inverse(hessian: FloatArray) -> FloatArray:
    values, vectors = np.linalg.eigh(hessian)
    kept = values > _CURVED * values[-1]
    result: FloatArray = (vectors[:, kept] / values[kept]) @ vectors[:, kept].T
    return result
