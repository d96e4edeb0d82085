"""Localization: every heatmap and every benchmark reader against the reference masks.

Per map: bring it to the size of the masks, segment by Otsu's threshold, take the IoU with the
reference mask, and see whether its peak lies inside (protocol S; Saporta et al., 2022).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from tqdm import tqdm

from saltrust.analysis.annotations import (
    Annotations,
    Resolution,
    label_positions,
    read_annotations,
)
from saltrust.analysis.localization_summary import decrease, summarise
from saltrust.analysis.result import Result
from saltrust.analysis.scoring import (
    MaskPixels,
    Score,
    score_expert,
    score_segmentation,
    segment_heatmap,
)
from saltrust.analysis.selection import EXPERT, IOU_SLICES, IouSlice, check_slice
from saltrust.analysis.shape import Definition, check_definition
from saltrust.analysis.upsampling import is_finite
from saltrust.cache.schema import Label, Status
from saltrust.errors import DataError

__all__ = ["SCORE_COLUMNS", "localization", "score_maps", "summarise"]

_log = logging.getLogger(__name__)

#: Columns of the scores table.
SCORE_COLUMNS = ("image", "patient", "finding", "explainer", "model", "reader", *Score._fields)

_MEANINGS = {
    "default": "bilinear upsampling; Otsu on the min-max stretched map in 256 levels; peak: first "
               "maximum in row order, of the map as stored; expert hit: first point",
    "peer": "as default, but upsampling rounded as torch does, contours filled and single pixels "
            "dropped, expert hit: any point, no point is a miss",
}


def score_maps(cubes: xr.DataTree, *, resolution: Resolution | None = None,
               definition: Definition = "default", iou_slice: IouSlice | None = None,
               split: str | None = None, findings: Sequence[str] | None = None,
               explainers: Sequence[str] | None = None, models: Sequence[str] | None = None,
               progress: bool = False) -> pd.DataFrame:
    """Score every stored heatmap and every benchmark reader's mask.

    Parameters
    ----------
    cubes : xarray.DataTree
        As :func:`saltrust.open_cubes` gives; read one image, explainer and model at a time.
    resolution : {"native", "grid"}, optional
        Size at which maps and masks meet; by default native where native masks are stored and
        every native size is known.
    definition : {"default", "peer"}
        ``"peer"``: as the code released with CheXlocalize.
    iou_slice : {"positive", "all", "both_nonempty"}, optional
        Which image-finding pairs have an IoU (:func:`saltrust.analysis.overlap.
        intersection_over_union`); by default positive, and both_nonempty under ``"peer"``.
    split : {"train", "val", "test", "none"}, optional
        Only images of this split.
    findings, explainers, models : sequence of str, optional
        Only these; benchmark readers are always scored.
    progress : bool
        Show a bar on stderr.

    Returns
    -------
    pandas.DataFrame
        One row per map and reference reader: ``image, patient, finding, explainer, model,
        reader, iou, hit, threshold, peak_y, peak_x, n_peak, area_predicted, area_reference``.
        Benchmark readers have explainer ``expert``, their name as model and their point as
        peak.  A flat or non-finite map is an empty prediction that misses.  NaN: the reference
        is empty (hit), outside the slice (IoU), or not annotated (both).

    Raises
    ------
    DataError
        If the cubes hold no reference masks, or neither heatmaps nor benchmark masks.
    UsageError
        If an option or a name is not known.
    """
    return _score(cubes, resolution=resolution, definition=definition, iou_slice=iou_slice,
                  split=split, findings=findings, explainers=explainers, models=models,
                  progress=progress).table


def localization(cubes: xr.DataTree, *, resolution: Resolution | None = None,
                 definition: Definition = "default", iou_slice: IouSlice | None = None,
                 split: str | None = None, findings: Sequence[str] | None = None,
                 explainers: Sequence[str] | None = None, models: Sequence[str] | None = None,
                 resamples: int = 1000, confidence: float = 0.95, seed: int = 0,
                 progress: bool = False) -> Result:
    """Mean IoU and hit rate per finding, and how far they fall short of the expert's.

    Parameters
    ----------
    cubes, resolution, definition, iou_slice, split, findings, explainers, models, progress
        As :func:`score_maps`.
    resamples : int
        Bootstrap resamples of patients.
    confidence : float
        Level of the percentile intervals.
    seed : int

    Returns
    -------
    Result
        ``summary`` and ``decrease`` (:mod:`saltrust.analysis.localization_summary`),
        ``decrease_change`` and ``scores`` (:func:`score_maps`).

    Raises
    ------
    DataError, UsageError
        As :func:`score_maps`.

    References
    ----------
    A. Saporta et al. (2022), Nat. Mach. Intell. 4, 867-878, Table 1 and Fig. 2.
    """
    scored = _score(cubes, resolution=resolution, definition=definition, iou_slice=iou_slice,
                    split=split, findings=findings, explainers=explainers, models=models,
                    progress=progress)
    # The released code takes each mean over its own images, whichever the other has.
    paired = definition != "peer"
    summary = summarise(scored.table, chance=scored.chance, resamples=resamples,
                        confidence=confidence, seed=seed)
    falls, change = decrease(scored.table, paired=paired, resamples=resamples,
                             confidence=confidence, seed=seed)
    meta = {**scored.meta, "resamples": resamples, "confidence": confidence, "seed": seed,
            "interval": "percentile bootstrap by patient; Wilson where all are hits or all misses",
            "decrease": "100 * (expert - saliency) / expert, on "
            + ("images that both have" if paired else "the images that each has")}
    return Result(meta, {"summary": summary, "decrease": falls, "decrease_change": change,
                         "scores": scored.table})


@dataclass
class _Scored:
    table: pd.DataFrame
    meta: dict[str, Any]
    #: Mean area ratio of the reference masks that are not empty, by finding.
    chance: dict[str, float]


@dataclass
class _Pass:
    """One pass over the pixels: what is compared with what, and what was met on the way."""

    annotations: Annotations
    references: list[int]
    definition: Definition
    iou_slice: IouSlice
    counts: Counter[str] = field(default_factory=Counter)
    exclusions: Counter[str] = field(default_factory=Counter)
    ratios: dict[str, list[float]] = field(default_factory=dict)

    def reference(self, image: int, finding: int, reader: int) -> MaskPixels | None:
        """What the reference reader saw; None where that is not known."""
        if self.annotations.annotated[image, finding, reader]:
            return self.annotations.pixels(image, finding, reader)
        if self.annotations.labels[image, finding] == Label.NEGATIVE:
            # Nothing to draw was stated with the label.
            return MaskPixels(0, None)
        return None


def _score(cubes: xr.DataTree, *, resolution: Resolution | None, definition: Definition,
           iou_slice: IouSlice | None, split: str | None, findings: Sequence[str] | None,
           explainers: Sequence[str] | None, models: Sequence[str] | None,
           progress: bool) -> _Scored:
    check_definition(definition)
    iou_slice = iou_slice or ("both_nonempty" if definition == "peer" else "positive")
    check_slice(iou_slice)
    annotations = read_annotations(cubes, resolution=resolution, split=split, findings=findings,
                                   mapped=_images_with_maps(cubes))
    references = annotations.readers_with("reference")
    if not references:
        raise DataError("the cubes hold no reference masks of the selected images and findings: "
                        "no reader with the role reference annotated any; add reference masks or "
                        "select others")
    experts = annotations.readers_with("benchmark")
    maps = _Maps.of(cubes, annotations, explainers, models)
    if maps is None and not experts:
        raise DataError("the cubes hold no heatmaps of the selected images and findings, and no "
                        "benchmark masks to score in their place; run `saltrust generate` first")
    if maps is None:
        _log.warning("the cubes hold no heatmaps of the selected images and findings; only the "
                     "benchmark readers are scored")
    work = _Pass(annotations, references, definition, iou_slice)
    rows: list[tuple[Any, ...]] = []
    for image in tqdm(range(len(annotations.images)), desc="localization", unit="image",
                      disable=None if progress else True):
        _note_references(work, image)
        found = dict(_score_heatmaps(work, maps, image)) if maps else {}
        found.update(_score_experts(work, image, experts))
        rows += [(annotations.images[image], annotations.patients[image],
                  annotations.findings[key.finding], key.explainer, key.model,
                  annotations.readers[key.reader], *found[key]) for key in sorted(found)]
    table = pd.DataFrame(rows, columns=list(SCORE_COLUMNS))
    table = table.astype(dict.fromkeys(Score._fields, "float64"))
    if maps:
        work.counts["missing"] = maps.missing
    meta = _meta(work, table, experts, split)
    chance = {name: float(np.mean(values)) for name, values in work.ratios.items()}
    return _Scored(table, {**meta, "hit_chance": chance}, chance)


def _meta(work: _Pass, table: pd.DataFrame, experts: list[int], split: str | None
          ) -> dict[str, Any]:
    annotations = work.annotations
    return {
        "resolution": annotations.resolution, "definition": work.definition,
        "meaning": _MEANINGS[work.definition], "slice": work.iou_slice,
        "slice_meaning": IOU_SLICES[work.iou_slice], "split": split,
        "reference_readers": [annotations.readers[r] for r in work.references],
        "benchmark_readers": [annotations.readers[r] for r in experts],
        "counts": {"images": int(table["image"].nunique()), "rows": len(table),
                   **{name: work.counts[name] for name in
                      ("maps", "flat", "nonfinite", "missing", "benchmark_masks",
                       "benchmark_masks_without_point")}},
        "exclusions": dict(work.exclusions),
    }


def _images_with_maps(cubes: xr.DataTree) -> npt.NDArray[np.bool_] | None:
    if "saliency" not in cubes.children or "status" not in cubes["saliency"].data_vars:
        return None
    status = cubes["saliency"].to_dataset()["status"].transpose("image", ...).values
    return (status != Status.MISSING).any(axis=tuple(range(1, status.ndim)))


@dataclass(frozen=True)
class _Maps:
    """Which heatmaps there are to score.

    Attributes
    ----------
    heatmap : xarray.DataArray
        Lazy, of all the cubes.
    status : ndarray of uint8, shape (image, finding, explainer, model)
        Of what was selected.
    """

    heatmap: xr.DataArray
    status: npt.NDArray[np.uint8]
    explainers: list[str]
    models: list[str]
    explainer_positions: npt.NDArray[np.intp]
    model_positions: npt.NDArray[np.intp]

    @classmethod
    def of(cls, cubes: xr.DataTree, annotations: Annotations, explainers: Sequence[str] | None,
           models: Sequence[str] | None) -> _Maps | None:
        """The heatmaps selected, or None where there are none."""
        if "saliency" not in cubes.children or "heatmap" not in cubes["saliency"].data_vars:
            return None
        saliency = cubes["saliency"].to_dataset()
        names = {dim: [str(name) for name in saliency[dim].values]
                 for dim in ("explainer", "model")}
        if explainers is not None:
            explainers = [explainers] if isinstance(explainers, str) else explainers
            explainers = [name for name in explainers if name != EXPERT]
        chosen = {"image": annotations.image_positions,
                  "finding": annotations.finding_positions,
                  "explainer": label_positions(names["explainer"], explainers, "explainer"),
                  "model": label_positions(names["model"], models, "model")}
        status = saliency["status"].transpose(*chosen).isel(chosen).values
        if not (status != Status.MISSING).any():
            return None
        return cls(saliency["heatmap"], status,
                   [names["explainer"][e] for e in chosen["explainer"]],
                   [names["model"][m] for m in chosen["model"]],
                   chosen["explainer"], chosen["model"])

    @property
    def missing(self) -> int:
        """Maps that images with maps do not have."""
        lacks = self.status == Status.MISSING
        return int(lacks[~lacks.all(axis=(1, 2, 3))].sum())

    def read(self, annotations: Annotations, image: int
             ) -> Iterator[tuple[int, int, int, Status, npt.NDArray[np.float32]]]:
        """Finding, explainer, model, status and values of every stored map of an image."""
        status = self.status[image]
        for e, m in np.argwhere((status != Status.MISSING).any(axis=0)).tolist():
            stored = np.flatnonzero(status[:, e, m] != Status.MISSING)
            positions = annotations.finding_positions[stored]
            # One slice of a shard is read several times faster than a list of findings.
            values = self.heatmap.isel(
                image=int(annotations.image_positions[image]),
                finding=slice(positions[0], positions[-1] + 1),
                explainer=int(self.explainer_positions[e]), model=int(self.model_positions[m]),
            ).transpose("finding", "y", "x").values[positions - positions[0]]
            for finding, plane in zip(stored.tolist(), values, strict=True):
                yield finding, e, m, Status(status[finding, e, m]), plane


class _Key(NamedTuple):
    """What a row is about, in the order of the rows: within a finding, people come last."""

    finding: int
    person: bool
    order: tuple[int, int]
    reader: int
    explainer: str
    model: str


def _score_heatmaps(work: _Pass, maps: _Maps, image: int) -> Iterator[tuple[_Key, Score]]:
    for finding, e, m, status, values in maps.read(work.annotations, image):
        found = None
        if status == Status.OK:
            found = segment_heatmap(values, work.annotations.size(image), work.definition)
        work.counts["maps"] += 1
        if found is None:
            finite = status == Status.FLAT or (status == Status.OK and is_finite(values))
            work.counts["flat" if finite else "nonfinite"] += 1
        for reader in work.references:
            reference = work.reference(image, finding, reader)
            yield (_Key(finding, False, (e, m), reader, maps.explainers[e], maps.models[m]),
                   score_segmentation(found, reference, work.iou_slice))


def _score_experts(work: _Pass, image: int, experts: list[int]) -> Iterator[tuple[_Key, Score]]:
    annotations = work.annotations
    for expert in experts:
        # A reader who was never asked for points did not miss.
        asked = bool(np.isfinite(annotations.points[:, :, expert]).any())
        definition = work.definition if asked else "default"
        for finding in np.flatnonzero(annotations.annotated[image, :, expert]).tolist():
            work.counts["benchmark_masks"] += 1
            points = annotations.point_pixels(image, finding, expert)
            mask = annotations.pixels(image, finding, expert)
            if not points and mask.area:
                work.counts["benchmark_masks_without_point"] += 1
            for reader in work.references:
                yield (_Key(finding, True, (0, expert), reader, EXPERT,
                            annotations.readers[expert]),
                       score_expert(mask, points, work.reference(image, finding, reader),
                                    work.iou_slice, definition))


def _note_references(work: _Pass, image: int) -> None:
    """Count what has no reference, and collect the area ratios of the positives."""
    annotations = work.annotations
    for reader in work.references:
        for finding, name in enumerate(annotations.findings):
            reference = work.reference(image, finding, reader)
            positive = annotations.labels[image, finding] == Label.POSITIVE
            if reference is None:
                work.exclusions["positive label but not annotated" if positive else
                                "label not negative and not annotated"] += 1
            elif positive and reference.area == 0:
                work.exclusions["positive label but empty reference mask"] += 1
            elif reference.area:
                height, width = annotations.size(image)
                work.ratios.setdefault(name, []).append(reference.area / (height * width))
