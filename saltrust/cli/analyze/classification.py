"""``saltrust analyze classification``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from saltrust.choices import AucInterval, CaseLevel, words
from saltrust.cli.analyze.command import run
from saltrust.cli.options import (
    adjustment_option,
    bootstrap_options,
    by_option,
    cubes_argument,
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
@click.option("--model", "models", multiple=True, metavar="NAME",
              help="Only this model; may be repeated.")
@click.option("--level", type=click.Choice(words(CaseLevel)), default="image",
              show_default=True,
              help="study: one case per examination, its probability the maximum over its views.")
@click.option("--interval", type=click.Choice(words(AucInterval)),
              default="newcombe", show_default=True,
              help="newcombe: holds its level near 1 and with few positives, patients counted; "
                   "delong: normal, by its covariance, clustered by patient; bootstrap: "
                   "percentiles of resamples of patients; protocol-w: median and percentiles of "
                   "30 samples of 55 to 60 cases.")
@adjustment_option
@bootstrap_options
@by_option
@output_options
@click.pass_context
def classification(ctx: click.Context, /, cubes: Path, **options: Any) -> None:
    """How well does each model classify?  AUC per finding and averaged, models in pairs.

    Calibration beside: Brier score, slope, expected calibration error (--table calibration).
    With --format json or -o, the probability of every case too; -o also draws ROC curves and
    reliability diagrams (.png and .svg).
    """
    from saltrust.analysis.classification.analysis import classification as compute

    run(ctx, "classification", compute, cubes, options, draw=_draw)


def _draw(_tree: xr.DataTree, result: Result) -> dict[str, Figure]:
    from saltrust.report.figures import classification as figures

    return {"classification_roc": figures.roc(result),
            "classification_calibration": figures.calibration(result)}
