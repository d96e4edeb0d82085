"""``saltrust train``."""

from __future__ import annotations

from pathlib import Path

import click

from saltrust.cli.options import (
    device_option,
    overwrite_option,
    shows_progress,
    study_argument,
)
from saltrust.cli.threads import wait_passively
from saltrust.errors import UsageError, nearest


@click.command()
@study_argument
@click.option("--model", "models", multiple=True, metavar="NAME",
              help="Only this model of the study; may be repeated.")
@device_option
@overwrite_option
@click.pass_context
def train(ctx: click.Context, study: Path, models: tuple[str, ...], device: str | None,
          overwrite: bool) -> None:
    """Train the classifiers that a study file declares.

    Each model leaves a run folder: weights (safetensors), a card (JSON) with the test AUC, the
    metrics of every epoch, the configuration and the environment.
    """
    wait_passively()
    from saltrust.datasets.registry import open_collection
    from saltrust.study import read_study
    from saltrust.training.classifier import train as train_one

    declared = read_study(study)
    names = [model.name for model in declared.models]
    if not names:
        raise UsageError(f"{study} declares no [[models]]; add one with a name and an "
                         "architecture")
    for name in models:
        if name not in names:
            raise UsageError(f"{study} has no model {name!r}; {nearest(name, names)}")
    collection = open_collection(declared)
    for model in declared.models:
        if not models or model.name in models:
            folder = train_one(collection, declared, model,
                               device=device or declared.generate.device,
                               overwrite=overwrite, progress=shows_progress(ctx))
            click.echo(f"{model.name}: {folder}")
