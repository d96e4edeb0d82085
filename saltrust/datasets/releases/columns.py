"""The tables of a release, column by column: hundreds of thousands of rows in seconds.

Only what is asked for is kept; a table with a report in every row never lies in memory as a whole.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from saltrust.cache.schema import Label
from saltrust.datasets.files.csv_tables import MOST_ROWS, parse_label
from saltrust.datasets.files.limits import check_pixels
from saltrust.errors import DataError, nearest
from saltrust.reading import check_path, reading, shown
from saltrust.table_sizes import look_over

_log = logging.getLogger(__name__)

#: What releases write where nothing is known.
UNKNOWN = frozenset({"", "nan", "none", "unknown", "unk"})
#: Projections as the releases write them, in the words of the cubes.
_VIEWS = {"pa": "frontal PA", "ap": "frontal AP", "ap_horizontal": "frontal AP horizontal",
          "lateral": "lateral", "l": "lateral", "ll": "lateral", "rl": "lateral"}
_ROWS_AT_ONCE = 65_536
_MOST_AGE = 120.0
#: Years, months, weeks or days, as older lists and DICOM headers write ages.
_AGE = re.compile(r"(\d{1,6}(?:\.\d*)?)([YMWD]?)", re.ASCII)
_PIXELS = re.compile(r"(\d{1,9})(?:\.0*)?", re.ASCII)
_OF_A_YEAR = {"": 1.0, "Y": 1.0, "M": 12.0, "W": 52.18, "D": 365.25}


@dataclass(frozen=True)
class Columns:
    """Some columns of a CSV file as text.

    Attributes
    ----------
    path : pathlib.Path
    names : list of str
        All columns of the file.
    frame : pandas.DataFrame
        Those asked for, stripped; blank where the file lacks an optional one.  The index is the
        row as a spreadsheet shows it: the header is row 1.
    """

    path: Path
    names: list[str]
    frame: pd.DataFrame

    def __len__(self) -> int:
        return len(self.frame)

    def text(self, name: str) -> pd.Series[str]:
        """The cells of a column."""
        return self.frame[name]

    def fail(self, wrong: npt.NDArray[np.bool_] | pd.Series[bool], name: str, rule: str) -> None:
        """Raise a DataError for the first row that is wrong, if any is.

        Parameters
        ----------
        wrong : array of bool, shape (rows,)
        name : str
            The column.
        rule : str
            What a cell has to be, and the way out; follows ``COLUMN is 'CELL',``.
        """
        at = np.flatnonzero(np.asarray(wrong, dtype=bool))
        if len(at):
            cell = self.frame[name].iloc[at[0]]
            more = f" (and {len(at) - 1:,} rows more)" if len(at) > 1 else ""
            raise DataError(f"{self.path}, row {self.frame.index[at[0]]}{more}: {name} is "
                            f"{shown(cell)}, {rule}")

    def require_unique(self, name: str) -> None:
        """Raise a DataError where a cell of a column stands twice, naming both rows."""
        cells = self.frame[name]
        again = np.flatnonzero(cells.duplicated())
        if len(again):
            first = int(np.flatnonzero(cells == cells.iloc[again[0]])[0])
            raise DataError(f"{self.path}, rows {self.frame.index[first]} and "
                            f"{self.frame.index[again[0]]}: {name} is {shown(cells.iloc[first])} in "
                            f"both ({len(again):,} rows repeat others); leave one of them out")

    def values(self, name: str, convert: Callable[[str, int], float],
               ) -> npt.NDArray[np.float64]:
        """A number for every cell of a column, each different text converted once.

        Parameters
        ----------
        name : str
        convert : callable
            From text and row to a number.
        """
        codes, different = pd.factorize(self.frame[name].to_numpy(dtype=object))
        first = np.full(len(different), 0)
        first[codes[::-1]] = np.arange(len(codes))[::-1]
        numbers = np.array([convert(str(text), int(self.frame.index[row]))
                            for text, row in zip(different, first, strict=True)], dtype=np.float64)
        return numbers[codes] if len(codes) else np.zeros(0)


@dataclass(frozen=True)
class _Layout:
    """Where the columns that are kept stand in the lines of a file."""

    names: list[str]
    kept: list[str]
    separator: str


def read_columns(path: str | Path, needed: Sequence[str], optional: Sequence[str] = (),
                 ) -> Columns:
    """Read columns of a CSV file (UTF-8, also gzipped) as text.

    Parameters
    ----------
    path : path
    needed, optional : sequence of str
        Names of columns; one of ``optional`` that the file lacks is blank everywhere.

    Raises
    ------
    DataError
        If the file is missing, empty, not UTF-8 text, lacks a column (the nearest is named), has
        one twice, has a row with more cells than the header or fewer than are needed, or no rows.
    """
    path = Path(path)
    check_path(path, "the path", DataError)
    try:
        with reading(f"{path} as CSV", "check that row, or fetch the file again"):
            rows = look_over(path).rows
            if rows > MOST_ROWS:
                raise DataError(f"{path} has {rows:,} lines, more than the {MOST_ROWS:,} of any "
                                "data set of radiographs; leave out what is not needed")
            layout = _layout(path, needed, optional)
            frame = _frame(path, layout)
    except DataError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise DataError(f"{path} does not exist; check the path") from None
        if isinstance(error.__cause__, UnicodeDecodeError):
            raise DataError(f"{path} is not UTF-8 text (byte {error.__cause__.start}); save it as "
                            "UTF-8") from None
        raise
    if frame.empty:
        raise DataError(f"{path} has a header but no rows; fetch it again")
    columns = Columns(path, layout.names, frame)
    for name in layout.kept:
        # What is cut off is not blank: a blank label means something.
        columns.fail(frame[name].isna(), name,
                     "as the row has fewer cells than the header; the file may be cut off, fetch "
                     "it again")
    for name in layout.kept:
        codes, different = pd.factorize(frame[name].to_numpy(dtype=object))
        frame[name] = np.array([str(text).strip() for text in different], dtype=object)[codes]
    for name in optional:
        if name not in frame:
            frame[name] = ""
    return columns


def label_values(columns: Columns, name: str, blank: Label) -> npt.NDArray[np.int8]:
    """A column of ``1.0``, ``0.0``, ``-1.0`` and blank cells as labels.

    Parameters
    ----------
    columns : Columns
    name : str
    blank : Label
        What a blank cell means.

    Raises
    ------
    DataError
        For any other cell, naming its row.
    """
    def convert(text: str, row: int) -> float:
        label = parse_label(text, columns.path, row, name)
        return float(blank if label == Label.NOT_STATED else label)

    return columns.values(name, convert).astype(np.int8)


def age_values(columns: Columns, name: str) -> npt.NDArray[np.float64]:
    """A column of ages in years; NaN where unknown.

    Ages beyond 120 are no ages (NIH's first list has 411); they are unknown, counted and logged.

    Raises
    ------
    DataError
        For a cell that is no number, naming its row.
    """
    def convert(text: str, row: int) -> float:
        if text.lower() in UNKNOWN:
            return float("nan")
        match = _AGE.fullmatch(text)
        if match is None:
            raise DataError(f"{columns.path}, row {row}: {name} is {shown(text)}, not an age in "
                            "years; correct or blank it")
        return float(match[1]) / _OF_A_YEAR[match[2]]

    ages = columns.values(name, convert)
    beyond = ages > _MOST_AGE
    if beyond.any():
        _log.warning("%d images of %s have ages beyond %d (first: %g); they count as unknown",
                     beyond.sum(), columns.path, _MOST_AGE, ages[beyond][0])
    return np.where(beyond, np.nan, ages)


def known_text(cells: pd.Series[str]) -> npt.NDArray[Any]:
    """Cells as text, blank where they say that nothing is known.

    Examples
    --------
    >>> known_text(pd.Series(["F", "Unknown", "nan"])).tolist()
    ['F', '', '']
    """
    return cells.where(~cells.str.lower().isin(UNKNOWN), "").to_numpy(dtype=object)


def view_names(cells: pd.Series[str]) -> npt.NDArray[Any]:
    """Projections in the words of the cubes; others as they stand, in small letters.

    Examples
    --------
    >>> view_names(pd.Series(["PA", "LATERAL", "COSTAL", "UNK"])).tolist()
    ['frontal PA', 'lateral', 'costal', '']
    """
    plain = pd.Series(known_text(cells)).str.lower()
    return plain.map(_VIEWS).fillna(plain.str.replace("_", " ")).to_numpy(dtype=object)


def pixel_values(columns: Columns, name: str) -> npt.NDArray[np.int32]:
    """A column of heights or widths in pixels; 0 where unknown.

    Raises
    ------
    DataError
        For a cell that is no whole number of pixels, naming its row.
    """
    def convert(text: str, row: int) -> float:
        if text.lower() in UNKNOWN:
            return 0.0
        match = _PIXELS.fullmatch(text)
        if match is None:
            raise DataError(f"{columns.path}, row {row}: {name} is {shown(text)}, not a whole "
                            "number of pixels; correct or blank it")
        check_pixels(int(match[1]), 1, f"{columns.path}, row {row},")
        return float(match[1])

    return columns.values(name, convert).astype(np.int32)


def _layout(path: Path, needed: Sequence[str], optional: Sequence[str]) -> _Layout:
    from pandas.io.common import get_handle  # type: ignore[import-not-found]

    with get_handle(path, "rb", compression="infer", is_text=False) as handles:
        stream: Any = handles.handle
        header = stream.readline().decode("utf-8-sig")
    separator = max(",;\t", key=header.count)
    if not header.strip():
        raise DataError(f"{path} is empty; it needs a header and a row per image")
    (cells,) = pd.read_csv(path, header=None, dtype=str, keep_default_na=False, nrows=1,
                           sep=separator, encoding="utf-8-sig").fillna("").values.tolist()
    names = [str(cell).strip() for cell in cells]
    for name in (*needed, *optional):
        if names.count(name) > 1:
            raise DataError(f"{path} has the column {name!r} more than once; rename one")
        if name in needed and name not in names:
            raise DataError(f"{path} has no column {name!r}; {nearest(name, filter(None, names))}")
    return _Layout(names, [name for name in dict.fromkeys((*needed, *optional)) if name in names],
                   separator)


def _frame(path: Path, layout: _Layout) -> pd.DataFrame:
    """The columns that are kept; NaN where a row has too few cells."""
    places = [layout.names.index(name) for name in layout.kept]
    parts = []
    # All cells of a piece are read, so that a row with too many is an error, not a shift.
    with pd.read_csv(path, header=None, dtype=str, keep_default_na=False, skip_blank_lines=False,
                     sep=layout.separator, encoding="utf-8-sig", chunksize=_ROWS_AT_ONCE,
                     ) as pieces:
        for piece in pieces:
            part = piece[places]
            part.columns = pd.Index(layout.kept)
            part.index = piece.index + 1
            parts.append(part[part.fillna("").ne("").any(axis=1)])
    return pd.concat(parts).iloc[1:]
