"""One estimate with its interval and test, and tables of them in the uniform columns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit

from saltrust.analysis.result import ESTIMATE_COLUMNS
from saltrust.errors import UsageError
from saltrust.reading import shown

#: Of a number that somebody types; products of larger ones overflow.
MOST_NUMBER = 1e100

_NAN = float("nan")

#: Thresholds of the stars, as protocol S prints them.
STARS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))
STARS_LEGEND = "* adjusted p < 0.05, ** adjusted p < 0.01, *** adjusted p < 0.001"


@dataclass(frozen=True)
class Estimate:
    """One number of interest with what is known of its precision.

    Attributes
    ----------
    estimate, std_error : float
        On the same scale; NaN where they cannot be had.
    conf_low, conf_high : float
        Bounds of the confidence interval.
    statistic, df, p_value : float
        Of the two-sided test that the quantity is zero.
    n : int
        Rows the estimate is made from.
    note : str
        One phrase where something is missing or special, else empty.
    r_squared : float
        Share of the variance explained, for regressions.
    """

    estimate: float = _NAN
    std_error: float = _NAN
    conf_low: float = _NAN
    conf_high: float = _NAN
    statistic: float = _NAN
    df: float = _NAN
    p_value: float = _NAN
    n: int = 0
    note: str = ""
    r_squared: float = _NAN

    def row(self, term: str) -> dict[str, Any]:
        """The uniform columns of this estimate, not yet adjusted for multiplicity."""
        return {
            "term": term, "estimate": self.estimate, "std_error": self.std_error,
            "conf_low": self.conf_low, "conf_high": self.conf_high, "statistic": self.statistic,
            "df": self.df, "p_value": self.p_value, "p_adjusted": _NAN, "adjustment": "none",
            "family": "", "n": self.n, "note": self.note,
        }


def t_estimate(value: float, std_error: float, df: float, n: int, *, null: float = 0.0,
               confidence_level: float = 0.95, note: str = "") -> Estimate:
    """An estimate with its two-sided t test and interval.

    Parameters
    ----------
    value, std_error : float
        The error above 0.
    df : float
        Degrees of freedom, above 0; infinite for the normal distribution.
    n : int
        Rows it is made from.
    null : float
        Tested value.
    confidence_level : float
        Between 0 and 1.
    note : str

    Examples
    --------
    >>> made = t_estimate(2.0, 0.5, 10, 12)
    >>> round(made.conf_low, 3), round(made.p_value, 4)
    (0.886, 0.0025)
    """
    half = float(stdtrit(df, (1 + confidence_level) / 2)) * std_error
    statistic = (value - null) / std_error
    return Estimate(value, std_error, value - half, value + half, statistic, df,
                    float(2 * stdtr(df, -abs(statistic))), n, note)


def check_confidence_level(confidence_level: float) -> None:
    """Refuse a confidence level outside (0, 1) with a UsageError."""
    if not isinstance(confidence_level, float | int) or not 0 < confidence_level < 1:
        raise UsageError(f"confidence_level = {shown(confidence_level)} must lie between 0 and "
                         "1, such as 0.95")


def check_number(value: float, name: str) -> None:
    """Refuse what is no finite number with a UsageError."""
    if (not isinstance(value, float | int | np.number) or isinstance(value, bool)
            or not abs(value) <= MOST_NUMBER):
        raise UsageError(f"{name} = {shown(value)} must be a finite number, such as 0.5")


def estimates_table(rows: Iterable[Mapping[str, Any]], identify: Sequence[str],
                    extra: Sequence[str] = ()) -> pd.DataFrame:
    """Rows as a table: the columns that identify them, the uniform ones, further ones.

    Parameters
    ----------
    rows : iterable of mapping
        Each with all the columns.
    identify, extra : sequence of str
        Names of the columns before and after the uniform ones.

    Returns
    -------
    pandas.DataFrame
        Numbers as float64, ``n`` as int64, the rest as text.
    """
    columns = [*identify, *ESTIMATE_COLUMNS, *extra]
    table = pd.DataFrame(list(rows), columns=columns)
    text = {*identify, "term", "adjustment", "family", "note", "errors"}
    kinds = {name: "float64" for name in columns if name not in text}
    return table.astype({**kinds, "n": "int64"})


def stars(p_value: float) -> str:
    """Significance stars; none for a missing p-value.

    Examples
    --------
    >>> [stars(p) for p in (0.0009, 0.001, 0.049, 0.05, float("nan"))]
    ['***', '**', '*', '', '']
    """
    return next((mark for threshold, mark in STARS if p_value < threshold), "")


def cell(row: Any, decimals: int = 3) -> str:
    """One estimate as text, ``estimate (low, high) stars``, stars by the adjusted p-value.

    Parameters
    ----------
    row : object
        With the uniform columns as attributes, such as from ``DataFrame.itertuples``.
    decimals : int
        Digits after the point.

    Returns
    -------
    str
        ``n/a`` and the note where there is no estimate; no bounds where there is no interval.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> cell(SimpleNamespace(estimate=0.5561, conf_low=0.5101, conf_high=0.6012,
    ...                      p_adjusted=1e-9, note=""))
    '0.556 (0.510, 0.601) ***'
    """
    if math.isnan(row.estimate):
        return f"n/a ({row.note})" if row.note else "n/a"

    def number(value: float) -> str:
        # Adding 0 turns a rounded -0.000 into 0.000.
        return f"{round(value, decimals) + 0.0:.{decimals}f}"

    shown = number(row.estimate)
    if not math.isnan(row.conf_low):
        shown += f" ({number(row.conf_low)}, {number(row.conf_high)})"
    return f"{shown} {stars(row.p_adjusted)}".rstrip()
