"""``saltrust analyze descriptors | localization | thresholds``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from saltrust.choices import (
    BootstrapKind,
    RelevanceDefinition,
    ShapeProperty,
    StudyFamily,
    words,
)
from saltrust.cli.analyze.command import run
from saltrust.cli.options import (
    PathType,
    benchmark_option,
    bootstrap_options,
    by_option,
    cubes_argument,
    defined_reading_option,
    definition_options,
    level_option,
    map_options,
    margin_option,
    non_inferiority_option,
    pass_options,
    segmentation_options,
    selection_options,
    slice_option,
)
from saltrust.cli.output import output_options
from saltrust.errors import UsageError
from saltrust.reading import shown


@click.command()
@cubes_argument
@selection_options
@definition_options
@click.option("--extra", "properties", multiple=True, metavar="NAME|MODULE:FUNCTION",
              help="A further column of the whole mask; may be repeated.  Of scikit-image: "
                   f"{', '.join(words(ShapeProperty))} (lengths in pixels); or your own function "
                   "of a mask, from a module that is installed or lies in this folder.")
@output_options
@click.pass_context
def descriptors(ctx: click.Context, /, cubes: Path, **options: Any) -> None:
    """Shape of every annotated mask: instances, area ratio, elongation, irrectangularity."""
    from saltrust.analysis.shape.descriptors import descriptors as compute

    options["properties"] = [_property(name) for name in options["properties"]]
    run(ctx, "descriptors", compute, cubes, options)


def _property(name: str) -> Any:
    """A name, or the function that it names."""
    if ":" not in name:
        return name
    from saltrust.models.user_code import import_attribute, importable_from

    with importable_from(Path.cwd()):
        return import_attribute(name, f"--extra {shown(name)}")


@click.command()
@cubes_argument
@selection_options
@map_options
@definition_options
@defined_reading_option
@segmentation_options
@level_option
@slice_option
@bootstrap_options
@click.option("--bootstrap", type=click.Choice(words(BootstrapKind)), default="auto",
              show_default=True, help="Kind of the intervals of the summary; auto: none of fewer "
              "than 10 patients, bootstrap-t to 30, percentiles above.")
@click.option("--relevance", type=click.Choice(words(RelevanceDefinition)), default="default",
              show_default=True,
              help="Mass and rank accuracy, energy pointing (--table relevance): of positive "
                   "values, ties shared; quantus: negative values summed, ties by argsort.")
@benchmark_option
@margin_option
@non_inferiority_option
@click.option("--family", type=click.Choice(words(StudyFamily)), default="finding",
              show_default=True, help="Tests that are adjusted for each other: those of a question "
              "and finding, or all of the study, so that any false rejection in it is as rare as "
              "the level.")
@by_option
@pass_options
@output_options
@click.pass_context
def localization(ctx: click.Context, /, cubes: Path, **options: Any) -> None:
    """Heatmaps against reference masks: IoU and hit rate, beside the expert benchmark.

    Every heatmap is brought to the scoring resolution, cut by Otsu's threshold (or --threshold)
    and compared with the reference mask; a hit is a peak inside the reference.

    \u0008
    saltrust analyze localization C.zarr --split test --by sex,age:40:60 --non-inferiority 0.05
    """
    from saltrust.analysis.localization.analysis import localization as compute

    run(ctx, "localization", compute, cubes, options)


def _steps(default: str) -> Any:
    def parse(_ctx: click.Context, parameter: click.Parameter, text: str) -> list[float]:
        try:
            return [float(part) for part in text.split(",")]
        except ValueError:
            raise click.BadParameter(f"{text!r} is not a list of numbers such as {default}",
                                     param=parameter) from None
    return parse


_GRID, _CUTOFFS = "0.2,0.3,0.4,0.5,0.6,0.7", "0,0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8"


@click.command()
@cubes_argument
@selection_options
@map_options
@definition_options
@defined_reading_option
@level_option
@click.option("--grid", "thresholds", default=_GRID, show_default=True, callback=_steps(_GRID),
              help="Thresholds to search, shares of the range of a map.")
@click.option("--cutoffs", default=_CUTOFFS, show_default=True, callback=_steps(_CUTOFFS),
              help="Probability cut-offs to search.")
@click.option("--save", type=PathType(path_type=Path, dir_okay=False), metavar="FILE",
              help="Write what was found as CSV, for --threshold and --cutoff.")
@pass_options
@output_options
@click.pass_context
def thresholds(ctx: click.Context, /, cubes: Path, save: Path | None, **options: Any) -> None:
    """Tune where maps are cut, and below which probability they stay empty, per finding.

    The threshold with the largest mean IoU (slice both_nonempty, as released), and the cut-off
    with the largest mean IoU of Otsu's segmentations (slice all).  Tune on one split and apply
    to another:

    \u0008
    saltrust analyze thresholds C.zarr --split val --save tuned.csv
    saltrust analyze localization C.zarr --split test --threshold tuned.csv --cutoff tuned.csv
    """
    from saltrust.analysis.localization.thresholds import save_thresholds, tune_thresholds

    if save is not None and save.exists() and not options["overwrite"]:
        raise UsageError(f"{save} exists; say --overwrite to replace it, or choose another name")
    run(ctx, "thresholds", tune_thresholds, cubes, options,
        save=None if save is None else partial(save_thresholds, path=save))
