"""Areas under the curves of ``/faithfulness``, beside those of random orders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from saltrust.analysis.stored.arrays import dataset_of, labels_of, values_of
from saltrust.analysis.stored.contents import source
from saltrust.analysis.stored.images import images_of
from saltrust.cache.schema import GROUPS, Status
from saltrust.choices import Failures, Images
from saltrust.errors import DataError, UsageError, nearest

FloatArray = npt.NDArray[np.float64]

#: Metrics with a curve, and whether the larger area is the better one.
CURVES = {"deletion": False, "insertion": True, "morf": False, "lerf": True}
#: Metrics that are one number a map; the smaller is the better one.
NUMBERS = ("infidelity", "sensitivity")
METRICS = (*CURVES, *NUMBERS)

_OF_MAPS = ("image", "finding", "explainer", "model")
_GROUP = "faithfulness"


@dataclass(frozen=True)
class FaithfulnessScores:
    """What every map scored, of the images that count.

    Attributes
    ----------
    images, patients : list of str
    labels : dict of str to list of str
        Of ``finding``, ``explainer``, ``model`` and ``metric``.
    values : ndarray of float64, shape (image, finding, explainer, model, metric)
        Areas, or numbers; NaN where there is none.
    random : ndarray of float64, shape (image, finding, model, metric)
        Mean area of the random orders; NaN of metrics that are numbers.
    failed : ndarray of bool, shape (image, finding, explainer, model)
        Maps that are flat or not finite.
    """

    images: list[str]
    patients: list[str]
    labels: dict[str, list[str]]
    values: FloatArray
    random: FloatArray
    failed: npt.NDArray[np.bool_]

    @property
    def merit(self) -> FloatArray:
        """The values, turned so that more is better; shape of ``values``."""
        return np.asarray(self.values * [1.0 if CURVES.get(name, False) else -1.0
                                         for name in self.labels["metric"]])

    @property
    def gain(self) -> FloatArray:
        """By how much areas are better than those of random orders; shape of ``values``."""
        return np.asarray(self.merit - self.random[:, :, None] * [
            1.0 if CURVES.get(name, False) else -1.0 for name in self.labels["metric"]])

    def table(self) -> pd.DataFrame:
        """One row per image, finding, explainer, model and metric that has a value."""
        at = np.argwhere(np.isfinite(self.values))
        names = [np.array(self.images, dtype=object),
                 *(np.array(self.labels[dim], dtype=object)
                   for dim in ("finding", "explainer", "model", "metric"))]
        columns = {dim: names[axis][at[:, axis]] for axis, dim in
                   enumerate((*_OF_MAPS, "metric"))}
        i, f, _, m, k = at.T
        index = tuple(at.T)
        return pd.DataFrame({
            "image": columns.pop("image"), "patient": np.array(self.patients, dtype=object)[i],
            **columns, "value": self.values[index], "random": self.random[i, f, m, k],
            "gain": self.gain[index], "failed": self.failed[index[:4]]})


def area_under(curve: npt.ArrayLike, removed: npt.ArrayLike) -> FloatArray:
    r"""Trapezoids under a curve over the true fractions, divided by the range of these.

    Parameters
    ----------
    curve, removed : array_like of float, shape (..., q)
        ``removed`` from one end to the other, rising or falling; what they share is broadcast.

    Returns
    -------
    ndarray of float64, shape (...)
        :math:`\sum_j (c_j + c_{j+1}) (r_{j+1} - r_j) / 2 (r_q - r_1)`: the mean height, so that a
        curve which does not reach both ends can be compared with one that does.  NaN where the
        ends are the same.

    Examples
    --------
    >>> float(area_under([1.0, 0.5, 0.0], [0.0, 0.5, 1.0]))
    0.5
    >>> float(area_under([0.0, 1.0], [1.0, 0.0]))
    0.5
    """
    heights, places = np.asarray(curve, np.float64), np.asarray(removed, np.float64)
    areas = ((heights[..., 1:] + heights[..., :-1]) / 2 * np.diff(places)).sum(axis=-1)
    width = np.broadcast_to(places[..., -1] - places[..., 0], areas.shape)
    return np.asarray(np.divide(areas, width, out=np.full(areas.shape, np.nan),
                                where=width != 0))


def stored_faithfulness(cubes: xr.DataTree) -> xr.Dataset:
    """Group ``/faithfulness``.

    Raises
    ------
    DataError
        If the cubes hold no curves.
    """
    dataset = dataset_of(cubes, _GROUP)
    if dataset is None or not {"curve", "removed", "random", "status"} <= set(dataset.variables):
        raise DataError(f"{source(cubes)} holds no curves of faithfulness (/faithfulness is "
                        "absent), so it cannot be judged; generate them with [faithfulness] in "
                        "the study")
    return dataset


def faithfulness_scores(cubes: xr.DataTree, images: Images, failures: Failures,
                        metrics: Sequence[str] | None = None) -> FaithfulnessScores:
    """Areas and numbers of every map.

    Parameters
    ----------
    cubes : xarray.DataTree
    images : {"all", "positive"}
    failures : {"score", "drop"}
        A flat or non-finite map orders nothing: it gets the mean area of the random orders, where
        there is one, or its image is left out for all explainers of the model.
    metrics : sequence of str, optional
        Of :data:`METRICS`; all that are stored by default.

    Raises
    ------
    DataError
        If there are no curves, or one of a usable map has values that are missing.
    UsageError
        If a metric is not known, or not stored.
    """
    dataset = stored_faithfulness(cubes)
    chosen = _chosen(dataset, metrics)
    study = images_of(cubes)
    labels = {dim: labels_of(dataset, dim) for dim in _OF_MAPS[1:]}
    status = values_of(dataset["status"], _OF_MAPS)
    counted = status != Status.MISSING
    if images == "positive":
        for f, finding in enumerate(labels["finding"]):
            counted[:, f] &= study.positive(finding)[:, None, None]
    if not counted.any():
        raise DataError(f"no selected image {'that shows a finding ' * (images == 'positive')}"
                        f"has curves of faithfulness in {source(cubes)}; select others, or "
                        "generate them")
    failed = counted & (status != Status.OK)
    if failures == "drop":
        counted &= ~failed.any(axis=2, keepdims=True)
    values, random = _values(dataset, chosen, counted, failed)
    kept = np.flatnonzero(counted.any(axis=(1, 2, 3)))
    return FaithfulnessScores(
        [study.names[k] for k in kept], [study.patients[k] for k in kept],
        {**labels, "metric": chosen}, values[kept], random[kept], failed[kept])


def _chosen(dataset: xr.Dataset, metrics: Sequence[str] | None) -> list[str]:
    """Names of the metrics that are stored, or of those that are asked for."""
    curves = labels_of(dataset, "metric")
    known = [name for name in METRICS if name in curves
             or (name in NUMBERS and name in dataset
                 and bool(np.isfinite(dataset[name].values).any()))]
    for name in metrics or ():
        if name not in METRICS:
            raise UsageError(f"metric {name!r} is not known; {nearest(name, METRICS)}")
        if name not in known:
            raise UsageError(f"the cubes have no metric {name!r}, but {', '.join(known)}; name "
                             "one of these, or generate it with [faithfulness]")
    return [name for name in known if not metrics or name in metrics]


def _values(dataset: xr.Dataset, metrics: Sequence[str], counted: npt.NDArray[np.bool_],
            failed: npt.NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
    """Areas and numbers, and the mean areas of random orders."""
    stored = labels_of(dataset, "metric")
    values = np.full((*counted.shape, len(metrics)), np.nan)
    shared: npt.NDArray[np.bool_] = np.asarray(counted.any(axis=2))
    random = np.full((*shared.shape, len(metrics)), np.nan)
    declared = GROUPS[_GROUP]
    for k, name in enumerate(metrics):
        if name in NUMBERS:
            numbers = values_of(dataset[name], declared[name].dims).astype(np.float64)
            values[..., k] = np.where(counted & ~failed, numbers, np.nan)
            continue
        at = stored.index(name)
        curve, removed, orders = (
            values_of(dataset[variable], declared[variable].dims).take(
                at, axis=declared[variable].dims.index("metric"))
            for variable in ("curve", "removed", "random"))
        areas = area_under(curve, removed[:, None, None, None])
        of_orders = area_under(orders, removed[:, None, None, None]).mean(axis=-1)
        _require(dataset, counted & ~failed, areas, name, _OF_MAPS)
        # Where the model gave no number, no map has a curve and neither have random orders.
        usable: npt.NDArray[np.bool_] = np.asarray((counted & ~failed).any(axis=2))
        _require(dataset, usable, of_orders, name, ("image", "finding", "model"))
        values[..., k] = np.where(failed, of_orders[:, :, None], areas)
        values[~counted, k] = np.nan
        random[..., k] = np.where(shared, of_orders, np.nan)
    return values, random


def _require(dataset: xr.Dataset, wanted: npt.NDArray[np.bool_], areas: FloatArray, metric: str,
             dims: Sequence[str]) -> None:
    """Refuse a curve that is said to be there and has values that are missing."""
    lost = np.argwhere(wanted & ~np.isfinite(areas))
    if len(lost):
        named: dict[str, Any] = {dim: labels_of(dataset, dim)[k]
                                 for dim, k in zip(dims, lost[0], strict=True)}
        what = "curve" if "explainer" in dims else "curve of random orders"
        raise DataError(f"the {metric} {what} of "
                        + ", ".join(f"{dim} {label!r}" for dim, label in named.items())
                        + " has values that are missing; `saltrust verify` on its store tells "
                        "what else is wrong, and with --repair `saltrust generate --resume` "
                        "computes it again")
