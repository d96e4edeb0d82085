"""The marks of every stored map, and which lesions of the reference they hit."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from tqdm import tqdm

from saltrust.analysis.froc.options import Marking
from saltrust.analysis.inference.free_response import UNMARKED
from saltrust.analysis.pixels.lesions import (
    Lesion,
    box_lesions,
    hits,
    mask_lesions,
    point_lesions,
)
from saltrust.analysis.pixels.marks import Marks, components, peaks
from saltrust.analysis.stored.annotations import Annotations, read_annotations
from saltrust.analysis.stored.arrays import dataset_of, read_at, values_of
from saltrust.analysis.stored.contents import source
from saltrust.analysis.stored.maps import StoredMaps, require_finite, stored_maps
from saltrust.analysis.stored.readings import as_read, readings_of
from saltrust.analysis.stored.tally import Tally
from saltrust.cache.flatness import is_flat
from saltrust.cache.schema import Label, Status
from saltrust.choices import MapChoice, MapReading
from saltrust.errors import DataError

#: What names a map but for its image.
SERIES = ["finding", "explainer", "model"]
#: Columns of the tables of images, lesions and marks.
IMAGE_COLUMNS = ("image", "patient", *SERIES, "normal", "lesions", "marks", "false_rating")
LESION_COLUMNS = ("image", "patient", *SERIES, "lesion", "rating")

#: Largest values that differ by less are one: maps were scaled to it.
_EQUAL_PEAKS = 1e-6

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MarkedMaps:
    """Marks of all maps of the images that count.

    Attributes
    ----------
    images : pandas.DataFrame
        A row per map: ``image, patient, finding, explainer, model``, whether the image is
        ``normal``, its number of ``lesions``, the number of ``marks``, and ``false_rating``, that
        of the highest mark outside all lesions, minus infinity without one.
    lesions : pandas.DataFrame
        A row per map and lesion, numbered from 1: ``rating`` of the highest mark that hits it,
        minus infinity without one.
    marks : pandas.DataFrame
        A row per mark: ``y, x`` in pixels of the stored map, ``rating``, and the ``lesion`` that
        it hits (the first of several), 0 outside all.
    reader : str
        Whose lesions they are.
    readings : dict of str to {"raw", "absolute", "positive"}
        What of the maps was marked, by explainer.
    shape : (int, int)
        Of the stored maps.
    counts, exclusions : dict of str to int
    """

    images: pd.DataFrame
    lesions: pd.DataFrame
    marks: pd.DataFrame
    reader: str
    readings: dict[str, MapReading]
    shape: tuple[int, int]
    counts: dict[str, int] = field(default_factory=dict)
    exclusions: dict[str, int] = field(default_factory=dict)


def mark_maps(cubes: xr.DataTree, marking: Marking, *, map: MapChoice = "auto",
              progress: bool = False) -> MarkedMaps:
    """Mark every map of the images whose label of the finding is known.

    Images of a finding count where every explainer and model that has maps of it has one, where
    the label is negative (normal images), and where it is positive and the reader marked a lesion.

    Parameters
    ----------
    cubes : xarray.DataTree
    marking : Marking
    map : {"auto", "raw", "absolute", "positive"}
        What of the maps is marked.
    progress : bool
        Whether a bar is shown on stderr.

    Raises
    ------
    DataError
        If there are no maps, no lesions or no normal images with maps, or the maps of an explainer
        were scaled image by image.
    """
    maps = stored_maps(cubes, "saliency")
    if maps is None:
        raise DataError(f"{source(cubes)} has no heatmaps (/saliency/heatmap is absent or empty), "
                        "so nothing can be marked; run `saltrust generate`")
    saliency = dataset_of(cubes, "saliency")
    assert saliency is not None
    readings = readings_of(saliency, map)
    annotations = read_annotations(cubes)
    reader = _reader(annotations)
    references = _References(cubes, annotations, reader, marking)
    tally = Tally()
    rows = _Rows()
    shape = (int(maps.heatmap.sizes["y"]), int(maps.heatmap.sizes["x"]))
    stored = maps.status != Status.MISSING
    #: Whether a series has any map of a finding, shape (finding, explainer, model).
    made = stored.any(axis=0)
    for image in tqdm(range(len(annotations.images)), desc="froc", unit="image",
                      disable=None if progress else True):
        wanted = {}
        for finding in range(len(annotations.findings)):
            if not stored[image, finding].any():
                continue
            if (made[finding] & ~stored[image, finding]).any():
                tally.exclusions["without a map of every explainer and model"] += 1
                continue
            lesions = references.lesions(image, finding, tally)
            if lesions is not None:
                wanted[finding] = lesions
        for (finding, explainer, model), values in _planes(maps, image, wanted):
            names = {"image": annotations.images[image],
                     "patient": annotations.patients[image] or annotations.images[image],
                     "finding": annotations.findings[finding],
                     "explainer": maps.labels["explainer"][explainer],
                     "model": maps.labels["model"][model]}
            marks = _marks(values, readings[names["explainer"]], names, marking, tally,
                           Status(maps.status[image, finding, explainer, model]))
            rows.add(names, marks, hits(_places(marks, shape), wanted[finding], shape,
                                        marking.reach(shape)))
    images, of_lesions, of_marks = rows.tables()
    _require_raw(of_marks)
    _require_both(images, source(cubes))
    return MarkedMaps(images, of_lesions, of_marks, annotations.readers[reader],
                      {name: word for name, word in readings.items()
                       if name in set(images["explainer"])},
                      shape, dict(tally.counts), dict(tally.exclusions))


def _reader(annotations: Annotations) -> int:
    """The first reference reader: which one stands for the truth is chosen by selecting one."""
    readers = annotations.readers_with("reference")
    if not readers:
        raise DataError("no reader with the role reference annotated any of the selected images, "
                        "so there are no lesions to hit; select other images, findings or readers")
    if len(readers) > 1:
        names = [annotations.readers[r] for r in readers]
        _log.warning("there are %d reference readers (%s); the lesions are those of %s, say "
                     "--reader for another", len(readers), ", ".join(names), names[0])
    return readers[0]


class _References:
    """The lesions of every image and finding, by one reader."""

    def __init__(self, cubes: xr.DataTree, annotations: Annotations, reader: int,
                 marking: Marking) -> None:
        self._annotations, self._reader, self._kind = annotations, reader, marking.lesions
        self._boxes: npt.NDArray[Any] | None = None
        reference = dataset_of(cubes, "reference")
        if marking.lesions == "boxes":
            if reference is None or "box" not in reference:
                raise DataError(f"{source(cubes)} has no boxes (/reference/box is absent); take "
                                "--lesions components, the connected parts of the masks")
            self._boxes = values_of(reference["box"], (
                "image", "finding", "reader", "instance", "corner"))[:, :, reader]
        if marking.lesions == "points" and not np.isfinite(
                annotations.points[:, :, reader]).any():
            raise DataError(f"{source(cubes)} has no points of reader "
                            f"{annotations.readers[reader]!r}; take --lesions components, the "
                            "connected parts of the masks")

    def lesions(self, image: int, finding: int, tally: Tally) -> Sequence[Lesion] | None:
        """Lesions of an image, none of a normal one; None, and counted, where it cannot count."""
        annotations, reader = self._annotations, self._reader
        label = annotations.labels[image, finding]
        annotated = bool(annotations.annotated[image, finding, reader])
        if label not in (Label.POSITIVE, Label.NEGATIVE):
            tally.exclusions["label uncertain or not stated"] += 1
            return None
        if not annotated and label == Label.POSITIVE:
            tally.exclusions["positive but not annotated"] += 1
            return None
        lesions = self._read(image, finding) if annotated else []
        if label == Label.POSITIVE and not lesions:
            tally.exclusions["positive but without a lesion"] += 1
            return None
        if label == Label.NEGATIVE and lesions:
            tally.exclusions["negative but with a lesion"] += 1
            return None
        return lesions

    def _read(self, image: int, finding: int) -> Sequence[Lesion]:
        annotations, reader = self._annotations, self._reader
        if self._kind == "components":
            return mask_lesions(annotations.runs(image, finding, reader))
        size = self._native_size(image)
        if self._boxes is not None:
            boxes = self._boxes[image, finding]
            return box_lesions(boxes[np.isfinite(boxes).all(axis=1)], size)
        points = annotations.points[image, finding, reader]
        # A point names a pixel; it is hit from its center.
        known = np.floor(points[np.isfinite(points).all(axis=1)]) + 0.5
        return point_lesions(known, size)

    def _native_size(self, image: int) -> tuple[int, int]:
        height, width = self._annotations.native_sizes[image].tolist()
        if height <= 0 or width <= 0:
            raise DataError(f"image {self._annotations.images[image]!r} has {self._kind} in native "
                            "pixels but its native size is unknown; state it and generate again, "
                            "or take --lesions components")
        return height, width


def _planes(maps: StoredMaps, image: int, wanted: dict[int, Any]
            ) -> Iterator[tuple[tuple[int, int, int], npt.NDArray[np.float32]]]:
    """Maps of one image and the wanted findings, with their places."""
    if not wanted:
        return
    low, high = min(wanted), max(wanted) + 1
    stored = maps.status[image] != Status.MISSING
    for explainer in range(len(maps.labels["explainer"])):
        for model in range(len(maps.labels["model"])):
            findings = [f for f in wanted if stored[f, explainer, model]]
            if not findings:
                continue
            # One slice of a shard is read several times faster than a list of findings.
            values = read_at(maps.heatmap, ("finding", "y", "x"), image=image,
                             finding=slice(low, high), explainer=explainer, model=model)
            for finding in findings:
                yield (finding, explainer, model), values[finding - low]


def _marks(values: npt.NDArray[np.float32], reading: MapReading, names: dict[str, str],
           marking: Marking, tally: Tally, status: Status) -> Marks:
    """Marks of one map; none where it says nothing."""
    if status == Status.OK:
        require_finite(values, **{dim: names[dim] for dim in ("image", *SERIES)})
        read = as_read(values, reading)
        tally.counts["maps"] += 1
        if not is_flat(read.min(), read.max()):
            made = (peaks(read, marking.spacing(values.shape)) if marking.marks == "peaks"
                    else components(read, marking.level()))
            return made.first(marking.per_map)
    tally.counts["maps that are flat or not finite, which mark nothing"] += 1
    return Marks(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0))


def _places(marks: Marks, shape: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Centers of the marked pixels in shares of height and width."""
    return np.column_stack([(marks.rows + 0.5) / shape[0], (marks.columns + 0.5) / shape[1]])


