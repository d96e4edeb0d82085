"""Tables that others wrote, as CSV: looked over before they are read, and read in one boundary."""

from __future__ import annotations

import unicodedata
import warnings
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pandas as pd
from pandas.api.types import is_numeric_dtype

from saltrust.errors import DataError, SaltrustError
from saltrust.reading import reason_of, shown
from saltrust.table_dialect import dialect_of, undecodable
from saltrust.table_sizes import MOST_COLUMNS, look_over, too_many_columns


def read_header(path: Path) -> list[str]:
    """Names of the columns of a CSV file, in order, as they stand there.

    Parameters
    ----------
    path : pathlib.Path
        As :mod:`saltrust.table_dialect` knows them, compressed if the suffix says so.

    Raises
    ------
    DataError
        If it is no such file, or larger than a table may be.
    """
    with _reading(path):
        dialect = dialect_of(path)
        look_over(path, dialect)
        first = pd.read_csv(path, header=None, nrows=1, dtype="object", keep_default_na=False,
                            **dialect.options())
        if first.shape[1] > MOST_COLUMNS:
            raise too_many_columns(path, first.shape[1])
        return [unicodedata.normalize("NFC", str(name).strip()) for name in first.iloc[0]]


def read_csv(path: Path, header: list[str], *, dtype: Mapping[Any, Any] | type,
             missing: Collection[str] | None = None) -> pd.DataFrame:
    """The rows of a CSV file whose header was read, its columns numbered.

    Parameters
    ----------
    path : pathlib.Path
    header : list of str
        As :func:`read_header` gives.
    dtype : mapping of int to type, or type
        Of columns by number; the others as pandas reads them.
    missing : collection of str, optional
        What stands for a missing value; by default what pandas takes for one.  Cells that a
        short row lacks are missing all the same.

    Raises
    ------
    DataError
        If it cannot be read, or rows have more cells than the header.
    """
    with _reading(path), warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        dialect = dialect_of(path)
        table = pd.read_csv(path, header=0, names=range(len(header)), index_col=False,
                            dtype=cast(Any, dtype), keep_default_na=missing is None,
                            na_values=None if missing is None else list(missing),
                            low_memory=False, decimal=dialect.decimal, **dialect.options())
    if dialect.decimal == ",":
        # Those that are read as text, which their readers turn into numbers.
        for column in table.columns[[not is_numeric_dtype(kind) for kind in table.dtypes]]:
            table[column] = table[column].map(dialect.plain, na_action="ignore")
    return table


def read_table(path: Path, *, dtype: Mapping[str, type] | type,
               missing: Collection[str] | None = None) -> pd.DataFrame:
    """A CSV file with columns by name, none of which stands twice.

    Parameters
    ----------
    path : pathlib.Path
    dtype : mapping of str to type, or type
        Of columns by name.
    missing : collection of str, optional
        As of :func:`read_csv`.

    Raises
    ------
    DataError
        As of the others, and where a name stands twice.
    """
    header = read_header(path)
    twice = next((name for name, count in Counter(header).items() if name and count > 1), None)
    if twice is not None:
        raise DataError(f"{path} has the column {shown(twice)} more than once; rename one")
    by_number = dtype if isinstance(dtype, type) else {
        number: dtype[name] for number, name in enumerate(header) if name in dtype}
    return read_csv(path, header, dtype=by_number, missing=missing).set_axis(header,
                                                                            axis="columns")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except SaltrustError:
        raise
    except pd.errors.ParserWarning:
        raise DataError(f"{path} has rows with more cells than the header; check its commas and "
                        "quotes") from None
    except (FileNotFoundError, IsADirectoryError):
        raise DataError(f"{path} is not a file; check the path") from None
    except pd.errors.EmptyDataError:
        raise DataError(f"{path} is empty; it needs a header and a row per score") from None
    except UnicodeDecodeError:
        raise undecodable(path, dialect_of(path)) from None
    except Exception as error:
        raise DataError(f"{path} cannot be read as CSV ({reason_of(error)}); save it as CSV in "
                        "UTF-8, with a header and commas") from error
