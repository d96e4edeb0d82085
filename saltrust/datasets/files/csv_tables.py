"""Reading CSV files of labels, splits and run-length codes, with errors that name the row."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from saltrust.cache.schema import Label
from saltrust.errors import DataError, nearest
from saltrust.reading import check_path, reason_of
from saltrust.table_dialect import TableDialect, dialect_of, undecodable
from saltrust.table_sizes import TableSize, look_over

_log = logging.getLogger(__name__)

#: What other data sets call the parts of a data set, and what the cubes call them.
SPLIT_NAMES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "validate": "val", "dev": "val",
    "test": "test", "testing": "test",
    "none": "none", "": "none",
}
#: What stands for nothing in the cells of others: pandas' own list, in lower case.
BLANK_WORDS = frozenset({"nan", "-nan", "na", "<na>", "n/a", "#n/a", "#na", "null", "nat", "none"})

#: Lines of a table; MIMIC-CXR has 377,110 radiographs.
MOST_ROWS = 2_000_000
#: 400,000 radiographs with 500 columns.
MOST_CELLS = 200_000_000
#: Of a table that is packed, in which a small file may hide many.
MOST_PACKED_CELLS = 30_000_000
_ROWS_AT_ONCE = 4096
_INDEX_COLUMN = re.compile(r"Unnamed: \d+(_level_\d+|\.\d+)?")
_TRUTH = {"true": int(Label.POSITIVE), "false": int(Label.NEGATIVE)}
#: A number of more digits is no size.
_COUNT = re.compile(r"0*(\d{1,9})(?:[.,]0*)?", re.ASCII)
#: Of an index that was made a column; other columns may have these names too.
_INDEX_NAMES = frozenset({"index", "level_0"})
#: Characters without width: byte order marks and joiners that copying leaves behind.
_INVISIBLE = "\ufeff\u200b\u200c\u200d\u2060"


@dataclass(frozen=True)
class CsvTable:
    """A CSV file as text.

    Attributes
    ----------
    path : pathlib.Path
    columns : list of str
        Column names, stripped; all different.
    cells : list of list of str
        Stripped text of every cell, row by row; missing cells are empty.
    numbers : list of int
        Row numbers as a spreadsheet shows them: the header is row 1.
    """

    path: Path
    columns: list[str]
    cells: list[list[str]]
    numbers: list[int]

    def rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Row numbers and rows, as mappings from column to text."""
        for number, cells in zip(self.numbers, self.cells, strict=True):
            yield number, dict(zip(self.columns, cells, strict=True))

    def require(self, column: str) -> None:
        """Raise a DataError that names the nearest column unless ``column`` is there."""
        if column not in self.columns:
            raise DataError(f"{self.path} has no column {column!r}; "
                            f"{nearest(column, self.columns)}")


def read_csv(path: str | Path) -> CsvTable:
    """Read a CSV file as text, as spreadsheets and pandas write it, optionally gzipped.

    Commas, semicolons, tabs or bars, UTF-8 or UTF-16, a line ``sep=;``, decimal commas (which
    become points) and all line ends are seen by :mod:`saltrust.table_dialect`.  Text is in
    Unicode's normal form C; the index column ``Unnamed: 0`` of pandas is left out, and said.

    Raises
    ------
    DataError
        If the file is missing, empty, not such text, has a row with more cells than the
        header, or two columns of one name.
    """
    path = Path(path)
    check_path(path, "the path", DataError)
    dialect = TableDialect()
    try:
        dialect = dialect_of(path)
        _check_size(path, look_over(path, dialect))
        # Cells stay text: "007" is an image and "NA" may be one.
        frame = pd.read_csv(path, header=None, dtype=str, keep_default_na=False,
                            skip_blank_lines=False, skipinitialspace=True, **dialect.options())
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; check the path") from None
    except pd.errors.EmptyDataError:
        raise DataError(f"{path} is empty; it needs a header and a row per image") from None
    except UnicodeDecodeError:
        raise undecodable(path, dialect) from None
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001 - parsers raise what they like on damaged data
        raise DataError(f"{path} cannot be read as CSV ({reason_of(error)}); check that row"
                        ) from None
    # Piece by piece: a table of a hundred million cells is not copied whole.
    rows = [[plain_cell(str(cell), dialect) for cell in row]
            for start in range(0, len(frame), _ROWS_AT_ONCE)
            for row in frame.iloc[start:start + _ROWS_AT_ONCE].fillna("").values.tolist()]
    columns = _without_index(path, rows)
    twice = next((name for name, count in Counter(columns).items() if name and count > 1), None)
    if twice is not None:
        raise DataError(f"{path} has the column {twice!r} more than once; rename one")
    kept = [(number, row) for number, row in enumerate(rows[1:], start=2 + dialect.blank)
            if any(row)]
    if not kept:
        raise DataError(f"{path} has a header but no rows; it needs a row per image")
    return CsvTable(path, columns, [row for _, row in kept], [number for number, _ in kept])


