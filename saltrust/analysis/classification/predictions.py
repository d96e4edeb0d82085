"""Probabilities beside labels, and how well one model tells positives from negatives by them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from saltrust.analysis.classification.cases import case_table
from saltrust.analysis.inference.auc import roc_auc, roc_curve
from saltrust.analysis.inference.bootstrap import percentile_interval, resample_weights
from saltrust.analysis.stored.arrays import group_of
from saltrust.cache.schema import Label
from saltrust.choices import CaseLevel
from saltrust.errors import DataError

_LABEL_NAMES = {Label.POSITIVE: "positive", Label.NEGATIVE: "negative",
                Label.UNCERTAIN: "uncertain", Label.NOT_STATED: "not stated"}
#: Of fewer positives or negatives a bootstrap says next to nothing.
FEWEST_PER_CLASS = 5
#: Pairs of a positive and a negative compared at once.
_BLOCK = 4_000_000


@dataclass(frozen=True)
class Discrimination:
    """How well a model tells positives from negatives.

    Attributes
    ----------
    aucs : pandas.DataFrame
        As :func:`discrimination` gives.
    images : str
        On which images, in words (see :func:`held_out`).
    """

    aucs: pd.DataFrame
    images: str


def labeled_probabilities(cubes: xr.DataTree, *, model: str) -> pd.DataFrame:
    """Predicted probabilities of one model beside the labels.

    Parameters
    ----------
    cubes : xarray.DataTree
        With ``/prediction``.
    model : str

    Returns
    -------
    pandas.DataFrame
        ``image, patient, finding, label, probability``; only pairs that were predicted.
        Without a patient the image stands for it.
    """
    prediction = group_of(cubes, "prediction")["probability"].sel(model=model)
    matrix = prediction.transpose("finding", "image")
    images = np.array([str(name) for name in matrix.coords["image"].values], dtype=object)
    patients = images
    if "patient" in cubes.coords:
        names = [str(name) for name in cubes.coords["patient"].sel(image=images).values]
        patients = np.array([name or image for name, image in zip(names, images, strict=True)],
                            dtype=object)
    codes = np.full(matrix.shape, int(Label.NOT_STATED))
    if "reference" in cubes.children:
        labels = group_of(cubes, "reference")["label"]
        codes = labels.sel(image=matrix.coords["image"]).transpose("finding", "image").values
    parts = []
    for k, finding in enumerate(matrix.coords["finding"].values):
        known = np.isfinite(matrix.values[k])
        parts.append(pd.DataFrame({
            "image": images[known], "patient": patients[known], "finding": str(finding),
            "label": [_LABEL_NAMES[Label(int(code))] for code in codes[k][known]],
            "probability": matrix.values[k][known].astype(np.float64),
        }))
    return pd.concat(parts, ignore_index=True)


def held_out(cubes: xr.DataTree, table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Rows whose images the model has not learned from, as far as the splits tell.

    Parameters
    ----------
    cubes : xarray.DataTree
    table : pandas.DataFrame
        With a column ``image``.

    Returns
    -------
    DataFrame
        Rows of the test split; without any, those outside the training split; without these
        either, or without splits, all.
    str
        Which, in words.
    """
    if "split" not in cubes.coords:
        return table, "all images; which of them the model was trained on is not stated"
    pairs = zip(cubes.coords["image"].values, cubes.coords["split"].values, strict=True)
    splits = {str(image): str(split) for image, split in pairs}
    split = table["image"].map(splits)
    for chosen, words in ((split == "test", "test split"), (split == "val", "validation split")):
        if chosen.any():
            return table[chosen], f"images of the {words}"
    if (split == "train").any():
        return table, "all images, those the model was trained on included"
    return table, "all images; which of them the model was trained on is not stated"


