"""The tables of a model that lme4 fitted as it was written."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.special import chdtrc, chdtri, fdtrc

from saltrust.analysis.inference.estimate import estimates_table
from saltrust.analysis.mixed.adjustment.simultaneous import critical_value, two_sided
from saltrust.analysis.mixed.frame import FloatArray
from saltrust.analysis.mixed.tables import CONTRAST_COLUMNS, name_contrasts

if TYPE_CHECKING:
    from saltrust.analysis.mixed.lme4.model import VerbatimRequest

_ODDS = ("odds_ratio", "odds_ratio_low", "odds_ratio_high")
_NO_ROWS = "not estimable: some combinations of levels have no rows"
_DROPPED = "not estimable: a combination of other columns"
#: R's adjusted p-values are differences from one; below, Bonferroni's bound is as good.
_SMALL_P = 1e-9


def verbatim_tables(request: VerbatimRequest, answer: dict[str, Any]) -> dict[str, pd.DataFrame]:
    """``contrasts`` (where there are any), ``means``, ``fixed_effects``, ``anova``,
    ``random_effects``, ``random_correlations`` (where slopes have any) and ``fit``.
    """
    made = {"contrasts": _contrasts(request, answer), "means": _means(request, answer),
            "fixed_effects": _fixed(request, answer), "anova": _terms(request, answer),
            "random_effects": _random(request, answer), "fit": _fit(request, answer)}
    if len(answer["pair_group"]):
        made["random_correlations"] = pd.DataFrame({
            "group": [_group_name(request, name) for name in answer["pair_group"]],
            "effect_a": [shown_name(request, name) for name in answer["effect_a"]],
            "effect_b": [shown_name(request, name) for name in answer["effect_b"]],
            "covariance": as_floats(answer["covariance"]),
            "correlation": as_floats(answer["correlation"])})
    if not len(made["contrasts"]):
        made = {name: made[name] for name in ("fixed_effects", *made)}
    return made


def shown_name(request: VerbatimRequest, name: str) -> str:
    """What R calls ``v0l2`` or ``log(v1)`` in the words of the formula."""
    formula, factors = request.formula, request.data.factors

    def original(match: re.Match[str]) -> str:
        column = formula.columns[int(match.group(1))]
        label = f"factor({column})" if column in formula.categorical else column
        level = match.group(2)
        return label if level is None else label + factors[column].levels[int(level)]
    # A factor may stand in factor(...), whose parenthesis R puts before the level.
    plain = re.sub(r"factor\((v\d+)\)", r"\1", name)
    return re.sub(r"\bv(\d+)(?:l(\d+))?(?![\w.])", original, plain)


def _group_name(request: VerbatimRequest, name: str) -> str:
    """Of several terms of one group, lme4 numbers those after the first."""
    return shown_name(request, re.sub(r"\.\d+$", "", name))


def _rows(request: VerbatimRequest, terms: list[str], identify: list[dict[str, Any]],
          values: dict[str, FloatArray], n: list[int], note: str, *, adjustment: str = "none",
          family: str = "") -> list[dict[str, Any]]:
    missing = np.isnan(values["estimate"])
    odds = {name: np.exp(values[column]) for name, column in
            zip(_ODDS, ("estimate", "low", "high"), strict=True)} if request.binomial else {}
    return [{
        **named, "term": term, "estimate": values["estimate"][i], "std_error": values["se"][i],
        "conf_low": values["low"][i], "conf_high": values["high"][i],
        "statistic": values["statistic"][i], "df": values["df"][i], "p_value": values["p"][i],
        "p_adjusted": values["adjusted"][i], "adjustment": adjustment, "family": family,
        "n": n[i], "note": note if missing[i] else "",
        **{name: column[i] for name, column in odds.items()}}
        for i, (term, named) in enumerate(zip(terms, identify, strict=True))]


def _tested(request: VerbatimRequest, values: dict[str, Any], asymptotic: bool, null: float = 0.0,
            ) -> dict[str, FloatArray]:
    """Estimates with raw p-values and intervals, as small as floating point has them."""
    estimate, error = as_floats(values["estimate"]), as_floats(values["se"])
    df = np.where(np.isnan(estimate), np.nan, np.inf) if asymptotic else as_floats(values["df"])
    statistic = (estimate - null) / error
    width = critical_value(request.confidence_level, df) * error
    return {"estimate": estimate, "se": error, "df": df, "statistic": statistic,
            "p": two_sided(statistic, df), "adjusted": np.full(len(df), np.nan),
            "low": estimate - width, "high": estimate + width}


def _fixed(request: VerbatimRequest, answer: dict[str, Any]) -> pd.DataFrame:
    kept = list(answer["names"])
    values = _tested(request, answer, answer["asymptotic"])
    order = [kept.index(name) if name in kept else -1 for name in answer["all_names"]]
    padded = {name: np.append(column, np.nan)[order] for name, column in values.items()}
    names = [shown_name(request, name) for name in answer["all_names"]]
    rows = _rows(request, names, [{}] * len(names), padded, [request.data.n] * len(names),
                 _DROPPED)
    return estimates_table(rows, [], _ODDS if request.binomial else ())


def _means(request: VerbatimRequest, answer: dict[str, Any]) -> pd.DataFrame:
    identify, extra = ["factor", "level"], _ODDS if request.binomial else ()
    cells = request.cells
    if cells is None:
        return estimates_table([], identify, extra)
    named = cells.identify()
    values = _tested(request, answer["means"], answer["asymptotic"],
                     request.contrasts.against_value)
    rows = _rows(request, [name["level"] for name in named], named, values, cells.counts.tolist(),
                 _NO_ROWS)
    table = estimates_table(rows, [*identify, *cells.group_columns], extra)
    if request.binomial:
        # Of a mean, these are odds and not their ratio: the probability says more.
        shares = {name.replace("odds_ratio", "probability"): table[name] / (1 + table[name])
                  for name in _ODDS}
        table = table.drop(columns=list(_ODDS)).assign(**shares)
    return table


def _contrasts(request: VerbatimRequest, answer: dict[str, Any]) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    cells, extra = request.cells, _ODDS if request.binomial else ()
    if cells is None:
        return estimates_table(rows, CONTRAST_COLUMNS, extra)
    for family, made in zip(request.families, answer["contrasts"], strict=True):
        values = _tested(request, made, answer["asymptotic"])
        adjusted = as_floats(made["adjusted"])
        bound = values["p"] if family.adjustment == "none" else np.minimum(
            family.size * values["p"], _SMALL_P)
        values |= {"low": as_floats(made["low"]), "high": as_floats(made["high"]),
                   "adjusted": np.where(adjusted < _SMALL_P, bound, adjusted)}
        named = name_contrasts(cells, family)
        rows += _rows(request, [name["contrast"] for name in named], named, values,
                      family.count(cells.counts).tolist(), _NO_ROWS,
                      adjustment=family.adjustment, family=family.name)
    return estimates_table(rows, [*CONTRAST_COLUMNS, *cells.group_columns], extra)


def _terms(request: VerbatimRequest, answer: dict[str, Any]) -> pd.DataFrame:
    rows = []
    for name, statistic, p_value, numerator, denominator in zip(
            answer["term"], as_floats(answer["statistic"]), as_floats(answer["term_p"]),
            as_floats(answer["numerator"]), as_floats(answer["denominator"]), strict=True):
        # joint_tests, which hits have, rounds the statistic, and not the p-value.
        value = (float(chdtri(numerator, p_value)) / numerator
                 if request.binomial and p_value > 0 else statistic)
        df = np.inf if answer["asymptotic"] else denominator
        p_small = (chdtrc(numerator, value * numerator) if np.isinf(df)
                   else fdtrc(numerator, df, value))
        rows.append([shown_name(request, name), value, numerator, df, p_small, ""])
    return pd.DataFrame(rows, columns=["term", "statistic", "df_numerator", "df_denominator",
                                       "p_value", "note"])


def _random(request: VerbatimRequest, answer: dict[str, Any]) -> pd.DataFrame:
    sizes = dict(zip(answer["size_names"], as_floats(answer["sizes"]).astype(int), strict=True))
    groups, variance = list(answer["group"]), as_floats(answer["variance"])
    effects = list(answer["effect"])
    first: dict[str, str] = {}
    for group, effect in zip(groups, effects, strict=True):
        first.setdefault(group, effect)
    correlations = {(group, b): value for group, a, b, value in zip(
        answer["pair_group"], answer["effect_a"], answer["effect_b"],
        as_floats(answer["correlation"]), strict=True) if a == first[group]}
    return pd.DataFrame({
        "group": [_group_name(request, name) for name in groups], "variance": variance,
        "sd": np.sqrt(variance),
        "n_groups": [sizes.get(name, sizes.get(re.sub(r"\.\d+$", "", name), request.data.n))
                     for name in groups],
        "effect": [shown_name(request, effect) for effect in effects],
        "correlation": [correlations.get(pair, np.nan)
                        for pair in zip(groups, effects, strict=True)]})


def _fit(request: VerbatimRequest, answer: dict[str, Any]) -> pd.DataFrame:
    likelihood = float(answer["log_likelihood"][0])
    parameters, n = int(answer["parameters"][0]), int(answer["n"][0])
    return pd.DataFrame([{
        "n": n, "log_likelihood": likelihood,
        "reml": request.fitting.reml and not request.binomial,
        "singular": bool(answer["singular"][0]), "engine": "pymer4", "criterion": -2 * likelihood,
        "aic": -2 * likelihood + 2 * parameters, "bic": -2 * likelihood + np.log(n) * parameters,
        "parameters": parameters, "fixed_effects": len(answer["names"])}])


def as_floats(values: Any) -> FloatArray:
    """A vector of R as an array."""
    made = np.asarray(list(values), dtype=np.float64)
    made[np.isnan(made)] = np.nan  # R's NA is a NaN that warns where it is computed with
    return made
