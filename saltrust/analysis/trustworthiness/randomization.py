"""Sensitivity to the weights: do maps degrade when the model is randomised from the top?

The map of each stage of cascading randomization is compared with the trained model's by SSIM of
the raw signed maps.  An explainer that depends on what the model has learnt falls to the level of
maps of different images: that is the baseline (Arun et al., 2021; Adebayo et al., 2018).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from scipy import stats
from tqdm import tqdm

from saltrust.analysis.classification.image_auc import TRAINED_ON_DRAWN, image_aucs
from saltrust.analysis.inference.bootstrap import percentile_interval
from saltrust.analysis.inference.estimate import Estimate
from saltrust.analysis.inference.multiplicity import adjust
from saltrust.analysis.inference.resampling import cluster_codes, resample_blocks
from saltrust.analysis.pixels.map_similarity import DifferentImages, different_images, same_images
from saltrust.analysis.pixels.ssim import SsimSettings, ssim_settings
from saltrust.analysis.result import Result
from saltrust.analysis.select import label_positions
from saltrust.analysis.stored.contents import source
from saltrust.analysis.stored.maps import (
    RANDOMISED,
    TRAINED,
    Images,
    StoredMaps,
    select_images,
    stored_maps,
)
from saltrust.analysis.trustworthiness.decisions import (
    FAIL,
    PASS,
    UNCERTAIN,
    UNKNOWN,
    DecisionOptions,
    Judge,
    decide,
    decision_tables,
    verdict,
)
from saltrust.cache.schema import Label, Status
from saltrust.choices import Failures
from saltrust.errors import DataError, UsageError, nearest

#: What each rule calls a pass, by the difference of the fully randomised model's mean SSIM and
#: the baseline.
RULES: dict[str, str] = {
    "table": "pass: significantly below the baseline; did not pass: significantly above; else "
             "uncertain (the paper's Table 3)",
    "text": "pass: not significantly above the baseline; else did not pass (the paper's text)",
    "preprint": "pass: mean below the baseline; else did not pass (the preprint)",
}
SCORE_COLUMNS = ("image", "patient", "finding", "explainer", "model", "replicate", "stage",
                 "stage_index", "ssim", "failed")
BASELINE = "different images"

FloatArray = npt.NDArray[np.float64]


def rule_judge(rule: str) -> Judge:
    """The rule as a function of estimate, adjusted p-value and alpha.

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
    if rule not in RULES:
        raise UsageError(f"rule {rule!r} is not known; {nearest(rule, RULES)}")

    def judge(estimate: float, p_value: float, alpha: float) -> str:
        # Here low similarity is good.
        found = verdict(-estimate, p_value, alpha)
        if rule == "table" or found == UNKNOWN:
            return found
        if rule == "text":
            return PASS if found == UNCERTAIN else found
        return PASS if estimate < 0 else FAIL

    return judge


