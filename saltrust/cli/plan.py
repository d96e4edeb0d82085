"""``saltrust plan``: a plan before the data, and what followed it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from saltrust.cli.options import PathType, overwrite_option
from saltrust.cli.output import emit, output_options, say
from saltrust.errors import DataError, UsageError

_plan_argument = click.argument("plan_file", type=PathType(path_type=Path), metavar="PLAN.toml")


@click.group()
def plan() -> None:
    """Write a plan before the data, freeze it, and see point by point what followed it.

    \u0008
    saltrust plan init PLAN.toml --cubes pilot.zarr
    saltrust plan freeze PLAN.toml
    saltrust protocol localization C.zarr -o DIR --plan PLAN.toml
    saltrust plan check PLAN.toml DIR/results/localization.json
    """


@plan.command()
@_plan_argument
@click.option("--cubes", type=PathType(path_type=Path), default=None, metavar="CUBES",
              help="Fill in their labels; no score is looked at.")
@overwrite_option
def init(plan_file: Path, cubes: Path | None, overwrite: bool) -> None:
    """Write a commented plan to fill in.

    \u0008
    saltrust plan init plan.toml --cubes study.zarr
    """
    from saltrust.analysis.planning.declaration import read_plan
    from saltrust.analysis.planning.template import init_plan

    path = init_plan(plan_file, cubes, overwrite=overwrite)
    say(f"state {', '.join(read_plan(path).missing())}, then say saltrust plan freeze {path}",
        err=True)
    say(str(path))


@plan.command()
@_plan_argument
@click.option("--again", default=None, metavar="REASON",
              help="Freeze a frozen plan anew; the earlier freeze stays on record.")
def freeze(plan_file: Path, again: str | None) -> None:
    """Write date, version and digest into the plan; what it lacks is named.

    Register the digest elsewhere: whoever can edit the file can freeze it again.

    \u0008
    saltrust plan freeze plan.toml
    """
    from saltrust.analysis.planning.declaration import read_plan
    from saltrust.analysis.planning.freezing import freeze_plan

    frozen = read_plan(freeze_plan(plan_file, again=again)).plan.frozen
    say(f"frozen on {frozen.date}; data seen: {frozen.data_seen}", err=True)
    say(frozen.content)


@plan.command()
@_plan_argument
@click.argument("results", type=PathType(path_type=Path), nargs=-1, metavar="[RESULT.json]...")
@output_options
def check(plan_file: Path, results: tuple[Path, ...], **output: Any) -> None:
    """Compare results with the plan, point by point.

    Exit status 1 where a frozen plan was changed.

    \u0008
    saltrust plan check plan.toml results/localization.json
    """
    from saltrust.analysis.planning.checking import check_plan, read_result
    from saltrust.analysis.planning.declaration import read_plan
    from saltrust.reading import existing_path

    ran = {}
    for path in results:
        name, result = read_result(path)
        if name in ran:
            raise UsageError(f"{path} is a second result of {name}; name one of each analysis")
        ran[name] = result
    file = read_plan(plan_file)
    cubes = existing_path(file.path.parent, file.plan.data.cubes)
    store = {}
    if file.plan.data.cubes and cubes.exists():
        from saltrust.cache.store import open_cubes

        store = dict(open_cubes(cubes).attrs)
    checked = check_plan(plan_file, ran, store=store)
    emit(checked, "plan", **output)
    if checked.meta["changed"]:
        raise DataError(f"plan {plan_file} was changed after it was frozen on "
                        f"{checked.meta['frozen']}: {', '.join(checked.meta['changed'])}; restore "
                        "it, or say saltrust plan freeze --again REASON")
