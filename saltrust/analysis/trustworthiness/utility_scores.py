"""Scoring heatmaps as classifiers of pixels: one pass over the maps of the positive images."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from tqdm import tqdm

from saltrust.analysis.pixels.precision_recall import CurveAreas, curve_areas
from saltrust.analysis.stored.annotations import Annotations, read_annotations
from saltrust.analysis.stored.average_mask import AVERAGE_MASK, AverageMask, average_mask
from saltrust.analysis.stored.maps import LOCALIZER
from saltrust.analysis.stored.tally import Tally
from saltrust.analysis.stored.whole_study import check_grid, fitted_study
from saltrust.analysis.trustworthiness.named_maps import NamedMaps, maps_to_score, usable_map
from saltrust.cache.schema import Label, Status
from saltrust.choices import Failures, MapChoice, MapReading, UtilityBaseline
from saltrust.errors import DataError

BoolArray = npt.NDArray[np.bool_]

SCORE_COLUMNS = ("image", "patient", "finding", "explainer", "model", "condition", "replicate",
                 "reader", *CurveAreas._fields, "lift", "failed")
#: Condition of the average mask, which is no map of a network.
BASELINE = "baseline"

_log = logging.getLogger(__name__)


@dataclass
class Scored:
    """Scores of a pass over the pixels, and what was met on the way.

    Attributes
    ----------
    table : pandas.DataFrame
    reader : str
    averaged : dict of str to int
        Number of images whose masks were averaged, by finding.
    readings : dict of str to {"raw", "absolute", "positive"}
        What of the maps was scored, by explainer.
    counts, exclusions : dict of str to int
    """

    table: pd.DataFrame
    reader: str
    averaged: dict[str, int]
    readings: dict[str, MapReading]
    counts: dict[str, int]
    exclusions: dict[str, int]


def utility_scores(cubes: xr.DataTree, *, map: MapChoice = "auto",
                   baseline: UtilityBaseline | None = None,
                   fitted_on: xr.DataTree | str | Path | None = None, failures: Failures = "score",
                   progress: bool = False) -> Scored:
    """Score every map of the positive images, on the grid.

    Parameters
    ----------
    cubes : xarray.DataTree
        With reference masks on the grid; saliency, localizer and randomization maps are scored
        where there are any.
    map : {"auto", "raw", "absolute", "positive"}
        What of the maps ranks the pixels.
    baseline : {"average-mask", "none"}, optional
        By default the average mask where training or validation positives are known.  It is not
        scored on the images it is made of, unless the finding has no others.
    fitted_on : xarray.DataTree or path, optional
        Study with the images of training and validation that the average mask is of
        (:func:`saltrust.analysis.stored.whole_study.fitted_study`).
    failures : {"score", "drop"}
        A flat or non-finite map holds no ranking: ``"score"`` gives it what no information
        gives, AUPRC and average precision equal to the prevalence and AUROC 0.5; ``"drop"``
        leaves its image out for all maps of the finding.
    progress : bool
        Whether a bar is shown on stderr.

    Returns
    -------
    Scored
        Table with the columns :data:`SCORE_COLUMNS`; ``condition`` is ``trained``, ``randomised``
        (last stage of ``/randomization``), ``baseline`` or ``localizer``.

    Raises
    ------
    DataError
        If there are no reference masks, no positive image, or nothing to score.
    """
    annotations = read_annotations(cubes, resolution="grid")
    reader, tally = _reference_reader(annotations), Tally()
    averages = _averages(cubes, annotations, reader, baseline, fitted_on)
    series = maps_to_score(cubes, map)
    if not averages and not series:
        raise DataError("there is nothing to score: the cubes hold no heatmaps, and no average "
                        "mask was asked for; run `saltrust generate` or say --baseline "
                        "average-mask")
    spared = _spared(annotations, reader, averages)
    rows: list[dict[str, Any]] = []
    for image in tqdm(range(len(annotations.images)), desc="utility", unit="image",
                      disable=None if progress else True):
        for finding, mask in _positive_masks(annotations, image, reader, tally):
            names = {"image": annotations.images[image],
                     # An image without a known patient stands for its own.
                     "patient": annotations.patients[image] or annotations.images[image],
                     "finding": finding, "reader": annotations.readers[reader]}
            if finding in averages and (names["image"], finding) in spared:
                tally.exclusions["average mask not tried on images it is made of"] += 1
            elif finding in averages:
                rows.append(_row(names, _of_average(averages[finding], mask)))
            rows += (_row(names, scored) for scored in _of_maps(series, names, mask, tally))
    if not rows:
        raise DataError("no selected image has a reference mask that is not empty, so there is "
                        "nothing to localise; select another split or finding")
    table = pd.DataFrame(rows, columns=list(SCORE_COLUMNS))
    if failures == "drop":
        table = _without_failures(table, tally)
    return Scored(table, annotations.readers[reader],
                  {name: average.n for name, average in averages.items()},
                  {one.explainer: one.reading for one in series if one.condition != LOCALIZER},
                  dict(tally.counts), dict(tally.exclusions))


def _reference_reader(annotations: Annotations) -> int:
    """The first of them: which one stands for the truth is chosen by selecting a reader."""
    readers = annotations.readers_with("reference")
    if not readers:
        raise DataError("no reader with the role reference annotated any of the selected images, "
                        "so there is nothing to score maps against; select others")
    if len(readers) > 1:
        names = [annotations.readers[r] for r in readers]
        _log.warning("there are %d reference readers (%s); %s is used", len(readers),
                     ", ".join(names), names[0])
    return readers[0]


def _averages(cubes: xr.DataTree, annotations: Annotations, reader: int,
              baseline: UtilityBaseline | None, fitted_on: xr.DataTree | str | Path | None
              ) -> dict[str, AverageMask]:
    if baseline == "none":
        return {}
    study = fitted_study(cubes, fitted_on)
    averages = {}
    for finding in annotations.findings:
        try:
            averages[finding] = average_mask(study, finding, annotations.readers[reader])
        except DataError as error:
            if baseline == AVERAGE_MASK:
                raise
            _log.warning("%s", error)
    if averages and annotations.grid is not None:
        check_grid(study, annotations.grid)
    return averages


def _spared(annotations: Annotations, reader: int, averages: Mapping[str, AverageMask]
            ) -> set[tuple[str, str]]:
    """Images and findings on which the average mask, made of them, is not tried.

    It is tried on them where the finding has no others, as in a selected training split.
    """
    positive = annotations.annotated[:, :, reader] & (annotations.labels != Label.NEGATIVE)
    spared: set[tuple[str, str]] = set()
    circular = False
    for f, finding in enumerate(annotations.findings):
        if finding not in averages:
            continue
        shown = {annotations.images[i] for i in np.flatnonzero(positive[:, f])}
        fitted = shown & averages[finding].images
        if shown - fitted:
            spared |= {(image, finding) for image in fitted}
        circular |= bool(fitted) and not shown - fitted
    if circular:
        _log.warning("images that the average mask is made of are scored against it too; say "
                     "--split test for an honest baseline")
    return spared


def _positive_masks(annotations: Annotations, image: int, reader: int, tally: Tally
                    ) -> Iterator[tuple[str, BoolArray]]:
    """Reference masks of one image that are not empty, with their findings."""
    for f, finding in enumerate(annotations.findings):
        label = annotations.labels[image, f]
        if not annotations.annotated[image, f, reader]:
            if label == Label.POSITIVE:
                tally.exclusions["positive label but not annotated"] += 1
            continue
        if label == Label.NEGATIVE:
            tally.counts["negatives"] += 1
            continue
        mask = annotations.pixels(image, f, reader).mask
        if mask is None:
            tally.exclusions["positive label but no positive pixel" if label == Label.POSITIVE
                             else "no positive pixel"] += 1
            continue
        tally.counts["positives"] += 1
        yield finding, mask


def _of_average(average: AverageMask, mask: BoolArray) -> dict[str, Any]:
    return {"explainer": AVERAGE_MASK, "model": "", "condition": BASELINE, "replicate": "",
            "areas": curve_areas(average.values, mask), "failed": False}


def _of_maps(series: Sequence[NamedMaps], names: Mapping[str, str], mask: BoolArray,
             tally: Tally) -> Iterator[dict[str, Any]]:
    """Scores of the maps of one image and finding."""
    prevalence = float(mask.mean())
    for maps in series:
        status = maps.series.status(names["image"], names["finding"])
        if status == Status.MISSING:
            tally.counts["missing"] += 1
            continue
        tally.counts["maps"] += 1
        values = usable_map(maps, names["image"], names["finding"])
        if values is None:
            tally.counts["nonfinite" if status == Status.NONFINITE else "flat"] += 1
        areas = (CurveAreas(prevalence, prevalence, 0.5, prevalence) if values is None
                 else curve_areas(values, mask))
        yield {"explainer": maps.explainer, "model": maps.model, "condition": maps.condition,
               "replicate": maps.replicate, "areas": areas, "failed": values is None}


def _row(names: Mapping[str, str], scored: dict[str, Any]) -> dict[str, Any]:
    areas: CurveAreas = scored.pop("areas")
    return {**names, **scored, **areas._asdict(),
            "lift": areas.average_precision / areas.prevalence}


def _without_failures(table: pd.DataFrame, tally: Tally) -> pd.DataFrame:
    failed = table.groupby(["finding", "image"], sort=False)["failed"].transform("any")
    dropped = table.loc[failed, ["finding", "image"]].drop_duplicates()
    if len(dropped):
        tally.exclusions["an explainer's map is flat or not finite"] += len(dropped)
    if failed.all():
        raise DataError("every positive image has a map that is flat or not finite, so none is "
                        "left; score failures instead of dropping their images")
    return table[~failed].reset_index(drop=True)
