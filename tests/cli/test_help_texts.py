"""What `--help` prints, of every command."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

from saltrust.cli import main


def commands(group: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(group, click.Group):
        for name, command in group.commands.items():
            yield from commands(command, (*path, name))


@pytest.mark.parametrize("path", list(commands(main)), ids=" ".join)
def test_marks_of_lines_are_not_printed(path: tuple[str, ...], run) -> None:
    done = run(*path, "--help")
    assert done.exit_code == 0
    assert "\\b" not in done.stdout
    assert "\b" not in done.stdout


def test_what_a_protocol_writes_has_a_line_each(run) -> None:
    lines = run("protocol", "guided-training", "--help").stdout.splitlines()
    for folder in ("DIR/methods.md", "DIR/tables/", "DIR/figures/", "DIR/results/"):
        assert any(line.strip().startswith(folder) for line in lines)
