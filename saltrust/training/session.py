"""From an entry of a study to a run folder: what all kinds of models have in common."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from saltrust.analysis.result import plain
from saltrust.cache.collection import Collection, with_radiograph
from saltrust.errors import DataError, NothingToDo
from saltrust.interrupts import delay_interrupts
from saltrust.models.checkpoint import (
    WEIGHTS_FILE,
    read_card,
    read_weights,
    replace_card,
    write_card,
)
from saltrust.models.device import choose_device, limit_threads
from saltrust.models.weights import fit_weights
from saltrust.presets import PRESETS
from saltrust.reading import reading
from saltrust.study import Study
from saltrust.training.data.images import check_splits
from saltrust.training.loop import fit
from saltrust.training.precision import allow_tensor_cores, check_precision
from saltrust.training.runs.kept_checkpoints import complete_cards, require_kept
from saltrust.training.runs.resuming import STATE_FILE, check_same_run, read_state, require_whole
from saltrust.training.runs.run import Run
from saltrust.training.runs.run_folder import (
    check_run_folder,
    labels_digest,
    own_run_folder,
    start_run,
    versions,
)
from saltrust.training.runs.seeding import derive_seeds, seed_torch
from saltrust.training.state import TrainingState
from saltrust.training.task import Task
from saltrust.training_settings import TrainedEntry

#: Builds the network of a run (from torch's global generator, which is seeded), completes its
#: card, and returns what reads the images and makes the task.
Begin = Callable[[Run], Callable[[], Task]]

#: What torch's allocators say on Linux, macOS (also of MPS) and Windows, in a plain RuntimeError.
_OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "not enough memory")

_log = logging.getLogger(__name__)


def train_entry(
    collection: Collection,
    study: Study,
    entry: TrainedEntry,
    begin: Begin,
    *,
    device: str = "auto",
    overwrite: bool = False,
    resume: bool = False,
    progress: bool = True,
) -> Path:
    """Train one entry of a study, of whatever kind, and leave a run folder.

    Parameters
    ----------
    collection : Collection
        With splits by patient; images of split ``none`` are not used.
    study : Study
    entry : TrainedEntry
        Of the study's; its settings are those of :meth:`saltrust.study.Study.training_of`.
    begin : callable
        Given the run, builds its network on the CPU, puts ``architecture`` and whatever else
        determines the result into its card, and returns a function without arguments that
        reads the images and returns the :class:`~saltrust.training.task.Task`.
    device : {'auto', 'cuda', 'mps', 'cpu'}
    overwrite : bool
        Train from the beginning whatever the folder holds.
    resume : bool
        Go on from the last epoch that was finished.
    progress : bool

    Returns
    -------
    pathlib.Path
        The run folder.

    Raises
    ------
    NothingToDo
        If ``resume`` was said and the run is complete.
    UsageError
        If the folder holds a complete or unfinished run and neither was said; if ``resume``
        was said and the run was started from something else (what differs is named); if another
        process is training in the folder; if the device does not have the precision.
    DataError
        If training cannot start, diverges, or a file cannot be written; the best checkpoint so
        far stays, as it does on Ctrl-C.
    """
    folder = study.run_folder(entry)
    check_run_folder(folder, overwrite=overwrite, resume=resume)
    where = choose_device(device)
    check_precision(study.training_of(entry).precision, where)
    check_splits(collection)
    with own_run_folder(folder):
        # Another may have trained it meanwhile.
        check_run_folder(folder, overwrite=overwrite, resume=resume)
        _train_in(folder, collection, study, entry, begin, where, resume=resume,
                  progress=progress)
    return folder


def _train_in(folder: Path, collection: Collection, study: Study, entry: TrainedEntry,
              begin: Begin, where: torch.device, *, resume: bool, progress: bool) -> None:
    spec = study.training_of(entry)
    seeds = derive_seeds(study.seed, entry.seed)
    with limit_threads(), seed_torch(seeds.network, where), allow_tensor_cores(spec.precision):
        run = Run(entry.name, folder, spec, seeds, where)
        run.card = _card(collection, study, entry, run)
        make_task = begin(run)
        run.card = plain(run.card)
        _warn_of_preset(run, study, entry)
        if resume:
            _look_back(run)
        with _report_lack_of_memory(run):
            task = make_task()
            if run.saved_state is None:
                start_run(folder, study, where)
            try:
                state = fit(task, run, progress=progress)
            except KeyboardInterrupt as error:
                error.add_note(f"training of model {run.name!r} stopped; {run.kept()}")
                raise
            _finish(task, run, state)


@contextlib.contextmanager
def _report_lack_of_memory(run: Run) -> Iterator[None]:
    """Turn an allocation that fails into a DataError that names the way out.

    Raises
    ------
    DataError
        If memory, of the machine or of the device, is too small.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not (isinstance(error, MemoryError | torch.cuda.OutOfMemoryError)
                or any(words in str(error).lower() for words in _OUT_OF_MEMORY)):
            raise
        raise DataError(f"model {run.name!r} does not fit in the memory of the {run.device.type}: "
                        f"lower `batch_size` under [train] (now {run.spec.batch_size}) or the "
                        f"grid; {run.kept()}") from error


