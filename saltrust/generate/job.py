"""The generation stage: from a data set and trained models to cubes."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from saltrust.cache.bad_files import BadFiles
from saltrust.cache.collection import Collection
from saltrust.cache.fewer_images import as_begun
from saltrust.cache.reference import fixation_count, instance_counts, write_annotations
from saltrust.cache.reopening import opened_again
from saltrust.cache.writing import StoreWriter, create_store
from saltrust.choices import OnError
from saltrust.explainers.passes.compiled import compiling, try_compiled
from saltrust.explainers.passes.context import PassSize
from saltrust.generate.agreement import N_IMAGES, measure_agreement, warn_of_disagreement
from saltrust.generate.batch_run import run_batches
from saltrust.generate.batch_size import settle_batch_size
from saltrust.generate.batches import ExplainedBatch, Resources, begin_batch
from saltrust.generate.captum_agreement import (
    CAPTUM_AGREEMENT,
    check_comparison,
    compare_with_captum,
    warn_of_captum,
)
from saltrust.generate.ensembles import explain_ensemble
from saltrust.generate.faithfulness.stage import run_faithfulness
from saltrust.generate.localizers import run_localizers
from saltrust.generate.network_store import BatchResults, NetworkStore
from saltrust.generate.perturbation.stage import run_perturbation
from saltrust.generate.plan import Plan, PlannedEnsemble, PlannedModel, Positions, make_plan
from saltrust.generate.provenance import attributes, identity
from saltrust.generate.radiographs import LoadedBatch, RadiographStore, UnreadableRadiograph
from saltrust.generate.randomization import run_randomization
from saltrust.models.device import choose_device
from saltrust.models.preprocessing import to_input
from saltrust.study import Study

#: What part of the change of the logits maps may miss before it is worth a warning.
TOLERATED_GAP = 0.1

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Overrides:
    """What a run decides beside ``[generate]`` of its study; None leaves it to the study.

    Attributes
    ----------
    device : {'auto', 'cuda', 'mps', 'cpu'}, optional
    precision : {'float32', 'tf32', 'bf16'}, optional
        In which heatmaps are computed.
    on_error : {'stop', 'skip'}
        Whether radiographs and annotations that cannot be read are an error, once all of them are
        known, or are left out: their maps and predictions stay missing.
    compare : {'captum'}, optional
        By what the first images are explained too, to store how well the maps agree.
    """

    device: str | None = None
    precision: str | None = None
    on_error: OnError = "stop"
    compare: str | None = None


_NO_OVERRIDES = Overrides()


def generate(
    collection: Collection,
    study: Study,
    output: str | Path,
    *,
    overwrite: bool = False,
    resume: bool = False,
    overrides: Overrides = _NO_OVERRIDES,
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
    overrides : Overrides
        What this run decides: device and precision in place of the study, and what becomes of
        files that cannot be read.
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
        If maps are to be compared with captum and it is not installed; if the output exists and
        neither ``overwrite`` nor ``resume`` was said; if the
        unfinished store is of another study (what differs is named); and as in
        :func:`saltrust.generate.plan.make_plan`, before anything is computed.
    NothingToDo
        If ``resume`` was said and the very store is there, finished, and no radiograph that was
        left out can be read now, nor has any another content.
    DataError
        If models or data do not fit, radiographs cannot be decoded (all of them are named), or
        the disk is full; what was finished stays in ``<output>.partial``.
    """
    check_comparison(overrides.compare)
    if resume:
        collection = as_begun(collection, output)
    device = choose_device(overrides.device or study.generate.device)
    plan = make_plan(collection, study, device,
                     overrides.precision or study.generate.precision)
    resources = Resources(plan.device, study.seed, PassSize.on(plan.device), plan.precision)
    plan = settle_batch_size(plan, resources, Path(output), resume=resume)
    with _open_store(plan, collection, output, command_line, BadFiles(overrides.on_error),
                     overwrite=overwrite, resume=resume, progress=progress) as writer:
        _record_start(writer)
        with (_use_threads(int(writer.attributes["threads"])),
              compiling(study.generate.compile)):
            _fill(plan, collection, writer, resources, overrides, progress=progress)
        return writer.finish()


