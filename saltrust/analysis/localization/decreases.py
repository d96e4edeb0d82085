"""The percentage decrease from expert to saliency map, how it changes from one metric to the other.

Everything is taken from the same bootstrap resamples of patients, so that a decrease and the
change of a decrease have intervals of their own; whether expert and map differ is a test of
their means, by patient (:mod:`saltrust.analysis.localization.expert_tests`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from saltrust.analysis.inference.bootstrap import (
    FEWEST_PATIENTS,
    interval_of_function,
    left_out_means,
    resampled_means,
)
from saltrust.analysis.inference.estimate import Estimate, check_confidence_level, estimates_table
from saltrust.analysis.inference.jackknife import jackknife_estimate
from saltrust.analysis.inference.multiplicity import adjust_families
from saltrust.analysis.localization.expert_tests import (
    ExpertTest,
    expert_tests,
    family_of,
)
from saltrust.analysis.localization.summary import (
    AVERAGE,
    IDENTIFY,
    Column,
    checked,
    identity_of,
    score_matrix,
    unit_clusters,
)
from saltrust.analysis.scores.score_rows import EXPERT, SCHEMES, Scheme

FloatArray = npt.NDArray[np.float64]

_BOUNDS = ("expert_low", "expert_high", "saliency_low", "saliency_high")


def decrease(scores: pd.DataFrame, *, paired: bool | Collection[Scheme] = True,
             resamples: int = 1000, confidence_level: float = 0.95, seed: int = 0,
             together: bool = False) -> tuple[pd.DataFrame, pd.DataFrame]:
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
    together : bool
        Whether all maps and findings of a metric are one family.

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
    falls, tests = _falls(checked(scores), metrics, resamples, seed, together=together)
    rows = [{**identity_of(column, metric), "expert": fall.expert, "saliency": fall.saliency,
             **fall.estimate(confidence_level).row("decrease"), **fall.bounds(confidence_level)}
            for (metric, column), fall in falls.items()]
    table = estimates_table(rows, (*IDENTIFY, "expert", "saliency"), _BOUNDS)
    table = table.astype(dict.fromkeys(("expert", "saliency", *_BOUNDS), "float64"))
    changes = []
    for (metric, column), fall in falls.items():
        if metric == "iou":
            identity = dict(zip(IDENTIFY, column, strict=False))
            change = fall.minus(falls["hit", column])
            changes.append({**identity, **change.with_test(confidence_level).row("change")})
    changed = estimates_table(changes, IDENTIFY[:3])
    names = pd.Series([family_of(column) for column in _columns(changed)], dtype=str)
    sizes = dict.fromkeys(names, 0) | Counter(names[changed["p_value"].notna().to_numpy()])
    return (_sorted(_with_tests(table, tests, [fall.tested for fall in falls.values()])),
            _sorted(adjust_families(changed, names, "holm", sizes)))


def _columns(table: pd.DataFrame) -> list[Column]:
    return [(str(f), str(e), str(m)) for f, e, m in
            table[["finding", "explainer", "model"]].itertuples(index=False)]


def _with_tests(table: pd.DataFrame, tests: Mapping[tuple[Scheme, Column], ExpertTest],
                tested: Sequence[bool]) -> pd.DataFrame:
    """A table of decreases with the tests of expert against map, where there is to be one."""
    filled = table.copy()
    columns = _columns(table)
    made = [tests[metric, column] for metric, column in zip(table["metric"], columns, strict=True)]
    for name in ExpertTest._fields:
        filled[name] = np.where(tested, [getattr(test, name) for test in made], np.nan)
    families = [f"{metric}, {family_of(column)}" for metric, column in
                zip(table["metric"], columns, strict=True)]
    sizes = Counter(family for family, p in zip(families, filled["p_value"], strict=True)
                    if not np.isnan(p))
    filled["adjustment"] = "max-t"
    filled["family"] = [f"{name} ({sizes[name]} {'test' if sizes[name] == 1 else 'tests'})"
                        for name in families]
    return filled


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


    @property
    def tested(self) -> bool:
        """Whether there are a decrease and patients enough; one without any width has a test."""
        return bool(np.isfinite(self.value) and np.isfinite(self.replicates).sum() >= 2)

    def with_test(self, confidence_level: float) -> Estimate:
        """The estimate with a t test that it is zero, where there is an interval."""
        made = self.estimate(confidence_level)
        if np.isnan(made.conf_low):
            return made
        test = jackknife_estimate(self.value, self.left_out[self.present], self.n)
        return replace(made, statistic=test.statistic, df=test.df, p_value=test.p_value)


def _percent(expert: Any, saliency: Any) -> Any:
    """Percentage decrease; NaN where the expert's mean is 0."""
    expert, saliency = np.broadcast_arrays(expert, saliency)
    ratio = np.divide(expert - saliency, expert, out=np.full(expert.shape, np.nan),
                      where=expert != 0)
    return 100 * ratio


def _falls(scores: pd.DataFrame, paired: Collection[Scheme], resamples: int, seed: int, *,
           together: bool) -> tuple[dict[tuple[Scheme, Column], _Fall],
                      dict[tuple[Scheme, Column], ExpertTest]]:
    """Decrease and test by metric and (finding, explainer, model), the average among these."""
    clusters = unit_clusters(scores)
    falls: dict[tuple[Scheme, Column], _Fall] = {}
    tests: dict[tuple[Scheme, Column], ExpertTest] = {}
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
        made = expert_tests(expert, saliency, [columns[k] for k in chosen], clusters,
                            resamples=resamples, seed=seed, together=together)
        tests |= {(metric, column): test for column, test in made.items()}
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
    return falls, tests


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


def _expert(values: FloatArray, columns: list[Column], finding: str) -> FloatArray:
    """Mean over the benchmark readers of each image; NaN where none was scored."""
    chosen = [k for k, column in enumerate(columns) if column[:2] == (finding, EXPERT)]
    people = values[:, chosen]
    known = ~np.isnan(people)
    return np.divide(np.where(known, people, 0.0).sum(axis=1), known.sum(axis=1),
                     out=np.full(len(values), np.nan), where=known.any(axis=1))


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
