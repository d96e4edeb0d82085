"""``saltrust analyze regressions``: from cubes, or from a table of scores."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from saltrust.choices import Family, Fit, words
from saltrust.cli.analyze.command import OUTPUT, SELECTION, grouped, selected, split_off
from saltrust.cli.options import (
    adjustment_option,
    benchmark_option,
    confidence_option,
    definition_options,
    map_options,
    pass_options,
    segmentation_options,
    selection_options,
    slice_option,
)
from saltrust.cli.output import emit, output_options
from saltrust.errors import UsageError

if TYPE_CHECKING:
    import xarray as xr

    from saltrust.analysis.result import Result

_log = logging.getLogger(__name__)

#: Which table holds a fit.
_TABLES = {"cluster": "robust", "mixed": "mixed", "logit": "logit"}


@click.command()
@click.argument("cubes", type=click.Path(path_type=Path), metavar="[CUBES]", required=False)
@click.option("--scores", type=click.Path(path_type=Path), metavar="FILE.csv",
              help="Take scores from a tidy CSV in the place of CUBES: image, finding, explainer "
                   "(`expert` for a person, whose name stands in model), iou and/or hit, and "
                   "descriptors of the reference mask (n_instances, area_ratio, elongation, "
                   "irrectangularity); optional patient, model, reader, area_predicted, "
                   "area_reference.")
@selection_options
@map_options
@definition_options
@segmentation_options
@slice_option
@benchmark_option
@adjustment_option
@click.option("--family", type=click.Choice(words(Family)),
              default="response", show_default=True,
              help="Regressions that are corrected for each other: 4, 12, 24, or all.")
@click.option("--fit", "fits", multiple=True, type=click.Choice(words(Fit)),
              help="Print further models beside least squares; may be repeated.  cluster: errors "
                   "clustered by patient; mixed: random intercepts for image and finding; logit: "
                   "log odds of a hit.")
@confidence_option
@pass_options
@output_options
@click.pass_context
def regressions(ctx: click.Context, /, cubes: Path | None, scores: Path | None, **options: Any
                ) -> None:
    """Does shape explain localization?  24 linear regressions per explainer and model.

    For IoU and hit: saliency, expert, and expert - saliency, each on one min-max normalised
    descriptor at a time.  --format markdown or latex prints the papers' Table 2.
    """
    output = split_off(options, OUTPUT)
    if (cubes is None) == (scores is None):
        raise UsageError("give either CUBES or --scores FILE.csv" if cubes is None else
                         "CUBES and --scores exclude each other; leave one of them out")
    result = (_from_cubes(ctx, cubes, options) if cubes is not None
              else _from_scores(ctx, str(scores), options))
    further = [_TABLES[name] for name in _TABLES if name in options["fits"]]
    if further and not output["tables"] and output["form"] == "table":
        output["tables"] = ("estimates", *further)
    emit(result, "regressions", **output)


def _from_cubes(ctx: click.Context, path: Path, options: dict[str, Any]) -> Result:
    from saltrust.analysis.shape.regressions import regressions as compute
    from saltrust.cache.store import open_cubes

    tree = open_cubes(path)
    _fits_among_models(options, tree)
    chosen = dict(options)
    return compute(selected(tree, chosen), **grouped(ctx, chosen))


def _from_scores(ctx: click.Context, path: str, options: dict[str, Any]) -> Result:
    from saltrust.analysis.scores.score_rows import select_scores
    from saltrust.analysis.scores.tidy_scores import read_tidy_scores
    from saltrust.analysis.shape.regressions import regressions_from_scores

    _fits_among_models(options, None)
    chosen = _without_cubes(ctx, options)
    labels = {SELECTION[name]: value for name, value in split_off(chosen, SELECTION).items()
              if value}
    compute: Any = regressions_from_scores
    frame = select_scores(read_tidy_scores(path), labels) if labels else path
    result: Result = compute(frame, **grouped(ctx, chosen))
    result.meta["scores"] = path
    return result


def _fits_among_models(options: dict[str, Any], tree: xr.DataTree | None) -> None:
    """``--model cluster`` named a fit until 0.2, unless maps of such a model are stored."""
    stored = () if tree is None or "saliency" not in tree.children else tree[
        "saliency"].to_dataset()["model"].values
    named = [name for name in options["models"] if name in words(Fit) and name not in stored]
    for name in named:
        _log.warning("--model %s for a fit is deprecated and will select a model only; say --fit "
                     "%s", name, name)
    options["fits"] = (*options["fits"], *named)
    options["models"] = tuple(name for name in options["models"] if name not in named)


def _without_cubes(ctx: click.Context, options: dict[str, Any]) -> dict[str, Any]:
    """The options that a table of scores can obey; others, where given, are refused."""
    kept = dict(options)
    for name in ("split", "resolution", "threshold", "cutoff", "keep", "workers", "scheduler"):
        given = ctx.get_parameter_source(name)
        if given is not None and given.name == "COMMANDLINE":
            raise UsageError(f"--{name} needs CUBES; with --scores the scores are as they stand "
                             "in the file")
        kept.pop(name)
    return kept
