"""Tests of a mixed model as sentences in the style of the American Psychological Association."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from saltrust.analysis.result.cells import significant


def apa_sentences(tables: Mapping[str, pd.DataFrame], confidence_level: float) -> pd.DataFrame:
    """What a paper says of every term and contrast.

    Parameters
    ----------
    tables : mapping of str to pandas.DataFrame
        ``anova`` and ``contrasts`` of :func:`saltrust.analysis.mixed.model.mixed_model`.
    confidence_level : float
        Of the intervals of the contrasts.

    Returns
    -------
    pandas.DataFrame
        ``table, term, sentence``; a test that could not be made is left out.

    References
    ----------
    American Psychological Association (2020), Publication Manual, 7th edition, section 6.44:
    no zero before the point of what cannot pass 1, p with three decimals.
    """
    rows = [*_terms(tables["anova"])]
    if "contrasts" in tables:
        rows += _contrasts(tables["contrasts"], confidence_level)
    return pd.DataFrame(rows, columns=["table", "term", "sentence"])


def apa_p(value: float) -> str:
    """A p-value as the style wants it.

    Examples
    --------
    >>> apa_p(0.0314), apa_p(0.0004), apa_p(0.9997)
    ('p = .031', 'p < .001', 'p > .999')
    """
    if value < 0.001:
        return "p < .001"
    return "p > .999" if value >= 0.9995 else f"p = {f'{value:.3f}'.removeprefix('0')}"


def _terms(anova: pd.DataFrame) -> Iterator[list[str]]:
    for row in anova.to_dict("records"):
        if pd.isna(row["p_value"]):
            continue
        above, below = row["df_numerator"], row["df_denominator"]
        if math.isfinite(below):
            test = f"F({_degrees(above)}, {_degrees(below)}) = {row['statistic']:.2f}"
        else:
            test = f"Wald \u03c7\u00b2({_degrees(above)}) = {row['statistic'] * above:.2f}"
        yield ["anova", str(row["term"]),
               f"Effect of {row['term']}: {test}, {apa_p(row['p_value'])}."]


def _contrasts(contrasts: pd.DataFrame, level: float) -> Iterator[list[str]]:
    for row in contrasts.to_dict("records"):
        p = row["p_adjusted"] if pd.notna(row["p_adjusted"]) else row["p_value"]
        if pd.isna(p):
            continue
        test = f"t({_degrees(row['df'])})" if math.isfinite(row["df"]) else "z"
        adjustment = "" if row["adjustment"] == "none" else f" ({row['adjustment']})"
        yield ["contrasts", str(row["contrast"]),
               f"{row['contrast']}{_within(row)}: difference = {significant(row['estimate'])}, "
               f"{100 * level:g}% CI [{significant(row['conf_low'])}, "
               f"{significant(row['conf_high'])}], {test} = {row['statistic']:.2f}, "
               f"{apa_p(p)}{adjustment}."]


def _within(row: Mapping[Any, Any]) -> str:
    return f", {row['by']} {row['by_level']}" if "by" in row else ""


def _degrees(value: float) -> str:
    return f"{value:.0f}" if abs(value - round(value)) < 0.005 else f"{value:.2f}"
