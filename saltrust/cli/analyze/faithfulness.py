"""``saltrust analyze faithfulness | perturbation``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from saltrust.choices import Failures, Images, words
from saltrust.cli.analyze.command import run
from saltrust.cli.options import (
    bootstrap_options,
    choose_or_all,
    cubes_argument,
    map_options,
    selection_options,
)
from saltrust.cli.output import output_options

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from saltrust.analysis.result import Result


@click.command()
@cubes_argument
@selection_options
@map_options
@click.option("--images", type=click.Choice(words(Images)), default="positive",
              show_default=True, help="Those that show the finding, or all that have curves.")
@click.option("--metric", "metrics", multiple=True, metavar="NAME",
              help="Only this: deletion, insertion, morf, lerf, infidelity, sensitivity; may be "
                   "repeated.")
@click.option("--failures", type=click.Choice(words(Failures)), default="score",
              show_default=True,
              help="Flat or non-finite maps: scored as a random order, or their images left out "
                   "for every explainer.")
@bootstrap_options
@output_options
@click.pass_context
def faithfulness(ctx: click.Context, /, cubes: Path, **options: Any) -> None:
    """Does the prediction follow what maps call relevant, more than by chance?

    Areas of the curves that `saltrust generate` stored ([faithfulness] in the study), against
    random orders and between explainers, and how far the metrics agree.  -o also draws the
    curves (.png and .svg).

    \u0008
    Example: saltrust analyze faithfulness study.zarr --split test -o faithfulness/
    """
    from saltrust.analysis.trustworthiness.faithfulness.analysis import faithfulness as compute

    options["metrics"] = choose_or_all(options["metrics"])
    run(ctx, "faithfulness", compute, cubes, options, draw=_draw)


@click.command()
@cubes_argument
@selection_options
@map_options
@click.option("--images", type=click.Choice(words(Images)), default="all", show_default=True,
              help="All that were perturbed, or those that show the finding.")
@bootstrap_options
@output_options
@click.pass_context
def perturbation(ctx: click.Context, /, cubes: Path, **options: Any) -> None:
    """Do maps change where predictions do?  Rank correlation of both changes.

    Under noise, blur, contrast, shift and JPEG of several degrees, as `saltrust generate` stored
    them ([perturbation] in the study), per image and pooled.

    \u0008
    Example: saltrust analyze perturbation study.zarr --split test --table pooled
    """
    from saltrust.analysis.trustworthiness.faithfulness.perturbation import (
        perturbation as compute,
    )

    run(ctx, "perturbation", compute, cubes, options)


def _draw(_tree: xr.DataTree, result: Result) -> dict[str, Figure]:
    from saltrust.report.figures import faithfulness as figures

    return {"faithfulness_curves": figures.curves(result)} if "curves" in result else {}
