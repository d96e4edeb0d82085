"""The generation stage: from a data set and trained models to cubes."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import torch

from saltrust.cache.collection import Collection
from saltrust.cache.reference import fixation_count, instance_counts, write_annotations
from saltrust.cache.writing import StoreWriter, create_store
from saltrust.explainers.passes.context import PassSize
from saltrust.generate.agreement import N_IMAGES, measure_agreement, warn_of_disagreement
from saltrust.generate.batch_run import run_batches
from saltrust.generate.batches import (
    ExplainedBatch,
    ModelStore,
    Resources,
    explain_batch,
)
from saltrust.generate.completeness import CompletenessCheck
from saltrust.generate.ensembles import explain_ensemble
from saltrust.generate.localizers import run_localizers
from saltrust.generate.plan import Plan, PlannedEnsemble, PlannedModel, Positions, make_plan
from saltrust.generate.provenance import attributes, identity
from saltrust.generate.radiographs import LoadedBatch
from saltrust.generate.randomization import run_randomization
from saltrust.models.device import choose_device
from saltrust.study import Study

_log = logging.getLogger(__name__)


def generate(
    collection: Collection,
    study: Study,
    output: str | Path,
    *,
    overwrite: bool = False,
    resume: bool = False,
    device: str | None = None,
    precision: str | None = None,
    progress: bool = True,
    command_line: str = "",
) -> Path:
    """Compute predictions and heatmaps of a study and write its cubes.

    The store holds labels and annotations of every image, and pixels, predictions and heatmaps
    of the images of the split that the study explains.  It grows at ``<output>.partial`` and
    takes its name when it is whole.  A job that was interrupted, however hard, goes on with
    ``resume`` and ends with the same cubes: bit by bit on the CPU of one kind of machine, since
    batches and the number of threads are those of the first start.

    Parameters
    ----------
    collection : Collection
        The data set.
    study : Study
    output : path
        Where the finished store will be.
    overwrite, resume : bool
        Replace what is there; go on with what is unfinished.
    device : {'auto', 'cuda', 'mps', 'cpu'}, optional
        Instead of the study's.
    precision : {'float32', 'tf32', 'bf16'}, optional
        Instead of the study's.
    progress : bool
        Whether to show bars on a terminal's stderr.
    command_line : str
        Recorded as provenance.

    Returns
    -------
    pathlib.Path
        The finished store.

    Raises
    ------
    UsageError
        If the output exists and neither ``overwrite`` nor ``resume`` was said; if the
        unfinished store is of another study (what differs is named); and as in
        :func:`saltrust.generate.plan.make_plan`, before anything is computed.
    NothingToDo
        If ``resume`` was said and the very store is there, finished.
    DataError
        If models or data do not fit, a radiograph cannot be decoded, or the disk is full; what
        was finished stays in ``<output>.partial``.
    """
    plan = make_plan(collection, study, choose_device(device or study.generate.device),
                     precision or study.generate.precision)
    n_points, n_boxes = instance_counts(collection)
    explainers = plan.explainer_labels()
    models = plan.model_labels()
    groups = ["radiograph", "reference"]
    for name, wanted in (("prediction", plan.has_models), ("saliency", explainers is not None),
                         ("randomization", plan.randomization is not None),
                         ("localizer", bool(plan.localizers))):
        if wanted:
            groups.append(name)
    writer = create_store(
        output,
        index=collection.index,
        grid=plan.grid,
        groups=groups,
        models=models if plan.has_models else None,
        explainers=explainers,
        randomization=None if plan.randomization is None else plan.randomization.labels(models),
        localizers=plan.localizer_labels() if plan.localizers else None,
        n_points=n_points,
        n_boxes=n_boxes,
        n_fixations=fixation_count(collection),
        identity=identity(plan, collection),
        attributes=attributes(plan, collection, command_line),
        overwrite=overwrite,
        resume=resume,
    )
    _record_start(writer)
    with _threads(int(writer.attributes["threads"])):
        write_annotations(writer, collection, progress=progress)
        resources = Resources(plan.device, study.seed, PassSize.on(plan.device),
                              plan.precision)
        open_store = partial(ModelStore, writer, collection, n_explainers=len(study.explainers))
        for model in plan.all_models().values():
            _record_agreement(plan, model, writer, open_store(0), resources)
        for position, model in enumerate(plan.models):
            _run_model(plan, model, open_store(position), resources, progress=progress)
        for position, ensemble in enumerate(plan.ensembles, start=len(plan.models)):
            members = [None if k is None else open_store(k) for k in ensemble.stored]
            _run_ensemble(plan, ensemble, members, open_store(position), resources,
                          progress=progress)
        run_randomization(plan, writer, resources, progress=progress)
        run_localizers(plan, writer, collection, progress=progress)
    return writer.finish()


def _record_start(writer: StoreWriter) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    writer.set_attributes({"starts": [*writer.attributes.get("starts", []), now]})


def _record_agreement(plan: Plan, model: PlannedModel, writer: StoreWriter, store: ModelStore,
                      resources: Resources) -> None:
    """Compare the job's precision with float32 on the first images, once."""
    known = writer.attributes.get("precision_agreement", {})
    name = model.classifier.name
    if plan.precision == "float32" or name in known:
        return
    module = model.classifier.module
    module.to(plan.device)
    try:
        loaded = store.load(plan.images[:N_IMAGES])
        found = measure_agreement(model, loaded, resources)
    finally:
        module.to("cpu")
    warn_of_disagreement(name, plan.precision, found)
    writer.set_attributes({"precision_agreement": {**known, name: found}})


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Compute with this number of threads: sums split otherwise differ in their last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _run_model(plan: Plan, model: PlannedModel, store: ModelStore, resources: Resources, *,
               progress: bool) -> None:
    completeness = CompletenessCheck(tuple(item.name for item in model.explainers))

    def compute(_batch: Positions, loaded: LoadedBatch) -> ExplainedBatch:
        batch = explain_batch(model, loaded, resources)
        completeness.add(batch)
        return batch

    run_batches(plan, model.classifier.name, [model.classifier.module], store, compute,
                progress=progress)
    _warn_of_incomplete_maps(model, completeness.missed())


def _run_ensemble(plan: Plan, ensemble: PlannedEnsemble, members: Sequence[ModelStore | None],
                  store: ModelStore, resources: Resources, *, progress: bool) -> None:
    def compute(batch: Positions, loaded: LoadedBatch) -> ExplainedBatch:
        return explain_ensemble(ensemble, members, batch, loaded, resources)

    computed = [item.classifier.module for item, kept in
                zip(ensemble.members, members, strict=True) if kept is None]
    run_batches(plan, ensemble.name, computed, store, compute, progress=progress)


def _warn_of_incomplete_maps(model: PlannedModel, missed: dict[str, float]) -> None:
    for explainer in model.explainers:
        part = missed.get(explainer.name)
        if part is None:
            continue
        reason = ("give it more `steps` or another `quadrature`"
                  if "steps" in explainer.parameters
                  else "the network has operations that its rules do not cover")
        _log.warning("model %r: maps of %r should add up to the change of the logit from the "
                     "baseline and miss it by %s; %s", model.classifier.name, explainer.name,
                     f"{part:.0%} of its size" if part < 1 else "more than its own size", reason)
