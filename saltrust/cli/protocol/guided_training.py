"""``saltrust protocol guided-training``: protocol W from cubes to printable tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from saltrust.cli.options import (
    bootstrap_options,
    choose_or_all,
    cubes_argument,
    finding_option,
    map_options,
    overwrite_option,
    shows_progress,
    split_option,
)


@click.command("guided-training")
@cubes_argument
@click.option("-o", "--output", "folder", required=True, metavar="DIR",
              type=click.Path(path_type=Path, file_okay=False), help="Folder to write.")
@split_option("the one whose images were predicted; all where these are of several")
@finding_option
@map_options
@click.option("--baseline", default=None, metavar="MODEL",
              help="Model to compare with.  [default: trained with the decoder against gaze, of "
                   "the same seed]")
@click.option("--level", type=click.Choice(["image", "study"]), default="image",
              show_default=True, help="What a case is: an image or an examination.")
@click.option("--interval", type=click.Choice(["delong", "bootstrap"]), default="delong",
              show_default=True,
              help="Of Tables 1 to 4; the paper's own stand in the tables `_paper`.")
@click.option("--map", "map_form", type=click.Choice(["absolute", "raw", "positive"]),
              default="absolute", show_default=True,
              help="What of the maps is compared with gaze.")
@click.option("--adjustment", type=click.Choice(["bonferroni", "holm", "bh", "none"]),
              default="holm", show_default=True,
              help="Correction of p-values against the baseline, one family per finding.")
@bootstrap_options
@overwrite_option
@click.pass_context
def guided_training(ctx: click.Context, /, cubes: Path, folder: Path, overwrite: bool,
                    **options: Any) -> None:
    """Classifiers guided by gaze against their baseline (Watanabe et al.): Tables 1 to 4.

    \u0008
    DIR/methods.md     every definition and choice, ready for a methods section
    DIR/tables/        table1 to table4, also as the paper made them, and gaze as .md, .tex,
                       .csv, .json
    DIR/figures/       ROC curves, calibration, gaze beside maps and decoders as .png and .svg
    DIR/results/       every analysis with all digits: JSON, and CSV per table
    """
    from saltrust.cache.store import open_cubes
    from saltrust.cli.protocol.localization import deliver, refuse_to_replace
    from saltrust.report.protocols.guided_training import run_guided_training

    tree = open_cubes(cubes)
    refuse_to_replace(folder, overwrite=overwrite)
    for name in ("findings", "explainers", "models"):
        options[name] = choose_or_all(options[name])
    deliver(run_guided_training(tree, progress=shows_progress(ctx), **options), folder)
