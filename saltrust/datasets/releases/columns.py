"""The tables of a release, column by column: hundreds of thousands of rows in seconds.

Only what is asked for is kept; a table with a report in every row never lies in memory as a whole.
"""

from __future__ import annotations

import csv
import itertools
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from saltrust.cache.schema import Label
from saltrust.datasets.files.csv_tables import MOST_ROWS, parse_label, plain_cell
from saltrust.datasets.files.limits import check_pixels
from saltrust.errors import DataError, nearest
from saltrust.reading import check_path, reading, shown
from saltrust.table_dialect import TableDialect, dialect_of, undecodable
from saltrust.table_sizes import look_over

_log = logging.getLogger(__name__)

#: What releases write where nothing is known.
UNKNOWN = frozenset({"", "nan", "none", "unknown", "unk"})
#: Projections as the releases write them, in the words of the cubes.
_VIEWS = {"pa": "frontal PA", "ap": "frontal AP", "ap_horizontal": "frontal AP horizontal",
          "lateral": "lateral", "l": "lateral", "ll": "lateral", "rl": "lateral"}
_ROWS_AT_ONCE = 8192
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
            rows = f"rows {self.frame.index[first]} and {self.frame.index[again[0]]}"
            raise DataError(f"{self.path}, {rows}: {name} is {shown(cells.iloc[first])} in both "
                            f"({len(again):,} rows repeat others); leave one of them out")

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


def read_columns(path: str | Path, needed: Sequence[str], optional: Sequence[str] = (),
                 ) -> Columns:
    """Read columns of a CSV file as text, in any of :mod:`saltrust.table_dialect`'s, also gzipped.

    Parameters
    ----------
    path : path
    needed, optional : sequence of str
        Names of columns; one of ``optional`` that the file lacks is blank everywhere.

    Raises
    ------
    DataError
        If the file is missing, empty, not such text, lacks a column (the nearest is named), has
        one twice, has a row with more cells than the header or fewer than are needed, or no rows.
    """
    from pandas.io.common import get_handle  # type: ignore[import-not-found]

    path = Path(path)
    check_path(path, "the path", DataError)
    dialect = TableDialect()
    try:
        with reading(f"{path} as CSV", "check that row, or fetch the file again"):
            dialect = dialect_of(path)
            rows = look_over(path, dialect).rows
            if rows > MOST_ROWS:
                raise DataError(f"{path} has {rows:,} lines, more than the {MOST_ROWS:,} of any "
                                "data set of radiographs; leave out what is not needed")
            with get_handle(path, "r", encoding=dialect.encoding, compression="infer") as handles:
                lines = itertools.islice(cast(TextIO, handles.handle), dialect.skipped, None)
                return _columns(path, dialect, lines, needed, optional)
    except DataError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise DataError(f"{path} does not exist; check the path") from None
        if isinstance(error.__cause__, UnicodeDecodeError):
            raise undecodable(path, dialect) from None
        raise


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


def positions(names: Iterable[str], among: Sequence[str]) -> npt.NDArray[np.intp]:
    """The place of each name in a list; -1 where it is not in it.

    Examples
    --------
    >>> positions(["b", "x"], ["a", "b"]).tolist()
    [1, -1]
    """
    place = {name: at for at, name in enumerate(among)}
    return np.array([place.get(name, -1) for name in names], dtype=np.intp)


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


class _PlainCells(dict[str, str]):
    """Cells as all tables have them, equal ones kept once."""

    def __init__(self, dialect: TableDialect) -> None:
        super().__init__()
        self._dialect = dialect

    def __missing__(self, cell: str) -> str:
        plain = self[cell] = plain_cell(cell, self._dialect)
        return plain


def _header(path: Path, cells: Sequence[str], needed: Sequence[str],
            optional: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names of all columns, and of those that are kept."""
    names = [plain_cell(cell, TableDialect()) for cell in cells]
    for name in (*needed, *optional):
        if names.count(name) > 1:
            raise DataError(f"{path} has the column {name!r} more than once; rename one")
        if name in needed and name not in names:
            raise DataError(f"{path} has no column {name!r}; {nearest(name, filter(None, names))}")
    return names, [name for name in dict.fromkeys((*needed, *optional)) if name in names]


def _columns(path: Path, dialect: TableDialect, stream: Iterable[str], needed: Sequence[str],
             optional: Sequence[str]) -> Columns:
    lines = csv.reader(stream, delimiter=dialect.delimiter)
    header = next(lines, [])
    if not any(header):
        raise DataError(f"{path} is empty; it needs a header and a row per image")
    names, kept = _header(path, header, needed, optional)
    places = [names.index(name) for name in kept]
    fewest, most = max(places) + 1, len(names)
    plain = [_PlainCells(dialect) for _ in kept]
    cells: list[list[str]] = [[] for _ in kept]
    numbers: list[int] = []
    numbered = enumerate(lines, start=2 + dialect.blank)
    while piece := list(itertools.islice(numbered, _ROWS_AT_ONCE)):
        rows = []
        for number, row in piece:
            if len(row) < fewest or len(row) > most:
                if not any(row):
                    continue
                # What is cut off is not blank: a blank label means something.
                if len(row) < fewest or any(row[most:]):
                    few = "fewer" if len(row) < fewest else "more"
                    raise DataError(f"{path}, row {number} has {few} cells ({len(row)}) than the "
                                    f"header ({most}); the file may be cut off or a cell lack its "
                                    "quotes: correct the row, or fetch the file again")
            rows.append(row)
            numbers.append(number)
        for place, of_column, memory in zip(places, cells, plain, strict=True):
            of_column.extend(map(memory.__getitem__, [row[place] for row in rows]))
    frame = pd.DataFrame(dict(zip(kept, cells, strict=True)), index=numbers, dtype=object)
    frame = frame[(frame != "").any(axis=1)]
    if frame.empty:
        raise DataError(f"{path} has a header but no rows; fetch it again")
    return Columns(path, names, frame.assign(**{name: "" for name in optional
                                                if name not in kept}))
