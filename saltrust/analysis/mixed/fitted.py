"""A fitted mixed model: estimates in the units of the response."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from saltrust.analysis.mixed.design import FixedDesign, fixed_design
from saltrust.analysis.mixed.formula import Formula
from saltrust.analysis.mixed.frame import FloatArray, ModelFrame
from saltrust.analysis.mixed.likelihood import reml as likelihood_fit
from saltrust.analysis.mixed.likelihood.profile import Profile
from saltrust.analysis.mixed.likelihood.sufficient import Sufficient, sufficient


class Inference(Protocol):
    """Standard errors and degrees of freedom of combinations of the basis coefficients."""

    @property
    def covariance(self) -> FloatArray:
        """Covariance of the basis coefficients, shape (p, p), in squared units."""
        ...

    def degrees(self, rows: FloatArray) -> FloatArray:
        """Degrees of freedom of each row's t test; rows (m, p) combine the basis."""
        ...

    def f_test(self, rows: FloatArray, effects: FloatArray) -> tuple[float, int, float]:
        """F statistic, numerator and denominator df of the test that all effects are zero."""
        ...


class Fitted(Protocol):
    """What tests of fixed effects need of a fit."""

    @property
    def frame(self) -> ModelFrame: ...

    @property
    def design(self) -> FixedDesign: ...

    @property
    def basis_coefficients(self) -> FloatArray: ...

    def in_basis(self, rows: FloatArray) -> FloatArray: ...


@dataclass(frozen=True)
class MixedFit:
    """A model fitted by (restricted) maximum likelihood.

    Attributes
    ----------
    frame : ModelFrame
    design : FixedDesign
    data : Sufficient
    optimum : saltrust.analysis.mixed.likelihood.profile.Profile
        Where the likelihood is largest; on the scale of ``data``.
    reml : bool
    """

    frame: ModelFrame
    design: FixedDesign
    data: Sufficient
    optimum: Profile
    reml: bool

    @property
    def residual_variance(self) -> float:
        """Variance of the residual, in squared units of the response."""
        return self.optimum.variance * self.data.scale**2

    @property
    def variances(self) -> FloatArray:
        """Variances of the random intercepts, in the order of the frame's groups."""
        result: FloatArray = self.optimum.ratios * self.residual_variance
        return result

    @property
    def singular(self) -> bool:
        """Whether a random intercept's variance is zero, as lme4 judges it."""
        return bool((np.sqrt(self.optimum.ratios) < likelihood_fit.SINGULAR).any())

    @property
    def deviance(self) -> float:
        """Minus twice the (restricted) log-likelihood, as lme4 defines its constants."""
        deviance = self.optimum.deviance + 2 * self.optimum.degrees * np.log(self.data.scale)
        if self.reml:
            deviance += 2 * np.log(np.diag(self.design.triangle)).sum()
        return float(deviance)

    @property
    def basis_coefficients(self) -> FloatArray:
        """Coefficients of the orthonormal basis, in units of the response, shape (p,)."""
        result: FloatArray = (self.data.least_squares
                              + self.data.scale * self.optimum.coefficients)
        return result

    def in_basis(self, rows: FloatArray) -> FloatArray:
        """Turn combinations of all model-matrix columns into combinations of the basis.

        Columns that were dropped are taken as zero, which is right for estimable rows.

        Parameters
        ----------
        rows : ndarray of float64, shape (m, columns)

        Returns
        -------
        ndarray of float64, shape (m, p)
        """
        return self.design.in_basis(rows)


def fit(frame: ModelFrame, formula: Formula, *, reml: bool = True) -> MixedFit:
    """Fit a linear mixed model with random intercepts.

    Parameters
    ----------
    frame : ModelFrame
    formula : Formula
    reml : bool
        Restricted maximum likelihood; maximum likelihood otherwise.

    Raises
    ------
    DataError
        If there are no more rows than fixed effects, the response is constant, the variances
        cannot be told apart, or the model fits perfectly.
    """
    design = fixed_design(frame, formula)
    data = sufficient(frame, design)
    return MixedFit(frame, design, data, likelihood_fit.fit(data, reml=reml), reml)
