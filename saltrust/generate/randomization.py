"""Heatmaps and predictions while weights are randomised from the top layer down."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace

from tqdm import tqdm

from saltrust.cache.writing import StoreWriter
from saltrust.generate.batches import PROBABILITY, ExplainedBatch, Resources, begin_batch
from saltrust.generate.network_store import BatchResults, Floats, NetworkStore
from saltrust.generate.pipeline import overlap
from saltrust.generate.plan import Plan, Positions
from saltrust.generate.radiographs import RadiographStore
from saltrust.generate.randomization_plan import RandomizationPlan
from saltrust.models.random_weights import randomize_weights


def run_randomization(plan: Plan, writer: StoreWriter, radiographs: RadiographStore,
                      resources: Resources, *, progress: bool) -> None:
    """Fill ``/randomization`` once all trained models have been explained.

    Stage 0 holds the trained model's own maps, in the first replicate only: they are the same
    in all.  Every further stage of every replicate is a fresh copy of the trained network, with
    what lies above made random.  Batches that are in the store are passed over.

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
            trained = NetworkStore(writer, radiographs, "saliency", (model,))
            first = NetworkStore(writer, radiographs, "randomization", (position, 0, 0))
            for batch in batches:
                if not first.finished()[batch].all():
                    _copy_trained(trained, first, batch)
                bar.update(len(batch))
            for replicate, stage in _random_networks(wanted):
                at = (position, replicate, stage)
                store = NetworkStore(writer, radiographs, "randomization", at)
                finished = store.finished()
                missing = [batch for batch in batches if not finished[batch].all()]
                bar.update(len(wanted.images) - sum(map(len, missing)))
                for batch in _explain_stage(plan, missing, store, resources):
                    bar.update(len(batch))


def _random_networks(wanted: RandomizationPlan) -> Iterator[tuple[int, int]]:
    """Replicate and stage of each network that is partly or wholly random."""
    for replicate in range(len(wanted.seeds)):
        for stage in range(1, len(wanted.stages)):
            yield replicate, stage


def _explain_stage(plan: Plan, batches: list[Positions], store: NetworkStore,
                   resources: Resources) -> Iterator[Positions]:
    """Explain what is missing of one random network; yields batches as they are stored."""
    wanted = plan.randomization
    assert wanted is not None
    if not batches:
        return
    position, replicate, stage = store.at
    trained = plan.models[wanted.models[position]]
    module = randomize_weights(trained.classifier.module, wanted.stops[position][stage - 1],
                               wanted.seeds[replicate], trained.classifier.name).to(plan.device)
    model = replace(trained, classifier=replace(trained.classifier, module=module))

    def keep(batch: Positions, finish: Callable[[], ExplainedBatch]) -> None:
        explained = finish()
        store.store(batch, _of_stage(explained.heatmaps, explained.probabilities))

    with closing(overlap(batches, store.load,
                         lambda _batch, loaded: begin_batch(model, loaded, resources),
                         keep)) as stored:
        yield from stored


def _copy_trained(trained: NetworkStore, first: NetworkStore, positions: Positions) -> None:
    """Take maps and probabilities of a batch over from the trained model."""
    stored = trained.read(positions, [PROBABILITY])
    first.store(positions, _of_stage(stored.heatmaps, stored.values[PROBABILITY]))


def _of_stage(heatmaps: Sequence[Floats], probabilities: Floats) -> BatchResults:
    # The trained models have left all radiographs in the store.
    return BatchResults({}, heatmaps, {"randomization/probability": probabilities})
