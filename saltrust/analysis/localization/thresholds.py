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

from saltrust.analysis.pixels.overlap import IOU_SLICES, check_slice, iou_array
from saltrust.analysis.pixels.shape import check_definition
from saltrust.analysis.result import Result
from saltrust.analysis.scores.counted_maps import CountedMaps, Scan, counted_maps, known_areas
from saltrust.analysis.scores.segmentation_rules import COLUMNS
from saltrust.analysis.stored.annotations import read_annotations
from saltrust.choices import Definition, IouSlice, Resolution
from saltrust.errors import DataError, UsageError

FloatArray = npt.NDArray[np.float64]

#: What the released code searches.
GRID = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
CUTOFFS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
#: Digits to which the released code rounds the mean IoU of a cut-off before it compares.
_PEER_DIGITS = 3


def tune(cubes: xr.DataTree, *, grid: Sequence[float] = GRID, cutoffs: Sequence[float] = CUTOFFS,
         threshold_slice: IouSlice = "both_nonempty", cutoff_slice: IouSlice = "all",
         resolution: Resolution | None = None, definition: Definition = "default",
         split: str | None = None, findings: Sequence[str] | None = None,
         explainers: Sequence[str] | None = None, models: Sequence[str] | None = None,
         keep: bool = False, workers: int = 1, scheduler: str | None = None,
         progress: bool = False) -> Result:
    """Find the threshold and the probability cut-off with the largest mean IoU.

    Parameters
    ----------
    cubes : xarray.DataTree
        As :func:`saltrust.open_cubes` gives.
    grid : sequence of float
        Thresholds to try, shares of the range of a map in [0, 1).
    cutoffs : sequence of float
        Probability cut-offs to try: Otsu's segmentation of each map stays empty unless its
        probability exceeds them.
    threshold_slice, cutoff_slice : {"both_nonempty", "all", "positive"}
        Over which pairs the mean of either search is taken; by default as in the released
        code.  A cut-off makes sense only where false positives count, that is under ``all``.
    resolution, definition, split, findings, explainers, models, keep, workers, scheduler, \
progress
        As :func:`saltrust.analysis.localization.analysis.score_maps`.  Under ``"peer"`` the mean
        IoU of
        a cut-off is rounded to three decimals before it is compared, as released.

    Returns
    -------
    Result
        ``thresholds``: a row per finding, explainer and model with ``threshold``, its ``miou``
        and ``n``, ``cutoff``, its ``miou_cutoff`` and ``n_cutoff``, and a ``note`` where one
        could not be tuned.  ``threshold_curve`` and ``cutoff_curve``: the mean IoU at every
        value tried.  Of equal means the first value wins.

    Raises
    ------
    DataError
        If there are no reference masks or no maps.
    UsageError
        If an option or a name is not known, or a value is out of range.
    """
    check_definition(definition)
    check_slice(threshold_slice)
    check_slice(cutoff_slice)
    if not grid or not cutoffs:
        raise UsageError("a search needs at least one threshold and one cut-off")
    annotations = read_annotations(cubes, resolution=resolution, split=split, findings=findings)
    references = annotations.readers_with("reference")
    if not references:
        raise DataError("the cubes hold no reference masks of the selected images and findings, so "
                        "no threshold can be tuned; select others")
    areas = known_areas(annotations, references)
    maps = counted_maps(cubes, annotations, references, areas, definition=definition,
                        thresholds=grid, explainers=explainers, models=models,
                        scan=Scan(keep, workers, scheduler, progress))
    if maps is None:
        raise DataError("the cubes hold no heatmaps of the selected images and findings, so no "
                        "threshold can be tuned; run `saltrust generate` first")
    ious, emptied = _at_thresholds(maps, grid, threshold_slice), _at_cutoffs(
        maps, cutoffs, cutoff_slice)
    digits = _PEER_DIGITS if definition == "peer" else None
    rows: list[dict[str, object]] = []
    curves: tuple[list[dict[str, object]], list[dict[str, object]]] = ([], [])
    for name, own in _groups(maps, annotations.findings):
        cut, limit = _best(ious[:, own], grid, None), _best(emptied[:, own], cutoffs, digits)
        notes = [f"no {what}: {search.note}" for what, search in
                 (("threshold", cut), ("cut-off", limit)) if search.note]
        rows.append({**name, "threshold": cut.value, "miou": cut.reached, "n": cut.n,
                     "cutoff": limit.value, "miou_cutoff": limit.reached, "n_cutoff": limit.n,
                     "note": "; ".join(notes)})
        for curve, values, search, column in ((curves[0], grid, cut, "threshold"),
                                              (curves[1], cutoffs, limit, "cutoff")):
            curve += [{**name, column: value, "miou": float(mean), "n": int(n)}
                      for value, mean, n in zip(values, search.means, search.counts,
                                                strict=True)]
    meta = {
        "resolution": annotations.resolution, "definition": definition, "split": split,
        "threshold_search": {"grid": list(grid), "slice": threshold_slice,
                             "slice_meaning": IOU_SLICES[threshold_slice]},
        "cutoff_search": {"grid": list(cutoffs), "slice": cutoff_slice,
                          "slice_meaning": IOU_SLICES[cutoff_slice],
                          "segmentation": "Otsu; empty unless the probability exceeds the "
                                          "cut-off", "rounded_to_digits": digits},
        "reference_readers": [annotations.readers[r] for r in references],
        "counts": {"maps": len(maps.image),
                   "without_probability": int(np.isnan(maps.probability).sum())},
    }
    return Result(meta, {"thresholds": pd.DataFrame(rows),
                         "threshold_curve": pd.DataFrame(curves[0]),
                         "cutoff_curve": pd.DataFrame(curves[1])})


