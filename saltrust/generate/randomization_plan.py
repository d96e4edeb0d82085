"""What cascading randomization will compute, settled before anything is computed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr

from saltrust.cache.schema import Label
from saltrust.errors import UsageError
from saltrust.models.classifiers.trained_classifier import Classifier
from saltrust.models.preprocessing import to_input
from saltrust.models.stages import Stage, choose_stages, natural_stages
from saltrust.study import Study

_log = logging.getLogger(__name__)

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
                       images: npt.NDArray[np.intp], labels: npt.NDArray[np.int8]
                       ) -> RandomizationPlan | None:
    """Settle what ``[randomization]`` of a study asks for; None where it asks for nothing.

    Parameters
    ----------
    study : Study
    classifiers : sequence of Classifier
        All models of the job.
    images : ndarray of int
        Positions of the images that get heatmaps.
    labels : ndarray of int8, shape (image, finding)
        Of all images of the store.

    Raises
    ------
    UsageError
        If a model has no stage of a name, models have different stages, or more images are
        asked for than there are.
    """
    spec = study.randomization
    if not spec.replicates:
        return None
    drawn = _draw(study, images, labels)
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
    seeds = np.random.SeedSequence([study.seed, 2]).generate_state(spec.replicates)
    return RandomizationPlan(drawn, tuple(chosen), tuple(stops), tuple(map(int, seeds)))


def _draw(study: Study, images: npt.NDArray[np.intp], labels: npt.NDArray[np.int8]
          ) -> npt.NDArray[np.intp]:
    """Images whose maps are made of random networks, by the study's seed."""
    spec = study.randomization
    of_images = labels[images]
    positive = (of_images == Label.POSITIVE).any(axis=1)
    negative = ((of_images == Label.NEGATIVE).any(axis=1)
                & ~np.isin(of_images, (Label.POSITIVE, Label.UNCERTAIN)).any(axis=1))
    parts = {"images": np.ones(len(images), dtype=bool), "positives": positive,
             "negatives": negative}
    order = np.random.default_rng([study.seed, 1]).permutation(len(images))
    chosen: list[npt.NDArray[np.intp]] = []
    for name, among in parts.items():
        wanted = getattr(spec, name)
        if wanted > among.sum():
            raise UsageError(f"{name} = {wanted} of [randomization] is more than the "
                             f"{among.sum()} {name} of split {study.generate.split!r}; ask for "
                             "fewer, or choose another split under [generate]")
        if wanted:
            chosen.append(order[among[order]][:wanted])
    if not chosen:
        return images
    drawn = np.concatenate(chosen)
    _warn_of_lost_cases(of_images, of_images[drawn], len(drawn))
    return np.sort(images[drawn])


def _warn_of_lost_cases(labels: npt.NDArray[np.int8], drawn: npt.NDArray[np.int8], count: int
                        ) -> None:
    """Say which criteria have no cases any more among the images that were drawn."""
    for label, name, lost in (
            (Label.POSITIVE, "positives", "utility against random weights and their AUC"),
            (Label.NEGATIVE, "negatives", "the AUC of random weights")):
        before, after = ((part == label).sum(axis=0) for part in (labels, drawn))
        without = int(((before > 0) & (after == 0)).sum())
        if without:
            _log.warning("the %d images drawn for [randomization] hold no %s of %d of %d findings, "
                         "so that %s cannot be had there; state `%s` under [randomization] in "
                         "the place of `images`, or more of them", count, name, without,
                         labels.shape[1], lost, name)
