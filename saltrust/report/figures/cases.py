"""Choosing the cases that illustrate a study: by rule, never by eye.

Per finding the best, the median and the worst IoU; where nothing was scored, the highest,
the median and the lowest probability among the images labelled positive.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from saltrust.analysis.stored.arrays import group_of, labels_of, whole
from saltrust.cache.schema import Label, Status

BY_IOU = ("best IoU", "median IoU", "worst IoU")
BY_PROBABILITY = ("highest probability", "median probability", "lowest probability")


@dataclass(frozen=True)
class Choice:
    """One image and finding; ``why`` says by which rule it was chosen."""

    image: str
    finding: str
    why: str
    probability: float


def headline_model(dataset: xr.Dataset) -> str:
    """The ensemble where there is one, else the first model.

    Parameters
    ----------
    dataset : xarray.Dataset
        Group with models.
    """
    names = labels_of(dataset, "model")
    if "model_role" in dataset.coords:
        roles = labels_of(dataset, "model_role")
        if "ensemble" in roles:
            return names[roles.index("ensemble")]
    return names[0]


def choose(cubes: xr.DataTree, scores: pd.DataFrame | None, *, explainer: str, model: str,
           ) -> list[Choice]:
    """Choose up to three cases per finding among the maps of one explainer and model.

    Parameters
    ----------
    cubes : xarray.DataTree
        Needs ``/saliency``.
    scores : pandas.DataFrame or None
        Per-map scores; only rows of ``explainer`` and ``model`` with an IoU count, and of
        these only positives (``area_reference`` above 0).
    explainer, model : str
        Whose maps decide.

    Returns
    -------
    list of Choice
        Findings in the order of the cubes; ties in the order of the images.
    """
    pairs = _mapped_pairs(cubes, explainer, model)
    pairs["probability"] = probabilities(cubes, model, pairs)
    names: tuple[str, str, str]
    if scores is not None and _has_scores(scores, explainer, model):
        ranked, by, names = _with_iou(pairs, scores, explainer, model), "iou", BY_IOU
    else:
        ranked, by, names = _positives(pairs, cubes), "probability", BY_PROBABILITY
    choices: list[Choice] = []
    for finding in dict.fromkeys(pairs["finding"].tolist()):
        rows = ranked[ranked["finding"] == finding]
        # Without probabilities all tie, and the order of the images decides.
        rows = rows.sort_values(by, ascending=False, kind="stable", na_position="last")
        for place, why in _places(len(rows), names):
            row = rows.iloc[place]
            choices.append(Choice(str(row["image"]), str(finding), why,
                                  float(row["probability"])))
    return choices


def by_probability(cubes: xr.DataTree, finding: str, explainer: str, model: str, count: int,
                   ) -> list[str]:
    """Images with a map, from the highest to the lowest probability, evenly spaced.

    Parameters
    ----------
    cubes : xarray.DataTree
        Needs ``/saliency``.
    finding, explainer, model : str
    count : int
        At most so many.

    Returns
    -------
    list of str
        Of the images labelled positive, where there are any; in their order in the cubes where
        there are no probabilities.
    """
    pairs = _mapped_pairs(cubes, explainer, model)
    pairs["probability"] = probabilities(cubes, model, pairs)
    pairs = pairs[pairs["finding"] == finding]
    if pairs.empty:
        return []
    rows = _positives(pairs, cubes).sort_values("probability", ascending=False, kind="stable",
                                                na_position="last")
    places = np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int))
    return [str(name) for name in rows["image"].iloc[places]]


def probabilities(cubes: xr.DataTree, model: str, pairs: pd.DataFrame,
                  ) -> npt.NDArray[np.float64]:
    """Predicted probability of each (image, finding) pair; NaN where there is none."""
    if "prediction" in cubes.children:
        array = whole(group_of(cubes, "prediction")["probability"],
                      ("image", "finding", "model"))
        if model in labels_of(array, "model"):
            return at_pairs(array.sel(model=model), pairs).astype(np.float64)
    return np.full(len(pairs), np.nan)


def at_pairs(array: xr.DataArray, pairs: pd.DataFrame) -> npt.NDArray[np.generic]:
    """Values of ``array(image, finding)`` at the pairs in the rows of ``pairs``."""
    labels = {dim: xr.DataArray(np.asarray(pairs[dim].tolist(), dtype=object), dims="pair")
              for dim in ("image", "finding")}
    return np.asarray(array.sel(labels).values)


def _mapped_pairs(cubes: xr.DataTree, explainer: str, model: str) -> pd.DataFrame:
    stored = whole(group_of(cubes, "saliency")["status"],
                   ("image", "finding", "explainer", "model"))
    status = stored.sel(explainer=explainer, model=model)
    images, findings = labels_of(stored, "image"), labels_of(stored, "finding")
    where = np.argwhere(status.values != int(Status.MISSING))
    return pd.DataFrame({"image": [images[i] for i, _ in where],
                         "finding": [findings[f] for _, f in where]}, dtype=object)


def _has_scores(scores: pd.DataFrame, explainer: str, model: str) -> bool:
    return bool((_of(scores, explainer, model)["iou"].notna()).any())


def _of(scores: pd.DataFrame, explainer: str, model: str) -> pd.DataFrame:
    return scores[(scores["explainer"] == explainer) & (scores["model"] == model)]


def _with_iou(pairs: pd.DataFrame, scores: pd.DataFrame, explainer: str, model: str,
              ) -> pd.DataFrame:
    scored = _of(scores, explainer, model)
    scored = scored[scored["iou"].notna() & (scored["area_reference"] > 0)]
    scored = scored.drop_duplicates(["image", "finding"])[["image", "finding", "iou"]]
    return pairs.merge(scored, on=["image", "finding"])


def _positives(pairs: pd.DataFrame, cubes: xr.DataTree) -> pd.DataFrame:
    if "reference" not in cubes.children or "label" not in cubes["reference"].data_vars:
        return pairs
    stored = whole(group_of(cubes, "reference")["label"], ("image", "finding"))
    labels = at_pairs(stored, pairs)
    positive = pairs[labels == int(Label.POSITIVE)]
    return positive if len(positive) else pairs


def _places(count: int, names: Sequence[str]) -> Iterable[tuple[int, str]]:
    """First, middle and last of ``count`` rows, without repetition."""
    places: dict[int, str] = {}
    if count:
        for place, name in zip((0, (count - 1) // 2, count - 1), names, strict=True):
            places.setdefault(place, name)
    return places.items()
