"""Scoring heatmaps as classifiers of pixels: one pass over the maps of the positive images."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from tqdm import tqdm

from saltrust.analysis.pixels.precision_recall import CurveAreas, curve_areas
from saltrust.analysis.select import label_positions
from saltrust.analysis.stored.annotations import Annotations, read_annotations
from saltrust.analysis.stored.average_mask import AVERAGE_MASK, FITTED_ON, AverageMask, average_mask
from saltrust.analysis.stored.contents import one_of
from saltrust.analysis.stored.maps import LOCALIZER, RANDOMISED, TRAINED, StoredMaps, stored_maps
from saltrust.cache.schema import Label, Status
from saltrust.choices import Failures, UtilityBaseline
from saltrust.errors import DataError

SCORE_COLUMNS = ("image", "patient", "finding", "explainer", "model", "condition", "replicate",
                 "reader", *CurveAreas._fields, "lift", "failed")
#: Condition of the average mask, which is no map of a network.
BASELINE = "baseline"

_log = logging.getLogger(__name__)


#: Explainer, model, condition and replicate.
Names = tuple[str, str, str, str]


@dataclass
class Scored:
    """Scores of a pass over the pixels, and what was met on the way."""

    table: pd.DataFrame
    reader: str
    averaged: dict[str, int]
    counts: dict[str, int]
    exclusions: dict[str, int]


def utility_scores(cubes: xr.DataTree, *, split: str | None = None,
                   findings: Sequence[str] | None = None, explainers: Sequence[str] | None = None,
                   models: Sequence[str] | None = None, baseline: UtilityBaseline | None = None,
                   reader: str | None = None, failures: Failures = "score",
                   progress: bool = False) -> Scored:
    """Score every map of the positive images, on the grid.

    Parameters
    ----------
    cubes : xarray.DataTree
        With reference masks on the grid; saliency, localizer and randomization maps are scored
        where there are any.
    split : {"train", "val", "test", "none"}, optional
        Only images of this split.  Without it the average mask is not scored on the images it
        is made of, unless the finding has no others.
    findings, explainers, models : sequence of str, optional
        Only these.
    baseline : {"average-mask", "none"}, optional
        By default the average mask where training or validation positives are known.
    reader : str, optional
        Reference reader; the first where there are several and none is named.
    failures : {"score", "drop"}
        A flat or non-finite map holds no ranking: ``"score"`` gives it what no information
        gives, AUPRC and average precision equal to the prevalence and AUROC 0.5; ``"drop"``
        leaves its image out for all maps of the finding.
    progress : bool

    Returns
    -------
    Scored
        Table with the columns :data:`SCORE_COLUMNS`; ``condition`` is ``trained``, ``randomised``
        (last stage of ``/randomization``), ``baseline`` or ``localizer``.

    Raises
    ------
    DataError
        If there are no reference masks, no positive image, or nothing to score.
    UsageError
        If a name is not known.
    """
    annotations = read_annotations(cubes, resolution="grid", split=split, findings=findings)
    work = _Pass(annotations, _reader(annotations, reader))
    sources = _sources(cubes, annotations, explainers, models)
    averages = _averages(cubes, work, baseline)
    if averages:
        _spare_own_images(cubes, work, chosen=split is not None)
    if not averages and not sources:
        raise DataError("there is nothing to score: the cubes hold no heatmaps, and no average "
                        "mask was asked for; run `saltrust generate` or say --baseline "
                        "average-mask")
    rows: list[dict[str, Any]] = []
    for image in tqdm(range(len(annotations.images)), desc="utility", unit="image",
                      disable=None if progress else True):
        rows += work.score(image, averages, sources)
    if not rows:
        raise DataError("no selected image has a reference mask that is not empty, so there is "
                        "nothing to localise; select another split or finding")
    table = pd.DataFrame(rows, columns=list(SCORE_COLUMNS))
    if failures == "drop":
        table = _without_failures(table, work)
    return Scored(table, annotations.readers[work.reader],
                  {name: average.n for name, average in averages.items()},
                  dict(work.counts), dict(work.exclusions))


@dataclass
class _Source:
    """Maps of one group under the names that the scores give them."""

    maps: StoredMaps
    #: With the position after image and finding.
    entries: list[tuple[Names, tuple[int, ...]]]


@dataclass
class _Pass:
    annotations: Annotations
    reader: int
    #: Positions of image and finding on which the average mask, made of them, is not tried.
    spared: frozenset[tuple[int, int]] = frozenset()
    counts: Counter[str] = field(default_factory=Counter)
    exclusions: Counter[str] = field(default_factory=Counter)

    def score(self, image: int, averages: dict[str, AverageMask], sources: list[_Source]
              ) -> Iterator[dict[str, Any]]:
        """Rows of one image, for every finding that its reference mask shows."""
        for finding, name in enumerate(self.annotations.findings):
            mask = self._mask(image, finding)
            if mask is None:
                continue
            self.counts["positives"] += 1
            prevalence = float(mask.mean())
            if name in averages and (image, finding) in self.spared:
                self.exclusions["average mask not tried on images it is made of"] += 1
            elif name in averages:
                yield self._row(image, name, (AVERAGE_MASK, "", BASELINE, ""),
                                curve_areas(averages[name].values, mask), failed=False)
            at = int(self.annotations.image_positions[image])
            f = int(self.annotations.finding_positions[finding])
            for source in sources:
                for entry, position in source.entries:
                    status = Status(source.maps.status[(at, f, *position)])
                    if status == Status.MISSING:
                        self.counts["missing"] += 1
                        continue
                    self.counts["maps"] += 1
                    areas = None
                    if status == Status.OK:
                        areas = _rank(source.maps.read([at], f, *position)[0], mask)
                    if areas is None:
                        self.counts["nonfinite" if status == Status.NONFINITE else "flat"] += 1
                    yield self._row(image, name, entry, areas or CurveAreas(
                        prevalence, prevalence, 0.5, prevalence), failed=areas is None)

    def _mask(self, image: int, finding: int) -> npt.NDArray[np.bool_] | None:
        label = self.annotations.labels[image, finding]
        if not self.annotations.annotated[image, finding, self.reader]:
            if label == Label.POSITIVE:
                self.exclusions["positive label but not annotated"] += 1
            return None
        if label == Label.NEGATIVE:
            self.counts["negatives"] += 1
            return None
        mask = self.annotations.pixels(image, finding, self.reader).mask
        if mask is None:
            self.exclusions["positive label but no positive pixel" if label == Label.POSITIVE
                            else "no positive pixel"] += 1
        return mask

    def _row(self, image: int, finding: str, entry: Names, areas: CurveAreas,
             *, failed: bool) -> dict[str, Any]:
        explainer, model, condition, replicate = entry
        return {
            "image": self.annotations.images[image],
            # An image without a known patient stands for its own.
            "patient": self.annotations.patients[image] or self.annotations.images[image],
            "finding": finding,
            "explainer": explainer, "model": model, "condition": condition,
            "replicate": replicate, "reader": self.annotations.readers[self.reader],
            **areas._asdict(), "lift": areas.average_precision / areas.prevalence,
            "failed": failed}


def _rank(values: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_]) -> CurveAreas | None:
    """Areas of a map that says something; None where its status spoke too well of it."""
    low, high = values.min(), values.max()
    return curve_areas(values, mask) if np.isfinite(low) and np.isfinite(high) and low < high \
        else None


def _reader(annotations: Annotations, name: str | None) -> int:
    there = annotations.readers_with("reference")
    if not there:
        raise DataError("no reader with the role reference annotated any of the selected images, "
                        "so there is nothing to score maps against; select others")
    names = [annotations.readers[r] for r in there]
    if name is not None:
        return there[names.index(one_of(name, names, "reference reader"))]
    if len(there) > 1:
        _log.warning("there are %d reference readers (%s); %s is used", len(there),
                     ", ".join(names), names[0])
    return there[0]


def _averages(cubes: xr.DataTree, work: _Pass, baseline: UtilityBaseline | None
              ) -> dict[str, AverageMask]:
    if baseline == "none":
        return {}
    reader = work.annotations.readers[work.reader]
    found = {}
    for finding in work.annotations.findings:
        try:
            found[finding] = average_mask(cubes, finding, reader)
        except DataError as error:
            if baseline == AVERAGE_MASK:
                raise
            _log.warning("%s", error)
    return found


def _spare_own_images(cubes: xr.DataTree, work: _Pass, *, chosen: bool) -> None:
    """Do not try the average mask on what it is made of, unless that was chosen or is all."""
    seen = work.annotations
    splits = cubes.to_dataset()["split"].values[seen.image_positions].astype("U8")
    positive = seen.annotated[:, :, work.reader] & (seen.labels != Label.NEGATIVE)
    own = positive & np.isin(splits, FITTED_ON)[:, None]
    spared = own & (positive & ~own).any(axis=0) & (not chosen)
    if (own & ~spared).any():
        _log.warning("images that the average mask is made of are scored against it too; say "
                     "--split test for an honest baseline")
    work.spared = frozenset((int(image), int(finding)) for image, finding in np.argwhere(spared))


def _sources(cubes: xr.DataTree, annotations: Annotations, explainers: Sequence[str] | None,
             models: Sequence[str] | None) -> list[_Source]:
    sources = []
    saliency = stored_maps(cubes, "saliency")
    if saliency is not None:
        entries: list[tuple[Names, tuple[int, ...]]] = [
            ((e, m, TRAINED, ""), position)
            for e, m, position in _chosen(saliency, explainers, models)]
        sources.append(_Source(saliency, entries))
    randomization = stored_maps(cubes, "randomization")
    if randomization is not None:
        last = len(randomization.labels["stage"]) - 1
        entries = [((e, m, RANDOMISED, replicate), (*position, r, last))
                   for e, m, position in _chosen(randomization, explainers, models, strict=False)
                   for r, replicate in enumerate(randomization.labels["replicate"])]
        sources.append(_Source(randomization, entries))
    localizer = stored_maps(cubes, "localizer")
    if localizer is not None:
        # An average mask among the localizers would stand beside the one computed here.
        sources.append(_Source(localizer, [
            ((name, name, LOCALIZER, ""), (m,))
            for m, name in enumerate(localizer.labels["model"]) if name != AVERAGE_MASK]))
    return [_scored_anywhere(source, annotations) for source in sources]


def _chosen(maps: StoredMaps, explainers: Sequence[str] | None, models: Sequence[str] | None, *,
            strict: bool = True) -> Iterator[tuple[str, str, tuple[int, int]]]:
    """Explainers and models asked for that the group has."""
    asked = {"explainer": explainers, "model": models}
    positions = {}
    for dim, wanted in asked.items():
        there = maps.labels[dim]
        known = None if wanted is None else [name for name in wanted if strict or name in there]
        positions[dim] = label_positions(there, known, dim).tolist()
    for e in positions["explainer"]:
        for m in positions["model"]:
            yield maps.labels["explainer"][e], maps.labels["model"][m], (e, m)


def _scored_anywhere(source: _Source, annotations: Annotations) -> _Source:
    """Leave out what no selected image has, so that it does not count as missing."""
    chosen = np.ix_(annotations.image_positions, annotations.finding_positions)
    kept = [(entry, position) for entry, position in source.entries
            if (source.maps.status_at(*position)[chosen] != Status.MISSING).any()]
    _warn_of_gaps([names for names, _ in source.entries], {names for names, _ in kept})
    return _Source(source.maps, kept)


def _warn_of_gaps(stored: Sequence[Names], scored: Set[Names]) -> None:
    """Say where an explainer has maps of one model and of another not: a gap, no plan."""
    for names in stored:
        explainer, model, kind, _ = names
        if (kind == TRAINED and names not in scored
                and any(other[0] == explainer for other in scored)
                and any(other[1] == model for other in scored)):
            _log.warning("%s has no map of model %s among the selected images, so that pair is "
                         "not scored; `saltrust generate` makes what is missing", explainer, model)


def _without_failures(table: pd.DataFrame, work: _Pass) -> pd.DataFrame:
    failed = table.groupby(["finding", "image"], sort=False)["failed"].transform("any")
    dropped = table.loc[failed, ["finding", "image"]].drop_duplicates()
    if len(dropped):
        work.exclusions["an explainer's map is flat or not finite"] += len(dropped)
    if failed.all():
        raise DataError("every positive image has a map that is flat or not finite, so none is "
                        "left; score failures instead of dropping their images")
    return table[~failed].reset_index(drop=True)
