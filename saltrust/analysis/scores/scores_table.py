"""Rows of the scores table: maps cut at their thresholds, and experts, against the references."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from saltrust.analysis.pixels.histogram_curves import area_under_roc, average_precision
from saltrust.analysis.pixels.histogram_thresholds import histogram_threshold
from saltrust.analysis.pixels.levels import bin_above
from saltrust.analysis.pixels.overlap import iou_array
from saltrust.analysis.pixels.scoring import Score
from saltrust.analysis.scores.drawings import Drawings
from saltrust.analysis.scores.scan import MAP
from saltrust.analysis.scores.score_rows import EXPERT
from saltrust.analysis.scores.segmentation_rules import Choice
from saltrust.analysis.stored.annotations import Annotations
from saltrust.cache.schema import Status
from saltrust.choices import Definition, IouSlice, ThresholdMethod

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

IDENTIFY = ("image", "patient", "finding", "explainer", "model", "reader")
#: How much of a map lies in the mask, and the variable of the scan that holds it.
RELEVANCE = {"mass_accuracy": "mass", "rank_accuracy": "rank", "energy_pointing": "energy"}
#: Columns of the scores table.
SCORE_COLUMNS = (*IDENTIFY, *Score._fields, *RELEVANCE)
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


def segment(scan: xr.Dataset, threshold: Choice, cutoff: Choice) -> xr.Dataset:
    """Cut every map at its threshold, and empty it where its probability is too small.

    Parameters
    ----------
    scan : xarray.Dataset
        Of :func:`saltrust.analysis.scores.scan.scan_maps`.
    threshold, cutoff : Choice
        A map keeps its segmentation where its probability *exceeds* the cut-off.

    Returns
    -------
    xarray.Dataset
        ``area(map)``, pixels of the segmentation, 0 for maps that are not usable or below the
        cut-off; ``shared(map, reader)``, those inside the reader's mask; ``threshold(map)`` on
        0..255, NaN for maps that are not usable.  ``below(map)``: left empty since the
        probability does not exceed the cut-off; ``unknown(map)``: with a cut-off but without a
        probability, which leaves them as they are.
    """
    area, shared = (scan[name].values.astype(np.int64) for name in ("area", "shared"))
    level = scan["threshold"].values.astype(np.float64)
    limit = np.full(len(area), np.nan)
    usable, probability = is_usable(scan), scan["probability"].values
    names = np.stack([scan[name].values for name in ("finding", "explainer", "model")], axis=1)
    kinds, kind = np.unique(names.astype(str), axis=0, return_inverse=True)
    kind = kind.ravel()
    for k, (finding, explainer, model) in enumerate(kinds.tolist()):
        of_kind = kind == k
        value = threshold.of(finding, explainer, model)
        if value is not None:
            fixed_area, fixed_shared = above(scan, value)
            area = np.where(of_kind, fixed_area, area)
            shared = np.where(of_kind[:, None], fixed_shared, shared)
            level[of_kind] = 255 * value
        elif threshold.method != "otsu":
            _cut_by_histogram(scan, np.flatnonzero(of_kind & usable), threshold.method,
                              area, shared, level)
        least = cutoff.of(finding, explainer, model)
        if least is not None:
            limit[of_kind] = least
    level[~usable] = np.nan
    # Probabilities are stored in float32, and so is a cut-off compared.
    below = probability.astype(np.float32) <= limit.astype(np.float32)
    empty = below | ~usable
    return xr.Dataset({
        "area": ("map", np.where(empty, 0, area)),
        "shared": (("map", "reader"), np.where(empty[:, None], 0, shared)),
        "threshold": ("map", level), "below": ("map", below),
        "unknown": ("map", ~np.isnan(limit) & np.isnan(probability))})


def _cut_by_histogram(scan: xr.Dataset, rows: npt.NDArray[np.intp], method: ThresholdMethod,
                      area: IntArray, shared: IntArray, level: FloatArray) -> None:
    """Put pixels above the threshold of each map's histogram, and the threshold, in its rows."""
    total, inside, cut = (scan[name].values for name in ("total", "inside", "cut"))
    # A level begins where nothing has to be exceeded.
    first = np.flatnonzero(np.isneginf(cut))
    for row in rows.tolist():
        counts = np.add.reduceat(total[row], first).astype(np.int64)
        level[row] = histogram_threshold(counts, method)
        above_it = slice(int(first[int(level[row]) + 1]), None)
        area[row] = total[row, above_it].sum(dtype=np.int64)
        shared[row] = inside[row, :, above_it].sum(axis=1, dtype=np.int64)


def is_usable(scan: xr.Dataset) -> npt.NDArray[np.bool_]:
    """Whether each map is neither flat nor has values that are not finite."""
    return np.asarray(scan["outcome"].values == Status.OK)


