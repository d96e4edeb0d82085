"""Mean curves of faithfulness with pointwise intervals by patient, those of random orders too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from saltrust.analysis.inference.estimate import estimates_table
from saltrust.analysis.inference.tested_means import mean_estimates
from saltrust.analysis.options import Resampling
from saltrust.analysis.stored.arrays import labels_of, values_of
from saltrust.analysis.trustworthiness.faithfulness.areas import (
    CURVES,
    FaithfulnessScores,
    stored_faithfulness,
)
from saltrust.cache.schema import GROUPS

FloatArray = npt.NDArray[np.float64]

#: Name of the random orders beside those of explainers.
RANDOM = "random orders"


def mean_curves(cubes: xr.DataTree, scores: FaithfulnessScores, resampling: Resampling
                ) -> pd.DataFrame:
    """Mean probability along every curve, of the maps that are usable and count.

    Parameters
    ----------
    cubes : xarray.DataTree
    scores : FaithfulnessScores
        Of the same cubes: which maps count.
    resampling : Resampling

    Returns
    -------
    pandas.DataFrame
        ``finding, explainer, model, metric``, the uniform columns without tests, ``fraction`` as
        asked for and ``removed``, the mean true one.  Random orders are averaged per image.
    """
    dataset = stored_faithfulness(cubes)
    at = [labels_of(dataset, "image").index(image) for image in scores.images]
    patients = np.array(scores.patients, dtype=object)
    fractions = np.atleast_1d(dataset["fraction"].values).astype(np.float64)
    stored = labels_of(dataset, "metric")
    rows: list[dict[str, Any]] = []
    for k, metric in enumerate(scores.labels["metric"]):
        if metric not in CURVES:
            continue
        curve, removed, orders = (_of_metric(dataset, name, stored.index(metric), at)
                                  for name in ("curve", "removed", "random"))
        counted = np.isfinite(scores.values[..., k])
        shared: npt.NDArray[np.bool_] = np.asarray(counted.any(axis=2))
        usable = counted & ~scores.failed
        for names, values in _curves(scores, curve, orders.mean(axis=3), usable,
                                     shared):
            known = np.isfinite(values[:, 0])
            if not known.any():
                continue
            made = mean_estimates(
                values, patients, resamples=resampling.resamples, kind=resampling.kind,
                confidence_level=resampling.confidence_level, seed=resampling.seed)
            places = removed[known].mean(axis=0)
            rows += [{**names, "metric": metric, "fraction": fraction, **one.row("probability"),
                      "removed": place}
                     for fraction, one, place in zip(fractions, made, places, strict=True)]
    identify = ("finding", "explainer", "model", "metric")
    return estimates_table(rows, identify, ("fraction", "removed"))


def _of_metric(dataset: xr.Dataset, name: str, metric: int, images: list[int]) -> FloatArray:
    dims = GROUPS["faithfulness"][name].dims
    values = values_of(dataset[name], dims).take(metric, axis=dims.index("metric"))
    return np.asarray(values[images], dtype=np.float64)


def _curves(scores: FaithfulnessScores, curve: FloatArray, random: FloatArray,
            usable: npt.NDArray[np.bool_], shared: npt.NDArray[np.bool_]
            ) -> Iterator[tuple[dict[str, str], FloatArray]]:
    """Names and curves of all images, shape (image, fraction); NaN where they do not count."""
    for f, finding in enumerate(scores.labels["finding"]):
        for m, model in enumerate(scores.labels["model"]):
            for e, explainer in enumerate(scores.labels["explainer"]):
                yield ({"finding": finding, "explainer": explainer, "model": model},
                       np.where(usable[:, f, e, m, None], curve[:, f, e, m], np.nan))
            yield ({"finding": finding, "explainer": RANDOM, "model": model},
                   np.where(shared[:, f, m, None], random[:, f, m], np.nan))
