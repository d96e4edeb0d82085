"""Means of localization scores per finding, and the decrease from expert to saliency map.

Everything is taken from the same bootstrap resamples of patients, so that a decrease and the
change of a decrease from one metric to the other have intervals of their own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from saltrust.analysis.inference.bootstrap import (
    FEWEST_PATIENTS,
    interval_of_function,
    left_out_means,
    mean_interval,
    resampled_means,
)
from saltrust.analysis.inference.estimate import Estimate, check_confidence_level, estimates_table
from saltrust.analysis.inference.proportions import proportion_interval
from saltrust.analysis.scores.score_rows import EXPERT, SCHEMES, Scheme, check_columns, text
from saltrust.choices import BootstrapKind

FloatArray = npt.NDArray[np.float64]

#: What stands in the column ``finding`` for the mean over all findings.
AVERAGE = "average"

#: All benchmark readers together, in the place of explainer and model.
MEAN_EXPERT = (EXPERT, "")

_IDENTIFY = ("finding", "explainer", "model", "metric")
_BOUNDS = ("expert_low", "expert_high", "saliency_low", "saliency_high")
_NAMES = ("image", "finding", "explainer", "model", "reader")
_Column = tuple[str, str, str]


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
            rows.append({**_identity(column, metric), **estimate.row("mean"),
                         "chance": expected})
    return estimates_table(rows, _IDENTIFY, extra=("chance",))


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


def decrease(scores: pd.DataFrame, *, paired: bool | Collection[Scheme] = True,
             resamples: int = 1000, confidence_level: float = 0.95, seed: int = 0
             ) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Percentage decrease from the expert's mean to the saliency map's, and how it changes.

    Parameters
    ----------
    scores : pandas.DataFrame
        Table of :func:`saltrust.analysis.scores.scored_maps.score_maps`.
    paired : bool or collection of {"iou", "hit"}
        Whether, or for which metrics, both means are over the images that both have; otherwise
        each over its own, as in the released CheXlocalize code.  The expert is the mean over the
        benchmark readers of the image.
    resamples : int
        Bootstrap resamples of patients (of images where the patient is unknown).
    confidence_level : float
        Of the percentile intervals.
    seed : int

    Returns
    -------
    decrease : pandas.DataFrame
        ``finding, explainer, model, metric, expert, saliency``, the uniform columns: ``100 *
        (expert - saliency) / expert``, largest first, then the finding ``average``: the
        decrease between the means over findings.  Then the intervals of the two means that it
        is made of: ``expert_low, expert_high, saliency_low, saliency_high``.
    change : pandas.DataFrame
        ``finding, explainer, model``, the uniform columns: decrease in mean IoU minus decrease
        in hit rate, in percentage points, largest first.

    Raises
    ------
    DataError
        If the table lacks a column or repeats rows.
    UsageError
        If an option is out of range.
    """
    check_confidence_level(confidence_level)
    metrics = SCHEMES if paired is True else paired or ()
    falls = _falls(checked(scores), metrics, resamples, seed)
    rows = [{**_identity(column, metric), "expert": fall.expert, "saliency": fall.saliency,
             **fall.estimate(confidence_level).row("decrease"), **fall.bounds(confidence_level)}
            for (metric, column), fall in falls.items()]
    table = estimates_table(rows, (*_IDENTIFY, "expert", "saliency"), _BOUNDS)
    table = table.astype(dict.fromkeys(("expert", "saliency", *_BOUNDS), "float64"))
    changes = []
    for (metric, column), fall in falls.items():
        if metric == "iou":
            identity = dict(zip(_IDENTIFY, column, strict=False))
            change = fall.minus(falls["hit", column])
            changes.append({**identity, **change.estimate(confidence_level).row("change")})
    return _sorted(table), _sorted(estimates_table(changes, _IDENTIFY[:3]))


