"""``saltrust train``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from saltrust.choices import OnError
from saltrust.cli.options import (
    device_option,
    on_error_option,
    overwrite_option,
    refuse_both,
    replicates_option,
    resume_option,
    shows_progress,
    study_argument,
)
from saltrust.cli.output import say
from saltrust.cli.threads import wait_passively
from saltrust.errors import NothingToDo, UsageError, nearest
from saltrust.presets import PRESETS

if TYPE_CHECKING:
    from saltrust.cache.collection import Collection
    from saltrust.study import Study, TrainedEntry

Trainer = Callable[..., Path]


@click.command(epilog="\n".join(["\b", "Presets:", *(
    f"  {name:<16} {preset.summary}" for name, preset in PRESETS.items())]))
@study_argument
@click.option("--model", "models", multiple=True, metavar="NAME",
              help="Only this model of the study; may be repeated.")
@click.option("--preset", metavar="NAME",
              help="Published settings for the models of its kind that name no preset; what the "
                   "study file states still counts.")
@replicates_option
@device_option
@resume_option
@overwrite_option
@on_error_option
@click.pass_context
def train(ctx: click.Context, study: Path, models: tuple[str, ...], preset: str | None,
          replicates: int | None, device: str | None, resume: bool, overwrite: bool,
          on_error: OnError) -> None:
    """Train the models that a study file declares.

    Each model leaves a run folder: weights (safetensors), a card (JSON) with the test AUC, the
    metrics of every epoch, the configuration and the environment.  A run that was interrupted,
    however hard, goes on with --resume and ends with the same weights.
    """
    wait_passively()
    from saltrust.datasets.registry import open_collection
    from saltrust.study_file import read_study

    refuse_both(overwrite=overwrite, resume=resume)
    declared = read_study(study, replicates=replicates)
    if preset is not None:
        declared = declared.with_preset(preset)
    collection = open_collection(declared, on_error)
    _check_folders(declared, models, overwrite=overwrite, resume=resume)
    trainers = _trainers(collection, declared, models, overwrite=overwrite, on_error=on_error,
                         progress=shows_progress(ctx))
    names = [entry.name for entry, _ in trainers]
    if not names:
        raise UsageError(f"{study} declares no [[models]]; add one with a name and an "
                         "architecture")
    for name in models:
        if name not in names:
            raise UsageError(f"{study} has no model {name!r}; {nearest(name, names)}")
    chosen = [item for item in trainers if not models or item[0].name in models]
    finished: list[NothingToDo] = []
    trained: list[str] = []
    for entry, trainer in chosen:
        try:
            folder = trainer(collection, declared, entry, resume=resume, overwrite=overwrite,
                             device=device or declared.generate.device,
                             progress=shows_progress(ctx))
        except NothingToDo as note:
            finished.append(note)
            continue
        except KeyboardInterrupt as error:
            if trained:
                error.add_note(f"trained are {', '.join(trained)}")
            raise
        trained.append(entry.name)
        say(f"{entry.name}: {folder}")
    if len(finished) == len(chosen):
        raise NothingToDo("; ".join(map(str, finished)))
    for done in finished:
        say(f"Note: {done}", err=True)


def _check_folders(study: Study, models: tuple[str, ...], *, overwrite: bool,
                   resume: bool) -> None:
    """Refuse a folder of the last model now, and not when all others are trained."""
    from saltrust.training.runs.run_folder import check_run_folder

    for entry in study.trained:
        if not models or entry.name in models:
            check_run_folder(study.run_folder(entry), overwrite=overwrite, resume=resume)


def _trainers(collection: Collection, study: Study, models: tuple[str, ...], *, overwrite: bool,
              on_error: OnError, progress: bool) -> list[tuple[TrainedEntry, Trainer]]:
    """What can be trained, in the order of the study file, and what trains it.

    Of those that were asked for, localizers are tried: their annotations may not do, and hours
    of training classifiers are no time to wait for that.
    """
    from saltrust.training.data.images import read_images
    from saltrust.training.tasks.classifier import train as train_classifier
    from saltrust.training.tasks.guided import train_guided

    # Decoded once, for all models; annotations likewise, for all localizers.
    images = functools.cache(lambda: read_images(collection, study.size, on_error=on_error,
                                                   progress=progress))
    trainers: dict[str, Any] = {
        "classifier": functools.partial(train_classifier, images=images),
        "guided": functools.partial(train_guided, images=images),
    }
    if study.localizers:
        from saltrust.training.data.annotated_images import read_annotations
        from saltrust.training.tasks.localizer import check_localizers, train_localizer

        annotated = functools.cache(
            lambda: read_annotations(collection, images(), on_error=on_error, progress=progress))
        localizer = functools.partial(train_localizer, annotated=annotated)
        check_localizers(collection, study, [
            spec for spec in study.localizers if not models or spec.name in models],
            annotated, overwrite=overwrite)
        trainers |= {"unet": localizer, "retinanet": localizer}
    return [(entry, trainers[entry.kind]) for entry in study.trained if entry.kind in trainers]
