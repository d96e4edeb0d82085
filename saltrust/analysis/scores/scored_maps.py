"""The maps and the readers of a study, scored against its reference masks."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from saltrust.analysis.options import Execution, Scoring
from saltrust.analysis.pixels.overlap import IOU_SLICES
from saltrust.analysis.scores.drawings import Drawings
from saltrust.analysis.scores.scan import MAP, ScanOptions, scan_maps
from saltrust.analysis.scores.scores_table import (
    SCORE_COLUMNS,
    expert_rows,
    is_usable,
    map_rows,
    ordered,
    outcomes,
    segment,
)
from saltrust.analysis.scores.segmentation_rules import Choice, cutoff_choice, threshold_choice
from saltrust.analysis.select import select
from saltrust.analysis.stored.annotations import Annotations, read_annotations
from saltrust.analysis.stored.arrays import dataset_of, labels_of, values_of
from saltrust.analysis.stored.contents import split_of
from saltrust.analysis.stored.examinations import at_level
from saltrust.analysis.stored.readings import described, readings_of
from saltrust.cache.schema import Label, Status
from saltrust.cache.scores import score_store
from saltrust.choices import Definition, IouSlice, MapReading
from saltrust.errors import DataError

FloatArray = npt.NDArray[np.float64]

_log = logging.getLogger(__name__)

_MEANINGS: dict[Definition, str] = {
    "default": "bilinear upsampling; segmentation on the min-max stretched map (Otsu in 256 "
               "levels); peak: first maximum in row order, of the map as stored; expert hit: "
               "first point",
    "peer": "as default, but upsampling rounded as torch does, contours filled and single pixels "
            "dropped after Otsu, expert hit: any point, no point is a miss",
}


@dataclass(frozen=True)
class ScoredMaps:
    """Scores, and what they were made from.

    Attributes
    ----------
    table : pandas.DataFrame
        One row per map, and per benchmark reader's mask, and reference reader
        (:data:`saltrust.analysis.scores.scores_table.SCORE_COLUMNS`).
    drawings : Drawings
        The annotations, and what is measured of them.
    references : list of int
        Positions of the reference readers who annotated anything.
    areas : ndarray of float64, shape (image, finding, len(references))
        Of the reference masks (:func:`reference_areas`).
    scan : xarray.Dataset or None
        Of the stored maps; None where there are none.
    cut : xarray.Dataset or None
        Their segmentations.
    meta : dict
        How they were scored, counts and exclusions.
    """

    table: pd.DataFrame
    drawings: Drawings
    references: list[int]
    areas: FloatArray
    scan: xr.Dataset | None
    cut: xr.Dataset | None
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def annotations(self) -> Annotations:
        """Of the scored cubes."""
        return self.drawings.annotations


def score_maps(cubes: xr.DataTree, scoring: Scoring, execution: Execution, *,
               under_peer: IouSlice = "both_nonempty", readers: bool = True) -> ScoredMaps:
    """Score every stored heatmap and every benchmark reader's mask.

    Where some images have maps, the others are left out and counted: readers are scored on the
    images that maps are.  A flat or non-finite map is an empty prediction that misses.  NaN in
    the table: the reference is empty (hit), outside the slice (IoU), or not annotated (both).

    Parameters
    ----------
    cubes : xarray.DataTree
    scoring : Scoring
    execution : Execution
    under_peer : {"both_nonempty", "all", "positive"}
        The slice of the definition ``peer``, where none is stated.
    readers : bool
        Whether benchmark readers are scored beside the maps.

    Raises
    ------
    DataError
        If the cubes hold no reference masks, or neither heatmaps nor benchmark masks.
    UsageError
        If a threshold or a cut-off cannot be read.
    """
    iou_slice = scoring.sliced(under_peer)
    rule, limit = threshold_choice(scoring.threshold), cutoff_choice(scoring.cutoff)
    split = split_of(cubes)
    if scoring.level == "study":
        cubes = at_level(cubes, scoring.level)
    saliency, prediction = dataset_of(cubes, "saliency"), dataset_of(cubes, "prediction")
    mapped, passed_over = images_with_maps(saliency), dict[str, int]()
    if mapped is not None and not mapped.all() and _are_annotated(cubes, mapped):
        cubes = select(cubes, image=np.asarray(labels_of(cubes.to_dataset(), "image"))[mapped])
        saliency, prediction = dataset_of(cubes, "saliency"), dataset_of(cubes, "prediction")
        passed_over = {"images without a map": int((~mapped).sum())}
        mapped = mapped[mapped]
    annotations = read_annotations(cubes, resolution=scoring.resolution,
                                   mapped=mapped)
    references = annotations.readers_with("reference")
    if not references:
        raise DataError("the cubes hold no reference masks of the selected images and findings: "
                        "no reader with the role reference annotated any; add reference masks or "
                        "select others")
    experts = annotations.readers_with("benchmark")
    options = ScanOptions(annotations.resolution, scoring.definition, tuple(rule.values()),
                          scoring.relevance)
    drawings = Drawings(annotations, score_store(cubes, keep=execution.keep))
    scan, readings = None, dict[str, MapReading]()
    if saliency is not None and {"heatmap", "status"} <= set(saliency.data_vars):
        readings = readings_of(saliency, scoring.read())
        scan = scan_maps(saliency, annotations, options, execution, drawings.store, readings)
    if scan is None and not experts:
        raise DataError("the cubes hold no heatmaps of the selected images and findings, and no "
                        "benchmark masks to score in their place; run `saltrust generate` first")
    if scan is not None:
        scan = with_probabilities(scan.sel(reader=[annotations.readers[r] for r in references]),
                                  prediction)
    areas = reference_areas(drawings, references)
    parts, counts, cut = [], Counter[str](), None
    if scan is None:
        _log.warning("the cubes hold no heatmaps of the selected images and findings; only the "
                     "benchmark readers are scored")
    else:
        _warn_of_other_readings(rule, readings)
        _warn_of_other_readings(limit, readings)
        cut = segment(scan, rule, limit)
        parts.append(map_rows(scan, of_maps(areas, scan, annotations), annotations, cut,
                              iou_slice))
    if readers or scan is None:
        people = expert_rows(drawings, references, experts, areas, scoring.definition,
                             iou_slice)
        parts.append(people.table)
        counts = people.counts
    # An empty part would decide the types of its columns.
    table = ordered(pd.concat([part for part in parts if len(part)] or parts[:1]), SCORE_COLUMNS)
    meta = {
        "resolution": annotations.resolution, "definition": scoring.definition,
        "meaning": _MEANINGS[scoring.definition],
        **described(scoring.read(), readings,
                    () if scan is None else scan["explainer"].values.tolist()),
        "slice": iou_slice,
        "slice_meaning": IOU_SLICES[iou_slice], "threshold": rule.description,
        "probability_cutoff": limit.description, "level": scoring.level, "split": split,
        "relevance": scoring.relevance,
        "reference_readers": [annotations.readers[r] for r in references],
        "benchmark_readers": [annotations.readers[r] for r in experts],
        "counts": {"images": int(table["image"].nunique()), "rows": len(table), **outcomes(scan),
                   **_scan_counts(scan, cut, cutoff=bool(limit.values())),
                   **{name: counts[name]
                      for name in ("benchmark_masks", "benchmark_masks_without_point")}},
        "exclusions": {**passed_over, **_without_reference(annotations, areas)},
        "hit_chance": mean_area_ratios(annotations, areas),
    }
    return ScoredMaps(table, drawings, references, areas, scan, cut, meta)


def _are_annotated(cubes: xr.DataTree, mapped: npt.NDArray[np.bool_]) -> bool:
    """Whether any of these images has a mask; else what is missing is named as it is."""
    reference = dataset_of(cubes, "reference")
    if reference is None or "annotated" not in reference:
        return False
    return bool(values_of(reference["annotated"], ("image", "finding", "reader"))[mapped].any())


def _warn_of_other_readings(rule: Choice, readings: Mapping[str, MapReading]) -> None:
    """Say where a table of numbers was tuned on another reading of the maps."""
    for explainer, word in rule.readings.items():
        if explainer in readings and readings[explainer] != word:
            _log.warning("the %s was tuned on maps of %s read as %s, and they are read as %s here; "
                         "tune it again, or say --map %s", rule.description, explainer, word,
                         readings[explainer], word)


def reference_areas(drawings: Drawings, references: Sequence[int]) -> FloatArray:
    """Areas of the reference masks; 0 where the label says negative, NaN where nobody drew.

    Parameters
    ----------
    drawings : Drawings
    references : sequence of int
        Reference readers.

    Returns
    -------
    ndarray of float64, shape (image, finding, reader)
    """
    annotations = drawings.annotations
    areas = np.full((*annotations.labels.shape, len(references)), np.nan)
    # Nothing to draw was stated with the label.
    areas[annotations.labels == Label.NEGATIVE] = 0
    drawn = np.argwhere(annotations.annotated[:, :, references])
    if len(drawn):
        masks = np.column_stack([drawn[:, :2], np.array(references)[drawn[:, 2]]])
        areas[tuple(drawn.T)] = drawings.masks(masks)["area"]
    return areas


def of_maps(areas: FloatArray, scan: xr.Dataset, annotations: Annotations) -> FloatArray:
    """Areas of the reference masks of each map's image and finding, shape (map, reader)."""
    return areas[_places(scan, annotations)]


