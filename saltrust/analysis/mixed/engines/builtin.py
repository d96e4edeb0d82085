"""The built-in engine: NumPy and SciPy alone."""

from __future__ import annotations

import numpy as np

from saltrust.analysis.mixed.adjustment.simultaneous import adjust, critical_value, two_sided
from saltrust.analysis.mixed.answer import Answer, Estimates, LevelVariances
from saltrust.analysis.mixed.fitted import Fitted, Inference, MixedFit, fit
from saltrust.analysis.mixed.frame import FloatArray
from saltrust.analysis.mixed.inference.kenward_roger import KenwardRoger
from saltrust.analysis.mixed.inference.marginal_means import mean_rows
from saltrust.analysis.mixed.inference.satterthwaite import Asymptotic, Satterthwaite
from saltrust.analysis.mixed.inference.term_tests import term_tests
from saltrust.analysis.mixed.request import Family, Request
from saltrust.analysis.mixed.unequal.fitted import (
    LevelAsymptotic,
    LevelSatterthwaite,
    UnequalFit,
    fit_levels,
)
from saltrust.choices import DegreesOfFreedom
from saltrust.errors import UsageError


def answer(request: Request) -> Answer:
    """Fit the model and compare the means.

    Raises
    ------
    DataError
        If the data cannot give the fit.
    """
    fitted, inference, levels = _fit(request)
    code = fitted.design.coding
    columns = np.eye(len(code.names()))
    # Coefficients beside dropped columns are those of a model without these, as in lme4.
    fixed, _ = estimate(fitted, inference, columns[fitted.design.kept], request.confidence_level,
                        check=False)
    means, contrasts, notes = None, [], []
    if request.cells is not None:
        rows = mean_rows(code, request.frame, request.cells.factors)
        means, _ = estimate(fitted, inference, rows, request.confidence_level,
                            null=request.contrasts.against_value)
        for family in request.families:
            compared, note = estimate(fitted, inference, family.combine(rows),
                                      request.confidence_level, family=family,
                                      seed=request.contrasts.seed)
            contrasts.append(compared)
            notes += [note] if note else []
    return Answer(
        engine="builtin", names=fitted.design.names, dropped=fitted.design.dropped, fixed=fixed,
        covariances=fitted.covariances, residual_variance=fitted.residual_variance,
        deviance=fitted.deviance, singular=fitted.singular,
        terms=term_tests(fitted, inference), means=means, contrasts=tuple(contrasts),
        notes=notes, levels=levels)


def _fit(request: Request) -> tuple[MixedFit | UnequalFit, Inference, LevelVariances | None]:
    """The fit of equal variances, or of one for each level of the factor that is compared."""
    fitting = request.fitting
    if fitting.variance == "equal":
        fitted = fit(request.frame, request.formula, reml=fitting.reml)
        return fitted, inference_of(fitted, fitting.df), None
    if request.over is None:
        raise UsageError(f"--variance level gives every level of one factor a variance of its "
                         f"own, and {request.formula.text!r} does not say of which: name it by "
                         "--over")
    if any(group.columns is not None for group in request.frame.groups):
        raise UsageError("--variance level is for random intercepts; leave out the random slopes "
                         f"of {request.formula.text!r}, or the variances")
    unequal = fit_levels(request.frame, request.formula, request.over, reml=fitting.reml)
    inference = (LevelAsymptotic if fitting.df == "asymptotic" else LevelSatterthwaite)(unequal)
    return unequal, inference, LevelVariances(request.over, unequal.residual_sds,
                                              *unequal.likelihood_ratio())


def inference_of(fitted: MixedFit, method: DegreesOfFreedom) -> Inference:
    """Standard errors and degrees of freedom by the method named."""
    if method == "kenward-roger":
        return KenwardRoger(fitted)
    return Satterthwaite(fitted) if method == "satterthwaite" else Asymptotic(fitted)


def estimate(fitted: Fitted, inference: Inference, rows: FloatArray, confidence_level: float, *,
             null: float = 0.0, family: Family | None = None, seed: int = 0,
             check: bool = True) -> tuple[Estimates, str]:
    """Estimate combinations of the fixed effects.

    Parameters
    ----------
    fitted : Fitted
    inference : Inference
    rows : ndarray of float64, shape (m, columns)
        Coefficients of all columns of the model matrix.
    confidence_level : float
        Of the intervals: each by itself, or jointly within a family.
    null : float
        Value tested against.
    family : Family, optional
        Of contrasts, whose p-values and intervals are adjusted together.
    seed : int
        Of sampling, where the adjustment needs it.
    check : bool
        Whether combinations that the data do not determine become NaN.

    Returns
    -------
    Estimates
        NaN where a combination is not estimable.
    note : str
        Of the adjustment.
    """
    in_basis = fitted.in_basis(rows)
    # Kenward and Roger's covariance need not be positive definite where groups are few.
    values, vectors = np.linalg.eigh(inference.covariance)
    root = in_basis @ (vectors * np.sqrt(values.clip(min=0.0)))
    variances = np.einsum("ij,jk,ik->i", in_basis, inference.covariance, in_basis)
    effects = in_basis @ fitted.basis_coefficients
    errors = np.sqrt(np.where(variances > 0, variances, np.nan))
    df = inference.degrees(in_basis)
    if check:
        unknown = ~fitted.design.estimable(rows)
        for column in (effects, errors, df):
            column[unknown] = np.nan
    statistic = (effects - null) / errors
    p_value = two_sided(statistic, df)
    if family is None:
        adjusted, width, note = np.full(len(rows), np.nan), critical_value(confidence_level, df), ""
    else:
        adjusted, width, note = adjust(family, statistic, df, root, confidence_level, seed=seed)
    return Estimates(estimate=effects, std_error=errors, df=df, statistic=statistic,
                     p_value=p_value, p_adjusted=adjusted, conf_low=effects - width * errors,
                     conf_high=effects + width * errors), note
