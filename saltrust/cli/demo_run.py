"""The steps of ``saltrust demo``, one after the other."""

from __future__ import annotations

import dataclasses
import shutil
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from saltrust.cli.output import say, write_files
from saltrust.cli.training import Launch, train_models
from saltrust.errors import UsageError
from saltrust.files import Advice, write_text

if TYPE_CHECKING:
    from saltrust.analysis.result import Result


def run_demo(folder: Path, study_text: str, *, overwrite: bool, progress: bool,
             command_line: str) -> None:
    """Write a phantom study into ``folder``, run it to the report and print the headlines.

    Raises
    ------
    UsageError
        If the folder holds a study already and ``overwrite`` was not said.
    DataError
        If a step needs a package that is not installed.
    """
    study_file, cubes_path = folder / "study.toml", folder / "study.zarr"
    report, tables = folder / "report.html", folder / "tables"
    if study_file.exists() and not overwrite:
        raise UsageError(f"{study_file} exists; say --overwrite to run the demo there again, or "
                         "choose another folder with -o")
    start = time.monotonic()
    write_text(study_file, study_text,
               Advice("repeat the command", "choose another folder with -o", UsageError))
    try:
        _train_and_generate(study_file, cubes_path, progress=progress, command_line=command_line)
        results = _analyze(cubes_path, report, progress=progress)
    except KeyboardInterrupt as error:
        error.add_note(f"the demo is begun anew in {folder}")
        raise
    for topic, result in results.items():
        write_files(result, topic, tables, overwrite=True)
    _print_headlines(results)
    say(f"\nDone in {time.monotonic() - start:.0f} s.  Written:")
    for path, meaning in (
        (study_file, "the study, to change and run again"),
        (folder / "runs", "the trained model with its card and metrics"),
        (cubes_path, "the cubes: radiographs, masks, predictions, heatmaps"),
        (tables, "every table as CSV and JSON"),
        (report, "the report, for a browser"),
    ):
        say(f"  {path!s:<28} {meaning}")
    saltrust, python = _callable("saltrust"), _callable("python")
    say(
        "\nTry next:\n"
        f"  {saltrust} info {cubes_path}\n"
        f"  {saltrust} analyze regressions {cubes_path} --explainer gradcam --format markdown\n"
        f"  {python} -c \"import saltrust; cubes = saltrust.open_cubes('{cubes_path}'); "
        "print(cubes['saliency/heatmap'].sel(finding='Cardiomegaly', explainer='gradcam')"
        ".mean('image'))\"")


def _callable(name: str) -> str:
    """How a reader can call a program of this environment, activated or not."""
    program = Path(sys.executable).with_name(name)
    on_path = shutil.which(name)
    if not program.exists() or (on_path and Path(on_path).absolute() == program.absolute()):
        return name
    return str(program.relative_to(Path.cwd()) if program.is_relative_to(Path.cwd()) else program)


def _train_and_generate(study_file: Path, cubes_path: Path, *, progress: bool,
                        command_line: str) -> None:
    from saltrust.datasets.registry import open_collection
    from saltrust.generate.job import generate
    from saltrust.study_file import read_study

    study = read_study(study_file)
    collection = open_collection(study)
    train_models(collection, study, (), Launch(overwrite=True), progress=progress,
                 tell=partial(say, err=True))
    generate(collection, study, cubes_path, overwrite=True, progress=progress,
             command_line=command_line)


def _analyze(cubes_path: Path, report: Path, *, progress: bool) -> dict[str, Result]:
    from saltrust.analysis.options import Execution
    from saltrust.analysis.protocols.study import analyze_study
    from saltrust.analysis.result import Result
    from saltrust.cache.store import open_cubes
    from saltrust.report.page.page import write_report

    cubes = open_cubes(cubes_path)
    outcomes = analyze_study(cubes, execution=Execution(progress=progress))
    write_report(cubes, report, results=outcomes, overwrite=True)
    return {topic: outcome for topic, outcome in outcomes.items() if isinstance(outcome, Result)}


def _print_headlines(results: dict[str, Result], explainer: str = "gradcam") -> None:
    """Three tables that fit a screen; everything else is in the files."""
    from saltrust.analysis.result.text import render_frame
    from saltrust.analysis.shape.regressions import table2

    decrease = results["localization"].tables["decrease"]
    chosen = decrease[(decrease["explainer"] == explainer) & (decrease["metric"] == "iou")]
    say(render_frame(
        chosen[["finding", "expert", "saliency", "estimate", "conf_low", "conf_high", "n"]],
        "table", title=f"Mean IoU, and percentage decrease from the experts to {explainer}"))
    regressions = results["regressions"]
    rows = regressions.tables["estimates"]["explainer"] == explainer
    shown = dataclasses.replace(regressions,
                                tables={"estimates": regressions.tables["estimates"][rows]})
    say(render_frame(table2(shown), "table", title="Does shape explain localization?"))
    say(f"{regressions.meta['stars']}\n")
    estimates = results["confidence"].tables["estimates"]
    pooled = estimates[(estimates["explainer"] == explainer)
                       & estimates["finding"].str.startswith("All findings")
                       & (estimates["term"] == "spearman")]
    say(render_frame(
        pooled[["scheme", "finding", "estimate", "conf_low", "conf_high", "p_value", "n"]],
        "table", title="Rank correlation of probability with localization"))
