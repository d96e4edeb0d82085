"""Means of localization scores per finding: of every map, and of the expert."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from saltrust.analysis.inference.bootstrap import mean_interval
from saltrust.analysis.inference.estimate import Estimate, check_confidence_level, estimates_table
from saltrust.analysis.inference.proportions import proportion_interval
from saltrust.analysis.scores.score_rows import EXPERT, SCHEMES, Scheme, check_columns, text
from saltrust.analysis.scores.scores_table import RELEVANCE
from saltrust.choices import BootstrapKind

FloatArray = npt.NDArray[np.float64]

#: What stands in the column ``finding`` for the mean over all findings.
AVERAGE = "average"

#: All benchmark readers together, in the place of explainer and model.
MEAN_EXPERT = (EXPERT, "")

#: What names a row of a table of means.
IDENTIFY = ("finding", "explainer", "model", "metric")
_NAMES = ("image", "finding", "explainer", "model", "reader")
#: Finding, explainer and model.
Column = tuple[str, str, str]


def summarize(scores: pd.DataFrame, *, resamples: int = 1000, confidence_level: float = 0.95,
              seed: int = 0, chance: Mapping[str, float] | None = None,
              method: BootstrapKind = "auto") -> pd.DataFrame:
    """Mean IoU and hit rate of every explainer, model and finding.

    Parameters
    ----------
    scores : pandas.DataFrame
        Table of :func:`saltrust.analysis.scores.scored_maps.score_maps`.
    resamples : int
        Bootstrap resamples of patients (of images where the patient is unknown).
    confidence_level : float
        Of the percentile intervals; Wilson's where all are hits or all are misses.
    seed : int
    chance : mapping of finding to float, optional
        Hit rate of a point thrown at random: the mean area ratio of the reference masks.
    method : {"auto", "percentile", "bca", "bootstrap-t"}
        Of the bootstrap intervals (:func:`saltrust.analysis.inference.bootstrap.mean_interval`).

    Returns
    -------
    pandas.DataFrame
        ``finding, explainer, model, metric`` (``iou`` or ``hit``), the uniform columns (``term``
        is ``mean``), and ``chance`` (NaN for IoU).  Benchmark readers are rows with
        explainer ``expert``.  A mean that cannot be had keeps its row, with a note.

    Raises
    ------
    DataError
        If the table lacks a column or repeats rows.
    UsageError
        If an option is out of range.
    """
    check_confidence_level(confidence_level)
    scores = checked(scores)
    clusters = unit_clusters(scores)
    rows = []
    for metric in SCHEMES:
        values, columns = score_matrix(scores, metric)
        shares = not np.isin(values[~np.isnan(values)], (0.0, 1.0)).all()
        interval = mean_interval if metric == "iou" or shares else proportion_interval
        average = interval(values, clusters, resamples=resamples,
                           confidence_level=confidence_level, seed=seed, method=method)
        for k, column in enumerate(columns):
            estimate = Estimate(
                estimate=float(average.mean[k]), std_error=float(average.std_error[k]),
                conf_low=float(average.conf_low[k]), conf_high=float(average.conf_high[k]),
                n=int(average.n[k]), note=average.notes[k] if average.n[k] else _no_rows(metric))
            expected = (chance or {}).get(column[0], np.nan) if metric == "hit" else np.nan
            rows.append({**identity_of(column, metric), **estimate.row("mean"),
                         "chance": expected})
    return estimates_table(rows, IDENTIFY, extra=("chance",))


def summarize_relevance(scores: pd.DataFrame, *, resamples: int = 1000,
                        confidence_level: float = 0.95, seed: int = 0,
                        method: BootstrapKind = "auto") -> pd.DataFrame:
    """Mean mass accuracy, rank accuracy and energy pointing of every map on positives.

    Parameters
    ----------
    scores : pandas.DataFrame
        Table of :func:`saltrust.analysis.scores.scored_maps.score_maps`.
    resamples, confidence_level, seed, method
        Of the bootstrap by patient, as of :func:`summarize`.

    Returns
    -------
    pandas.DataFrame
        ``finding, explainer, model, metric`` and the uniform columns.
    """
    check_confidence_level(confidence_level)
    maps = checked(scores[scores["explainer"] != EXPERT])
    rows = []
    for metric in RELEVANCE if len(maps) else ():
        values, columns = score_matrix(maps, metric)
        average = mean_interval(values, unit_clusters(maps), resamples=resamples,
                                confidence_level=confidence_level, seed=seed, method=method)
        for k, column in enumerate(columns):
            estimate = Estimate(
                estimate=float(average.mean[k]), std_error=float(average.std_error[k]),
                conf_low=float(average.conf_low[k]), conf_high=float(average.conf_high[k]),
                n=int(average.n[k]), note=average.notes[k] if average.n[k] else _no_rows("hit"))
            rows.append({**identity_of(column, metric), **estimate.row("mean")})
    return estimates_table(rows, IDENTIFY)


def summarize_expert(scores: pd.DataFrame, *, resamples: int = 1000, confidence_level: float = 0.95,
                     seed: int = 0, chance: Mapping[str, float] | None = None,
                     method: BootstrapKind = "auto") -> pd.DataFrame:
    """:func:`summarize` of the expert: the mean over the benchmark readers of each image.

    Hits of several readers are shares, so that Wilson's interval is for findings in which every
    reader hits, or misses, every image.
    """
    people = with_mean_expert(scores[scores["explainer"] == EXPERT])
    options: dict[str, Any] = {"resamples": resamples, "confidence_level": confidence_level,
                               "seed": seed,
                               "chance": chance, "method": method}
    # One finding at a time: whether hits are shares is a matter of its own readers.
    parts = [summarize(rows, **options) for _, rows in people.groupby("finding", sort=False)]
    return pd.concat(parts, ignore_index=True) if parts else summarize(people, **options)


def with_mean_expert(scores: pd.DataFrame) -> pd.DataFrame:
    """Scores with one row per image and finding for all people together."""
    person = scores["explainer"] == EXPERT
    how: dict[str, str] = {str(scheme): "mean" for scheme in SCHEMES}
    if "patient" in scores.columns:
        how["patient"] = "first"
    mean = scores[person].groupby(["image", "finding", "reader"], sort=False,
                                  as_index=False).agg(how)
    mean = mean.assign(explainer=MEAN_EXPERT[0], model=MEAN_EXPERT[1])
    kept = scores.loc[~person, [*mean.columns]]
    return pd.concat([kept, mean], ignore_index=True) if len(kept) else mean


def checked(scores: pd.DataFrame) -> pd.DataFrame:
    """The table of scores with its columns checked (:func:`check_columns`)."""
    return check_columns(scores, _NAMES, SCHEMES, "scores")


def unit_clusters(scores: pd.DataFrame) -> npt.NDArray[Any]:
    """Patient of each unit, else its image, in the order of :func:`score_matrix`."""
    units = scores.drop_duplicates(["image", "reader"])
    patient = (text(units["patient"]) if "patient" in units.columns
               else pd.Series("", units.index))
    return np.where(patient == "", "image " + units["image"], "patient " + patient)


def score_matrix(scores: pd.DataFrame, metric: str) -> tuple[FloatArray, list[Column]]:
    """Scores as units (image and reference reader) x columns (finding, explainer, model)."""
    unit = scores.groupby(["image", "reader"], sort=False).ngroup().to_numpy()
    keys = scores[["finding", "explainer", "model"]].drop_duplicates()
    columns = [(str(f), str(e), str(m)) for f, e, m in keys.itertuples(index=False)]
    # By map, then by finding, both in order of appearance, people last.
    findings = list(dict.fromkeys(f for f, _, _ in columns))
    maps = list(dict.fromkeys((e, m) for _, e, m in columns))
    columns.sort(key=lambda c: (c[1] == EXPERT, maps.index((c[1], c[2])), findings.index(c[0])))
    place = {column: k for k, column in enumerate(columns)}
    at = [place[key] for key in zip(scores["finding"], scores["explainer"], scores["model"],
                                    strict=True)]
    values = np.full((int(unit.max(initial=-1)) + 1, len(columns)), np.nan)
    values[unit, at] = scores[metric].to_numpy()
    return values, columns


def identity_of(column: Column, metric: str) -> dict[str, str]:
    """The columns that name a row of a table of means."""
    finding, explainer, model = column
    return {"finding": finding, "explainer": explainer, "model": model, "metric": metric}


def _no_rows(metric: Scheme) -> str:
    return ("no image with a reference mask that is not empty" if metric == "hit"
            else "no image in the slice")
