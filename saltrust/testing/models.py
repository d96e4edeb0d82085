"""Simulated models: who they are, how they were trained, and what they predict."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from saltrust.cache.schema import Label
from saltrust.testing.fields import FloatArray, saturate
from saltrust.testing.readers import PREDICTED, SimulatedStudy


@dataclass(frozen=True)
class SimulatedModel:
    """One network of the study.

    Attributes
    ----------
    name, architecture : str
    seed : int
    strength : float
        How well it classifies; 0 is chance.
    follows_gaze : float
        How much of the gaze its map by guided backpropagation shows.
    guidance : dict
        What it was trained with beside labels, as ``saltrust generate`` records it.
    """

    name: str
    architecture: str
    seed: int
    strength: float = 1.0
    follows_gaze: float = 0.0
    guidance: dict[str, Any] = field(default_factory=dict)


#: Two seeds of one architecture and one model of another.
CLASSIFIERS = (
    SimulatedModel("densenet-1", "densenet121", 1, 1.2),
    SimulatedModel("densenet-2", "densenet121", 2, 1.0),
    SimulatedModel("inception-1", "inception_v3", 1, 0.7),
)


def _guided(loss: str, seed: int, strength: float, follows_gaze: float, **options: Any
            ) -> SimulatedModel:
    return SimulatedModel(f"{loss}-{seed}", "densenet121", seed, strength, follows_gaze,
                          {"loss": loss, "classification_weight": 0.5, **options})


#: Trained with gaze: baselines from two seeds, and what is compared with them.
GUIDED_CLASSIFIERS = (
    SimulatedModel("plain-1", "densenet121", 1, 0.8),
    _guided("decoder", 1, 0.9, 0.2),
    _guided("decoder", 2, 0.8, 0.2),
    _guided("set1", 1, 1.0, 0.5, rule="guided_backprop"),
    _guided("set3", 1, 1.3, 1.0, rule="guided_backprop"),
    _guided("set3", 2, 1.2, 1.0, rule="guided_backprop"),
)
LOCALIZERS = (SimulatedModel("unet-1", "unet", 1), SimulatedModel("unet-2", "unet", 2))


def model_labels(models: Sequence[SimulatedModel]) -> xr.Dataset:
    """Coordinates of the dimension ``model``, as a store holds them."""
    return xr.Dataset(coords={
        "model": [model.name for model in models],
        "model_role": ("model", ["member"] * len(models)),
        "model_architecture": ("model", [model.architecture for model in models]),
        "model_seed": ("model", np.array([model.seed for model in models], dtype=np.int64)),
        "model_checkpoint": ("model", [checkpoint(model) for model in models])})


def checkpoint(model: SimulatedModel) -> str:
    """A digest in the place of that of the weights."""
    return hashlib.sha256(model.name.encode()).hexdigest()


def model_facts(models: Sequence[SimulatedModel]) -> dict[str, dict[str, Any]]:
    """What the root attribute ``models`` of a store says of each."""
    return {model.name: {
        "architecture": model.architecture, "checkpoint_sha256": checkpoint(model),
        "seed": model.seed, **({"guidance": model.guidance} if model.guidance else {})}
        for model in models}


def predicted_probabilities(study: SimulatedStudy, models: Sequence[SimulatedModel]
                            ) -> FloatArray:
    """Probabilities of models that tell findings well where these are easy to see.

    Parameters
    ----------
    study : SimulatedStudy
    models : sequence of SimulatedModel

    Returns
    -------
    ndarray of float64, shape (image, finding, model)
        NaN at a few places, where the model gave no number.
    """
    generator = study.stream(PREDICTED)
    strength = np.array([model.strength for model in models])
    shown = study.labels() == Label.POSITIVE
    shown |= (study.labels() == Label.UNCERTAIN) & (study.difficulty < 0.5)
    evidence = np.where(shown, 1.3, -1.3) * (1.25 - study.difficulty)
    shape = (*shown.shape, len(strength))
    common = 2 * generator.random(shown.shape) - 1
    values = saturate(strength * evidence[..., None] + 1.2 * common[..., None]
                      + 1.2 * (2 * generator.random(shape) - 1))
    without = generator.permutation(values.size)[:values.size // 150]
    values.reshape(-1)[without] = np.nan
    return values
