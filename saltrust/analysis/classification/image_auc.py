"""Image-level AUC of every model: what its maps explain has to be known beside their scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from saltrust.analysis.inference.auc import roc_auc
from saltrust.analysis.stored.maps import LOCALIZER, RANDOMISED, TRAINED, Images
from saltrust.cache.schema import Label

COLUMNS = ("finding", "model", "architecture", "seed", "condition", "replicate", "image_auc",
           "n_positive", "n_negative")

#: The trained model on the images on which it was randomised, where these are not all.
TRAINED_ON_DRAWN = "trained, on the randomised images"


def image_aucs(cubes: xr.DataTree, images: Images) -> pd.DataFrame:
    """AUC over the chosen images of every model, trained and with random weights.

    Parameters
    ----------
    cubes : xarray.DataTree
    images : Images
        Which images and findings; images labelled neither positive nor negative are left out.

    Returns
    -------
    pandas.DataFrame
        One row per finding, model and condition: ``image_auc`` NaN where one class is absent.
        ``localizer`` is a network of ``/localizer``, ranked by its score of the image, which is
        no probability.
        ``randomised`` is the last stage of ``/randomization``, of each replicate.  Where that
        holds some of the images only, ``trained, on the randomised images`` is the trained
        model on the very same ones, which is what the randomised AUC compares with.
    """
    rows = list(_rows(cubes, images)) if images.labels is not None else []
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.astype({"image_auc": "float64", "n_positive": "int64", "n_negative": "int64"})


def architectures(cubes: xr.DataTree, models: Sequence[str], group: str) -> dict[str, str]:
    """Architecture of every model by name; empty where the cubes do not say."""
    found = (_coordinate(cubes[group].to_dataset(), "model_architecture")
             if group in cubes.children else {})
    return {model: found.get(model, "") for model in models}


def _rows(cubes: xr.DataTree, images: Images) -> Iterator[dict[str, Any]]:
    trained, drawn = (_probabilities(cubes, group) for group in ("prediction", "randomization"))
    if trained is not None:
        yield from _aucs_of(trained, images, TRAINED)
    scores = _probabilities(cubes, "localizer", "score")
    if scores is not None:
        # A localizer has no scores of findings that it does not localise.
        yield from (row for row in _aucs_of(scores, images, LOCALIZER)
                    if row["n_positive"] or row["n_negative"])
    if drawn is None:
        return
    drawn = drawn.isel(stage=-1).transpose("image", "finding", "model", "replicate")
    if trained is not None:
        names = set(drawn["model"].values)
        same = trained.isel(model=[m for m, name in enumerate(trained["model"].values)
                                   if name in names])
        known = np.isfinite(drawn.sel(model=same["model"].values).values).all(axis=-1)
        if (np.isfinite(same.values) & ~known)[images.chosen].any():
            yield from _aucs_of(same.copy(data=np.where(known, same.values, np.nan)), images,
                                TRAINED_ON_DRAWN)
    for r, replicate in enumerate(drawn["replicate"].values):
        yield from _aucs_of(drawn.isel(replicate=r), images, RANDOMISED, str(int(replicate)))


def _probabilities(cubes: xr.DataTree, group: str, name: str = "probability"
                   ) -> xr.DataArray | None:
    if group not in cubes.children or name not in cubes[group].data_vars:
        return None
    return cubes[group].to_dataset()[name].transpose("image", "finding", "model", ...)


def _aucs_of(probability: xr.DataArray, images: Images, condition: str, replicate: str = ""
             ) -> Iterator[dict[str, Any]]:
    assert images.labels is not None
    values = probability.values.astype(np.float64)[images.chosen]
    built, seeds = (_coordinate(probability, name)
                    for name in ("model_architecture", "model_seed"))
    for f in images.chosen_findings.tolist():
        labels = images.labels[images.chosen, f]
        for m, model in enumerate(map(str, probability["model"].values)):
            yield {"finding": images.findings[f], "model": model,
                   "architecture": built.get(model, ""), "seed": seeds.get(model, ""),
                   "condition": condition, "replicate": replicate,
                   **_auc(labels, values[:, f, m])}


def _auc(labels: npt.NDArray[np.int8], scores: npt.NDArray[np.float64]) -> dict[str, Any]:
    known = np.isfinite(scores) & np.isin(labels, (Label.POSITIVE, Label.NEGATIVE))
    positive = labels[known] == Label.POSITIVE
    return {"image_auc": roc_auc(positive, scores[known]), "n_positive": int(positive.sum()),
            "n_negative": int((~positive).sum())}


def _coordinate(labelled: xr.DataArray | xr.Dataset, name: str) -> dict[str, str]:
    """A coordinate of the models by name, as text."""
    if name not in labelled.coords:
        return {}
    return {str(model): str(value) for model, value in
            zip(labelled["model"].values, labelled[name].values, strict=True)}
