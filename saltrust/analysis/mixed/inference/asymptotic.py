"""Infinite degrees of freedom: normal instead of t, as multcomp uses for mixed models."""

from __future__ import annotations

import numpy as np

from saltrust.analysis.mixed.fitted import MixedFit
from saltrust.analysis.mixed.frame import FloatArray


class Asymptotic:
    """Inference with the covariance of the likelihood and normal reference distributions."""

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
