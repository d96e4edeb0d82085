"""Specificity: does a map depend on the finding that is asked for?

Maps of one image for two findings are compared with each other, and maps of one finding on images
of different patients beside it.  An explainer that shows the image whatever is asked has maps of
an image that are more alike than maps of a finding are across images: it does not pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from scipy.stats import rankdata
from tqdm import tqdm

from saltrust.analysis.inference.estimate import check_number, estimates_table
from saltrust.analysis.inference.multiplicity import adjust_families
from saltrust.analysis.inference.resampling import check_whole
from saltrust.analysis.options import Resampling
from saltrust.analysis.pixels.map_similarity import DifferentImages, draw_pairs
from saltrust.analysis.pixels.ssim import SsimSettings, ssim_settings
from saltrust.analysis.pixels.ssim import ssim as ssim_of
from saltrust.analysis.result import Result
from saltrust.analysis.select import as_cubes
from saltrust.analysis.stored.annotations import read_annotations
from saltrust.analysis.stored.contents import require_heatmaps, source, split_of
from saltrust.analysis.stored.images import StudyImages, images_of
from saltrust.analysis.stored.maps import MapSeries, stored_maps
from saltrust.analysis.trustworthiness.decisions import verdict
from saltrust.analysis.trustworthiness.map_pairs import ByChance
from saltrust.analysis.trustworthiness.patient_jackknife import contrast
from saltrust.cache.identity import of_one_store
from saltrust.cache.schema import Status
from saltrust.choices import SsimSetting
from saltrust.errors import DataError, UsageError

FloatArray = npt.NDArray[np.float64]

METRICS = ("ssim", "spearman")
#: Labels of CheXpert that another label holds, by child.
PARENTS = {
    "cardiomegaly": ("enlarged cardiomediastinum",),
    **dict.fromkeys(("edema", "consolidation", "atelectasis", "lung lesion"),
                    ("lung opacity", "airspace opacity")),
    "pneumonia": ("lung opacity", "airspace opacity", "consolidation"),
}
DISTINCT, RELATED, OVERLAPPING = "distinct", "parent and child", "overlapping masks"
_BLOCK = 64


@dataclass(frozen=True)
class Relation:
    """How two findings are to each other.

    Attributes
    ----------
    kind : {"distinct", "parent and child", "overlapping masks"}
    iou : float
        Mean over images that show both with a mask; NaN without any.
    """

    kind: str
    iou: float


@of_one_store
def specificity(cubes: xr.DataTree | str | Path, *, ssim: SsimSetting = "default",
                pairs: int = 300, overlap: float = 0.25, resampling: Resampling = Resampling(),
                progress: bool = False) -> Result:
    """Similarity of an image's maps for different findings, against that of other images.

    Parameters
    ----------
    cubes : xarray.DataTree or path
        With maps of two findings or more; any selection (:func:`saltrust.select`).
    ssim : {"default", "paper", "raw"}
        Window, scaling and data range (:data:`saltrust.analysis.pixels.ssim.SSIM_SETTINGS`).
    pairs : int
        Random pairs of images of different patients for each finding, explainer and model.
    overlap : float
        Findings whose reference masks have at least this mean IoU, on images with both, are listed
        apart, as are parent and child labels (:data:`PARENTS`): alike maps are right of them.
    resampling : Resampling
        Its seed draws the pairs, its confidence level is that of the intervals.
    progress : bool
        Whether a bar is shown on stderr.

    Returns
    -------
    Result
        ``decisions``: per explainer and model, mean similarity of distinct findings of an image
        minus that of a finding across images, by the jackknife over patients (a pair of images
        involves two), Holm's correction over explainers and models; ``decision`` is *pass* where
        it is significantly negative, *did not pass* where it is significantly positive.
        ``findings``: the same for every pair of findings, with their ``relation`` and ``iou``,
        those listed apart too; ``scores``, every comparison within an image.

    Raises
    ------
    DataError
        If there are no maps of two findings of one image, or no two patients.
    UsageError
        If an option is not known or out of range.
    """
    settings = ssim_settings(ssim)
    check_whole(pairs, "pairs", 1, 1_000_000)
    check_number(overlap, "overlap")
    if not 0 < overlap <= 1:
        raise UsageError(f"overlap = {overlap} must lie above 0 and be at most 1, such as 0.25")
    tree = as_cubes(cubes)
    require_heatmaps(tree, "there is nothing to compare between findings")
    maps, images = stored_maps(tree, "saliency"), images_of(tree)
    assert maps is not None
    findings = maps.labels["finding"]
    if len(findings) < 2:
        raise DataError(f"{source(tree)} has maps of one finding only ({findings[0]}), so nothing "
                        "says whether they depend on it; select two findings or more")
    relations = _relations(tree, findings, overlap)
    scores: list[dict[str, Any]] = []
    chance: dict[tuple[str, str], dict[str, list[ByChance]]] = {}
    counts = Counter[str]()
    series = list(product(maps.labels["explainer"], maps.labels["model"]))
    for explainer, model in tqdm(series, desc="specificity", unit="explainer",
                                 disable=None if progress else True):
        one = maps.series(explainer=explainer, model=model)
        scores += _within(one, images, relations, settings, counts)
        chance[explainer, model] = {finding: _across(one, images, finding, settings, pairs,
                                                     resampling.seed) for finding in findings}
    table = pd.DataFrame(scores, columns=["image", "patient", "explainer", "model", "finding_a",
                                          "finding_b", "relation", *METRICS])
    if table.empty:
        raise DataError(f"{source(tree)} has no image with usable maps of two findings by one "
                        "explainer and model; select others or generate them")
    level = resampling.confidence_level
    patients = dict(zip(images.names, images.patients, strict=True))
    meta = {"split": split_of(tree), "ssim": {"setting": ssim, **settings.describe()},
            "baseline": f"maps of one finding, of up to {pairs} random pairs of images of "
                        "different patients",
            "listed_apart": f"parent and child labels, and findings whose reference masks have a "
                            f"mean IoU of {overlap:g} or more on images with both",
            "decision": "pass: maps of distinct findings of an image are significantly less alike "
                        "than maps of a finding across images; did not pass: significantly more; "
                        "else uncertain",
            "confidence_level": level, "seed": resampling.seed, "adjustment": "holm",
            "interval": "jackknife over patients", "counts": dict(counts)}
    return Result(meta, {"decisions": _decisions(table, chance, patients, level),
                         "findings": _by_findings(table, chance, patients, relations, level),
                         "scores": table}, "specificity")


def _relations(tree: xr.DataTree, findings: Sequence[str], overlap: float
               ) -> dict[tuple[str, str], Relation]:
    """How every pair of findings is to each other."""
    shared = _overlaps(tree, findings)
    made = {}
    for a, b in combinations(findings, 2):
        low, high = a.casefold(), b.casefold()
        iou = shared.get((a, b), float("nan"))
        kind = (RELATED if high in PARENTS.get(low, ()) or low in PARENTS.get(high, ()) else
                OVERLAPPING if iou >= overlap else DISTINCT)
        made[a, b] = Relation(kind, iou)
    return made


def _overlaps(tree: xr.DataTree, findings: Sequence[str]) -> dict[tuple[str, str], float]:
    """Mean IoU of the first reference reader's masks of two findings, on images with both."""
    try:
        annotations = read_annotations(tree)
    except DataError:
        # Without masks only the names say which findings belong together.
        return {}
    readers = annotations.readers_with("reference")
    if not readers:
        return {}
    place = {name: annotations.findings.index(name) for name in findings
             if name in annotations.findings}
    made = {}
    for a, b in combinations(place, 2):
        both = annotations.annotated[:, [place[a], place[b]], readers[0]].all(axis=1)
        values = []
        for image in np.flatnonzero(both).tolist():
            one, two = (annotations.runs(image, place[name], readers[0]) for name in (a, b))
            if one.area and two.area:
                common = one.shared_with(two)
                values.append(common / (one.area + two.area - common))
        if values:
            made[a, b] = float(np.mean(values))
    return made


