"""``saltrust analyze utility | randomization | repeatability | reproducibility``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from saltrust.choices import (
    DecidingMetric,
    Failures,
    Images,
    LocalizerSeeds,
    Posthoc,
    RandomizationRule,
    SsimSetting,
    UtilityBaseline,
    Variance,
    words,
)
from saltrust.cli.analyze.command import run
from saltrust.cli.options import (
    bootstrap_options,
    by_option,
    cubes_argument,
    map_options,
    non_inferiority_option,
    reading_option,
    seed_option,
    selection_options,
    shows_progress,
    stack,
)
from saltrust.cli.output import output_options

decision_options = stack(
    click.option("--posthoc", type=click.Choice(words(Posthoc)), default="tukey",
                 show_default=True,
                 help="Contrasts that are adjusted together: all of them (with --variance equal "
                      "Tukey's all pairs of levels, as the paper), or those with each baseline."),
    click.option("--variance", type=click.Choice(words(Variance)), default="level",
                 show_default=True,
                 help="Of the mixed model: one residual variance per explainer with errors "
                      "clustered by patient, where each has ten rows; or equal, as the paper."),
    click.option("--alpha", type=click.FloatRange(0, 0.5, min_open=True), default=0.05,
                 show_default=True, help="Level of significance of the decisions."),
    click.option("--margin", type=click.FloatRange(0, min_open=True), default=None,
                 help="Differences within it count as none (TOST).  [default: no such test]"),
    click.option("--resamples", type=click.IntRange(100, 1_000_000), default=2000,
                 show_default=True, help="Bootstrap resamples of patients."),
    seed_option,
)


utility_options = stack(
    click.option("--metric", type=click.Choice(words(DecidingMetric)), default="ap",
                 show_default=True, help="Which metric of utility decides pass or fail in the "
                 "marks of the protocol: the average precision, or the paper's trapezoid under "
                 "the precision-recall curve, which ties inflate.  Both are printed."),
    click.option("--localizers", type=click.Choice(words(LocalizerSeeds)), default="each",
                 show_default=True, help="together: one level for the seeds of a localizer, the "
                 "mean of their scores of every image."),
)


@click.command()
@cubes_argument
@selection_options
@map_options
@reading_option
@click.option("--baseline", type=click.Choice(words(UtilityBaseline)), default=None,
              help="Mean mask of the training and validation positives.  [default: average-mask "
                   "where there are any]")
@click.option("--reader", default=None, metavar="NAME",
              help="Reference reader that maps are scored against.  [default: the first]")
@click.option("--failures", type=click.Choice(words(Failures)), default="score",
              show_default=True,
              help="Flat or non-finite maps: scored as no information, or their images left out "
                   "for every explainer.")
@utility_options
@decision_options
@non_inferiority_option
@by_option
@output_options
@click.pass_context
def utility(ctx: click.Context, /, cubes: Path, **options: Any) -> None:
    """Do heatmaps rank the pixels of the finding first?  AUPRC and AUROC per positive image.

    Against the average mask, against localizers, and against the same explainer on the model
    with random weights where the cubes have them.  Annotations alone give the average mask's
    own scores.
    """
    from saltrust.analysis.trustworthiness.utility import utility as compute

    run(ctx, "utility", compute, cubes, {**options, "progress": shows_progress(ctx)})


image_options = stack(
    click.option("--images", type=click.Choice(words(Images)), default="all",
                 show_default=True, help="All that have maps, or as the paper those that show "
                                         "the finding."),
    click.option("--ssim", type=click.Choice(words(SsimSetting)), default="default",
                 show_default=True,
                 help="default: Gaussian window (sigma 1.5), each map scaled to [0, 1], data "
                      "range 1; paper: uniform 7 x 7, scaled to [0, 1], data range 2, as the "
                      "released scripts; raw: maps in their own units, data range of the pair."),
    click.option("--pairs", type=click.IntRange(1, 1_000_000), default=1000, show_default=True,
                 help="Random pairs of different images; the paper took 50."),
    click.option("--failures", type=click.Choice(words(Failures)), default="score",
                 show_default=True, help="Flat or non-finite maps: scored as nothing shared and "
                                         "no information, or left out."),
)

rule_option = click.option(
    "--rule", type=click.Choice(words(RandomizationRule)), default="table",
    show_default=True,
    help="Pass where the randomised maps are significantly below the baseline (table), not "
         "significantly above (text), or below on average (preprint).")
against_option = click.option(
    "--against-value", type=float, default=0.5, show_default=True,
    help="Low baseline: the marginal means are tested against it.")


@click.command()
@cubes_argument
@selection_options
@map_options
@image_options
@rule_option
@decision_options
@output_options
@click.pass_context
def randomization(ctx: click.Context, /, cubes: Path, **options: Any) -> None:
    """Do maps degrade as the model is randomised from the top layer down?

    SSIM of every stage's map to the trained model's, against that of maps of different images.
    """
    from saltrust.analysis.trustworthiness.randomization import randomization as compute

    run(ctx, "randomization", compute, cubes, {**options, "progress": shows_progress(ctx)})


@click.command()
@cubes_argument
@selection_options
@map_options
@image_options
@against_option
@decision_options
@non_inferiority_option
@output_options
@click.pass_context
def repeatability(ctx: click.Context, /, cubes: Path, **options: Any) -> None:
    """Do models of one architecture, trained from different seeds, give the same maps?

    SSIM of their maps of each image, against a constant and against two localizers; beside it
    the SSIM of different images, and that of models of another architecture where there are any.
    """
    from saltrust.analysis.trustworthiness.repeatability import repeatability as compute

    run(ctx, "repeatability", compute, cubes, {**options, "progress": shows_progress(ctx)})


@click.command()
@cubes_argument
@selection_options
@map_options
@image_options
@against_option
@decision_options
@non_inferiority_option
@output_options
@click.pass_context
def reproducibility(ctx: click.Context, /, cubes: Path, **options: Any) -> None:
    """Do models of different architectures give the same maps?  As `repeatability`."""
    from saltrust.analysis.trustworthiness.repeatability import reproducibility as compute

    run(ctx, "reproducibility", compute, cubes, {**options, "progress": shows_progress(ctx)})


@click.command()
@cubes_argument
@selection_options
@map_options
@click.option("--ssim", type=click.Choice(words(SsimSetting)), default="default",
              show_default=True, help="As of `randomization`.")
@click.option("--pairs", type=click.IntRange(1, 1_000_000), default=300, show_default=True,
              help="Random pairs of images of different patients for each finding and explainer.")
@click.option("--overlap", type=click.FloatRange(0, 1, min_open=True), default=0.25,
              show_default=True, metavar="IOU",
              help="List findings apart whose masks have at least this mean IoU on images with "
                   "both; parent and child labels are.")
@bootstrap_options
@output_options
@click.pass_context
def specificity(ctx: click.Context, /, cubes: Path, **options: Any) -> None:
    """Do maps depend on the finding that is asked for?  SSIM and Spearman's correlation.

    Maps of one image for two findings, against maps of one finding on images of different
    patients: an explainer whose maps of an image are more alike does not pass.

    \u0008
    saltrust analyze specificity study.zarr --split test --table findings
    """
    from saltrust.analysis.trustworthiness.specificity import specificity as compute

    run(ctx, "specificity", compute, cubes, {**options, "progress": shows_progress(ctx)})
