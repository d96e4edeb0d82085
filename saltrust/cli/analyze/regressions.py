"""``saltrust analyze regressions``: from cubes, or from a table of scores."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from saltrust.choices import Family, Fit, words
from saltrust.cli.analyze.command import SELECTION, run, selected, split_off
from saltrust.cli.options import (
    PathType,
    adjustment_option,
    benchmark_option,
    by_option,
    confidence_option,
    defined_reading_option,
    definition_options,
    errors_option,
    level_option,
    map_options,
    pass_options,
    segmentation_options,
    selection_options,
    slice_option,
)
from saltrust.cli.output import output_options
from saltrust.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.figure import Figure

    from saltrust.analysis.result import Result

_log = logging.getLogger(__name__)


#: Which table holds a fit.
_TABLES = {"ols": "classical", "cluster": "robust", "mixed": "mixed",
           "logit": "logit", "fractional": "fractional",
           "two-part": "two_part", "ordbeta": "ordbeta", "gee": "gee",
           "joint": "joint", "diagnostics": "diagnostics"}


@click.command()
@click.argument("cubes", type=PathType(path_type=Path), metavar="[CUBES]", required=False)
@click.option("--scores", type=PathType(path_type=Path), metavar="FILE.csv",
              help="Take scores from a tidy CSV in the place of CUBES: image, finding, explainer "
                   "(`expert` for a person, whose name stands in model), iou and/or hit, and "
                   "descriptors of the reference mask (n_instances, area_ratio, elongation, "
                   "irrectangularity); optional patient, model, reader, area_predicted, "
                   "area_reference.")
@selection_options
@map_options
@definition_options
@defined_reading_option
@segmentation_options
@level_option
@slice_option
@benchmark_option
@adjustment_option
@click.option("--family", type=click.Choice(words(Family)),
              default="response", show_default=True,
              help="Regressions that are corrected for each other: 4, 12, 24, or all.")
@click.option("--fit", "fits", multiple=True, type=click.Choice(words(Fit)),
              help="Print further models; may be repeated.  ols: classical errors, as the paper; "
                   "cluster: errors clustered by patient; mixed: random intercepts for image, "
                   "patient and finding; logit: log odds of a hit; fractional: logit of the "
                   "mean IoU, with its marginal effect; two-part: its zeros apart; ordbeta: "
                   "ordered beta regression; gee: hits by estimating equations; joint: all "
                   "descriptors together; diagnostics: as --diagnostics.")
@click.option("--diagnostics", is_flag=True,
              help="Print of every regression the largest Cook's distance with its image and "
                   "patient, and tests of uneven errors and of a wrong form; -o also draws the "
                   "residuals (.png and .svg).")
@errors_option
@confidence_option
@by_option
@pass_options
@output_options
@click.pass_context
def regressions(ctx: click.Context, /, cubes: Path | None, scores: Path | None, **options: Any
                ) -> None:
    """Does shape explain localization?  24 linear regressions per explainer and model.

    For IoU and hit: saliency, expert, and expert - saliency, each on one min-max normalised
    descriptor at a time.  --format markdown or latex prints the papers' Table 2.
    """
    from saltrust.analysis.shape import regressions as analysis

    if options.pop("diagnostics") and "diagnostics" not in options["fits"]:
        options["fits"] = (*options["fits"], "diagnostics")
    # Their residuals.
    draw = _draw if "diagnostics" in options["fits"] else None
    if (cubes is None) == (scores is None):
        raise UsageError("give either CUBES or --scores FILE.csv" if cubes is None else
                         "CUBES and --scores exclude each other; leave one of them out")
    if scores is not None:
        _leave_out_what_needs_cubes(ctx, options)
        run(ctx, "regressions", analysis.regressions_from_scores, scores, options,
            load=_load_scores, shown=_fitted_tables, draw=draw)
    elif cubes is not None:
        run(ctx, "regressions", analysis.regressions, cubes, options, load=_load_cubes,
            shown=_fitted_tables, draw=draw)


def _draw(_loaded: Any, result: Result) -> dict[str, Figure]:
    from saltrust.report.figures.residuals import residuals

    return {"regressions_residuals": residuals(result)}


def _fitted_tables(options: Mapping[str, Any]) -> tuple[str, ...]:
    """The headline, and the table of every further fit."""
    return ("estimates", *(table for fit, table in _TABLES.items() if fit in options["fits"]))


def _load_cubes(path: Path, options: dict[str, Any]) -> xr.DataTree:
    from saltrust.cache.store import open_cubes

    tree = open_cubes(path)
    stored = ([] if "saliency" not in tree.children else
              [str(name) for name in tree["saliency"].to_dataset()["model"].values])
    _take_fits_from_models(options, stored)
    return selected(tree, options)


def _load_scores(path: Path, options: dict[str, Any]) -> pd.DataFrame | Path:
    from saltrust.analysis.scores.score_rows import select_scores
    from saltrust.analysis.scores.tidy_scores import read_tidy_scores

    _take_fits_from_models(options, [])
    labels = {SELECTION[name]: value for name, value in split_off(options, SELECTION).items()
              if value}
    return select_scores(read_tidy_scores(path), labels) if labels else path


def _take_fits_from_models(options: dict[str, Any], stored: Sequence[str]) -> None:
    """``--model cluster`` named a fit until 0.2, unless maps of such a model are stored."""
    named = [name for name in options["models"] if name in words(Fit) and name not in stored]
    for name in named:
        _log.warning("--model %s for a fit is deprecated and will select a model only; say --fit "
                     "%s", name, name)
    options["fits"] = (*options["fits"], *named)
    options["models"] = tuple(name for name in options["models"] if name not in named)


def _leave_out_what_needs_cubes(ctx: click.Context, options: dict[str, Any]) -> None:
    """Take out the options that a table of scores cannot obey; those given are refused."""
    for name in ("by", "split", "resolution", "map", "threshold", "cutoff", "level", "keep",
                 "workers", "scheduler"):
        given = ctx.get_parameter_source(name)
        if given is not None and given.name == "COMMANDLINE":
            raise UsageError(f"--{name} needs CUBES; with --scores the scores are as they stand "
                             "in the file")
        options.pop(name)