def _fill(plan: Plan, collection: Collection, writer: StoreWriter, resources: Resources,
          overrides: Overrides, *, progress: bool) -> None:
    """Compute and store whatever of the plan is not in the store."""
    bad = BadFiles(overrides.on_error)
    write_annotations(writer, collection, bad=bad, progress=progress)
    left_out = [bad.settle(collection.index.sizes["image"], "annotations of images")]
    radiographs = RadiographStore(writer, collection, overrides.on_error)
    try:
        radiographs.try_again(plan.images)
        if overrides.compare:
            for model in plan.all_models().values():
                _record_comparison(plan, model, writer, radiographs, resources)
        _run_networks(plan, writer, radiographs, resources, progress=progress)
    except UnreadableRadiograph:
        radiographs.name_all(plan.images, progress=progress)
        raise
    left_out.append(radiographs.settle(plan.images))
    for sentence in filter(None, left_out):
        _log.warning("%s", sentence)


def _run_networks(plan: Plan, writer: StoreWriter, radiographs: RadiographStore,
                  resources: Resources, *, progress: bool) -> None:
    for model in plan.all_models().values():
        _try_compiled(plan, model)
        _record_agreement(plan, model, writer, radiographs, resources)
    stores = [NetworkStore(writer, radiographs, "saliency", (position,))
              for position in range(len(plan.models) + len(plan.ensembles))]
    for model, store in zip(plan.models, stores, strict=False):
        _run_model(plan, model, store, resources, progress=progress)
    for ensemble, store in zip(plan.ensembles, stores[len(plan.models):], strict=True):
        members = [None if k is None else stores[k] for k in ensemble.stored]
        _run_ensemble(plan, ensemble, members, store, resources, progress=progress)
    run_randomization(plan, writer, radiographs, resources, progress=progress)
    run_faithfulness(plan, writer, radiographs, resources, progress=progress)
    run_perturbation(plan, writer, radiographs, resources, progress=progress)
    run_localizers(plan, writer, radiographs, progress=progress)


def _open_store(plan: Plan, collection: Collection, output: str | Path, command_line: str,
                bad: BadFiles, *, overwrite: bool, resume: bool, progress: bool) -> StoreWriter:
    """Create the store with all groups that the plan will fill, or reopen what is unfinished."""
    n_points, n_boxes = instance_counts(collection, bad)
    explainers = plan.explainer_labels()
    models = plan.model_labels()
    groups = ["radiograph", "reference"]
    for name, wanted in (("prediction", plan.has_models), ("saliency", explainers is not None),
                         ("randomization", plan.randomization is not None),
                         ("faithfulness", plan.faithfulness is not None),
                         ("perturbation", plan.perturbation is not None),
                         ("localizer", bool(plan.localizers))):
        if wanted:
            groups.append(name)
    names = collection.index["image"].values
    create = functools.partial(
        create_store,
        output,
        index=collection.index,
        grid=plan.grid,
        groups=groups,
        models=models if plan.has_models else None,
        explainers=explainers,
        randomization=None if plan.randomization is None else plan.randomization.labels(models),
        localizers=plan.localizer_labels() if plan.localizers else None,
        faithfulness=None if plan.faithfulness is None else plan.faithfulness.labels(),
        perturbation=None if plan.perturbation is None else plan.perturbation.labels(
            models.isel(model=slice(len(plan.models)))),
        n_points=n_points,
        n_boxes=n_boxes,
        n_fixations=fixation_count(collection),
        identity=identity(plan, collection),
        attributes=attributes(plan, collection, command_line),
        overwrite=overwrite,
        resume=resume,
    )
    return opened_again(create, collection, output, [str(names[at]) for at in plan.images],
                        progress=progress)


def _record_start(writer: StoreWriter) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    writer.set_attributes({"starts": [*writer.attributes.get("starts", []), now]})


def _record_agreement(plan: Plan, model: PlannedModel, writer: StoreWriter,
                      radiographs: RadiographStore, resources: Resources) -> None:
    """Compare the job's precision with float32 on the first images, once."""
    compiled = plan.study.generate.compile
    if plan.precision == "float32" and not compiled:
        return
    agreement = _on_first_images(plan, model, writer, radiographs, "precision_agreement",
                                 lambda loaded: measure_agreement(model, loaded, resources))
    if agreement is not None:
        warn_of_disagreement(model.classifier.name, f"{plan.precision}, compiled" if compiled
                             else plan.precision, agreement)