def above(scan: xr.Dataset, threshold: float) -> tuple[npt.NDArray[np.int64],
                                                       npt.NDArray[np.int64]]:
    """Pixels strictly above a threshold on 0..1, and those inside each reference mask.

    Returns
    -------
    area : ndarray of int64, shape (map,)
    shared : ndarray of int64, shape (map, reader)
    """
    start = bin_above(scan["cut"].values, threshold)
    area = scan["total"].values[:, start:].sum(axis=1, dtype=np.int64)
    return area, scan["inside"].values[:, :, start:].sum(axis=2, dtype=np.int64)


def map_rows(scan: xr.Dataset, areas: FloatArray, annotations: Annotations, cut: xr.Dataset,
             iou_slice: IouSlice) -> pd.DataFrame:
    """Scores of every map against every reference reader.

    Parameters
    ----------
    scan : xarray.Dataset
    areas : ndarray of float64, shape (map, reader)
        Of the reference masks (:func:`of_maps`).
    annotations : Annotations
    cut : xarray.Dataset
        Of :func:`segment`.
    iou_slice : {"positive", "all", "both_nonempty"}

    Returns
    -------
    pandas.DataFrame
        :data:`SCORE_COLUMNS`, with columns by which :func:`ordered` sorts.
    """
    readers, usable = areas.shape[1], is_usable(scan)
    hit = np.where(areas > 0, scan["covered"].values.astype(np.float64), np.nan)
    table = _identified(scan, annotations)

    def per_map(values: npt.NDArray[np.generic]) -> FloatArray:
        return np.repeat(np.asarray(values, dtype=np.float64), readers)

    table["iou"] = iou_array(cut["shared"].values, cut["area"].values[:, None], areas,
                             iou_slice).ravel()
    table["hit"] = hit.ravel()
    table["threshold"] = per_map(cut["threshold"].values)
    for name in ("peak_y", "peak_x", "n_peak"):
        table[name] = per_map(np.where(usable, scan[name].values.astype(np.float64), np.nan))
    table["area_predicted"] = per_map(cut["area"].values)
    table["area_reference"] = areas.ravel()
    for column, name in RELEVANCE.items():
        table[column] = np.where(areas > 0, scan[name].values, np.nan).ravel()
    return table


