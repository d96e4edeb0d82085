"""Comparing maps with gaze: one pass over the maps of the images that someone looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from tqdm import tqdm

from saltrust.analysis.options import GazeComparison
from saltrust.analysis.pixels.gaze_agreement import (
    Agreement,
    agreement,
    auc_shuffled,
    is_informative,
)
from saltrust.analysis.stored.arrays import group_of, labels_of
from saltrust.analysis.stored.contents import source
from saltrust.analysis.stored.gaze import RecordedGaze, recorded_gaze
from saltrust.analysis.stored.images import images_of
from saltrust.analysis.stored.maps import MapSeries, stored_maps
from saltrust.analysis.stored.readings import as_read, readings_of
from saltrust.analysis.stored.tally import Tally
from saltrust.analysis.stored.whole_study import fitted_study
from saltrust.cache.schema import Status
from saltrust.choices import MapChoice, MapReading, MapSource
from saltrust.errors import DataError

FloatArray = npt.NDArray[np.float64]

#: Measures in the order of the tables; the shuffled AUC stands beside AUC-Judd.
MEASURES = ("correlation", "ssim", "similarity", "kl", "auc_judd", "auc_shuffled", "nss")
#: Measures that can also be taken against the gaze on another image.
SWAPPED = Agreement._fields
#: What stands in the column ``explainer`` for maps that are no explanation of a classifier.
LOCALIZER, CENTER, AVERAGE = "localizer", "centre-prior", "average-gaze"
#: What stands in the column ``source`` for maps that know nothing of the image.
BASELINE = "baseline"
#: Standard deviation of the center prior, as a fraction of height and of width.
CENTER_SIGMA = 0.25

_MAP_COLUMNS = ("image", "patient", "finding", "reader", "source", "explainer", "model")
SCORE_COLUMNS = (*_MAP_COLUMNS, *MEASURES, *(f"{name}_other" for name in SWAPPED), "failed")


@dataclass(frozen=True)
class Scored:
    """Scores of a pass over the maps, and what was met on the way."""

    table: pd.DataFrame
    gaze: RecordedGaze
    readings: dict[str, MapReading]
    counts: dict[str, int]
    exclusions: dict[str, int]


@dataclass(frozen=True)
class _Entry:
    """Maps of one explainer and model, or of one localizer, and their names in the tables."""

    series: MapSeries
    source: str
    explainer: str
    model: str
    reading: MapReading


@dataclass(frozen=True)
class _Target:
    """The gaze that maps of one image are compared with.

    Attributes
    ----------
    heatmaps : ndarray of float64, shape (k, y, x)
        On the image itself first, then on images of other patients.
    fixated : ndarray of bool, shape (k, y, x)
    elsewhere : ndarray of int64, shape (y, x)
        On how many images of other patients each pixel was fixated.
    """

    heatmaps: FloatArray
    fixated: npt.NDArray[np.bool_]
    elsewhere: npt.NDArray[np.int64]

    def measure(self, values: FloatArray) -> dict[str, float]:
        """Every measure of one map, also against the gaze on other images."""
        measured = agreement(values, self.heatmaps, self.fixated)._asdict()
        on_image = {name: float(numbers[0]) for name, numbers in measured.items()}
        on_others = {f"{name}_other": float(numbers[1:].mean()) if len(numbers) > 1 else np.nan
                     for name, numbers in measured.items()}
        return {**on_image, "auc_shuffled": auc_shuffled(values, self.fixated[0], self.elsewhere),
                **on_others}


def gaze_scores(cubes: xr.DataTree, comparison: GazeComparison, *,
                fitted_on: xr.DataTree | str | Path | None = None, seed: int = 0,
                progress: bool = False) -> Scored:
    """Score every map of the images with gaze, on the grid.

    Parameters
    ----------
    cubes : xarray.DataTree
        With ``/reference/gaze``, and ``/saliency`` or ``/localizer``.
    comparison : GazeComparison
    fitted_on : xarray.DataTree or path, optional
        Study with the images of training and validation that the average gaze is of
        (:func:`saltrust.analysis.stored.whole_study.fitted_study`).
    seed : int
        Of the draw of other images, which also depends on where the image is in the study that
        the cubes are a selection of: what is drawn for an image of the whole study is drawn for
        it in each part with the same images to draw from.
    progress : bool
        Whether a bar is shown on stderr.

    Returns
    -------
    Scored
        Table with the columns :data:`SCORE_COLUMNS`; ``<measure>_other`` is the mean over the other
        images, NaN where there is no other patient.  It and the shuffled AUC are NaN for an
        average gaze of the analysed images themselves.

    Raises
    ------
    DataError
        If there is no gaze, no map, or no map left.
    """
    study = fitted_study(cubes, fitted_on)
    gaze = recorded_gaze(cubes, study, threshold=comparison.threshold)
    entries = _entries(cubes, comparison.source, comparison.reading)
    findings = _compared_findings(cubes, comparison)
    streams = _streams(cubes, study)
    tally = Tally()
    rows: list[dict[str, Any]] = []
    for image in tqdm(gaze.patients, desc="gaze", unit="image", disable=None if progress else True):
        tally.counts["images with gaze"] += 1
        present = {finding: its_maps for finding in findings[image]
                   if (its_maps := _with_map(entries, image, finding))}
        if not present:
            tally.exclusions["images with gaze but without a map to compare"] += 1
            continue
        others = _others(gaze, image, [seed, streams[image]], comparison.others)
        if not others:
            tally.exclusions["images without another patient's gaze beside"] += 1
        target = _Target(*gaze.read([image, *others]), gaze.elsewhere(gaze.patients[image]))
        rows += _rows_of(image, present, target, gaze, tally)
    if not any(row["source"] != BASELINE for row in rows):
        raise DataError(f"no selected image of {source(cubes)} has both gaze and a map"
                        + (" of a finding that it shows" if comparison.images == "positive" else "")
                        + "; select others, or generate maps of them")
    table = pd.DataFrame(rows, columns=list(SCORE_COLUMNS))
    if comparison.failures == "drop":
        table = _without_failures(table, tally)
    return Scored(table, gaze, {entry.explainer: entry.reading for entry in entries},
                  dict(tally.counts), dict(tally.exclusions))


def _compared_findings(cubes: xr.DataTree, comparison: GazeComparison) -> dict[str, list[str]]:
    """Findings whose maps are compared, for every image."""
    images = images_of(cubes)
    if comparison.images == "all":
        return dict.fromkeys(images.names, images.findings)
    if images.labels is None:
        raise DataError(f"{source(cubes)} holds no labels (/reference/label is absent), so it is "
                        "not known which findings an image shows; take all images")
    shown = {finding: images.positive(finding) for finding in images.findings}
    return {name: [finding for finding in images.findings if shown[finding][k]]
            for k, name in enumerate(images.names)}


def _streams(cubes: xr.DataTree, study: xr.DataTree) -> dict[str, int]:
    """A number for every image that a selection of the study does not change."""
    names, known = (labels_of(tree.to_dataset(), "image") for tree in (cubes, study))
    positions = {name: k for k, name in enumerate(known)}
    return {name: positions.get(name, len(known) + k) for k, name in enumerate(names)}


def _others(gaze: RecordedGaze, image: str, seed: list[int], count: int) -> list[str]:
    """Images of other patients, drawn at random."""
    pool = [name for name, patient in gaze.patients.items() if patient != gaze.patients[image]]
    drawn = np.random.default_rng(seed).permutation(len(pool))[:count]
    return [pool[k] for k in drawn]


def _entries(cubes: xr.DataTree, group: MapSource, choice: MapChoice) -> list[_Entry]:
    saliency, localizer = (stored_maps(cubes, name) if group in {"all", name} else None
                           for name in ("saliency", "localizer"))
    if saliency is None and localizer is None:
        what = "heatmaps" if group == "all" else f"maps in /{group}"
        raise DataError(f"{source(cubes)} has no {what} to compare with gaze; run `saltrust "
                        "generate`")
    entries = []
    if saliency is not None:
        readings = readings_of(group_of(cubes, "saliency"), choice)
        entries += [_Entry(saliency.series(explainer=explainer, model=model), "saliency", explainer,
                           model, readings[explainer])
                    for explainer in saliency.labels["explainer"]
                    for model in saliency.labels["model"]]
    if localizer is not None:
        # They declare nothing, and have no sign.
        entries += [_Entry(localizer.series(model=model), "localizer", LOCALIZER, model,
                           "raw" if choice == "auto" else choice)
                    for model in localizer.labels["model"]]
    return entries


def _with_map(entries: Sequence[_Entry], image: str, finding: str) -> list[_Entry]:
    return [entry for entry in entries if entry.series.status(image, finding) != Status.MISSING]


def _rows_of(image: str, present: Mapping[str, Sequence[_Entry]], target: _Target,
             gaze: RecordedGaze, tally: Tally) -> Iterator[dict[str, Any]]:
    """Rows of one image: its maps, and maps that know nothing of it."""
    baselines = {CENTER: target.measure(_center_prior(gaze.grid))}
    average = gaze.average(gaze.patients[image])
    if average is not None:
        baselines[AVERAGE] = target.measure(average)
        if not gaze.average_is_independent:
            # The gaze on other images is what it was made of, that on this image is not.
            baselines[AVERAGE] |= dict.fromkeys(
                ["auc_shuffled", *(f"{name}_other" for name in SWAPPED)], np.nan)
    for finding, entries in present.items():
        names = {"image": image, "patient": gaze.patients[image], "finding": finding,
                 "reader": gaze.reader}
        for name, measured in baselines.items():
            yield {**names, "source": BASELINE, "explainer": name, "model": "", **measured,
                   "failed": False}
        for entry in entries:
            values = _values(entry, image, finding, gaze.grid)
            failed = not is_informative(values)
            tally.counts["maps"] += 1
            if failed:
                nonfinite = entry.series.status(image, finding) == Status.NONFINITE
                tally.counts["nonfinite" if nonfinite else "flat"] += 1
            yield {**names, "source": entry.source, "explainer": entry.explainer,
                   "model": entry.model, **target.measure(values), "failed": failed}


def _values(entry: _Entry, image: str, finding: str, grid: tuple[int, int]) -> FloatArray:
    """What of a map is compared; zeros where it is not usable."""
    if entry.series.status(image, finding) != Status.OK:
        return np.zeros(grid)
    return as_read(entry.series.read([image], finding)[0].astype(np.float64), entry.reading)


def _center_prior(grid: tuple[int, int]) -> FloatArray:
    """A Gaussian at the center, as wide and high as the image is."""
    rows, columns = (np.exp(-0.5 * (((np.arange(cells) + 0.5) / cells - 0.5) / CENTER_SIGMA) ** 2)
                     for cells in grid)
    return np.outer(rows, columns)


def _without_failures(table: pd.DataFrame, tally: Tally) -> pd.DataFrame:
    failed = table.groupby(["finding", "image"], sort=False)["failed"].transform("any")
    tally.exclusions["an explainer's map is flat or not finite"] += int(
        table.loc[failed, ["finding", "image"]].drop_duplicates().shape[0])
    if failed.all():
        raise DataError("every image with gaze has a map that is flat or not finite, so none is "
                        "left; score failures instead of dropping their images")
    return table[~failed].reset_index(drop=True)
