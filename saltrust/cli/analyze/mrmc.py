"""``saltrust analyze mrmc``: from cubes, or from a table of ratings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from saltrust.choices import AreaCovariance, FixedFactor, words
from saltrust.cli.analyze.command import run
from saltrust.cli.options import (
    PathType,
    confidence_option,
    defined_reading_option,
    definition_options,
    level_option,
    map_options,
    segmentation_options,
    selection_options,
    slice_option,
    stack,
)
from saltrust.cli.output import output_options
from saltrust.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from saltrust.analysis.result import Result

#: Columns of a table of ratings whose option is not also one of cubes.
_COLUMNS = ("case", "truth", "rating")
_FOR_RATINGS = (*_COLUMNS, "cluster", "covariance", "ai")
_FOR_CUBES = ("split", "findings", "explainers", "models", "definition", "resolution", "map",
              "threshold", "cutoff", "level", "iou_slice")
#: Options, where they are not called as their parameters.
_SPELLED = {"findings": "finding", "explainers": "explainer", "models": "model",
            "iou_slice": "slice"}

_ratings_options = stack(
    click.option("--ratings", type=PathType(path_type=Path), metavar="FILE.csv",
                 help="Take ratings from a CSV in the place of CUBES, one row each: treatment, "
                      "reader, case, truth (1 or 0), rating (larger the surer)."),
    click.option("--treatment", default=None, metavar="explainer|model|COLUMN",
                 help="What is compared: explainers or models of CUBES, or a column of FILE.csv.  "
                      "[default: explainer, model where there is one; treatment]"),
    click.option("--reader", multiple=True, metavar="NAME|COLUMN",
                 help="Only this reader of CUBES, may be repeated; or a column of FILE.csv.  "
                      "[default: all who drew; reader]"),
    *(click.option(f"--{name}", default=name, show_default=True, metavar="COLUMN",
                   help=f"Column of FILE.csv with the {what}.") for name, what in
      zip(_COLUMNS, ("cases", "truth", "ratings"), strict=True)),
    click.option("--cluster", default=None, metavar="COLUMN",
                 help="Column of FILE.csv with the patients, where one has several cases.  "
                      "[default: cases are independent]"),
    click.option("--covariance", type=click.Choice(words(AreaCovariance)), default="jackknife",
                 show_default=True,
                 help="Of areas over the cases of FILE.csv; of CUBES always the jackknife over "
                      "patients."),
    click.option("--ai", default=None, metavar="READER",
                 help="The reader of FILE.csv who is a model: compared with the others, who are a "
                      "sample of readers (table against_ai)."),
)


@click.command()
@click.argument("cubes", type=PathType(path_type=Path), metavar="[CUBES]", required=False)
@_ratings_options
@click.option("--fixed", type=click.Choice(words(FixedFactor)), default=None,
              help="Do not take these as a sample: conclusions are of these readers, or of these "
                   "cases, only.")
@selection_options
@map_options
@definition_options
@defined_reading_option
@segmentation_options
@level_option
@slice_option
@confidence_option
@output_options
@click.pass_context
def mrmc(ctx: click.Context, /, cubes: Path | None, ratings: Path | None, **options: Any) -> None:
    """Do explainers, models or treatments differ, whoever reads?  Readers are a sample.

    From CUBES: mean IoU and hit rate of maps, and AUC of models, against what each reader drew.
    From a table: AUC of anyone's ratings.  Tables test (Obuchowski and Rockette's F with Hillis'
    degrees of freedom), differences, means and figures; -o also draws them (.png and .svg).

    \u0008
    saltrust analyze mrmc study.zarr --treatment explainer
    saltrust analyze mrmc --ratings ratings.csv --treatment modality --cluster patient
    """
    from saltrust.analysis.multireader import analysis

    if (cubes is None) == (ratings is None):
        raise UsageError("give either CUBES or --ratings FILE.csv" if cubes is None else
                         "CUBES and --ratings exclude each other; leave one of them out")
    if ratings is not None:
        _leave_out(ctx, options, _FOR_CUBES, "needs CUBES; of --ratings every row counts")
        options["columns"] = _columns(options)
        run(ctx, "mrmc", analysis.mrmc_from_ratings, ratings, options, load=_load_path,
            shown=_shown, draw=_draw)
    elif cubes is not None:
        _leave_out(ctx, options, _FOR_RATINGS, "needs --ratings FILE.csv")
        run(ctx, "mrmc", analysis.mrmc, cubes, options, shown=_shown, draw=_draw)


def _draw(_loaded: Any, result: Result) -> dict[str, Figure]:
    from saltrust.report.figures.multireader import readers_and_treatments

    return {"mrmc": readers_and_treatments(result)} if "means" in result else {}


def _load_path(path: Path, _options: Mapping[str, Any]) -> Path:
    return path


def _shown(options: Mapping[str, Any]) -> tuple[str, ...]:
    """All but the figures that they are made of."""
    return () if options.get("ai") else ("test", "differences", "means")


def _columns(options: dict[str, Any]) -> Any:
    from saltrust.analysis.multireader.ratings import RatingColumns

    readers = options.pop("reader")
    if len(readers) > 1:
        raise UsageError("--reader names the one column of the readers of --ratings; say it once")
    treatment = options.pop("treatment")
    return RatingColumns(treatment=treatment or "treatment", reader=readers[0] if readers else
                         "reader", **{name: options.pop(name) for name in _COLUMNS})


def _leave_out(ctx: click.Context, options: dict[str, Any], names: tuple[str, ...], why: str
               ) -> None:
    """Take out the options that this source cannot obey; those given are refused."""
    for name in names:
        given = ctx.get_parameter_source(name)
        if given is not None and given.name == "COMMANDLINE":
            raise UsageError(f"--{_SPELLED.get(name, name)} {why}")
        options.pop(name)
