"""Image-level AUC of every model: what its maps explain has to be known beside their scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from saltrust.analysis.inference.auc import roc_auc
from saltrust.analysis.stored_maps import Images
from saltrust.cache.schema import Label

COLUMNS = ("finding", "model", "architecture", "seed", "condition", "replicate", "image_auc",
           "n_positive", "n_negative")

TRAINED, RANDOMISED = "trained", "randomised"


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
        ``randomised`` is the last stage of ``/randomization``, of each replicate.
    """
    rows = list(_rows(cubes, images)) if images.labels is not None else []
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.astype({"image_auc": "float64", "n_positive": "int64", "n_negative": "int64"})


def architectures(cubes: xr.DataTree, models: Sequence[str], group: str) -> dict[str, str]:
    """Architecture of every model by name; empty where the cubes do not say."""
    found = _coordinate(cubes, group, "model_architecture")
    return {model: found.get(model, "") for model in models}


def _rows(cubes: xr.DataTree, images: Images) -> Iterator[dict[str, Any]]:
    assert images.labels is not None
    for group in ("prediction", "randomization"):
        if group not in cubes.children or "probability" not in cubes[group].data_vars:
            continue
        stored = cubes[group].to_dataset()["probability"].transpose("image", "finding", "model",
                                                                    ...)
        models = [str(name) for name in stored["model"].values]
        built = _coordinate(cubes, group, "model_architecture")
        seeds = _coordinate(cubes, group, "model_seed")
        if group == "randomization":
            stored = stored.isel(stage=-1).transpose("image", "finding", "model", "replicate")
            replicates = [int(r) for r in stored["replicate"].values]
        else:
            stored = stored.expand_dims("replicate", axis=-1)
            replicates = [-1]
        values = stored.values.astype(np.float64)[images.chosen]
        for f in images.chosen_findings.tolist():
            labels = images.labels[images.chosen, f]
            for m, model in enumerate(models):
                for r, replicate in enumerate(replicates):
                    yield {
                        "finding": images.findings[f], "model": model,
                        "architecture": built.get(model, ""), "seed": seeds.get(model, ""),
                        "condition": TRAINED if group == "prediction" else RANDOMISED,
                        "replicate": "" if replicate < 0 else str(replicate),
                        **_auc(labels, values[:, f, m, r])}


def _auc(labels: npt.NDArray[np.int8], scores: npt.NDArray[np.float64]) -> dict[str, Any]:
    known = np.isfinite(scores) & np.isin(labels, (Label.POSITIVE, Label.NEGATIVE))
    positive = labels[known] == Label.POSITIVE
    return {"image_auc": roc_auc(positive, scores[known]), "n_positive": int(positive.sum()),
            "n_negative": int((~positive).sum())}


def _coordinate(cubes: xr.DataTree, group: str, name: str) -> dict[str, str]:
    """A coordinate of the models of a group by name, as text."""
    if group not in cubes.children:
        return {}
    dataset = cubes[group].to_dataset()
    if name not in dataset.variables:
        return {}
    return {str(model): str(value) for model, value in
            zip(dataset["model"].values, dataset[name].values, strict=True)}
