"""Reading CSV files of labels, splits and run-length codes, with errors that name the row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from saltrust.cache.schema import Label
from saltrust.errors import DataError, nearest
from saltrust.reading import check_path, reason_of
from saltrust.table_sizes import TableSize, look_over

#: What other data sets call the parts of a data set, and what the cubes call them.
SPLIT_NAMES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
    "none": "none", "": "none",
}


#: Lines of a table; MIMIC-CXR has 377,110 radiographs.
MOST_ROWS = 2_000_000
#: 400,000 radiographs with 500 columns.
MOST_CELLS = 200_000_000
#: Of a table that is packed, in which a small file may hide many.
MOST_PACKED_CELLS = 30_000_000
_ROWS_AT_ONCE = 4096


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
    """Read a CSV file (UTF-8, comma-separated, optionally gzipped) as text.

    Raises
    ------
    DataError
        If the file is missing, empty, not UTF-8 text, has a row with more cells than the
        header, or two columns of one name.
    """
    path = Path(path)
    check_path(path, "the path", DataError)
    try:
        _check_size(path, look_over(path))
        # Cells stay text: "007" is an image and "NA" may be one.
        frame = pd.read_csv(path, header=None, dtype=str, keep_default_na=False,
                            skip_blank_lines=False, encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; check the path") from None
    except pd.errors.EmptyDataError:
        raise DataError(f"{path} is empty; it needs a header and a row per image") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8"
                        ) from None
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001 - parsers raise what they like on damaged data
        raise DataError(f"{path} cannot be read as CSV ({reason_of(error)}); check that row"
                        ) from None
    # Piece by piece: a table of a hundred million cells is not copied whole.
    rows = [[str(cell).strip() for cell in row] for start in range(0, len(frame), _ROWS_AT_ONCE)
            for row in frame.iloc[start:start + _ROWS_AT_ONCE].fillna("").values.tolist()]
    columns = rows[0]
    named = [column for column in columns if column]
    twice = sorted({column for column in named if named.count(column) > 1})
    if twice:
        raise DataError(f"{path} has the column {twice[0]!r} more than once; rename one")
    kept = [(number, row) for number, row in enumerate(rows[1:], start=2) if any(row)]
    if not kept:
        raise DataError(f"{path} has a header but no rows; it needs a row per image")
    return CsvTable(path, columns, [row for _, row in kept], [number for number, _ in kept])


def _check_size(path: Path, size: TableSize) -> None:
    cells = MOST_PACKED_CELLS if size.packed else MOST_CELLS
    if size.rows > MOST_ROWS:
        raise DataError(f"{path} has {size.rows:,} lines, more than the {MOST_ROWS:,} of any data "
                        "set of radiographs; leave out what is not needed")
    if size.cells > cells:
        raise DataError(f"{path} has {size.cells:,} cells, more than {cells:,}; leave out columns "
                        "that are not needed" + (", or unpack it and look at it" * size.packed))


def parse_label(text: str, path: Path, number: int, column: str) -> int:
    """Turn ``1``, ``0``, ``-1`` (also ``1.0`` and so on) or nothing into a label.

    Raises
    ------
    DataError
        For anything else, naming file, row and column.

    Examples
    --------
    >>> [parse_label(text, Path("x.csv"), 2, "Edema") for text in ("1.0", "0", "-1", "")]
    [1, 0, -1, -2]
    """
    if not text:
        return int(Label.NOT_STATED)
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if value not in {1.0, 0.0, -1.0}:
        raise DataError(f"{path}, row {number}: {column} is {text!r}, but a label is 1, 0, -1 "
                        "(uncertain) or blank; name the columns that are findings under "
                        "[data] findings if this one is not")
    return int(value)


def parse_split(text: str, path: Path, number: int) -> str:
    """Turn ``train``, ``val``, ``test``, ``none``, blank and their synonyms into a split."""
    split = SPLIT_NAMES.get(text.lower())
    if split is None:
        raise DataError(f"{path}, row {number}: split {text!r} is not known; "
                        f"{nearest(text, ('train', 'val', 'test', 'none'))}")
    return split