def _within(one: MapSeries, images: StudyImages, relations: Mapping[tuple[str, str], Relation],
            settings: SsimSettings, counts: Counter[str]) -> Iterator[dict[str, Any]]:
    """Similarity of two findings' maps of every image."""
    for (a, b), relation in relations.items():
        states = [one.statuses(finding) for finding in (a, b)]
        stored = (states[0] != Status.MISSING) & (states[1] != Status.MISSING)
        usable = np.flatnonzero((states[0] == Status.OK) & (states[1] == Status.OK))
        counts["comparisons within an image"] += len(usable)
        counts["left out: a map that is flat or not finite"] += int(stored.sum()) - len(usable)
        for start in range(0, len(usable), _BLOCK):
            block = usable[start:start + _BLOCK].tolist()
            names = [images.names[k] for k in block]
            values = _similar(one.read(names, a), one.read(names, b), settings)
            for row, (k, name) in enumerate(zip(block, names, strict=True)):
                yield {"image": name, "patient": images.patients[k], **one.labels, "finding_a": a,
                       "finding_b": b, "relation": relation.kind,
                       **{metric: float(values[metric][row]) for metric in METRICS}}


def _across(one: MapSeries, images: StudyImages, finding: str, settings: SsimSettings, pairs: int,
            seed: int) -> list[ByChance]:
    """Similarity of one finding's maps of images of different patients, by metric."""
    usable = np.flatnonzero(one.statuses(finding) == Status.OK)
    names = [images.names[k] for k in usable]
    groups = np.unique([images.patients[k] for k in usable], return_inverse=True)[1]
    left, right = draw_pairs(groups, pairs, np.random.default_rng(seed), ordered=False)
    values = {metric: np.empty(len(left)) for metric in METRICS}
    for start in range(0, len(left), _BLOCK):
        block = slice(start, start + _BLOCK)
        needed, at = np.unique(np.concatenate([left[block], right[block]]), return_inverse=True)
        read = one.read([names[k] for k in needed], finding)
        first, second = np.split(at.ravel(), 2)
        for metric, made in _similar(read[first], read[second], settings).items():
            values[metric][block] = made
    return [ByChance(names, DifferentImages(left, right, values[metric], len(left)))
            for metric in METRICS]


