"""Options that several commands share, and what they mean together."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from saltrust.choices import (
    Adjustment,
    CaseLevel,
    Definition,
    Errors,
    Format,
    IouSlice,
    MapChoice,
    OnError,
    Resolution,
    Split,
    words,
)
from saltrust.errors import UsageError
from saltrust.reading import check_path


class PathType(click.Path):
    """A path that a file system can have; click asks the system of any other, which fails."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        name = param.get_error_hint(ctx) if param is not None and ctx is not None else "path"
        check_path(os.fsdecode(value), f"{name}:")
        return super().convert(value, param, ctx)


Command = TypeVar("Command", bound=Callable[..., Any])

FORMATS = words(Format)

study_argument = click.argument("study", type=PathType(path_type=Path), metavar="STUDY.toml")
cubes_argument = click.argument("cubes", type=PathType(path_type=Path), metavar="CUBES")

cubes_or_study_argument = click.argument("source", type=PathType(path_type=Path),
                                         metavar="STUDY.toml|CUBES")

device_option = click.option(
    "--device", type=click.Choice(["auto", "cuda", "mps", "cpu"]), default=None,
    help="Where to compute; the study file's choice (auto) otherwise.")
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace an existing output.")
resume_option = click.option("--resume", is_flag=True,
                             help="Go on with an output that an interrupted run left.")
on_error_option = click.option(
    "--on-error", type=click.Choice(words(OnError)), default="stop", show_default=True,
    help="What becomes of the job at radiographs and annotations that cannot be read: it ends, "
         "once all of them are known, or leaves them out and counts them.")
spreadsheet_option = click.option(
    "--spreadsheet-safe", is_flag=True,
    help="In CSV, put an apostrophe before texts that a spreadsheet would compute (= + - @).")
replicates_option = click.option(
    "--replicates", type=click.IntRange(1, 1000), default=None, metavar="N",
    help="Models of each entry of the study that states no replicates: NAME, NAME-2, ... with "
         "seeds of their own.")
seed_option = click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0,
                           show_default=True, help="Seed of every random step.")


