"""The tables of a mixed model: the same whatever the engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from saltrust.analysis.inference.estimate import estimates_table
from saltrust.analysis.mixed.answer import Answer, Estimates
from saltrust.analysis.mixed.cells import Cells
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
        ``random_effects`` and ``fit``.
    """
    made = {
        "contrasts": _contrasts(request, answer),
        "means": _means(request, answer),
        "fixed_effects": _fixed_effects(request, answer),
        "anova": _terms(answer),
        "random_effects": _random_effects(request, answer),
        "fit": _fit(request, answer),
    }
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
    variances = [*answer.variances.tolist(), answer.residual_variance]
    return pd.DataFrame({
        "group": [*(group.name for group in request.frame.groups), "Residual"],
        "variance": variances,
        "sd": np.sqrt(variances),
        "n_groups": [*(group.size for group in request.frame.groups), request.frame.n],
    })


def _fit(request: Request, answer: Answer) -> pd.DataFrame:
    parameters = len(answer.names) + len(answer.variances) + 1
    return pd.DataFrame([{
        "n": request.frame.n, "log_likelihood": -answer.deviance / 2, "reml": request.fitting.reml,
        "singular": answer.singular, "engine": answer.engine, "criterion": answer.deviance,
        "aic": answer.deviance + 2 * parameters,
        "bic": answer.deviance + np.log(request.frame.n) * parameters,
        "parameters": parameters, "fixed_effects": len(answer.names),
    }])
