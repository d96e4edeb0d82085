"""Sensitivity to the weights: do maps degrade when the model is randomized from the top?

The map of each stage of cascading randomization is compared with the trained model's by SSIM of
the raw signed maps.  An explainer that depends on what the model has learnt falls to the level of
maps of different images: that is the baseline (Arun et al., 2021; Adebayo et al., 2018).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from tqdm import tqdm

from saltrust.analysis.classification.image_auc import TRAINED_ON_DRAWN, study_aucs
from saltrust.analysis.options import Decision, Margins
from saltrust.analysis.pixels.ssim import ssim_settings
from saltrust.analysis.result import Result
from saltrust.analysis.select import as_cubes
from saltrust.analysis.stored.contents import source, split_of
from saltrust.analysis.stored.images import images_of
from saltrust.analysis.stored.maps import RANDOMIZED, TRAINED, StoredMaps, stored_maps
from saltrust.analysis.trustworthiness.complexity import (
    MEANING,
    complexity_scores,
    complexity_table,
)
from saltrust.analysis.trustworthiness.decisions import (
    FAIL,
    PASS,
    UNCERTAIN,
    UNKNOWN,
    Judge,
    verdict,
)
from saltrust.analysis.trustworthiness.map_pairs import ByChance, MapPairs
from saltrust.analysis.trustworthiness.patient_jackknife import decide_by_patients
from saltrust.cache.identity import of_one_store
from saltrust.cache.stage_names import paper_stages
from saltrust.choices import Failures, Images, RandomizationRule, SsimSetting, check_word
from saltrust.errors import DataError, UsageError

#: What each rule calls a pass, by the difference of the fully randomized model's mean SSIM and
#: the baseline.
RULES: dict[RandomizationRule, str] = {
    "table": "pass: significantly below the baseline; did not pass: significantly above; else "
             "uncertain (the paper's Table 3)",
    "text": "pass: not significantly above the baseline; else did not pass (the paper's text)",
    "preprint": "pass: mean below the baseline; else did not pass (the preprint)",
}
SCORE_COLUMNS = ("image", "patient", "finding", "explainer", "model", "replicate", "stage",
                 "stage_index", "ssim", "failed")

_MEANINGS = {
    "standard_deviation": "over images, n - 1",
    "decision": "contrast of explainer x condition; interval and t test by the jackknife over "
                "patients, each taking all its pairs along"}
_KEY = ["finding", "explainer", "model"]
#: Finding, explainer and model.
Key = tuple[str, str, str]


def rule_judge(rule: RandomizationRule) -> Judge:
    """The rule as a function of estimate, adjusted p-value and alpha.

    Parameters
    ----------
    rule : {"table", "text", "preprint"}
        :data:`RULES`.

    Raises
    ------
    UsageError
        If the rule is not known.

    Examples
    --------
    >>> [rule_judge(rule)(-0.01, 0.2, 0.05) for rule in RULES]
    ['uncertain', 'pass', 'pass']
    >>> [rule_judge(rule)(0.1, 0.001, 0.05) for rule in RULES]
    ['did not pass', 'did not pass', 'did not pass']
    """
    check_word(rule, RandomizationRule, "rule")

    def judge(estimate: float, p_value: float, alpha: float) -> str:
        # Here low similarity is good.
        decision = verdict(-estimate, p_value, alpha)
        if rule == "table" or decision == UNKNOWN:
            return decision
        if rule == "text":
            return PASS if decision == UNCERTAIN else decision
        return PASS if estimate < 0 else FAIL

    return judge


@of_one_store
def randomization(
    cubes: xr.DataTree | str | Path, *, images: Images = "all", ssim: SsimSetting = "default",
    rule: RandomizationRule = "table", pairs: int = 1000, failures: Failures = "score",
    decision: Decision = Decision(), progress: bool = False,
) -> Result:
    """SSIM of the maps of every stage of randomization to the trained model's, and a decision.

    Parameters
    ----------
    cubes : xarray.DataTree or path
        With ``/randomization``, stage 0 the trained model; masks are not needed.  Any selection
        (:func:`saltrust.select`).
    images : {"all", "positive"}
        All images that have maps, or as the paper those that show the finding.
    ssim : {"default", "paper", "raw"}
        Window, scaling and data range (:data:`saltrust.analysis.pixels.ssim.SSIM_SETTINGS`).
    rule : {"table", "text", "preprint"}
        What counts as a pass (:data:`RULES`).
    pairs : int
        Random pairs of images of different patients for the baseline; the paper took 50.
    failures : {"score", "drop"}
        A flat or non-finite map of a random network shares no structure: SSIM 0, or it is left
        out.  An image whose trained map is flat or not finite is always left out, since nothing
        can degrade: scored as 0 it would count in the explainer's favour.
    decision : Decision
        How explainers are compared with the baseline.
    progress : bool
        Whether a bar is shown on stderr.

    Returns
    -------
    Result
        ``summary``: per explainer the baseline with its Monte Carlo error and the SSIM of the
        last stage, with the model's AUC trained and randomized; ``decisions`` by the
        jackknife over patients, since each pair of the baseline involves two, ``methods``;
        ``stages``: mean and SD of every stage and replicate, with the paper's names of the
        stages of InceptionV3 in ``paper_stage``; ``complexity``: efficient MPRT
        (:mod:`saltrust.analysis.trustworthiness.complexity`); ``models``, ``scores``, ``pairs``,
        ``complexity_scores``.

    Raises
    ------
    DataError
        If there are no randomized maps.
    UsageError
        If an option is not known.

    References
    ----------
    J. Adebayo et al. (2018), Adv. Neural Inf. Process. Syst. 31, 9505-9515.
    A. Hedstrom et al. (2024), Sanity checks revisited, arXiv:2401.06465.
    """
    judge, settings = rule_judge(rule), ssim_settings(ssim)
    if Margins.of(decision.margin).non_inferiority is not None:
        raise UsageError("randomization asks whether maps become less alike, so that nothing is "
                         "better for being higher; leave the margin of non-inferiority out")
    check_word(images, Images, "images")
    check_word(failures, Failures, "failures")
    tree = as_cubes(cubes)
    maps = stored_maps(tree, "randomization")
    if maps is None or len(maps.labels["stage"]) < 2:
        raise DataError(f"{source(tree)} has no maps of a randomised model "
                        "(/randomization/heatmap is absent or empty), so sensitivity to the "
                        "weights cannot be judged; generate them with randomization")
    compared = MapPairs(images_of(tree), images, settings, pairs, decision.seed)
    degraded = _degradation(maps, compared, progress)
    scores = pd.DataFrame(degraded.rows, columns=list(SCORE_COLUMNS))
    if failures == "drop":
        scores = scores[~scores["failed"]].reset_index(drop=True)
    if scores.empty:
        raise DataError("no selected image has usable maps of the trained and a randomised "
                        f"model in {source(tree)}; select others or generate them")
    entropies = complexity_scores(maps, compared, failures, progress)
    aucs = study_aucs(tree)
    tables = {"summary": _summary(scores, degraded, aucs, maps.labels["stage"][-1]),
              **decide_by_patients(_last_stage(scores), degraded.baselines, compared.images,
                                   decision, judge),
              "stages": _stages(scores, degraded.baselines), "models": aucs, "scores": scores,
              "pairs": _pair_table(degraded.baselines),
              "complexity": complexity_table(entropies, decision),
              "complexity_scores": entropies}
    meta = {
        "criterion": "randomization", "split": split_of(tree), "images": images,
        "rule": rule, "rule_meaning": RULES[rule], "stages": maps.labels["stage"],
        "ssim": {"setting": ssim, **settings.describe()},
        "baseline": f"mean SSIM of the trained model's maps of up to {pairs} random pairs of "
                    "images of different patients",
        "failures": ("SSIM 0" if failures == "score" else "left out") + "; images whose trained "
                    "map is flat or not finite are left out, since nothing can degrade",
        **decision.describe(), **_MEANINGS, "complexity": MEANING,
        "counts": dict(compared.counts)}
    return Result(meta, {name: table for name, table in tables.items() if len(table)},
                  "randomization")


@dataclass
class _Degradation:
    """How similar maps stay to those of the trained model.

    Attributes
    ----------
    rows : list of dict
        One per image, replicate and stage, with the columns :data:`SCORE_COLUMNS`.
    baselines : dict
        By finding, explainer and model.
    flat : dict
        Number of trained maps that are flat or not finite.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    baselines: dict[Key, ByChance] = field(default_factory=dict)
    flat: dict[Key, int] = field(default_factory=dict)


