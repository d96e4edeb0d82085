"""Localization: every heatmap and every benchmark reader against the reference masks.

Per map: bring it to the size of the masks, segment it, take the IoU with the reference mask,
and see whether its peak lies inside (protocol S; Saporta et al., 2022).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from saltrust.analysis.inference.bootstrap import METHODS
from saltrust.analysis.localization.contrasts import (
    equivalences,
    map_differences,
    paired_differences,
)
from saltrust.analysis.localization.hit_baselines import NO_MODEL, baseline_hits
from saltrust.analysis.localization.reader_agreement import (
    agreement,
    pairwise_scores,
    share_of_agreement,
)
from saltrust.analysis.localization.summary import (
    decrease,
    on_shared_positives,
    summarise,
    summarise_expert,
)
from saltrust.analysis.pixels.overlap import IOU_SLICES, check_slice
from saltrust.analysis.pixels.shape import check_definition
from saltrust.analysis.result import Result
from saltrust.analysis.scores.counted_maps import CountedMaps, Scan, counted_maps, known_areas
from saltrust.analysis.scores.scores_table import (
    SCORE_COLUMNS,
    Segmentations,
    expert_rows,
    map_rows,
    ordered,
    outcomes,
    overlap_rows,
    segmentations,
)
from saltrust.analysis.scores.segmentation_rules import Choice, cutoff_choice, threshold_choice
from saltrust.analysis.scores.selection import (
    EXPERT,
    SCHEMES,
    Scheme,
    benchmark_rows,
    who_stands_for_expert,
)
from saltrust.analysis.stored.annotations import Annotations, read_annotations
from saltrust.analysis.stored.contents import require_reader
from saltrust.cache.schema import Label, Status
from saltrust.choices import BootstrapKind, Definition, IouSlice, Resolution
from saltrust.errors import DataError, UsageError, nearest

__all__ = ["SCORE_COLUMNS", "localization", "score_maps", "summarise"]

_log = logging.getLogger(__name__)

BOOTSTRAPS: dict[BootstrapKind, str] = {"percentile": "percentile",
                                 "bca": "bias-corrected and accelerated"}
_MEANINGS = {
    "default": "bilinear upsampling; segmentation on the min-max stretched map (Otsu in 256 "
               "levels); peak: first maximum in row order, of the map as stored; expert hit: "
               "first point",
    "peer": "as default, but upsampling rounded as torch does, contours filled and single pixels "
            "dropped after Otsu, expert hit: any point, no point is a miss",
}

Cut = float | str | Path | None


def score_maps(cubes: xr.DataTree, *, resolution: Resolution | None = None,
               definition: Definition = "default", iou_slice: IouSlice | None = None,
               split: str | None = None, findings: Sequence[str] | None = None,
               explainers: Sequence[str] | None = None, models: Sequence[str] | None = None,
               threshold: Cut = None, cutoff: Cut = None, keep: bool = False, workers: int = 1,
               scheduler: str | None = None, progress: bool = False) -> pd.DataFrame:
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
        Which image-finding pairs have an IoU (:func:`saltrust.analysis.pixels.overlap.
        intersection_over_union`); by default positive, and both_nonempty under ``"peer"``.
    split : {"train", "val", "test", "none"}, optional
        Only images of this split.
    findings, explainers, models : sequence of str, optional
        Only these; benchmark readers are always scored.
    threshold : "otsu", float or path, optional
        Pixels strictly above it are the segmentation: Otsu's threshold of each map (the
        default), a share of its range in [0, 1), or a file (:mod:`saltrust.analysis.
        segmentation_rules`) with one per finding.
    cutoff : float or path, optional
        The segmentation is empty unless the predicted probability exceeds this.  Hits are not
        touched by it.
    keep : bool
        Whether to read and keep what the pass over the pixels finds in ``/scores`` of the store;
        only for cubes as they were opened.
    workers : int
        Processes for the pass.
    scheduler : str, optional
        Address of a Dask scheduler in their place.
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
                  threshold=threshold, cutoff=cutoff,
                  scan=Scan(keep, workers, scheduler, progress)).table


def localization(cubes: xr.DataTree, *, resolution: Resolution | None = None,
                 definition: Definition = "default", iou_slice: IouSlice | None = None,
                 split: str | None = None, findings: Sequence[str] | None = None,
                 explainers: Sequence[str] | None = None, models: Sequence[str] | None = None,
                 threshold: Cut = None, cutoff: Cut = None, resamples: int = 1000,
                 confidence_level: float = 0.95, seed: int = 0,
                 bootstrap: BootstrapKind = "percentile",
                 benchmark: str | None = None, margin: float | None = None, keep: bool = False,
                 workers: int = 1, scheduler: str | None = None, progress: bool = False
                 ) -> Result:
    """Mean IoU and hit rate per finding, and how far they fall short of the expert's.

    Parameters
    ----------
    cubes, resolution, definition, iou_slice, split, findings, explainers, models, threshold, \
