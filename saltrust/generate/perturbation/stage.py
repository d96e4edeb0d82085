"""The stage that fills ``/perturbation``, once all maps of trained models are stored."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from saltrust.analysis.pixels.ssim import ssim
from saltrust.cache.schema import Status
from saltrust.cache.writing import StoreWriter
from saltrust.explainers.methods.xrai.segments import SegmentStore
from saltrust.generate.batches import Resources, explain_batch
from saltrust.generate.network_store import NetworkStore, map_status
from saltrust.generate.perturbation.kinds import overlapping, perturb, shift_of
from saltrust.generate.perturbation.plan import PerturbationPlan
from saltrust.generate.pipeline import overlap
from saltrust.generate.plan import Plan, PlannedModel, Positions
from saltrust.generate.radiographs import LoadedBatch, RadiographStore

Floats = npt.NDArray[np.float32]
#: Of a batch, by name of the variable, images first.
Values = dict[str, npt.NDArray[Any]]

_GROUP = "perturbation"
#: Where variables have the dimension of models.
_MODEL_AXIS = {"map_change": 3, "probability": 2, "status": 3}


def run_perturbation(plan: Plan, writer: StoreWriter, radiographs: RadiographStore,
                     resources: Resources, *, progress: bool) -> None:
    """Fill ``/perturbation``; batches that are in it are passed over.

    Parameters
    ----------
    plan : Plan
    writer : StoreWriter
    radiographs : RadiographStore
        Of the same store, all of the plan's images in it that can be read.
    resources : Resources
    progress : bool

    Raises
    ------
    DataError
        If the device runs out of memory, or the disk is full; the store can be resumed.
    """
    wanted = plan.perturbation
    if wanted is None:
        return
    writer.write(f"{_GROUP}/amount", slice(None), wanted.amounts())
    batches = [wanted.images[start:start + plan.batch_size]
               for start in range(0, len(wanted.images), plan.batch_size)]
    with tqdm(total=len(plan.models) * len(wanted.images), desc=_GROUP, unit="image",
              disable=None if progress else True) as bar:
        for position, model in enumerate(plan.models):
            stage = _Stage(wanted, model, resources, writer, radiographs, position)
            finished = stage.finished()
            missing = [batch for batch in batches if not finished[batch].all()]
            bar.update(len(wanted.images) - sum(map(len, missing)))
            if not missing:
                continue
            model.classifier.module.to(plan.device)
            try:
                with closing(overlap(missing, radiographs.load, stage.compute,
                                     stage.store)) as stored:
                    for batch in stored:
                        bar.update(len(batch))
            finally:
                model.classifier.module.to("cpu")


@dataclass(frozen=True)
class _Stage:
    """What is computed and stored of one model."""

    plan: PerturbationPlan
    model: PlannedModel
    resources: Resources
    writer: StoreWriter
    radiographs: RadiographStore
    position: int

    def finished(self) -> npt.NDArray[np.bool_]:
        """Whether each image of the store has all its results, or can have none."""
        status = np.asarray(self.writer.array(f"{_GROUP}/status")[..., self.position])
        done = (status != Status.MISSING).all(axis=(1, 2)) & self.radiographs.stored
        return np.asarray(done | self.radiographs.left_out)

    def compute(self, positions: Positions, loaded: LoadedBatch) -> Values:
        """Predictions and changes of maps of a batch under every change of its images."""
        trained = NetworkStore(self.writer, self.radiographs, "saliency",
                               (self.position,)).read(positions, []).heatmaps
        shape = (len(self.plan.kinds), self.plan.levels)
        probability: Floats = np.full((*trained[0].shape[:2], *shape), np.nan, np.float32)
        change: Floats = np.full((*trained[0].shape[:2], len(trained), *shape), np.nan,
                                 np.float32)
        for k, kind in enumerate(self.plan.kinds):
            for level, amount in enumerate(self.plan.amounts()[k].tolist()):
                pixels = np.stack([perturb(plane, kind, amount, self.plan.seed, image)
                                   for plane, image in zip(loaded.pixels, loaded.images,
                                                           strict=True)])
                # Segments are kept by the names of images, which these are not any more.
                explained = explain_batch(
                    self.model, LoadedBatch(loaded.images, pixels, {}, loaded.absent),
                    replace(self.resources, segments=SegmentStore()))
                probability[:, :, k, level] = explained.probabilities
                for e, (before, after) in enumerate(zip(trained, explained.heatmaps,
                                                        strict=True)):
                    for row, image in enumerate(loaded.images):
                        moved = shift_of(before.shape[-2:], amount, self.plan.seed, image) \
                            if kind == "shift" else (0, 0)
                        change[row, :, e, k, level] = _changes(before[row], after[row], moved)
        status = np.stack([map_status(maps) for maps in trained], axis=-1)
        return {"probability": probability, "map_change": change, "status": status}

    def store(self, positions: Positions, values: Values) -> None:
        """Write all of a batch, nothing of radiographs that cannot be read; status last."""
        rows = np.flatnonzero(~self.radiographs.left_out[positions])
        if not len(rows):
            return
        with self.writer.writing():
            for name, of_batch in values.items():
                array = self.writer.array(f"{_GROUP}/{name}")
                at = [positions[rows], *map(np.arange, array.shape[1:])]
                at[_MODEL_AXIS[name]] = np.array([self.position])
                array.set_orthogonal_selection(
                    tuple(at), np.expand_dims(of_batch[rows], _MODEL_AXIS[name]))


def _changes(before: Floats, after: Floats, moved: tuple[int, int]) -> list[float]:
    """1 - SSIM of the maps of every finding, a shift undone; NaN of what is flat or not finite."""
    changes = []
    for first, second in zip(before, after, strict=True):
        pair = overlapping(first, second, moved)
        usable = all(map_status(plane) == Status.OK for plane in pair)
        changes.append(1 - float(ssim(*pair)) if usable else float("nan"))
    return changes