class _Rows:
    """Rows of the three tables, gathered map by map."""

    def __init__(self) -> None:
        self._images: list[dict[str, Any]] = []
        self._lesions: list[dict[str, Any]] = []
        self._marks: list[npt.NDArray[np.float64]] = []

    def add(self, names: dict[str, str], marks: Marks, hit: npt.NDArray[np.bool_]) -> None:
        """Marks of one map, and which lesions each hits, shape (marks, lesions)."""
        count, some = hit.shape[1], hit.any(axis=1)
        self._images.append({**names, "normal": count == 0, "lesions": count,
                             "marks": len(marks.rows),
                             "false_rating": marks.ratings[~some].max(initial=UNMARKED)})
        self._lesions += [{**names, "lesion": k + 1,
                           "rating": marks.ratings[hit[:, k]].max(initial=UNMARKED)}
                          for k in range(count)]
        first = (np.where(some, hit.argmax(axis=1) + 1, 0) if count
                 else np.zeros(len(marks.rows), dtype=np.int64))
        self._marks.append(np.column_stack([marks.rows, marks.columns, marks.ratings, first]))

    def tables(self) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
        """Tables of images, lesions and marks, in the order of the cubes."""
        images = pd.DataFrame(self._images, columns=list(IMAGE_COLUMNS))
        marks = images.loc[np.repeat(np.arange(len(images)), images["marks"].astype(int)),
                           ["image", "patient", *SERIES]].reset_index(drop=True)
        values = np.concatenate([np.zeros((0, 4)), *self._marks])
        for k, name in enumerate(("y", "x", "rating", "lesion")):
            marks[name] = values[:, k] if name == "rating" else values[:, k].astype(np.int64)
        return images, pd.DataFrame(self._lesions, columns=list(LESION_COLUMNS)), marks


