"""How a table of others is written: its encoding, its delimiter, its decimal sign.

Spreadsheets write commas, semicolons or tabs as the country has it, UTF-8 with or without a mark
or UTF-16, and a line ``sep=;`` above the header.  All of that is seen in the first lines; text in
the old code pages of Windows is not guessed at, since many of them fit.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saltrust.errors import DataError
from saltrust.reading import encoding_of, refuse_other_files, shown

#: Delimiters looked for in the header; the first wins where all fit alike.
DELIMITERS = (",", ";", "\t", "|")
#: From which all of this is told; longer headers have more columns than a table may.
_HEAD_BYTES = 512 * 2**10
_LINES_COMPARED = 200
_SEPARATOR_LINE = re.compile(r'"?sep=([,;\t|])"?[,;\t ]*', re.IGNORECASE)
#: A number with a decimal comma, alone or among others in a cell of boxes or points.
_COMMA_NUMBER = re.compile(r"(?<![^\s;])([+-]?\d+),(\d+)(?![^\s;])")
_NUMBERS = re.compile(r"[\d\s;,.+-]+")


@dataclass(frozen=True)
class TableDialect:
    """How a table is written.

    Attributes
    ----------
    encoding, delimiter, decimal : str
    skipped : int
        Lines above the header: blank ones, and that of a spreadsheet which names the delimiter.
    blank : int
        Those of them that are blank, and count in a spreadsheet.
    """

    encoding: str = "utf-8-sig"
    delimiter: str = ","
    decimal: str = "."
    skipped: int = 0
    blank: int = 0

    def options(self) -> dict[str, Any]:
        """Arguments of :func:`pandas.read_csv`."""
        return {"encoding": self.encoding, "sep": self.delimiter, "skiprows": self.skipped}

    def plain(self, cell: str) -> str:
        """A cell with decimal points, whatever the table has.

        Examples
        --------
        >>> TableDialect(decimal=",").plain("10,5 20 5 8; 0 0 2,5 2")
        '10.5 20 5 8; 0 0 2.5 2'
        >>> TableDialect().plain("1,5")
        '1,5'
        """
        if self.decimal != "," or "," not in cell or not _NUMBERS.fullmatch(cell):
            return cell
        return _COMMA_NUMBER.sub(r"\1.\2", cell)


def dialect_of(path: Path) -> TableDialect:
    """See how a table is written, from its first lines.

    Parameters
    ----------
    path : pathlib.Path
        Compressed if the suffix says so.

    Raises
    ------
    DataError
        If it is no text at all, such as a workbook; the sentence says what it is.
    """
    from pandas.io.common import get_handle  # type: ignore[import-not-found]

    with get_handle(path, "rb", compression="infer", is_text=False) as handles:
        stream: Any = handles.handle
        head: bytes = stream.read(_HEAD_BYTES)
    refuse_other_files(head, path, "save it as CSV in UTF-8")
    encoding = encoding_of(head)
    text = head.decode(encoding, "replace").replace("\r\n", "\n").replace("\r", "\n")
    whole = text.split("\n")
    lines = whole[:-1] if len(head) == _HEAD_BYTES and len(whole) > 1 else whole
    blank = next((k for k, line in enumerate(lines) if line.strip()), 0)
    lines = lines[blank:]
    named = _SEPARATOR_LINE.fullmatch(lines[0]) if lines else None
    if named:
        lines = lines[1:]
    lines = [line for line in lines if line.strip()][:_LINES_COMPARED]
    delimiter = named[1] if named else _delimiter(lines)
    return TableDialect(encoding, delimiter, _decimal(lines, delimiter),
                        blank + (named is not None), blank)


def _delimiter(lines: Sequence[str]) -> str:
    """The one that divides the header, and the rows into as many cells."""
    if not lines:
        return ","
    in_header = {sign: _outside_quotes(lines[0], sign) for sign in DELIMITERS}
    present = [sign for sign in DELIMITERS if in_header[sign]]

    def fit(sign: str) -> tuple[float, int]:
        alike = [_outside_quotes(line, sign) == in_header[sign] for line in lines[1:20]]
        return sum(alike) / len(alike) if alike else 0.0, in_header[sign]

    return max(present, key=fit, default=",")


def _outside_quotes(line: str, sign: str) -> int:
    return sum(piece.count(sign) for piece in line.split('"')[::2])


def _decimal(lines: Sequence[str], delimiter: str) -> str:
    """A comma where cells have numbers with one and none with a point."""
    if delimiter == ",":
        return "."
    cells = {cell.strip(' "') for line in lines[1:] for cell in line.split(delimiter)}
    tokens = {token for cell in cells if _NUMBERS.fullmatch(cell) for token in cell.split()}
    commas = any(re.fullmatch(r"[+-]?\d+,\d+;?", token) for token in tokens)
    points = any(re.fullmatch(r"[+-]?\d*\.\d+;?", token) for token in tokens)
    return "," if commas and not points else "."


def undecodable(path: Path, dialect: TableDialect) -> DataError:
    """The error of a table that is not written in the encoding it seems to be in.

    It names the first line that cannot be read, and how it reads in the code page of Windows.
    """
    from pandas.io.common import get_handle

    if not dialect.encoding.startswith("utf-8"):
        return DataError(f"{path} is not {dialect.encoding.upper()} text, as it begins; save it as "
                         "CSV in UTF-8")
    with get_handle(path, "rb", compression="infer", is_text=False) as handles:
        stream: Any = handles.handle
        for number, line in enumerate(stream, start=1):
            try:
                line.decode("utf-8-sig")
            except UnicodeDecodeError as error:
                meant = line.decode("cp1252", "replace").strip()
                return DataError(
                    f"{path} is not UTF-8 text (line {number}, byte {error.start}); in "
                    f"Windows-1252 the line reads {shown(meant, 60)}; if that is right, save the "
                    "table as 'CSV UTF-8', or run `iconv -f WINDOWS-1252 -t UTF-8`, else with the "
                    "encoding it has")
    return DataError(f"{path} is not UTF-8 text; save it as UTF-8")
