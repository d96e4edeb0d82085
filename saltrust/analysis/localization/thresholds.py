"""Tuning where maps are cut and below which probability they stay empty, finding by finding.

Both searches read the histograms of one pass over the pixels, so that a grid of any length
costs next to nothing (protocol S, Methods; the code released with CheXlocalize).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from saltrust.analysis.options import Execution, Scoring
from saltrust.analysis.pixels.overlap import IOU_SLICES, check_slice, iou_array
from saltrust.analysis.result import Result
from saltrust.analysis.result.spreadsheets import to_csv
from saltrust.analysis.scores.drawings import Drawings
from saltrust.analysis.scores.scan import ScanOptions, scan_maps
from saltrust.analysis.scores.scored_maps import of_maps, reference_areas, with_probabilities
from saltrust.analysis.scores.scores_table import above
from saltrust.analysis.scores.segmentation_rules import COLUMNS
from saltrust.analysis.select import as_cubes
from saltrust.analysis.stored.annotations import read_annotations
from saltrust.analysis.stored.arrays import dataset_of
from saltrust.analysis.stored.contents import split_of
from saltrust.analysis.stored.examinations import at_level
from saltrust.analysis.stored.readings import described, readings_of
from saltrust.cache.identity import of_one_store
from saltrust.cache.scores import score_store
from saltrust.choices import IouSlice, MapReading
from saltrust.errors import DataError, UsageError
from saltrust.files import Advice, write_text

FloatArray = npt.NDArray[np.float64]

#: What the released code searches.
GRID = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
CUTOFFS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
#: Digits to which the released code rounds the mean IoU of a cut-off before it compares.
_PEER_DIGITS = 3


@of_one_store
def tune_thresholds(cubes: xr.DataTree | str | Path, *, thresholds: Sequence[float] = GRID,
                    cutoffs: Sequence[float] = CUTOFFS,
                    threshold_slice: IouSlice = "both_nonempty", cutoff_slice: IouSlice = "all",
                    scoring: Scoring = Scoring(), execution: Execution = Execution()) -> Result:
    """Find the threshold and the probability cut-off with the largest mean IoU.

    Parameters
    ----------
    cubes : xarray.DataTree or path
        The tree that :func:`saltrust.open_cubes` gives, or the part of it to tune on, such as
        ``select(cubes, split="val")``.
    thresholds : sequence of float
        Thresholds to try, shares of the range of a map in [0, 1).
    cutoffs : sequence of float
        To try: Otsu's segmentation of a map stays empty unless its probability exceeds one.
    threshold_slice, cutoff_slice : {"both_nonempty", "all", "positive"}
        Over which pairs the mean of either search is taken; by default as in the released
        code.  A cut-off makes sense only where false positives count, that is under ``all``.
    scoring : Scoring
        Its resolution, definition, level, and what of the maps it reads.  Under ``"peer"`` the
        mean IoU of a cut-off is rounded to three decimals before it is compared, as released.
    execution : Execution
        Workers, progress, and whether scores are kept in the store.

    Returns
    -------
    Result
        ``thresholds``: a row per finding, explainer and model with ``map_reading``, what of the
        maps was read, ``threshold``, its ``miou`` and ``n``, ``cutoff``, its ``miou_cutoff``
        and ``n_cutoff``, and a ``note`` where one could not be tuned.  ``threshold_curve`` and
        ``cutoff_curve``: the mean IoU at every value tried.  Of equal means the first value wins.

    Raises
    ------
    DataError
        If there are no reference masks or no maps.
    UsageError
        If an option or a name is not known, or a value is out of range.
    """
    for iou_slice in (threshold_slice, cutoff_slice):
        check_slice(iou_slice)
    thresholds, cutoffs = _numbers(thresholds, "thresholds"), _numbers(cutoffs, "cutoffs")
    if scoring.slice or scoring.threshold is not None or scoring.cutoff is not None:
        raise UsageError("a search has slices of its own and finds the threshold and the cut-off; "
                         "leave them out of the scoring")
    tree = at_level(as_cubes(cubes), scoring.level)
    annotations = read_annotations(tree, resolution=scoring.resolution)
    references = annotations.readers_with("reference")
    if not references:
        raise DataError("the cubes hold no reference masks of the selected images and findings, so "
                        "no threshold can be tuned; select others")
    options = ScanOptions(annotations.resolution, scoring.definition,
                          tuple(map(float, thresholds)))
    drawings = Drawings(annotations, score_store(tree, keep=execution.keep))
    saliency, scan, readings = dataset_of(tree, "saliency"), None, dict[str, MapReading]()
    if saliency is not None and {"heatmap", "status"} <= set(saliency.data_vars):
        readings = readings_of(saliency, scoring.read())
        scan = scan_maps(saliency, annotations, options, execution, drawings.store, readings)
    if scan is None:
        raise DataError("the cubes hold no heatmaps of the selected images and findings, so no "
                        "threshold can be tuned; run `saltrust generate` first")
    scan = with_probabilities(scan.sel(reader=[annotations.readers[r] for r in references]),
                              dataset_of(tree, "prediction"))
    areas = of_maps(reference_areas(drawings, references), scan, annotations)
    at_thresholds = _at_thresholds(scan, areas, thresholds, threshold_slice)
    at_cutoffs = _at_cutoffs(scan, areas, cutoffs, cutoff_slice)
    digits = _PEER_DIGITS if scoring.definition == "peer" else None
    rows: list[dict[str, object]] = []
    curves: tuple[list[dict[str, object]], list[dict[str, object]]] = ([], [])
    for name, of_group in _groups(scan, annotations.findings):
        cut = _best(at_thresholds[:, of_group], thresholds, None)
        limit = _best(at_cutoffs[:, of_group], cutoffs, digits)
        notes = [f"no {what}: {search.note}" for what, search in
                 (("threshold", cut), ("cut-off", limit)) if search.note]
        rows.append({**name, "map_reading": readings[name["explainer"]],
                     "threshold": cut.value, "miou": cut.reached, "n": cut.n,
                     "cutoff": limit.value, "miou_cutoff": limit.reached, "n_cutoff": limit.n,
                     "note": "; ".join(notes)})
        for curve, values, search, column in ((curves[0], thresholds, cut, "threshold"),
                                              (curves[1], cutoffs, limit, "cutoff")):
            curve += [{**name, column: value, "miou": float(mean), "n": int(n)}
                      for value, mean, n in zip(values, search.means, search.counts,
                                                strict=True)]
    meta = {
        "resolution": annotations.resolution, "definition": scoring.definition,
        **described(scoring.read(), readings, scan["explainer"].values.tolist()),
        "level": scoring.level, "split": split_of(tree),
        "threshold_search": {"grid": list(thresholds), "slice": threshold_slice,
                             "slice_meaning": IOU_SLICES[threshold_slice]},
        "cutoff_search": {"grid": list(cutoffs), "slice": cutoff_slice,
                          "slice_meaning": IOU_SLICES[cutoff_slice],
                          "segmentation": "Otsu; empty unless the probability exceeds the "
                                          "cut-off", "rounded_to_digits": digits},
        "reference_readers": [annotations.readers[r] for r in references],
        "counts": {"maps": scan.sizes["map"],
                   "without_probability": int(np.isnan(scan["probability"].values).sum())},
    }
    return Result(meta, {"thresholds": pd.DataFrame(rows),
                         "threshold_curve": pd.DataFrame(curves[0]),
                         "cutoff_curve": pd.DataFrame(curves[1])}, "thresholds")


def _numbers(values: Sequence[float], name: str) -> list[float]:
    """The values to search, as numbers."""
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError):
        raise UsageError(f"{name} = {values!r} must be a list of numbers such as [0.3, 0.5]"
                         ) from None
    if not numbers:
        raise UsageError("a search needs at least one threshold and one cut-off")
    return numbers


def save_thresholds(result: Result, path: Path) -> None:
    """Write what :func:`tune_thresholds` gives as CSV, to be read by `segmentation_rules`.

    Raises
    ------
    UsageError
        If the file cannot be written.
    DataError
        If the disk is full.
    """
    table = result.tables["thresholds"][list(COLUMNS)]
    write_text(path, to_csv(table),
               Advice("repeat the command", "choose another place", UsageError))


def _at_thresholds(scan: xr.Dataset, areas: FloatArray, thresholds: Sequence[float],
                   iou_slice: IouSlice) -> FloatArray:
    """IoU of every map at every threshold, shape (thresholds, maps, readers)."""
    ious = []
    for threshold in thresholds:
        area, shared = above(scan, threshold)
        ious.append(iou_array(shared, area[:, None], areas, iou_slice))
    return np.stack(ious)


def _at_cutoffs(scan: xr.Dataset, areas: FloatArray, cutoffs: Sequence[float],
                iou_slice: IouSlice) -> FloatArray:
    """IoU of Otsu's segmentation at every cut-off, shape (cut-offs, maps, readers).

    NaN for maps without a stored probability, which no cut-off can be tuned on.
    """
    area, shared = (scan[name].values.astype(np.int64) for name in ("area", "shared"))
    probability = scan["probability"].values
    ious = []
    for cutoff in cutoffs:
        if not 0 <= cutoff <= 1:
            raise UsageError(f"cut-off {cutoff:g} must be between 0 and 1")
        empty = probability.astype(np.float32) <= np.float32(cutoff)
        ious.append(iou_array(np.where(empty[:, None], 0, shared),
                              np.where(empty, 0, area)[:, None], areas, iou_slice))
    table = np.stack(ious)
    table[:, np.isnan(probability)] = np.nan
    return table


@dataclass(frozen=True)
class _Search:
    value: float
    reached: float
    n: int
    means: FloatArray
    counts: npt.NDArray[np.int64]
    note: str


def _best(ious: FloatArray, values: Sequence[float], digits: int | None) -> _Search:
    """The first value with the largest mean over what is in the slice."""
    flat = ious.reshape(len(values), -1)
    known = ~np.isnan(flat)
    counts = known.sum(axis=1)
    means = np.divide(np.where(known, flat, 0.0).sum(axis=1), counts,
                      out=np.full(len(values), np.nan), where=counts > 0)
    if not counts.any():
        return _Search(float("nan"), float("nan"), 0, means, counts, "no map in the slice")
    compared = means if digits is None else np.round(means, digits)
    best = int(np.nanargmax(compared))
    return _Search(float(values[best]), float(means[best]), int(counts[best]), means, counts, "")


def _groups(scan: xr.Dataset, findings: Sequence[str]
            ) -> Iterator[tuple[dict[str, str], npt.NDArray[np.intp]]]:
    """Names and rows of the maps of each finding, explainer and model, in the order of cubes."""
    labels = {"finding": findings, "explainer": scan.attrs["explainers"],
              "model": scan.attrs["models"]}
    keys = np.column_stack([pd.Index(labels[dim]).get_indexer(pd.Index(scan[dim].values))
                            for dim in ("explainer", "model", "finding")])
    for key in np.unique(keys, axis=0).tolist():
        rows = np.flatnonzero((keys == key).all(axis=1))
        yield {dim: str(scan[dim].values[rows[0]]) for dim in labels}, rows