def _require_raw(marks: pd.DataFrame) -> None:
    """Refuse maps that were scaled image by image: their marks cannot be ranked."""
    highest = marks.groupby(["explainer", "model", "image", "finding"], sort=False)["rating"].max()
    for names, of_series in highest.groupby(level=[0, 1], sort=False):
        explainer, model = pd.Index([names])[0]
        low, high = float(of_series.min()), float(of_series.max())
        if len(of_series) > 1 and high - low <= _EQUAL_PEAKS * max(abs(low), abs(high)):
            raise DataError(
                f"the highest marks of all {len(of_series)} maps of {explainer}, model {model}, "
                f"are {high:g}: they were scaled image by image, so that marks of different images "
                "cannot be ranked; store the maps as the method gives them (`saltrust generate` "
                "does), or leave this explainer out with --explainer")


def _require_both(images: pd.DataFrame, where: str) -> None:
    """Refuse images all of one kind, in every finding."""
    if images.empty:
        raise DataError(f"{where} has no image that counts: one with a map of every explainer and "
                        "model, and a negative label or a positive one with a lesion; select "
                        "others, or see exclusions of `saltrust analyze localization`")
    kinds = images.groupby("finding", sort=False)["normal"].agg(["any", "all"])
    if not kinds["any"].any():
        raise DataError(
            f"{where} has no normal image with maps: no image is labelled negative for "
            f"{', '.join(map(str, kinds.index))}, and false marks are ranked on those; let "
            "[data] of the study hold such images and run `saltrust generate` (it makes maps of "
            "every finding for all images of [generate] split)")
    if kinds["all"].all():
        raise DataError(f"{where} has no image with a lesion of {', '.join(map(str, kinds.index))} "
                        "and with maps; select other images or findings")
