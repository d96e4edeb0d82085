"""Do heatmaps look where people look?  Agreement of maps with gaze, beside chance.

Gaze is central whatever the image shows, so agreement alone says little: it stands beside that of a
central Gaussian, of the average gaze on other patients' images, and of the same map with the
gaze on other images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from saltrust.analysis.gaze.scores import (
    AVERAGE,
    BASELINE,
    CENTER,
    CENTER_SIGMA,
    MEASURES,
    SWAPPED,
    gaze_scores,
)
from saltrust.analysis.inference.bootstrap import mean_interval
from saltrust.analysis.inference.clustered import clustered_mean
from saltrust.analysis.inference.estimate import Estimate, estimates_table
from saltrust.analysis.inference.multiplicity import adjust_families
from saltrust.analysis.options import GazeComparison, Resampling
from saltrust.analysis.result import Result
from saltrust.analysis.select import as_cubes
from saltrust.analysis.stored.contents import split_of
from saltrust.analysis.stored.gaze import RecordedGaze
from saltrust.analysis.stored.readings import described
from saltrust.cache.identity import of_one_store
from saltrust.choices import Adjustment, check_word
from saltrust.errors import UsageError, nearest

FloatArray = npt.NDArray[np.float64]
#: Means of columns (n, k), the patients of the rows, to estimates.
Estimates = Callable[[FloatArray, "pd.Series[str]"], list[Estimate]]

#: What stands in the column ``finding`` for all pairs of image and finding together.
ALL = "all"
_ENTRY = ["source", "explainer", "model"]
_PAIRING = ["image", "finding", "patient"]


@of_one_store
def gaze(cubes: xr.DataTree | str | Path, *, comparison: GazeComparison = GazeComparison(),
         measures: Sequence[str] | None = None,
         fitted_on: xr.DataTree | str | Path | None = None,
         adjustment: Adjustment = "bonferroni", resampling: Resampling = Resampling(),
         progress: bool = False) -> Result:
    """Agreement of maps with gaze, beside chance, and compared between explainers and models.

    Parameters
    ----------
    cubes : xarray.DataTree or path
        With ``/reference/gaze``, and ``/saliency`` or ``/localizer``.  Any selection
        (:func:`saltrust.select`); gaze is that of its first reader who looked at any image.
    comparison : GazeComparison
        Which maps are compared, and how.
    measures : sequence of str, optional
        Which of :data:`saltrust.analysis.gaze.scores.MEASURES`: ``correlation``, ``ssim``,
        ``similarity``, ``kl``, ``auc_judd``, ``auc_shuffled``, ``nss``; all by default.
    fitted_on : xarray.DataTree or path, optional
        Study whose training and validation images the average gaze is of, where none of them is
        analysed.  By default the store that the cubes are a selection of, else the cubes.
    adjustment : {"bonferroni", "holm", "bh", "none"}
        Of the p-values of the pairs, one family per finding, measure and what is shared.
    resampling : Resampling
        Of the bootstrap by patient; its seed is also that of the draw of other images.
    progress : bool
        Whether a bar is shown on stderr.

    Returns
    -------
    Result
        ``summary``: per finding, source, explainer, model and measure (``term``) the mean over
        images with its interval, ``sd, patients, failed``, and ``other``, the mean with the
        gaze on other images.  ``specificity``: agreement with the gaze on the image less that
        with the gaze on others.  ``comparisons``: ``a`` less ``b`` on the same images, explainers
        and baselines within a model (``compared`` is ``explainers``, ``within`` the model) and
        models within an explainer.  ``scores``: the rows these are made of.
        KL is the only measure that is better when lower.

    Raises
    ------
    UsageError
        If a measure or an option is not known.
    DataError
        If there is no gaze, no map, or no map left.

    References
    ----------
    Z. Bylinskii et al. (2019), IEEE Trans. Pattern Anal. Mach. Intell. 41, 740-757.
    """
    tree = as_cubes(cubes)
    check_word(adjustment, Adjustment, "adjustment")
    for name in measures or ():
        if name not in MEASURES:
            raise UsageError(f"measure {name!r} is not known; {nearest(name, MEASURES)}")
    chosen = [name for name in MEASURES if measures is None or name in measures]
    scored = gaze_scores(tree, comparison, fitted_on=fitted_on, seed=resampling.seed,
                         progress=progress)

    def estimates(values: FloatArray, patients: pd.Series[str]) -> list[Estimate]:
        return _means(values, patients.to_numpy(dtype=object), resampling)

    tables = {"summary": _summary(scored.table, chosen, estimates),
              "specificity": _specificity(scored.table, chosen, estimates),
              "comparisons": _comparisons(scored.table, chosen, estimates, adjustment),
              "scores": scored.table}
    meta = {
        "split": split_of(tree), "reader": scored.gaze.reader, **comparison.describe(),
        **described(comparison.reading, scored.readings),
        "resolution": "grid", **_chance(scored.gaze), "better": "higher, but for kl",
        **resampling.describe(), "adjustment": adjustment, "counts": scored.counts,
        "exclusions": scored.exclusions}
    return Result(meta, {name: table for name, table in tables.items() if len(table)},
                  "gaze")


def _chance(recorded: RecordedGaze) -> dict[str, str]:
    """What counts as fixated, and the maps that know nothing of the image, for the metadata."""
    return {
        "fixated": ("pixels that hold a fixation" if recorded.threshold is None else
                    f"pixels whose gaze is at least {recorded.threshold:g} of its maximum"),
        "centre_prior": f"Gaussian of {CENTER_SIGMA:g} of height and width",
        "average_gaze": (f"mean over {len(recorded.averaged)} images of training and validation"
                         if recorded.average_is_independent else
                         "mean over the selected images of other patients")}


def _means(values: FloatArray, patients: npt.NDArray[Any], resampling: Resampling
           ) -> list[Estimate]:
    """Mean of every column with its bootstrap interval and a t test clustered by patient.

    The test is not from the resamples, whose number would bound the p-values of a family.
    """
    count = (~np.isnan(values)).sum(axis=0)
    if len(set(patients.tolist())) < 2:
        note = f"{len(values)} rows of 1 patient: no interval"
        return [Estimate(estimate=float(np.nanmean(column)) if n else np.nan, n=int(n),
                         note=note if n else "no rows")
                for column, n in zip(values.T, count, strict=True)]
    made = mean_interval(values, patients, resamples=resampling.resamples, method=resampling.kind,
                         confidence_level=resampling.confidence_level, seed=resampling.seed)
    estimates = []
    for k, n in enumerate(count.tolist()):
        if not n:
            estimates.append(Estimate(note="no rows"))
            continue
        tested = clustered_mean(values[:, k], patients)
        estimates.append(Estimate(
            estimate=float(np.nanmean(values[:, k])), n=n,
            std_error=float(made.std_error[k]), conf_low=float(made.conf_low[k]),
            conf_high=float(made.conf_high[k]), statistic=tested.statistic, df=tested.df,
            p_value=tested.p_value, note=tested.note or made.notes[k]))
    return estimates


def _by_finding(scores: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Rows of each finding, then all of them where there are several."""
    findings = list(dict.fromkeys(scores["finding"]))
    for finding in findings:
        yield finding, scores[scores["finding"] == finding]
    if len(findings) > 1:
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
                row = {**made.row(measure), "statistic": np.nan, "df": np.nan, "p_value": np.nan}
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
            pairs = [pair for pair in combinations(levels, 2) if set(pair) != {CENTER, AVERAGE}]
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
