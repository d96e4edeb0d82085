"""Do heatmaps look where people look?  Agreement of maps with gaze, beside chance.

Gaze is central whatever the image shows, so agreement alone says little: it stands beside that of a
central Gaussian, of the average gaze on other patients' images, and of the same map with the
gaze on other images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from saltrust.analysis.gaze.scores import (
    AVERAGE,
    BASELINE,
    CENTRE,
    CENTRE_SIGMA,
    MEASURES,
    SWAPPED,
    gaze_scores,
)
from saltrust.analysis.inference.bootstrap import percentile_interval, resampled_means
from saltrust.analysis.inference.estimate import Estimate, check_confidence_level, estimates_table
from saltrust.analysis.inference.multiplicity import adjust_families
from saltrust.analysis.inference.resampling import check_resampling
from saltrust.analysis.result import Result
from saltrust.choices import Adjustment, Failures, MapReading, MapSource
from saltrust.errors import UsageError, nearest

FloatArray = npt.NDArray[np.float64]
#: Means of columns (n, k), the patients of the rows, to estimates.
Estimates = Callable[[FloatArray, "pd.Series[str]"], list[Estimate]]

#: What stands in the column ``finding`` for all pairs of image and finding together.
ALL = "all"
_ENTRY = ["source", "explainer", "model"]
_PAIRING = ["image", "finding", "patient"]


def gaze(cubes: xr.DataTree, *, split: str | None = None, findings: Sequence[str] | None = None,
         explainers: Sequence[str] | None = None, models: Sequence[str] | None = None,
         source_group: MapSource = "all", map_form: MapReading = "raw", positives: bool = True,
         measures: Sequence[str] | None = None, reader: str | None = None,
         threshold: float = 0.5, others: int = 5, failures: Failures = "score",
         adjustment: Adjustment = "bonferroni", resamples: int = 1000,
         confidence_level: float = 0.95,
         seed: int = 0, progress: bool = False) -> Result:
    """Agreement of maps with gaze, beside chance, and compared between explainers and models.

    Parameters
    ----------
    cubes, split, findings, explainers, models, source_group, map_form, positives, reader, threshold
        As :func:`saltrust.analysis.gaze.scores.gaze_scores`.
    measures : sequence of str, optional
        Which of :data:`saltrust.analysis.gaze.scores.MEASURES`; all by default.
    others, failures, progress
        As :func:`saltrust.analysis.gaze.scores.gaze_scores`.
    adjustment : {"bonferroni", "holm", "bh", "none"}
        Of the p-values of the pairs, one family per finding, measure and what is shared.
    resamples, confidence, seed
        Of the bootstrap by patient.

    Returns
    -------
    Result
        ``summary``: per finding, source, explainer, model and measure (``term``) the mean over
        images with its interval, ``sd, patients, failed``, and ``other``, the mean with the
        gaze on other images.  ``specificity``: own less other gaze.  ``comparisons``: ``a`` less
        ``b`` on the same images, explainers and baselines within a model (``compared`` is
        ``explainers``, ``within`` the model) and models within an explainer.  ``scores``.
        KL is the only measure that is better when lower.

    Raises
    ------
    DataError, UsageError
        As :func:`saltrust.analysis.gaze.scores.gaze_scores`.

    References
    ----------
    Z. Bylinskii et al. (2019), IEEE Trans. Pattern Anal. Mach. Intell. 41, 740-757.
    """
    check_confidence_level(confidence_level)
    check_resampling(resamples, seed)
    for name in measures or ():
        if name not in MEASURES:
            raise UsageError(f"measure {name!r} is not known; {nearest(name, MEASURES)}")
    chosen = [name for name in MEASURES if measures is None or name in measures]
    scored = gaze_scores(cubes, split=split, findings=findings, explainers=explainers,
                         models=models, source_group=source_group, map_form=map_form,
                         positives=positives, reader=reader, threshold=threshold, others=others,
                         failures=failures, seed=seed, progress=progress)

    def estimates(values: FloatArray, patients: pd.Series[str]) -> list[Estimate]:
        return _means(values, patients.to_numpy(dtype=object), resamples, confidence_level, seed)

    tables = {"summary": _summary(scored.table, chosen, estimates),
              "specificity": _specificity(scored.table, chosen, estimates),
              "comparisons": _comparisons(scored.table, chosen, estimates, adjustment),
              "scores": scored.table}
    discrete = (f"pixels whose gaze is at least {threshold:g} of its maximum"
                if scored.gaze.threshold is not None else "pixels that hold a fixation")
    meta = {
        "split": split or "all", "reader": scored.gaze.reader, "map": map_form,
        "compared": "findings that the image shows" if positives else "every finding with a map",
        "resolution": "grid", "fixated": discrete,
        "other_images": f"{others} of other patients per image",
        "centre_prior": f"Gaussian of {CENTRE_SIGMA:g} of height and width",
        "average_gaze": (
            f"mean over {len(scored.gaze.averaged)} images of training and validation"
            if scored.gaze.average_is_independent else
            "mean over the selected images of other patients"),
        "failures": ("scored as a map that tells nothing" if failures == "score"
                     else "their images are left out"),
        "better": "higher, but for kl", "confidence_level": confidence_level,
        "resamples": resamples,
        "seed": seed, "adjustment": adjustment, "counts": scored.counts,
        "exclusions": scored.exclusions}
    return Result(meta, {name: table for name, table in tables.items() if len(table)})


def _means(values: FloatArray, patients: npt.NDArray[Any], resamples: int, confidence_level: float,
           seed: int) -> list[Estimate]:
    """Mean of every column with percentile interval and the p-value that inverts it."""
    count = (~np.isnan(values)).sum(axis=0)
    if len(set(patients.tolist())) < 2:
        note = f"{len(values)} rows of 1 patient: no interval"
        return [Estimate(estimate=float(np.nanmean(column)) if n else np.nan, n=int(n),
                         note=note if n else "no rows")
                for column, n in zip(values.T, count, strict=True)]
    drawn = resampled_means(values, patients, resamples=resamples, seed=seed)
    low, high, used = percentile_interval(drawn, confidence_level)
    found = []
    for k, n in enumerate(count.tolist()):
        if not n:
            found.append(Estimate(note="no rows"))
            continue
        finite = drawn[np.isfinite(drawn[:, k]), k]
        tail = min(np.sum(finite <= 0), np.sum(finite >= 0))
        found.append(Estimate(
            estimate=float(np.nanmean(values[:, k])), n=n,
            std_error=float(np.std(finite, ddof=1)) if used[k] > 1 else np.nan,
            conf_low=float(low[k]), conf_high=float(high[k]),
            p_value=min(1.0, 2 * (float(tail) + 1) / (len(finite) + 1))))
    return found


def _by_finding(scores: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Rows of each finding, then all of them where there are several."""
    found = list(dict.fromkeys(scores["finding"]))
    for finding in found:
        yield finding, scores[scores["finding"] == finding]
    if len(found) > 1:
        yield ALL, scores


