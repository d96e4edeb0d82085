"""What is typed: every command with options that make no sense, in a folder with a study."""

from __future__ import annotations

import contextlib
import functools
import os
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner
from hypothesis import strategies as st

from saltrust.analysis.mixed.options import Contrasts, Fitting
from saltrust.analysis.options import Decision, Execution, GazeComparison, Resampling, Scoring
from saltrust.cli import main
from saltrust.printable import printable
from tests.fuzz.mutations import NASTY_TEXTS, numbers, scalars

_STUDY = 'grid = 32\n[data]\nkind = "phantom"\npatients = 8\nsize = 48\n'
_PATHS = ("study.toml", "missing.toml", "folder", "notes.txt", "none.zarr", "notes.txt/a", ".", "/",
          "a" * 300, "x/" * 2500, "/proc/self/mem", "/dev/null/a", "\x1b[2J.zarr", "\udcff.zarr")
_words = st.one_of(st.sampled_from(_PATHS), st.sampled_from(NASTY_TEXTS),
                   st.deferred(lambda: numbers.map(_short)))


def _short(number: Any) -> str:
    try:
        return str(number)
    except ValueError:
        return "9" * 5000


@functools.cache
def _commands() -> dict[tuple[str, ...], click.Command]:
    """All commands but the demo, which takes a minute, by the words that call them."""
    result: dict[tuple[str, ...], click.Command] = {}

    def walk(group: click.Group, words: tuple[str, ...]) -> None:
        for name, command in group.commands.items():
            if isinstance(command, click.Group):
                walk(command, (*words, name))
            elif name != "demo":
                result[(*words, name)] = command

    walk(main, ())
    return result


@st.composite
def _lines(draw: st.DrawFn) -> list[str]:
    words = draw(st.sampled_from(sorted(_commands())))
    options = [item for item in _commands()[words].params if isinstance(item, click.Option)]
    line = list(words)
    line += draw(st.lists(_words, min_size=1, max_size=2))
    for option in draw(st.lists(st.sampled_from(options), max_size=4)) if options else ():
        line.append(draw(st.sampled_from(option.opts)))
        if not option.is_flag:
            known = list(option.type.choices) if isinstance(option.type, click.Choice) else []
            line.append(draw(st.one_of(st.sampled_from(known), _words) if known else _words))
    if draw(st.booleans()):
        line += ["-o", draw(_words)]
    return ["--quiet", *line]


def _call(folder: Path, line: list[str]) -> None:
    """Exit status 0, 1 or 2; one sentence where it is not 0; nothing a terminal obeys."""
    (folder / "study.toml").write_text(_STUDY)
    (folder / "notes.txt").write_text("finding,threshold\nEdema,0.5\n")
    (folder / "folder").mkdir()
    with contextlib.chdir(folder):
        # Commands that would train, or write to another place, are not what is tried here.
        if line[1] in ("train", "generate", "import") and any(
                word.startswith(("/", "~", "..")) for word in line):
            return
        done = CliRunner().invoke(main, line)
    assert os.path.lexists(folder)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code in (0, 1, 2)
    assert "Traceback" not in done.stderr
    assert printable(done.output, kept="\n") == done.output
    # That something is wrong with a store is what `verify` is asked for, and no error.
    if done.exit_code and not (line[1] == "verify" and done.exit_code == 1 and done.stdout):
        errors = [text for text in done.stderr.splitlines() if text.startswith("Error: ")]
        assert len(errors) == 1
        assert len(errors[0]) < 6000


_KINDS: dict[str, Any] = {
    "Scoring": Scoring, "Execution": Execution, "Resampling": Resampling, "Decision": Decision,
    "GazeComparison": GazeComparison, "Contrasts": Contrasts, "Fitting": Fitting}
_objects = st.sampled_from(sorted(_KINDS)).flatmap(lambda name: st.tuples(
    st.just(name), st.fixed_dictionaries(
        {}, optional=dict.fromkeys(_KINDS[name].__dataclass_fields__, scalars))))


def _make(_folder: Path, value: tuple[str, dict[str, Any]]) -> None:
    name, options = value
    _KINDS[name](**options)


TARGETS = {"lines": (_lines(), _call), "options": (_objects, _make)}
