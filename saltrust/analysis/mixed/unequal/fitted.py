"""A fitted mixed model with a residual variance per level, in the units of the response."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import chdtrc

from saltrust.analysis.mixed.design import FixedDesign, fixed_design
from saltrust.analysis.mixed.formula import Formula
from saltrust.analysis.mixed.frame import FloatArray, ModelFrame
from saltrust.analysis.mixed.inference.satterthwaite import (
    Asymptotic,
    Satterthwaite,
    pseudo_inverse,
)
from saltrust.analysis.mixed.likelihood.reml import PERFECT_SHARE, check_estimable, perfect
from saltrust.analysis.mixed.likelihood.sufficient import Sufficient, sufficient
from saltrust.analysis.mixed.unequal.optimum import (
    LARGEST_SD,
    LevelProfile,
    fit,
    fit_equal,
    full_hessian,
)
from saltrust.analysis.mixed.unequal.pieces import LevelLikelihood
from saltrust.errors import DataError

#: Rows below which a level's variance is hardly an estimate.
FEWEST_ROWS = 3


@dataclass(frozen=True)
class UnequalFit:
    """A model with one residual variance for each level of a factor.

    Attributes
    ----------
    frame : ModelFrame
    design : FixedDesign
    data : Sufficient
    factor : str
        Whose levels the variances belong to.
    likelihood : LevelLikelihood
    optimum, equal : LevelProfile
        Where the likelihood is largest, and where it is with one variance for all levels.
    reml : bool
    """

    frame: ModelFrame
    design: FixedDesign
    data: Sufficient
    factor: str
    likelihood: LevelLikelihood
    optimum: LevelProfile
    equal: LevelProfile
    reml: bool

    @property
    def residual_sds(self) -> FloatArray:
        """Residual standard deviation of every level, in units of the response, shape (L,)."""
        result: FloatArray = (self.optimum.sds * np.sqrt(self.optimum.variance)
                              * self.data.scale)
        return result

    @property
    def variances(self) -> FloatArray:
        """Variances of the random intercepts, in the order of the frame's groups."""
        result: FloatArray = (self.optimum.ratios * self.optimum.variance
                              * self.data.scale**2)
        return result

    @property
    def covariances(self) -> tuple[FloatArray, ...]:
        """The same as matrices of one effect, as of a fit with random slopes."""
        return tuple(np.full((1, 1), value) for value in self.variances)

    @property
    def residual_variance(self) -> float:
        """Mean residual variance of the rows."""
        counts = self.likelihood.counts
        return float(counts @ self.residual_sds**2 / counts.sum())

    @property
    def singular(self) -> bool:
        """Whether a random intercept's variance is zero beside every residual variance."""
        return bool((self.variances < 1e-8 * self.residual_variance).any())

    @property
    def vanishing(self) -> list[str]:
        """Levels whose residual variance is estimated as none."""
        sds = self.optimum.sds
        levels = self.frame.factors[self.factor].levels
        return [levels[place] for place in np.flatnonzero(sds <= 1.01 * sds.max() / LARGEST_SD)]

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
        """Turn combinations of all model-matrix columns, shape (m, columns), into the basis'."""
        return self.design.in_basis(rows)

    def likelihood_ratio(self) -> tuple[float, int, float]:
        """Statistic, degrees of freedom and p-value of the test that all variances are equal."""
        statistic = max(self.equal.deviance - self.optimum.deviance, 0.0)
        df = len(self.likelihood.counts) - 1
        return statistic, df, float(chdtrc(df, statistic))


def fit_levels(frame: ModelFrame, formula: Formula, factor: str, *, reml: bool = True,
               ) -> UnequalFit:
    """Fit a residual variance for each level of a factor.

    Parameters
    ----------
    frame : ModelFrame
    formula : Formula
    factor : str
        A categorical fixed effect.
    reml : bool
        Restricted maximum likelihood; maximum likelihood otherwise.

    Raises
    ------
    DataError
        If a level has too few rows for a variance of its own, or the model cannot be fitted
        with equal variances either.
    """
    levels = frame.factors[factor]
    counts = np.bincount(levels.codes, minlength=len(levels.levels))
    few = [name for name, count in zip(levels.levels, counts, strict=True) if count < FEWEST_ROWS]
    if few:
        raise DataError(f"{factor} {', '.join(few)} has fewer than {FEWEST_ROWS} rows, too few "
                        "for a residual variance; say --variance equal, or leave it out")
    design = fixed_design(frame, formula)
    data = sufficient(frame, design)
    check_estimable(data)
    likelihood = LevelLikelihood(frame, design, data, levels.codes)
    equal = fit_equal(likelihood, reml=reml)
    optimum = fit(likelihood, equal, reml=reml)
    if optimum.quadratic < PERFECT_SHARE * data.gram[-1, -1]:
        raise perfect(data)
    return UnequalFit(frame, design, data, factor, likelihood, optimum, equal, reml)


class LevelSatterthwaite(Satterthwaite):
    """Satterthwaite's df from the observed information, the levels' variances included."""

    def __init__(self, fitted: UnequalFit) -> None:
        optimum, p = fitted.optimum, fitted.data.rank
        self.inverse = np.asarray(np.linalg.inv(optimum.information), dtype=np.float64)
        self.unit = optimum.variance * fitted.data.scale**2
        m = len(optimum.ratios)
        relative = optimum.sds / optimum.sds.max()
        free = np.concatenate([np.ones(m, dtype=bool), relative > 1.01 / LARGEST_SD])
        # One level's deviation is the unit that all others are relative to.
        free[m + int(np.argmax(optimum.sds == 1.0))] = False
        pieces = optimum.pieces
        slopes = -np.concatenate([
            2 * np.sqrt(optimum.ratios)[:, None, None] * pieces.form_ratios,
            2 * (optimum.sds**2)[:, None, None] * pieces.form_levels])
        self.slopes = slopes[free][:, :p, :p]
        hessian = full_hessian(fitted.likelihood, optimum, free, reml=fitted.reml)
        self.parameter_covariance = 2 * pseudo_inverse(hessian)


class LevelAsymptotic(Asymptotic):
    """Inference with infinite df and the covariance of the model with a variance per level."""

    def __init__(self, fitted: UnequalFit) -> None:
        inverse = np.linalg.inv(fitted.optimum.information)
        unit = fitted.optimum.variance * fitted.data.scale**2
        self._covariance = np.asarray(unit * inverse, dtype=np.float64)
