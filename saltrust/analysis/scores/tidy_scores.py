"""Scores that someone else computed, from one tidy CSV: the statistics serve without cubes."""

from __future__ import annotations

import difflib
import logging
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from saltrust.analysis.csv_files import read_table
from saltrust.analysis.scores.score_rows import EXPERT
from saltrust.errors import DataError, UsageError, nearest
from saltrust.reading import check_path, reading, reason_of, shown

_log = logging.getLogger(__name__)

#: Columns that a table must have.
REQUIRED = ("image", "finding", "explainer")
#: At least one of them, each in 0..1.
METRICS = ("iou", "hit")
#: Products of larger numbers overflow.
MOST_MEASURED = 1e100
SHAPES = ("n_instances", "area_ratio", "elongation", "irrectangularity")
#: What stands in for an optional column that is absent.
_DEFAULTS = {"model": "model", "reader": "reference"}
_AREAS = ("area_predicted", "area_reference")
#: Columns that an export of scores has besides, and that nothing here reads.
_BESIDE = ("map_reading", "study", "split", "view", "label", "probability", "threshold",
           "peak_y", "peak_x", "n_peak", "mass_accuracy", "rank_accuracy", "energy_pointing")
_KNOWN = (*REQUIRED, *METRICS, *SHAPES, *_DEFAULTS, "patient", *_AREAS)


def read_tidy_scores(path: str | Path) -> pd.DataFrame:
    """Read a CSV with one row per score, for :func:`tidy_scores`.

    Parameters
    ----------
    path : path
        UTF-8 CSV.  Columns that are not used are named in a warning.

    Returns
    -------
    pandas.DataFrame
        Labels as text, what else there is as pandas reads it.

    Raises
    ------
    UsageError
        If there is no such file.
    DataError
        If it cannot be read as CSV.
    """
    path = Path(path)
    with reading(str(path), "give a CSV with one row per score"):
        check_path(path, "table of scores")
        if not path.is_file():
            raise UsageError(f"there is no file {path}; give a CSV with one row per score")
    table = read_table(path, dtype=dict.fromkeys((*REQUIRED, "patient", *_DEFAULTS), str))
    _name_unused(table, path)
    return table


def read_frame(scores: pd.DataFrame | str | Path) -> tuple[pd.DataFrame, str]:
    """A table that was handed over or lies in a file, and what messages call it."""
    if isinstance(scores, pd.DataFrame):
        return scores, "the table of scores"
    if not isinstance(scores, str | Path):
        raise UsageError("a table of scores or the path of a CSV is wanted, not "
                         f"{type(scores).__name__}; saltrust.regressions and saltrust.confidence "
                         "take cubes")
    return read_tidy_scores(scores), str(scores)


