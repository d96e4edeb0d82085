"""``saltrust analyze``: statistics from the cubes alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from saltrust.cli.options import (
    adjustment_option,
    benchmark_option,
    bootstrap_options,
    choose_or_all,
    confidence_option,
    confidence_slice_option,
    cubes_argument,
    definition_options,
    map_options,
    margin_option,
    operating_point_option,
    pass_options,
    segmentation_options,
    selection_options,
    shows_progress,
    slice_option,
)
from saltrust.cli.output import emit, output_options, write_figures
from saltrust.errors import UsageError


@click.group()
def analyze() -> None:
    """Compute statistics from cubes; needs neither torch nor a GPU.

    The result goes to stdout (--format table, json, csv, markdown or latex), everything else
    to stderr.
    """


@analyze.command()
@cubes_argument
@selection_options
@definition_options
@output_options
@click.pass_context
def descriptors(ctx: click.Context, /, cubes: Path, findings: tuple[str, ...], **options: Any,
                ) -> None:
    """Shape of every annotated mask: instances, area ratio, elongation, irrectangularity."""
    from saltrust.analysis.shape.descriptors import descriptors as compute
    from saltrust.cache.store import open_cubes

    output = _split_off_output(options)
    result = compute(open_cubes(cubes), findings=choose_or_all(findings),
                     progress=shows_progress(ctx), **options)
    emit(result, "descriptors", **output)


@analyze.command()
@cubes_argument
@selection_options
@map_options
@definition_options
@segmentation_options
@slice_option
@bootstrap_options
@click.option("--bootstrap", type=click.Choice(["percentile", "bca"]), default="percentile",
              show_default=True, help="Kind of the intervals of the summary.")
@benchmark_option
@margin_option
@pass_options
@output_options
@click.pass_context
def localization(ctx: click.Context, /, cubes: Path, findings: tuple[str, ...],
                 explainers: tuple[str, ...], models: tuple[str, ...], **options: Any) -> None:
    """Heatmaps against reference masks: IoU and hit rate, beside the expert benchmark.

    Every heatmap is brought to the scoring resolution, cut by Otsu's threshold (or --threshold)
    and compared with the reference mask; a hit is a peak inside the reference.
    """
    from saltrust.analysis.localization.analysis import localization as compute
    from saltrust.cache.store import open_cubes

    output = _split_off_output(options)
    result = compute(open_cubes(cubes), findings=choose_or_all(findings),
                     explainers=choose_or_all(explainers), models=choose_or_all(models),
                     progress=shows_progress(ctx), **options)
    emit(result, "localization", **output)


def _steps(default: str) -> Any:
    def parse(_ctx: click.Context, parameter: click.Parameter, text: str) -> list[float]:
        try:
            return [float(part) for part in text.split(",")]
        except ValueError:
            raise click.BadParameter(f"{text!r} is not a list of numbers such as {default}",
                                     param=parameter) from None
    return parse


_GRID, _CUTOFFS = "0.2,0.3,0.4,0.5,0.6,0.7", "0,0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8"


@analyze.command()
@cubes_argument
@selection_options
@map_options
@definition_options
@click.option("--grid", default=_GRID, show_default=True, callback=_steps(_GRID),
              help="Thresholds to search, shares of the range of a map.")
@click.option("--cutoffs", default=_CUTOFFS, show_default=True, callback=_steps(_CUTOFFS),
              help="Probability cut-offs to search.")
@click.option("--save", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Write what was found as CSV, for --threshold and --cutoff.")
@pass_options
@output_options
@click.pass_context
def thresholds(ctx: click.Context, /, cubes: Path, findings: tuple[str, ...],
               explainers: tuple[str, ...], models: tuple[str, ...], save: Path | None,
               **options: Any) -> None:
    """Tune where maps are cut, and below which probability they stay empty, per finding.

    The threshold with the largest mean IoU (slice both_nonempty, as released), and the cut-off
    with the largest mean IoU of Otsu's segmentations (slice all).  Tune on one split and apply
    to another:

    \u0008
    saltrust analyze thresholds C.zarr --split val --save tuned.csv
    saltrust analyze localization C.zarr --split test --threshold tuned.csv --cutoff tuned.csv
    """
    from saltrust.analysis.localization.thresholds import save_thresholds, tune
    from saltrust.cache.store import open_cubes

    output = _split_off_output(options)
    if save is not None and save.exists() and not output["overwrite"]:
        raise UsageError(f"{save} exists; say --overwrite to replace it, or choose another name")
    result = tune(open_cubes(cubes), findings=choose_or_all(findings),
                  explainers=choose_or_all(explainers), models=choose_or_all(models),
                  progress=shows_progress(ctx), **options)
    if save is not None:
        save_thresholds(result, save)
    emit(result, "thresholds", **output)


@analyze.command()
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
@click.option("--family", type=click.Choice(["response", "scheme", "explainer", "study"]),
              default="response", show_default=True,
              help="Regressions that are corrected for each other: 4, 12, 24, or all.")
@click.option("--fit", "fits", multiple=True,
              type=click.Choice(["ols", "cluster", "mixed", "logit"]),
              help="Print further models beside least squares; may be repeated.  cluster: errors "
                   "clustered by patient; mixed: random intercepts for image and finding; logit: "
                   "log odds of a hit.  --model, which selects whose maps, takes these words as "
                   "well, but for names of stored models.")
@confidence_option
@pass_options
@output_options
@click.pass_context
def regressions(ctx: click.Context, /, cubes: Path | None, scores: Path | None,
                findings: tuple[str, ...], explainers: tuple[str, ...], models: tuple[str, ...],
                fits: tuple[str, ...], **options: Any) -> None:
    """Does shape explain localization?  24 linear regressions per explainer and model.

    For IoU and hit: saliency, expert, and expert - saliency, each on one min-max normalised
    descriptor at a time.  --format markdown or latex prints the papers' Table 2.
    """
    from saltrust.analysis.result.text import render_frame
    from saltrust.analysis.shape import regressions as analysis
    from saltrust.analysis.shape.regression_fits import FITS
    from saltrust.cache.store import open_cubes

    output = _split_off_output(options)
    if (cubes is None) == (scores is None):
        raise UsageError("give either CUBES or --scores FILE.csv" if cubes is None else
                         "CUBES and --scores exclude each other; leave one of them out")
    tree = None if cubes is None else open_cubes(cubes)
    stored = () if tree is None or "saliency" not in tree.children else tree[
        "saliency"].to_dataset()["model"].values
    # `--model cluster` names a kind of regression, unless maps of such a model are there.
    kinds = tuple(name for name in models if name in FITS and name not in stored)
    fits = (*fits, *kinds)
    options |= {"explainers": choose_or_all(explainers), "fits": fits,
                "models": choose_or_all(tuple(name for name in models if name not in kinds))}
    if tree is not None:
        result = analysis.from_cubes(tree, findings=choose_or_all(findings),
                                     progress=shows_progress(ctx), **options)
    else:
        assert scores is not None
        result = analysis.from_table(scores, findings=choose_or_all(findings),
                                     **_without_cubes(ctx, options))
    printed = None
    further = [name for name in ("cluster", "mixed", "logit") if name in fits]
    if further and not output["tables"] and output["form"] == "table":
        output["tables"] = ("estimates", *("robust" if name == "cluster" else name
                                           for name in further))
    if output["form"] in {"markdown", "latex"}:
        def printed() -> str:
            frame = render_frame(analysis.table2(result), output["form"])
            return f"{frame}\n{result.meta['stars']}\n"
    emit(result, "regressions", printed=printed, **output)


@analyze.command()
@cubes_argument
@selection_options
@map_options
@definition_options
@segmentation_options
@confidence_slice_option
@click.option("--normalise/--no-normalise", default=None,
              help="Min-max normalise probabilities per finding before pooling, as the paper.  "
                   "[default: no; yes under --definition peer]")
@click.option("--interval", type=click.Choice(["bonett-wright", "fisher", "bootstrap"]),
              default=None, help="Of Spearman's correlation.  [default: bonett-wright; fisher "
                                 "under --definition peer]")
@adjustment_option
@operating_point_option
@bootstrap_options
@pass_options
@output_options
@click.pass_context
def confidence(ctx: click.Context, /, cubes: Path, findings: tuple[str, ...],
               explainers: tuple[str, ...], models: tuple[str, ...], **options: Any) -> None:
    """Does the model localise better where it is more confident?

    Regression and Spearman correlation of IoU and hit on the predicted probability, per finding
    and pooled.  Table strata: true positives, false negatives, bins of probability.
    """
    from saltrust.analysis.confidence import analysis
    from saltrust.cache.store import open_cubes

    output = _split_off_output(options)
    result = analysis.from_cubes(open_cubes(cubes), findings=choose_or_all(findings),
                                 explainers=choose_or_all(explainers),
                                 models=choose_or_all(models), progress=shows_progress(ctx),
                                 **options)
    emit(result, "confidence", **output)


@analyze.command()
@cubes_argument
@selection_options
@click.option("--model", "models", multiple=True, metavar="NAME",
              help="Only this model; may be repeated.")
@click.option("--level", type=click.Choice(["image", "study"]), default="image",
              show_default=True,
              help="study: one case per examination, its probability the maximum over its views.")
@click.option("--interval", type=click.Choice(["delong", "bootstrap", "protocol-w"]),
              default="delong", show_default=True,
              help="delong: by its covariance, clustered by patient; bootstrap: percentiles of "
                   "resamples of patients; protocol-w: median and percentiles of 30 samples of "
                   "55 to 60 cases.")
@adjustment_option
@bootstrap_options
@output_options
def classification(cubes: Path, findings: tuple[str, ...], models: tuple[str, ...],
                   **options: Any) -> None:
    """How well does each model classify?  AUC per finding and averaged, models in pairs.

    Calibration beside: Brier score, slope, expected calibration error (--table calibration).
    With --format json or -o, the probability of every case too; -o also draws ROC curves and
    reliability diagrams (.png and .svg).
    """
    from saltrust.analysis.classification import analysis
    from saltrust.cache.store import open_cubes

    output = _split_off_output(options)
    result = analysis.classification(open_cubes(cubes), findings=choose_or_all(findings),
                                     models=choose_or_all(models), **options)
    emit(result, "classification", **output)
    if output["folder"] is not None:
        from saltrust.report.figures import classification as figures

        write_figures({"classification_roc": figures.roc(result),
                       "classification_calibration": figures.calibration(result)},
                      output["folder"], overwrite=output["overwrite"])


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


def _split_off_output(options: dict[str, Any]) -> dict[str, Any]:
    return {name: options.pop(name) for name in ("form", "tables", "folder", "overwrite")}