def _places(scan: xr.Dataset, annotations: Annotations
            ) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    return (pd.Index(annotations.images).get_indexer(pd.Index(scan["image"].values)),
            pd.Index(annotations.findings).get_indexer(pd.Index(scan["finding"].values)))


def images_with_maps(saliency: xr.Dataset | None) -> npt.NDArray[np.bool_] | None:
    """Whether any map of each image is stored; None where the cubes hold no maps."""
    if saliency is None or "status" not in saliency:
        return None
    stored = values_of(saliency["status"], MAP) != Status.MISSING
    return np.asarray(stored.any(axis=(1, 2, 3)))


def with_probabilities(scan: xr.Dataset, prediction: xr.Dataset | None) -> xr.Dataset:
    """The scan with ``probability(map)`` predicted by each map's model; NaN where none is stored.

    Parameters
    ----------
    scan : xarray.Dataset
    prediction : xarray.Dataset or None
        The group of the predictions.
    """
    probability = np.full(scan.sizes["map"], np.nan)
    if prediction is not None and "probability" in prediction:
        dims = ["image", "finding", "model"]
        values = values_of(prediction["probability"], dims).astype(np.float64)
        at = [pd.Index(labels_of(prediction, dim)).get_indexer(pd.Index(scan[dim].values))
              for dim in dims]
        known = (np.stack(at) >= 0).all(axis=0)
        probability = np.where(known, values[tuple(at)], np.nan)
    return scan.assign(probability=("map", probability))


