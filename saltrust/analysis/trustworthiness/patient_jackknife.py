"""Decisions where the baseline is of pairs of images: a patient left out takes all pairs along.

A method that knew one image of each pair only would take pairs for independent of each other, and
resamples that draw a patient twice pair an image with itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from saltrust.analysis.inference.estimate import Estimate
from saltrust.analysis.inference.jackknife import jackknife_estimate
from saltrust.analysis.inference.multiplicity import adjust
from saltrust.analysis.inference.resampling import cluster_codes
from saltrust.analysis.options import Decision
from saltrust.analysis.stored.images import StudyImages
from saltrust.analysis.trustworthiness.decisions import UNKNOWN, Judge, decide, decision_tables
from saltrust.analysis.trustworthiness.map_pairs import ByChance

BASELINE = "different images"

FloatArray = npt.NDArray[np.float64]


def decide_by_patients(last: pd.DataFrame, baselines: Mapping[tuple[str, str, str], ByChance],
                     images: StudyImages, decision: Decision, judge: Judge
                     ) -> dict[str, pd.DataFrame]:
    """Per finding and model, over explainers: the jackknife over patients decides.

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
        contrasts = {name: contrast(rows, chance[name], patients, 1 - decision.alpha)
                     for name, rows in of_explainer.items()}
        p_values = adjust([estimate.p_value for estimate in contrasts.values()], "holm")
        for (explainer, estimate), p in zip(contrasts.items(), p_values.tolist(), strict=True):
            scores = _per_image(explainer, of_explainer[explainer], chance[explainer], patients)
            beside, rows = decide(scores, [(explainer, BASELINE)], identify=identify,
                                  options=decision, judge=judge)
            row = {**identify, "explainer": explainer, "baseline": BASELINE,
                   **estimate.row(f"{explainer} - {BASELINE}"), "p_adjusted": p,
                   "adjustment": "holm", "family": f"explainers ({len(contrasts)} tests)"}
            row["decision"] = judge(estimate.estimate, p, decision.alpha)
            # In the place of a bootstrap that would know one image of each pair only.
            rows = [rows[0], {**row, "method": "patient jackknife"}, rows[2]]
            verdicts = {r["decision"] for r in rows} - {UNKNOWN}
            decisions.append({**beside[0], **row, "changes": len(verdicts) > 1,
                              "bootstrap_decision": rows[0]["decision"]})
            methods += rows
    tables = decision_tables(decisions, methods, ["finding", "model"])
    # Here the jackknife is the decision; beside it stands the mixed model.
    tables["decisions"] = tables["decisions"].rename(
        columns={"bootstrap_decision": "mixed_decision"})
    return tables


def contrast(scores: pd.DataFrame, baseline: ByChance, patients: Mapping[str, str],
             confidence_level: float = 0.95) -> Estimate:
    """Mean similarity minus that by chance, with the error of leaving out one patient.

    Parameters
    ----------
    scores : pandas.DataFrame
        ``image, ssim``.
    baseline : ByChance
        Pairs of images of different patients; without a patient are the pairs without its images.
    patients : mapping of str to str
        Of every image.
    confidence_level : float
        Between 0 and 1.

    Returns
    -------
    Estimate
        :func:`saltrust.analysis.inference.jackknife.jackknife_estimate`, t with one degree of
        freedom less than there are patients.
    """
    names = list(dict.fromkeys([*scores["image"], *baseline.images]))
    codes, count = cluster_codes(np.array([patients[name] for name in names], dtype=object))
    place = dict(zip(names, codes.tolist(), strict=True))
    values = scores["ssim"].to_numpy(dtype=np.float64)
    of_value = np.array([place[name] for name in scores["image"]], dtype=np.int64)
    left, right = (np.array([place[name] for name in side], dtype=np.int64)
                   for side in baseline.sides())
    chance = baseline.similarity.ssim
    if count < 2 or not len(left):
        return Estimate(n=len(values), note="fewer than 2 patients: no baseline")
    alone = _mean_without([of_value], values, count)
    both = _mean_without([left, right], chance, count)
    return jackknife_estimate(float(values.mean() - chance.mean()), alone - both, len(values),
                              bounds=(-2, 2), confidence_level=confidence_level)


def _mean_without(places: Sequence[npt.NDArray[np.int64]], values: FloatArray, count: int
                  ) -> FloatArray:
    """Mean of values without those of each patient; NaN where none is left."""
    sums, numbers = np.zeros(count), np.zeros(count)
    for of_patient in places:
        sums += np.bincount(of_patient, weights=values, minlength=count)
        numbers += np.bincount(of_patient, minlength=count)
    rest = len(values) - numbers
    return np.divide(values.sum() - sums, rest, out=np.full(count, np.nan), where=rest > 0)


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
