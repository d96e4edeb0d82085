"""Do maps change where predictions do?  Correlation of both changes under graded perturbation.

A map that explains a prediction stays where the prediction stays, and changes with it.  The idea is
of Zhang et al. (2024), Radiology: Artificial Intelligence, e220221, whose formula was not at hand;
the definitions are our own (docs/faithfulness.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from saltrust.analysis.inference.correlation import spearman
from saltrust.analysis.inference.estimate import Estimate, estimates_table
from saltrust.analysis.inference.multiplicity import adjust_families
from saltrust.analysis.inference.rank_jackknife import clustered_spearman
from saltrust.analysis.inference.tested_means import means_with_tests
from saltrust.analysis.options import Resampling
from saltrust.analysis.result import Result
from saltrust.analysis.select import as_cubes
from saltrust.analysis.stored.arrays import dataset_of, labels_of, values_of
from saltrust.analysis.stored.contents import source, split_of
from saltrust.analysis.stored.images import images_of
from saltrust.analysis.trustworthiness.faithfulness.metric_agreement import row_correlations
from saltrust.cache.identity import of_one_store
from saltrust.cache.schema import GROUPS, Status
from saltrust.choices import Images, check_word
from saltrust.errors import DataError

FloatArray = npt.NDArray[np.float64]

#: All findings, or all kinds of perturbation, together.
ALL = "all"
_GROUP = "perturbation"
_NAMES = ("finding", "explainer", "model")
_MEANINGS = {
    "correlation": "Spearman's, of the absolute change of the probability and of 1 - SSIM of the "
                   "maps, a shift undone",
    "per_image": "over the kinds and levels of one image; mean over images with its interval by "
                 "patient, tested against 0 by max-T over the explainers of a finding and model",
    "pooled": {ALL: "all pairs of image and finding",
               "kinds": "over images and levels of a kind, or of all kinds, ranks within findings; "
                        "error by the jackknife over patients, Holm over the explainers"}}


@dataclass(frozen=True)
class _Changes:
    """Changes of every image that counts.

    Attributes
    ----------
    patients : ndarray of object, shape (image,)
    images : list of str
    labels : dict of str to list of str
    prediction : ndarray of float64, shape (image, finding, model, perturbation, level)
    maps : ndarray of float64, shape (image, finding, explainer, model, perturbation, level)
    """

    patients: npt.NDArray[Any]
    images: list[str]
    labels: dict[str, list[str]]
    prediction: FloatArray
    maps: FloatArray


@of_one_store
def perturbation(cubes: xr.DataTree | str | Path, *, images: Images = "all",
                 resampling: Resampling = Resampling()) -> Result:
    """Correlation of the change of maps with that of predictions under graded perturbation.

    Parameters
    ----------
    cubes : xarray.DataTree or path
        With ``/perturbation``.  Any selection (:func:`saltrust.select`).
    images : {"all", "positive"}
        All that were perturbed, or those that show the finding.
    resampling : Resampling
        Of the bootstrap by patient.

    Returns
    -------
    Result
        ``per_image``: mean over images of the rank correlation over kinds and levels.
        ``pooled``: the rank correlation over images and levels, by ``kind`` and of all kinds.
        ``changes``: mean changes of prediction and map by kind and level.  ``scores``: the
        correlation of every image.

    Raises
    ------
    DataError
        If nothing was perturbed.
    UsageError
        If an option is not known.
    """
    check_word(images, Images, "images")
    tree = as_cubes(cubes)
    changes = _changes(tree, images)
    scores = _scores(changes)
    tables = {"per_image": _per_image(changes, scores, resampling),
              "pooled": _pooled(changes, 1 - resampling.confidence_level),
              "changes": _mean_changes(changes), "scores": _score_table(changes, scores)}
    meta = {"criterion": _GROUP, "split": split_of(tree), "images": images,
            "perturbations": changes.labels["perturbation"],
            "levels": changes.labels["level"], **_MEANINGS, **resampling.describe(),
            "counts": {"images": len(changes.images),
                       "patients": len(set(changes.patients.tolist()))}}
    return Result(meta, {name: table for name, table in tables.items() if len(table)}, _GROUP)


def _changes(cubes: xr.DataTree, images: Images) -> _Changes:
    dataset = dataset_of(cubes, _GROUP)
    prediction = dataset_of(cubes, "prediction")
    if dataset is None or prediction is None or not (
            {"probability", "map_change", "status"} <= set(dataset.variables)):
        raise DataError(f"{source(cubes)} holds no perturbed predictions and maps (/perturbation "
                        "is absent), so their changes cannot be compared; generate them with "
                        "[perturbation] in the study")
    declared, study = GROUPS[_GROUP], images_of(cubes)
    labels = {dim: labels_of(dataset, dim) for dim in declared["map_change"].dims}
    status = values_of(dataset["status"], declared["status"].dims)
    counted = status != Status.MISSING
    if images == "positive":
        for f, finding in enumerate(labels["finding"]):
            counted[:, f] &= study.positive(finding)[:, None, None]
    kept = np.flatnonzero(counted.any(axis=(1, 2, 3)))
    if not len(kept):
        raise DataError(f"no selected image was perturbed in {source(cubes)}; select others, or "
                        "generate them")
    models = labels_of(prediction, "model")
    before = values_of(prediction["probability"], ("image", "finding", "model"))[
        ..., [models.index(name) for name in labels["model"]]].astype(np.float64)
    after, maps = (values_of(dataset[name], declared[name].dims).astype(np.float64)
                   for name in ("probability", "map_change"))
    moved = np.where(counted.any(axis=2)[..., None, None],
                     np.abs(after - before[..., None, None]), np.nan)
    maps = np.where(counted[..., None, None], maps, np.nan)
    return _Changes(np.array([study.patients[k] for k in kept], dtype=object),
                    [study.names[k] for k in kept], labels, moved[kept], maps[kept])


def _scores(changes: _Changes) -> FloatArray:
    """Correlation of every map, shape (image, finding, explainer, model)."""
    shape = changes.maps.shape[:4]
    moved = np.broadcast_to(changes.prediction[:, :, None], changes.maps.shape)
    count = int(np.prod(changes.maps.shape[4:]))
    return row_correlations(moved.reshape(-1, count),
                            changes.maps.reshape(-1, count)).reshape(shape)


def _findings(changes: _Changes) -> Iterator[tuple[str, list[int]]]:
    findings = changes.labels["finding"]
    yield from ((name, [f]) for f, name in enumerate(findings))
    if len(findings) > 1:
        yield ALL, list(range(len(findings)))


def _per_image(changes: _Changes, scores: FloatArray, resampling: Resampling) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for finding, at in _findings(changes):
        patients = np.repeat(changes.patients, len(at))
        for m, model in enumerate(changes.labels["model"]):
            values = scores[:, at, :, m].reshape(-1, scores.shape[2])
            made = means_with_tests(
                values, patients, [f"explainers, {finding}, {model}"] * values.shape[1],
                resamples=resampling.resamples, kind=resampling.kind, seed=resampling.seed,
                confidence_level=resampling.confidence_level)
            rows += [{"finding": finding, "explainer": explainer, "model": model, **row,
                      "term": "mean rank correlation",
                      "patients": len(set(patients[np.isfinite(column)]))}
                     for explainer, row, column in zip(changes.labels["explainer"], made,
                                                       values.T, strict=True) if row["n"]]
    return estimates_table(rows, _NAMES, ("patients",)).astype({"patients": "int64"})


def _pooled(changes: _Changes, alpha: float) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    kinds = changes.labels["perturbation"]
    parts = [*((kind, [k]) for k, kind in enumerate(kinds)),
             *([(ALL, list(range(len(kinds))))] if len(kinds) > 1 else [])]
    for finding, at in _findings(changes):
        for m, model in enumerate(changes.labels["model"]):
            for kind, of_kind in parts:
                moved = changes.prediction[:, at, m][:, :, of_kind]
                strata = np.broadcast_to(np.array(at)[:, None, None], moved.shape)
                patients = np.broadcast_to(changes.patients[:, None, None, None], moved.shape)
                for e, explainer in enumerate(changes.labels["explainer"]):
                    maps = changes.maps[:, at, e, m][:, :, of_kind]
                    made = _correlation(moved, maps, patients, strata, 1 - alpha)
                    rows.append({"finding": finding, "explainer": explainer, "model": model,
                                 "kind": kind, **made.row("rank correlation")})
    table = estimates_table(rows, (*_NAMES, "kind"))
    families = "explainers, " + table["finding"] + ", " + table["model"] + ", " + table["kind"]
    return adjust_families(table, families, "holm",
                           {str(name): int(n) for name, n in families.value_counts().items()})


def _correlation(moved: FloatArray, maps: FloatArray, patients: npt.NDArray[Any],
                 strata: npt.NDArray[np.intp], level: float) -> Estimate:
    known = np.isfinite(moved) & np.isfinite(maps)
    x, y, within = moved[known], maps[known], strata[known]
    made = spearman(x, y, strata=within, confidence_level=level)
    return clustered_spearman(made, x, y, patients[known], strata=within, confidence_level=level)


def _mean_changes(changes: _Changes) -> pd.DataFrame:
    """Mean changes over images, by kind and level."""
    rows = []
    for (f, finding), (m, model), (k, kind), (level, name) in (
            (a, b, c, d) for a in enumerate(changes.labels["finding"])
            for b in enumerate(changes.labels["model"])
            for c in enumerate(changes.labels["perturbation"])
            for d in enumerate(changes.labels["level"])):
        for e, explainer in enumerate(changes.labels["explainer"]):
            maps = changes.maps[:, f, e, m, k, level]
            moved = changes.prediction[:, f, m, k, level]
            known = np.isfinite(maps) & np.isfinite(moved)
            if known.any():
                rows.append({"finding": finding, "explainer": explainer, "model": model,
                             "kind": kind, "level": name, "n": int(known.sum()),
                             "prediction_change": float(moved[known].mean()),
                             "map_change": float(maps[known].mean())})
    return pd.DataFrame(rows)


def _score_table(changes: _Changes, scores: FloatArray) -> pd.DataFrame:
    at = np.argwhere(np.isfinite(scores))
    names = {dim: np.array(changes.labels[dim], dtype=object)[at[:, axis]]
             for axis, dim in enumerate(("finding", "explainer", "model"), start=1)}
    return pd.DataFrame({"image": np.array(changes.images, dtype=object)[at[:, 0]],
                         "patient": changes.patients[at[:, 0]], **names,
                         "correlation": scores[tuple(at.T)]})
