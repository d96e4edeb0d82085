"""Image-level AUC of every model: what its maps explain has to be known beside their scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from saltrust.analysis.classification.auc_rows import AucDraw, Cases, auc_rows
from saltrust.analysis.inference.auc import roc_auc
from saltrust.analysis.inference.precision_area import precision_areas
from saltrust.analysis.options import Resampling
from saltrust.analysis.select import were_selected
from saltrust.analysis.stored.arrays import dataset_of, labels_of, values_of, whole
from saltrust.analysis.stored.images import StudyImages, images_of
from saltrust.analysis.stored.maps import LOCALIZER, RANDOMIZED, TRAINED
from saltrust.analysis.stored.whole_study import whole_study
from saltrust.cache.schema import GROUPS, Label

COLUMNS = ("finding", "model", "architecture", "seed", "condition", "replicate", "image_auc",
           "n_positive", "n_negative")
#: Columns of :func:`image_aucs` after these: intervals, and areas under precision-recall curves.
AREA_COLUMNS = ("image_auc_low", "image_auc_high", "image_ap", "image_ap_low", "image_ap_high",
                "image_auprc", "image_auprc_low", "image_auprc_high")

#: The trained model on the images on which it was randomized, where these are not all.
TRAINED_ON_DRAWN = "trained, on the randomised images"


def image_aucs(cubes: xr.DataTree) -> pd.DataFrame:
    """AUC over the images of every model, trained and with random weights.

    Parameters
    ----------
    cubes : xarray.DataTree
        Images labelled neither positive nor negative are left out.

    Returns
    -------
    pandas.DataFrame
        One row per finding, model and condition: ``image_auc`` NaN where one class is absent;
        ``image_ap`` and ``image_auprc``, the average precision and the trapezoid
        (:mod:`saltrust.analysis.inference.precision_area`), whose value by chance is the share
        of positives.  ``_low`` and ``_high``: 95% intervals, by patient
        (:func:`saltrust.classification`).
        ``localizer`` is a network of ``/localizer``, ranked by its score of the image, which is
        no probability.
        ``randomised`` is the last stage of ``/randomization``, of each replicate.  Where that
        holds some of the images only, ``trained, on the randomised images`` is the trained
        model on the very same ones, which is what the randomized AUC compares with.
    """
    images = images_of(cubes)
    return _table([] if images.labels is None else list(_rows(cubes, images)))


def study_aucs(cubes: xr.DataTree) -> pd.DataFrame:
    """AUC over the images of every model of the study that the cubes are a selection of.

    Where models were selected, networks that localize stay as baselines, and the classifier that
    one of them belongs to may be among those left out.

    Parameters
    ----------
    cubes : xarray.DataTree

    Returns
    -------
    pandas.DataFrame
        The columns of :func:`image_aucs`, on the images of the cubes.
    """
    present = image_aucs(cubes)
    study = whole_study(cubes) if were_selected(cubes, "model") else cubes
    if study is cubes:
        return present
    root, stored = cubes.to_dataset(), study.to_dataset()
    places = {dim: {name: k for k, name in enumerate(labels_of(stored, dim))}
              for dim in ("image", "finding")}
    every = image_aucs(study.isel({
        dim: [places[dim][name] for name in labels_of(root, dim) if name in places[dim]]
        for dim in places}))
    # Of the cubes' models the cubes are right, should somebody have changed a number in them.
    return _table(list({**_by_key(every), **_by_key(present)}.values()))


def _by_key(table: pd.DataFrame) -> dict[tuple[str, ...], dict[str, Any]]:
    return {tuple(str(row[name]) for name in ("finding", "model", "condition", "replicate")):
            {str(name): value for name, value in row.items()} for row in table.to_dict("records")}


def _table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=[*COLUMNS, *AREA_COLUMNS])
    return table.astype({"n_positive": "int64", "n_negative": "int64",
                         **dict.fromkeys(("image_auc", *AREA_COLUMNS), "float64")})


def architectures(cubes: xr.DataTree, models: Sequence[str], group: str) -> dict[str, str]:
    """Architecture of every model by name; empty where the cubes do not say.

    Parameters
    ----------
    cubes : xarray.DataTree
    models : sequence of str
    group : str
        Which has the models: ``saliency``, ``localizer``, ...
    """
    dataset = dataset_of(cubes, group)
    stated = {} if dataset is None else _of_models(dataset, "model_architecture")
    return {model: stated.get(model, "") for model in models}


def _rows(cubes: xr.DataTree, images: StudyImages) -> Iterator[dict[str, Any]]:
    trained, drawn = (_stored(cubes, group, "probability")
                      for group in ("prediction", "randomization"))
    if trained is not None:
        yield from _aucs_of(trained, trained.values, images, TRAINED)
    scores = _stored(cubes, "localizer", "score")
    if scores is not None:
        # A localizer has no scores of findings that it does not localize.
        yield from (row for row in _aucs_of(scores, scores.values, images, LOCALIZER)
                    if row["n_positive"] or row["n_negative"])
    if drawn is None:
        return
    drawn = drawn.isel(stage=-1)
    if trained is not None:
        of_trained = labels_of(trained, "model")
        models = [name for name in labels_of(drawn, "model") if name in of_trained]
        same = trained.isel(model=[m for m, name in enumerate(of_trained) if name in models])
        columns = [labels_of(drawn, "model").index(name) for name in labels_of(same, "model")]
        known = np.isfinite(drawn.values[:, :, columns]).all(axis=-1)
        if (np.isfinite(same.values) & ~known).any():
            yield from _aucs_of(same, np.where(known, same.values, np.nan), images,
                                TRAINED_ON_DRAWN)
    for r, replicate in enumerate(labels_of(drawn, "replicate")):
        yield from _aucs_of(drawn, drawn.values[..., r], images, RANDOMIZED, replicate)


def _stored(cubes: xr.DataTree, group: str, name: str) -> xr.DataArray | None:
    """What networks predicted, with all dimensions; None without a network."""
    dataset = dataset_of(cubes, group)
    if dataset is None or name not in dataset or not all(dataset[name].shape):
        return None
    return whole(dataset[name], GROUPS[group][name].dims)


def _aucs_of(labeled: xr.DataArray, predicted: npt.NDArray[np.floating[Any]],
             images: StudyImages, condition: str, replicate: str = "") -> Iterator[dict[str, Any]]:
    """One row per finding and model of an array (image, finding, model)."""
    values = predicted.astype(np.float64)
    built, seeds = (_of_models(labeled, name) for name in ("model_architecture", "model_seed"))
    for f, finding in enumerate(images.findings):
        for m, model in enumerate(labels_of(labeled, "model")):
            yield {"finding": finding, "model": model, "architecture": built.get(model, ""),
                   "seed": seeds.get(model, ""), "condition": condition, "replicate": replicate,
                   **_areas(images, finding, values[:, f, m])}


def _areas(images: StudyImages, finding: str, scores: npt.NDArray[np.float64]) -> dict[str, Any]:
    """Areas of one model, with intervals where both classes are there."""
    labels = images.labels_of(finding)
    known = np.isfinite(scores) & np.isin(labels, (Label.POSITIVE, Label.NEGATIVE))
    positive = labels[known] == Label.POSITIVE
    row = {"image_auc": roc_auc(positive, scores[known]), "n_positive": int(positive.sum()),
           "n_negative": int((~positive).sum())}
    if not row["n_positive"] or not row["n_negative"]:
        return row
    patients = np.array(images.patients, dtype=object)[known]
    (area,) = auc_rows(finding, Cases(positive, scores[known, None], patients), [""],
                       AucDraw("newcombe", Resampling()))
    row |= {"image_auc_low": area["conf_low"], "image_auc_high": area["conf_high"]}
    made = precision_areas(positive, scores[known], patients)
    for name, estimate in (("image_ap", made.average_precision), ("image_auprc", made.auprc)):
        row |= {name: estimate.estimate, f"{name}_low": estimate.conf_low,
                f"{name}_high": estimate.conf_high}
    return row


def _of_models(labeled: xr.DataArray | xr.Dataset, name: str) -> dict[str, str]:
    """A coordinate of the models by name, as text."""
    if name not in labeled.coords or "model" not in labeled.coords:
        return {}
    coordinate = values_of(labeled[name], ["model"]) if labeled[name].dims else np.atleast_1d(
        labeled[name].values)
    return {model: str(value) for model, value in
            zip(labels_of(labeled, "model"), coordinate, strict=True)}
