"""A model fitted by lme4 as it is written: linear, or binomial with a logit link."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from saltrust.analysis.mixed.engines import r
from saltrust.analysis.mixed.lme4.data import VerbatimData, check_binomial, verbatim_data
from saltrust.analysis.mixed.lme4.formula import VerbatimFormula
from saltrust.analysis.mixed.lme4.script import DIFFERENCES, FIT, MEANS
from saltrust.analysis.mixed.lme4.tables import verbatim_tables
from saltrust.analysis.mixed.options import ADJUSTMENTS, Contrasts, Fitting
from saltrust.analysis.mixed.request import Family, families_of
from saltrust.analysis.result import Result
from saltrust.errors import DataError, UsageError, nearest

_DDF = {"satterthwaite": "Satterthwaite", "kenward-roger": "Kenward-Roger",
        "asymptotic": "Satterthwaite"}
_ADJUST = {"dunnett": "dunnettx", "single-step": "mvt"}
#: What R says, and the way out.
_WAYS_OUT = (
    ("levels of each grouping factor must be <", "with one row per group its variance cannot be "
     "told from the residual's: take a coarser group"),
    ("<= number of random effects", "it has as many random effects as rows: leave out slopes, or "
     "uncorrelate them by ||"),
    ("Downdated VtV", "its effects take values too far apart: scale(...) them"),
    ("Response is constant", "there is nothing to explain"),
    ("not meaningful for factors", "a function of numbers is given text: use another column"),
    ("non-numeric argument", "a function of numbers is given text: use another column"),
    ("missing values are not allowed in 'poly'", "leave out rows with missing values"),
    ("'degree' must be", "poly() takes fewer degrees than the column has values"),
    ("NA/NaN/Inf", "a function makes numbers that are not finite, such as log(0): use log1p() or "
     "leave out these rows"),
)


@dataclass(frozen=True)
class VerbatimRequest:
    """What is asked of lme4."""

    formula: VerbatimFormula
    data: VerbatimData
    over: str | None
    families: tuple[Family, ...]
    contrasts: Contrasts
    fitting: Fitting
    confidence_level: float

    @property
    def binomial(self) -> bool:
        """Whether the response is 0 and 1, and effects are log-odds."""
        return self.fitting.family == "binomial"


def fit_verbatim(table: pd.DataFrame, formula: VerbatimFormula, *, over: str | None,
                 contrasts: Contrasts, fitting: Fitting, confidence_level: float, where: str,
                 ) -> tuple[Result, list[str]]:
    """Fit a model by lme4, and compare the means of a factor by emmeans.

    Parameters
    ----------
    table : pandas.DataFrame
    formula : VerbatimFormula
    over : str, optional
    contrasts : Contrasts
    fitting : Fitting
    confidence_level : float
    where : str
        What errors call the table.

    Returns
    -------
    result : Result
        The tables of :func:`saltrust.mixed_model`; with ``odds_ratio`` where effects are
        log-odds.
    warnings : list of str

    Raises
    ------
    DataError
        If lme4 cannot fit the model to the data.
    UsageError
        If R or one of its packages is missing, or an option does not fit the formula.
    """
    beyond = [option for option, asked in (
        ("--random-tests", fitting.random_tests), ("--profile", fitting.profile),
        ("--influence", fitting.influence is not None),
        ("--variance level", fitting.variance == "level")) if asked]
    if beyond:
        raise UsageError(f"the built-in engine alone makes {' and '.join(beyond)}, and does not "
                         "fit this model; leave them out, or name a formula that it fits")
    reason = r.missing_reason()
    if fitting.engine == "builtin" or reason:
        what = "--family binomial" if fitting.family == "binomial" else "this formula" \
            if fitting.weights is None else "--weights"
        raise UsageError(f"{what} needs R with lme4, lmerTest and emmeans ("
                         + (reason or "leave out --engine builtin") + "); without R, `saltrust "
                         "analyze regressions --fit gee` compares hits, and the built-in engine "
                         "fits linear models")
    if over is not None and over not in formula.fixed:
        raise UsageError(f"{over!r} is no fixed effect of {formula.text!r}; "
                         + (nearest(over, formula.fixed) if formula.fixed else
                            "it has an intercept only"))
    data = verbatim_data(table, formula, over=over, weights=fitting.weights, where=where)
    if fitting.family == "binomial":
        check_binomial(data, formula.responses, where)
    frame = data.frame(formula)
    factor = over or (next(iter(frame.factors)) if len(frame.factors) == 1 else None)
    if factor is None and contrasts.wanted:
        raise UsageError(f"{formula.text!r} does not say which factor's levels to compare: say "
                         + (" or ".join(f"--over {name}" for name in frame.factors) or "--over"))
    request = VerbatimRequest(formula, data, factor, families_of(frame, factor, contrasts),
                              contrasts, fitting, confidence_level)
    with r.quiet():
        try:
            answer = _ask(request)
        except Exception as error:  # noqa: BLE001 - R raises whatever it likes
            message = " ".join(str(error).split())
            way = next((way for sign, way in _WAYS_OUT if sign in message),
                       "change the formula, or leave out rows")
            raise DataError(f"lme4 could not fit {formula.text!r} to {where} ({message[:300]}); "
                            f"{way}") from None
        versions = r.versions()
    notes = [_sentence(text) for text in answer["notes"]]
    if factor is None and len(frame.factors) > 1:
        notes.append("no means are compared, since several factors could be: say --over "
                     + " or --over ".join(frame.factors))
    if request.binomial:
        notes.append("estimates are log-odds, tested by z (glmer, Laplace); odds_ratio is their "
                     "exponential")
    made = verbatim_tables(request, answer)
    incomplete = data.rows_read - data.n
    meta = {
        "formula": formula.text, "engine": "pymer4", "versions": versions, **fitting.describe(),
        "over": factor, "levels": list(frame.factors[factor].levels) if factor else [],
        "adjustments": {family.name: ADJUSTMENTS[family.adjustment]
                        for family in request.families},
        **contrasts.describe(), "confidence_level": confidence_level, "rows": data.rows_read,
        "n": data.n, "excluded": {"incomplete rows": incomplete} if incomplete else {},
        "missing": data.missing,
        "groups": dict(zip(made["random_effects"]["group"],
                           made["random_effects"]["n_groups"].tolist(), strict=True)),
        "notes": notes}
    left_out = [f"{incomplete} of {data.rows_read} rows are incomplete and left out"] \
        if incomplete else []
    return Result(meta, made), [*left_out, *notes]


def _sentence(text: str) -> str:
    message = " ".join(text.split())
    if "singular" in message:
        return ("singular fit: a variance of the random effects is estimated as zero, or a "
                "correlation as one; leave out a random effect to be rid of it")
    if "converge" in message:
        return (f"lme4 did not converge ({message}): scale(...) covariates, or leave out random "
                "effects")
    return f"lme4 warns: {message}"


def _ask(request: VerbatimRequest) -> dict[str, Any]:
    from rpy2 import robjects

    formula, data, fitting = request.formula, request.data, request.fitting
    columns: dict[str, Any] = {}
    for name in formula.columns:
        if name in data.factors:
            factor = data.factors[name]
            columns[formula.renamed(name)] = robjects.FactorVector(
                robjects.StrVector([f"l{code}" for code in factor.codes]),
                levels=robjects.StrVector([f"l{k}" for k in range(len(factor.levels))]))
        else:
            columns[formula.renamed(name)] = robjects.FloatVector(data.numbers[name])
    if data.weights is not None:
        columns["w"] = robjects.FloatVector(data.weights)
    rows = robjects.DataFrame(columns)
    fitted = robjects.r(FIT)(formula.r_text, rows, request.binomial, fitting.reml,
                             data.weights is not None, _DDF[fitting.df])
    answer = {name: fitted.rx2(name) for name in fitted.names}
    z = request.binomial or fitting.df == "asymptotic"
    answer["asymptotic"] = z
    if request.over is not None:
        means = robjects.r(MEANS)(
            answer["model"], formula.renamed(request.over), rows,
            "asymptotic" if z else fitting.df, data.n + 1, request.contrasts.against_value)
        answer["means"] = {name: means.rx2(name) for name in means.names}
        answer["contrasts"] = []
        for family in request.families:
            control = 0 if family.control is None else family.levels.index(family.control) + 1
            made = robjects.r(DIFFERENCES)(
                means.rx2("means"), control, _ADJUST.get(family.adjustment, family.adjustment),
                request.confidence_level, request.contrasts.seed)
            answer["contrasts"].append({name: made.rx2(name) for name in made.names})
    return answer
