"""``saltrust analyze gaze``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from saltrust.choices import Adjustment, Failures, Images, MapChoice, MapSource, words
from saltrust.cli.analyze.command import run
from saltrust.cli.options import (
    bootstrap_options,
    choose_or_all,
    cubes_argument,
    map_options,
    selection_options,
    shows_progress,
)
from saltrust.cli.output import output_options

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from saltrust.analysis.options import GazeComparison
    from saltrust.analysis.result import Result


@click.command()
@cubes_argument
@selection_options
@map_options
@click.option("--source", type=click.Choice(words(MapSource)), default="all", show_default=True,
              help="Maps of explainers, those of localizers and of decoders trained with gaze "
                   "(explainer `localizer`), or both.")
@click.option("--map", "reading", type=click.Choice(words(MapChoice)), default="auto",
              show_default=True,
              help="What of every map is compared: what its explainer declares (`saltrust info`), "
                   "the map as stored, its absolute values, or its positive part.")
@click.option("--images", type=click.Choice(words(Images)), default="positive",
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
@click.option("--others", type=click.IntRange(1, 10_000), default=5, show_default=True,
              help="Other patients' images whose gaze each map is compared with, for chance.")
@click.option("--failures", type=click.Choice(words(Failures)), default="score",
              show_default=True,
              help="Flat or non-finite maps: scored as telling nothing, or their images left "
                   "out for every map.")
@click.option("--adjustment", type=click.Choice(words(Adjustment)), default="bonferroni",
              show_default=True, help="Correction of p-values within a family of pairs.")
@bootstrap_options
@output_options
@click.pass_context
def gaze(ctx: click.Context, /, cubes: Path, explainers: tuple[str, ...],
         models: tuple[str, ...], **options: Any) -> None:
    """Do heatmaps look where people look?  Correlation, SSIM, AUC, NSS, KL with recorded gaze.

    Beside chance: a central Gaussian, the average gaze on other patients' images, and the
    gaze on other images.  -o also draws the agreement, and maps with the gaze over them (.png
    and .svg).
    """
    from dataclasses import replace

    from saltrust.analysis.gaze.analysis import gaze as analyze
    from saltrust.analysis.gaze.maps import select_maps

    def compute(tree: xr.DataTree, *, comparison: GazeComparison, **further: Any) -> Result:
        chosen, source = select_maps(
            tree, explainers=choose_or_all(explainers), models=choose_or_all(models),
            source=comparison.source)
        return analyze(chosen, comparison=replace(comparison, source=source),
                       progress=shows_progress(ctx), **further)

    options["measures"] = choose_or_all(options["measures"])
    run(ctx, "gaze", compute, cubes, options, draw=_draw)


def _draw(tree: xr.DataTree, result: Result) -> dict[str, Figure]:
    from saltrust.report.figures import gaze as figures

    return {"gaze_agreement": figures.agreement(result),
            "gaze_examples": figures.examples(tree, result)}
