"""``saltrust protocol trustworthiness``: protocol A from cubes to printable tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from saltrust.cli.analyze.trustworthiness import (
    against_option,
    decision_options,
    image_options,
    rule_option,
)
from saltrust.cli.options import (
    choose_or_all,
    cubes_argument,
    map_options,
    overwrite_option,
    selection_options,
    shows_progress,
)


@click.command()
@cubes_argument
@click.option("-o", "--output", "folder", required=True, metavar="DIR",
              type=click.Path(path_type=Path, file_okay=False), help="Folder to write.")
@selection_options
@map_options
@image_options
@rule_option
@against_option
@decision_options
@overwrite_option
@click.pass_context
def trustworthiness(ctx: click.Context, /, cubes: Path, folder: Path, overwrite: bool,
                    **options: Any) -> None:
    """Utility, randomization, repeatability, reproducibility (Arun et al.) at once.

    A criterion that the cubes cannot give is left out, and why is said.

    \u0008
    DIR/methods.md     every definition and choice, ready for a methods section
    DIR/tables/        decisions and each criterion as .md, .tex, .csv, .json
    DIR/figures/       box plots, SSIM along the stages, examples as .png and .svg
    DIR/results/       every criterion with all digits: JSON, and CSV per table
    """
    from saltrust.analysis.options import Decision
    from saltrust.cache.store import open_cubes
    from saltrust.cli.protocol.localization import deliver, refuse_to_replace
    from saltrust.report.protocols.trustworthiness import run_trustworthiness

    tree = open_cubes(cubes)
    refuse_to_replace(folder, overwrite=overwrite)
    chosen = Decision(**{name: options.pop(name) for name in
                                ("posthoc", "alpha", "margin", "resamples", "seed")})
    for name in ("findings", "explainers", "models"):
        options[name] = choose_or_all(options[name])
    options["positives"] = options.pop("images") == "positive"
    deliver(run_trustworthiness(tree, options=chosen, progress=shows_progress(ctx), **options),
            folder)