@dataclass(frozen=True)
class _Fall:
    """A percentage decrease with its values in resamples and without each patient."""

    expert: float
    saliency: float
    value: float
    replicates: FloatArray
    left_out: FloatArray
    #: Whether each patient has a part in it.
    present: npt.NDArray[np.bool_]
    n: int
    note: str
    #: Means of expert and map in resamples and without each patient, shape (2, ...); empty for a
    #: difference.
    means: tuple[FloatArray, FloatArray]

    @classmethod
    def between(cls, means: FloatArray, resampled: FloatArray, left_out: FloatArray,
                present: npt.NDArray[np.bool_], n: int, nothing: str) -> _Fall:
        """From the means of expert and map, shape (2,), resampled and without each patient."""
        expert, saliency = means.tolist()
        note = ""
        if n == 0:
            note = nothing
        elif expert == 0:
            note = "the expert's mean is 0"
        return cls(expert, saliency, float(_percent(*means)), _percent(*resampled),
                   _percent(*left_out), present, n, note, (resampled, left_out))

    def minus(self, other: _Fall) -> _Fall:
        """Difference of two decreases, resample by resample."""
        return _Fall(np.nan, np.nan, self.value - other.value,
                     self.replicates - other.replicates, self.left_out - other.left_out,
                     self.present | other.present, min(self.n, other.n), self.note or other.note,
                     (np.empty((2, 0)), np.empty((2, 0))))

    def bounds(self, confidence_level: float) -> dict[str, float]:
        """Intervals of the two means; NaN where all resamples are equal."""
        bounds: list[float] = []
        for mean, drawn, left_out in zip((self.expert, self.saliency), *self.means, strict=True):
            low, high = interval_of_function(mean, drawn, left_out[self.present],
                                             confidence_level)
            bounds += (low, high) if high > low else (np.nan, np.nan)
        return dict(zip(_BOUNDS, bounds, strict=True))

    def estimate(self, confidence_level: float) -> Estimate:
        """The decrease with its interval."""
        if np.isnan(self.value):
            return Estimate(n=self.n, note=self.note)
        low, high = interval_of_function(self.value, self.replicates,
                                         self.left_out[self.present], confidence_level)
        drawn = self.replicates[np.isfinite(self.replicates)]
        used = len(drawn)
        notes = [self.note] if self.note else []
        if used < 2:
            notes.append(f"fewer than {FEWEST_PATIENTS} patients: no bootstrap interval")
        elif used < len(self.replicates):
            notes.append(f"{len(self.replicates) - used} resamples without a decrease left "
                         "out of the interval")
        error = float(np.std(drawn, ddof=1)) if used >= 2 else np.nan
        if used >= 2 and np.all(drawn == drawn[0]) and np.all(self.means[0][1] == self.saliency):
            # Every map misses, or every one hits: no width is no certainty.
            return Estimate(estimate=self.value, n=self.n,
                            note="; ".join([*notes, "all resamples are equal: no interval"]))
        return Estimate(estimate=self.value, std_error=error, conf_low=low, conf_high=high,
                        n=self.n, note="; ".join(notes))


def _percent(expert: Any, saliency: Any) -> Any:
    """Percentage decrease; NaN where the expert's mean is 0."""
    expert, saliency = np.broadcast_arrays(expert, saliency)
    ratio = np.divide(expert - saliency, expert, out=np.full(expert.shape, np.nan),
                      where=expert != 0)
    return 100 * ratio


def _falls(scores: pd.DataFrame, paired: Collection[Scheme], resamples: int, seed: int
           ) -> dict[tuple[Scheme, _Column], _Fall]:
    """Decrease by metric and (finding, explainer, model); the average among the findings."""
    clusters = unit_clusters(scores)
    falls: dict[tuple[Scheme, _Column], _Fall] = {}
    for metric in SCHEMES:
        values, columns = score_matrix(scores, metric)
        chosen = [k for k, column in enumerate(columns) if column[1] != EXPERT]
        if not chosen:
            continue
        people = {finding: _expert(values, columns, finding)
                  for finding in dict.fromkeys(columns[k][0] for k in chosen)}
        saliency = values[:, chosen]
        expert = np.stack([people[columns[k][0]] for k in chosen], axis=1)
        if metric in paired:
            either = np.isnan(saliency) | np.isnan(expert)
            saliency, expert = (np.where(either, np.nan, part) for part in (saliency, expert))
        nothing = ("no image that both the expert and the map were scored on"
                   if any(column[1] == EXPERT for column in columns) else "no benchmark reader")
        both = np.stack([expert, saliency])
        drawn = np.stack([resampled_means(part, clusters, resamples=resamples, seed=seed,
                                          fewest=FEWEST_PATIENTS)
                          for part in both])
        of_means, present = left_out_means(np.hstack(list(both)), clusters)
        left_out = np.stack(np.split(of_means, 2, axis=1))
        of_expert, of_map = np.split(present, 2, axis=1)
        present = of_expert | of_map
        for explainer, model in dict.fromkeys(columns[k][1:] for k in chosen):
            of_series = [i for i, k in enumerate(chosen) if columns[k][1:] == (explainer, model)]
            findings = [columns[chosen[i]][0] for i in of_series]
            by_finding = _by_finding(findings, both[..., of_series], drawn[..., of_series],
                                     (left_out[..., of_series], present[:, of_series]), nothing)
            falls.update({(metric, (finding, explainer, model)): fall
                          for finding, fall in by_finding.items()})
    return falls


