"""Kenward and Roger's adjusted covariance and degrees of freedom, as pbkrtest computes them.

M. G. Kenward and J. H. Roger (1997), Biometrics 53, 983-997; U. Halekoh and S. Hojsgaard
(2014), J. Stat. Softw. 59(9).  pbkrtest works with n x n matrices; here everything follows
from the derivatives of the likelihood's pieces, at no cost that grows with n.
"""

from __future__ import annotations

import numpy as np

from saltrust.analysis.mixed.fitted import MixedFit
from saltrust.analysis.mixed.frame import FloatArray


class KenwardRoger:
    """Inference with the small-sample covariance and df of Kenward and Roger."""

    def __init__(self, fit: MixedFit) -> None:
        self.unit = fit.residual_variance
        self.inverse = np.asarray(np.linalg.inv(fit.optimum.information), dtype=np.float64)
        slopes, curvatures, traces = _components(fit)
        inverse = self.inverse
        solved = inverse @ slopes
        information = (
            traces - 2 * np.einsum("ab,jkba->jk", inverse, curvatures)
            + np.einsum("jab,kba->jk", solved, solved))
        self.weights = 2 * np.linalg.pinv(information, rcond=1e-13, hermitian=True)
        bend = (np.einsum("jk,jkab->ab", self.weights, curvatures)
                - np.einsum("jk,jac,kcb->ab", self.weights, slopes, solved))
        adjusted = inverse + 2 * inverse @ bend @ inverse
        self.adjusted = (adjusted + adjusted.T) / 2
        self.slopes = slopes

    @property
    def covariance(self) -> FloatArray:
        """Adjusted covariance of the basis coefficients."""
        result: FloatArray = self.unit * self.adjusted
        return result

    def degrees(self, rows: FloatArray) -> FloatArray:
        """Degrees of freedom of each row; for one row the formula is ``2 / A``."""
        solved = rows @ self.inverse
        variance = np.einsum("ij,ij->i", solved, rows)
        share = np.einsum("ia,jab,ib->ij", solved, self.slopes, solved) / variance[:, None]
        spread = np.einsum("ij,jk,ik->i", share, self.weights, share)
        with np.errstate(divide="ignore"):
            result: FloatArray = 2 / spread
        return result

    def f_test(self, rows: FloatArray, effects: FloatArray) -> tuple[float, int, float]:
        """Scaled F test of linearly independent rows."""
        q = len(rows)
        outer = rows.T @ np.linalg.solve(rows @ self.inverse @ rows.T, rows)
        turned = outer @ self.inverse @ self.slopes @ self.inverse
        first = np.trace(turned, axis1=1, axis2=2)
        a1 = float(first @ self.weights @ first)
        a2 = float(np.einsum("jk,jab,kba->", self.weights, turned, turned))
        wald = float(effects @ np.linalg.solve(rows @ self.covariance @ rows.T, effects))
        df, scaling = _denominator(q, a1, a2)
        return scaling * wald / q, q, df


def _denominator(q: int, a1: float, a2: float) -> tuple[float, float]:
    """Denominator df and scaling that match the moments of the statistic to an F variable's."""
    b = (a1 + 6 * a2) / (2 * q)
    g = ((q + 1) * a1 - (q + 4) * a2) / ((q + 2) * a2)
    base = 3 * q + 2 * (1 - g)
    v0 = 1 + g / base * b
    v1 = 1 - (q - g) / base * b
    v2 = 1 - (q + 2 - g) / base * b
    # Where both vanish, for a single error stratum, their ratio is one (pbkrtest).
    ratio = 1.0 if abs(v1) < 1e-14 and abs(1 - a2 / q) < 1e-14 else (1 - a2 / q) / v1
    rho = ratio**2 * (0.0 if abs(v0) < 1e-10 else v0) / v2 / q
    df = 4 + (q + 2) / (q * rho - 1)
    scaling = 1.0 if abs(df - 2) < 1e-2 else df * (1 - a2 / q) / (df - 2)
    return df, scaling


def _components(fit: MixedFit) -> tuple[FloatArray, FloatArray, FloatArray]:
    """What the variances do to the information, the residual's in first place.

    With ``G_0 = I`` and unit residual variance: ``P_r = -X'V^-1 G_r V^-1 X``, the symmetric
    part of ``Q_rs = X'V^-1 G_r V^-1 G_s V^-1 X``, and ``tr(V^-1 G_r V^-1 G_s)``.  Those of the
    residual follow from ``V^-1 V^-1 = V^-1 - sum_j g_j V^-1 G_j V^-1``.
    """
    optimum, pieces = fit.optimum, fit.optimum.pieces
    p, ratios = fit.data.rank, optimum.ratios
    m = len(ratios)
    slopes = np.empty((m + 1, p, p))
    slopes[1:] = pieces.form_1[:, :p, :p]
    slopes[0] = -(optimum.information + np.tensordot(ratios, slopes[1:], axes=1))
    curvatures = np.empty((m + 1, m + 1, p, p))
    curvatures[1:, 1:] = pieces.form_2[:, :, :p, :p] / 2
    curvatures[1:, 0] = -slopes[1:] - np.einsum("k,jkab->jab", ratios, curvatures[1:, 1:])
    curvatures[0, 1:] = curvatures[1:, 0]
    curvatures[0, 0] = -slopes[0] - np.tensordot(ratios, curvatures[1:, 0], axes=1)
    traces = np.empty((m + 1, m + 1))
    traces[1:, 1:] = -pieces.log_det_2
    traces[1:, 0] = traces[0, 1:] = pieces.log_det_1 - traces[1:, 1:] @ ratios
    traces[0, 0] = fit.data.n - ratios @ pieces.log_det_1 - ratios @ traces[1:, 0]
    return slopes, curvatures, traces
