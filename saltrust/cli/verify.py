"""``saltrust verify`` and ``saltrust migrate``."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import click

from saltrust.cli.options import cubes_argument, shows_progress
from saltrust.cli.output import say
from saltrust.printable import printable


@click.command()
@cubes_argument
@click.option("--repair", is_flag=True,
              help="Mark what is broken as missing and rename the store to CUBES.partial, so that "
                   "`--resume` computes just that again; drop broken scores.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, everything in it.")
@click.pass_context
def verify(ctx: click.Context, cubes: Path, repair: bool, as_json: bool) -> None:
    """Read all of a store and compare it with its checksums, its statuses and the schema.

    Names what is wrong, to the image and the finding.  Exit status: 0 all is well, 1 something
    is wrong.
    """
    from saltrust.cache.verification import verify as go_through

    seen = go_through(cubes, progress=shows_progress(ctx))
    mended = _repaired(cubes, seen.faults) if repair and seen.faults else ""
    if as_json:
        say(json.dumps({"path": str(seen.path), "sealed": seen.sealed, "chunks": seen.chunks,
                        "left_out": seen.left_out,
                        "faults": [{"variable": fault.variable, "what": fault.what,
                                    **fault.labels} for fault in seen.faults],
                        "repair": mended}, indent=2), form="json")
    else:
        for fault in seen.faults:
            say(printable(str(fault)))
        if not seen.faults:
            unsealed = "" if seen.sealed else (", as far as can be told without checksums; "
                                               f"`saltrust migrate {cubes}` adds them")
            left_out = (f", {seen.left_out} radiographs left out by the job that made it"
                        if seen.left_out else "")
            say(printable(f"{cubes}: all is well ({seen.chunks} chunks read{left_out}){unsealed}"))
        if mended:
            say(printable(mended), err=True)
    ctx.exit(int(bool(seen.faults)))


def _repaired(cubes: Path, faults: tuple[Any, ...]) -> str:
    """Repair a store and say how to go on."""
    from saltrust.cache.repair import repair
    from saltrust.cache.store import root_attributes

    place = repair(cubes, faults)
    if place == cubes:
        return f"{cubes}: the broken scores are dropped; analyses compute them again"
    stated = root_attributes(place).get("command_line")
    words = shlex.split(str(stated)) if stated else []
    kept = [word for word in words if word not in ("--overwrite", "--resume")]
    command = (f"`{shlex.join([*kept, '--resume'])}`" if kept
               else "the command that made it with --resume")
    return f"what was broken is marked as missing in {place}; go on with {command}"


@click.command()
@cubes_argument
def migrate(cubes: Path) -> None:
    """Give a store of an earlier version checksums, so that damage to it is seen.

    It is written anew beside itself and takes its own place when it is whole: values, run and
    kept scores stay.
    """
    from saltrust.cache.migration import migrate as write_anew

    say(str(write_anew(cubes)))
