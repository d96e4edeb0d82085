"""What a job perturbs, settled before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from saltrust.errors import UsageError
from saltrust.generate.perturbation.kinds import amounts
from saltrust.study import Study


@dataclass(frozen=True)
class PerturbationPlan:
    """Changes of some radiographs of a job.

    Attributes
    ----------
    images : ndarray of int, shape (n,)
        Positions in the store; they are among those that the trained models explain.
    kinds : tuple of str
    levels : int
        Degrees of each kind.
    seed : int
        Of the study.
    """

    images: npt.NDArray[np.intp]
    kinds: tuple[str, ...]
    levels: int
    seed: int

    def amounts(self) -> npt.NDArray[np.float64]:
        """How much of each kind, shape (perturbation, level)."""
        return np.stack([amounts(kind, self.levels) for kind in self.kinds])

    def labels(self, models: xr.Dataset) -> xr.Dataset:
        """Coordinates of ``/perturbation``, given those of the models that are perturbed."""
        return models.assign_coords({
            "perturbation": ("perturbation", list(self.kinds)),
            "level": ("level", np.arange(1, self.levels + 1, dtype=np.int64))})

    def describe(self) -> dict[str, Any]:
        """What a resumed job must have in common with the one it goes on with."""
        return {"images": self.images.tolist(), "kinds": list(self.kinds),
                "amounts": self.amounts().tolist(), "seed": self.seed}


def plan_perturbation(study: Study, images: npt.NDArray[np.intp]) -> PerturbationPlan | None:
    """Settle what ``[perturbation]`` of a study asks for; None where it asks for nothing.

    Parameters
    ----------
    study : Study
    images : ndarray of int
        Positions of the images that get heatmaps.

    Raises
    ------
    UsageError
        If more images are asked for than there are.
    """
    spec = study.perturbation
    if not spec.kinds:
        return None
    if spec.images > len(images):
        raise UsageError(f"images = {spec.images} of [perturbation] is more than the "
                         f"{len(images)} of split {study.generate.split!r}; ask for fewer, or "
                         "choose another split under [generate]")
    order = np.random.default_rng([study.seed, 7]).permutation(len(images))
    chosen = np.sort(images[order[:spec.images or len(images)]])
    return PerturbationPlan(chosen, tuple(spec.kinds), spec.levels, study.seed)
