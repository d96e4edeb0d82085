"""CSV that reads as it was written, and that a spreadsheet shows and does not compute."""

from __future__ import annotations

import csv
import re
from collections.abc import Hashable
from typing import Any

import pandas as pd

#: How a cell begins that Excel, LibreOffice or Google Sheets take for a formula, also after
#: quotes and blanks, and in the full width of East Asian scripts.
_FORMULA = re.compile("[\"' \\t\\r\\n]*[=+\\-@\uff1d\uff0b\uff0d\uff20]|[\\t\\r]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf|nan")


def to_csv(frame: pd.DataFrame, *, index: bool = False) -> str:
    """A table as CSV with all digits, lines ending in a newline.

    Parameters
    ----------
    frame : pandas.DataFrame
    index : bool
        Whether the index becomes columns.
    """
    text = frame.to_csv(index=index, lineterminator="\n")
    if "\r" in text:
        # Python's writer leaves it bare, and every reader takes it for the end of a line.
        text = frame.to_csv(index=index, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    return text


def quote_formulas(frame: pd.DataFrame) -> pd.DataFrame:
    """Put an apostrophe before every text that a spreadsheet would take for a formula.

    Parameters
    ----------
    frame : pandas.DataFrame

    Returns
    -------
    pandas.DataFrame
        Of the same shape; cells, names of columns and labels of a named index.  Numbers stay
        numbers, and so do texts that are numbers, such as ``-1.5``.

    Examples
    --------
    >>> frame = pd.DataFrame({"finding": ["=1+1", "-1.5", "Edema"], "estimate": [-0.5, 1, 2]})
    >>> quote_formulas(frame)["finding"].tolist()
    ["'=1+1", '-1.5', 'Edema']
    >>> quote_formulas(frame)["estimate"].tolist()
    [-0.5, 1.0, 2.0]
    """
    if any(name is not None for name in frame.index.names):
        levels = [quote_formulas(frame.index.get_level_values(place).to_frame(index=False))
                  for place in range(frame.index.nlevels)]
        keys = pd.concat(levels, axis="columns")
        frame = frame.set_axis(pd.MultiIndex.from_frame(keys) if len(levels) > 1 else
                               pd.Index(keys.iloc[:, 0]), axis="index")
    columns = [frame.iloc[:, place] for place in range(frame.shape[1])]
    quoted = [column if pd.api.types.is_numeric_dtype(column.dtype) else
              column.astype(object).map(_quoted) for column in columns]
    names = [_quoted(name) for name in frame.columns]
    if not quoted:
        return frame
    return pd.concat(quoted, axis="columns").set_axis(names, axis="columns")


def _quoted(value: Any | Hashable) -> Any:
    if isinstance(value, str) and _FORMULA.match(value) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return value
