"""Where results go: stdout in one format, and files when a folder is named."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from saltrust.cli.options import FORMATS, PathType, spreadsheet_option, stack
from saltrust.errors import UsageError
from saltrust.files import Advice, stems, whole_file, write_text
from saltrust.printable import printable, printable_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from saltrust.analysis.result import Result

_ADVICE = Advice("repeat the command with --overwrite", "choose another folder", UsageError)


def say(text: str, *, err: bool = False, form: str = "") -> None:
    """Print a text; control characters in it are shown, and not obeyed.

    Parameters
    ----------
    text : str
        Lines of it stay lines.
    err : bool
        To stderr.
    form : str
        ``json`` stays JSON of the same content.  ``csv`` is data: as it is where it goes to a
        file or another program, and written out like any text on a terminal.
    """
    stream = sys.stderr if err else sys.stdout
    if form == "json":
        text = printable_json(text)
    elif form != "csv" or stream.isatty():
        text = printable(text, kept="\n")
    coding = getattr(stream, "encoding", None) or "utf-8"
    # Where a terminal lacks a letter, that is no reason to fail.
    text = text.encode(coding, "backslashreplace").decode(coding)
    # `color` keeps click from taking out of data what looks like a color.
    click.echo(text, err=err, nl=not text.endswith("\n"), color=True)


output_options = stack(
    click.option("--format", "form", type=click.Choice(FORMATS), default="table",
                 show_default=True, help="Of what is printed."),
    click.option("--table", "tables", multiple=True, metavar="NAME",
                 help="Which table to print; may be repeated.  [default: the headline; json: "
                      "all]"),
    click.option("-o", "--output", "folder", type=PathType(path_type=Path, file_okay=False),
                 help="Also write the JSON and every table as CSV into this folder."),
    click.option("--overwrite", is_flag=True, help="Replace files that -o would write."),
    spreadsheet_option,
)


def emit(result: Result, topic: str, *, form: str, tables: Sequence[str], folder: Path | None,
         overwrite: bool, spreadsheet_safe: bool = False) -> None:
    """Print a result and, when a folder is given, write it there too.

    Parameters
    ----------
    result : Result
    topic : str
        Stem of the file names.
    form : str
        One of :data:`saltrust.cli.options.FORMATS`.
    tables : sequence of str
        Names of the tables to print; empty: the format's default.
    folder : Path or None
    overwrite : bool
        Whether files there may be replaced.
    spreadsheet_safe : bool
        Whether texts of CSV that a spreadsheet takes for formulas are quoted.
    """
    from saltrust.analysis.result.text import render

    for name in tables:
        if name not in result:
            raise UsageError(f"there is no table {name!r}; this analysis has {', '.join(result)}")
    named = replace(result, topic=topic)
    text = render(named, form, tables=list(tables) or None, spreadsheet_safe=spreadsheet_safe)
    if folder is not None:
        write_files(named, topic, folder, overwrite=overwrite, spreadsheet_safe=spreadsheet_safe)
    say(text, form=form)


def write_files(result: Result, topic: str, folder: Path, *, overwrite: bool,
                spreadsheet_safe: bool = False) -> list[Path]:
    """Write ``<topic>.json`` and ``<topic>_<table>.csv`` for every table."""
    from saltrust.analysis.result.files import csv_texts

    named = replace(result, topic=topic)
    content = {folder / f"{topic}.json": named.to_json(),
               **{folder / name: text for name, text
                  in csv_texts(named, spreadsheet_safe=spreadsheet_safe).items()}}
    existing = [path for path in content if path.exists()]
    if existing and not overwrite:
        raise UsageError(f"{existing[0]} exists; say --overwrite to replace it, or choose "
                         "another folder")
    for path, text in content.items():
        write_text(path, text, _ADVICE)
    say(f"wrote {len(content)} files to {folder}", err=True)
    return list(content)


def write_figures(figures: Mapping[str, Figure], folder: Path, *, overwrite: bool) -> None:
    """Write every figure as ``<name>.png`` and ``<name>.svg``, each whole or not at all."""
    from saltrust.report.figures.files import save_figure

    named = stems(figures)
    for name, figure in figures.items():
        for suffix in ("png", "svg"):
            path = folder / f"{named[name]}.{suffix}"
            if path.exists() and not overwrite:
                raise UsageError(f"{path} exists; say --overwrite to replace it, or choose "
                                 "another folder")
            with whole_file(path, Advice("repeat the command", "choose another folder")) as aside:
                save_figure(figure, aside, suffix)
    say(f"wrote {2 * len(figures)} figures to {folder}", err=True)