def discrimination(table: pd.DataFrame, *, resamples: int = 1000, seed: int = 0,
                   ) -> pd.DataFrame:
    """Area under the ROC curve per finding, with a percentile bootstrap over patients.

    Parameters
    ----------
    table : pandas.DataFrame
        As from :func:`labeled_probabilities`; uncertain and unstated labels are left out.
    resamples, seed : int
        Of the bootstrap.

    Returns
    -------
    pandas.DataFrame
        ``finding, n_positive, n_negative, estimate, conf_low, conf_high``; null where a class
        is absent, the interval also where a class has fewer than ``FEWEST_PER_CLASS`` rows.
    """
    rows = []
    for finding in dict.fromkeys(table["finding"].tolist()):
        group = table[(table["finding"] == finding)
                      & table["label"].isin(["positive", "negative"])]
        truth = (group["label"] == "positive").to_numpy(bool)
        scores = group["probability"].to_numpy(float)
        low = high = float("nan")
        if min(truth.sum(), (~truth).sum()) >= FEWEST_PER_CLASS:
            weights = resample_weights(group["patient"].to_numpy(object), resamples, seed)
            lows, highs, _ = percentile_interval(_resampled_auc(truth, scores, weights))
            low, high = float(lows), float(highs)
        rows.append({"finding": finding, "n_positive": int(truth.sum()),
                     "n_negative": int((~truth).sum()),
                     "estimate": roc_auc(truth, scores) if len(truth) else float("nan"),
                     "conf_low": low, "conf_high": high})
    return pd.DataFrame(rows)


def aucs_of_models(cubes: xr.DataTree, *, level: CaseLevel = "image", resamples: int = 1000,
                   seed: int = 0) -> pd.DataFrame | None:
    """Area under the ROC curve of every model and finding of the cubes.

    Parameters
    ----------
    cubes : xarray.DataTree
        Any selection.
    level : {"image", "study"}
        What a case is (:func:`saltrust.analysis.classification.cases.case_table`).
    resamples, seed : int
        Of the bootstrap.

    Returns
    -------
    pandas.DataFrame or None
        The columns of :func:`discrimination` and ``model``; None where no area can be had.
    """
    if "prediction" not in cubes.children:
        return None
    if level == "study":
        return _of_examinations(cubes, resamples, seed)
    parts = []
    for model in [str(name) for name in group_of(cubes, "prediction")["model"].values]:
        table = labeled_probabilities(cubes, model=model)
        if len(table):
            parts.append(discrimination(table, resamples=resamples, seed=seed
                                        ).assign(model=model))
    areas = pd.concat(parts, ignore_index=True) if parts else None
    return None if areas is None or areas["estimate"].isna().all() else areas


def _of_examinations(cubes: xr.DataTree, resamples: int, seed: int) -> pd.DataFrame | None:
    try:
        cases, _ = case_table(cubes, "study")
    except DataError:
        if "study" not in cubes.coords:
            raise
        return None
    named = cases.assign(label=np.where(cases["label"] == 1, "positive", "negative"))
    areas = pd.concat([discrimination(rows, resamples=resamples, seed=seed).assign(model=model)
                       for model, rows in named.groupby("model", sort=False)], ignore_index=True)
    return None if areas["estimate"].isna().all() else areas


def roc_points(cases: pd.DataFrame) -> pd.DataFrame:
    """The empirical ROC curve of cases.

    Parameters
    ----------
    cases : pandas.DataFrame
        Columns ``label`` (0 or 1) and ``probability``, of one finding and model.

    Returns
    -------
    pandas.DataFrame
        ``false_positive`` and ``true_positive`` rates, from (0, 0) to (1, 1).
    """
    false, true = roc_curve(cases["label"], cases["probability"])
    return pd.DataFrame({"false_positive": false, "true_positive": true})


def _resampled_auc(truth: npt.NDArray[np.bool_], scores: npt.NDArray[np.float64],
                   weights: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """AUC of every resample from the weights of its rows; NaN where a class is not drawn."""
    drawn = weights.astype(np.float64)
    positive, negative = drawn[:, truth], drawn[:, ~truth]
    won = np.zeros(len(drawn))
    step = max(1, _BLOCK // max(int(truth.sum()), 1))
    for start in range(0, negative.shape[1], step):
        below = scores[~truth][start:start + step]
        wins = np.heaviside(scores[truth][:, None] - below[None, :], 0.5)
        won += ((positive @ wins) * negative[:, start:start + step]).sum(axis=1)
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    missing = np.full(len(won), np.nan)
    return np.asarray(np.divide(won, pairs, out=missing, where=pairs > 0))
