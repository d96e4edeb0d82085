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


@export.command()
@cubes_argument
@click.option("-o", "--output", "file", required=True, metavar="FILE.md|csv",
              type=PathType(path_type=Path, dir_okay=False), help="Markdown or CSV to write.")
@click.option("--plan", "plan_file", type=PathType(path_type=Path), default=None,
              metavar="PLAN.toml", help="Plan whose question, sample size and families count too.")
@overwrite_option
@spreadsheet_option
def checklist(cubes: Path, file: Path, plan_file: Path | None, overwrite: bool,
              spreadsheet_safe: bool) -> None:
    """A draft of CLAIM 2024's and STARD-AI's items: what the cubes say, what authors must state.

    In words of ours; every draft says where in the cubes it stands.

    \u0008
    saltrust export checklist study.zarr --plan plan.toml -o checklist.md
    """
    from saltrust.analysis.checklists.checklist import reporting_checklist
    from saltrust.analysis.result.text import render_frame

    forms = {".md": "markdown", ".csv": "csv"}
    if file.suffix.lower() not in forms:
        raise UsageError(f"{file} must end in .md or .csv, which says how it is written")
    if file.exists() and not overwrite:
        raise UsageError(f"{file} exists; say --overwrite to replace it, or choose another name")
    result = reporting_checklist(cubes, plan=plan_file)
    text = render_frame(result["checklist"], forms[file.suffix.lower()],
                        title="Reporting checklist, a draft", legend=result.meta["meaning"],
                        spreadsheet_safe=spreadsheet_safe)
    write_text(file, text, Advice("repeat the command with --overwrite", "choose another place"))
    drafted = sum(count["drafted"] for count in result.meta["counts"].values())
    say(f"wrote {len(result['checklist'])} items to {file}, {drafted} with a draft", err=True)
