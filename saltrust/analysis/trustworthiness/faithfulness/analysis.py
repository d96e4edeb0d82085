"""Faithfulness: does the prediction follow what a map calls relevant, more than by chance?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from saltrust.analysis.inference.estimate import estimates_table
from saltrust.analysis.inference.multiplicity import adjust
from saltrust.analysis.inference.paired_differences import signed_rank
from saltrust.analysis.inference.tested_means import mean_estimates, means_with_tests
from saltrust.analysis.options import Resampling
from saltrust.analysis.result import Result
from saltrust.analysis.select import as_cubes
from saltrust.analysis.stored.contents import split_of
from saltrust.analysis.trustworthiness.decisions import UNKNOWN, verdict
from saltrust.analysis.trustworthiness.faithfulness.areas import (
    CURVES,
    FaithfulnessScores,
    faithfulness_scores,
)
from saltrust.analysis.trustworthiness.faithfulness.mean_curves import mean_curves
from saltrust.analysis.trustworthiness.faithfulness.metric_agreement import agreement_rows
from saltrust.cache.identity import of_one_store
from saltrust.choices import Failures, Images, check_word

FloatArray = npt.NDArray[np.float64]

#: What stands in the column ``finding`` for all pairs of image and finding together.
ALL = "all"
#: What every explainer is compared with.
BASELINE = "random orders"
FACTS = "faithfulness"

_NAMES = ("finding", "explainer", "model", "metric")
_DEFINITIONS = {
    "better": "larger areas of insertion and lerf, smaller ones of deletion and morf, smaller "
              "infidelity and sensitivity; gains and comparisons are turned so that more is better",
    "area": "trapezoids over the true fractions removed, divided by their range",
    "baseline": "mean area of random orders of the same image, which all explainers share",
    "pooled": {ALL: "all pairs of image and finding, each counting alike"},
    "decision": "pass: significantly better than random orders; did not pass: worse; else "
                "uncertain; beside it a signed-rank test by patient (Holm)"}


@of_one_store
def faithfulness(cubes: xr.DataTree | str | Path, *, images: Images = "positive",
                 metrics: Sequence[str] | None = None, failures: Failures = "score",
                 resampling: Resampling = Resampling()) -> Result:
    """Areas of the curves of faithfulness, beside chance, and compared between explainers.

    Parameters
    ----------
    cubes : xarray.DataTree or path
        With ``/faithfulness``.  Any selection (:func:`saltrust.select`).
    images : {"positive", "all"}
        Images that show the finding, whose prediction there is something to remove from; or all
        that have curves.
    metrics : sequence of str, optional
        Which of ``deletion``, ``insertion``, ``morf``, ``lerf``, ``infidelity``, ``sensitivity``;
        all that are stored by default.
    failures : {"score", "drop"}
        A flat or non-finite map orders nothing: it is scored as a random order, or its image is
        left out for all explainers.
    resampling : Resampling
        Of the bootstrap by patient.

    Returns
    -------
    Result
        ``summary``: mean area or number per finding, explainer, model and metric, with ``random``,
        the mean area of random orders.  ``decisions``: the gain over random orders, tested by
        max-T over the explainers of a finding, model and metric.  ``comparisons``: by how much
        ``a`` is better than ``b`` on the same images, by max-T over the pairs.  ``agreement``:
        how far metrics agree on the order of explainers.  ``curves``: mean curves with pointwise
        intervals.  ``scores``: the rows these are made of.

    Raises
    ------
    DataError
        If there are no curves, or none of the selected images.
    UsageError
        If an option is not known.

    References
    ----------
    V. Petsiuk, A. Das and K. Saenko (2018), RISE, BMVC; Y. Rong et al. (2022), A consistent and
    efficient evaluation strategy for attribution methods (ROAD), ICML.
    """
    check_word(images, Images, "images")
    check_word(failures, Failures, "failures")
    tree = as_cubes(cubes)
    scores = faithfulness_scores(tree, images, failures, metrics)
    tables = {
        "summary": _summary(scores, resampling), "decisions": _decisions(scores, resampling),
        "comparisons": _comparisons(scores, resampling),
        "agreement": _agreement(scores, resampling),
        "curves": mean_curves(tree, scores, resampling), "scores": scores.table()}
    facts = tree.attrs.get(FACTS)
    meta = {
        "criterion": "faithfulness", "split": split_of(tree), "images": images,
        "metrics": scores.labels["metric"], **_DEFINITIONS,
        **({"removal": dict(facts)} if isinstance(facts, dict) else {}),
        "failures": ("scored as a random order" if failures == "score"
                     else "their images are left out for all explainers"),
        **resampling.describe(),
        "counts": {"images": len(scores.images), "patients": len(set(scores.patients)),
                   "flat or non-finite maps": int(scores.failed.sum())}}
    return Result(meta, {name: table for name, table in tables.items() if len(table)},
                  "faithfulness")


def _parts(scores: FaithfulnessScores, values: FloatArray
           ) -> Iterator[tuple[str, str, npt.NDArray[Any], FloatArray]]:
    """Finding, model, patients, and values with the axes row, explainer, metric.

    Rows are images of a finding, then pairs of image and finding of all where there are several.
    """
    patients = np.array(scores.patients, dtype=object)
    findings = scores.labels["finding"]
    pooled = [ALL] if len(findings) > 1 else []
    for finding in [*findings, *pooled]:
        for m, model in enumerate(scores.labels["model"]):
            part = values[:, :, :, m]
            if finding == ALL:
                yield (finding, model, np.repeat(patients, len(findings)),
                       part.reshape(-1, *part.shape[2:]))
            else:
                yield finding, model, patients, part[:, findings.index(finding)]


def _options(resampling: Resampling) -> dict[str, Any]:
    return {"resamples": resampling.resamples, "kind": resampling.kind,
            "confidence_level": resampling.confidence_level, "seed": resampling.seed}


def _summary(scores: FaithfulnessScores, resampling: Resampling) -> pd.DataFrame:
    rows = []
    shape = scores.values.shape
    randoms = np.broadcast_to(scores.random[:, :, None], shape)
    failures = np.broadcast_to(scores.failed[..., None], shape).astype(np.float64)
    for (finding, model, patients, values), (*_, random), (*_, failed) in zip(
            _parts(scores, scores.values), _parts(scores, randoms), _parts(scores, failures),
            strict=True):
        for k, metric in enumerate(scores.labels["metric"]):
            made = mean_estimates(values[:, :, k], patients, **_options(resampling))
            for e, explainer in enumerate(scores.labels["explainer"]):
                column = values[:, e, k]
                known = np.isfinite(column)
                if not known.any():
                    continue
                rows.append({
                    "finding": finding, "explainer": explainer, "model": model, "metric": metric,
                    **made[e].row("area" if metric in CURVES else "mean"),
                    "sd": float(column[known].std(ddof=1)) if known.sum() > 1 else np.nan,
                    "random": float(random[known, e, k].mean()),
                    "patients": len(set(patients[known])),
                    "failed": int(failed[known, e, k].sum())})
    return estimates_table(rows, _NAMES, ("sd", "random", "patients", "failed")).astype(
        {"patients": "int64", "failed": "int64"})


def _decisions(scores: FaithfulnessScores, resampling: Resampling) -> pd.DataFrame:
    """Gains over random orders, and what they decide by two tests."""
    alpha = 1 - resampling.confidence_level
    rows: list[dict[str, Any]] = []
    for finding, model, patients, gain in _parts(scores, scores.gain):
        for k, metric in enumerate(scores.labels["metric"]):
            columns = gain[:, :, k]
            if metric not in CURVES or not np.isfinite(columns).any():
                continue
            made = means_with_tests(columns, patients, [f"explainers, {finding}, {model}, {metric}"]
                                    * columns.shape[1], **_options(resampling))
            ranks = adjust([_signed_rank_p(column, patients) for column in columns.T], "holm")
            for explainer, row, p in zip(scores.labels["explainer"], made, ranks.tolist(),
                                         strict=True):
                if not row["n"]:
                    continue
                decided = (verdict(row["estimate"], row["p_adjusted"], alpha),
                           verdict(row["estimate"], p, alpha))
                rows.append({
                    "finding": finding, "explainer": explainer, "model": model, "metric": metric,
                    "baseline": BASELINE, **row, "term": "gain", "decision": decided[0],
                    "wilcoxon_decision": decided[1], "wilcoxon_p": p,
                    "changes": len({*decided} - {UNKNOWN}) > 1})
    texts = {"decision": "object", "wilcoxon_decision": "object", "changes": "bool"}
    table = estimates_table(({**row, **dict.fromkeys(texts, np.nan)} for row in rows),
                            (*_NAMES, "baseline"), ("decision", "wilcoxon_decision", "wilcoxon_p",
                                                    "changes"))
    for name, kind in texts.items():
        table[name] = pd.Series([row[name] for row in rows], dtype=kind, index=table.index)
    return table


def _signed_rank_p(column: FloatArray, patients: npt.NDArray[Any]) -> float:
    known = np.isfinite(column)
    return signed_rank(column[known], patients[known]).p_value if known.any() else np.nan


def _comparisons(scores: FaithfulnessScores, resampling: Resampling) -> pd.DataFrame:
    pairs = list(combinations(range(len(scores.labels["explainer"])), 2))
    names = scores.labels["explainer"]
    rows: list[dict[str, Any]] = []
    if pairs:
        for finding, model, patients, merit in _parts(scores, scores.merit):
            for k, metric in enumerate(scores.labels["metric"]):
                columns = np.stack([merit[:, a, k] - merit[:, b, k] for a, b in pairs], axis=1)
                if not np.isfinite(columns).any():
                    continue
                made = means_with_tests(columns, patients, [
                    f"pairs, {finding}, {model}, {metric}"] * len(pairs), **_options(resampling))
                rows += [{"finding": finding, "model": model, "metric": metric, "a": names[a],
                          "b": names[b], **row, "term": "a better by"}
                         for (a, b), row in zip(pairs, made, strict=True) if row["n"]]
    return estimates_table(rows, ("finding", "model", "metric", "a", "b"))


def _agreement(scores: FaithfulnessScores, resampling: Resampling) -> pd.DataFrame:
    rows = [{"finding": finding, "model": model, **row}
            for finding, model, patients, merit in _parts(scores, scores.merit)
            for row in agreement_rows(merit, patients, scores.labels["metric"],
                                      f"pairs of metrics, {finding}, {model}", resampling)]
    return estimates_table(rows, ("finding", "model", "metric_a", "metric_b"),
                           ("of_means", "explainers")).astype({"explainers": "int64"})
