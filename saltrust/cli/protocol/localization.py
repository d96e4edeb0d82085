"""``saltrust protocol localization``: protocol S from cubes to printable tables."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from saltrust.choices import IouSlice, words
from saltrust.cli.analyze.command import SELECTION, grouped, selected, split_off
from saltrust.cli.options import (
    adjustment_option,
    benchmark_option,
    bootstrap_options,
    cubes_or_study_argument,
    defined_reading_option,
    definition_options,
    level_option,
    map_options,
    margin_option,
    non_inferiority_option,
    operating_point_option,
    pass_options,
    segmentation_options,
    selection_options,
)
from saltrust.cli.protocol.command import folder_options, run

if TYPE_CHECKING:
    import xarray as xr

    from saltrust.analysis.result import Result

#: Options that the search for cut-offs shares with the protocol.
_SEARCH = ("definition", "resolution", "map", "level", "workers", "scheduler", "keep")


@click.command()
@cubes_or_study_argument
@selection_options
@map_options
@definition_options
@defined_reading_option
@segmentation_options
@level_option
@click.option("--slice", "iou_slice", default=None, type=click.Choice(words(IouSlice)),
              help="Which image-finding pairs enter Table 1.  [default: all with --cutoff, "
                   "positive without; both_nonempty under --definition peer]")
@benchmark_option
@adjustment_option
@margin_option
@non_inferiority_option
@operating_point_option
@bootstrap_options
@pass_options
@folder_options
@click.pass_context
def localization(ctx: click.Context, /, source: Path, **options: Any) -> None:
    """Localization against experts (Saporta et al.): Tables 1, 2, 3, figures, methods.

    \u0008
    STUDY.toml         models are trained and DIR/study.zarr generated first; started again, the
                       same command goes on where it was; cut-offs are tuned on val, in
                       DIR/val.zarr and DIR/thresholds.csv, where --cutoff states none
    CUBES              tables and figures only

    \u0008
    DIR/methods.md     every definition and choice, ready for a methods section
    DIR/tables/        table1, table2, table3 and context as .md, .tex, .csv, .json
    DIR/figures/       bars, letter values, coefficients, confidence, cases: .png, .svg
    DIR/results/       every analysis with all digits: JSON, and CSV per table
    """
    from saltrust.analysis.protocols.localization.protocol import protocol_localization

    run(protocol_localization, source, options, lambda rest: grouped(ctx, rest),
        tune=partial(_tune, ctx))


def _tune(ctx: click.Context, cubes: xr.DataTree, options: dict[str, Any]) -> Result:
    """The search on validation images, under the definitions of the protocol."""
    from saltrust.analysis.localization.thresholds import tune_thresholds

    part = selected(cubes, split_off(options, SELECTION) | {"split": "val"})
    return tune_thresholds(part, **grouped(ctx, split_off(options, _SEARCH)))