cutoff, keep, workers, scheduler, progress
        As :func:`score_maps`.
    resamples : int
        Bootstrap resamples of patients.
    confidence : float
        Level of the percentile intervals.
    seed : int
    bootstrap : {"percentile", "bca"}
        Of the intervals of the summary; functions of several means keep percentiles.
    benchmark : str, optional
        The one benchmark reader that stands for the expert where a map is compared with the
        expert; by default the mean over all of them.
    margin : float, optional
        Means closer than this are to be shown equivalent: adds the table ``equivalence``.

    Returns
    -------
    Result
        ``summary``, ``expert`` (mean over those who stand for the expert) and ``decrease``
        (:mod:`saltrust.analysis.localization.summary`), ``decrease_change``, ``scores``
        (:func:`score_maps`), and ``overlap``: Dice, precision, recall, specificity, average
        precision and area under the ROC curve of every map on a positive
        (:func:`saltrust.analysis.scores.scores_table.overlap_rows`).  Context:
        ``decrease_shared`` (on positives that everyone drew), ``differences`` between maps
        (:mod:`saltrust.analysis.localization.contrasts`) and their ``equivalence`` where a
        margin is given, ``hit_baselines`` and
        ``hit_above_baseline`` (:mod:`saltrust.analysis.localization.hit_baselines`), ``agreement``
        of readers
        and ``agreement_share`` (:mod:`saltrust.analysis.localization.reader_agreement`).

    Raises
    ------
    DataError, UsageError
        As :func:`score_maps`.

    References
    ----------
    A. Saporta et al. (2022), Nat. Mach. Intell. 4, 867-878, Table 1 and Fig. 2.
    """
    if bootstrap not in METHODS:
        raise UsageError(f"bootstrap {bootstrap!r} is not known; {nearest(bootstrap, METHODS)}")
    require_reader(cubes, benchmark, "benchmark")
    scored = _score(cubes, resolution=resolution, definition=definition, iou_slice=iou_slice,
                    split=split, findings=findings, explainers=explainers, models=models,
                    threshold=threshold, cutoff=cutoff,
                    scan=Scan(keep, workers, scheduler, progress))
    # The released code takes each mean over its own images, whichever the other has; and under
    # `all` a map's false positive is the reader's true negative, which pairs would leave out.
    own_images = definition == "peer" or scored.meta["slice"] == "all"
    paired: tuple[Scheme, ...] = (() if definition == "peer" else
                                  ("hit",) if own_images else SCHEMES)
    people = benchmark_rows(scored.table, benchmark)
    # Maps, and whoever stands for the expert.
    compared = scored.table[(scored.table["explainer"] != EXPERT)
                            | scored.table.index.isin(people.index)]
    drawing = {"resamples": resamples, "confidence_level": confidence_level, "seed": seed}
    summary = summarise(scored.table, chance=scored.chance, resamples=resamples,
                        confidence_level=confidence_level, seed=seed, method=bootstrap)
    falls, change = decrease(compared, paired=paired, resamples=resamples,
                             confidence_level=confidence_level, seed=seed)
    shared, _ = decrease(on_shared_positives(compared), resamples=resamples,
                         confidence_level=confidence_level, seed=seed)
    meta = {**scored.meta, **drawing, "expert": who_stands_for_expert(people),
            "expert_readers": list(dict.fromkeys(map(str, people["model"]))),
            "interval": f"{BOOTSTRAPS[bootstrap]} bootstrap by patient; Wilson where all are hits "
                        "or all misses",
            "decrease": "100 * (expert - saliency) / expert, on "
            + ("images that both have" if not own_images else
               "the images that each has" + ("; hits on images that both have" if paired else "")),
            "decrease_shared": "the same on images where the reference and every reader who "
                               "stands for the expert drew something",
            "differences": "paired by image, percentile bootstrap by patient; p from the "
                           "resamples, Holm over the contrasts of a metric and finding; effect "
                           "size: mean difference / its standard deviation over images",
            "hit_baselines": "the image centre; the peak of the mean reference mask of all other "
                             "patients; chance is the mean area ratio",
            "agreement": "every pair of readers, on positives that both annotated"}
    expert = summarise_expert(people, chance=scored.chance, resamples=resamples,
                              confidence_level=confidence_level, seed=seed, method=bootstrap)
    tables = {"summary": summary, "expert": expert, "decrease": falls, "decrease_change": change,
              "scores": scored.table, "overlap": scored.overlap, "decrease_shared": shared,
              "differences": map_differences(scored.table, resamples=resamples,
                                             confidence_level=confidence_level, seed=seed),
              **_hit_baselines(scored, resamples, confidence_level, seed),
              "agreement": agreement(scored.pairs, resamples=resamples,
                                     confidence_level=confidence_level,
                                     seed=seed),
              "agreement_share": share_of_agreement(scored.table, scored.pairs,
                                                    resamples=resamples,
                                                    confidence_level=confidence_level,
                                                    seed=seed)}
    if margin is not None:
        meta["equivalence_margin"] = margin
        tables["equivalence"] = equivalences(compared, margin, resamples=resamples,
                                             confidence_level=confidence_level, seed=seed)
    return Result(meta, tables)


def _hit_baselines(scored: _Scored, resamples: int, confidence_level: float, seed: int
                   ) -> dict[str, pd.DataFrame]:
    """Hit rates of the baselines, and how far every map is above them."""
    own = [name for name in scored.baselines.columns if name in scored.table.columns]
    together = pd.concat([part[own] for part in (scored.table, scored.baselines) if len(part)],
                         ignore_index=True)
    series = list(dict.fromkeys(zip(together["explainer"], together["model"], strict=True)))
    maps = [(str(e), str(m)) for e, m in series if e != EXPERT and m != NO_MODEL]
    baselines = [(str(e), str(m)) for e, m in series if m == NO_MODEL]
    rates = summarise(scored.baselines, chance=scored.chance, resamples=resamples,
                      confidence_level=confidence_level, seed=seed)
    rates = rates[rates["metric"] == "hit"].reset_index(drop=True)
    above = paired_differences(together, [(one, two) for one in maps for two in baselines],
                               metrics=("hit",), resamples=resamples,
                               confidence_level=confidence_level,
                               seed=seed)
    return {"hit_baselines": rates, "hit_above_baseline": above}


@dataclass
class _Scored:
    table: pd.DataFrame
    overlap: pd.DataFrame
    #: Hits of the image centre and of the average mask.
    baselines: pd.DataFrame
    #: Readers against each other.
    pairs: pd.DataFrame
    meta: dict[str, Any]
    #: Mean area ratio of the reference masks that are not empty, by finding.
    chance: dict[str, float]


def _score(cubes: xr.DataTree, *, resolution: Resolution | None, definition: Definition,
           iou_slice: IouSlice | None, split: str | None, findings: Sequence[str] | None,
           explainers: Sequence[str] | None, models: Sequence[str] | None, threshold: Cut,
           cutoff: Cut, scan: Scan) -> _Scored:
    check_definition(definition)
    iou_slice = iou_slice or ("both_nonempty" if definition == "peer" else "positive")
    check_slice(iou_slice)
    rule, limit = threshold_choice(threshold), cutoff_choice(cutoff)
    annotations = read_annotations(cubes, resolution=resolution, split=split, findings=findings,
                                   mapped=_images_with_maps(cubes))
    references = annotations.readers_with("reference")
    if not references:
        raise DataError("the cubes hold no reference masks of the selected images and findings: "
                        "no reader with the role reference annotated any; add reference masks or "
                        "select others")
    experts = annotations.readers_with("benchmark")
    areas = known_areas(annotations, references)
    maps = counted_maps(cubes, annotations, references, areas, definition=definition,
                        thresholds=rule.values(), explainers=explainers, models=models, scan=scan)
    if maps is None and not experts:
        raise DataError("the cubes hold no heatmaps of the selected images and findings, and no "
                        "benchmark masks to score in their place; run `saltrust generate` first")
    people = expert_rows(annotations, references, experts, areas, definition, iou_slice)
    parts, cut, overlap = [people.table], None, pd.DataFrame()
    if maps is None:
        _log.warning("the cubes hold no heatmaps of the selected images and findings; only the "
                     "benchmark readers are scored")
    else:
        cut = segmentations(maps, annotations.findings, rule, limit)
        parts.insert(0, map_rows(maps, annotations, cut, iou_slice))
        overlap = overlap_rows(maps, annotations, cut)
    # An empty part would decide the types of its columns.
    table = ordered(pd.concat([part for part in parts if len(part)] or parts[:1]), SCORE_COLUMNS)
    exclusions, chance = _references_met(annotations, areas)
    meta = {
        "resolution": annotations.resolution, "definition": definition,
        "meaning": _MEANINGS[definition], "slice": iou_slice,
        "slice_meaning": IOU_SLICES[iou_slice], "threshold": rule.said,
        "probability_cutoff": limit.said, "split": split,
        "reference_readers": [annotations.readers[r] for r in references],
        "benchmark_readers": [annotations.readers[r] for r in experts],
        "counts": {"images": int(table["image"].nunique()), "rows": len(table), **outcomes(maps),
                   **_pass_counts(maps, cut, limit),
                   **{name: people.counts[name]
                      for name in ("benchmark_masks", "benchmark_masks_without_point")}},
        "exclusions": dict(exclusions), "hit_chance": chance,
    }
    readers = [r for r in range(len(annotations.readers)) if annotations.annotated[..., r].any()]
    return _Scored(table, overlap, baseline_hits(annotations, references, areas),
                   pairwise_scores(annotations, readers, areas), meta, chance)


def _pass_counts(maps: CountedMaps | None, cut: Segmentations | None, limit: Choice
                 ) -> dict[str, int]:
    counts: dict[str, int] = {}
    if maps is not None:
        several = maps.usable & (maps.counts.found["n_peak"] > 1)
        counts["tied_peaks"] = int(several.sum())
    if cut is not None and limit.values():
        counts["below_cutoff"] = cut.below
        counts["without_probability"] = cut.unknown
    return counts


def _images_with_maps(cubes: xr.DataTree) -> npt.NDArray[np.bool_] | None:
    if "saliency" not in cubes.children or "status" not in cubes["saliency"].data_vars:
        return None
    status = cubes["saliency"].to_dataset()["status"].transpose("image", ...).values
    return (status != Status.MISSING).any(axis=tuple(range(1, status.ndim)))


def _references_met(annotations: Annotations, areas: npt.NDArray[np.float64]
                    ) -> tuple[Counter[str], dict[str, float]]:
    """Count what has no reference; mean area ratio of the masks of each finding."""
    positive = (annotations.labels == Label.POSITIVE)[..., None]
    unknown = np.isnan(areas)
    counts = {"positive label but not annotated": unknown & positive,
              "label not negative and not annotated": unknown & ~positive,
              "positive label but empty reference mask": positive & (areas == 0)}
    chance = {}
    for finding, name in enumerate(annotations.findings):
        own = areas[:, finding]
        drawn = np.argwhere(own > 0)
        if len(drawn):
            sizes = np.array([annotations.size(int(image)) for image in drawn[:, 0]])
            chance[name] = float(np.mean(own[own > 0] / sizes.prod(axis=1)))
    return Counter({reason: int(met.sum()) for reason, met in counts.items() if met.any()}), chance
