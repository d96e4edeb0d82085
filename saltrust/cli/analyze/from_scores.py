"""``saltrust analyze classification``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from saltrust.cli.options import (
    adjustment_option,
    bootstrap_options,
    choose_or_all,
    cubes_argument,
    selection_options,
)
from saltrust.cli.output import emit, output_options, write_figures


@click.command()
@cubes_argument
@selection_options
@click.option("--model", "models", multiple=True, metavar="NAME",
              help="Only this model; may be repeated.")
@click.option("--level", type=click.Choice(["image", "study"]), default="image",
              show_default=True,
              help="study: one case per examination, its probability the maximum over its views.")
@click.option("--interval", type=click.Choice(["delong", "bootstrap", "protocol-w"]),
              default="delong", show_default=True,
              help="delong: by its covariance, clustered by patient; bootstrap: percentiles of "
                   "resamples of patients; protocol-w: median and percentiles of 30 samples of "
                   "55 to 60 cases.")
@adjustment_option
@bootstrap_options
@output_options
def classification(cubes: Path, findings: tuple[str, ...], models: tuple[str, ...],
                   **options: Any) -> None:
    """How well does each model classify?  AUC per finding and averaged, models in pairs.

    Calibration beside: Brier score, slope, expected calibration error (--table calibration).
    With --format json or -o, the probability of every case too; -o also draws ROC curves and
    reliability diagrams (.png and .svg).
    """
    from saltrust.analysis.classification import analysis
    from saltrust.cache.store import open_cubes

    output = {name: options.pop(name) for name in ("form", "tables", "folder", "overwrite")}
    result = analysis.classification(open_cubes(cubes), findings=choose_or_all(findings),
                                     models=choose_or_all(models), **options)
    emit(result, "classification", **output)
    if output["folder"] is not None:
        from saltrust.report.figures import classification as figures

        write_figures({"classification_roc": figures.roc(result),
                       "classification_calibration": figures.calibration(result)},
                      output["folder"], overwrite=output["overwrite"])
