"""Paired differences of localization scores: between maps, and between a map and a baseline.

Both members of a pair are compared on the images that both have, and patients are resampled,
so that neither hard images nor several images of a patient pass for a difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
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
from saltrust.analysis.inference.max_t import resamples_for, step_down
from saltrust.analysis.inference.multiplicity import adjust_families
from saltrust.analysis.localization.study_wide import STUDY
from saltrust.analysis.localization.summary import (
    AVERAGE,
    MEAN_EXPERT,
    checked,
    score_matrix,
    unit_clusters,
    with_mean_expert,
)
from saltrust.analysis.scores.score_rows import EXPERT, SCHEMES, Scheme
from saltrust.errors import UsageError

FloatArray = npt.NDArray[np.float64]
Series = tuple[str, str]

_IDENTIFY = ("finding", "metric", "contrast")
_EFFECT = ("effect_size", "effect_low", "effect_high")


def map_differences(scores: pd.DataFrame, *, resamples: int = 1000, confidence_level: float = 0.95,
                    seed: int = 0, together: bool = False) -> pd.DataFrame:
    """Differences between all pairs of maps (explainer and model), per finding and averaged.

    Parameters
    ----------
    scores : pandas.DataFrame
        Table of :func:`saltrust.analysis.scores.scored_maps.score_maps`.
    resamples : int
        Bootstrap resamples of patients.
    confidence_level : float
        Of the percentile intervals.
    seed : int
    together : bool
        Whether all findings of a metric are one family.

    Returns
    -------
    pandas.DataFrame
        ``finding, metric, contrast`` (``A - B``), the uniform columns and the effect size; see
        :func:`paired_differences`.
    """
    return paired_differences(scores, list(combinations(_maps(scores), 2)), resamples=resamples,
                              confidence_level=confidence_level, seed=seed, together=together)


def equivalences(scores: pd.DataFrame, margin: float, *, resamples: int = 1000,
                 confidence_level: float = 0.95, seed: int = 0) -> pd.DataFrame:
    """Whether maps are as good as each other, and as the expert, to within a margin.

    Parameters
    ----------
    scores : pandas.DataFrame
        Table of :func:`saltrust.analysis.scores.scored_maps.score_maps`; the expert is the mean
        over the benchmark readers of each image.
    margin : float
        In IoU, and in hit rate; above 0.
    resamples : int
        Bootstrap resamples of patients.
    confidence_level : float
        Of the intervals.
    seed : int

    Returns
    -------
    pandas.DataFrame
        ``finding, metric, contrast`` (``A - B``, ``expert - B``), the uniform columns, and
        ``equivalent``: ``yes`` where ``p_adjusted < 1 - confidence_level``, else ``no``; empty
        where there is no test.  ``p_value`` is of two one-sided tests: the larger share of
        resampled differences beyond either margin, one more counted there; adjusted by Holm over
        the contrasts of a metric and finding.  The interval has level
        ``1 - 2 (1 - confidence_level)``, so that without adjustment it lies within the margins
        where the test rejects.

    Raises
    ------
    UsageError
        If the margin is not positive, or as :func:`paired_differences`.

    References
    ----------
    D. J. Schuirmann (1987), J. Pharmacokinet. Biopharm. 15, 657-680.
    """
    check_confidence_level(confidence_level)
    if not margin > 0:
        raise UsageError(f"margin = {margin} must be positive, such as 0.05")
    table = with_mean_expert(scores)
    maps = _maps(table)
    asked = [*combinations(maps, 2),
             *([(MEAN_EXPERT, one) for one in maps]
               if (table["explainer"] == EXPERT).any() else [])]
    # 90% interval for two tests at 5% each; a level below one half has none.
    width = max(1 - 2 * (1 - confidence_level), 0.01)
    rows: list[dict[str, Any]] = []
    # So few resamples as intervals need would bound the p-values of a family.
    enough = resamples_for(len(asked), resamples)
    for name, differences in _contrasts(table, asked, SCHEMES, enough, seed):
        for one in differences:
            estimate = bootstrap_estimate(one.value, one.drawn, one.n, width,
                                          left_out=one.left_out)
            finite = one.drawn[np.isfinite(one.drawn)]
            beyond = max(np.count_nonzero(finite >= margin), np.count_nonzero(finite <= -margin))
            # Where there is no test of a difference, there is none of its absence.
            p_value = ((1 + beyond) / (len(finite) + 1) if not np.isnan(estimate.p_value)
                       else float("nan"))
            tested = replace(estimate, p_value=p_value)
            rows.append({"finding": one.finding, **name, **tested.row("equivalence")})
    adjusted = _adjusted(rows, ())
    known = adjusted["p_adjusted"].notna()
    verdict = np.where(adjusted["p_adjusted"] < 1 - confidence_level, "yes", "no")
    return adjusted.assign(margin=margin, equivalent=np.where(known, verdict, ""))


def _maps(scores: pd.DataFrame) -> list[Series]:
    return list(dict.fromkeys((str(e), str(m)) for e, m in zip(
        scores["explainer"], scores["model"], strict=True) if e != EXPERT))


def paired_differences(scores: pd.DataFrame, contrasts: Iterable[tuple[Series, Series]], *,
                       metrics: Iterable[Scheme] = SCHEMES, resamples: int = 1000,
                       confidence_level: float = 0.95, seed: int = 0, together: bool = False
                       ) -> pd.DataFrame:
    """Mean differences of given pairs of series, with intervals and p-values.

    Parameters
    ----------
    scores : pandas.DataFrame
        Columns ``image, finding, explainer, model, reader`` and the metrics; ``patient`` where
        known.
    contrasts : iterable of ((explainer, model), (explainer, model))
    metrics : iterable of {"iou", "hit"}
    resamples : int
        Bootstrap resamples of patients.
    confidence_level : float
        Of the intervals.
    seed : int
    together : bool
        Whether all findings of a metric are one family.

    Returns
    -------
    pandas.DataFrame
        Rows per finding in which both series occur, then ``average``: the mean over findings.
        ``term`` is ``difference``.  ``statistic`` is the difference over its error clustered by
        patient; ``p_value`` and ``p_adjusted`` come from step-down max-T over the contrasts of a
        metric and finding (:func:`saltrust.analysis.inference.max_t.step_down`), on as
        many resamples as the family needs (9,999 from 25 contrasts on); the note says where they
        are as small as these can show.
        ``effect_size`` is the mean difference over the standard deviation of the differences
        (Cohen's d of paired data), with a percentile interval; NaN for ``average``.

    Raises
    ------
    DataError
        If the table lacks a column or repeats rows.
    UsageError
        If an option is out of range.

    References
    ----------
    J. P. Romano and M. Wolf (2005), J. Am. Stat. Assoc. 100, 94-108.
    """
    check_confidence_level(confidence_level)
    rows: list[dict[str, Any]] = []
    asked = list(contrasts)
    for name, differences in _contrasts(scores, asked, metrics, resamples, seed):
        for one in differences:
            estimate = bootstrap_estimate(one.value, one.drawn, one.n, confidence_level,
                                          left_out=one.left_out)
            rows.append({"finding": one.finding, **name, **estimate.row("difference"),
                         **_effect(one, confidence_level)})
    table = estimates_table(rows, _IDENTIFY, _EFFECT)
    largest = len(table) if together else len(asked)
    tested = _tested(scores, asked, metrics, resamples_for(largest, resamples), seed,
                     together=together)
    return _with_tests(table, tested)


def contrast_name(one: Series, two: Series, *, models: bool = False) -> str:
    """``A - B``, with the models where there are several.

    Examples
    --------
    >>> contrast_name(("grad", "net"), ("gradcam", "net"))
    'grad - gradcam'
    >>> contrast_name(("expert", ""), ("grad", "b"), models=True)
    'expert - grad (b)'
    """
    return " - ".join(f"{name} ({model})" if models and model else name
                      for name, model in (one, two))


@dataclass(frozen=True)
class _Difference:
    """Mean difference of one finding, what it becomes in every resample and without each patient.

    Attributes
    ----------
    value : float
        NaN where no image has both.
    drawn : ndarray, shape (resamples,)
    left_out : ndarray, shape (patients,)
    n : int
    effect : float
        Mean over standard deviation of the differences; NaN where they do not vary.
    effects, effects_left_out : ndarray, shapes (resamples,) and (patients,)
    """

    finding: str
    value: float
    drawn: FloatArray
    left_out: FloatArray
    n: int
    effect: float = float("nan")
    effects: FloatArray = field(default_factory=lambda: np.full(0, np.nan))
    effects_left_out: FloatArray = field(default_factory=lambda: np.full(0, np.nan))


def _contrasts(scores: pd.DataFrame, contrasts: Sequence[tuple[Series, Series]],
               metrics: Iterable[Scheme], resamples: int, seed: int
               ) -> Iterator[tuple[dict[str, str], list[_Difference]]]:
    """Name and differences of every metric and contrast that some finding has."""
    clusters = unit_clusters(checked(scores))
    for name, shared, differences in _paired(scores, contrasts, metrics):
        both = np.hstack([differences, differences**2])
        moments = resampled_means(both, clusters, resamples=resamples, seed=seed,
                                  fewest=FEWEST_PATIENTS)
        yield name, list(_by_finding(shared, differences, moments,
                                     *left_out_means(both, clusters)))


def _paired(scores: pd.DataFrame, contrasts: Sequence[tuple[Series, Series]],
            metrics: Iterable[Scheme]) -> Iterator[tuple[dict[str, str], list[str], FloatArray]]:
    """Name, findings and differences (units, findings) of every metric and contrast."""
    table = checked(scores)
    for metric in metrics:
        values, columns = score_matrix(table, metric)
        place = {column: k for k, column in enumerate(columns)}
        findings = list(dict.fromkeys(finding for finding, _, _ in columns))
        several = len({model for pair in contrasts for _, model in pair if model}) > 1
        for one, two in contrasts:
            shared = [f for f in findings if (f, *one) in place and (f, *two) in place]
            if shared:
                yield ({"metric": metric, "contrast": contrast_name(one, two, models=several)},
                       shared, values[:, [place[f, *one] for f in shared]]
                       - values[:, [place[f, *two] for f in shared]])


def _tested(scores: pd.DataFrame, contrasts: Sequence[tuple[Series, Series]],
            metrics: Iterable[Scheme], resamples: int, seed: int, *, together: bool
            ) -> dict[tuple[str, str, str], tuple[float, float, float, bool]]:
    """Statistic, p, adjusted p and whether they are the least there can be, by finding, metric
    and contrast.
    """
    clusters = unit_clusters(checked(scores))
    tested: dict[tuple[str, str, str], tuple[float, float, float, bool]] = {}
    for metric in metrics:
        parts = list(_paired(scores, contrasts, [metric]))
        if not parts:
            continue
        values = np.hstack([differences for _, _, differences in parts])
        names: list[tuple[str, str, str]] = []
        averaged: list[npt.NDArray[np.intp]] = []
        start = 0
        for name, shared, differences in parts:
            columns = np.arange(start, start + len(shared))
            start += len(shared)
            known = columns[~np.isnan(differences).all(axis=0)]
            wanted = [(finding, columns[k:k + 1]) for k, finding in enumerate(shared)]
            for finding, places in [*wanted, *([(AVERAGE, known)] if len(shared) > 1 else [])]:
                names.append((finding, metric, name["contrast"]))
                averaged.append(places)
        made = step_down(values, clusters, averaged,
                         [STUDY if together else finding for finding, _, _ in names],
                         resamples=resamples, seed=seed)
        tested |= {name: (float(statistic), float(p), float(adjusted), adjusted <= made.least)
                   for name, statistic, p, adjusted in zip(
                       names, made.statistic, made.p_value, made.p_adjusted, strict=True)}
    return tested


def _with_tests(table: pd.DataFrame,
                tested: Mapping[tuple[str, str, str], tuple[float, float, float, bool]]
                ) -> pd.DataFrame:
    """A table of differences with tests in the place of those of its own resamples."""
    filled = table.copy()
    families = table["metric"] + ", " + table["finding"]
    sizes = families.map(families.value_counts())
    rows = [tested[key] for key in zip(*(table[name] for name in _IDENTIFY), strict=True)]
    # Where there is no interval there is no test either.
    known = table["std_error"].to_numpy() > 0
    for k, column in enumerate(("statistic", "p_value", "p_adjusted")):
        filled[column] = np.where(known, [row[k] for row in rows], np.nan)
    filled["adjustment"] = "max-t"
    filled["family"] = [f"{name} ({count} {'test' if count == 1 else 'tests'})"
                        for name, count in zip(families, sizes, strict=True)]
    least = np.array([row[3] for row in rows], dtype=bool) & known
    filled["note"] = np.where(least, "p as small as the resamples can show", filled["note"])
    return filled


def _by_finding(findings: list[str], differences: FloatArray, moments: FloatArray,
                left_out: FloatArray, present: npt.NDArray[np.bool_]) -> Iterator[_Difference]:
    """Differences per finding, then of the means over findings.

    Parameters
    ----------
    findings : list of str
    differences : ndarray, shape (units, findings)
    moments : ndarray, shape (resamples, 2 * findings)
        Resampled means of the differences, then of their squares.
    left_out, present : ndarray, shape (patients, 2 * findings)
        The same without each patient, and whether the patient has any.
    """
    known = ~np.isnan(differences)
    n = known.sum(axis=0)
    drawn, squares = moments[:, :len(findings)], moments[:, len(findings):]
    means, second = (np.divide(np.where(known, part, 0.0).sum(axis=0), n,
                               out=np.full(len(n), np.nan), where=n > 0)
                     for part in (differences, differences**2))
    for k, finding in enumerate(findings):
        without = left_out[present[:, k]]
        yield _Difference(finding, float(means[k]), drawn[:, k], without[:, k], int(n[k]),
                          float(_standardized(means[k], second[k], int(n[k]))),
                          _standardized(drawn[:, k], squares[:, k], int(n[k])),
                          _standardized(without[:, k], without[:, len(findings) + k], int(n[k])))
    with_images = np.flatnonzero(n > 0)
    if len(findings) > 1:
        mean = float(means[with_images].mean()) if len(with_images) else float("nan")
        average = drawn[:, with_images].mean(axis=1) if len(with_images) else drawn[:, 0]
        without = left_out[present[:, with_images].any(axis=1)][:, with_images]
        means_without = without.mean(axis=1) if len(with_images) else np.empty(0)
        yield _Difference(AVERAGE, mean, average, means_without, int(n.sum()))


def _standardized(mean: Any, second: Any, n: int) -> FloatArray:
    """Mean over standard deviation (n - 1); NaN where nothing varies beyond rounding."""
    mean, second = np.asarray(mean, dtype=np.float64), np.asarray(second, dtype=np.float64)
    variance = second - mean**2
    varies = (variance > 1e-12 * second) & (n > 1)
    deviation = np.sqrt(np.where(varies, variance, 1.0) * (n / max(n - 1, 1)))
    return np.where(varies, mean / deviation, np.nan)


def _effect(difference: _Difference, confidence_level: float) -> dict[str, float]:
    if np.isnan(difference.effect):
        return dict.fromkeys(_EFFECT, float("nan"))
    low, high = interval_of_function(difference.effect, difference.effects,
                                     difference.effects_left_out, confidence_level)
    return dict(zip(_EFFECT, (difference.effect, low, high), strict=True))


def _adjusted(rows: list[dict[str, Any]], extra: Sequence[str]) -> pd.DataFrame:
    table = estimates_table(rows, _IDENTIFY, extra)
    families = table["metric"] + ", " + table["finding"]
    sizes = {str(name): int(count) for name, count in families.value_counts().items()}
    return adjust_families(table, families, "holm", sizes)


def bootstrap_estimate(value: float, drawn: FloatArray, n: int, confidence_level: float,
                       *, left_out: FloatArray, against: float = 0.0) -> Estimate:
    """An estimate with interval and p-value from its resampled values.

    Parameters
    ----------
    value : float
        NaN where it cannot be had.
    drawn : ndarray, shape (resamples,)
        What is not finite is left out.
    n : int
        Rows it is made from.
    confidence_level : float
    left_out : ndarray, shape (patients,)
        Its values without each patient
        (:func:`saltrust.analysis.inference.bootstrap.interval_of_function`).
    against : float
        Tested value.
    """
    if np.isnan(value):
        return Estimate(n=n, note="no image that both have")
    finite = drawn[np.isfinite(drawn)]
    if n < 2:
        return Estimate(estimate=value, n=n, note=f"{n} row{'s' * (n != 1)}: no interval")
    if len(finite) < 2:
        return Estimate(estimate=value, n=n, note=f"fewer than {FEWEST_PATIENTS} patients: no "
                                                  "bootstrap interval")
    low, high = interval_of_function(value, finite, left_out, confidence_level)
    error = float(np.std(finite, ddof=1))
    if error == 0:
        return Estimate(estimate=value, std_error=0.0, conf_low=low, conf_high=high, n=n,
                        note="all resamples are equal: the interval has no width, no test")
    below, above = (1 + np.count_nonzero(finite <= against),
                    1 + np.count_nonzero(finite >= against))
    p_value = min(1.0, 2 * min(below, above) / (len(finite) + 1))
    return Estimate(estimate=value, std_error=error, conf_low=low, conf_high=high,
                    p_value=p_value, n=n)