def plain_cell(text: str, dialect: TableDialect) -> str:
    """A cell stripped, in normal form C, with decimal points."""
    text = text.strip()
    if not text.isascii():
        # Marks of byte order and width that copying leaves, seen by nobody.
        text = unicodedata.normalize("NFC", text.strip(_INVISIBLE).strip()).replace("\u2212", "-")
    if text[:2] == '="' and text[-1:] == '"':
        # Spreadsheets keep the zeros of 007 so.
        text = text[2:-1].strip()
    return dialect.plain(text) if dialect.decimal == "," else text


def _without_index(path: Path, rows: list[list[str]]) -> list[str]:
    """The header, the index columns that pandas calls ``Unnamed: 0`` left out of all rows."""
    indices = [at for at, name in enumerate(rows[0]) if _INDEX_COLUMN.fullmatch(name)
               or (name.lower() in _INDEX_NAMES and _counts_up(rows, at))]
    if indices:
        _log.warning("%s: the column %s is an index that pandas wrote; it is left out", path,
                     ", ".join(repr(rows[0][at]) for at in indices))
        for row in rows:
            for at in reversed(indices):
                del row[at]
    return rows[0]


def _counts_up(rows: list[list[str]], at: int) -> bool:
    """Whether the cells of a column are 0, 1, 2, ..., as a table's own numbers are."""
    return all(row[at] in {str(k), f"{k}.0"} for k, row in enumerate(filter(any, rows[1:])))


def _check_size(path: Path, size: TableSize) -> None:
    cells = MOST_PACKED_CELLS if size.packed else MOST_CELLS
    if size.rows > MOST_ROWS:
        raise DataError(f"{path} has {size.rows:,} lines, more than the {MOST_ROWS:,} of any data "
                        "set of radiographs; leave out what is not needed")
    if size.cells > cells:
        raise DataError(f"{path} has {size.cells:,} cells, more than {cells:,}; leave out columns "
                        "that are not needed" + (", or unpack it and look at it" * size.packed))


def stated(cell: str) -> str:
    """What a cell says; nothing where it holds a word for nothing, such as ``nan``.

    Examples
    --------
    >>> stated("NaN"), stated("p7")
    ('', 'p7')
    """
    return "" if cell.lower() in BLANK_WORDS else cell


def parse_label(text: str, path: Path, number: int, column: str) -> int:
    """Turn ``1``, ``0``, ``-1`` (also ``1.0``, ``1,0``, ``True``) or nothing into a label.

    Raises
    ------
    DataError
        For anything else, naming file, row and column.

    Examples
    --------
    >>> [parse_label(text, Path("x.csv"), 2, "Edema") for text in ("1.0", "False", "-1", "nan")]
    [1, 0, -1, -2]
    """
    word = text.lower()
    if not word or word in BLANK_WORDS:
        return int(Label.NOT_STATED)
    if word in _TRUTH:
        return _TRUTH[word]
    try:
        value = float(word.replace(",", ".", 1))
    except ValueError:
        value = float("nan")
    if value not in {1.0, 0.0, -1.0}:
        raise DataError(f"{path}, row {number}: {column} is {text!r}, but a label is 1, 0, -1 "
                        "(uncertain), True, False or blank; name the columns that are findings "
                        "under [data] findings if this one is not")
    return int(value)


def parse_count(text: str) -> int | None:
    """A whole number above zero, written ``40`` or ``40.0``; None where it is none.

    Examples
    --------
    >>> parse_count("40.0"), parse_count("40.5"), parse_count("0")
    (40, None, None)
    """
    match = _COUNT.fullmatch(text)
    return int(match[1]) if match and int(match[1]) > 0 else None


def parse_split(text: str, path: Path, number: int) -> str:
    """Turn ``train``, ``val``, ``test``, ``none``, blank and their synonyms into a split."""
    split = SPLIT_NAMES.get(stated(text).lower())
    if split is None:
        raise DataError(f"{path}, row {number}: split {text!r} is not known; "
                        f"{nearest(text, ('train', 'val', 'test', 'none'))}")
    return split
