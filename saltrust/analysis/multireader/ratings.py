"""Ratings of cases by readers under treatments, checked and laid out as cases by cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from saltrust.analysis.csv_files import read_table
from saltrust.analysis.scores.score_rows import text
from saltrust.choices import AreaCovariance, FixedFactor
from saltrust.errors import DataError, UsageError, nearest
from saltrust.reading import check_path, reading, shown

FloatArray = npt.NDArray[np.float64]

_TRUTHS = {**dict.fromkeys(("1", "true", "positive", "abnormal", "yes"), True),
           **dict.fromkeys(("0", "false", "negative", "normal", "no"), False)}
_CLASSES = {True: "abnormal", False: "normal"}


@dataclass(frozen=True)
class RatingColumns:
    """Names of the columns of a table of ratings.

    Attributes
    ----------
    treatment, reader, case : str
        What was compared, who rated, and what: one rating each.
    truth : str
        1 or 0, true or false, positive or negative, abnormal or normal; the same in all rows of a
        case.
    rating : str
        A number, larger the surer that the case is abnormal.
    """

    treatment: str = "treatment"
    reader: str = "reader"
    case: str = "case"
    truth: str = "truth"
    rating: str = "rating"

    def __post_init__(self) -> None:
        names = [getattr(self, field.name) for field in fields(self)]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise UsageError(f"the column {shown(twice)} is named for two things; name one column "
                             f"each for {', '.join(field.name for field in fields(self))}")


@dataclass(frozen=True)
class RatedCases:
    """Cases by cells of treatment and reader.

    Attributes
    ----------
    treatments, readers : list of str
        In their order as numbers, where all are, else as texts.
    positive : ndarray of bool, shape (case,)
    ratings : ndarray of float64, shape (case, treatment, reader)
        NaN where a case was not rated.
    clusters : ndarray of object, shape (case,)
        Patient of each case, or the case.
    """

    treatments: list[str]
    readers: list[str]
    positive: npt.NDArray[np.bool_]
    ratings: FloatArray
    clusters: npt.NDArray[np.object_]


def read_ratings(ratings: pd.DataFrame | str | Path, columns: RatingColumns, cluster: str | None
                 ) -> tuple[RatedCases, str]:
    """Read and check a table of ratings.

    Parameters
    ----------
    ratings : pandas.DataFrame or path
        One row per rating, or a CSV of them.
    columns : RatingColumns
    cluster : str, optional
        Column of patients.

    Returns
    -------
    cases : RatedCases
    where : str
        What messages call the table.

    Raises
    ------
    DataError
        If a column is missing, a rating is no number or a label is empty, rows contradict each
        other or one stands twice, or there is no normal or no abnormal case.
    UsageError
        If there is no such file.
    """
    if isinstance(ratings, pd.DataFrame):
        table, where, first = ratings.reset_index(drop=True), "the table of ratings", 0
    elif isinstance(ratings, str | Path):
        path = Path(ratings)
        with reading(str(path), "give a CSV with one row per rating"):
            check_path(path, "table of ratings")
            if not path.is_file():
                raise UsageError(f"there is no file {path}; give a CSV with one row per rating")
        labels = [name for name in (columns.treatment, columns.reader, columns.case,
                                    columns.truth, cluster) if name]
        # What is empty is missing; a treatment may be called "None".
        table, where, first = (read_table(path, dtype=dict.fromkeys(labels, str), missing=("",)),
                               str(path), 2)
    else:
        raise UsageError("a table of ratings or the path of a CSV is wanted, not "
                         f"{type(ratings).__name__}; saltrust.mrmc takes cubes")
    with reading(where, "check its columns and numbers"):
        return _laid_out(_tidy(table, columns, cluster, where, first)), where


def _tidy(table: pd.DataFrame, columns: RatingColumns, cluster: str | None, where: str,
          first: int) -> pd.DataFrame:
    """Columns ``treatment, reader, case, truth, rating, cluster`` of checked values."""
    wanted = {field.name: getattr(columns, field.name) for field in fields(columns)}
    for what, name in {**wanted, **({"cluster": cluster} if cluster else {})}.items():
        if name not in table.columns:
            raise DataError(f"{where} has no column {shown(name)} for the {what}; "
                            f"{nearest(name, list(map(str, table.columns)))}, or name it with "
                            f"--{what}")
        if isinstance(table[name], pd.DataFrame):
            raise DataError(f"{where} has the column {shown(name)} more than once; rename one")
    if table.empty:
        raise DataError(f"{where} has no rows; it needs one per rating")
    tidy = pd.DataFrame({what: text(table[wanted[what]]).str.strip()
                         for what in ("treatment", "reader", "case", "truth")})
    for what in tidy.columns:
        empty = np.flatnonzero(tidy[what] == "")
        if len(empty):
            raise DataError(f"{where} has no {what} in row {empty[0] + first}; every row needs "
                            "one")
    tidy["rating"] = _numbers(table[wanted["rating"]], tidy["reader"], where, first)
    tidy["truth"] = _truths(tidy["truth"], where, first)
    patients = text(table[cluster]).str.strip() if cluster else pd.Series("", tidy.index)
    # A case without a known patient stands for its own.
    tidy["cluster"] = np.where(patients == "", "case " + tidy["case"], "patient " + patients)
    _check_agreement(tidy, where, cluster)
    return tidy


def _numbers(column: pd.Series[Any], readers: pd.Series[str], where: str, first: int
             ) -> FloatArray:
    empty = (column.isna() | (text(column).str.strip() == "")).to_numpy()
    numbers = pd.to_numeric(column.astype(object).where(~empty, np.nan), errors="coerce"
                            ).to_numpy(dtype=np.float64)
    wrong = np.flatnonzero(np.isnan(numbers) & ~empty)
    if len(wrong):
        raise DataError(f"{where}: the rating {shown(str(column.iloc[wrong[0]]))} in row "
                        f"{wrong[0] + first} is no number; give numbers, larger the surer that "
                        "the case is abnormal")
    for reader in dict.fromkeys(readers):
        if empty[(readers == reader).to_numpy()].all():
            raise DataError(f"{where}: the reader {shown(reader)} has no case with a rating; leave "
                            "the reader out, or give the ratings")
    for bad, what in ((empty, "empty; leave out the row of what was not rated"),
                      (np.isinf(numbers), "infinite; give a number")):
        if bad.any():
            raise DataError(f"{where}: the rating in row {np.flatnonzero(bad)[0] + first} is "
                            f"{what}")
    return numbers


def _truths(column: pd.Series[str], where: str, first: int) -> npt.NDArray[np.bool_]:
    known = {value: _truth(value) for value in dict.fromkeys(column)}
    if len(set(column)) > 2 and None in known.values():
        raise DataError(f"{where}: the truth has {len(known)} values ("
                        f"{', '.join(shown(value) for value in list(known)[:5])}), not two; give 1 "
                        "for abnormal cases and 0 for normal ones")
    for value, truth in known.items():
        if truth is None:
            row = np.flatnonzero(column == value)[0] + first
            raise DataError(f"{where}: the truth {shown(value)} in row {row} is none of 1 or 0, "
                            "true or false, positive or negative, abnormal or normal; write one of "
                            "these")
    truths = column.map(known).to_numpy(dtype=bool)
    for truth, name in _CLASSES.items():
        if not (truths == truth).any():
            raise DataError(f"{where} has no {name} case; an area under the ROC curve needs normal "
                            "and abnormal cases")
    return truths


def _truth(value: str) -> bool | None:
    word = value.casefold()
    if word in _TRUTHS:
        return _TRUTHS[word]
    try:
        return {1.0: True, 0.0: False}.get(float(word))
    except ValueError:
        return None


def _check_agreement(tidy: pd.DataFrame, where: str, cluster: str | None) -> None:
    """Refuse cases of which rows differ, and cells that stand twice."""
    for what, name in (("truth", "truth"), ("cluster", f"cluster {shown(cluster or '')}")):
        several = tidy.groupby("case", sort=False)[what].nunique()
        if (several > 1).any():
            raise DataError(f"{where}: rows of case {shown(str(several.idxmax()))} disagree on the "
                            f"{name}, of which a case has one; correct it, or give cases names of "
                            "their own")
    twice = tidy[tidy.duplicated(["treatment", "reader", "case"])]
    if len(twice):
        row = twice.iloc[0]
        raise DataError(f"{where} has more than one rating of case {shown(row['case'])} by reader "
                        f"{shown(row['reader'])} under treatment {shown(row['treatment'])}; keep "
                        "one")


def _laid_out(tidy: pd.DataFrame) -> RatedCases:
    treatments, readers = (_sorted(tidy[name]) for name in ("treatment", "reader"))
    cases = tidy.drop_duplicates("case")
    ratings = np.full((len(cases), len(treatments), len(readers)), np.nan)
    at = [pd.Index(labels).get_indexer(pd.Index(tidy[name])) for name, labels in
          (("case", cases["case"].tolist()), ("treatment", treatments), ("reader", readers))]
    ratings[tuple(at)] = tidy["rating"]
    return RatedCases(treatments, readers, cases["truth"].to_numpy(dtype=bool), ratings,
                      cases["cluster"].to_numpy(dtype=object))


def _sorted(column: pd.Series[str]) -> list[str]:
    names = list(dict.fromkeys(column))
    try:
        return sorted(names, key=float)
    except ValueError:
        return sorted(names)


def check_factorial(cases: RatedCases, where: str, covariance: AreaCovariance,
                    fixed: FixedFactor | None) -> None:
    """Refuse what has no multi-reader analysis, in one sentence.

    Parameters
    ----------
    cases : RatedCases
    where : str
    covariance : {"jackknife", "delong", "unbiased"}
    fixed : {"readers", "cases"}, optional

    Raises
    ------
    DataError
        If there is one treatment, or one reader who is to stand for others; if a reader has no
        cases under a treatment, or of a class two patients at least; or if cases are missing
        and the covariance needs all.
    """
    if len(cases.treatments) < 2:
        raise DataError(f"{where} has one treatment, {shown(cases.treatments[0])}; two or more are "
                        "compared")
    if len(cases.readers) < 2 and fixed != "readers":
        raise DataError(f"{where} has one reader, {shown(cases.readers[0])}, of whom nothing "
                        "follows for others; add readers, or say --fixed readers for a conclusion "
                        "about this one")
    require_cells(cases, where, range(len(cases.treatments)))
    missing = np.argwhere(np.isnan(cases.ratings))
    if covariance != "jackknife" and len(missing):
        _, treatment, reader = missing[0]
        raise DataError(f"{where}: the design is unbalanced, reader "
                        f"{shown(cases.readers[reader])} did not rate every case under treatment "
                        f"{shown(cases.treatments[treatment])}, and --covariance {covariance} "
                        "needs all ratings; say --covariance jackknife")


def require_cells(cases: RatedCases, where: str, treatments: Mapping[int, Any] | range) -> None:
    """Refuse readers without cases under one of the treatments, of either class.

    Raises
    ------
    DataError
    """
    for i in treatments:
        for j, reader in enumerate(cases.readers):
            known = ~np.isnan(cases.ratings[:, i, j])
            cell = f"reader {shown(reader)} under treatment {shown(cases.treatments[i])}"
            if not known.any():
                raise DataError(f"{where} has no case of {cell}; every reader reads under every "
                                "treatment, else leave the reader out")
            for truth, name in _CLASSES.items():
                patients = set(cases.clusters[known & (cases.positive == truth)])
                if len(patients) < 2:
                    raise DataError(f"{where} has {name} cases of "
                                    + ("no patient" if not patients else "one patient only")
                                    + f" by {cell}; two are needed, or leave the reader out")
