"""How large a table of others may be, seen before it is read."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saltrust.errors import DataError
from saltrust.table_dialect import TableDialect, dialect_of

#: Of a table when it is unpacked: some five million rows.
MOST_BYTES = 512 * 2**20
#: A packed table becomes so many times as large; of those with few labels 60 have been seen.
MOST_INFLATION = 200
#: Whatever it was packed to, a table of this size is no harm.
_HARMLESS_BYTES = 16 * 2**20
#: Of a packed table: what is larger has to be unpacked by who knows what it is.
MOST_PACKED_BYTES = 256 * 2**20
#: Every column costs memory by itself; exported scores with covariates have some hundred.
MOST_COLUMNS = 10_000
#: Of one line: a row of as many columns as there may be.
_MOST_LINE_BYTES = 4 * 2**20
_STEP = 2**20


@dataclass(frozen=True)
class TableSize:
    """What a table has, no less than is in it: line ends and delimiters within quotes count.

    Attributes
    ----------
    rows, cells : int
    packed : bool
        Whether the file is smaller than the table.
    """

    rows: int
    cells: int
    packed: bool


def look_over(path: Path, dialect: TableDialect | None = None) -> TableSize:
    """Unpack a file piece by piece and see that it is no larger than a table may be.

    Parameters
    ----------
    path : pathlib.Path
        Compressed if the suffix says so.
    dialect : TableDialect, optional
        How it is written, where that is known.

    Returns
    -------
    TableSize

    Raises
    ------
    DataError
        If it is larger, or has longer lines or more columns, or NUL characters; the sentence says
        which.
    """
    packed, size, line = path.stat().st_size, 0, 0
    delimiters = feeds = returns = 0
    dialect = dialect or dialect_of(path)
    sign = dialect.delimiter.encode()
    decoder = (None if dialect.encoding.startswith("utf-8")
               else codecs.getincrementaldecoder(dialect.encoding)())
    most = min(max(MOST_PACKED_BYTES, packed), MOST_BYTES,
               max(_HARMLESS_BYTES, MOST_INFLATION * packed))
    from pandas.io.common import get_handle  # type: ignore[import-not-found]

    with get_handle(path, "rb", compression="infer", is_text=False) as handles:
        stream: Any = handles.handle
        while piece := stream.read(_STEP):
            if decoder is not None:
                piece = decoder.decode(piece).encode("utf-8", "surrogatepass")
            size += len(piece)
            if b"\0" in piece:
                # Parsers take it for the end of a cell and say nothing.
                raise DataError(f"{path} holds NUL characters, which no text in UTF-8 has; save it "
                                "as CSV in UTF-8")
            delimiters += piece.count(sign)
            feeds += piece.count(b"\n")
            returns += piece.count(b"\r")
            if size > most:
                raise DataError(f"{path} of {packed:,} bytes becomes more than {most:,} when it "
                                "is read, more than a table may have; leave out what is "
                                "not needed, or unpack it and look at it")
            # Those of old Macintoshes end in a carriage return.
            lines = piece.replace(b"\r", b"\n").split(b"\n")
            lengths = list(map(len, lines))
            lengths[0] += line
            line = lengths[-1]
            if max(lengths) > _MOST_LINE_BYTES:
                raise DataError(f"{path} has a line of more than {_MOST_LINE_BYTES:,} bytes, "
                                "which no row of a table has; check its line ends and "
                                "quotes")
            # A million columns take a minute to be told.
            columns = max((text.count(sign) for text in lines if len(text) > MOST_COLUMNS),
                          default=0)
            if columns >= MOST_COLUMNS:
                raise too_many_columns(path, columns + 1)
    rows = max(feeds, returns) + 1
    return TableSize(rows, rows + delimiters, packed < size)


def too_many_columns(path: Path, columns: int) -> DataError:
    """The error of a table with more columns than one may have."""
    return DataError(f"{path} has {columns:,} columns or more, beyond the {MOST_COLUMNS:,} that a "
                     "table of scores may; leave out those that are not needed")
