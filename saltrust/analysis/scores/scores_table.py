"""Rows of the scores table: maps cut at their thresholds, and experts, against the references."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from saltrust.analysis.pixels.histogram_curves import area_under_roc, average_precision
from saltrust.analysis.pixels.overlap import iou_array
from saltrust.analysis.pixels.run_masks import RunMask
from saltrust.analysis.pixels.scoring import Score, score_expert
from saltrust.analysis.scores.counted_maps import CountedMaps
from saltrust.analysis.scores.segmentation_rules import Choice
from saltrust.analysis.scores.selection import EXPERT
from saltrust.analysis.stored.annotations import Annotations
from saltrust.cache.schema import Status
from saltrust.choices import Definition, IouSlice

FloatArray = npt.NDArray[np.float64]

IDENTIFY = ("image", "patient", "finding", "explainer", "model", "reader")
#: Columns of the scores table.
SCORE_COLUMNS = (*IDENTIFY, *Score._fields)
#: Columns of the table of pixel-wise measures.
OVERLAP_COLUMNS = (*IDENTIFY, "dice", "precision", "recall", "specificity", "average_precision",
                   "auroc")
#: Order of the rows; people come last within a finding.
_ORDER = ("_image", "_finding", "_person", "_first", "_second", "_reader")
#: Histograms whose curves are drawn at a time.
_CURVES = 512


@dataclass
class ExpertRows:
    """Scores of benchmark readers, and what was met on the way."""

    table: pd.DataFrame
    counts: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Segmentations:
    """Maps made into segmentations.

    Attributes
    ----------
    area : ndarray of int64, shape (maps,)
        0 for maps that are not usable and below the cut-off.
    shared : ndarray of int64, shape (maps, readers)
    threshold : ndarray of float64, shape (maps,)
        On 0..255; NaN for maps that are not usable.
    below : int
        Maps left empty since their probability does not exceed the cut-off.
    unknown : int
        Maps with a cut-off but without a probability, which it leaves as they are.
    """

    area: npt.NDArray[np.int64]
    shared: npt.NDArray[np.int64]
    threshold: FloatArray
    below: int
    unknown: int


def segmentations(maps: CountedMaps, findings: Sequence[str], threshold: Choice, cutoff: Choice,
                  ) -> Segmentations:
    """Cut every map at its threshold, and empty it where its probability is too small.

    Parameters
    ----------
    maps : CountedMaps
    findings : sequence of str
        Names for ``maps.finding``.
    threshold, cutoff : Choice
        A map keeps its segmentation where its probability *exceeds* the cut-off.
    """
    area, shared = maps.otsu()
    level = maps.counts.found["threshold"].astype(np.float64)
    limit = np.full(len(area), np.nan)
    names = np.stack([np.array(findings, dtype=object)[maps.finding], maps.explainer, maps.model],
                     axis=1)
    kinds, kind = np.unique(names.astype(str), axis=0, return_inverse=True)
    kind = kind.ravel()
    for k, (finding, explainer, model) in enumerate(kinds.tolist()):
        own = kind == k
        value = threshold.of(finding, explainer, model)
        if value is not None:
            fixed_area, fixed_shared = maps.above(value)
            area, shared = np.where(own, fixed_area, area), np.where(own[:, None], fixed_shared,
                                                                     shared)
            level[own] = 255 * value
        least = cutoff.of(finding, explainer, model)
        if least is not None:
            limit[own] = least
    level[~maps.usable] = np.nan
    # Probabilities are stored in float32, and so is a cut-off compared.
    below = maps.probability.astype(np.float32) <= limit.astype(np.float32)
    unknown = ~np.isnan(limit) & np.isnan(maps.probability)
    empty = below | ~maps.usable
    return Segmentations(np.where(empty, 0, area), np.where(empty[:, None], 0, shared), level,
                         int(below.sum()), int(unknown.sum()))


def map_rows(maps: CountedMaps, annotations: Annotations, cut: Segmentations,
             iou_slice: IouSlice) -> pd.DataFrame:
    """Scores of every map against every reference reader."""
    readers = maps.area_reference.shape[1]
    found = maps.counts.found
    usable = maps.usable
    reference = maps.area_reference
    hit = np.where(reference > 0, maps.of_readers("covered").astype(np.float64), np.nan)
    table = _identified(maps, annotations)

    def per_map(values: npt.NDArray[np.generic]) -> FloatArray:
        return np.repeat(np.asarray(values, dtype=np.float64), readers)

    table["iou"] = iou_array(cut.shared, cut.area[:, None], reference, iou_slice).ravel()
    table["hit"] = hit.ravel()
    table["threshold"] = per_map(cut.threshold)
    for name in ("peak_y", "peak_x", "n_peak"):
        table[name] = per_map(np.where(usable, found[name].astype(np.float64), np.nan))
    table["area_predicted"] = per_map(cut.area)
    table["area_reference"] = reference.ravel()
    return table


def overlap_rows(maps: CountedMaps, annotations: Annotations, cut: Segmentations) -> pd.DataFrame:
    """Pixel-wise measures of every map on a reference that is not empty.

    Average precision and the area under the ROC curve are of the map in its histogram's levels,
    so that pixels of one level are ties; a map that is flat or not finite ranks nothing: its
    average precision is the prevalence and its area one half.
    """
    readers = maps.area_reference.shape[1]
    reference = maps.area_reference.ravel()
    sizes = np.array([annotations.size(image) for image in range(len(annotations.images))])
    pixels = np.repeat(sizes.prod(axis=1)[maps.image].astype(np.float64), readers)
    area, shared = np.repeat(cut.area.astype(np.float64), readers), cut.shared.ravel()
    positive = reference > 0

    def ratio(above: FloatArray, below: FloatArray) -> FloatArray:
        return np.divide(above, below, out=np.full(len(below), np.nan),
                         where=positive & (below > 0))

    table = _identified(maps, annotations)
    table["dice"] = ratio(2 * shared.astype(np.float64), area + reference)
    table["precision"] = ratio(shared.astype(np.float64), area)
    table["recall"] = ratio(shared.astype(np.float64), reference)
    table["specificity"] = ratio(pixels - reference - area + shared, pixels - reference)
    usable = np.flatnonzero(positive & np.repeat(maps.usable, readers))
    prevalence = ratio(reference, pixels)
    for name, curve, otherwise in (("average_precision", average_precision, prevalence),
                                   ("auroc", area_under_roc, np.where(positive, 0.5, np.nan))):
        values = otherwise.copy()
        # A few at a time: in float64 all histograms would outweigh the rest of a study.
        for start in range(0, len(usable), _CURVES):
            rows = usable[start:start + _CURVES]
            values[rows] = curve(*maps.histograms(rows // readers, rows % readers))
        table[name] = values
    return ordered(table.loc[positive], OVERLAP_COLUMNS)


def _identified(maps: CountedMaps, annotations: Annotations) -> pd.DataFrame:
    readers = len(maps.references)
    image, finding = np.repeat(maps.image, readers), np.repeat(maps.finding, readers)
    reader = np.tile(np.array(maps.references, dtype=np.intp), len(maps.image))
    return pd.DataFrame({
        "_image": image, "_finding": finding, "_person": False,
        "_first": np.repeat(maps.order[:, 0], readers),
        "_second": np.repeat(maps.order[:, 1], readers), "_reader": reader,
        "image": _named(annotations.images, image),
        "patient": _named(annotations.patients, image),
        "finding": _named(annotations.findings, finding),
        "explainer": np.repeat(maps.explainer, readers), "model": np.repeat(maps.model, readers),
        "reader": _named(annotations.readers, reader)})


def _named(labels: Sequence[str | None], places: npt.NDArray[np.intp]
           ) -> npt.NDArray[np.object_]:
    return np.array(labels, dtype=object)[places]


def expert_rows(annotations: Annotations, references: Sequence[int], experts: Sequence[int],
                areas: FloatArray, definition: Definition, iou_slice: IouSlice) -> ExpertRows:
    """Scores of every benchmark reader's mask and point against every reference reader."""
    counts: Counter[str] = Counter()
    rows = []
    for image in range(len(annotations.images)):
        for expert in experts:
            # A reader who was never asked for points did not miss.
            asked = bool(np.isfinite(annotations.points[:, :, expert]).any())
            rule = definition if asked else "default"
            for finding in np.flatnonzero(annotations.annotated[image, :, expert]).tolist():
                mask = annotations.runs(image, finding, expert)
                points = annotations.point_pixels(image, finding, expert)
                counts["benchmark_masks"] += 1
                counts["benchmark_masks_without_point"] += bool(not points and mask.area)
                for k, reader in enumerate(references):
                    against = _reference(annotations, image, finding, reader,
                                         known=not np.isnan(areas[image, finding, k]))
                    rows.append((image, finding, True, 0, expert, reader,
                                 annotations.images[image], annotations.patients[image],
                                 annotations.findings[finding], EXPERT,
                                 annotations.readers[expert], annotations.readers[reader],
                                 *score_expert(mask, points, against, iou_slice, rule)))
    return ExpertRows(pd.DataFrame(rows, columns=[*_ORDER, *SCORE_COLUMNS]), counts)


def _reference(annotations: Annotations, image: int, finding: int, reader: int, *, known: bool,
               ) -> RunMask | None:
    if annotations.annotated[image, finding, reader]:
        return annotations.runs(image, finding, reader)
    # Known without a drawing: nothing to draw was stated with the label.
    return RunMask(*annotations.size(image), np.zeros(0, dtype=np.int64)) if known else None


def ordered(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Rows by image, finding, then maps before people, in the order of the cubes."""
    sorted_rows = table.sort_values(list(_ORDER), kind="stable")
    kept = sorted_rows[list(columns)].reset_index(drop=True)
    numbers = [name for name in columns if name not in IDENTIFY]
    return kept.astype({**dict.fromkeys(numbers, "float64"), **dict.fromkeys(IDENTIFY, "object")})


def outcomes(maps: CountedMaps | None) -> dict[str, int]:
    """How many maps there were, and what became of them."""
    found = maps.counts.found["outcome"] if maps else np.zeros(0)
    return {"maps": len(found), "flat": int((found == Status.FLAT).sum()),
            "nonfinite": int((found == Status.NONFINITE).sum()),
            "missing": maps.missing if maps else 0}
