"""Repeatability and reproducibility: do models that agree on images agree on their maps?

Repeatability compares models of one architecture trained from different seeds, reproducibility
models of different architectures, by the SSIM of their maps of each image (Arun et al., 2021).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from tqdm import tqdm

from saltrust.analysis.classification.image_auc import architectures, image_aucs
from saltrust.analysis.pixels.map_similarity import (
    DifferentImages,
    chance_corrected,
    different_images,
    same_images,
)
from saltrust.analysis.pixels.ssim import SsimSettings, ssim_settings
from saltrust.analysis.result import Result
from saltrust.analysis.select import label_positions
from saltrust.analysis.stored.contents import require_heatmaps, source
from saltrust.analysis.stored.maps import (
    LOCALIZER,
    TRAINED,
    Images,
    StoredMaps,
    select_images,
    stored_maps,
)
from saltrust.analysis.trustworthiness.decisions import (
    Decided,
    DecisionOptions,
    adjust_together,
    decide,
    decision_tables,
)
from saltrust.cache.schema import Label, Status
from saltrust.choices import Failures
from saltrust.errors import DataError

_log = logging.getLogger(__name__)

Criterion = Literal["repeatability", "reproducibility"]

SCORE_COLUMNS = ("image", "patient", "finding", "criterion", "explainer", "model_a", "model_b",
                 "ssim", "failed")
#: Low baseline of the paper: the middle of SSIM's positive range.
LOW = 0.5


def repeatability(cubes: xr.DataTree, **options: Any) -> Result:
    """SSIM between maps of models of the same architecture; see :func:`model_similarity`."""
    return model_similarity(cubes, "repeatability", **options)


def reproducibility(cubes: xr.DataTree, **options: Any) -> Result:
    """SSIM between maps of models of different architectures; see :func:`model_similarity`."""
    return model_similarity(cubes, "reproducibility", **options)


def model_similarity(
    cubes: xr.DataTree, criterion: Criterion, *, split: str | None = None,
    findings: Sequence[str] | None = None, explainers: Sequence[str] | None = None,
    models: Sequence[str] | None = None, positives: bool = False, ssim: str = "default",
    against_value: float = LOW, pairs: int = 1000, failures: Failures = "score",
    options: DecisionOptions | None = None, progress: bool = False,
) -> Result:
    """Similarity of the maps of different models, and whether it passes.

    Parameters
    ----------
    cubes : xarray.DataTree
        With ``/saliency`` of at least two models and their architectures; masks are not needed.
    criterion : {"repeatability", "reproducibility"}
        Pairs of models of one architecture, or of two.
    split, findings, explainers, models
        Only these.  Unless models are named, two of one architecture that were trained with
        different losses (``guidance`` of the study) are no pair.
    positives : bool
        Only images that show the finding, as the paper.
    ssim : {"default", "paper", "raw"}
        Window, scaling and data range (:data:`saltrust.analysis.pixels.ssim.SSIM_SETTINGS`).
    against_value : float
        Low baseline that the marginal means are tested against; it is no level of the model.
    pairs : int
        Random pairs of different images that tell what similarity chance gives.
    failures : {"score", "drop"}
        A pair with a flat or non-finite map shares no structure: SSIM 0, or its image left out.
    options : DecisionOptions, optional
    progress : bool

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
        If a name is not known.
    """
    options = options or DecisionOptions()
    settings = ssim_settings(ssim)
    require_heatmaps(cubes, "there is nothing to compare between models")
    images = select_images(cubes, split, findings)
    work = _Pass(images, settings, positives, pairs, options.seed, failures)
    saliency = stored_maps(cubes, "saliency")
    assert saliency is not None
    plan, apart = _plan(cubes, saliency, criterion, explainers, models)
    left_out = {**apart, **_left_out(saliency, plan, criterion, explainers)}
    localizer = stored_maps(cubes, "localizer")
    if localizer is not None:
        plan += _localizer_plan(cubes, localizer, criterion)
    rows, summary = work.run(plan, progress)
    scores = pd.DataFrame(rows, columns=list(SCORE_COLUMNS))
    if failures == "drop":
        scores = scores[~scores["failed"]].reset_index(drop=True)
    own = scores[scores["criterion"] == criterion]
    if own[own["explainer"].isin(saliency.labels["explainer"])].empty:
        raise DataError(f"no selected image has usable maps of two models in {source(cubes)}; "
                        "select others or generate them")
    aucs = image_aucs(cubes, images)
    summary_table = _summary_table(own, summary, aucs)
    tables = {"summary": summary_table,
              **_compare(scores, criterion, plan, against_value, options),
              "models": aucs, "scores": own}
    meta = {
        "criterion": criterion, "split": split, "images": "positive" if positives else "all",
        "ssim": {"setting": ssim, **settings.describe()},
        "low_baseline": against_value, "pairs_of_different_images": pairs,
        "standard_deviation": "over images, n - 1",
        "failures": "SSIM 0" if failures == "score" else "their images are left out",
        **options.describe(), "counts": dict(work.counts), "exclusions": left_out}
    return Result(meta, {name: table for name, table in tables.items() if len(table)})


@dataclass(frozen=True)
class _Comparison:
    """Two models' maps of one explainer, or two localizers'."""

    maps: StoredMaps
    criterion: str
    explainer: str
    models: tuple[str, str]
    first: tuple[int, ...]
    second: tuple[int, ...]
    localizer: bool = False


@dataclass
class _Pass:
    images: Images
    settings: SsimSettings
    positives: bool
    pairs: int
    seed: int
    failures: Failures
    counts: Counter[str] = field(default_factory=Counter)

    def run(self, plan: Sequence[_Comparison], progress: bool
            ) -> tuple[list[dict[str, Any]], dict[tuple[str, ...], DifferentImages]]:
        """Scores of every image, and similarity by chance, of every comparison."""
        rows: list[dict[str, Any]] = []
        chance: dict[tuple[str, ...], DifferentImages] = {}
        work = [(comparison, f) for comparison in plan
                for f in self.images.chosen_findings.tolist()]
        for comparison, f in tqdm(work, desc=plan[0].criterion, unit="comparison",
                                  disable=None if progress else True):
            stored, usable = self._there(comparison, f)
            first = partial(_read, comparison.maps, (f, *comparison.first))
            second = partial(_read, comparison.maps, (f, *comparison.second))
            found = dict(zip(usable, same_images(first, second, usable, self.settings),
                             strict=True))
            finding = self.images.findings[f]
            self.counts["pairs of maps"] += len(stored)
            for image in stored:
                value = found.get(image, np.nan)
                failed = bool(np.isnan(value))
                self.counts["with a flat or non-finite map"] += failed
                rows.append({
                    "image": self.images.names[image], "patient": self.images.patients[image],
                    "finding": finding, "criterion": comparison.criterion,
                    "explainer": comparison.explainer, "model_a": comparison.models[0],
                    "model_b": comparison.models[1], "ssim": 0.0 if failed else value,
                    "failed": failed})
            chance[finding, comparison.explainer, *comparison.models] = different_images(
                first, second, usable, self.settings, pairs=self.pairs, seed=self.seed)
        return rows, chance

    def _there(self, comparison: _Comparison, finding: int) -> tuple[list[int], list[int]]:
        """Images with both maps, and those whose maps are both usable."""
        status = [comparison.maps.status_at(*position)[self.images.chosen, finding]
                  for position in (comparison.first, comparison.second)]
        both = (status[0] != Status.MISSING) & (status[1] != Status.MISSING)
        if self.positives:
            both &= self._positive(finding)
        usable = both & (status[0] == Status.OK) & (status[1] == Status.OK)
        return self.images.chosen[both].tolist(), self.images.chosen[usable].tolist()

    def _positive(self, finding: int) -> npt.NDArray[np.bool_]:
        if self.images.labels is None:
            raise DataError("the cubes hold no labels (/reference/label is absent), so positive "
                            "images are not known; take all images")
        return self.images.labels[self.images.chosen, finding] == Label.POSITIVE


def _read(maps: StoredMaps, position: tuple[int, ...], images: Sequence[int]
          ) -> npt.NDArray[np.float32]:
    return maps.read(images, *position)


def _plan(cubes: xr.DataTree, maps: StoredMaps, criterion: Criterion,
          explainers: Sequence[str] | None, models: Sequence[str] | None
          ) -> tuple[list[_Comparison], dict[str, int]]:
    """Comparisons of the criterion first, then those of the other one on the same models.

    And pairs of models that are none, for the exclusions.
    """
    names = maps.labels["model"]
    chosen = [m for m in label_positions(names, models, "model").tolist()
              if not _is_ensemble(cubes, m)]
    built = architectures(cubes, names, "saliency")
    pairs = list(combinations(chosen, 2))
    unknown = [names[m] for m in chosen if not built[names[m]]]
    if unknown and pairs:
        raise DataError(f"the cubes do not state the architecture of model {unknown[0]!r} "
                        "(saliency/model_architecture), so it is not known whether two models "
                        "share one; generate them from a study file")
    same = [built[names[a]] == built[names[b]] for a, b in pairs]
    wanted = {"repeatability": [p for p, s in zip(pairs, same, strict=True) if s],
              "reproducibility": [p for p, s in zip(pairs, same, strict=True) if not s]}
    apart = {}
    if models is None:
        alike = _guided_alike(cubes, names, wanted["repeatability"])
        if criterion == "repeatability":
            apart = _guided_apart(cubes, names, wanted["repeatability"], alike)
        wanted["repeatability"] = alike
    if not wanted[criterion]:
        what = "of one architecture" if criterion == "repeatability" else "of two architectures"
        raise DataError(f"{source(cubes)} has no two models {what} to compare (it has "
                        + ", ".join(f"{names[m]}: {built[names[m]]}" for m in chosen)
                        + "); train and generate another model")
    plan = []
    for kind in (criterion, *(k for k in wanted if k != criterion)):
        for e in label_positions(maps.labels["explainer"], explainers, "explainer").tolist():
            for a, b in wanted[kind]:
                comparison = _Comparison(maps, kind, maps.labels["explainer"][e],
                                         (names[a], names[b]), (e, a), (e, b))
                if _exists(comparison):
                    plan.append(comparison)
    return plan, apart


def _guided_alike(cubes: xr.DataTree, names: Sequence[str], pairs: Sequence[tuple[int, int]]
                  ) -> list[tuple[int, int]]:
    """Pairs that were trained with one loss: of two losses, other maps are what was asked for."""
    recorded: Mapping[str, Any] = cubes.attrs.get("models", {})
    stated = [recorded.get(name, {}).get("guidance", {}) for name in names]
    # Without gaze or map, a guided classifier is a classifier.
    guidance = [{} if its.get("loss") == "classification" else its for its in stated]
    return [(a, b) for a, b in pairs if guidance[a] == guidance[b]]


def _guided_apart(cubes: xr.DataTree, names: Sequence[str], pairs: Sequence[tuple[int, int]],
                  alike: Sequence[tuple[int, int]]) -> dict[str, int]:
    """Number of pairs of different losses, said aloud; refused where no pair is alike."""
    apart = [pair for pair in pairs if pair not in alike]
    if not apart:
        return {}
    first = " and ".join(names[m] for m in apart[0])
    if not alike:
        raise DataError(f"{source(cubes)} has no two models of one architecture that were "
                        f"trained with the same [models.guidance] ({first} were not); train a "
                        "replicate, or name models with --model to compare these all the same")
    _log.warning("%d pairs of models of one architecture (first: %s) were trained with "
                 "different [models.guidance] and are not compared; name models with --model "
                 "to compare them all the same", len(apart), first)
    return {"pairs of models trained with different [models.guidance]": len(apart)}


def _left_out(maps: StoredMaps, plan: Sequence[_Comparison], criterion: Criterion,
              explainers: Sequence[str] | None) -> dict[str, int]:
    """Explainers that no two models to compare share, with their number of maps; said aloud."""
    names = maps.labels["explainer"]
    compared = {comparison.explainer for comparison in plan if comparison.criterion == criterion}
    found: dict[str, int] = {}
    for e in label_positions(names, explainers, "explainer").tolist():
        if names[e] in compared:
            continue
        counts = {model: int((maps.status_at(e, m) != Status.MISSING).sum())
                  for m, model in enumerate(maps.labels["model"])}
        there = ", ".join(model for model, count in counts.items() if count) or "no model"
        found[f"{names[e]}: maps of {there} only"] = sum(counts.values())
    if found and not compared:
        raise DataError(f"no explainer has maps of two models to compare on one image "
                        f"({'; '.join(found)}); generate the other model's maps")
    for what, count in found.items():
        _log.warning("%s (%d): not compared", what, count)
    return found


def _localizer_plan(cubes: xr.DataTree, maps: StoredMaps, criterion: Criterion
                    ) -> list[_Comparison]:
    """Two seeds of one localizer: the high baseline of both criteria."""
    names = maps.labels["model"]
    built = architectures(cubes, names, "localizer")
    same = [(a, b) for a, b in combinations(range(len(names)), 2)
            if built[names[a]] == built[names[b]]]
    # Decoders of guided classifiers stand here too, by the names of these.
    plan = [_Comparison(maps, criterion, f"{LOCALIZER} {built[names[a]]}".strip(),
                        (names[a], names[b]), (a,), (b,), localizer=True)
            for a, b in _guided_alike(cubes, names, same)]
    return [comparison for comparison in plan if _exists(comparison)]


def _exists(comparison: _Comparison) -> bool:
    """Whether any image has both maps: an explainer may be in one model only."""
    first, second = (comparison.maps.status_at(*position)
                     for position in (comparison.first, comparison.second))
    return bool(((first != Status.MISSING) & (second != Status.MISSING)).any())


def _is_ensemble(cubes: xr.DataTree, model: int) -> bool:
    dataset = cubes["saliency"].to_dataset()
    return "model_role" in dataset.variables and str(
        dataset["model_role"].values[model]) == "ensemble"


def _summary_table(scores: pd.DataFrame, chance: dict[tuple[str, ...], DifferentImages],
                   aucs: pd.DataFrame) -> pd.DataFrame:
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


def _compare(scores: pd.DataFrame, criterion: Criterion, plan: Sequence[_Comparison],
             against_value: float, options: DecisionOptions) -> dict[str, pd.DataFrame]:
    """Every pair of models, all pairs together, and one criterion against the other."""
    localizers = list(dict.fromkeys(c.explainer for c in plan if c.localizer))
    constant = f"{against_value:g}"
    decisions: list[dict[str, Any]] = []
    methods: list[dict[str, Any]] = []
    for finding, of_finding in scores.groupby("finding", sort=False):
        own = of_finding[of_finding["criterion"] == criterion]
        fixed = own[own["explainer"].isin(localizers)]
        maps = own[~own["explainer"].isin(localizers)]
        for name, group in _pair_groups(maps):
            explainers = list(dict.fromkeys(group["explainer"]))
            table = _beside(_levels(group), _levels(fixed))
            contrasts = [(e, b) for b in [*localizers, constant] for e in explainers]
            found = decide(table, contrasts, random="pair", options=options,
                           identify={"finding": str(finding), "models": name},
                           constants={constant: against_value})
            decisions += found[0]
            methods += found[1]
        other = adjust_together(list(_other_criterion(of_finding, criterion, str(finding),
                                                      options)), "explainers", options)
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
                     options: DecisionOptions) -> Iterator[Decided]:
    """Each explainer's SSIM under this criterion against that under the other, image by image."""
    for explainer, group in scores.groupby("explainer", sort=False):
        if group["criterion"].nunique() < 2:
            continue
        table = _levels(group)
        # A pair for each criterion is the criterion: nothing is left to vary between pairs.
        random = "pair" if len(set(table["pair"])) > 2 else ""
        other = next(k for k in dict.fromkeys(group["criterion"]) if k != criterion)
        table["level"] = np.where(group["criterion"] == criterion, str(explainer), other)
        yield decide(table, [(str(explainer), other)], random=random, options=options,
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


