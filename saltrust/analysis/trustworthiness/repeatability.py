"""Repeatability and reproducibility: do models that agree on images agree on their maps?

Repeatability compares models of one architecture trained from different seeds, reproducibility
models of different architectures, by the SSIM of their maps of each image (Arun et al., 2021).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from tqdm import tqdm

from saltrust.analysis.classification.image_auc import study_aucs
from saltrust.analysis.options import Decision
from saltrust.analysis.pixels.map_similarity import DifferentImages, chance_corrected
from saltrust.analysis.pixels.ssim import ssim_settings
from saltrust.analysis.result import Result
from saltrust.analysis.select import as_cubes
from saltrust.analysis.stored.contents import require_heatmaps, source, split_of
from saltrust.analysis.stored.images import images_of
from saltrust.analysis.stored.maps import LOCALIZER, TRAINED, stored_maps
from saltrust.analysis.trustworthiness.decisions import (
    Decided,
    adjust_together,
    decide,
    decision_tables,
)
from saltrust.analysis.trustworthiness.map_pairs import MapPairs
from saltrust.analysis.trustworthiness.model_pairs import (
    Comparison,
    Criterion,
    plan_comparisons,
)
from saltrust.cache.identity import of_one_store
from saltrust.choices import Failures, Images, SsimSetting, check_word
from saltrust.errors import DataError

SCORE_COLUMNS = ("image", "patient", "finding", "criterion", "explainer", "model_a", "model_b",
                 "ssim", "failed")
#: Low baseline of the paper: the middle of SSIM's positive range.
LOW = 0.5

#: Similarity of different images by finding, explainer and both models.
Chance = Mapping[tuple[str, ...], DifferentImages]


@of_one_store
def repeatability(
    cubes: xr.DataTree | str | Path, *, images: Images = "all", ssim: SsimSetting = "default",
    pairs: int = 1000, failures: Failures = "score", against_value: float = LOW,
    decision: Decision = Decision(), progress: bool = False,
) -> Result:
    """Similarity of the maps of models of one architecture, and whether it passes.

    Parameters
    ----------
    cubes : xarray.DataTree or path
        With ``/saliency`` of at least two models and their architectures; masks are not needed.
        Any selection (:func:`saltrust.select`).  Two models that were trained with different
        losses (``guidance`` of the study) are no pair, unless models were selected by name.
    images : {"all", "positive"}
        All images that have maps, or as the paper those that show the finding.
    ssim : {"default", "paper", "raw"}
        Window, scaling and data range (:data:`saltrust.analysis.pixels.ssim.SSIM_SETTINGS`).
    pairs : int
        Random pairs of images of different patients, which tell what similarity chance gives.
    failures : {"score", "drop"}
        A pair with a flat or non-finite map shares no structure: SSIM 0, or its image left out.
    against_value : float
        Low baseline that the marginal means are tested against; it is no level of the model.
    decision : Decision
        How explainers are compared with their baselines.
    progress : bool
        Whether a bar is shown on stderr.

    Returns
    -------
    Result
        ``summary``: per explainer (and localizer) and pair of models ``n, ssim_mean, ssim_sd``,
        the SSIM of different images with its Monte Carlo error, the chance-corrected SSIM and
        both models' AUC; ``decisions``, ``methods``, ``models``, ``scores``.

    Raises
    ------
    DataError
        If there are no maps, or no two models to compare.
    UsageError
        If an option is not known.
    """
    return _similarity(as_cubes(cubes), "repeatability", images, ssim, pairs=pairs,
                       failures=failures, against_value=against_value, decision=decision,
                       progress=progress)


@of_one_store
def reproducibility(
    cubes: xr.DataTree | str | Path, *, images: Images = "all", ssim: SsimSetting = "default",
    pairs: int = 1000, failures: Failures = "score", against_value: float = LOW,
    decision: Decision = Decision(), progress: bool = False,
) -> Result:
    """Similarity of the maps of models of different architectures, and whether it passes.

    Parameters
    ----------
    cubes : xarray.DataTree or path
        With ``/saliency`` of at least two models and their architectures; masks are not needed.
        Any selection (:func:`saltrust.select`).
    images : {"all", "positive"}
        All images that have maps, or as the paper those that show the finding.
    ssim : {"default", "paper", "raw"}
        Window, scaling and data range (:data:`saltrust.analysis.pixels.ssim.SSIM_SETTINGS`).
    pairs : int
        Random pairs of images of different patients, which tell what similarity chance gives.
    failures : {"score", "drop"}
        A pair with a flat or non-finite map shares no structure: SSIM 0, or its image left out.
    against_value : float
        Low baseline that the marginal means are tested against; it is no level of the model.
    decision : Decision
        How explainers are compared with their baselines.
    progress : bool
        Whether a bar is shown on stderr.

    Returns
    -------
    Result
        The tables of :func:`repeatability`.

    Raises
    ------
    DataError
        If there are no maps, or no two models to compare.
    UsageError
        If an option is not known.
    """
    return _similarity(as_cubes(cubes), "reproducibility", images, ssim, pairs=pairs,
                       failures=failures, against_value=against_value, decision=decision,
                       progress=progress)


def _similarity(cubes: xr.DataTree, criterion: Criterion, images: Images, ssim: SsimSetting, *,
                pairs: int, failures: Failures, against_value: float, decision: Decision,
                progress: bool) -> Result:
    settings = ssim_settings(ssim)
    check_word(images, Images, "images")
    check_word(failures, Failures, "failures")
    require_heatmaps(cubes, "there is nothing to compare between models")
    saliency = stored_maps(cubes, "saliency")
    assert saliency is not None
    plan = plan_comparisons(cubes, criterion, saliency, stored_maps(cubes, "localizer"))
    compared = MapPairs(images_of(cubes), images, settings, pairs, decision.seed)
    scores, chance = _scores(plan.comparisons, compared, saliency.labels["finding"],
                             progress=progress)
    if failures == "drop":
        scores = scores[~scores["failed"]].reset_index(drop=True)
    of_criterion = scores[scores["criterion"] == criterion].reset_index(drop=True)
    if of_criterion[of_criterion["explainer"].isin(saliency.labels["explainer"])].empty:
        raise DataError(f"no selected image has usable maps of two models in {source(cubes)}; "
                        "select others or generate them")
    aucs = study_aucs(cubes)
    tables = {"summary": _summary_table(of_criterion, chance, aucs),
              **_compare(scores, criterion, plan.comparisons, against_value, decision),
              "models": aucs, "scores": of_criterion}
    meta = {
        "criterion": criterion, "split": split_of(cubes), "images": images,
        "ssim": {"setting": ssim, **settings.describe()},
        "low_baseline": against_value, "pairs_of_different_images": pairs,
        "standard_deviation": "over images, n - 1",
        "failures": "SSIM 0" if failures == "score" else "their images are left out",
        **decision.describe(), "counts": dict(compared.counts), "exclusions": plan.exclusions}
    return Result(meta, {name: table for name, table in tables.items() if len(table)}, criterion)


def _scores(comparisons: Sequence[Comparison], compared: MapPairs, findings: Sequence[str], *,
            progress: bool) -> tuple[pd.DataFrame, Chance]:
    """Scores of every image, and similarity by chance, of every comparison."""
    rows: list[dict[str, Any]] = []
    chance: dict[tuple[str, ...], DifferentImages] = {}
    work = [(comparison, finding) for comparison in comparisons for finding in findings]
    for comparison, finding in tqdm(work, desc=comparisons[0].criterion, unit="comparison",
                                    disable=None if progress else True):
        model_a, model_b = comparison.models
        rows += compared.compare(
            finding, comparison.series, compared.stored(finding, *comparison.series),
            {"criterion": comparison.criterion, "explainer": comparison.explainer,
             "model_a": model_a, "model_b": model_b}, "with a flat or non-finite map")
        chance[finding, comparison.explainer, model_a, model_b] = compared.by_chance(
            finding, *comparison.series).similarity
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS)), chance


def _summary_table(scores: pd.DataFrame, chance: Chance, aucs: pd.DataFrame) -> pd.DataFrame:
    known = {(row.condition, row.finding, row.model): row.image_auc for row in aucs.itertuples()}
    rows = []
    for key, group in scores.groupby(["finding", "explainer", "model_a", "model_b"], sort=False):
        finding, explainer, a, b = map(str, key)
        different = chance[finding, explainer, a, b]
        mean = float(group["ssim"].mean())
        kind = LOCALIZER if explainer.startswith(f"{LOCALIZER} ") else TRAINED
        rows.append({
            "finding": finding, "explainer": explainer, "model_a": a, "model_b": b,
            "n": len(group), "ssim_mean": mean, "ssim_sd": float(group["ssim"].std(ddof=1)),
            "different_mean": different.mean, "different_sd": different.sd,
            "different_error": different.monte_carlo_error, "pairs": len(different.ssim),
            "ssim_corrected": chance_corrected(mean, different.mean),
            "failed": int(group["failed"].sum()),
            "image_auc_a": known.get((kind, finding, a), np.nan),
            "image_auc_b": known.get((kind, finding, b), np.nan)})
    return pd.DataFrame(rows)


def _compare(scores: pd.DataFrame, criterion: Criterion, comparisons: Sequence[Comparison],
             against_value: float, decision: Decision) -> dict[str, pd.DataFrame]:
    """Every pair of models, all pairs together, and one criterion against the other."""
    localizers = list(dict.fromkeys(c.explainer for c in comparisons if c.of_localizers))
    constant = f"{against_value:g}"
    decisions: list[dict[str, Any]] = []
    methods: list[dict[str, Any]] = []
    for finding, of_finding in scores.groupby("finding", sort=False):
        of_criterion = of_finding[of_finding["criterion"] == criterion]
        fixed = of_criterion[of_criterion["explainer"].isin(localizers)]
        maps = of_criterion[~of_criterion["explainer"].isin(localizers)]
        for name, group in _pair_groups(maps):
            explainers = list(dict.fromkeys(group["explainer"]))
            table = _beside(_levels(group), _levels(fixed))
            contrasts = [(e, b) for b in [*localizers, constant] for e in explainers]
            decided = decide(table, contrasts, random="pair", options=decision,
                             identify={"finding": str(finding), "models": name},
                             constants={constant: against_value})
            decisions += decided[0]
            methods += decided[1]
        other = adjust_together(list(_other_criterion(of_finding, criterion, str(finding),
                                                      decision)), "explainers", decision)
        decisions += other[0]
        methods += other[1]
    return decision_tables(decisions, methods, ["finding", "models"])


def _pair_groups(scores: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Pairs of models one by one, and all of them with the pair as a random factor."""
    pairs = list(dict.fromkeys(zip(scores["model_a"], scores["model_b"], strict=True)))
    for a, b in pairs:
        yield f"{a} / {b}", scores[(scores["model_a"] == a) & (scores["model_b"] == b)]
    if len(pairs) > 1:
        yield f"all {len(pairs)} pairs", scores


