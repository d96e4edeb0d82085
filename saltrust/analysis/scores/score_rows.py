"""Which rows of a table of scores an inference is made from.

A row of scores is one stored map, or one benchmark reader's mask (explainer ``expert``, the
reader's name in ``model``), against one reference reader; see
:mod:`saltrust.analysis.localization.analysis`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api.types import infer_dtype

from saltrust.analysis.stored.contents import one_of
from saltrust.choices import IouSlice
from saltrust.errors import DataError, UsageError

_log = logging.getLogger(__name__)

#: What stands in the column ``explainer`` for a person.
EXPERT = "expert"

Scheme = Literal["iou", "hit"]
SCHEMES: tuple[Scheme, ...] = ("iou", "hit")

_NAMES = ("image", "finding", "explainer", "model", "reader")
_NUMBERS = ("iou", "hit", "area_predicted", "area_reference")


def check_columns(table: pd.DataFrame, names: Sequence[str], numbers: Sequence[str],
                  what: str) -> pd.DataFrame:
    """A copy with names as text and numbers as float64, in a plain range index.

    Raises
    ------
    DataError
        If a column is missing, is not of numbers, or rows repeat the same names.
    """
    missing = [name for name in (*names, *numbers) if name not in table.columns]
    if missing:
        raise DataError(f"the {what} have no column {missing[0]!r} (they have "
                        f"{', '.join(map(str, table.columns))}); make them with `saltrust analyze`")
    kept = table.reset_index(drop=True).copy()
    for name in names:
        kept[name] = text(kept[name])
    for name in numbers:
        try:
            kept[name] = pd.to_numeric(kept[name]).astype("float64")
        except (TypeError, ValueError) as error:
            raise DataError(f"column {name!r} of the {what} must hold numbers: {error}") from None
        if np.isinf(kept[name]).any():
            raise DataError(f"column {name!r} of the {what} holds an infinite number")
    repeated = kept.duplicated(list(names))
    if repeated.any():
        row = kept.loc[repeated, list(names)].iloc[0]
        labels = ", ".join(f"{name} {row[name]!r}" for name in names)
        raise DataError(f"the {what} have more than one row for {labels}; keep one")
    return kept


def text(column: pd.Series[str]) -> pd.Series[str]:
    """Labels as text; a missing one is empty."""
    if infer_dtype(column, skipna=False) == "string":  # As they nearly always are.
        return column.astype(object)
    return column.astype(object).where(column.notna(), "").map(str)


def check_scores(scores: pd.DataFrame) -> pd.DataFrame:
    """The table of scores checked, with a column ``cluster``: a number per patient, else image.

    Raises
    ------
    DataError
        If a column is missing or not of numbers, rows repeat the same names, or no row is of a
        saliency map.
    """
    kept = check_columns(scores, _NAMES, _NUMBERS, "scores")
    if not (kept["explainer"] != EXPERT).any():
        raise DataError("the scores hold no saliency map; generate heatmaps first")
    patient = text(kept["patient"]) if "patient" in kept.columns else pd.Series("", kept.index)
    # An image without a known patient stands for its own.
    label = np.where(patient == "", "image " + kept["image"], "patient " + patient)
    kept["cluster"] = pd.factorize(label)[0]
    return kept


def reference_reader(scores: pd.DataFrame) -> str:
    """The reference reader that the maps are compared with.

    Where there are several the first is used, with a warning: rows of the same image against two
    readers are not two observations.

    Raises
    ------
    DataError
        If no map was compared with any.
    """
    saliency = scores["explainer"] != EXPERT
    readers = [name for name in dict.fromkeys(scores.loc[saliency, "reader"]) if name]
    if not readers:
        raise DataError("no saliency map was compared with a reference reader; add reference "
                        "masks")
    if len(readers) > 1:
        _log.warning("the maps are compared with %d reference readers (%s); %s is used; select "
                     "another to use it", len(readers), ", ".join(readers), readers[0])
    return readers[0]


def benchmark_rows(scores: pd.DataFrame, benchmark: str | None) -> pd.DataFrame:
    """Rows of the people who stand for the expert: all of them, or the one reader named.

    Raises
    ------
    UsageError
        If there is no such reader.
    """
    people = scores[scores["explainer"] == EXPERT]
    if benchmark is None:
        return people
    readers = list(dict.fromkeys(map(str, people["model"])))
    if not readers:
        raise UsageError(f"there is no benchmark reader {benchmark!r}: the scores hold none at "
                         "all")
    one_of(benchmark, readers, "benchmark reader")
    return people[people["model"] == benchmark]


def who_stands_for_expert(people: pd.DataFrame) -> str | None:
    """How to tell whose scores are the expert's, for rows of :func:`benchmark_rows`."""
    readers = sorted(set(map(str, people["model"])))
    if len(readers) < 2:
        return f"reader {readers[0]}" if readers else None
    return "mean over the benchmark readers who scored the row: " + ", ".join(readers)