def _scan_counts(scan: xr.Dataset | None, cut: xr.Dataset | None, *, cutoff: bool
                 ) -> dict[str, int]:
    counts: dict[str, int] = {}
    if scan is not None:
        counts["tied_peaks"] = int((is_usable(scan) & (scan["n_peak"].values > 1)).sum())
    if cut is not None and cutoff:
        counts["below_cutoff"] = int(cut["below"].values.sum())
        counts["without_probability"] = int(cut["unknown"].values.sum())
    return counts


def _without_reference(annotations: Annotations, areas: FloatArray) -> dict[str, int]:
    positive = (annotations.labels == Label.POSITIVE)[..., None]
    unknown = np.isnan(areas)
    reasons = {"positive label but not annotated": unknown & positive,
               "label not negative and not annotated": unknown & ~positive,
               "positive label but empty reference mask": positive & (areas == 0)}
    return {reason: int(met.sum()) for reason, met in reasons.items() if met.any()}


def mean_area_ratios(annotations: Annotations, areas: FloatArray) -> dict[str, float]:
    """Mean area ratio of the reference masks that are not empty, by finding.

    That is the hit rate of a peak thrown at random.
    """
    ratios = {}
    for finding, name in enumerate(annotations.findings):
        of_finding = areas[:, finding]
        drawn = np.argwhere(of_finding > 0)
        if len(drawn):
            sizes = np.array([annotations.size(int(image)) for image in drawn[:, 0]])
            ratios[name] = float(np.mean(of_finding[of_finding > 0] / sizes.prod(axis=1)))
    return ratios