def tidy_scores(table: pd.DataFrame, where: str = "the table of scores", *,
                measured: Sequence[str] = SHAPES) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Check a table with one row per score, and take scores and descriptors apart.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``image, finding, explainer`` (``expert`` for a person, whose name stands
        in ``model``), ``iou`` and/or ``hit``, and one or more of ``n_instances, area_ratio,
        elongation, irrectangularity`` of the reference mask.  Optional: ``patient, model,
        reader, area_predicted, area_reference``.  Every row is taken for a positive where
        ``area_reference`` is absent.
    where : str
        What messages call it, such as the path of a file.
    measured : sequence of str
        Columns of which at least one has to be there.

    Returns
    -------
    scores, descriptors : pandas.DataFrame
        What :func:`saltrust.analysis.shape.regressions.regress` takes.

    Raises
    ------
    DataError
        If a column or a label is missing, a number is not finite, a score is out of range, or
        rows of one image and finding disagree on a descriptor.
    """
    with reading(where, "check its columns and numbers"):
        return _tidy(table.reset_index(drop=True), where, measured)


def _tidy(table: pd.DataFrame, where: str, measured: Sequence[str]
          ) -> tuple[pd.DataFrame, pd.DataFrame]:
    for name in REQUIRED:
        if name not in table.columns:
            raise DataError(f"{where} has no column {name!r}; {nearest(name, table.columns)}")
    for names, what in ((METRICS, "score"), (measured, "descriptor" if measured == SHAPES else
                                             "predicted probability")):
        if not set(names) & set(table.columns):
            raise DataError(f"{where} has no {what}: give one of the columns {', '.join(names)}")
    if table.empty:
        raise DataError(f"{where} has no rows")
    _check_labels(table, where)
    if "probability" in measured:
        table["probability"] = _numbers(table["probability"], where, "probability")
    for name in (*METRICS, *SHAPES, *_AREAS):
        if name not in table.columns:
            table[name] = 1.0 if name in _AREAS else float("nan")
        table[name] = _numbers(table[name], where, name)
    for name in (*METRICS, *(name for name in measured if name == "probability")):
        wrong = table[name][(table[name] < 0) | (table[name] > 1)]
        if len(wrong):
            raise DataError(f"{where}: {name} {wrong.iloc[0]:g} in row {wrong.index[0] + 2} is "
                            "not between 0 and 1")
    for name, value in _DEFAULTS.items():
        table[name] = table[name].fillna(value) if name in table.columns else value
    key = ["image", "finding", "reader"]
    shapes = table[[*key, *SHAPES]].groupby(key, sort=False, dropna=False)
    several = shapes.nunique()
    differing = several[(several > 1).any(axis=1)]
    if len(differing):
        place = differing.index[0]
        name = next(name for name in SHAPES if several.loc[place, name] > 1)
        raise DataError(f"{where}: rows of image {shown(place[0])}, finding {shown(place[1])} "
                        f"disagree on {name}, which is of their one reference mask")
    if not (table["explainer"] != EXPERT).any():
        raise DataError(f"{where} holds rows of experts only; add rows of a saliency map")
    return table.drop(columns=list(SHAPES)), shapes.first().reset_index()


def _name_unused(table: pd.DataFrame, path: Path) -> None:
    """Warn of columns that are not read, the more so where one may be misspelt."""
    absent = {name.casefold(): name for name in _KNOWN if name not in table.columns}
    unused = []
    for column in map(str, table.columns):
        if column in (*_KNOWN, *_BESIDE):
            continue
        close = difflib.get_close_matches(column.casefold()[:100], absent, n=1, cutoff=0.8)
        unused.append(f"{column} (for {absent[close[0]]}? then rename it)" if close else column)
    if unused:
        _log.warning("%s: columns that are not used: %s", path,
                     textwrap.shorten(", ".join(unused), 2000, placeholder=" ..."))


def _check_labels(table: pd.DataFrame, where: str) -> None:
    for name in REQUIRED:
        empty = np.flatnonzero(table[name].isna() | (table[name].astype(str).str.strip() == ""))
        if len(empty):
            raise DataError(f"{where} has no {name} in row {empty[0] + 2}; every row needs one")
    folded = table["explainer"].astype(str).str.strip().str.casefold()
    other = table["explainer"][(table["explainer"] != EXPERT) & (folded == EXPERT)]
    if len(other):
        raise DataError(f"{where}: explainer {shown(other.iloc[0])} in row {other.index[0] + 2} "
                        f"must be written {EXPERT!r} where it stands for a person")


def _numbers(column: pd.Series, where: str, name: str) -> pd.Series:
    try:
        numbers = pd.to_numeric(column).astype("float64")
    except Exception as error:
        raise DataError(f"{where}: column {name} must hold numbers ({reason_of(error)})"
                        ) from error
    endless = np.flatnonzero(np.isinf(numbers))
    if len(endless):
        raise DataError(f"{where}: {name} in row {endless[0] + 2} is infinite; give a number or "
                        "leave it empty")
    absurd = np.flatnonzero(np.abs(numbers) > MOST_MEASURED)
    if len(absurd):
        raise DataError(f"{where}: {name} in row {absurd[0] + 2} is {numbers.iloc[absurd[0]]:g}, "
                        "which nobody measures; correct it or leave it empty")
    return numbers