def _other_criterion(scores: pd.DataFrame, criterion: Criterion, finding: str,
                     decision: Decision) -> Iterator[Decided]:
    """Each explainer's SSIM under this criterion against that under the other, image by image."""
    for explainer, group in scores.groupby("explainer", sort=False):
        if group["criterion"].nunique() < 2:
            continue
        table = _levels(group)
        # A pair for each criterion is the criterion: nothing is left to vary between pairs.
        random = "pair" if len(set(table["pair"])) > 2 else ""
        other = next(k for k in dict.fromkeys(group["criterion"]) if k != criterion)
        table["level"] = np.where(group["criterion"] == criterion, str(explainer), other)
        yield decide(table, [(str(explainer), other)], random=random, options=decision,
                     identify={"finding": finding, "models": f"{criterion} - {other}"})


def _beside(maps: pd.DataFrame, fixed: pd.DataFrame) -> pd.DataFrame:
    """Put what the localizers have of each image beside every pair of models."""
    mean = fixed.groupby(["image", "patient", "level"], sort=False, as_index=False)["value"].mean()
    pairs = dict.fromkeys(maps["pair"])
    return pd.concat([maps, *(mean.assign(pair=pair) for pair in pairs if len(mean))],
                     ignore_index=True)


def _levels(scores: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({"image": scores["image"], "patient": scores["patient"],
                         "pair": scores["model_a"] + " / " + scores["model_b"],
                         "level": scores["explainer"], "value": scores["ssim"]}
                        ).reset_index(drop=True)