def overlap_rows(scan: xr.Dataset, areas: FloatArray, annotations: Annotations, cut: xr.Dataset
                 ) -> pd.DataFrame:
    """Pixel-wise measures of every map on a reference that is not empty.

    Average precision and the area under the ROC curve are of the map in its histogram's levels,
    so that pixels of one level are ties; a map that is flat or not finite ranks nothing: its
    average precision is the prevalence and its area one half.

    Parameters
    ----------
    scan, areas, annotations, cut
        Of :func:`map_rows`, which takes the same.

    Returns
    -------
    pandas.DataFrame
        :data:`OVERLAP_COLUMNS`.
    """
    readers = areas.shape[1]
    reference = areas.ravel()
    sizes = np.array([annotations.size(image) for image in range(len(annotations.images))])
    image = pd.Index(annotations.images).get_indexer(pd.Index(scan["image"].values))
    pixels = np.repeat(sizes.prod(axis=1)[image].astype(np.float64), readers)
    area = np.repeat(cut["area"].values.astype(np.float64), readers)
    shared = cut["shared"].values.ravel().astype(np.float64)
    positive = reference > 0

    def ratio(upper: FloatArray, lower: FloatArray) -> FloatArray:
        return np.divide(upper, lower, out=np.full(len(lower), np.nan),
                         where=positive & (lower > 0))

    table = _identified(scan, annotations)
    table["dice"] = ratio(2 * shared, area + reference)
    table["precision"] = ratio(shared, area)
    table["recall"] = ratio(shared, reference)
    table["specificity"] = ratio(pixels - reference - area + shared, pixels - reference)
    usable = np.flatnonzero(positive & np.repeat(is_usable(scan), readers))
    prevalence = ratio(reference, pixels)
    total, inside = scan["total"].values, scan["inside"].values
    for name, curve, otherwise in (("average_precision", average_precision, prevalence),
                                   ("auroc", area_under_roc, np.where(positive, 0.5, np.nan))):
        values = otherwise.copy()
        # A few at a time: in float64 all histograms would outweigh the rest of a study.
        for start in range(0, len(usable), _CURVES):
            rows = usable[start:start + _CURVES]
            values[rows] = curve(total[rows // readers], inside[rows // readers, rows % readers])
        table[name] = values
    return ordered(table.loc[positive], OVERLAP_COLUMNS)


def _identified(scan: xr.Dataset, annotations: Annotations) -> pd.DataFrame:
    """Names of every map and reader, and their places in the order of the cubes."""
    readers = [str(name) for name in scan["reader"].values]
    names = {dim: np.repeat(scan[dim].values, len(readers)) for dim in MAP}
    image = pd.Index(annotations.images).get_indexer(pd.Index(scan["image"].values))
    return pd.DataFrame({
        "_image": np.repeat(image, len(readers)),
        "_finding": pd.Index(annotations.findings).get_indexer(pd.Index(names["finding"])),
        "_person": False,
        "_first": pd.Index(scan.attrs["explainers"]).get_indexer(pd.Index(names["explainer"])),
        "_second": pd.Index(scan.attrs["models"]).get_indexer(pd.Index(names["model"])),
        "_reader": np.tile([annotations.readers.index(name) for name in readers],
                           scan.sizes["map"]),
        "image": names["image"],
        "patient": np.repeat(np.array(annotations.patients, dtype=object)[image], len(readers)),
        "finding": names["finding"], "explainer": names["explainer"], "model": names["model"],
        "reader": np.tile(np.array(readers, dtype=object), scan.sizes["map"])})


def expert_rows(drawings: Drawings, references: Sequence[int], experts: Sequence[int],
                areas: FloatArray, definition: Definition, iou_slice: IouSlice) -> ExpertRows:
    """Scores of every benchmark reader's mask and point against every reference reader.

    Parameters
    ----------
    drawings : Drawings
    references, experts : sequence of int
        Positions of the reference readers and of the benchmark readers.
    areas : ndarray of float64, shape (image, finding, reference)
        Of the reference masks; NaN where there is none, 0 where the label says negative.
    definition : {"default", "peer"}
        ``default``: the first point hits or misses, no point is no answer.  ``peer``: any point
        may hit, no point is a miss, unless the reader was asked for no point at all.
    iou_slice : {"positive", "all", "both_nonempty"}

    Returns
    -------
    ExpertRows
    """
    annotations = drawings.annotations
    drawn = np.argwhere(annotations.annotated[:, :, experts])
    if not len(drawn):
        return ExpertRows(pd.DataFrame(columns=[*_ORDER, *SCORE_COLUMNS]), Counter())
    masks = np.column_stack([drawn[:, :2], np.array(experts)[drawn[:, 2]]])
    area = drawings.masks(masks)["area"]
    points = [annotations.point_pixels(*place) for place in masks.tolist()]
    pointed = np.array([bool(marked) for marked in points])
    peaks = np.array([marked[0] if marked else (np.nan, np.nan) for marked in points],
                     dtype=np.float64)
    counts = Counter(benchmark_masks=len(masks),
                     benchmark_masks_without_point=int((~pointed & (area > 0)).sum()))
    asked = np.array([np.isfinite(annotations.points[:, :, reader]).any() for reader in masks[:,
                                                                                              2]])
    any_counts = asked & (definition == "peer")
    parts = []
    for k, reader in enumerate(references):
        known = areas[masks[:, 0], masks[:, 1], k]
        both = annotations.annotated[masks[:, 0], masks[:, 1], reader]
        pairs = np.column_stack([masks[both], np.full(int(both.sum()), reader)])
        measured = drawings.pairs(pairs)
        # Where nothing to draw was stated with the label, nothing is shared and nothing is hit.
        shared, first, some = (np.zeros(len(masks)) for _ in range(3))
        for values, name in ((shared, "shared"), (first, "first"), (some, "any")):
            values[both] = measured[name]
        hit = np.where(any_counts, some, np.where(pointed, first, np.nan))
        parts.append(pd.DataFrame({
            "_image": masks[:, 0], "_finding": masks[:, 1], "_person": True, "_first": 0,
            "_second": masks[:, 2], "_reader": reader,
            "image": _labels(annotations.images, masks[:, 0]),
            "patient": _labels(annotations.patients, masks[:, 0]),
            "finding": _labels(annotations.findings, masks[:, 1]), "explainer": EXPERT,
            "model": _labels(annotations.readers, masks[:, 2]),
            "reader": annotations.readers[reader],
            "iou": iou_array(shared, area, known, iou_slice),
            "hit": np.where(known > 0, hit, np.nan), "threshold": np.nan,
            "peak_y": peaks[:, 0], "peak_x": peaks[:, 1], "n_peak": np.nan,
            "area_predicted": area.astype(np.float64), "area_reference": known,
            # What people draw has no values to be shared out.
            **dict.fromkeys(RELEVANCE, np.nan)}))
    return ExpertRows(pd.concat(parts, ignore_index=True), counts)


def _labels(names: Sequence[str | None], at: npt.NDArray[np.intp]) -> npt.NDArray[np.object_]:
    return np.array(names, dtype=object)[at]


def ordered(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Rows by image, finding, then maps before people, in the order of the cubes."""
    sorted_rows = table.sort_values(list(_ORDER), kind="stable")
    kept = sorted_rows[list(columns)].reset_index(drop=True)
    numbers = [name for name in columns if name not in IDENTIFY]
    return kept.astype({**dict.fromkeys(numbers, "float64"), **dict.fromkeys(IDENTIFY, "object")})


def outcomes(scan: xr.Dataset | None) -> dict[str, int]:
    """How many maps there were, and what became of them."""
    outcome = np.zeros(0) if scan is None else scan["outcome"].values
    return {"maps": len(outcome), "flat": int((outcome == Status.FLAT).sum()),
            "nonfinite": int((outcome == Status.NONFINITE).sum()),
            "missing": 0 if scan is None else int(scan.attrs["missing"])}