def _similar(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32],
             settings: SsimSettings) -> dict[str, FloatArray]:
    """SSIM and Spearman's correlation of pairs of maps."""
    ranks = [rankdata(maps.reshape(len(maps), -1), axis=1) for maps in (first, second)]
    centered = [part - part.mean(axis=1, keepdims=True) for part in ranks]
    size = np.sqrt((centered[0]**2).sum(axis=1) * (centered[1]**2).sum(axis=1))
    together = (centered[0] * centered[1]).sum(axis=1)
    return {"ssim": ssim_of(first, second, settings),
            "spearman": np.divide(together, size, out=np.zeros(len(size)), where=size > 0)}


def _pooled(parts: Sequence[ByChance]) -> ByChance:
    """Pairs of several findings as one baseline."""
    names: list[str] = []
    left, right = [], []
    for part in parts:
        left.append(part.similarity.left + len(names))
        right.append(part.similarity.right + len(names))
        names += part.images
    values = np.concatenate([part.similarity.ssim for part in parts])
    return ByChance(names, DifferentImages(np.concatenate(left), np.concatenate(right), values,
                                           len(values)))


def _rows(scores: pd.DataFrame, chance: Mapping[str, list[ByChance]], findings: Sequence[str],
          patients: Mapping[str, str], level: float) -> Iterator[dict[str, Any]]:
    """Uniform columns of every metric, for comparisons within images of these findings."""
    for k, metric in enumerate(METRICS):
        baseline = _pooled([chance[finding][k] for finding in findings])
        made = contrast(scores.assign(ssim=scores[metric]), baseline, patients, level)
        yield {"metric": metric, **made.row("within image - across images"),
               "within": float(scores[metric].mean()), "across": baseline.similarity.mean}


def _decisions(table: pd.DataFrame, chance: Mapping[tuple[str, str], Mapping[str, list[ByChance]]],
               patients: Mapping[str, str], level: float) -> pd.DataFrame:
    rows = []
    distinct = table[table["relation"] == DISTINCT]
    for key in chance:
        of_series = distinct[(distinct["explainer"] == key[0]) & (distinct["model"] == key[1])]
        findings = list(dict.fromkeys([*of_series["finding_a"], *of_series["finding_b"]]))
        if findings:
            rows += [{"explainer": key[0], "model": key[1], **row} for row in
                     _rows(of_series, dict(chance[key]), findings, patients, level)]
    made = estimates_table(rows, ("explainer", "model", "metric"), ("within", "across"))
    made = adjust_families(made, made["metric"] + ": explainers and models", "holm", {
        f"{metric}: explainers and models": len(chance) for metric in METRICS})
    made["decision"] = [verdict(-value, p, 1 - level) for value, p in
                        zip(made["estimate"], made["p_adjusted"], strict=True)]
    return made


def _by_findings(table: pd.DataFrame,
                 chance: Mapping[tuple[str, str], Mapping[str, list[ByChance]]],
                 patients: Mapping[str, str], relations: Mapping[tuple[str, str], Relation],
                 level: float) -> pd.DataFrame:
    rows, texts = [], []
    names = ["explainer", "model", "finding_a", "finding_b"]
    for key, scores in table.groupby(names, sort=False):
        explainer, model, a, b = map(str, key)
        relation = relations[a, b]
        for row in _rows(scores, dict(chance[explainer, model]), [a, b], patients, level):
            rows.append({**dict(zip(names, (explainer, model, a, b), strict=True)),
                         "relation": relation.kind, **row, "iou": relation.iou})
            texts.append(f"{row['metric']}, {explainer}, {model}: pairs of findings")
    made = estimates_table(rows, (*names, "relation", "metric"), ("within", "across", "iou"))
    families = pd.Series(texts, index=made.index, dtype=object)
    return adjust_families(made, families, "holm", {name: len(relations) for name in texts})
