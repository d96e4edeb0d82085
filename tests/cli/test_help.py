"""Every command explains itself, and nothing of how help is laid out shows."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

from saltrust.cli import main


def commands(command: click.Command, name: str = "") -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        for child, sub in command.commands.items():
            yield from commands(sub, f"{name} {child}".strip())


@pytest.mark.parametrize("name", [name for name, _ in commands(main)])
def test_help_is_laid_out(run, name: str) -> None:
    result = run(*name.split(), "--help")
    assert result.exit_code == 0
    assert "\\" not in result.stdout
    assert "Usage: " in result.stdout


def test_examples_stand_on_lines_of_their_own(run) -> None:
    lines = [line.strip() for line in run("--help").stdout.splitlines()]
    assert "saltrust protocol localization C.zarr -o DIR   tables, figures, methods" in lines
    lines = [line.strip() for line in run("analyze", "thresholds", "--help").stdout.splitlines()]
    assert "saltrust analyze thresholds C.zarr --split val --save tuned.csv" in lines
