"""The tables of a mixed model: the same whatever the engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from saltrust.analysis.inference.estimate import estimates_table
from saltrust.analysis.mixed.answer import Answer, Estimates
from saltrust.analysis.mixed.cells import Cells
from saltrust.analysis.mixed.explained_variance import effect_sizes, explained_variance
from saltrust.analysis.mixed.frame import FloatArray
from saltrust.analysis.mixed.likelihood.covariances import elements
from saltrust.analysis.mixed.request import Family, Request

_NAN = float("nan")
#: What says of which contrast a row is.
CONTRAST_COLUMNS = ["contrast", "level_a", "level_b"]


def tables(request: Request, answer: Answer) -> dict[str, pd.DataFrame]:
    """All tables of an answer, the headline first.

    Returns
    -------
    dict of str to pandas.DataFrame
        ``contrasts`` (where there are any) and ``means``, ``fixed_effects``, ``anova``,
        ``random_effects``, ``fit`` and ``explained_variance``; ``effect_sizes``
        where there are contrasts, ``random_correlations`` where slopes have any;
        ``residual_sd`` where every level has a variance.
    """
    made = {
        "contrasts": _contrasts(request, answer),
        "means": _means(request, answer),
        "fixed_effects": _fixed_effects(request, answer),
        "anova": _terms(answer),
        "random_effects": _random_effects(request, answer),
        "fit": _fit(request, answer),
        "explained_variance": explained_variance(request.frame, request.formula, answer),
    }
    if len(made["contrasts"]):
        made["effect_sizes"] = effect_sizes(request, answer)
    if any(len(group.effects) > 1 for group in request.frame.groups):
        made["random_correlations"] = _correlations(request, answer)
    if answer.levels is not None:
        names = request.frame.factors[answer.levels.factor].levels
        made["residual_sd"] = pd.DataFrame({"level": list(names), "sd": answer.levels.sds})
    # The first table is what people are shown: not an empty one.
    if not len(made["contrasts"]):
        made = {name: made[name] for name in ("fixed_effects", *made)}
    return made


def _rows(estimates: Estimates, terms: Sequence[str], identify: Sequence[dict[str, Any]],
          n: Sequence[int], *, adjustment: str = "none", family: str = "",
          missing: str = "") -> list[dict[str, Any]]:
    return [{
        **named, "term": term, "estimate": estimates.estimate[i],
        "std_error": estimates.std_error[i], "conf_low": estimates.conf_low[i],
        "conf_high": estimates.conf_high[i], "statistic": estimates.statistic[i],
        "df": estimates.df[i], "p_value": estimates.p_value[i],
        "p_adjusted": estimates.p_adjusted[i], "adjustment": adjustment, "family": family,
        "n": int(n[i]), "note": _note(estimates, i, missing),
    } for i, (term, named) in enumerate(zip(terms, identify, strict=True))]


def _note(estimates: Estimates, i: int, missing: str) -> str:
    if np.isnan(estimates.estimate[i]):
        return missing
    return _NO_VARIANCE if np.isnan(estimates.std_error[i]) else ""


def _fixed_effects(request: Request, answer: Answer) -> pd.DataFrame:
    n = request.frame.n
    rows = _rows(answer.fixed, answer.names, [{}] * len(answer.names), [n] * len(answer.names))
    unknown = Estimates(*(np.full(len(answer.dropped), _NAN) for _ in range(8)))
    rows += _rows(unknown, answer.dropped, [{}] * len(answer.dropped), [n] * len(answer.dropped),
                  missing="not estimable: a combination of other columns")
    return estimates_table(rows, [])


def _means(request: Request, answer: Answer) -> pd.DataFrame:
    identify, cells = ["factor", "level"], request.cells
    if cells is None or answer.means is None:
        return estimates_table([], identify)
    named = cells.identify()
    rows = _rows(answer.means, [name["level"] for name in named], named, cells.counts.tolist(),
                 missing=_NO_ROWS)
    return estimates_table(rows, [*identify, *cells.group_columns])


_NO_VARIANCE = "the adjusted variance is not positive: too few groups for Kenward-Roger"
_NO_ROWS = "not estimable: some combinations of levels have no rows"


def _contrasts(request: Request, answer: Answer) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    if request.cells is None:
        return estimates_table(rows, CONTRAST_COLUMNS)
    for family, estimates in zip(request.families, answer.contrasts, strict=True):
        named = name_contrasts(request.cells, family)
        rows += _rows(estimates, [name["contrast"] for name in named], named,
                      family.count(request.cells.counts).tolist(), adjustment=family.adjustment,
                      family=family.name, missing=_NO_ROWS)
    return estimates_table(rows, [*CONTRAST_COLUMNS, *request.cells.group_columns])


def name_contrasts(cells: Cells, family: Family) -> list[dict[str, str]]:
    """Columns that say of which contrast a row is."""
    within = cells.named_group(family.group)
    return [{"contrast": f"{a} - {b}", "level_a": a, "level_b": b, **within}
            for a, b in family.names]


def _terms(answer: Answer) -> pd.DataFrame:
    columns = ["term", "statistic", "df_numerator", "df_denominator", "p_value", "note"]
    return pd.DataFrame([[test.term, test.statistic, test.df_numerator, test.df_denominator,
                          test.p_value, test.note] for test in answer.terms], columns=columns)


def _random_effects(request: Request, answer: Answer) -> pd.DataFrame:
    """A row per effect; of slopes, the correlation with the first effect of their term."""
    rows: list[list[Any]] = []
    for group, matrix in zip(request.frame.groups, answer.covariances, strict=True):
        correlations = _correlation(matrix)
        rows += [[group.name, matrix[place, place], group.size, effect,
                  correlations[place, 0] if place else _NAN]
                 for place, effect in enumerate(group.effects)]
    rows.append(["Residual", answer.residual_variance, request.frame.n, "", _NAN])
    made = pd.DataFrame(rows, columns=["group", "variance", "n_groups", "effect", "correlation"])
    made.insert(2, "sd", np.sqrt(made["variance"]))
    return made


def _correlations(request: Request, answer: Answer) -> pd.DataFrame:
    """Of every two effects of one term."""
    rows = [[group.name, group.effects[a], group.effects[b], matrix[a, b],
             _correlation(matrix)[a, b]]
            for group, matrix in zip(request.frame.groups, answer.covariances, strict=True)
            for b in range(len(matrix)) for a in range(b)]
    return pd.DataFrame(rows, columns=["group", "effect_a", "effect_b", "covariance",
                                       "correlation"])


def _correlation(matrix: FloatArray) -> FloatArray:
    sd = np.sqrt(np.diag(matrix))
    with np.errstate(invalid="ignore", divide="ignore"):
        result: FloatArray = (matrix / np.outer(sd, sd)).clip(-1.0, 1.0)
    return result


def _fit(request: Request, answer: Answer) -> pd.DataFrame:
    parameters = (len(answer.names) + len(elements(request.frame.groups))
                  + (1 if answer.levels is None else len(answer.levels.sds)))
    return pd.DataFrame([{
        "n": request.frame.n, "log_likelihood": -answer.deviance / 2, "reml": request.fitting.reml,
        "singular": answer.singular, "engine": answer.engine, "criterion": answer.deviance,
        "aic": answer.deviance + 2 * parameters,
        "bic": answer.deviance + np.log(request.frame.n) * parameters,
        "parameters": parameters, "fixed_effects": len(answer.names),
    }])
