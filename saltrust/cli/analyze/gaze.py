"""``saltrust analyze gaze``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from saltrust.cli.options import (
    bootstrap_options,
    choose_or_all,
    cubes_argument,
    map_options,
    selection_options,
    shows_progress,
)
from saltrust.cli.output import emit, output_options, write_figures


@click.command()
@cubes_argument
@selection_options
@map_options
@click.option("--source", "source_group", type=click.Choice(["all", "saliency", "localizer"]),
              default="all", show_default=True,
              help="Maps of explainers, those of localizers and of decoders trained with gaze "
                   "(explainer `localizer`), or both.")
@click.option("--map", "map_form", type=click.Choice(["raw", "absolute", "positive"]),
              default="raw", show_default=True,
              help="Maps as stored, their absolute values, or their positive parts.")
@click.option("--images", type=click.Choice(["positive", "all"]), default="positive",
              show_default=True,
              help="Gaze belongs to no finding: compare it with the maps of the findings that "
                   "the image shows, or with all.")
@click.option("--measure", "measures", multiple=True, metavar="NAME",
              help="Only this: correlation, ssim, similarity, kl, auc_judd, auc_shuffled, nss; "
                   "may be repeated.")
@click.option("--reader", default=None, metavar="NAME",
              help="Whose gaze.  [default: the first reader with gaze]")
@click.option("--gaze-threshold", "threshold", type=float, default=0.5, show_default=True,
              help="Where no fixations are stored, pixels with at least this share of the "
                   "maximum of the gaze heatmap count as fixated (AUC, NSS).")
@click.option("--others", type=click.IntRange(1), default=5, show_default=True,
              help="Other patients' images whose gaze each map is compared with, for chance.")
@click.option("--failures", type=click.Choice(["score", "drop"]), default="score",
              show_default=True,
              help="Flat or non-finite maps: scored as telling nothing, or their images left "
                   "out for every map.")
@click.option("--adjustment", type=click.Choice(["bonferroni", "holm", "bh", "none"]),
              default="bonferroni", show_default=True,
              help="Correction of p-values within a family of pairs.")
@bootstrap_options
@output_options
@click.pass_context
def gaze(ctx: click.Context, /, cubes: Path, **options: Any) -> None:
    """Do heatmaps look where people look?  Correlation, SSIM, AUC, NSS, KL with recorded gaze.

    Beside chance: a central Gaussian, the average gaze on other patients' images, and the
    gaze on other images.  -o also draws the agreement, and maps with the gaze over them (.png
    and .svg).
    """
    from saltrust.analysis.gaze.analysis import gaze as compute
    from saltrust.cache.store import open_cubes

    output = {name: options.pop(name) for name in ("form", "tables", "folder", "overwrite")}
    options["positives"] = options.pop("images") == "positive"
    for name in ("findings", "explainers", "models", "measures"):
        options[name] = choose_or_all(options[name])
    tree = open_cubes(cubes)
    result = compute(tree, progress=shows_progress(ctx), **options)
    emit(result, "gaze", **output)
    if output["folder"] is not None:
        from saltrust.report.figures import gaze as gaze_figures

        write_figures({"gaze_agreement": gaze_figures.agreement(result),
                       "gaze_examples": gaze_figures.examples(tree, result)},
                      output["folder"], overwrite=output["overwrite"])