def _card(collection: Collection, study: Study, entry: TrainedEntry, run: Run) -> dict[str, Any]:
    split = collection.index["split"].values.astype(str)[with_radiograph(collection)]
    overridden = study.overridden(entry)
    return {
        "name": entry.name,
        "kind": entry.kind,
        "grid": study.grid if isinstance(study.grid, int) else list(study.size),
        "seed": entry.seed,
        "study_seed": study.seed,
        "study": study.name,
        "study_fingerprint": study.fingerprint(),
        "train": dataclasses.asdict(run.spec),
        **({"preset_overridden": {
            key: {"train": stated, "preset": published}
            for key, (stated, published) in overridden.items()}} if overridden else {}),
        "data": collection.description,
        "data_fingerprint": collection.fingerprint,
        "labels_sha256": labels_digest(collection),
        "n_images": {name: int((split == name).sum()) for name in ("train", "val", "test")},
        "device": run.device.type,
        "versions": versions(),
        "complete": False,
    }


def _warn_of_preset(run: Run, study: Study, entry: TrainedEntry) -> None:
    """Say where a model is not trained as its preset was published."""
    if not run.spec.preset:
        return
    if overridden := study.overridden(entry):
        differing = ", ".join(f"{key} = {_in_toml(stated)} (preset: {_in_toml(published)})"
                              for key, (stated, published) in overridden.items())
        _log.warning("model %r: [train] counts more than preset %r and states %s; leave it out of "
                     "[train] to train as published, or state it in `train` of the model if it is "
                     "meant", run.name, run.spec.preset, differing)
    preset = PRESETS[run.spec.preset]
    if run.card.get("architecture") != preset.architecture:
        _log.warning("model %r: preset %r was published for architecture %r, not %r", run.name,
                     run.spec.preset, preset.architecture, run.card.get("architecture"))
    if preset.initial_weights and not run.card.get("pretrained"):
        _log.warning("model %r: preset %r was published with weights trained on %s to start from, "
                     "and this model starts from random ones; give it a file as `pretrained`",
                     run.name, run.spec.preset, preset.initial_weights)


def _in_toml(value: Any) -> str:
    return json.dumps(plain(value), ensure_ascii=False)


def _look_back(run: Run) -> None:
    """Find what there is to go on from, and refuse what is of another run."""
    weights = run.folder / WEIGHTS_FILE
    card = None
    if weights.exists():
        require_whole(weights)
        card = read_card(weights)
    if card is not None and card.get("complete"):
        check_same_run(card, run.card, run.folder)
        if (run.folder / STATE_FILE).exists():
            # Cut off while it was closed, the weights written and the card beside them not.
            write_card(weights, card)
            (run.folder / STATE_FILE).unlink()
        raise NothingToDo(f"model {run.name!r} is trained already ({run.folder}); say --overwrite "
                          "to train it anew")
    run.saved_state = read_state(run.folder)
    if run.saved_state is None:
        return
    with reading(str(run.folder / STATE_FILE), "say --overwrite to train from the beginning"):
        check_same_run(run.saved_state["card"], run.card, run.folder)
        require_kept(run.folder, run.saved_state["kept"])
        before = run.saved_state["card"]["versions"]
        changed = [name for name, version in run.card["versions"].items()
                   if before.get(name) != version]
    if changed:
        _log.warning("model %r was started with other versions of %s; its result may differ from "
                     "that of an undisturbed run", run.name, ", ".join(changed))
    # Sums that are split otherwise differ in their last bits.
    torch.set_num_threads(run.saved_state["threads"])


def _finish(task: Task, run: Run, state: TrainingState) -> None:
    """Measure the checkpoint, as it lies on disk, on the test images and close its card."""
    fit_weights(task.network, read_weights(run.weights), run.weights, run.card["architecture"])
    run.card |= {
        "epochs_run": state.epoch,
        "stopped_early": state.epoch < run.spec.epochs,
        "resumed_after_epochs": state.resumed,
        **({"kept": state.kept} if state.kept else {}),
        **plain(task.test()),
        "complete": True,
    }
    with delay_interrupts():
        complete_cards(run.folder, state.kept)
        run.card = replace_card(run.weights, run.card)
        (run.folder / STATE_FILE).unlink(missing_ok=True)
