"""Scores from a CSV file or a table, and the rows of them that are wanted."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from saltrust.analysis.csv_files import read_csv, read_header
from saltrust.analysis.mixed.formula import NamesColumns
from saltrust.analysis.mixed.frame import require_columns
from saltrust.errors import DataError, UsageError, nearest

#: Cells of a CSV file that stand for a missing value.
MISSING = ("", "NA", "NaN", "nan")


def read_scores(path: str | Path, formula: NamesColumns,
                only: Mapping[str, Collection[str]] | None = None,
                weights: str | None = None) -> pd.DataFrame:
    """Read the columns that a formula needs from a CSV file, as text.

    Parameters
    ----------
    path : str or pathlib.Path
        UTF-8, comma-separated, with a header; compressed if the suffix says so.
    formula : NamesColumns
    only : mapping of str to collection of str, optional
        Only rows in which each of these columns holds one of its values; the empty text stands
        for an empty cell.
    weights : str, optional
        A column beside those of the formula.

    Returns
    -------
    pandas.DataFrame
        Text columns; empty cells and NA are missing.

    Raises
    ------
    DataError
        If the file is missing, empty or no CSV, or no row is left.
    UsageError
        If the formula or ``only`` names a column that the file lacks.
    """
    path, only = Path(path), only or {}
    header = read_header(path)
    require_columns(formula, header, str(path))
    require_choosing(only, header, str(path))
    wanted = list(dict.fromkeys([*formula.columns, *([weights] if weights else [])]))
    if weights and weights not in header:
        raise UsageError(f"--weights {weights!r} is no column of {path}; "
                         f"{nearest(weights, header)}")
    for name in (*wanted, *only):
        if header.count(name) > 1:
            raise DataError(f"{path} has the column {name!r} more than once; rename one")
    # Numbers stand for names, which may repeat.  All columns are read, so that a row with too
    # many cells is seen.
    numbers = [header.index(name) for name in wanted]
    choosing = {header.index(name): values for name, values in only.items()}
    table = read_csv(path, header, dtype=dict.fromkeys([*numbers, *choosing], "object"),
                     missing=MISSING)
    table = choose_rows(table, choosing, str(path), dict(enumerate(header)))
    return table[numbers].set_axis(wanted, axis="columns")


def require_choosing(only: Collection[str], columns: Collection[str], where: str) -> None:
    """Refuse to choose rows by a column that the table lacks."""
    for name in only:
        if name not in columns:
            raise UsageError(f"{where} has no column {name!r} to choose rows by; "
                             f"{nearest(name, columns)}")


def choose_rows(table: pd.DataFrame, only: Mapping[Any, Collection[Any]], where: str,
                names: Mapping[Hashable, str] | None = None) -> pd.DataFrame:
    """Rows in which each column holds one of its values, numbered anew.

    Parameters
    ----------
    table : pandas.DataFrame
    only : mapping of column to collection
        The empty text stands for a missing value.
    where : str
        Name of the table in errors.
    names : mapping of column to str, optional
        What errors call the columns, where not by their own names.

    Raises
    ------
    DataError
        If no row is left.

    Examples
    --------
    >>> table = pd.DataFrame({"model": ["net", None, "other"], "auprc": [0.1, 0.2, 0.3]})
    >>> choose_rows(table, {"model": ["net", ""]}, "the table")["auprc"].tolist()
    [0.1, 0.2]
    """
    for column, values in only.items():
        known = table[column].astype(object)
        known = known.where(known.notna(), "")
        chosen = known.isin(list(values))
        if not chosen.any():
            name = (names or {}).get(column, column)
            first = min(map(str, values), default="")
            raise DataError(f"no row of {where} has {name} "
                            f"{' or '.join(sorted(map(repr, values)))}; "
                            f"{nearest(first, map(str, known.unique()))}")
        table = table[chosen]
    return table.reset_index(drop=True)
