"""How far one parameter travels: `cubes` of `saltrust analyze regressions`, there and back.

The call is watched by a profile: a stay is a run of calls in one module that are handed the
parameter (the path, the opened tree, or the part of it that was selected).
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import xarray as xr
from click.testing import CliRunner

from saltrust.cli import main
from saltrust.testing import simulate_cubes

MOST_STAYS, MOST_MODULES = 24, 10
#: Where click turns what was typed into a path, before any command is entered.
PARSING = {"saltrust.cli.options", "saltrust.reading"}
#: What looks at the store whenever bytes are read, wherever that is: no stay on the way.
WATCHING = {"saltrust.cache.guarded", "saltrust.cache.checksums", "saltrust.cache.identity"}


def route(arguments: list[str], path: str) -> list[str]:
    """Modules of saltrust that are entered with the cubes, one per stay."""
    stays: list[str] = []

    def watch(frame: FrameType, event: str, _argument: Any) -> None:
        module = str(frame.f_globals.get("__name__", ""))
        if event != "call" or not module.startswith("saltrust.") or module in WATCHING:
            return
        code = frame.f_code
        names = code.co_varnames[:code.co_argcount + code.co_kwonlyargcount]
        values = [frame.f_locals.get(name) for name in names]
        if any(isinstance(value, xr.DataTree) or (isinstance(value, str | Path)
                                                  and str(value) == path) for value in values) \
                and (not stays or stays[-1] != module):
            stays.append(module)

    sys.setprofile(watch)
    try:
        done = CliRunner().invoke(main, arguments, catch_exceptions=False)
    finally:
        sys.setprofile(None)
    assert done.exit_code == 0, done.output
    return list(itertools.dropwhile(PARSING.__contains__, stays))


@pytest.mark.parametrize("kept", [False, True])
def test_cubes_take_a_short_way_through_regressions(tmp_path: Path, kept: bool) -> None:
    path = tmp_path / "study.zarr"
    simulate_cubes(path, patients=6, parts=(), grid=24, seed=2)
    arguments = ["--quiet", "analyze", "regressions", str(path), "--split", "test"]
    if kept:
        CliRunner().invoke(main, arguments, catch_exceptions=False)
    stays = route(arguments, str(path))
    way = "\n".join(stays)
    assert stays[0] == "saltrust.cli.analyze.regressions"
    assert len(stays) <= MOST_STAYS, f"{len(stays)} stays:\n{way}"
    assert len(set(stays)) <= MOST_MODULES, f"{len(set(stays))} modules:\n{way}"
