"""``saltrust power``: how many patients, images, readers a study needs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from saltrust.choices import Outcome, PilotUse, PowerComparison, words
from saltrust.cli.analyze.command import load_cubes, run, split_off
from saltrust.cli.options import (
    PathType,
    defined_reading_option,
    definition_options,
    seed_option,
    segmentation_options,
    shows_progress,
    slice_option,
    split_option,
    stack,
)
from saltrust.cli.output import output_options
from saltrust.errors import UsageError
from saltrust.reading import shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from saltrust.analysis.result import Result

_Value = TypeVar("_Value", int, float, str)

_design_options = stack(
    click.option("--patients", default="20,40,60,80,100", show_default=True, metavar="N[,N...]",
                 help="Numbers of patients."),
    click.option("--images", default="", metavar="N|LOW-HIGH[,...]",
                 help="Images of a patient: a number, or every one between two as likely.  "
                      "[default: 1; those of the pilot]"),
    click.option("--readers", default="", metavar="N[,N...]",
                 help="Readers, who are a sample of readers (comparison readers)."),
    click.option("--models", default="", metavar="N[,N...]",
                 help="Trained models of each arm, by seed.  [default: 1]"),
    click.option("--effect", "effects", default="", metavar="NUMBER[,...]",
                 help="True difference (slope per SD of the descriptor, difference of areas).  "
                      "[default: the pilot's; 0 for equivalence and non-inferiority]"),
)
_stated_options = stack(
    click.option("--mean", type=float, default=0.5, show_default=True,
                 help="Of what the effect is added to (second map or model, first group, AI): "
                      "score, hit rate, area under the curve."),
    click.option("--sd", type=float, default=0.2, show_default=True, help="Of scores over images."),
    click.option("--icc", type=float, default=0.3, show_default=True,
                 help="Share of the variance that images of one patient have in common."),
    click.option("--correlation", type=float, default=0.5, show_default=True,
                 help="Between two maps', or two readers', scores of an image."),
    click.option("--prevalence", type=float, default=0.5, show_default=True,
                 help="Share of patients in the second group, or with the finding."),
    click.option("--reader-sd", type=float, default=0.05, show_default=True,
                 help="SD of readers' means over readers."),
    click.option("--model-sd", type=float, default=0.0, show_default=True,
                 help="SD of an arm's mean over trainings."),
    click.option("--model-share", type=float, default=0.0, show_default=True,
                 help="Share of the variance of a score that another training would change."),
)
_pilot_options = stack(
    click.option("--pilot", "use", type=click.Choice(words(PilotUse)), default="resample",
                 show_default=True,
                 help="Draw the pilot's patients again, or normal scores with its components of "
                      "variance, which allows other --images, --readers and --models."),
    split_option("all"),
    click.option("--finding", default=None, metavar="NAME",
                 help="Of the pilot; needed where it has several."),
    click.option("--pair", nargs=2, default=None, metavar="NAME NAME",
                 help="Two explainers, a level and its baseline, or two models.  [default: the "
                      "first two]"),
    click.option("--model", default=None, metavar="NAME",
                 help="Whose maps.  [default: the first]"),
    click.option("--descriptor", default="area_ratio", show_default=True, metavar="NAME",
                 help="Whose slope is tested."),
)
_test_options = stack(
    click.option("--comparison", type=click.Choice(words(PowerComparison)), default="maps",
                 show_default=True, help="What is tested; see docs/power.md."),
    click.option("--outcome", type=click.Choice(words(Outcome)), default="score",
                 show_default=True, help="Scores such as an overlap, or hits and misses."),
    click.option("--alpha", type=float, default=0.05, show_default=True,
                 help="Level of the family."),
    click.option("--tests", type=click.IntRange(1, 100_000), default=1, show_default=True,
                 help="Tests of the family: each has level alpha / tests."),
    click.option("--margin", type=float, default=None, metavar="NUMBER",
                 help="Of equivalence and non-inferiority, such as 0.05."),
    click.option("--resamples", type=click.IntRange(1, 1_000_000), default=999,
                 show_default=True, help="Of tests that draw patients."),
)
_simulation_options = stack(
    click.option("--target", default="0.8", show_default=True, metavar="NUMBER|none",
                 help="Power that the fewest patients are searched for."),
    click.option("--most-patients", type=click.IntRange(2, 100_000), default=1000,
                 show_default=True, help="The search ends here."),
    click.option("--replicates", type=click.IntRange(2, 1_000_000), default=1000,
                 show_default=True, help="Simulated data sets of each design."),
    click.option("--workers", type=click.IntRange(1, 1024), default=1, show_default=True,
                 help="Processes; no number depends on them."),
    seed_option,
)


def _listed(text: str, kind: type[_Value], option: str) -> tuple[_Value, ...]:
    """Numbers with commas between them."""
    made = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        try:
            made.append(kind(part))
        except ValueError:
            raise UsageError(f"{option} {shown(part)} is no {'whole ' * (kind is int)}number; say "
                             f"{option} {'20,40' if kind is int else '0.05,0.1'}") from None
    return tuple(made)


@click.command()
@click.argument("cubes", type=PathType(path_type=Path), required=False, metavar="[CUBES]")
@_test_options
@_design_options
@_stated_options
@_pilot_options
@definition_options
@defined_reading_option
@segmentation_options
@slice_option
@_simulation_options
@output_options
@click.pass_context
def power(ctx: click.Context, /, cubes: Path | None, **options: Any) -> None:
    """How large must a study be?  Power by simulation, with the test that will be used.

    From stated values, or from CUBES of a pilot.  Tables: power of every design with its Monte
    Carlo error; smallest, the fewest patients that reach --target.

    \u0008
    saltrust power --comparison maps --mean 0.4 --sd 0.2 --icc 0.3 --effect 0.03,0.05
    saltrust power pilot.zarr --finding Edema --pair gradcam grad --patients 50,100,200
    """
    from saltrust.analysis.options import Execution
    from saltrust.analysis.power.analysis import power as compute_power
    from saltrust.analysis.power.designs import Designs
    from saltrust.analysis.power.options import Pilot, PowerTest, Simulation, Stated

    def taken_together(asked: dict[str, Any]) -> None:
        """Flat options as the values that the function takes."""
        target = asked.pop("target")
        asked["test"] = PowerTest(**split_off(asked, ("comparison", "outcome", "alpha", "tests",
                                                      "margin", "resamples")))
        asked["designs"] = Designs(
            **{name: _listed(asked.pop(name), int, f"--{name}")
               for name in ("patients", "readers", "models")},
            images=_listed(asked.pop("images"), str, "--images"),
            effects=_listed(asked.pop("effects"), float, "--effect"))
        asked["stated"] = Stated(**split_off(asked, (
            "mean", "sd", "icc", "correlation", "prevalence", "reader_sd", "model_sd",
            "model_share")))
        asked["pilot"] = Pilot(**split_off(asked, ("use", "finding", "pair", "model",
                                                   "descriptor")))
        asked["execution"] = Execution(workers=asked["workers"], progress=shows_progress(ctx))
        asked["simulation"] = Simulation(
            target=None if target == "none" else (*_listed(target, float, "--target"), 0.0)[0],
            **split_off(asked, ("most_patients", "replicates", "workers", "seed")))

    def draw(_loaded: Any, result: Result) -> dict[str, Figure]:
        from saltrust.report.figures.power import power_curves

        return {"power": power_curves(result)}

    def load(path: Path, asked: dict[str, Any]) -> Any:
        if cubes is None:
            for name in ("split", "finding", "pair", "model"):
                if asked[name]:
                    raise UsageError(f"--{name} chooses what of a pilot is taken, and no CUBES are "
                                     "given; name the cubes, or leave it out")
        chosen = split_off(asked, ("split",))
        taken_together(asked)
        return None if cubes is None else load_cubes(path, chosen)

    def tables(asked: Mapping[str, Any]) -> tuple[str, ...]:
        return ("power",) if asked["simulation"].target is None else ("power", "smallest")

    run(ctx, "power", compute_power, cubes or Path(), options, load=load, draw=draw, shown=tables)
