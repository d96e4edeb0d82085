"""Data of our kind: several images a patient, zeros, rounding, spreads that differ."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv, ndtr
from scipy.stats import norm

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Images = Literal["one", "many", "informative"]

#: Intraclass correlation of what images of one patient share.
SHARED = 0.5
#: Share of scores that are zero, and parameters of the others' beta distribution.
ZEROS, SHAPE = 0.35, (2.0, 4.0)
#: Standard deviations of nine explainers, in families of three.
SPREADS = np.linspace(0.02, 0.25, 9)
WITHIN_FAMILY, ACROSS = 0.9, 0.2


@dataclass(frozen=True)
class Design:
    """Whose images are drawn.

    Attributes
    ----------
    patients : int
    images : {"one", "many", "informative"}
        One a patient; one to ten; or more of them the higher the patient's own level is.
    """

    patients: int
    images: Images = "many"

    def __str__(self) -> str:
        kinds = {"one": "1 image", "many": "1 to 10 images",
                 "informative": "1 to 10 images, more where scores are high"}
        return f"{self.patients} patients, {kinds[self.images]}"


def drawn_patients(generator: np.random.Generator, design: Design) -> tuple[IntArray, FloatArray]:
    """Patient of every image, and the standard normal level of every patient."""
    levels = generator.normal(size=design.patients)
    if design.images == "one":
        counts = np.ones(design.patients, dtype=np.int64)
    elif design.images == "many":
        counts = generator.integers(1, 11, design.patients)
    else:
        counts = np.minimum(1 + (10 * ndtr(levels)).astype(np.int64), 10)
    return np.repeat(np.arange(design.patients), counts), levels


def latent(generator: np.random.Generator, owner: IntArray, levels: FloatArray) -> FloatArray:
    """Standard normal, with the patients' levels in it."""
    return (np.sqrt(SHARED) * levels[owner]
            + np.sqrt(1 - SHARED) * generator.normal(size=len(owner)))


def overlaps(z: FloatArray) -> FloatArray:
    """Scores like overlaps: a third of them zero, the rest rounded beta, in the order of ``z``."""
    u = ndtr(z)
    inside = np.clip((u - ZEROS) / (1 - ZEROS), 1e-12, 1 - 1e-12)
    return np.where(u < ZEROS, 0.0, np.round(betaincinv(*SHAPE, inside), 3))


def hits(z: FloatArray, share: float) -> FloatArray:
    """Zeros and ones, with a share of ones, in the order of ``z``."""
    return (z > norm.ppf(1 - share)).astype(np.float64)


@lru_cache
def truth(images: Images, share: float | None = None) -> float:
    """Mean over images of :func:`overlaps`, or of :func:`hits`, of a million draws."""
    generator = np.random.default_rng(20_260_101)
    owner, levels = drawn_patients(generator, Design(200_000 if images != "one" else 1_000_000,
                                                     images))
    z = latent(generator, owner, levels)
    return float((overlaps(z) if share is None else hits(z, share)).mean())


def explainers(generator: np.random.Generator, owner: IntArray,
               levels: FloatArray, spreads: FloatArray = SPREADS) -> FloatArray:
    """Scores of explainers without a difference of means, shape (images, explainer).

    They correlate by .9 within families of three and by .2 across, and share the patients'
    levels.
    """
    count = len(spreads)
    family = np.arange(count) // 3
    correlation = np.where(family[:, None] == family, WITHIN_FAMILY, ACROSS)
    np.fill_diagonal(correlation, 1.0)
    root = np.linalg.cholesky(correlation)
    of_patient = generator.normal(size=(len(levels), count)) @ root.T
    of_image = generator.normal(size=(len(owner), count)) @ root.T
    return np.asarray(0.5 + spreads * (np.sqrt(SHARED) * of_patient[owner]
                                       + np.sqrt(1 - SHARED) * of_image), dtype=np.float64)
