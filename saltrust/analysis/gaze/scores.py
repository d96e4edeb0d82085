"""Comparing maps with gaze: one pass over the maps of the images that someone looked at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from tqdm import tqdm

from saltrust.analysis.pixels.gaze_agreement import (
    Agreement,
    agreement,
    auc_shuffled,
    is_informative,
)
from saltrust.analysis.select import label_positions
from saltrust.analysis.stored.contents import source
from saltrust.analysis.stored.gaze import RecordedGaze, recorded_gaze
from saltrust.analysis.stored.maps import Images, StoredMaps, select_images, stored_maps
from saltrust.cache.schema import Label, Status
from saltrust.choices import Failures, MapReading, MapSource, words
from saltrust.errors import DataError, UsageError, nearest

FloatArray = npt.NDArray[np.float64]

FORMS = words(MapReading)
SOURCES = words(MapSource)
#: Measures in the order of the tables; the shuffled AUC stands beside AUC-Judd.
MEASURES = ("correlation", "ssim", "similarity", "kl", "auc_judd", "auc_shuffled", "nss")
#: Measures that can also be taken against the gaze on another image.
SWAPPED = Agreement._fields
#: What stands in the column ``explainer`` for maps that are no explanation of a classifier.
LOCALIZER, CENTRE, AVERAGE = "localizer", "centre-prior", "average-gaze"
#: What stands in the column ``source`` for maps that know nothing of the image.
BASELINE = "baseline"
#: Standard deviation of the centre prior, as a fraction of height and of width.
CENTRE_SIGMA = 0.25

_MAP_COLUMNS = ("image", "patient", "finding", "reader", "source", "explainer", "model")
SCORE_COLUMNS = (*_MAP_COLUMNS, *MEASURES, *(f"{name}_other" for name in SWAPPED), "failed")


@dataclass(frozen=True)
class Scored:
    """Scores of a pass over the maps, and what was met on the way."""

    table: pd.DataFrame
    gaze: RecordedGaze
    counts: dict[str, int]
    exclusions: dict[str, int]


def gaze_scores(cubes: xr.DataTree, *, split: str | None = None,
                findings: Sequence[str] | None = None, explainers: Sequence[str] | None = None,
                models: Sequence[str] | None = None, source_group: MapSource = "all",
                map_form: MapReading = "raw", positives: bool = True, reader: str | None = None,
                threshold: float = 0.5, others: int = 5, failures: Failures = "score",
                seed: int = 0, progress: bool = False) -> Scored:
    """Score every map of the images with gaze, on the grid.

    Parameters
    ----------
    cubes : xarray.DataTree
        With ``/reference/gaze``, and ``/saliency`` or ``/localizer``.
    split, findings, explainers, models
        Only these.
    source_group : {"all", "saliency", "localizer"}
        Maps of explainers, of localizers (and of decoders trained with gaze), or both.
    map_form : {"raw", "absolute", "positive"}
        Maps as they are stored, their absolute values, or their positive parts.
    positives : bool
        Only maps of findings that the image shows; gaze belongs to no finding.
    reader, threshold
        As :func:`saltrust.analysis.stored.gaze.recorded_gaze`.
    others : int
        Images of other patients whose gaze each map is compared with besides.
    failures : {"score", "drop"}
        A flat or non-finite map is scored as one that tells nothing
        (:func:`saltrust.analysis.pixels.gaze_agreement.agreement`), or its image is left out
        for all maps of the finding.
    seed : int
        Of the draw of other images.
    progress : bool

    Returns
    -------
    Scored
        Table with the columns :data:`SCORE_COLUMNS`; ``<measure>_other`` is the mean over the other
        images, NaN where there is no other patient.  It and the shuffled AUC are NaN for an
        average gaze of the selected images themselves.

    Raises
    ------
    DataError
        If there is no gaze, no map, or no map left.
    UsageError
        If a name or an option is not known.
    """
    for name, value, known in (("map form", map_form, FORMS), ("source", source_group, SOURCES)):
        if value not in known:
            raise UsageError(f"{name} {value!r} is not known; {nearest(value, known)}")
    if others < 1:
        raise UsageError(f"others = {others} must be at least 1, such as 5")
    images = select_images(cubes, split, findings)
    gaze = recorded_gaze(cubes, images, reader=reader, threshold=threshold)
    entries = _entries(cubes, explainers, models, source_group)
    if positives and images.labels is None:
        raise DataError(f"{source(cubes)} holds no labels (/reference/label is absent), so it is "
                        "not known which findings an image shows; take all images")
    work = _Pass(images, gaze, entries, map_form, positives, others, seed)
    rows: list[dict[str, Any]] = []
    for image in tqdm(gaze.images.tolist(), desc="gaze", unit="image",
                      disable=None if progress else True):
        rows += work.score(image)
    if not any(row["source"] != BASELINE for row in rows):
        raise DataError(f"no selected image of {source(cubes)} has both gaze and a map"
                        + (" of a finding that it shows" if positives else "")
                        + "; select others, or generate maps of them")
    table = pd.DataFrame(rows, columns=list(SCORE_COLUMNS))
    if failures == "drop":
        table = _without_failures(table, work)
    return Scored(table, gaze, dict(work.counts), dict(work.exclusions))


@dataclass(frozen=True)
class _Entry:
    """Maps of one explainer and model, or of one localizer."""

    maps: StoredMaps
    source: str
    explainer: str
    model: str
    position: tuple[int, ...]


@dataclass
class _Pass:
    images: Images
    gaze: RecordedGaze
    entries: list[_Entry]
    map_form: MapReading
    positives: bool
    others: int
    seed: int
    counts: Counter[str] = field(default_factory=Counter)
    exclusions: Counter[str] = field(default_factory=Counter)

    def score(self, image: int) -> Iterator[dict[str, Any]]:
        """Rows of one image: its maps, and maps that know nothing of it."""
        self.counts["images with gaze"] += 1
        wanted = [(f, self._there(image, f)) for f in self.images.chosen_findings.tolist()
                  if self._compared(image, f)]
        wanted = [(f, entries) for f, entries in wanted if entries]
        if not wanted:
            self.exclusions["images with gaze but without a map to compare"] += 1
            return
        patient = self.gaze.patients[image]
        pool = [i for i in self.gaze.images.tolist() if self.gaze.patients[i] != patient]
        if not pool:
            self.exclusions["images without another patient's gaze beside"] += 1
        drawn = np.random.default_rng([self.seed, image]).permutation(len(pool))[:self.others]
        heatmaps, fixated = self.gaze.read([image, *(pool[k] for k in drawn)])
        elsewhere = self.gaze.elsewhere(patient)
        same = {CENTRE: self._measure(_centre_prior(self.gaze.grid), heatmaps, fixated, elsewhere)}
        average = self.gaze.average(patient)
        if average is not None:
            same[AVERAGE] = self._measure(average, heatmaps, fixated, elsewhere)
            if not self.gaze.average_is_independent:
                # The gaze on other images is what it was made of, that on this image is not.
                same[AVERAGE] |= dict.fromkeys(
                    ["auc_shuffled", *(f"{name}_other" for name in SWAPPED)], np.nan)
        for f, entries in wanted:
            finding = self.images.findings[f]
            for name, measured in same.items():
                yield {**self._names(image, finding, BASELINE, name, ""), **measured,
                       "failed": False}
            for entry in entries:
                yield self._map_row(image, f, entry, heatmaps, fixated, elsewhere)

    def _map_row(self, image: int, f: int, entry: _Entry, heatmaps: FloatArray,
                 fixated: npt.NDArray[np.bool_], elsewhere: npt.NDArray[np.int64]
                 ) -> dict[str, Any]:
        status = Status(entry.maps.status[(image, f, *entry.position)])
        values = np.zeros(self.gaze.grid)
        if status == Status.OK:
            values = _formed(entry.maps.read([image], f, *entry.position)[0], self.map_form)
        failed = not is_informative(values)
        self.counts["maps"] += 1
        if failed:
            self.counts["nonfinite" if status == Status.NONFINITE else "flat"] += 1
        return {**self._names(image, self.images.findings[f], entry.source, entry.explainer,
                              entry.model),
                **self._measure(values, heatmaps, fixated, elsewhere), "failed": failed}

    def _measure(self, values: FloatArray, heatmaps: FloatArray, fixated: npt.NDArray[np.bool_],
                 elsewhere: npt.NDArray[np.int64]) -> dict[str, float]:
        found = agreement(values, heatmaps, fixated)
        # The first gaze is that on the image itself.
        own = {name: float(numbers[0]) for name, numbers in found._asdict().items()}
        other = {f"{name}_other": float(numbers[1:].mean()) if len(numbers) > 1 else np.nan
                 for name, numbers in found._asdict().items()}
        return own | {"auc_shuffled": auc_shuffled(values, fixated[0], elsewhere)} | other

    def _names(self, image: int, finding: str, group: str, explainer: str, model: str
               ) -> dict[str, Any]:
        return dict(zip(_MAP_COLUMNS, (
            self.images.names[image], self.gaze.patients[image], finding, self.gaze.reader, group,
            explainer, model), strict=True))

    def _compared(self, image: int, finding: int) -> bool:
        return not self.positives or (
            self.images.labels is not None
            and int(self.images.labels[image, finding]) == Label.POSITIVE)

    def _there(self, image: int, finding: int) -> list[_Entry]:
        """Entries with a map of the image and finding."""
        return [entry for entry in self.entries
                if entry.maps.status[(image, finding, *entry.position)] != Status.MISSING]


def _entries(cubes: xr.DataTree, explainers: Sequence[str] | None, models: Sequence[str] | None,
             group: MapSource) -> list[_Entry]:
    saliency, localizer = (stored_maps(cubes, name) if group in {"all", name} else None
                           for name in ("saliency", "localizer"))
    if saliency is None and localizer is None:
        what = "heatmaps" if group == "all" else f"maps in /{group}"
        raise DataError(f"{source(cubes)} has no {what} to compare with gaze; run `saltrust "
                        "generate`")
    there = {name: [*dict.fromkeys(label for maps in (saliency, localizer) if maps is not None
                                   for label in maps.labels.get(name, []))]
             for name in ("explainer", "model")}
    if localizer is not None:
        there["explainer"].append(LOCALIZER)
    asked = {name: [there[name][k] for k in label_positions(there[name], wanted, name)]
             for name, wanted in (("explainer", explainers), ("model", models))}
    entries = []
    if saliency is not None:
        entries += [_Entry(saliency, "saliency", explainer, model, (e, m))
                    for e, explainer in enumerate(saliency.labels["explainer"])
                    for m, model in enumerate(saliency.labels["model"])
                    if explainer in asked["explainer"] and model in asked["model"]]
    if localizer is not None and LOCALIZER in asked["explainer"]:
        entries += [_Entry(localizer, "localizer", LOCALIZER, model, (m,))
                    for m, model in enumerate(localizer.labels["model"])
                    if model in asked["model"]]
    return entries


def _formed(values: npt.NDArray[np.float32], form: MapReading) -> FloatArray:
    heatmap = values.astype(np.float64)
    if form == "absolute":
        return np.abs(heatmap)
    return np.maximum(heatmap, 0.0) if form == "positive" else heatmap


def _centre_prior(grid: tuple[int, int]) -> FloatArray:
    """A Gaussian at the centre, as wide and high as the image is."""
    rows, columns = (np.exp(-0.5 * (((np.arange(cells) + 0.5) / cells - 0.5) / CENTRE_SIGMA) ** 2)
                     for cells in grid)
    return np.outer(rows, columns)


def _without_failures(table: pd.DataFrame, work: _Pass) -> pd.DataFrame:
    failed = table.groupby(["finding", "image"], sort=False)["failed"].transform("any")
    work.exclusions["an explainer's map is flat or not finite"] += int(
        table.loc[failed, ["finding", "image"]].drop_duplicates().shape[0])
    if failed.all():
        raise DataError("every image with gaze has a map that is flat or not finite, so none is "
                        "left; score failures instead of dropping their images")
    return table[~failed].reset_index(drop=True)
