"""What cascading randomization will compute, settled before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr

from saltrust.errors import UsageError
from saltrust.models.classifiers.trained_classifier import Classifier
from saltrust.models.preprocessing import to_input
from saltrust.models.stages import Stage, choose_stages, natural_stages
from saltrust.study import Study

#: Name of stage 0.
TRAINED = "trained"


@dataclass(frozen=True)
class RandomizationPlan:
    """Cascading randomization of some models of a job.

    Attributes
    ----------
    images : ndarray of int, shape (n,)
        Positions in the store; they are among the images that the trained models explain.
    models : tuple of int
        Positions of the randomised models in the job.
    stops : tuple of tuple of tuple of Stage
        Per randomised model and stage after the trained one: all that is random by then.
    seeds : tuple of int
        Of the random weights, per replicate.
    """

    images: npt.NDArray[np.intp]
    models: tuple[int, ...]
    stops: tuple[tuple[tuple[Stage, ...], ...], ...]
    seeds: tuple[int, ...]

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of all stages, the trained model first."""
        return (TRAINED, *(stop[-1].name for stop in self.stops[0]))

    def labels(self, models: xr.Dataset) -> xr.Dataset:
        """Coordinates of ``/randomization``, given those of all models of the job."""
        return models.isel(model=list(self.models)).assign_coords({
            "replicate": ("replicate", np.arange(len(self.seeds), dtype=np.int64)),
            "replicate_seed": ("replicate", np.array(self.seeds, dtype=np.int64)),
            "stage": ("stage", list(self.stages)),
        })

    def describe(self) -> dict[str, Any]:
        """What a resumed job must have in common with the one it goes on with."""
        return {"images": self.images.tolist(), "seeds": list(self.seeds),
                "random after each stage": [[list(stop[-1].entries) for stop in stops]
                                            for stops in self.stops]}


def plan_randomization(study: Study, classifiers: Sequence[Classifier],
                       images: npt.NDArray[np.intp]) -> RandomizationPlan | None:
    """Settle what ``[randomization]`` of a study asks for; None where it asks for nothing.

    Parameters
    ----------
    study : Study
    classifiers : sequence of Classifier
        All models of the job.
    images : ndarray of int
        Positions of the images that get heatmaps.

    Raises
    ------
    UsageError
        If a model has no stage of a name, models have different stages, or more images are
        asked for than there are.
    """
    spec = study.randomization
    if not spec.replicates:
        return None
    if spec.images > len(images):
        raise UsageError(f"images = {spec.images} of [randomization] is more than the "
                         f"{len(images)} images of split {study.generate.split!r}; ask for fewer, "
                         "or choose another split under [generate]")
    chosen = [position for position, item in enumerate(classifiers)
              if not spec.models or item.name in spec.models]
    if not chosen:
        raise UsageError("[randomization] needs a model whose own maps are stored, but all are "
                         "only averaged into ensembles; set keep_members = true there")
    stops = []
    for position in chosen:
        item = classifiers[position]
        black = torch.zeros(1, *study.size, dtype=torch.uint8)
        stages = natural_stages(item.module, to_input(black, item.preprocessing))
        stops.append(choose_stages(stages, spec.stages, f"model {item.name!r}"))
        if [stop[-1].name for stop in stops[0]] != [stop[-1].name for stop in stops[-1]]:
            raise UsageError(
                f"models {classifiers[chosen[0]].name!r} and {item.name!r} have different stages, "
                "which one study cannot hold side by side; set `models` of [randomization] to "
                "models of one architecture")
    drawn = images
    if spec.images:
        order = np.random.default_rng([study.seed, 1]).permutation(len(images))
        drawn = np.sort(images[order[:spec.images]])
    seeds = np.random.SeedSequence([study.seed, 2]).generate_state(spec.replicates)
    return RandomizationPlan(drawn, tuple(chosen), tuple(stops), tuple(map(int, seeds)))
