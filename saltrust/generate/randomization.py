"""Heatmaps and predictions while weights are randomised from the top layer down."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from saltrust.cache.schema import Status
from saltrust.cache.writing import StoreWriter, disk_errors
from saltrust.generate.batches import ExplainedBatch, Resources, explain_batch
from saltrust.generate.pipeline import overlap
from saltrust.generate.plan import Plan, Positions
from saltrust.generate.radiographs import LoadedBatch
from saltrust.generate.randomization_plan import RandomizationPlan
from saltrust.generate.status import map_status
from saltrust.models.random_weights import randomised


def run_randomization(plan: Plan, writer: StoreWriter, resources: Resources, *,
                      progress: bool) -> None:
    """Fill ``/randomization`` once all trained models have been explained.

    Stage 0 holds the trained model's own maps, in the first replicate only: they are the same
    in all.  Every further stage of every replicate is a fresh copy of the trained network, with
    what lies above made random.  Batches that are in the store are passed over.

    Raises
    ------
    DataError
        If the device runs out of memory, or the disk is full; the store can be resumed.
    """
    wanted = plan.randomization
    if wanted is None:
        return
    batches = [wanted.images[start:start + plan.batch_size]
               for start in range(0, len(wanted.images), plan.batch_size)]
    total = len(wanted.models) * len(wanted.images) * (
        1 + len(wanted.seeds) * (len(wanted.stages) - 1))
    with tqdm(total=total, desc="randomization", unit="image",
              disable=None if progress else True) as bar:
        for position, model in enumerate(wanted.models):
            trained = _StageStore(writer, (position, 0, 0))
            for batch in batches:
                if not trained.finished()[batch].all():
                    trained.copy_trained(batch, model)
                bar.update(len(batch))
            for replicate, stage in _random_networks(wanted):
                store = _StageStore(writer, (position, replicate, stage))
                finished = store.finished()
                missing = [batch for batch in batches if not finished[batch].all()]
                bar.update(len(wanted.images) - sum(map(len, missing)))
                for batch in _explain_stage(plan, (position, replicate, stage), missing, store,
                                            resources):
                    bar.update(len(batch))


def _random_networks(wanted: RandomizationPlan) -> Iterator[tuple[int, int]]:
    """Replicate and stage of each network that is partly or wholly random."""
    for replicate in range(len(wanted.seeds)):
        for stage in range(1, len(wanted.stages)):
            yield replicate, stage


def _explain_stage(plan: Plan, at: tuple[int, int, int], batches: list[Positions],
                   store: _StageStore, resources: Resources) -> Iterator[Positions]:
    """Explain what is missing of one random network; yields batches as they are stored."""
    wanted = plan.randomization
    assert wanted is not None
    if not batches:
        return
    position, replicate, stage = at
    trained = plan.models[wanted.models[position]]
    module = randomised(trained.classifier.module, wanted.stops[position][stage - 1],
                        wanted.seeds[replicate], trained.classifier.name).to(plan.device)
    model = replace(trained, classifier=replace(trained.classifier, module=module))

    def compute(_batch: Positions, loaded: LoadedBatch) -> ExplainedBatch:
        return explain_batch(model, loaded, resources)

    with closing(overlap(batches, store.load, compute, store.store)) as stored:
        yield from stored


class _StageStore:
    """The part of ``/randomization`` that belongs to one model, replicate and stage.

    Parameters
    ----------
    writer : StoreWriter
    at : (int, int, int)
        Positions of model, replicate and stage in the group.

    Notes
    -----
    Maps are written first, then probabilities, then status, as for trained models.
    """

    def __init__(self, writer: StoreWriter, at: tuple[int, int, int]) -> None:
        self._writer = writer
        self._at = at
        self._images = writer.labels("image")
        self._heatmap = writer.array("randomization/heatmap")
        self._status = writer.array("randomization/status")

    def finished(self) -> npt.NDArray[np.bool_]:
        """Whether each image of the store has all its maps of this network."""
        index: Any = (slice(None), slice(None), slice(None), *self._at)
        done: npt.NDArray[np.bool_] = (
            np.asarray(self._status[index]) != Status.MISSING).all(axis=(1, 2))
        return done

    def load(self, positions: Positions) -> LoadedBatch:
        """Pixels of a batch, which the trained models have left in the store."""
        pixels = np.asarray(
            self._writer.array("radiograph/pixels").get_orthogonal_selection((positions,)))
        return LoadedBatch(tuple(self._images[position] for position in positions.tolist()),
                           pixels, {})

    def store(self, positions: Positions, batch: ExplainedBatch) -> None:
        """Write all results of a batch."""
        with disk_errors(self._writer.partial):
            for explainer, maps in enumerate(batch.heatmaps):
                for position, block in zip(positions.tolist(), maps, strict=True):
                    self._heatmap[(position, slice(None), explainer, *self._at)] = block
            self._store_small("probability", positions, batch.probabilities)
            self._store_small("status", positions,
                              np.stack([map_status(maps) for maps in batch.heatmaps], axis=-1))

    def copy_trained(self, positions: Positions, model: int) -> None:
        """Take maps and probabilities of a batch over from the trained model."""
        trained = self._writer.array("saliency/heatmap")
        with disk_errors(self._writer.partial):
            for position in positions.tolist():
                for explainer in range(trained.shape[2]):
                    self._heatmap[(position, slice(None), explainer, *self._at)] = trained[
                        position, :, explainer, model]
            for name, source in (("probability", "prediction/probability"),
                                 ("status", "saliency/status")):
                values = np.asarray(self._writer.array(source)[..., model])[positions]
                self._store_small(name, positions, values)

    def _store_small(self, name: str, positions: Positions, values: npt.NDArray[Any]) -> None:
        # Selected with lists, model, replicate and stage stay dimensions.
        where: Any = (positions, *[slice(None)] * (values.ndim - 1),
                      *(np.array([position]) for position in self._at))
        self._writer.array(f"randomization/{name}").set_orthogonal_selection(
            where, values[..., None, None, None])
