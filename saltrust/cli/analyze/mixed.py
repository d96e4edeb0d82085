"""``saltrust analyze mixed``: linear mixed models of a table of scores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from saltrust.choices import (
    AllPairs,
    ContrastAdjustment,
    DegreesOfFreedom,
    Engine,
    ResponseFamily,
    Variance,
    words,
)
from saltrust.cli.analyze.command import run, split_off
from saltrust.cli.options import PathType, confidence_option, seed_option
from saltrust.cli.output import output_options, say
from saltrust.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from saltrust.analysis.result import Result


@click.command()
@click.option("--scores", type=PathType(path_type=Path), required=True, metavar="FILE.csv",
              help="One row per score, with the columns that the formula names.")
@click.option("--formula", required=True, metavar="FORMULA",
              help="Such as 'auprc ~ explainer + (1|image)'; also a*b, a:b, factor(x), "
                   "(1|a) + (1|b), (1|a/b), (1|a:b), (1 + x|a).")
@click.option("--over", default=None, metavar="FACTOR",
              help="Factor whose marginal means are compared; categorical even where its levels "
                   "are numbers.  a,b compares all combinations of two factors.  [default: the "
                   "formula's only factor beside --by]")
@click.option("--by", default=None, metavar="FACTOR",
              help="Compare within each level of this factor (simple effects); each level's "
                   "contrasts are adjusted by themselves.")
@click.option("--interaction", is_flag=True,
              help="Compare differences, (A - B) at P - (A - B) at Q, of the two factors of "
                   "--over a,b.")
@click.option("--where", "chosen", multiple=True, metavar="COLUMN=VALUE[,VALUE...]",
              help="Only rows in which the column holds one of the values, e.g. "
                   "condition=trained,baseline.  Repeatable.")
@click.option("--posthoc", type=click.Choice(words(AllPairs)), default=None,
              help="Compare all pairs of levels.  [default without --control]")
@click.option("--control", default=None, metavar="LEVEL",
              help="Compare every other level with this one; of --over a,b it is written 'A B', "
                   "with --interaction it is a level of a.")
@click.option("--df", type=click.Choice(words(DegreesOfFreedom)), default="satterthwaite",
              show_default=True, help="Degrees of freedom.")
@click.option("--adjust", "adjustment", type=click.Choice(words(ContrastAdjustment)), default=None,
              help="Of p-values and intervals within a family; single-step is multcomp's test.  "
                   "[default: tukey for all pairs, dunnett against a control]")
@click.option("--ml", is_flag=True, help="Maximum likelihood instead of REML.")
@click.option("--variance", type=click.Choice(words(Variance)), default="equal",
              show_default=True,
              help="One residual variance, as lme4; or one for each level of --over.")
@click.option("--against-value", type=float, default=0.0, show_default=True, metavar="VALUE",
              help="Constant that the marginal means are tested against.")
@click.option("--engine", type=click.Choice(words(Engine)), default="auto",
              show_default=True,
              help="builtin needs no R; pymer4 goes through lme4, lmerTest and emmeans; auto "
                   "takes pymer4 where all of it is found, up to 20,000 rows.  pymer4 hands "
                   "formulas to lme4 as they are: slopes, I(), log(), poly(), offset().")
@click.option("--family", type=click.Choice(words(ResponseFamily)), default="gaussian",
              show_default=True,
              help="binomial: hits of 0 and 1, as log-odds with a logit link (glmer; needs R).")
@click.option("--weights", default=None, metavar="COLUMN",
              help="Weights of the rows; of shares of hits, their numbers of trials.  Needs R.")
@click.option("--random-tests", is_flag=True,
              help="Refit without each random term: table random_tests of likelihood ratios.")
@click.option("--profile", is_flag=True,
              help="Table variance_intervals: profile likelihood intervals of the standard "
                   "deviations.")
@click.option("--influence", default=None, metavar="GROUP",
              help="Leave out each group of this column, which the formula groups by: table "
                   "influence of Cook's distances.")
@click.option("--residuals", is_flag=True,
              help="Tables of the residuals and of their quantiles beside the normal's, and with "
                   "-o panels of both.")
@click.option("--verify", is_flag=True,
              help="Run both engines and say how far apart they are.")
@confidence_option
@seed_option
@output_options
@click.pass_context
def mixed(ctx: click.Context, /, scores: Path, formula: str, chosen: tuple[str, ...],
          **options: Any) -> None:
    """Do scores differ between explainers, given that they come from the same images?

    A linear mixed model with random intercepts and slopes, crossed or nested, by REML: fixed
    effects, variance components, marginal means, and their contrasts with adjusted p-values.

    \u0008
    saltrust analyze mixed --scores scores.csv --formula "auprc ~ explainer + (1|image)"
    """
    from saltrust.analysis.mixed.model import mixed_model
    from saltrust.analysis.mixed.options import Contrasts, Fitting, Inspection

    only: dict[str, list[str]] = {}
    for text in chosen:
        column, sign, values = text.partition("=")
        if not (column and sign):
            raise UsageError(f"--where {text!r} is not of the form COLUMN=VALUE, such as "
                             "condition=trained,baseline")
        only.setdefault(column, []).extend(values.split(","))

    def compute(path: Path, **rest: Any) -> Result:
        contrasts = Contrasts(**split_off(rest, ("posthoc", "control", "adjustment",
                                                 "against_value", "seed", "by", "interaction")))
        inspection = Inspection(**split_off(rest, (
            "random_tests", "influence", "profile", "residuals")))
        fitting = Fitting(reml=not rest.pop("ml"), inspection=inspection, **split_off(
            rest, ("df", "engine", "verify", "family", "weights", "variance")))
        return mixed_model(path, formula, only=only, contrasts=contrasts, fitting=fitting, **rest)

    def say_how_far_apart(result: Result) -> None:
        if "verification" in result.meta:
            say(result.meta["verification"], err=True)

    def draw(_loaded: Any, result: Result) -> dict[str, Figure]:
        from saltrust.report.figures.mixed import mixed_model

        drawn = len(result["means"]) or "residuals" in result
        return {"mixed": mixed_model(result)} if drawn else {}

    run(ctx, "mixed", compute, scores, options, load=lambda path, _options: path,
        draw=draw, save=say_how_far_apart)
