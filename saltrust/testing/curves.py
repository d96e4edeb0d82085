"""Simulated curves of faithfulness: predictions while parts of an image are removed or inserted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from saltrust.cache.readings import BY_NAME, READING
from saltrust.cache.schema import FAITHFULNESS_METRICS, Status
from saltrust.testing.fields import FloatArray
from saltrust.testing.maps import EXPLAINERS, StatusArray
from saltrust.testing.readers import CURVES, SimulatedStudy

#: How fast the prediction goes when what a map calls relevant is removed; random orders have 1.
_STEEPNESS = {"gradcam": 8.0, "guided_backprop": 3.0, "grad": 1.0}
ORDERS = 5
FRACTIONS = np.arange(11) / 10
#: Along each side of the grid that `morf` and `lerf` remove parts of.
_SQUARES = 8


def curve_labels() -> xr.Dataset:
    """Coordinates of ``/faithfulness`` beside explainers and models, as a store holds them."""
    return xr.Dataset(coords={
        "metric": list(FAITHFULNESS_METRICS), "fraction": FRACTIONS, "order": np.arange(ORDERS),
        READING: ("explainer", _readings())})


def _readings() -> list[str]:
    """By which maps are ordered: evidence by its raw sign."""
    declared = [BY_NAME.get(name, "raw") for name in EXPLAINERS]
    return ["raw" if word == "positive" else word for word in declared]


def curve_facts(seed: int) -> dict[str, Any]:
    """What the root attribute ``faithfulness`` of a store says."""
    return {"metrics": list(FAITHFULNESS_METRICS), "baseline": "blur", "blur_sigma": 0.022,
            "squares": [_SQUARES, _SQUARES], "noise_sigma": 0.01, "orders": ORDERS,
            "labels": "all", "passes": 0, "seed": seed,
            "reading": dict(zip(EXPLAINERS, _readings(), strict=True))}


def simulated_curves(study: SimulatedStudy, probability: FloatArray, status: StatusArray
                     ) -> dict[str, npt.NDArray[Any]]:
    """Curves of three explainers, of which ``grad`` orders pixels no better than chance.

    Every prediction falls to a part of itself; how fast is of the explainer, of the patient, of
    the image and of the order.

    Parameters
    ----------
    study : SimulatedStudy
    probability : ndarray of float64, shape (image, finding, model)
    status : ndarray of uint8, shape (image, finding, explainer, model)
        Of the maps.

    Returns
    -------
    dict of str to ndarray
        The variables of ``/faithfulness``.
    """
    generator = study.stream(CURVES)
    n_images, n_findings, n_models = probability.shape
    patient = np.unique(study.index["patient"].values, return_inverse=True)[1]
    of_patient = (0.2 + 1.6 * generator.random((patient.max() + 1, n_findings)))[patient]
    pace = of_patient[..., None] * (0.75 + 0.5 * generator.random(probability.shape))
    last = probability * (0.1 + 0.1 * generator.random(probability.shape))

    def draw(steepness: Sequence[float]) -> FloatArray:
        """Shape (image, finding, k, model, metric, fraction)."""
        shape = (n_images, n_findings, len(steepness), n_models, len(FAITHFULNESS_METRICS))
        rate = (np.asarray(steepness)[:, None, None] * pace[:, :, None, :, None]
                * (0.7 + 0.6 * generator.random(shape)))[..., None]
        quick, slow = (1 - FRACTIONS) / (1 + rate * FRACTIONS), \
            (1 - FRACTIONS) * (1 + rate) / (1 + rate * (1 - FRACTIONS))
        left = np.stack([quick[..., 0, :], 1 - quick[..., 1, :], quick[..., 2, :],
                         slow[..., 3, :]], axis=-2)
        values = last[:, :, None, :, None, None] + left * (probability - last)[
            :, :, None, :, None, None]
        inside = (FRACTIONS > 0) & (FRACTIONS < 1)
        return np.clip(values + 0.04 * inside * (generator.random(values.shape) - 0.5), 0, 1)

    curve = draw([_STEEPNESS[name] for name in EXPLAINERS])
    random = np.moveaxis(draw([1.0] * ORDERS), 2, 4)
    state = np.where(np.isnan(probability)[:, :, None] & (status != Status.MISSING),
                     np.uint8(Status.NONFINITE), status)
    curve[np.isin(state, (Status.MISSING, Status.NONFINITE))] = np.nan
    squares = np.round(FRACTIONS * _SQUARES ** 2) / _SQUARES ** 2
    removed = np.broadcast_to(np.stack([FRACTIONS, 1 - FRACTIONS, squares, squares]),
                              (n_images, len(FAITHFULNESS_METRICS), len(FRACTIONS)))
    known = np.where(np.isnan(curve[..., 0, 0]), np.nan, 1.0)
    steep = np.array(list(_STEEPNESS.values()))[:, None]
    return {
        "curve": curve.astype(np.float32), "removed": removed.astype(np.float32),
        "random": random.astype(np.float32), "status": state.astype(np.uint8),
        "infidelity": (known * (0.2 + generator.random(state.shape)) / steep).astype(np.float32),
        "sensitivity": (known * (0.1 + generator.random(state.shape))).astype(np.float32)}
