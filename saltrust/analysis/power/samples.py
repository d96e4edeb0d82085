"""Data of one simulated study, and what they are drawn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from saltrust.analysis.power.designs import Design
from saltrust.analysis.power.options import PowerTest, Stated

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

#: Hit rates of arms whose luck would carry them out of (0, 1).
_LEAST_RATE = 1e-6


@dataclass(frozen=True)
class Sample:
    """Scores of the images of a study.

    Attributes
    ----------
    values : ndarray of float64, shape (image, arm, model)
        Arms are what is compared: two maps, the AI and its readers, two models.
    patients : ndarray, shape (image,)
    covariate : ndarray of float64, shape (image,)
        Group, label or descriptor; empty where the comparison has none.
    """

    values: FloatArray
    patients: npt.NDArray[Any]
    covariate: FloatArray


NO_COVARIATE: FloatArray = np.empty(0)


def owners(generator: np.random.Generator, design: Design) -> IntArray:
    """Patient of every image."""
    low, high = design.images_between()
    counts = (np.full(design.patients, low) if low == high
              else generator.integers(low, high + 1, design.patients))
    return np.repeat(np.arange(design.patients), counts)


def standard_scores(generator: np.random.Generator, owner: IntArray, arms: int, models: int,
                    stated: Stated) -> FloatArray:
    """Standard normal scores, shape (image, arm, model).

    A score is ``sqrt(icc)`` of its patient, ``sqrt(model_share)`` of the training, and the rest
    of its image; patient and image agree between arms by the correlation.
    """
    count = int(owner[-1]) + 1
    shared, alone = np.sqrt(stated.correlation), np.sqrt(1 - stated.correlation)
    of_patient = (shared * generator.normal(size=(count, 1))
                  + alone * generator.normal(size=(count, arms)))
    of_image = (shared * generator.normal(size=(len(owner), 1))
                + alone * generator.normal(size=(len(owner), arms)))
    z = (np.sqrt(stated.icc) * of_patient[owner]
         + np.sqrt(1 - stated.icc - stated.model_share) * of_image)[:, :, None]
    if stated.model_share:
        return np.asarray(z + np.sqrt(stated.model_share)
                          * generator.normal(size=(len(owner), arms, models)), dtype=np.float64)
    return np.repeat(z, models, axis=2)


def scored(generator: np.random.Generator, z: FloatArray, means: npt.ArrayLike, stated: Stated,
           test: PowerTest) -> FloatArray:
    """Scores, or hits, of given means from standard normal ones.

    Parameters
    ----------
    generator : numpy.random.Generator
        Of the luck of trainings.
    z : ndarray, shape (image, arm, model)
    means : array_like of float, shape (arm,) or (image, arm)
    stated : Stated
    test : PowerTest
    """
    places = np.asarray(means, dtype=np.float64)[..., None]
    if stated.model_sd:
        places = places + stated.model_sd * generator.normal(size=z.shape[1:])
    if test.outcome == "hit":
        rates = np.clip(places, _LEAST_RATE, 1 - _LEAST_RATE)
        return np.asarray(z > ndtri(1 - rates), dtype=np.float64)
    return np.asarray(places + stated.sd * z, dtype=np.float64)


def two_arms(generator: np.random.Generator, design: Design, stated: Stated, test: PowerTest
             ) -> Sample:
    """Two scores of every image; the first has the effect more than the second."""
    owner = owners(generator, design)
    z = standard_scores(generator, owner, 2, design.models, stated)
    return Sample(scored(generator, z, [stated.mean + design.effect, stated.mean], stated, test),
                  owner, NO_COVARIATE)


def second_group(patients: int, share: float) -> FloatArray:
    """Whether each patient is of the second group: as many as the share says, at least one.

    Examples
    --------
    >>> second_group(5, 0.4)
    array([0., 0., 0., 1., 1.])
    """
    count = min(max(round(patients * share), 1), patients - 1)
    return np.repeat([0.0, 1.0], [patients - count, count])
