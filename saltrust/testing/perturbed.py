"""Simulated perturbation: predictions and maps that change together, or do not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from saltrust.cache.schema import PERTURBATIONS, Status
from saltrust.testing.fields import FloatArray
from saltrust.testing.maps import EXPLAINERS, StatusArray
from saltrust.testing.models import SimulatedModel, model_labels
from saltrust.testing.readers import PERTURBED, SimulatedStudy

#: How much of the change of a map goes with that of the prediction.
_TOGETHER = {"gradcam": 0.9, "guided_backprop": 0.5, "grad": 0.0}
LEVELS = 3
#: Of the first model alone, as maps of random networks are.
N_MODELS = 1


def perturbation_labels(models: Sequence[SimulatedModel]) -> xr.Dataset:
    """Coordinates of ``/perturbation`` beside explainers.

    Parameters
    ----------
    models : sequence of SimulatedModel
        Of the study; the first is perturbed.
    """
    return model_labels(models[:N_MODELS]).assign_coords({
        "perturbation": list(PERTURBATIONS), "level": np.arange(1, LEVELS + 1)})


def simulated_perturbation(study: SimulatedStudy, probability: FloatArray, status: StatusArray
                           ) -> dict[str, npt.NDArray[Any]]:
    """Changes that grow with the level; maps of ``gradcam`` change where the prediction does.

    Parameters
    ----------
    study : SimulatedStudy
    probability : ndarray of float64, shape (image, finding, model)
    status : ndarray of uint8, shape (image, finding, explainer, model)
        Of the maps.

    Returns
    -------
    dict of str to ndarray
        The variables of ``/perturbation``.
    """
    generator = study.stream(PERTURBED)
    before, state = probability[:, :, :N_MODELS], status[..., :N_MODELS]
    shape = (*before.shape, len(PERTURBATIONS), LEVELS)
    patient = np.unique(study.index["patient"].values, return_inverse=True)[1]
    pace = (0.5 + generator.random(patient.max() + 1))[patient][:, None, None, None, None]
    degree = np.arange(1, LEVELS + 1) / LEVELS
    size = pace * degree * generator.random(shape)
    after = before[..., None, None] * (1 - 0.5 * np.clip(size, 0, 1))
    together = np.array(list(_TOGETHER.values()))[:, None, None, None]
    alone = generator.random((*shape[:2], len(EXPLAINERS), *shape[2:]))
    change = together * np.clip(size, 0, 1.5)[:, :, None] / 1.5 + (1 - together) * alone
    change[state != Status.OK] = np.nan
    change[np.isnan(before)[:, :, None] & np.ones_like(state, dtype=bool)] = np.nan
    amounts = np.broadcast_to(degree, (len(PERTURBATIONS), LEVELS))
    return {"probability": after.astype(np.float32), "map_change": change.astype(np.float32),
            "amount": amounts.astype(np.float64), "status": state.astype(np.uint8)}
