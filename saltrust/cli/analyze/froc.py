"""``saltrust analyze froc``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from saltrust.choices import LesionKind, MarkKind, words
from saltrust.cli.analyze.command import run, split_off
from saltrust.cli.options import (
    bootstrap_options,
    cubes_argument,
    map_options,
    reading_option,
    selection_options,
    shows_progress,
)
from saltrust.cli.output import output_options

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from saltrust.analysis.result import Result

#: Options that are fields of the marking.
_MARKING = {"marks": "marks", "minimum_distance": "minimum_distance", "threshold": "threshold",
            "marks_per_map": "per_map", "lesions": "lesions", "within": "within"}


@click.command()
@cubes_argument
@selection_options
@map_options
@reading_option
@click.option("--reader", default=None, metavar="NAME",
              help="Reference reader whose lesions are to be hit.  [default: the first]")
@click.option("--marks", type=click.Choice(words(MarkKind)), default="peaks", show_default=True,
              help="What a map marks: its local maxima, or the connected parts above a threshold, "
                   "each at its highest pixel.  The rating is the map's own value there.")
@click.option("--minimum-distance", default="5%", show_default=True, metavar="PIXELS|SHARE%",
              help="Between two local maxima, down or across: pixels of the stored map, or a share "
                   "of its shorter side.")
@click.option("--threshold", default="otsu", show_default=True, metavar="otsu|NUMBER",
              help="Above which connected parts are: Otsu's of each map, or a share of its range.")
@click.option("--marks-per-map", type=click.IntRange(1, 1_000_000), default=None,
              metavar="N", help="Only the N highest marks of a map.  [default: all]")
@click.option("--lesions", type=click.Choice(words(LesionKind)), default="components",
              show_default=True, help="What is to be hit: connected parts of the reference mask, "
                                      "reference boxes, or reference points.")
@click.option("--within", default="0", show_default=True, metavar="PIXELS|SHARE%",
              help="Largest distance from a lesion of a mark that hits it, in the units of "
                   "--minimum-distance; 0: inside.")
@bootstrap_options
@output_options
@click.pass_context
def froc(ctx: click.Context, /, cubes: Path, **options: Any) -> None:
    """Do the marks of maps find lesions, and rank them before what is none?  FROC, AFROC, wAFROC.

    Needs maps of images without the finding, in the units of the method: those scaled image by
    image cannot be ranked.  Figures of merit with intervals by patient, differences of explainers
    (--table differences), curves (--table curves); -o also draws them (.png and .svg).

    \u0008
    saltrust analyze froc study.zarr --split test --marks-per-map 5
    """
    from saltrust.analysis.froc.analysis import froc as analyze
    from saltrust.analysis.froc.options import Marking

    chosen = split_off(options, _MARKING)
    marking = Marking(**{_MARKING[name]: value for name, value in chosen.items()})

    def compute(tree: xr.DataTree, **further: Any) -> Result:
        return analyze(tree, marking=marking, progress=shows_progress(ctx), **further)

    run(ctx, "froc", compute, cubes, options, draw=_draw)


def _draw(_tree: xr.DataTree, result: Result) -> dict[str, Figure]:
    from saltrust.report.figures import froc as figures

    return {"froc_curves": figures.curves(result)}
