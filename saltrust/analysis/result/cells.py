"""How the values of a result table read: rounded numbers, intervals, headings.

Everything here is for people.  Full precision is what JSON and CSV are for
(:mod:`saltrust.analysis.result.text`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from saltrust.printable import printable

#: Significant digits of a number that a person reads.
DIGITS = 3

#: What stands where a number is undefined.
UNDEFINED = "-"

_HEADINGS = {
    "std_error": "SE",
    "p_value": "p",
    "p_adjusted": "p adjusted",
    "iou": "IoU",
    "miou": "mIoU",
}


@dataclass(frozen=True)
class Cells:
    """A table as the texts a person reads.

    Attributes
    ----------
    columns : tuple of str
        Name of each column in the table it came from; of an interval, its lower bound's.
    headings : tuple of str
        What stands above each column.
    numeric : tuple of bool
        Whether a column is set flush right, as numbers are.
    rows : list of tuple of str
        One text per column.
    """

    columns: tuple[str, ...]
    headings: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: list[tuple[str, ...]]

    def select(self, positions: Sequence[int]) -> Cells:
        """The columns at ``positions``, in that order."""
        return Cells(
            tuple(self.columns[i] for i in positions),
            tuple(self.headings[i] for i in positions),
            tuple(self.numeric[i] for i in positions),
            [tuple(row[i] for i in positions) for row in self.rows],
        )


def significant(value: float, digits: int = DIGITS) -> str:
    """Round to ``digits`` significant digits, without losing digits before the point.

    Examples
    --------
    >>> [significant(x) for x in (0.14549, 1234.6, 0.99962, -0.00071234, 0)]
    ['0.145', '1235', '1.00', '-0.000712', '0']
    >>> significant(0.0000123)
    '1.23e-05'
    """
    if not math.isfinite(value):
        return "inf" if value > 0 else "-inf" if value < 0 else UNDEFINED
    if value == 0:
        return "0"
    rounded = abs(float(f"{value:.{digits - 1}e}"))
    if rounded >= 1e7 or rounded < 1e-4:
        return f"{value:.{digits - 1}e}"
    return f"{value:.{decimals(value, digits)}f}"


def decimals(value: float, digits: int = DIGITS) -> int:
    """Decimal places that show ``digits`` significant digits of ``value``.

    Examples
    --------
    >>> decimals(0.0712), decimals(12.3), decimals(0.9996)
    (4, 1, 2)
    """
    if value == 0 or not math.isfinite(value):
        return 0
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])
    return max(0, digits - 1 - exponent)


def p_value(value: float) -> str:
    """A p-value with three decimals, never printed as zero.

    Examples
    --------
    >>> p_value(0.0004), p_value(0.03149), p_value(1.0)
    ('< 0.001', '0.031', '1.000')
    """
    if math.isnan(value):
        return UNDEFINED
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def interval(low: float, high: float) -> str:
    """Both bounds with the same decimals, three significant digits in the larger one.

    Examples
    --------
    >>> interval(0.00192, 0.0543)
    '[0.0019, 0.0543]'
    >>> interval(-0.1111, 0.1162)
    '[-0.111, 0.116]'
    """
    if math.isnan(low) and math.isnan(high):
        return UNDEFINED
    largest = max((abs(x) for x in (low, high) if math.isfinite(x)), default=0.0)
    if largest and (largest < 1e-4 or largest >= 1e7):
        return f"[{significant(low)}, {significant(high)}]"
    # Shares keep three decimals even where a bound is 1.
    places = decimals(min(largest, 0.9)) if largest <= 1 else decimals(largest)
    return f"[{_bound(low, places)}, {_bound(high, places)}]"


def _bound(value: float, places: int) -> str:
    if not math.isfinite(value):
        return significant(value)
    text = f"{value:.{places}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def heading(column: str, level: float = 0.95) -> str:
    """What stands above a column.

    Examples
    --------
    >>> heading("area_ratio"), heading("p_value"), heading("conf_low")
    ('area ratio', 'p', '95% CI')
    >>> heading("iou_low", level=0.9)
    'IoU 90% CI'
    """
    stem = column.removesuffix("_low")
    if stem != column:
        percent = f"{100 * level:g}% CI"
        return percent if stem == "conf" else f"{heading(stem)} {percent}"
    return _HEADINGS.get(column, printable(column.replace("_", " ")))


def is_null(value: Any) -> bool:
    """Whether a scalar is None, NaN, NA or NaT."""
    return value is None or (pd.api.types.is_scalar(value) and bool(pd.isna(value)))


def lay_out(frame: pd.DataFrame, *, level: float = 0.95) -> Cells:
    """Turn a table into what a person reads.

    Columns without any value are left out, ``<name>_low`` and ``<name>_high`` become one
    interval, p-values and numbers are rounded, a named index becomes columns.

    Parameters
    ----------
    frame : pandas.DataFrame
        Any table of a result.
    level : float
        Confidence level, for the headings of intervals.
    """
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    names = [str(name) for name in frame.columns]
    values = {
        name: frame.iloc[:, position].tolist()
        for position, name in enumerate(names)
        if frame.empty or not all(is_null(v) or v == "" for v in frame.iloc[:, position].tolist())
    }
    columns: list[str] = []
    numeric: list[bool] = []
    texts: list[list[str]] = []
    for name, column in values.items():
        partner = name.removesuffix("_low") + "_high"
        if name.endswith("_high") and name.removesuffix("_high") + "_low" in values:
            continue
        if name.endswith("_low") and partner in values:
            pairs = zip(column, values[partner], strict=True)
            texts.append([interval(_float(low), _float(high)) for low, high in pairs])
            numeric.append(True)
        else:
            number = _is_numeric(column)
            texts.append(_texts(name, column, number))
            numeric.append(number)
        columns.append(name)
    rows = list(zip(*texts, strict=True)) if texts else []
    titles = tuple(heading(name, level) if f"{name.removesuffix('_low')}_high" in values
                   or not name.endswith("_low") else printable(name.replace("_", " "))
                   for name in columns)
    return Cells(tuple(columns), titles, tuple(numeric), rows)


def _float(value: Any) -> float:
    return math.nan if is_null(value) else float(value)


def _is_numeric(column: list[Any]) -> bool:
    present = [v for v in column if not is_null(v)]
    return bool(present) and all(
        hasattr(v, "__float__") and not isinstance(v, bool | str) for v in present
    )


def _texts(name: str, column: list[Any], number: bool) -> list[str]:
    if not number:
        return [_text(value) for value in column]
    numbers = [_float(value) for value in column]
    if name in {"p_value", "p_adjusted"}:
        return [p_value(value) for value in numbers]
    if all(math.isnan(v) or (math.isfinite(v) and v == int(v)) for v in numbers):
        return [UNDEFINED if math.isnan(v) else str(int(v)) for v in numbers]
    return [UNDEFINED if math.isnan(v) else significant(v) for v in numbers]


def _text(value: Any) -> str:
    if is_null(value):
        return ""
    if value is True or value is False:
        return "yes" if value else "no"
    # Not str.split: it would take out the spaces that hold an interval together.
    return printable(re.sub(r"[ \t\r\n]+", " ", str(value)).strip(" "))