def _degradation(maps: StoredMaps, compared: MapPairs, progress: bool) -> _Degradation:
    """Compare every stage with the trained model, and trained maps of different images."""
    result = _Degradation()
    replicates, stages = maps.labels["replicate"], maps.labels["stage"]
    keys = list(product(maps.labels["finding"], maps.labels["explainer"], maps.labels["model"]))
    for key in tqdm(keys, desc="randomization", unit="explainer",
                    disable=None if progress else True):
        finding, explainer, model = key
        names = {"explainer": explainer, "model": model}
        trained = maps.series(**names, replicate=replicates[0], stage=stages[0])
        usable = compared.usable(finding, trained)
        result.flat[key] = len(compared.stored(finding, trained)) - len(usable)
        compared.counts["flat or non-finite trained maps"] += result.flat[key]
        if not usable:
            continue
        result.baselines[key] = compared.by_chance(finding, trained)
        for replicate in replicates:
            # The trained model is the same in every replicate; one copy of its maps is enough.
            copy = maps.series(**names, replicate=replicate, stage=stages[0])
            origin = copy if compared.stored(finding, copy) else trained
            reference = set(compared.usable(finding, origin))
            for s, stage in enumerate(stages[1:], start=1):
                random = maps.series(**names, replicate=replicate, stage=stage)
                stored = [image for image in compared.stored(finding, random)
                          if image in reference]
                result.rows += compared.compare(
                    finding, (origin, random), stored,
                    {**names, "replicate": replicate, "stage": stage, "stage_index": s},
                    "flat or non-finite maps of a random network")
    return result


