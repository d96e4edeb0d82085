"""``saltrust protocol guided-training``: protocol W from cubes to printable tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from saltrust.choices import Adjustment, AucInterval, CaseLevel, MapChoice, words
from saltrust.cli.analyze.command import grouped, split_off
from saltrust.cli.options import (
    bootstrap_options,
    cubes_or_study_argument,
    finding_option,
    map_options,
    shows_progress,
    split_option,
)
from saltrust.cli.protocol.command import folder_options, run


@click.command("guided-training")
@cubes_or_study_argument
@split_option("the one whose images were predicted; all where these are of several")
@finding_option
@map_options
@click.option("--baseline", default=None, metavar="MODEL",
              help="Model to compare with.  [default: trained with the decoder against gaze, of "
                   "the same seed]")
@click.option("--level", type=click.Choice(words(CaseLevel)), default="image",
              show_default=True, help="What a case is: an image or an examination.")
@click.option("--interval",
              type=click.Choice([word for word in words(AucInterval) if word != "protocol-w"]),
              default="newcombe", show_default=True,
              help="Of Tables 1 to 4; the paper's own stand in the tables `_paper`.")
@click.option("--map", "reading", type=click.Choice(words(MapChoice)), default="absolute",
              show_default=True, help="What of the maps is compared with gaze: their absolute "
                                      "values, which the paper's gradients call for, or what "
                                      "every explainer declares (auto), or another.")
@click.option("--adjustment", type=click.Choice(words(Adjustment)), default="holm",
              show_default=True,
              help="Correction of p-values against the baseline, one family per finding.")
@bootstrap_options
@folder_options
@click.pass_context
def guided_training(ctx: click.Context, /, source: Path, **options: Any) -> None:
    """Classifiers guided by gaze against their baseline (Watanabe et al.): Tables 1 to 4.

    \u0008
    STUDY.toml         models are trained and DIR/study.zarr generated first; started again, the
                       same command goes on where it was
    CUBES              tables and figures only

    \u0008
    DIR/methods.md     every definition and choice, ready for a methods section
    DIR/tables/        table1 to table4, also as the paper made them, and gaze as .md, .tex,
                       .csv, .json
    DIR/figures/       ROC curves, calibration, gaze beside maps and decoders as .png and .svg
    DIR/results/       every analysis with all digits: JSON, and CSV per table
    """
    from saltrust.analysis.protocols.guided_training.protocol import (
        Areas,
        protocol_guided_training,
    )

    # Of the maps alone, so that decoders, which have no explainer, can be named too.
    explainers = options.pop("explainers") or None

    def group(rest: dict[str, Any]) -> dict[str, Any]:
        areas = Areas(**split_off(rest, ("level", "interval")))
        return {"areas": areas, "explainers": explainers, "progress": shows_progress(ctx),
                **grouped(ctx, rest)}

    run(protocol_guided_training, source, options, group)