def _ordered(rows: list[tuple[str, dict[str, Any]]], measures: list[str]) -> list[dict[str, Any]]:
    """Rows by finding and measure, so that what is to be compared stands below each other."""
    findings = list(dict.fromkeys(finding for finding, _ in rows))
    return [row for finding in findings for measure in measures
            for of, row in rows if of == finding and row["term"] == measure]


def _summary(scores: pd.DataFrame, measures: list[str], estimates: Estimates) -> pd.DataFrame:
    rows = []
    for finding, group in _by_finding(scores):
        for names, part in group.groupby(_ENTRY, sort=False):
            values = part[measures].to_numpy(dtype=np.float64)
            for measure, column, made in zip(
                    measures, values.T, estimates(values, part["patient"]), strict=True):
                known = column[~np.isnan(column)]
                other = part[f"{measure}_other"].mean() if measure in SWAPPED else np.nan
                # That a mean is zero is no hypothesis of interest.
                row = {**made.row(measure), "p_value": np.nan}
                if not made.n and names[1] == AVERAGE:
                    row["note"] = "made of the gaze it would be compared with"
                rows.append((finding, {
                    "finding": finding, **dict(zip(_ENTRY, names, strict=True)), **row,
                    "sd": float(known.std(ddof=1)) if len(known) > 1 else np.nan,
                    "patients": part["patient"].nunique(), "failed": int(part["failed"].sum()),
                    "other": float(other)}))
    return estimates_table(_ordered(rows, measures), ("finding", *_ENTRY),
                           ("sd", "patients", "failed", "other"))


def _specificity(scores: pd.DataFrame, measures: list[str], estimates: Estimates) -> pd.DataFrame:
    """Agreement with the gaze on the image less that with the gaze on other images."""
    swapped = [measure for measure in measures if measure in SWAPPED]
    rows = []
    for finding, group in _by_finding(scores):
        for names, part in group.groupby(_ENTRY, sort=False):
            values = (part[swapped].to_numpy(dtype=np.float64)
                      - part[[f"{name}_other" for name in swapped]].to_numpy(dtype=np.float64))
            if np.isnan(values).all():
                continue
            rows += [(finding, {"finding": finding, **dict(zip(_ENTRY, names, strict=True)),
                                **made.row(measure)})
                     for measure, made in zip(swapped, estimates(values, part["patient"]),
                                              strict=True)]
    return estimates_table(_ordered(rows, swapped), ("finding", *_ENTRY))


def _comparisons(scores: pd.DataFrame, measures: list[str], estimates: Estimates,
                 adjustment: Adjustment) -> pd.DataFrame:
    rows: list[tuple[str, dict[str, Any]]] = []
    sizes: dict[str, int] = {}
    for finding, group in _by_finding(scores):
        for compared, within, levels in _levels(group):
            pairs = [pair for pair in combinations(levels, 2) if set(pair) != {CENTRE, AVERAGE}]
            for one, two in pairs:
                both = levels[one].merge(levels[two], on=_PAIRING, suffixes=("_a", "_b"))
                if both.empty:
                    continue
                a, b = (both[[f"{name}_{end}" for name in measures]].to_numpy(dtype=np.float64)
                        for end in ("a", "b"))
                for measure, made in zip(measures, estimates(a - b, both["patient"]),
                                         strict=True):
                    family = f"{finding}, {compared} of {within}, {measure}"
                    sizes[family] = len(pairs)
                    rows.append((finding, {
                        "finding": finding, "compared": compared, "within": within, "a": one,
                        "b": two, **made.row(measure), "family": family}))
    table = estimates_table(_ordered(rows, measures), ("finding", "compared", "within", "a", "b"))
    if table.empty:
        return table
    return adjust_families(table, table["family"], adjustment, sizes)


def _levels(scores: pd.DataFrame) -> Iterator[tuple[str, str, dict[str, pd.DataFrame]]]:
    """What is compared, within what, and the rows of each level."""
    columns = [*_PAIRING, *MEASURES]
    baselines = scores[scores["source"] == BASELINE]
    maps = scores[scores["source"] != BASELINE]
    for model, of_model in maps.groupby("model", sort=False):
        together = pd.concat([of_model, baselines])
        yield "explainers", str(model), {
            str(name): part[columns] for name, part in together.groupby("explainer", sort=False)}
    for explainer, of_explainer in maps.groupby("explainer", sort=False):
        yield "models", str(explainer), {
            str(name): part[columns] for name, part in of_explainer.groupby("model", sort=False)}