def _stages(scores: pd.DataFrame, baselines: Mapping[Key, ByChance]) -> pd.DataFrame:
    names = [*_KEY, "replicate", "stage", "stage_index"]
    grouped = scores.groupby(names, sort=False)
    table = pd.DataFrame({"n": grouped.size(), "ssim_mean": grouped["ssim"].mean(),
                          "ssim_sd": grouped["ssim"].std(ddof=1),
                          "failed": grouped["failed"].sum().astype("int64")}).reset_index()
    baseline = [baselines[key].similarity.mean for key in
                zip(*(table[name] for name in _KEY), strict=True)]
    table = table.assign(baseline=np.array(baseline, dtype=np.float64))
    named = paper_stages(list(dict.fromkeys(table["stage"])))
    if named:
        table["paper_stage"] = table["stage"].map(named).fillna("")
    return table


def _last_stage(scores: pd.DataFrame) -> pd.DataFrame:
    """The fully randomized model's SSIM per image, averaged over replicates."""
    last = scores[scores["stage_index"] == scores["stage_index"].max()]
    return last.groupby([*_KEY, "image", "patient"], sort=False, as_index=False)["ssim"].mean()


def _summary(scores: pd.DataFrame, degraded: _Degradation, aucs: pd.DataFrame, stage: str
             ) -> pd.DataFrame:
    known = aucs.groupby(["finding", "model", "condition"], sort=False)["image_auc"].mean()
    last = _last_stage(scores)
    failed = scores[scores["stage"] == stage].groupby(_KEY, sort=False)["failed"].sum()
    rows = []
    for key, group in last.groupby(_KEY, sort=False):
        finding, explainer, model = map(str, key)
        baseline = degraded.baselines[finding, explainer, model].similarity
        rows.append({
            "finding": finding, "explainer": explainer, "model": model,
            "baseline_mean": baseline.mean, "baseline_sd": baseline.sd,
            "baseline_error": baseline.monte_carlo_error, "pairs": len(baseline.ssim),
            "stage": stage, "n": len(group), "randomised_mean": float(group["ssim"].mean()),
            "randomised_sd": float(group["ssim"].std(ddof=1)),
            "failed": int(failed[finding, explainer, model]),
            "flat_trained": degraded.flat[finding, explainer, model],
            "image_auc": known.get((finding, model, TRAINED_ON_DRAWN),
                                   known.get((finding, model, TRAINED), np.nan)),
            "randomised_auc": known.get((finding, model, RANDOMIZED), np.nan)})
    return pd.DataFrame(rows)


def _pair_table(baselines: Mapping[Key, ByChance]) -> pd.DataFrame:
    """The pairs of the baseline by name."""
    def rows() -> Iterator[dict[str, Any]]:
        for (finding, explainer, model), by_chance in baselines.items():
            for left, right, value in zip(*by_chance.sides(), by_chance.similarity.ssim.tolist(),
                                          strict=True):
                yield {"finding": finding, "explainer": explainer, "model": model,
                       "image_a": left, "image_b": right, "ssim": value}
    return pd.DataFrame(rows())
