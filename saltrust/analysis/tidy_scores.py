"""Scores that someone else computed, from one tidy CSV: the statistics serve without cubes."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from saltrust.analysis.selection import EXPERT
from saltrust.errors import DataError, UsageError, nearest

#: Columns that a table must have.
REQUIRED = ("image", "finding", "explainer")
#: At least one of them, each in 0..1.
METRICS = ("iou", "hit")
SHAPES = ("n_instances", "area_ratio", "elongation", "irrectangularity")
#: What stands in for an optional column that is absent.
_DEFAULTS = {"model": "model", "reader": "reference"}


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
        As :func:`saltrust.analysis.regressions.regressions` takes them.

    Raises
    ------
    UsageError
        If there is no such file.
    DataError
        If a column is missing, a score is out of range, or rows of one image and finding
        disagree on a descriptor.
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
    for name in (*METRICS, *SHAPES, "area_predicted", "area_reference"):
        if name not in table.columns:
            table[name] = 1.0 if name.startswith("area_") and name not in SHAPES else float("nan")
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


def _numbers(column: pd.Series, path: Path, name: str) -> pd.Series:
    try:
        return pd.to_numeric(column).astype("float64")
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: column {name} must hold numbers ({error})") from None
