"""``saltrust train``."""

from __future__ import annotations

from pathlib import Path

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
from saltrust.cli.training import Launch, open_training_data, train_models
from saltrust.errors import NothingToDo
from saltrust.presets import PRESETS


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
    from saltrust.study_file import read_study

    refuse_both(overwrite=overwrite, resume=resume)
    declared = read_study(study, replicates=replicates)
    if preset is not None:
        declared = declared.with_preset(preset)
    outcome = train_models(open_training_data(declared, on_error), declared, models,
                           Launch(device, overwrite, resume, on_error),
                           progress=shows_progress(ctx))
    if not outcome.trained:
        raise NothingToDo("; ".join(map(str, outcome.finished)))
    for done in outcome.finished:
        say(f"Note: {done}", err=True)
