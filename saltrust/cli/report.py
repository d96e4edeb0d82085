"""``saltrust report``."""

from __future__ import annotations

from pathlib import Path

import click

from saltrust.choices import MapChoice
from saltrust.cli.options import (
    PathType,
    cubes_argument,
    overwrite_option,
    reading_option,
    seed_option,
    shows_progress,
)
from saltrust.cli.output import say


@click.command()
@cubes_argument
@click.option("-o", "--output", required=True, type=PathType(path_type=Path),
              metavar="REPORT.html", help="Page to write.")
@reading_option
@click.option("--plan", "plan_file", type=PathType(path_type=Path), default=None,
              metavar="PLAN.toml",
              help="Say point by point what followed this plan (saltrust plan).")
@seed_option
@overwrite_option
@click.pass_context
def report(ctx: click.Context, /, cubes: Path, output: Path, map: MapChoice, plan_file: Path | None,
           seed: int, overwrite: bool) -> None:
    """Write one self-contained HTML page: tables, figures and a gallery of heatmaps."""
    from saltrust.analysis.options import Execution, Resampling
    from saltrust.analysis.planning.checking import check_plan
    from saltrust.analysis.planning.declaration import read_plan
    from saltrust.analysis.protocols.study import analyze_study
    from saltrust.analysis.result import Result
    from saltrust.cache.store import open_cubes
    from saltrust.report.page.page import check_output, write_report

    progress = shows_progress(ctx)
    tree = open_cubes(cubes)
    # Before minutes of work.
    check_output(output, overwrite=overwrite)
    if plan_file is not None:
        read_plan(plan_file)
    results = analyze_study(tree, map=map, resampling=Resampling(seed=seed),
                            execution=Execution(progress=progress))
    if plan_file is not None:
        ran = {name: one for name, one in results.items() if isinstance(one, Result)}
        results["plan"] = check_plan(plan_file, ran, store=tree.attrs)
    path = write_report(tree, output, results=results, map=map, seed=seed, overwrite=overwrite,
                        progress=progress)
    say(str(path))
