"""``saltrust export``: what analyses start from, as files for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from saltrust.cli.analyze.command import grouped, selected
from saltrust.cli.options import (
    PathType,
    cubes_argument,
    defined_reading_option,
    definition_options,
    map_options,
    overwrite_option,
    pass_options,
    segmentation_options,
    selection_options,
    slice_option,
    spreadsheet_option,
)
from saltrust.cli.output import say
from saltrust.errors import UsageError
from saltrust.files import Advice, write_text


@click.group()
def export() -> None:
    """Write what analyses start from, for other programs."""


@export.command()
@cubes_argument
@click.option("-o", "--output", "file", required=True, metavar="FILE.csv",
              type=PathType(path_type=Path, dir_okay=False), help="CSV to write.")
@selection_options
@map_options
@definition_options
@defined_reading_option
@segmentation_options
@slice_option
@pass_options
@overwrite_option
@spreadsheet_option
@click.pass_context
def scores(ctx: click.Context, /, cubes: Path, file: Path, overwrite: bool,
           spreadsheet_safe: bool, **options: Any) -> None:
    """Every scored map with all that is known of it, one row each, as CSV.

    Image and its coordinates, finding, label, explainer, model, reader, probability, IoU, hit, and
    the descriptors of the reference mask: what `saltrust analyze regressions --scores` reads.
    """
    from saltrust.analysis.result.spreadsheets import quote_formulas, to_csv
    from saltrust.analysis.shape.score_frame import score_frame
    from saltrust.cache.store import open_cubes

    if file.exists() and not overwrite:
        raise UsageError(f"{file} exists; say --overwrite to replace it, or choose another name")
    tree = selected(open_cubes(cubes), options)
    frame = score_frame(tree, **grouped(ctx, options))
    frame = quote_formulas(frame) if spreadsheet_safe else frame
    write_text(file, to_csv(frame),
               Advice("repeat the command with --overwrite", "choose another place"))
    say(f"wrote {len(frame)} rows to {file}", err=True)