def _record_comparison(plan: Plan, model: PlannedModel, writer: StoreWriter,
                       radiographs: RadiographStore, resources: Resources) -> None:
    """Compare the maps of the first images with captum's, once."""
    agreement = _on_first_images(plan, model, writer, radiographs, CAPTUM_AGREEMENT,
                                 lambda loaded: compare_with_captum(model, loaded, resources))
    if agreement is not None:
        warn_of_captum(model.classifier.name, agreement)


def _on_first_images(plan: Plan, model: PlannedModel, writer: StoreWriter,
                     radiographs: RadiographStore, attribute: str,
                     measure: Callable[[LoadedBatch], dict[str, Any]]) -> dict[str, Any] | None:
    """Measure something of a model on the first images and store it; None where that is done."""
    known = writer.attributes.get(attribute, {})
    name = model.classifier.name
    if name in known:
        return None
    module = model.classifier.module
    module.to(plan.device)
    try:
        loaded = radiographs.load(plan.images[:N_IMAGES]).present()
        if not loaded.images:
            return None
        measured = measure(loaded)
    finally:
        module.to("cpu")
    writer.set_attributes({attribute: {**known, name: measured}})
    return measured


def _try_compiled(plan: Plan, model: PlannedModel) -> None:
    """Where networks are to be compiled, find out whether this one can be."""
    if not plan.study.generate.compile:
        return
    classifier = model.classifier
    classifier.module.to(plan.device)
    try:
        # Of one image torch would take the number for a constant.
        black = torch.zeros(2, *plan.grid, dtype=torch.uint8)
        try_compiled(classifier.module, to_input(black, classifier.preprocessing, plan.device),
                     classifier.output_index[0], classifier.name)
    finally:
        classifier.module.to("cpu")


@contextmanager
def _use_threads(count: int) -> Iterator[None]:
    """Compute maps with this number of threads: sums split otherwise differ in their last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _CompletenessCheck:
    """Adds up, over a job's batches, by how much maps miss the change of their logit.

    Parameters
    ----------
    explainers : sequence of str
        In the order of the batches' heatmaps.
    """

    def __init__(self, explainers: Sequence[str]) -> None:
        self._explainers = tuple(explainers)
        self._gap = np.zeros(len(self._explainers))
        self._change = np.zeros(len(self._explainers))

    def add(self, batch: ExplainedBatch, absent: Sequence[int]) -> None:
        """Take a batch into account, without rows that are absent and maps that are not finite."""
        for position, (maps, gap) in enumerate(
                zip(batch.heatmaps, batch.completeness, strict=True)):
            usable = np.isfinite(gap)
            usable[list(absent)] = False
            total = maps[usable].sum(axis=(-2, -1), dtype=np.float64)
            self._gap[position] += np.abs(gap[usable]).sum()
            self._change[position] += np.abs(total - gap[usable]).sum()

    def missed(self) -> dict[str, float]:
        """Of explainers that miss more than is tolerated: the sum of gaps over that of changes."""
        with np.errstate(divide="ignore", invalid="ignore"):
            parts = self._gap / self._change
        return {name: float(part) for name, part in zip(self._explainers, parts, strict=True)
                if np.isfinite(part) and part > TOLERATED_GAP}


def _run_model(plan: Plan, model: PlannedModel, store: NetworkStore, resources: Resources, *,
               progress: bool) -> None:
    completeness = _CompletenessCheck(tuple(item.name for item in model.explainers))

    def compute(_batch: Positions, loaded: LoadedBatch) -> Callable[[], BatchResults]:
        explained = begin_batch(model, loaded, resources)

        def finish() -> BatchResults:
            batch = explained()
            completeness.add(batch, loaded.absent)
            return batch.results()

        return finish

    run_batches(plan, model.classifier.name, [model.classifier.module], store, compute,
                progress=progress)
    _warn_of_incomplete_maps(model, completeness.missed())


def _run_ensemble(plan: Plan, ensemble: PlannedEnsemble, members: Sequence[NetworkStore | None],
                  store: NetworkStore, resources: Resources, *, progress: bool) -> None:
    def compute(batch: Positions, loaded: LoadedBatch) -> BatchResults:
        return explain_ensemble(ensemble, members, batch, loaded, resources).results()

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