def randomization(
    cubes: xr.DataTree, *, split: str | None = None, findings: Sequence[str] | None = None,
    explainers: Sequence[str] | None = None, models: Sequence[str] | None = None,
    positives: bool = False, ssim: str = "default", rule: str = "table", pairs: int = 1000,
    failures: Failures = "score", options: DecisionOptions | None = None, progress: bool = False,
) -> Result:
    """SSIM of the maps of every stage of randomization to the trained model's, and a decision.

    Parameters
    ----------
    cubes : xarray.DataTree
        With ``/randomization``, stage 0 the trained model; masks are not needed.
    split, findings, explainers, models
        Only these.
    positives : bool
        Only images that show the finding, as the paper.
    ssim : {"default", "paper", "raw"}
        Window, scaling and data range (:data:`saltrust.analysis.pixels.ssim.SSIM_SETTINGS`).
    rule : {"table", "text", "preprint"}
        What counts as a pass (:data:`RULES`).
    pairs : int
        Random pairs of different images for the baseline; the paper took 50.
    failures : {"score", "drop"}
        A flat or non-finite map of a random network shares no structure: SSIM 0, or it is left
        out.  An image whose trained map is flat or not finite is always left out, since nothing
        can degrade: scored as 0 it would count in the explainer's favour.
    options : DecisionOptions, optional
    progress : bool

    Returns
    -------
    Result
        ``summary``: per explainer the baseline with its Monte Carlo error and the SSIM of the
        last stage, with the model's AUC trained and randomised; ``decisions`` by a bootstrap of
        images, since each pair of the baseline involves two, ``methods``; ``stages``: mean and
        SD of every stage and replicate; ``models``, ``scores``, ``pairs``.

    Raises
    ------
    DataError
        If there are no randomised maps.
    UsageError
        If a name is not known.

    References
    ----------
    J. Adebayo et al. (2018), Adv. Neural Inf. Process. Syst. 31, 9505-9515.
    """
    options, judge = options or DecisionOptions(), rule_judge(rule)
    settings = ssim_settings(ssim)
    maps = stored_maps(cubes, "randomization")
    if maps is None or len(maps.labels["stage"]) < 2:
        raise DataError(f"{source(cubes)} has no maps of a randomised model "
                        "(/randomization/heatmap is absent or empty), so sensitivity to the "
                        "weights cannot be judged; generate them with randomization")
    images = select_images(cubes, split, findings)
    work = _Pass(images, maps, settings, positives, pairs, options.seed, failures)
    for name, wanted in (("explainer", explainers), ("model", models)):
        work.chosen[name] = label_positions(maps.labels[name], wanted, name).tolist()
    work.run(progress)
    scores = pd.DataFrame(work.rows, columns=list(SCORE_COLUMNS))
    if failures == "drop":
        scores = scores[~scores["failed"]].reset_index(drop=True)
    if scores.empty:
        raise DataError("no selected image has usable maps of the trained and a randomised "
                        f"model in {source(cubes)}; select others or generate them")
    aucs = image_aucs(cubes, images)
    stages = _stages(scores, work.baselines)
    tables = {"summary": _summary(scores, work, aucs, maps.labels["stage"][-1]),
              **_decisions(scores, work, options, judge), "stages": stages, "models": aucs,
              "scores": scores, "pairs": _pair_table(work)}
    meta = {
        "criterion": "randomization", "split": split, "images": "positive" if positives else "all",
        "rule": rule, "rule_meaning": RULES[rule], "stages": maps.labels["stage"],
        "ssim": {"setting": ssim, **settings.describe()},
        "baseline": f"mean SSIM of the trained model's maps of up to {pairs} random pairs of "
                    "different images",
        "standard_deviation": "over images, n - 1",
        "failures": ("SSIM 0" if failures == "score" else "left out") + "; images whose trained "
                    "map is flat or not finite are left out, since nothing can degrade",
        **options.describe(),
        "decision": "contrast of explainer x condition; interval and test by a bootstrap of "
                    "patients that weighs each pair by both of its images",
        "counts": dict(work.counts)}
    return Result(meta, {name: table for name, table in tables.items() if len(table)})


@dataclass
class _Pass:
    images: Images
    maps: StoredMaps
    settings: SsimSettings
    positives: bool
    pairs: int
    seed: int
    failures: Failures
    chosen: dict[str, list[int]] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    #: Of each finding, explainer and model; positions are those of ``usable``.
    baselines: dict[tuple[str, str, str], DifferentImages] = field(default_factory=dict)
    usable: dict[tuple[str, str, str], list[int]] = field(default_factory=dict)
    #: Trained maps that are flat or not finite.
    flat: dict[tuple[str, str, str], int] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def run(self, progress: bool) -> None:
        """Compare every stage with the trained model, and trained maps of different images."""
        work = [(f, e, m) for f in self.images.chosen_findings.tolist()
                for e in self.chosen["explainer"] for m in self.chosen["model"]]
        for f, e, m in tqdm(work, desc="randomization", unit="explainer",
                            disable=None if progress else True):
            key = (self.images.findings[f], self.maps.labels["explainer"][e],
                   self.maps.labels["model"][m])
            trained = self._with_status(f, (e, m, 0, 0), ok=True)
            there = len(self._with_status(f, (e, m, 0, 0), ok=False))
            self.flat[key] = there - len(trained)
            self.counts["flat or non-finite trained maps"] += there - len(trained)
            if not trained:
                continue
            self.usable[key] = trained
            read = partial(_read, self.maps, (f, e, m, 0, 0))
            self.baselines[key] = different_images(
                read, read, trained, self.settings, pairs=self.pairs, seed=self.seed,
                ordered=False)
            for r in range(len(self.maps.labels["replicate"])):
                for s in range(1, len(self.maps.labels["stage"])):
                    self._compare(key, (f, e, m), r, s)

    def _compare(self, key: tuple[str, str, str], at: tuple[int, int, int], r: int, s: int
                 ) -> None:
        f, e, m = at
        # The trained model is the same in every replicate; one copy of its maps is enough.
        origin = r if self._with_status(f, (e, m, r, 0), ok=False) else 0
        stored = self._with_status(f, (e, m, r, s), ok=False)
        reference = set(self._with_status(f, (e, m, origin, 0), ok=True))
        stored = [image for image in stored if image in reference]
        good = {*self._with_status(f, (e, m, r, s), ok=True)}
        usable = [image for image in stored if image in good]
        values = same_images(partial(_read, self.maps, (f, e, m, origin, 0)),
                             partial(_read, self.maps, (f, e, m, r, s)), usable, self.settings)
        found = dict(zip(usable, values.tolist(), strict=True))
        self.counts["pairs of maps"] += len(stored)
        for image in stored:
            value = found.get(image, float("nan"))
            failed = bool(np.isnan(value))
            self.counts["flat or non-finite maps of a random network"] += failed
            self.rows.append({
                "image": self.images.names[image], "patient": self.images.patients[image],
                "finding": key[0], "explainer": key[1], "model": key[2],
                "replicate": self.maps.labels["replicate"][r],
                "stage": self.maps.labels["stage"][s], "stage_index": s,
                "ssim": 0.0 if failed else value, "failed": failed})

    def _with_status(self, finding: int, position: tuple[int, ...], *, ok: bool) -> list[int]:
        status = self.maps.status_at(*position)[self.images.chosen, finding]
        there = status == Status.OK if ok else status != Status.MISSING
        if self.positives:
            if self.images.labels is None:
                raise DataError("the cubes hold no labels (/reference/label is absent), so "
                                "positive images are not known; take all images")
            there &= self.images.labels[self.images.chosen, finding] == Label.POSITIVE
        return self.images.chosen[there].tolist()


