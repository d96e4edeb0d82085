"""Simulated maps: explainers that localize more or less well, stages, localizers, failures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from saltrust.cache.schema import Label, Status
from saltrust.testing.fields import FloatArray, bump, noise
from saltrust.testing.models import SimulatedModel
from saltrust.testing.readers import FAILED, LOCALIZED, MAPS, RANDOM, SimulatedStudy

StatusArray = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class SimulatedExplainer:
    """How the maps of one explainer come about.

    Attributes
    ----------
    parameters : str
        As a store holds them, JSON.
    offset : float
        How far beside the finding its hill lies where the finding is hard to see, relative.
    spread : float
        Width of the hill, relative.
    texture : float
        How much of the radiograph's texture shows, whatever the model has learnt.
    noise : float
    signed : bool
        Whether negative values are kept.
    """

    parameters: str
    offset: float
    spread: float
    texture: float
    noise: float
    signed: bool


#: From the one that localizes best to the one that localizes worst.
EXPLAINERS = {
    "gradcam": SimulatedExplainer("{}", 0.08, 0.22, 0.0, 0.15, signed=False),
    "guided_backprop": SimulatedExplainer("{}", 0.15, 0.16, 0.5, 0.3, signed=True),
    "grad": SimulatedExplainer('{"channels": "sum"}', 0.6, 0.14, 0.2, 0.6, signed=True),
}
#: Of cascading randomization, with the share of the trained model's map that is left.
STAGES = {"trained": 1.0, "classifier": 0.7, "block4": 0.3, "block1": 0.0}
REPLICATES = 2


def explained_maps(study: SimulatedStudy, image: int, models: Sequence[SimulatedModel]
                   ) -> FloatArray:
    """Maps of one image: a hill in or beside each finding, the image's texture, and noise.

    Returns
    -------
    ndarray of float64, shape (finding, explainer, model, grid, grid)
    """
    generator = study.stream(MAPS, image)
    size, n_findings = study.grid, len(study.lesions[image])
    center = np.array([ellipses[0, :2] for ellipses in study.lesions[image]])
    aside = 2 * generator.random((n_findings, len(EXPLAINERS), 2)) - 1
    texture = study.texture(image)
    architectures = sorted({model.architecture for model in models})
    every = [noise(generator, (n_findings, len(EXPLAINERS)), size)
             for _ in (*architectures, *models)]
    of_architecture = dict(zip(architectures, every, strict=False))
    gaze = study.gaze(study.index["image"].values[image], (size, size)) \
        if study.has_gaze else {}
    maps = np.empty((n_findings, len(EXPLAINERS), len(models), size, size))
    for m, model in enumerate(models):
        step = generator.random((n_findings, len(EXPLAINERS), 2)) - 0.5
        alone = every[len(architectures) + m]
        for e, (name, kind) in enumerate(EXPLAINERS.items()):
            away = kind.offset * (0.2 + study.difficulty[image][:, None])
            at = center + away * (aside[:, e] + 0.4 * step[:, e])
            values = (bump(np.clip(at, 0.05, 0.95), kind.spread, size) + kind.texture * texture
                      + kind.noise * (0.8 * of_architecture[model.architecture][:, e]
                                      + 0.6 * alone[:, e]))
            if name == "guided_backprop" and "radiologists" in gaze:
                values += model.follows_gaze * gaze["radiologists"]
            maps[:, e, m] = values if kind.signed else np.maximum(values, 0)
    return maps


def randomized_maps(study: SimulatedStudy, image: int, trained: FloatArray) -> FloatArray:
    """Maps of one model as it is randomized: what depends on the model gives way to noise.

    Parameters
    ----------
    study : SimulatedStudy
    image : int
    trained : ndarray of float64, shape (finding, explainer, grid, grid)

    Returns
    -------
    ndarray of float64, shape (finding, explainer, replicate, stage, grid, grid)
    """
    generator = study.stream(RANDOM, image)
    texture = study.texture(image)
    shape = (*trained.shape[:2], REPLICATES, len(STAGES))
    maps = 0.5 * noise(generator, shape, study.grid)
    for e, kind in enumerate(EXPLAINERS.values()):
        for s, left in enumerate(STAGES.values()):
            maps[:, e, :, s] = (left * trained[:, e, None]
                                + (1 - left) * (3 * kind.texture * texture + maps[:, e, :, s]))
        if not kind.signed:
            maps[:, e] = np.maximum(maps[:, e], 0)
    return maps


def localizer_maps(study: SimulatedStudy, image: int, n_localizers: int,
                   decoders: Sequence[SimulatedModel]) -> FloatArray:
    """Maps of networks trained on masks, and of decoders trained on gaze.

    Returns
    -------
    ndarray of float64, shape (finding, n_localizers + len(decoders), grid, grid)
        In [0, 1].
    """
    generator = study.stream(LOCALIZED, image)
    size = study.grid
    shown = study.labels()[image] == Label.POSITIVE
    hills = np.stack([bump(ellipses[:, :2], 0.2, size).max(axis=0)
                      for ellipses in study.lesions[image]])
    hills *= np.where(shown, 0.9, 0.25)[:, None, None]
    shared = noise(generator, hills.shape[:1], size)
    maps = [hills + 0.04 * shared + 0.04 * noise(generator, hills.shape[:1], size)
            for _ in range(n_localizers)]
    gaze = study.gaze(study.index["image"].values[image], (size, size)) if decoders else {}
    looked = gaze.get("radiologists", np.zeros((size, size), dtype=np.float32))
    maps += [0.8 * looked + 0.1 * noise(generator, hills.shape[:1], size) for _ in decoders]
    return np.asarray(np.clip(np.stack(maps, axis=1), 0, 1))


def statuses(study: SimulatedStudy, n_models: int) -> StatusArray:
    """What becomes of each map: of every explainer a few are missing, flat, or not finite.

    Returns
    -------
    ndarray of uint8, shape (image, finding, explainer, model)
    """
    generator = study.stream(FAILED)
    shape = (*study.labels().shape, n_models)
    status = np.full((*shape[:2], len(EXPLAINERS), n_models), int(Status.OK), dtype=np.uint8)
    n = int(np.prod(shape))
    few = max(1, n // 100)
    for e in range(len(EXPLAINERS)):
        order = generator.permutation(n)
        of_explainer = status[:, :, e].reshape(-1)
        for k, state in enumerate((Status.MISSING, Status.FLAT, Status.NONFINITE)):
            of_explainer[order[k * few:(k + 1) * few]] = state
        status[:, :, e] = of_explainer.reshape(shape)
    return status


def fail(maps: FloatArray, status: StatusArray) -> npt.NDArray[np.float32]:
    """Make maps what their status says.

    Parameters
    ----------
    maps : ndarray of float64, shape (..., grid, grid)
    status : ndarray of uint8, shape (...)

    Returns
    -------
    ndarray of float32, shape of ``maps``
        Missing: NaN throughout; flat: one value; not finite: NaN in the middle.
    """
    failed = maps.astype(np.float32)
    failed[status == Status.MISSING] = np.nan
    failed[status == Status.FLAT] = 0.25
    middle = maps.shape[-1] // 2
    failed[status == Status.NONFINITE, middle, middle] = np.nan
    return failed