def select_scores(scores: pd.DataFrame, labels: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Rows with some labels; rows of people stay whatever explainers and models are chosen.

    Parameters
    ----------
    scores : pandas.DataFrame
    labels : mapping of str to sequence of str
        By ``finding``, ``explainer`` or ``model``.

    Raises
    ------
    UsageError
        If a label is not among the scores, or none of the maps has all of them.
    """
    person = scores["explainer"] == EXPERT
    kept = pd.Series(True, scores.index)
    for name, chosen in labels.items():
        column = scores[name] if name in scores else pd.Series("", scores.index)
        for label in chosen:
            one_of(label, list(dict.fromkeys(map(str, column[~person]))), name)
        kept &= column.isin(chosen) | (person if name != "finding" else False)
    if not (kept & ~person).any():
        stated = " and ".join(f"{name} {' or '.join(chosen)}" for name, chosen in labels.items())
        raise UsageError(f"no map is of {stated} together")
    return scores[kept]


def maps(scores: pd.DataFrame) -> list[tuple[str, str]]:
    """Pairs of explainer and model in order of appearance."""
    saliency = scores[scores["explainer"] != EXPERT]
    return list(dict.fromkeys(zip(saliency["explainer"], saliency["model"], strict=True)))


def shared_exclusions(excluded: Mapping[tuple[str, str, str], Mapping[str, int]]
                      ) -> dict[str, object]:
    """Rows left out and why, said once where all maps or all schemes agree.

    Parameters
    ----------
    excluded : mapping of (explainer, model, scheme) to mapping of reason to count

    Returns
    -------
    dict
        ``{reason: count}``, or that under each scheme, or under each ``explainer, model, scheme``.

    Examples
    --------
    >>> shared_exclusions({("grad", "a", "iou"): {"x": 1}, ("gradcam", "a", "iou"): {"x": 1},
    ...                    ("grad", "a", "hit"): {"x": 2}, ("gradcam", "a", "hit"): {"x": 2}})
    {'iou': {'x': 1}, 'hit': {'x': 2}}
    """
    every = [dict(reasons) for reasons in excluded.values()]
    if every and all(reasons == every[0] for reasons in every):
        return dict(every[0])
    schemes = {scheme: [dict(reasons) for (_, _, other), reasons in excluded.items()
                        if other == scheme] for _, _, scheme in excluded}
    if all(reasons == group[0] for group in schemes.values() for reasons in group):
        return {scheme: group[0] for scheme, group in schemes.items()}
    return {", ".join(key): dict(reasons) for key, reasons in excluded.items()}


def why_nothing(notes: Iterable[str], excluded: Mapping[tuple[str, str, str], Mapping[str, int]]
                ) -> str:
    """Why a table has no estimate: notes and the rows that fell out, each said once."""
    left_out = [f"{count} left out with {reason}" for reasons in excluded.values()
                for reason, count in reasons.items()]
    return ", ".join(dict.fromkeys([*filter(None, notes), *left_out]))


def response(rows: pd.DataFrame, scheme: Scheme, iou_slice: IouSlice
             ) -> npt.NDArray[np.float64]:
    """The score of every row where it belongs to the slice, else NaN.

    The slice is of masks and so concerns the overlap; a hit needs no predicted mask, and is
    defined wherever the reference is not empty.

    Returns
    -------
    ndarray of float64, shape (n,)
    """
    reference, predicted = (rows[name].to_numpy() for name in ("area_reference",
                                                               "area_predicted"))
    if scheme == "hit":
        return np.where(reference > 0, rows["hit"].to_numpy(), np.nan)
    # However the scores were sliced: an empty prediction overlaps with nothing.
    overlap = np.where(predicted == 0, 0.0, rows["iou"].to_numpy())
    if iou_slice == "positive":
        return np.where(reference > 0, overlap, np.nan)
    if iou_slice == "both_nonempty":
        return np.where((reference > 0) & (predicted > 0), overlap, np.nan)
    # A map predicted where the reader saw nothing overlaps with nothing.
    false_positive = (reference == 0) & (predicted > 0)
    return np.where(reference > 0, overlap, np.where(false_positive, 0.0, np.nan))
