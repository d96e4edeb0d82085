"""``saltrust protocol localization``: protocol S from cubes to printable tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from saltrust.choices import IouSlice, words
from saltrust.cli.analyze.command import grouped
from saltrust.cli.options import (
    adjustment_option,
    benchmark_option,
    bootstrap_options,
    cubes_argument,
    defined_reading_option,
    definition_options,
    map_options,
    margin_option,
    operating_point_option,
    pass_options,
    segmentation_options,
    selection_options,
)
from saltrust.cli.protocol.command import folder_options, run


@click.command()
@cubes_argument
@selection_options
@map_options
@definition_options
@defined_reading_option
@segmentation_options
@click.option("--slice", "iou_slice", default=None, type=click.Choice(words(IouSlice)),
              help="Which image-finding pairs enter Table 1.  [default: all with --cutoff, "
                   "positive without; both_nonempty under --definition peer]")
@benchmark_option
@adjustment_option
@margin_option
@operating_point_option
@bootstrap_options
@pass_options
@folder_options
@click.pass_context
def localization(ctx: click.Context, /, cubes: Path, **options: Any) -> None:
    """Localization against experts (Saporta et al.): Tables 1, 2, 3, figures, methods.

    \u0008
    DIR/methods.md     every definition and choice, ready for a methods section
    DIR/tables/        table1, table2, table3 and context as .md, .tex, .csv, .json
    DIR/figures/       bars, letter values, coefficients, confidence as .png and .svg
    DIR/results/       every analysis with all digits: JSON, and CSV per table
    """
    from saltrust.analysis.protocols.localization.protocol import protocol_localization

    run(protocol_localization, cubes, options, lambda rest: grouped(ctx, rest))