def stack(*options: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """Apply several click decorators at once, first on top."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def split_option(default: str) -> Callable[[Any], Any]:
    """``--split``, whose help says what is taken without it."""
    return click.option("--split", type=click.Choice(words(Split)),
                        default=None, help=f"Only images of this split.  [default: {default}]")


finding_option = click.option("--finding", "findings", multiple=True, metavar="NAME",
                              help="Only this finding; may be repeated.")
selection_options = stack(split_option("all"), finding_option)

map_options = stack(
    click.option("--explainer", "explainers", multiple=True, metavar="NAME",
                 help="Only this explainer; may be repeated."),
    click.option("--model", "models", multiple=True, metavar="NAME",
                 help="Only this model; may be repeated."),
)

definition_options = stack(
    click.option("--definition", type=click.Choice(words(Definition)), default="default",
                 show_default=True,
                 help="peer: every definition as the released CheXlocalize code has it."),
    click.option("--resolution", type=click.Choice(words(Resolution)), default=None,
                 help="Score at the radiographs' own size or on the study's grid.  "
                      "[default: native where native masks are stored]"),
)



def _reading_option(under_peer: str = "") -> Callable[[Any], Any]:
    return click.option(
        "--map", type=click.Choice(words(MapChoice)), default="auto", show_default=True,
        help="What of every map is scored: what its explainer declares (`saltrust info` shows "
             f"it), the map as stored, its absolute values, or its positive part.{under_peer}")


reading_option = _reading_option()
defined_reading_option = _reading_option("  auto is raw under --definition peer.")


def _slice_option(under_peer: str) -> Callable[[Any], Any]:
    return click.option(
        "--slice", "iou_slice", type=click.Choice(words(IouSlice)),
        default=None,
        help="Which image-finding pairs enter the IoU: reference non-empty; all but true "
             "negatives; both masks non-empty.  "
             f"[default: positive; {under_peer} under --definition peer]")


slice_option = _slice_option("both_nonempty")
confidence_slice_option = _slice_option("all")

segmentation_options = stack(
    click.option("--threshold", default=None, metavar="otsu|yen|isodata|li|NUMBER|FILE",
                 help="Where a map is cut: a threshold of its histogram (Otsu's, Yen's, isodata, "
                      "Li's), a share of its range such as 0.3, or a CSV with one per finding, as "
                      "`saltrust analyze thresholds` writes and as released with CheXlocalize.  "
                      "[default: otsu]"),
    click.option("--cutoff", default=None, metavar="NUMBER|FILE",
                 help="Leave the segmentation empty unless the predicted probability exceeds "
                      "this.  [default: none]"),
)

level_option = click.option(
    "--level", type=click.Choice(words(CaseLevel)), default="image", show_default=True,
    help="study: the probability of a map is the largest of the views of its examination, for "
         "cut-offs, confidence and areas under ROC curves.")

pass_options = stack(
    click.option("--workers", type=click.IntRange(1, 1024), default=1, show_default=True,
                 help="Processes for the pass over the pixels; the result is the same."),
    click.option("--scheduler", default=None, metavar="tcp://HOST:PORT",
                 help="Dask scheduler for it in their place; its workers must see CUBES."),
    click.option("--keep/--no-keep", default=True, show_default=True,
                 help="Keep what was found in the pixels in CUBES, under /scores, and use what "
                      "is kept there."),
)

bootstrap_options = stack(
    click.option("--resamples", type=click.IntRange(1, 1_000_000), default=1000,
                 show_default=True, help="Bootstrap resamples."),
    click.option("--confidence-level", "confidence_level",
                 type=click.FloatRange(0.5, 1, min_open=False, max_open=True), default=0.95,
                 show_default=True, help="Of every interval."),
    seed_option,
)

benchmark_option = click.option(
    "--benchmark", default=None, metavar="READER",
    help="Benchmark reader that stands for the expert.  [default: mean over all of them]")
adjustment_option = click.option(
    "--adjustment", type=click.Choice(words(Adjustment)),
    default="bonferroni", show_default=True, help="Correction of p-values within a family.")
margin_option = click.option(
    "--margin", type=click.FloatRange(0, 1, min_open=True), default=None, metavar="NUMBER",
    help="Also test whether maps are equivalent, to each other and to the expert, within this "
         "difference in IoU and in hit rate, such as 0.05 (two one-sided tests).")

non_inferiority_option = click.option(
    "--non-inferiority", type=click.FloatRange(0, min_open=True), default=None, metavar="MARGIN",
    help="Also test whether a mean is not below another's by more than this, such as 0.05 (one "
         "one-sided test; higher is better).")

operating_point_option = click.option(
    "--operating-point", default="0.5", show_default=True, metavar="NUMBER|FILE",
    help="Probability above which the model calls a finding: true positives and false negatives "
         "are compared.")

by_option = click.option(
    "--by", default=None, metavar="NAME[:CUT...][,...]",
    help="Also compare groups of images by these coordinates, such as --by sex,age:40:60,view "
         "(numbers need cuts: below 40, 40 to below 60, 60 or more): tables subgroups, "
         "subgroup_differences and subgroup_tests.")

confidence_option = click.option(
    "--confidence-level", "confidence_level",
    type=click.FloatRange(0.5, 1, min_open=False, max_open=True), default=0.95,
    show_default=True, help="Of every interval.")


errors_option = click.option(
    "--errors", type=click.Choice(words(Errors)), default=None,
    help="Which errors the estimates have: clustered by patient (CR2; correlations: the jackknife "
         "over patients), or of rows taken as independent, as the papers.  [default: cr2; "
         "classical under --definition peer]")


def choose_or_all(values: tuple[str, ...]) -> list[str] | None:
    """Repeatable options: none given means no restriction."""
    return list(values) or None


def refuse_both(*, overwrite: bool, resume: bool) -> None:
    """Refuse two options that contradict each other."""
    if overwrite and resume:
        raise UsageError("--overwrite and --resume contradict each other; say one of them")


def command_line(ctx: click.Context) -> str:
    """The command as typed, for provenance."""
    return "saltrust " + " ".join(map(str, (ctx.obj or {}).get("argv", [])))


def shows_progress(ctx: click.Context) -> bool:
    """Whether progress goes to stderr."""
    return bool((ctx.obj or {}).get("progress", True))
