"""A fitted mixed model: estimates in the units of the response."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from saltrust.analysis.mixed.design import FixedDesign, fixed_design
from saltrust.analysis.mixed.formula import Formula
from saltrust.analysis.mixed.frame import FloatArray, ModelFrame
from saltrust.analysis.mixed.likelihood import covariances, slopes
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
    turns : tuple of ndarray of float64
        With random slopes: how the effects of ``data``, whose columns are orthonormal, are
        turned into those of the frame.
    """

    frame: ModelFrame
    design: FixedDesign
    data: Sufficient
    optimum: Profile
    reml: bool
    turns: tuple[FloatArray, ...] = ()

    @property
    def residual_variance(self) -> float:
        """Variance of the residual, in squared units of the response."""
        return self.optimum.variance * self.data.scale**2

    @property
    def covariances(self) -> tuple[FloatArray, ...]:
        """Covariance matrix of the effects of every random term, in the frame's order."""
        made = covariances.matrices(self.data.groups, self.optimum.ratios)
        if self.turns:
            made = [slopes.turned_back(matrix, turn)
                    for matrix, turn in zip(made, self.turns, strict=True)]
        return tuple(matrix * self.residual_variance for matrix in made)

    @property
    def singular(self) -> bool:
        """Whether a covariance matrix is singular, as lme4 judges it."""
        groups = self.frame.groups
        theta = covariances.factor(groups, covariances.vector(groups, self.covariances)
                                   / self.residual_variance)
        return any(value < likelihood_fit.SINGULAR for element, value in
                   zip(covariances.elements(groups), theta, strict=True)
                   if element.row == element.column)

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
    """Fit a linear mixed model.

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
    if all(group.columns is None for group in frame.groups):
        return MixedFit(frame, design, data, likelihood_fit.fit(data, reml=reml), reml)
    data, turns = slopes.orthonormal(data)
    return MixedFit(frame, design, data, slopes.fit(data, reml=reml), reml, turns)
