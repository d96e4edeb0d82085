"""``saltrust import``: other people's data sets and heatmaps as cubes."""

from __future__ import annotations

from pathlib import Path

import click

from saltrust.cli.options import (
    command_line,
    overwrite_option,
    refuse_both,
    resume_option,
    shows_progress,
)


@click.group(name="import")
def import_() -> None:
    """Turn released data sets and heatmaps into cubes."""


@import_.command()
@click.argument("directory", type=click.Path(path_type=Path), metavar="DIR")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path),
              metavar="CUBES", help="Store to write.")
@overwrite_option
@resume_option
@click.pass_context
def chexlocalize(ctx: click.Context, directory: Path, output: Path, overwrite: bool,
                 resume: bool) -> None:
    """Read the released CheXlocalize layout: heatmap pickles, masks, polygons, labels, images.

    Pickles are opened with an allow-list that rebuilds tensors and plain values only; one that
    tries anything else is refused.
    """
    from saltrust.datasets.chexlocalize import import_chexlocalize

    refuse_both(overwrite=overwrite, resume=resume)
    path = import_chexlocalize(directory, output, overwrite=overwrite, resume=resume,
                               progress=shows_progress(ctx))
    click.echo(str(path))


@import_.command()
@click.argument("study", type=click.Path(path_type=Path), metavar="STUDY.toml")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path),
              metavar="CUBES", help="Store to write.")
@overwrite_option
@resume_option
@click.pass_context
def study(ctx: click.Context, study: Path, output: Path, overwrite: bool, resume: bool) -> None:
    """Store the radiographs, labels and masks of a study file, without any model.

    Enough for `saltrust analyze descriptors` and for comparing readers; needs no torch.
    """
    from saltrust.cache.reference import import_collection
    from saltrust.datasets.registry import open_collection
    from saltrust.study import read_study

    refuse_both(overwrite=overwrite, resume=resume)
    declared = read_study(study)
    path = import_collection(
        open_collection(declared), output, grid=(declared.grid, declared.grid),
        attributes={"study": declared.as_dict(), "command_line": command_line(ctx)},
        overwrite=overwrite, resume=resume, progress=shows_progress(ctx))
    click.echo(str(path))
