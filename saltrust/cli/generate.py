"""``saltrust generate``."""

from __future__ import annotations

from pathlib import Path

import click

from saltrust.choices import OnError
from saltrust.cli.generation import generate_cubes
from saltrust.cli.options import (
    PathType,
    command_line,
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
from saltrust.study import HEATMAP_PRECISIONS


@click.command()
@study_argument
@click.option("-o", "--output", required=True, type=PathType(path_type=Path),
              metavar="CUBES", help="Store to write, e.g. study.zarr.")
@replicates_option
@overwrite_option
@resume_option
@on_error_option
@device_option
@click.option("--precision", type=click.Choice(HEATMAP_PRECISIONS),
              help="In which heatmaps are computed; float32 unless the study says otherwise. "
                   "How well they agree with float32 is measured on the first images and kept "
                   "with the cubes.")
@click.option("--compare", type=click.Choice(["captum"]),
              help="Explain the first four images by captum too, and keep with the cubes how well "
                   "the maps agree; `saltrust info` shows it.")
@click.pass_context
def generate(ctx: click.Context, study: Path, output: Path, replicates: int | None,
             overwrite: bool, resume: bool, on_error: OnError, device: str | None,
             precision: str | None, compare: str | None) -> None:
    """Run the models once: predictions and heatmaps of every image and finding.

    The store grows at OUTPUT.partial and takes its name when it is whole; an interrupted run
    goes on with --resume and ends with the same cubes.  So does one of which radiographs were
    left out or have been replaced: what was made of the others is kept.
    """
    wait_passively()
    from saltrust.datasets.registry import open_collection
    from saltrust.generate.job import Overrides
    from saltrust.study_file import read_study

    refuse_both(overwrite=overwrite, resume=resume)
    declared = read_study(study, replicates=replicates)
    path = generate_cubes(open_collection(declared, on_error), declared, output,
                          overwrite=overwrite, resume=resume,
                          overrides=Overrides(device, precision, on_error, compare),
                          progress=shows_progress(ctx), command_line=command_line(ctx))
    say(str(path))
