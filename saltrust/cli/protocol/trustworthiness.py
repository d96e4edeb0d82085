"""``saltrust protocol trustworthiness``: protocol A from cubes to printable tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from saltrust.cli.analyze.command import grouped, split_off
from saltrust.cli.analyze.trustworthiness import (
    against_option,
    decision_options,
    image_options,
    rule_option,
    utility_options,
)
from saltrust.cli.options import (
    cubes_or_study_argument,
    map_options,
    non_inferiority_option,
    reading_option,
    selection_options,
    shows_progress,
)
from saltrust.cli.protocol.command import folder_options, run


@click.command()
@cubes_or_study_argument
@selection_options
@map_options
@reading_option
@image_options
@rule_option
@against_option
@utility_options
@decision_options
@non_inferiority_option
@folder_options
@click.pass_context
def trustworthiness(ctx: click.Context, /, source: Path, **options: Any) -> None:
    """Utility, randomization, repeatability, reproducibility (Arun et al.) at once.

    A criterion that the cubes cannot give is left out, and why is said.

    \u0008
    STUDY.toml         models are trained and DIR/study.zarr generated first; started again, the
                       same command goes on where it was
    CUBES              tables and figures only

    \u0008
    DIR/methods.md     every definition and choice, ready for a methods section
    DIR/tables/        decisions and each criterion as .md, .tex, .csv, .json
    DIR/figures/       overview, box plots, curves, stages, examples as .png and .svg
    DIR/results/       every criterion with all digits: JSON, and CSV per table
    """
    from saltrust.analysis.protocols.trustworthiness.protocol import (
        Similarity,
        protocol_trustworthiness,
    )

    def group(rest: dict[str, Any]) -> dict[str, Any]:
        similarity = Similarity(**split_off(rest, ("images", "ssim", "pairs", "against_value")))
        return {"similarity": similarity, "progress": shows_progress(ctx), **grouped(ctx, rest)}

    run(protocol_trustworthiness, source, options, group)
