"""Scores that someone else computed, from one tidy CSV: the statistics serve without cubes."""

from __future__ import annotations

import difflib
import logging
from pathlib import Path

import numpy as np
import pandas as pd

from saltrust.analysis.scores.selection import EXPERT
from saltrust.errors import DataError, UsageError, nearest

_log = logging.getLogger(__name__)

#: Columns that a table must have.
REQUIRED = ("image", "finding", "explainer")
#: At least one of them, each in 0..1.
METRICS = ("iou", "hit")
SHAPES = ("n_instances", "area_ratio", "elongation", "irrectangularity")
#: What stands in for an optional column that is absent.
_DEFAULTS = {"model": "model", "reader": "reference"}
_AREAS = ("area_predicted", "area_reference")
_KNOWN = (*REQUIRED, *METRICS, *SHAPES, *_DEFAULTS, "patient", *_AREAS)


def read_tidy_scores(path: str | Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read a CSV with one row per score.

    Parameters
    ----------
    path : path
        UTF-8 CSV with ``image, finding, explainer`` (``expert`` for a person, whose name stands
        in ``model``), ``iou`` and/or ``hit``, and one or more of ``n_instances, area_ratio,
        elongation, irrectangularity`` of the reference mask.  Optional: ``patient, model,
        reader, area_predicted, area_reference``.  Every row is taken for a positive where
        ``area_reference`` is absent.

    Returns
    -------
    scores, descriptors : pandas.DataFrame
        As :func:`saltrust.analysis.shape.regressions.regressions` takes them.

    Raises
    ------
    UsageError
        If there is no such file.
    DataError
        If a column or a label is missing, a number is not finite, a score is out of range, or
        rows of one image and finding disagree on a descriptor.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"there is no file {path}; give a CSV with one row per score")
    text = dict.fromkeys((*REQUIRED, "patient", *_DEFAULTS), str)
    try:
        table = pd.read_csv(path, dtype=text, keep_default_na=True,
                            na_values={name: [] for name in text})
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise DataError(f"{path} cannot be read as CSV ({error})") from None
    for name in REQUIRED:
        if name not in table.columns:
            raise DataError(f"{path} has no column {name!r}; {nearest(name, table.columns)}")
    for names, what in ((METRICS, "score"), (SHAPES, "descriptor")):
        if not set(names) & set(table.columns):
            raise DataError(f"{path} has no {what}: give one of the columns {', '.join(names)}")
    if table.empty:
        raise DataError(f"{path} has no rows")
    _name_unused(table, path)
    _check_labels(table, path)
    for name in (*METRICS, *SHAPES, *_AREAS):
        if name not in table.columns:
            table[name] = 1.0 if name in _AREAS else float("nan")
        table[name] = _numbers(table[name], path, name)
    for name in METRICS:
        wrong = table[name][(table[name] < 0) | (table[name] > 1)]
        if len(wrong):
            raise DataError(f"{path}: {name} {wrong.iloc[0]:g} in row {wrong.index[0] + 2} is not "
                            "between 0 and 1")
    for name, value in _DEFAULTS.items():
        table[name] = table[name].fillna(value) if name in table.columns else value
    key = ["image", "finding", "reader"]
    shapes = table[[*key, *SHAPES]].groupby(key, sort=False, dropna=False)
    several = shapes.nunique()
    differing = several[(several > 1).any(axis=1)]
    if len(differing):
        place = differing.index[0]
        name = next(name for name in SHAPES if several.loc[place, name] > 1)
        raise DataError(f"{path}: rows of image {place[0]!r}, finding {place[1]!r} disagree on "
                        f"{name}, which is of their one reference mask")
    if not (table["explainer"] != EXPERT).any():
        raise DataError(f"{path} holds rows of experts only; add rows of a saliency map")
    return table.drop(columns=list(SHAPES)), shapes.first().reset_index()


def _name_unused(table: pd.DataFrame, path: Path) -> None:
    """Warn of columns that are not read, the more so where one may be misspelt."""
    absent = {name.casefold(): name for name in _KNOWN if name not in table.columns}
    unused = []
    for column in map(str, table.columns):
        if column in _KNOWN:
            continue
        close = difflib.get_close_matches(column.casefold(), absent, n=1, cutoff=0.8)
        unused.append(f"{column} (for {absent[close[0]]}? then rename it)" if close else column)
    if unused:
        _log.warning("%s: columns that are not used: %s", path, ", ".join(unused))


def _check_labels(table: pd.DataFrame, path: Path) -> None:
    for name in REQUIRED:
        empty = np.flatnonzero(table[name].isna() | (table[name].str.strip() == ""))
        if len(empty):
            raise DataError(f"{path} has no {name} in row {empty[0] + 2}; every row needs one")
    other = table["explainer"][(table["explainer"] != EXPERT)
                               & (table["explainer"].str.strip().str.casefold() == EXPERT)]
    if len(other):
        raise DataError(f"{path}: explainer {other.iloc[0]!r} in row {other.index[0] + 2} must be "
                        f"written {EXPERT!r} where it stands for a person")


def _numbers(column: pd.Series, path: Path, name: str) -> pd.Series:
    try:
        numbers = pd.to_numeric(column).astype("float64")
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: column {name} must hold numbers ({error})") from None
    endless = np.flatnonzero(np.isinf(numbers))
    if len(endless):
        raise DataError(f"{path}: {name} in row {endless[0] + 2} is infinite; give a number or "
                        "leave it empty")
    return numbers
