"""Decisions where the baseline is of pairs of images: a bootstrap of patients weighs both.

A bootstrap that knew one image of each pair only would take pairs for independent of each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from saltrust.analysis.inference.bootstrap import percentile_interval
from saltrust.analysis.inference.estimate import Estimate
from saltrust.analysis.inference.multiplicity import adjust
from saltrust.analysis.inference.resampling import cluster_codes, resample_blocks
from saltrust.analysis.options import Decision
from saltrust.analysis.stored.images import StudyImages
from saltrust.analysis.trustworthiness.decisions import UNKNOWN, Judge, decide, decision_tables
from saltrust.analysis.trustworthiness.map_pairs import ByChance

BASELINE = "different images"

FloatArray = npt.NDArray[np.float64]


def decide_by_images(last: pd.DataFrame, baselines: Mapping[tuple[str, str, str], ByChance],
                     images: StudyImages, decision: Decision, judge: Judge
                     ) -> dict[str, pd.DataFrame]:
    """Per finding and model, over explainers: the bootstrap of images decides.

    Parameters
    ----------
    last : pandas.DataFrame
        ``finding, explainer, model, image, patient, ssim`` of the fully randomized model.
    baselines : mapping
        By finding, explainer and model.
    images : StudyImages
        For the patients.
    decision : Decision
    judge : callable
        Estimate, adjusted p-value and alpha to a decision.

    Returns
    -------
    dict of str to pandas.DataFrame
        ``decisions`` and ``methods``
        (:func:`saltrust.analysis.trustworthiness.decisions.decision_tables`), with
        ``mixed_decision`` beside the decision.
    """
    patients = dict(zip(images.names, images.patients, strict=True))
    decisions: list[dict[str, Any]] = []
    methods: list[dict[str, Any]] = []
    for (finding, model), group in last.groupby(["finding", "model"], sort=False):
        identify = {"finding": str(finding), "model": str(model)}
        of_explainer = {str(name): rows for name, rows in group.groupby("explainer", sort=False)}
        chance = {name: baselines[str(finding), name, str(model)] for name in of_explainer}
        drawn = {name: image_bootstrap(rows, chance[name], patients, decision)
                 for name, rows in of_explainer.items()}
        p_values = adjust([estimate.p_value for estimate in drawn.values()], "holm")
        for (explainer, estimate), p in zip(drawn.items(), p_values.tolist(), strict=True):
            scores = _per_image(explainer, of_explainer[explainer], chance[explainer], patients)
            beside, rows = decide(scores, [(explainer, BASELINE)], identify=identify,
                                  options=decision, judge=judge)
            row = {**identify, "explainer": explainer, "baseline": BASELINE,
                   **estimate.row(f"{explainer} - {BASELINE}"), "p_adjusted": p,
                   "adjustment": "holm", "family": f"explainers ({len(drawn)} tests)"}
            row["decision"] = judge(estimate.estimate, p, decision.alpha)
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


def image_bootstrap(scores: pd.DataFrame, baseline: ByChance, patients: Mapping[str, str],
                    decision: Decision) -> Estimate:
    """Mean similarity minus that by chance, patients resampled.

    Parameters
    ----------
    scores : pandas.DataFrame
        ``image, ssim``.
    baseline : ByChance
        Each pair weighs as both of its images do.
    patients : mapping of str to str
        Of every image.
    decision : Decision
        Its number of resamples, seed and alpha.
    """
    names = list(dict.fromkeys([*scores["image"], *baseline.images]))
    place = {name: i for i, name in enumerate(names)}
    codes, count = cluster_codes(np.array([patients[name] for name in names], dtype=object))
    values = np.full(len(names), np.nan)
    values[[place[name] for name in scores["image"]]] = scores["ssim"].to_numpy()
    known = np.isfinite(values)
    left, right = (np.array([place[name] for name in side], dtype=np.intp)
                   for side in baseline.sides())
    chance = baseline.similarity
    if count < 2 or not len(left):
        return Estimate(n=int(known.sum()), note="fewer than 2 images: no baseline")
    drawn: list[FloatArray] = []
    for block in resample_blocks(count, decision.resamples, decision.seed):
        weights = block[:, codes]
        alone = weights[:, known]
        both = weights[:, left] * weights[:, right]
        with np.errstate(invalid="ignore", divide="ignore"):
            drawn.append(alone @ values[known] / alone.sum(axis=1)
                         - both @ chance.ssim / both.sum(axis=1))
    differences = np.concatenate(drawn)
    differences = differences[np.isfinite(differences)]
    estimate = float(values[known].mean() - chance.mean)
    if len(differences) < 2:
        return Estimate(estimate=estimate, n=int(known.sum()), note="too few images to resample")
    error = float(np.std(differences, ddof=1))
    low, high, _ = percentile_interval(differences, 1 - decision.alpha)
    statistic = estimate / error if error > 0 else float("nan")
    p_value = 2 * float(stats.norm.sf(abs(statistic))) if error > 0 else float(estimate == 0)
    return Estimate(estimate=estimate, std_error=error, conf_low=float(low),
                    conf_high=float(high), statistic=statistic, df=float("inf"), p_value=p_value,
                    n=int(known.sum()))


def _per_image(explainer: str, scores: pd.DataFrame, baseline: ByChance,
               patients: Mapping[str, str]) -> pd.DataFrame:
    """Each image's last stage, and its mean SSIM with the other images of its pairs."""
    n, chance = len(baseline.images), baseline.similarity
    total = np.zeros(n)
    count = np.zeros(n)
    for side in (chance.left, chance.right):
        np.add.at(total, side, chance.ssim)
        np.add.at(count, side, 1)
    paired = np.flatnonzero(count)
    of_explainer = pd.DataFrame({"image": scores["image"], "patient": scores["patient"],
                                 "level": explainer, "value": scores["ssim"]})
    others = pd.DataFrame({"image": [baseline.images[i] for i in paired],
                           "patient": [patients[baseline.images[i]] for i in paired],
                           "level": BASELINE, "value": total[paired] / count[paired]})
    return pd.concat([of_explainer, others], ignore_index=True)
