"""A result as files: JSON, CSV and Parquet, each whole or not at all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd

from saltrust.analysis.result.result import Result, plain
from saltrust.analysis.result.text import render
from saltrust.errors import DataError, UsageError
from saltrust.files import Advice, whole_file, write_text

_ADVICE = Advice("repeat the call", "choose another place", UsageError)


def file_stem(result: Result, table: str) -> str:
    """Name of the file of a table, without its suffix: the topic comes first where there is one.

    Parameters
    ----------
    result : Result
    table : str
    """
    return f"{result.topic}_{table}" if result.topic else table


def csv_texts(result: Result, stem: str | None = None, *,
              spreadsheet_safe: bool = False) -> dict[str, str]:
    """Every table as CSV with all digits, by the name of its file.

    Parameters
    ----------
    result : Result
    stem : str, optional
        What the names begin with; by default the topic.
    spreadsheet_safe : bool
        Whether texts that a spreadsheet takes for formulas are quoted.
    """
    named = result if stem is None else replace(result, topic=stem)
    return {f"{file_stem(named, name)}.csv": render(result, "csv", tables=[name],
                                                    spreadsheet_safe=spreadsheet_safe)
            for name in result}


def write_json(result: Result, path: str | Path) -> None:
    """Write a result as one JSON file (:meth:`saltrust.analysis.result.Result.to_json`)."""
    write_text(Path(path), render(result, "json"), _ADVICE)


def write_csv(result: Result, folder: str | Path, *,
              spreadsheet_safe: bool = False) -> list[Path]:
    """Write every table (:meth:`saltrust.analysis.result.Result.to_csv`)."""
    paths = []
    for name, text in csv_texts(result, spreadsheet_safe=spreadsheet_safe).items():
        paths.append(Path(folder) / name)
        write_text(paths[-1], text, _ADVICE)
    return paths


def write_parquet(result: Result, folder: str | Path) -> list[Path]:
    """Write every table (:meth:`saltrust.analysis.result.Result.to_parquet`)."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise DataError("Parquet needs pyarrow, which is not installed; install it with "
                        "`pip install 'saltrust[parquet]'`, or write CSV") from error
    facts = json.dumps(plain(result.meta), allow_nan=False, ensure_ascii=False)
    paths = []
    for name, frame in result.tables.items():
        indexed = any(level is not None for level in frame.index.names)
        table = pyarrow.Table.from_pandas(_of_one_type(frame.reset_index() if indexed else frame),
                                          preserve_index=False)
        table = table.replace_schema_metadata({**(table.schema.metadata or {}),
                                               b"saltrust": facts.encode()})
        paths.append(Path(folder) / f"{file_stem(result, name)}.parquet")
        with whole_file(paths[-1], _ADVICE) as aside:
            parquet.write_table(table, aside)
    return paths


def _of_one_type(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns of texts and numbers side by side become texts; a column of a file has one type."""
    mixed = [name for name in frame.columns
             if pd.api.types.infer_dtype(frame[name], skipna=True).startswith("mixed")]
    return frame.assign(**{str(name): frame[name].map(str, na_action="ignore") for name in mixed})
