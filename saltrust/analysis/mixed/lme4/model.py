"""A model fitted by lme4 as it is written: linear, or binomial with a logit link."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from saltrust.analysis.mixed.cells import Cells, Factors, chosen_factors, describe_cells
from saltrust.analysis.mixed.engines import r
from saltrust.analysis.mixed.lme4.data import VerbatimData, check_binomial, verbatim_data
from saltrust.analysis.mixed.lme4.formula import VerbatimFormula
from saltrust.analysis.mixed.lme4.script import FIT, MEANS
from saltrust.analysis.mixed.lme4.tables import as_floats, verbatim_tables
from saltrust.analysis.mixed.options import ADJUSTMENTS, Contrasts, Fitting
from saltrust.analysis.mixed.request import Family, families_of, no_interaction, wanted_cells
from saltrust.analysis.result import Result
from saltrust.errors import DataError, UsageError

_DDF = {"satterthwaite": "Satterthwaite", "kenward-roger": "Kenward-Roger",
        "asymptotic": "Satterthwaite"}
_ADJUST = {"dunnett": "dunnettx", "single-step": "mvt"}
#: Of the errors of means: contrasts that the formula makes zero have rounding only.
_NO_ERROR = 1e-8
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
    cells: Cells | None
    families: tuple[Family, ...]
    contrasts: Contrasts
    fitting: Fitting
    confidence_level: float

    @property
    def binomial(self) -> bool:
        """Whether the response is 0 and 1, and effects are log-odds."""
        return self.fitting.family == "binomial"


def fit_verbatim(table: pd.DataFrame, formula: VerbatimFormula, *, over: Factors | None,
                 contrasts: Contrasts, fitting: Fitting, confidence_level: float, where: str,
                 ) -> tuple[Result, list[str]]:
    """Fit a model by lme4, and compare the means of a factor by emmeans.

    Parameters
    ----------
    table : pandas.DataFrame
    formula : VerbatimFormula
    over : str or sequence of str, optional
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
    beyond = [*fitting.inspection.asked,
              *(["--variance level"] if fitting.variance == "level" else [])]
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
    compared, within = chosen_factors(over, contrasts.by, formula.fixed, formula.text)
    data = verbatim_data(table, formula, categorical=(*compared, *within),
                         weights=fitting.weights, where=where)
    if fitting.family == "binomial":
        check_binomial(data, formula.responses, where)
    frame = data.frame(formula)
    cells = wanted_cells(frame, compared, within, contrasts, formula)
    request = VerbatimRequest(formula, data, cells, families_of(frame, cells, contrasts),
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
    if contrasts.interaction and cells is not None and all(
            np.nanmax(as_floats(made["se"]), initial=0.0)
            < _NO_ERROR * np.nanmax(answer["means"]["se"], initial=0.0)
            for made in answer["contrasts"]):
        raise no_interaction(formula, cells)
    notes = [_sentence(text) for text in answer["notes"]]
    if cells is None and len(frame.factors) > 1:
        notes.append("no means are compared, since several factors could be: say --over "
                     + " or --over ".join(frame.factors))
    if request.binomial:
        notes.append("estimates are log-odds, tested by z (glmer, Laplace); odds_ratio is their "
                     "exponential")
    made = verbatim_tables(request, answer)
    incomplete = data.rows_read - data.n
    meta = {
        "formula": formula.text, "engine": "pymer4", "versions": versions, **fitting.describe(),
        **describe_cells(cells),
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
    if request.cells is not None:
        groups = [_means(request, request.cells, codes, answer["model"], rows)
                  for codes in request.cells.groups]
        answer["means"] = {name: np.concatenate([as_floats(made.rx2(name)) for made in groups])
                           for name in ("estimate", "se", "df")}
        answer["contrasts"] = []
        for family in request.families:
            made = robjects.r(r.CONTRASTS)(
                groups[family.group].rx2("means"), family.control_place, bool(family.crossed),
                _ADJUST.get(family.adjustment, family.adjustment), request.confidence_level,
                request.contrasts.seed)
            answer["contrasts"].append({name: made.rx2(name) for name in made.names})
    return answer


def _means(request: VerbatimRequest, cells: Cells, group: tuple[int, ...], model: Any, rows: Any,
           ) -> Any:
    """The means within one level of each factor that stands by."""
    from rpy2 import robjects

    formula, fitting = request.formula, request.fitting
    within = robjects.ListVector({formula.renamed(name): robjects.StrVector([f"l{code}"])
                                  for name, code in zip(cells.by, group, strict=True)})
    return robjects.r(MEANS)(
        model, robjects.StrVector([formula.renamed(name) for name in cells.over]), within, rows,
        "asymptotic" if request.binomial else fitting.df, request.data.n + 1,
        request.contrasts.against_value)
