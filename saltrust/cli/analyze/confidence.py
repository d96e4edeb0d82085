"""``saltrust analyze confidence``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from saltrust.choices import CorrelationInterval, words
from saltrust.cli.analyze.command import run
from saltrust.cli.options import (
    adjustment_option,
    bootstrap_options,
    by_option,
    confidence_slice_option,
    cubes_argument,
    defined_reading_option,
    definition_options,
    errors_option,
    level_option,
    map_options,
    operating_point_option,
    pass_options,
    segmentation_options,
    selection_options,
)
from saltrust.cli.output import output_options


@click.command()
@cubes_argument
@selection_options
@map_options
@definition_options
@defined_reading_option
@segmentation_options
@level_option
@confidence_slice_option
@click.option("--normalise/--no-normalise", "normalize", default=None,
              help="Min-max normalise probabilities per finding before pooling, as the paper.  "
                   "[default: no; yes under --definition peer]")
@click.option("--interval", type=click.Choice(words(CorrelationInterval)),
              default=None,
              help="Of Spearman's correlation; bonett-wright and fisher take rows as independent.  "
                   "[default: jackknife over patients; bonett-wright with --errors classical; "
                   "fisher under --definition peer]")
@errors_option
@adjustment_option
@operating_point_option
@bootstrap_options
@by_option
@pass_options
@output_options
@click.pass_context
def confidence(ctx: click.Context, /, cubes: Path, **options: Any) -> None:
    """Does the model localise better where it is more confident?

    Regression and Spearman correlation of IoU and hit on the predicted probability, per finding
    and pooled.  Table strata: true positives, false negatives, bins of probability.
    """
    from saltrust.analysis.confidence.analysis import confidence as compute

    run(ctx, "confidence", compute, cubes, options)
