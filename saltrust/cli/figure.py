"""``saltrust figure``: one figure of the papers, by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from saltrust.choices import Rank, words
from saltrust.cli.analyze.command import selected
from saltrust.cli.options import (
    PathType,
    cubes_argument,
    map_options,
    overwrite_option,
    reading_option,
    selection_options,
    shows_progress,
)
from saltrust.cli.output import say
from saltrust.errors import UsageError
from saltrust.files import Advice, whole_file
from saltrust.reading import shown

_ADVICE = Advice("repeat the command", "choose another file", UsageError)


def _list(ctx: click.Context, _parameter: click.Parameter, asked: bool) -> None:
    """Print the figures and what images each is ranked by, and end."""
    if not asked or ctx.resilient_parsing:
        return
    from saltrust.report.catalog.registry import named_figures

    figures = named_figures()
    width = max(map(len, figures))
    for name, one in figures.items():
        ranked = f"  (--by {'|'.join(one.ranked_by)})" if one.ranked_by else ""
        say(f"{name:{width}}  {one.shows}{ranked}")
    ctx.exit()


@click.command()
@click.argument("name")
@cubes_argument
@click.option("-o", "--output", required=True, type=PathType(path_type=Path, dir_okay=False),
              metavar="FILE.png|svg|pdf", help="File to write.")
@click.option("--list", "list_", is_flag=True, is_eager=True, expose_value=False, callback=_list,
              help="Name all figures and what they show.")
@click.option("--image", "images", multiple=True, metavar="NAME",
              help="Show this image; may be repeated.  [default: chosen by rank]")
@click.option("--rank", type=click.Choice(words(Rank)), default=None,
              help="Show the images of the highest, the middle or the lowest score, of the first "
                   "explainer and model.  [default: best]")
@click.option("--by", default=None, metavar="SCORE",
              help="Score that ranks them; --list names those of each figure.  [default: the "
                   "first that the cubes allow]")
@click.option("--count", type=click.IntRange(min=1), default=None, metavar="N",
              help="Images chosen by rank.  [default: 1]")
@selection_options
@map_options
@reading_option
@overwrite_option
@click.pass_context
def figure(ctx: click.Context, /, name: str, cubes: Path, output: Path, **options: Any) -> None:
    """Draw one figure: maps, a case, descriptors, curves, an overview (see --list).

    \u0008
    saltrust figure maps C.zarr -o maps.png --image patient-7
    saltrust figure case C.zarr -o cases.pdf --rank worst --by iou --count 3
    """
    from saltrust.cache.store import open_cubes
    from saltrust.report.catalog.registry import figure as draw
    from saltrust.report.catalog.registry import named_figure
    from saltrust.report.figures.files import FORMS, save_figure

    # Before minutes of work.
    named_figure(name)
    form = output.suffix.lower().lstrip(".")
    if form not in FORMS:
        raise UsageError(f"{output} must end in .{', .'.join(FORMS[:-1])} or .{FORMS[-1]}, which "
                         f"says how it is written, not in {shown(output.suffix)}")
    overwrite = options.pop("overwrite")
    if output.exists() and not overwrite:
        raise UsageError(f"{output} exists; say --overwrite to replace it, or choose another file")
    tree = selected(open_cubes(cubes), options)
    drawn = draw(tree, name, image=list(options.pop("images")) or None,
                 progress=shows_progress(ctx), **options)
    with whole_file(output, _ADVICE) as aside:
        save_figure(drawn, aside, form)
    say(str(output))