def _read(maps: StoredMaps, position: tuple[int, ...], images: Sequence[int]
          ) -> npt.NDArray[np.float32]:
    return maps.read(images, *position)


_KEY = ["finding", "explainer", "model"]


def _stages(scores: pd.DataFrame, baselines: Mapping[tuple[str, str, str], DifferentImages]
            ) -> pd.DataFrame:
    names = [*_KEY, "replicate", "stage", "stage_index"]
    grouped = scores.groupby(names, sort=False)
    table = pd.DataFrame({"n": grouped.size(), "ssim_mean": grouped["ssim"].mean(),
                          "ssim_sd": grouped["ssim"].std(ddof=1),
                          "failed": grouped["failed"].sum().astype("int64")}).reset_index()
    baseline = [baselines[key].mean for key in
                zip(*(table[name] for name in _KEY), strict=True)]
    return table.assign(baseline=np.array(baseline, dtype=np.float64))


def _last_stage(scores: pd.DataFrame) -> pd.DataFrame:
    """The fully randomised model's SSIM per image, averaged over replicates."""
    last = scores[scores["stage_index"] == scores["stage_index"].max()]
    return last.groupby([*_KEY, "image", "patient"], sort=False, as_index=False)["ssim"].mean()


def _summary(scores: pd.DataFrame, work: _Pass, aucs: pd.DataFrame, stage: str) -> pd.DataFrame:
    known = aucs.groupby(["finding", "model", "condition"], sort=False)["image_auc"].mean()
    last = _last_stage(scores)
    failed = scores[scores["stage"] == stage].groupby(_KEY, sort=False)["failed"].sum()
    rows = []
    for key, group in last.groupby(_KEY, sort=False):
        finding, explainer, model = map(str, key)
        baseline = work.baselines[finding, explainer, model]
        rows.append({
            "finding": finding, "explainer": explainer, "model": model,
            "baseline_mean": baseline.mean, "baseline_sd": baseline.sd,
            "baseline_error": baseline.monte_carlo_error, "pairs": len(baseline.ssim),
            "stage": stage, "n": len(group), "randomised_mean": float(group["ssim"].mean()),
            "randomised_sd": float(group["ssim"].std(ddof=1)),
            "failed": int(failed[finding, explainer, model]),
            "flat_trained": work.flat[finding, explainer, model],
            "image_auc": known.get((finding, model, TRAINED_ON_DRAWN),
                                   known.get((finding, model, TRAINED), np.nan)),
            "randomised_auc": known.get((finding, model, RANDOMISED), np.nan)})
    return pd.DataFrame(rows)


