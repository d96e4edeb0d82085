"""What every ``saltrust protocol`` command does: load, select, compute, draw, write."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from saltrust.cli.analyze.command import selected
from saltrust.cli.options import PathType, overwrite_option, spreadsheet_option, stack
from saltrust.cli.output import say
from saltrust.errors import UsageError
from saltrust.files import Advice, stems, whole_files

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure

    from saltrust.analysis.protocols.result import ProtocolResult

_log = logging.getLogger(__name__)

_ADVICE = Advice("repeat the command", "choose another folder", UsageError)
_SUFFIXES = {"markdown": "md", "latex": "tex", "csv": "csv", "json": "json"}

folder_options = stack(
    click.option("-o", "--output", "folder", required=True, metavar="DIR",
                 type=PathType(path_type=Path, file_okay=False), help="Folder to write."),
    overwrite_option,
    spreadsheet_option,
)


@click.group()
def protocol() -> None:
    """Run a published protocol as a whole: tables, figures and a methods paragraph."""


def run(compute: Callable[..., ProtocolResult], cubes: Path, options: dict[str, Any],
        group: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Run a protocol on what the options select, and write its folder.

    Parameters
    ----------
    compute : callable
        ``compute(cubes, **options)``, a protocol of the Python face.
    cubes : Path
    options : dict
        As click gives them.
    group : callable
        Makes of the options that are left those of ``compute``.
    """
    from saltrust.cache.store import open_cubes
    from saltrust.report.protocols.figures import figures_of

    folder, overwrite = options.pop("folder"), options.pop("overwrite")
    spreadsheet_safe = options.pop("spreadsheet_safe")
    tree = open_cubes(cubes)
    # Before minutes of work.
    if folder.exists() and any(folder.iterdir()) and not overwrite:
        raise UsageError(f"{folder} exists and is not empty; say --overwrite to replace its "
                         "files, or choose another folder")
    tree = selected(tree, options)
    result = compute(tree, **group(options))
    count = _write(result, figures_of(result, tree), folder, spreadsheet_safe=spreadsheet_safe)
    for name, why in result.missing.items():
        _log.warning("%s: %s", name.replace("_", " "), why)
    say(f"wrote {count} files to {folder}", err=True)
    say(str(folder / "methods.md"))


def _write(result: ProtocolResult, figures: Mapping[str, Figure], folder: Path, *,
           spreadsheet_safe: bool) -> int:
    """Write beside the folder, then move every file in whole."""
    from saltrust.analysis.result.files import csv_texts
    from saltrust.analysis.result.text import render_frame

    content = {"methods.md": result.methods()}
    for name, table in result.tables.items():
        title, legend = result.caption(name)
        for form, suffix in _SUFFIXES.items():
            content[f"tables/{name}.{suffix}"] = render_frame(
                table, form, title=title, legend=legend, spreadsheet_safe=spreadsheet_safe)
    for name, analysis in result.results.items():
        content[f"results/{name}.json"] = analysis.to_json()
        content |= {f"results/{file}": text for file, text in csv_texts(
            analysis, name, spreadsheet_safe=spreadsheet_safe).items()}
    with whole_files(folder, _ADVICE) as aside:
        for name, text in content.items():
            path = aside / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", errors="backslashreplace")
        named = stems(figures)
        for name, figure in figures.items():
            (aside / "figures").mkdir(exist_ok=True)
            for suffix in ("png", "svg"):
                # Without a date, the same figure is the same file.
                figure.savefig(aside / "figures" / f"{named[name]}.{suffix}", dpi=200,
                               metadata={"Date": None} if suffix == "svg" else None)
        return sum(path.is_file() for path in aside.rglob("*"))