def save_thresholds(result: Result, path: Path) -> None:
    """Write what :func:`tune` found as CSV, to be read by `segmentation_rules`.

    Raises
    ------
    UsageError
        If the file cannot be written.
    """
    aside = path.with_name(f".{path.name}.partial")
    try:
        result.tables["thresholds"][list(COLUMNS)].to_csv(aside, index=False, lineterminator="\n")
        aside.replace(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror or error}); choose another "
                         "place") from None
    finally:
        aside.unlink(missing_ok=True)


def _at_thresholds(maps: CountedMaps, grid: Sequence[float], iou_slice: IouSlice) -> FloatArray:
    """IoU of every map at every threshold, shape (thresholds, maps, readers)."""
    found = []
    for threshold in grid:
        area, shared = maps.above(threshold)
        found.append(iou_array(shared, area[:, None], maps.area_reference, iou_slice))
    return np.stack(found)


def _at_cutoffs(maps: CountedMaps, cutoffs: Sequence[float], iou_slice: IouSlice) -> FloatArray:
    """IoU of Otsu's segmentation at every cut-off, shape (cut-offs, maps, readers).

    NaN for maps without a stored probability, which no cut-off can be tuned on.
    """
    area, shared = maps.otsu()
    found = []
    for cutoff in cutoffs:
        if not 0 <= cutoff <= 1:
            raise UsageError(f"cut-off {cutoff:g} must be between 0 and 1")
        empty = maps.probability.astype(np.float32) <= np.float32(cutoff)
        found.append(iou_array(np.where(empty[:, None], 0, shared),
                               np.where(empty, 0, area)[:, None], maps.area_reference, iou_slice))
    table = np.stack(found)
    table[:, np.isnan(maps.probability)] = np.nan
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


def _groups(maps: CountedMaps, findings: Sequence[str]
            ) -> Iterator[tuple[dict[str, str], npt.NDArray[np.intp]]]:
    """Names and rows of the maps of each finding, explainer and model, in the order of cubes."""
    keys = np.column_stack([maps.order, maps.finding])
    for key in np.unique(keys, axis=0).tolist():
        own = np.flatnonzero((keys == key).all(axis=1))
        yield ({"finding": findings[key[2]], "explainer": str(maps.explainer[own[0]]),
                "model": str(maps.model[own[0]])}, own)