def _decisions(scores: pd.DataFrame, work: _Pass, options: DecisionOptions, judge: Judge
               ) -> dict[str, pd.DataFrame]:
    """Per finding and model, over explainers: the bootstrap of images decides."""
    last = _last_stage(scores)
    decisions: list[dict[str, Any]] = []
    methods: list[dict[str, Any]] = []
    for (finding, model), group in last.groupby(["finding", "model"], sort=False):
        identify = {"finding": str(finding), "model": str(model)}
        explainers = list(dict.fromkeys(group["explainer"]))
        drawn = [_image_bootstrap(group[group["explainer"] == e], work,
                                  (str(finding), e, str(model)), options) for e in explainers]
        p_values = adjust([found.p_value for found in drawn], "holm")
        for explainer, found, p in zip(explainers, drawn, p_values.tolist(), strict=True):
            own = _per_image(group[group["explainer"] == explainer], work,
                             (str(finding), explainer, str(model)))
            beside, rows = decide(own, [(explainer, BASELINE)], identify=identify,
                                  options=options, judge=judge)
            row = {**identify, "explainer": explainer, "baseline": BASELINE,
                   **found.row(f"{explainer} - {BASELINE}"), "p_adjusted": p,
                   "adjustment": "holm", "family": f"explainers ({len(explainers)} tests)"}
            row["decision"] = judge(found.estimate, p, options.alpha)
            # In the place of a bootstrap that would know one image of each pair only.
            rows = [rows[0], {**row, "method": "image bootstrap"}, rows[2]]
            verdicts = {r["decision"] for r in rows} - {UNKNOWN}
            decisions.append({**beside[0], **row, "changes": len(verdicts) > 1,
                              "bootstrap_decision": rows[0]["decision"]})
            methods += rows
    tables = decision_tables(decisions, methods, ["finding", "model"])
    # Here the bootstrap is the decision; beside it stands the mixed model.
    tables["decisions"] = tables["decisions"].rename(
        columns={"bootstrap_decision": "mixed_decision"})
    return tables


def _image_bootstrap(group: pd.DataFrame, work: _Pass, key: tuple[str, str, str],
                     options: DecisionOptions) -> Estimate:
    """Last stage minus baseline, patients resampled, each pair weighing as both its images."""
    baseline = work.baselines[key]
    trained = [work.images.names[i] for i in work.usable[key]]
    names = list(dict.fromkeys([*group["image"], *trained]))
    place = {name: i for i, name in enumerate(names)}
    patient_of = dict(zip(work.images.names, work.images.patients, strict=True))
    codes, count = cluster_codes(np.array([patient_of[name] for name in names], dtype=object))
    values = np.full(len(names), np.nan)
    values[[place[name] for name in group["image"]]] = group["ssim"].to_numpy()
    known = np.isfinite(values)
    left, right = (np.array([place[trained[i]] for i in side], dtype=np.intp)
                   for side in (baseline.left, baseline.right))
    if count < 2 or not len(left):
        return Estimate(n=int(known.sum()), note="fewer than 2 images: no baseline")
    drawn: list[FloatArray] = []
    for block in resample_blocks(count, options.resamples, options.seed):
        weights = block[:, codes]
        own = weights[:, known]
        both = weights[:, left] * weights[:, right]
        with np.errstate(invalid="ignore", divide="ignore"):
            drawn.append(own @ values[known] / own.sum(axis=1)
                         - both @ baseline.ssim / both.sum(axis=1))
    differences = np.concatenate(drawn)
    differences = differences[np.isfinite(differences)]
    estimate = float(values[known].mean() - baseline.mean)
    if len(differences) < 2:
        return Estimate(estimate=estimate, n=int(known.sum()), note="too few images to resample")
    error = float(np.std(differences, ddof=1))
    low, high, _ = percentile_interval(differences, 1 - options.alpha)
    statistic = estimate / error if error > 0 else float("nan")
    p_value = 2 * float(stats.norm.sf(abs(statistic))) if error > 0 else float(estimate == 0)
    return Estimate(estimate=estimate, std_error=error, conf_low=float(low),
                    conf_high=float(high), statistic=statistic, df=float("inf"), p_value=p_value,
                    n=int(known.sum()))


def _per_image(group: pd.DataFrame, work: _Pass, key: tuple[str, str, str]) -> pd.DataFrame:
    """Each image's last stage, and its mean SSIM with the other images of its pairs."""
    baseline = work.baselines[key]
    n = len(work.usable[key])
    total = np.zeros(n)
    count = np.zeros(n)
    for side in (baseline.left, baseline.right):
        np.add.at(total, side, baseline.ssim)
        np.add.at(count, side, 1)
    paired = np.flatnonzero(count)
    own = pd.DataFrame({"image": group["image"], "patient": group["patient"],
                        "level": key[1], "value": group["ssim"]})
    others = pd.DataFrame(
        {"image": [work.images.names[work.usable[key][i]] for i in paired],
         "patient": [work.images.patients[work.usable[key][i]] for i in paired],
         "level": BASELINE, "value": total[paired] / count[paired]})
    return pd.concat([own, others], ignore_index=True)


def _pair_table(work: _Pass) -> pd.DataFrame:
    """The pairs of the baseline by name."""
    def rows() -> Iterator[dict[str, Any]]:
        for (finding, explainer, model), found in work.baselines.items():
            names = [work.images.names[i] for i in work.usable[finding, explainer, model]]
            for left, right, value in zip(found.left.tolist(), found.right.tolist(),
                                          found.ssim.tolist(), strict=True):
                yield {"finding": finding, "explainer": explainer, "model": model,
                       "image_a": names[left], "image_b": names[right], "ssim": value}
    return pd.DataFrame(rows())