def _by_finding(findings: list[str], both: FloatArray, drawn: FloatArray,
                without: tuple[FloatArray, npt.NDArray[np.bool_]], nothing: str
                ) -> dict[str, _Fall]:
    """Decrease of each finding, and of the means over those that have one.

    Parameters
    ----------
    findings : list of str
    both : ndarray, shape (2, units, finding)
        Scores of expert and map.
    drawn : ndarray, shape (2, resamples, finding)
        Their resampled means.
    without : ndarray, shape (2, patients, finding), and of bool, shape (patients, finding)
        Their means without each patient, and who has a part in them.
    nothing : str
        What to say where there are no scores.
    """
    present = (~np.isnan(both)).sum(axis=1)
    totals = np.where(np.isnan(both), 0.0, both).sum(axis=1)
    means = np.divide(totals, present, out=np.full(present.shape, np.nan), where=present > 0)
    n = present.min(axis=0)
    left_out, present = without
    falls = {finding: _Fall.between(means[:, k], drawn[..., k], left_out[..., k], present[:, k],
                                    int(n[k]), nothing)
             for k, finding in enumerate(findings)}
    known = np.flatnonzero(n > 0)
    if len(known):
        falls[AVERAGE] = _Fall.between(means[:, known].mean(axis=1),
                                       drawn[..., known].mean(axis=2),
                                       left_out[..., known].mean(axis=2),
                                       np.asarray(present[:, known].any(axis=1)),
                                       int(n[known].sum()), nothing)
    else:
        falls[AVERAGE] = _Fall.between(np.full(2, np.nan), np.full(drawn.shape[:2], np.nan),
                                       np.full(left_out.shape[:2], np.nan),
                                       np.zeros(len(present), dtype=bool), 0, nothing)
    return falls


def _expert(values: FloatArray, columns: list[_Column], finding: str) -> FloatArray:
    """Mean over the benchmark readers of each image; NaN where none was scored."""
    chosen = [k for k, column in enumerate(columns) if column[:2] == (finding, EXPERT)]
    people = values[:, chosen]
    known = ~np.isnan(people)
    return np.divide(np.where(known, people, 0.0).sum(axis=1), known.sum(axis=1),
                     out=np.full(len(values), np.nan), where=known.any(axis=1))


def checked(scores: pd.DataFrame) -> pd.DataFrame:
    """The table of scores with its columns checked (:func:`check_columns`)."""
    return check_columns(scores, _NAMES, SCHEMES, "scores")


def unit_clusters(scores: pd.DataFrame) -> npt.NDArray[Any]:
    """Patient of each unit, else its image, in the order of :func:`score_matrix`."""
    units = scores.drop_duplicates(["image", "reader"])
    patient = (text(units["patient"]) if "patient" in units.columns
               else pd.Series("", units.index))
    return np.where(patient == "", "image " + units["image"], "patient " + patient)


def score_matrix(scores: pd.DataFrame, metric: Scheme) -> tuple[FloatArray, list[_Column]]:
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


def _identity(column: _Column, metric: Scheme) -> dict[str, str]:
    finding, explainer, model = column
    return {"finding": finding, "explainer": explainer, "model": model, "metric": metric}


def _no_rows(metric: Scheme) -> str:
    return ("no image with a reference mask that is not empty" if metric == "hit"
            else "no image in the slice")


def _sorted(table: pd.DataFrame) -> pd.DataFrame:
    """Largest decrease first within each map and metric, the average last."""
    keys = [name for name in ("metric", "explainer", "model") if name in table.columns]
    order = {name: {label: k for k, label in enumerate(dict.fromkeys(table[name]))}
             for name in keys}
    ranked = sorted(
        range(len(table)),
        key=lambda i: (*(order[name][table[name].iloc[i]] for name in keys),
                       table["finding"].iloc[i] == AVERAGE,
                       -np.nan_to_num(table["estimate"].iloc[i], nan=-np.inf)))
    return table.iloc[ranked].reset_index(drop=True)


def on_shared_positives(scores: pd.DataFrame) -> pd.DataFrame:
    """Scores of images on which the reference and every benchmark reader drew something.

    Experts were told which findings an image has, and a map is made for every finding: whoever
    drew nothing where the reference did is a miss of another kind than a wrong place.

    Parameters
    ----------
    scores : pandas.DataFrame
        Table of :func:`saltrust.analysis.scores.scored_maps.score_maps`.

    Returns
    -------
    pandas.DataFrame
    """
    person = scores["explainer"] == EXPERT
    units = list(zip(scores["image"], scores["finding"], scores["reader"], strict=True))
    asked = {unit for unit, expert in zip(units, person, strict=True) if expert}
    missed = {unit for unit, empty in zip(units, person & (scores["area_predicted"] == 0),
                                          strict=True) if empty}
    kept = np.array([unit in asked and unit not in missed for unit in units], dtype=bool)
    return scores[kept & (scores["area_reference"] > 0)].reset_index(drop=True)
