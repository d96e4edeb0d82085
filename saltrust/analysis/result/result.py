"""What every analysis returns: tidy tables, and the facts needed to read them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from saltrust.errors import UsageError, nearest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Of the JSON; 1 had no number.
FORMAT = 2

#: Columns of every table of estimates, in this order, after the columns that identify the row.
ESTIMATE_COLUMNS = (
    "term",
    "estimate",
    "std_error",
    "conf_low",
    "conf_high",
    "statistic",
    "df",
    "p_value",
    "p_adjusted",
    "adjustment",
    "family",
    "n",
    "note",
)


class UnknownTable(UsageError, KeyError):
    """A result has no table of a name."""

    # KeyError would show the sentence with quotation marks around it.
    __str__ = Exception.__str__


@dataclass(frozen=True, eq=False)
class Result:
    """Tables of one analysis, and the facts needed to read them.

    ``result["summary"]`` is a table, ``list(result)`` has the names of all, the headline first.

    Attributes
    ----------
    meta : dict
        Definitions, versions, seed, counts, what was excluded and why; plain JSON values
        (:class:`saltrust.analysis.result.meta.Meta` says what each key means).
    tables : dict of str to pandas.DataFrame
        One record per row; the first table is the headline.
    topic : str
        Name of the analysis, such as ``localization``; names files, and says which figure and
        which sentences belong to the result.
    """

    meta: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    topic: str = ""

    def __getitem__(self, name: str) -> pd.DataFrame:
        """The table of this name.

        Raises
        ------
        UnknownTable
            A KeyError that names the nearest table.
        """
        if name not in self.tables:
            raise UnknownTable(f"the result has no table {name!r}; {nearest(name, self.tables)}")
        return self.tables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tables)

    def __len__(self) -> int:
        return len(self.tables)

    def __contains__(self, name: object) -> bool:
        return name in self.tables

    def __bool__(self) -> bool:
        # A result without tables still has metadata, and is a result.
        return True

    def __repr__(self) -> str:
        from saltrust.analysis.result.text import describe_tables

        return describe_tables(self)

    def _repr_html_(self) -> str:
        from saltrust.analysis.result.text import render_html

        return render_html(self)

    def caption(self, table: str) -> tuple[str, str]:
        """What stands above and below a table in print.

        Parameters
        ----------
        table : str

        Returns
        -------
        title, legend : str
            The name, and nothing, where no more is known.
        """
        return table, ""

    def to_dict(self) -> dict[str, Any]:
        """The result as plain values.

        Returns
        -------
        dict
            ``{"format": 2, "meta": ..., "tables": {name: [record, ...]}}``.  Numbers keep full
            precision; NaN, NA and infinities become None.
        """
        return {"format": FORMAT, "meta": plain(self.meta),
                "tables": {name: records(table) for name, table in self.tables.items()}}

    def to_json(self, path: str | Path | None = None) -> str:
        """The result as strict JSON (:meth:`to_dict`).

        Parameters
        ----------
        path : path, optional
            A file to write besides; it appears whole or not at all, and replaces one that is
            there.

        Returns
        -------
        str
            Ends with a newline.

        Raises
        ------
        DataError, UsageError
            If the disk is full, or the place cannot be written to.
        """
        from saltrust.analysis.result import files, text

        if path is not None:
            files.write_json(self, path)
        return text.render(self, "json")

    def to_csv(self, folder: str | Path, *, spreadsheet_safe: bool = False) -> list[Path]:
        """Write every table as ``<topic>_<table>.csv``, with all digits.

        Parameters
        ----------
        folder : path
            Made where it does not exist; files of the same names are replaced.
        spreadsheet_safe : bool
            Whether an apostrophe is put before texts that a spreadsheet would take for formulas
            (those that begin with ``= + - @``); numbers stay as they are.

        Returns
        -------
        list of pathlib.Path
            In the order of the tables.

        Raises
        ------
        DataError, UsageError
            If the disk is full, or the place cannot be written to.
        """
        from saltrust.analysis.result import files

        return files.write_csv(self, folder, spreadsheet_safe=spreadsheet_safe)

    def to_parquet(self, folder: str | Path) -> list[Path]:
        """Write every table as ``<topic>_<table>.parquet``, the metadata inside each.

        Parameters
        ----------
        folder : path
            Made where it does not exist; files of the same names are replaced.  The metadata are
            JSON in the schema's metadata, under ``saltrust``.

        Returns
        -------
        list of pathlib.Path
            In the order of the tables.

        Raises
        ------
        DataError
            If pyarrow is not installed (extra ``parquet``), or the disk is full.
        UsageError
            If the place cannot be written to.
        """
        from saltrust.analysis.result import files

        return files.write_parquet(self, folder)

    def to_markdown(self, table: str | None = None) -> str:
        """A table as Markdown, rounded for reading.

        Parameters
        ----------
        table : str, optional
            Whole; by default the headline as papers print it, of a long one the first rows.

        Returns
        -------
        str
            Ends with a newline.

        Raises
        ------
        UsageError
            If there is no such table.
        """
        from saltrust.analysis.result.text import render

        return render(self, "markdown", tables=None if table is None else [table])

    def to_latex(self, table: str | None = None) -> str:
        """A table for LaTeX's package booktabs, rounded for reading.

        Parameters
        ----------
        table : str, optional
            Whole; by default the headline as papers print it, of a long one the first rows.

        Returns
        -------
        str
            Ends with a newline.

        Raises
        ------
        UsageError
            If there is no such table.
        """
        from saltrust.analysis.result.text import render

        return render(self, "latex", tables=None if table is None else [table])

    def methods(self) -> str:
        """Sentences for a methods section: definitions, intervals, corrections, exclusions.

        Returns
        -------
        str
            One paragraph, every number from ``meta``.
        """
        from saltrust.analysis.result.methods import methods_of

        return " ".join(methods_of(self.topic, self.meta))

    def plot(self, *, finding: str | None = None, explainer: str | None = None,
             model: str | None = None) -> Figure:
        """Draw the figure that belongs to the result.

        Parameters
        ----------
        finding, explainer, model : str, optional
            Only the rows of this label.  A figure that shows one map or finding at a time shows
            the first of several.

        Returns
        -------
        matplotlib.figure.Figure
            Outside pyplot's state; a notebook shows it.

        Raises
        ------
        UsageError
            If no figure belongs to the result, or it has no such label.
        """
        from saltrust.analysis.result.topics import figure_of

        draw = figure_of(self.topic)
        labels = {"finding": finding, "explainer": explainer, "model": model}
        return draw(only_labels(self, {name: label for name, label in labels.items()
                                       if label is not None}))


def only_labels(result: Result, labels: Mapping[str, str]) -> Result:
    """A result with only the rows of some labels; a table without the column stays whole.

    Parameters
    ----------
    result : Result
    labels : mapping of str to str
        By column.  Rows of experts stay, whatever the explainer and model.

    Raises
    ------
    UsageError
        If no table has such a label; the nearest is named.
    """
    tables = dict(result.tables)
    for column, label in labels.items():
        having = [frame for frame in tables.values() if column in frame]
        known = dict.fromkeys(str(value) for frame in having for value in frame[column])
        if label not in known:
            raise UsageError(f"the result has no {column} {label!r}; {nearest(label, known)}")
        for name, frame in tables.items():
            if column in frame:
                kept = frame[column] == label
                if column != "finding" and "explainer" in frame:
                    kept |= frame["explainer"] == "expert"
                tables[name] = frame[kept]
    return replace(result, tables=tables)


def plain(value: Any) -> Any:
    """Turn NumPy and pandas scalars, mappings and sequences into strict JSON values.

    Examples
    --------
    >>> plain({"a": np.float64("nan"), "b": (np.int64(3), np.True_)})
    {'a': None, 'b': [3, True]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bool | int | str):
        return value
    return str(value)


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as plain values (see :func:`plain`)."""
    columns = [str(name) for name in table.columns]
    rows = zip(*(table[name].tolist() for name in table.columns), strict=True)
    return [dict(zip(columns, map(plain, row), strict=True)) for row in rows]
