"""``saltrust protocol``: a published protocol as a whole, from cubes to printable tables."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from saltrust.cli.options import (
    adjustment_option,
    benchmark_option,
    bootstrap_options,
    choose_or_all,
    cubes_argument,
    definition_options,
    map_options,
    margin_option,
    operating_point_option,
    overwrite_option,
    pass_options,
    segmentation_options,
    selection_options,
    shows_progress,
)
from saltrust.errors import UsageError
from saltrust.files import Advice, whole_files

if TYPE_CHECKING:
    from saltrust.report.protocols.localization import Protocol

_log = logging.getLogger(__name__)


@click.group()
def protocol() -> None:
    """Run a published protocol as a whole: tables, figures and a methods paragraph."""


@protocol.command()
@cubes_argument
@click.option("-o", "--output", "folder", required=True, metavar="DIR",
              type=click.Path(path_type=Path, file_okay=False), help="Folder to write.")
@selection_options
@map_options
@definition_options
@segmentation_options
@click.option("--slice", "iou_slice", default=None,
              type=click.Choice(["positive", "all", "both_nonempty"]),
              help="Which image-finding pairs enter Table 1.  [default: all with --cutoff, "
                   "positive without; both_nonempty under --definition peer]")
@benchmark_option
@adjustment_option
@margin_option
@operating_point_option
@bootstrap_options
@pass_options
@overwrite_option
@click.pass_context
def localization(ctx: click.Context, /, cubes: Path, folder: Path, overwrite: bool,
                 findings: tuple[str, ...], explainers: tuple[str, ...],
                 models: tuple[str, ...], **options: Any) -> None:
    """Localization against experts (Saporta et al.): Tables 1, 2, 3, figures, methods.

    \u0008
    DIR/methods.md     every definition and choice, ready for a methods section
    DIR/tables/        table1, table2, table3 and context as .md, .tex, .csv, .json
    DIR/figures/       bars, letter values, coefficients, confidence as .png and .svg
    DIR/results/       every analysis with all digits: JSON, and CSV per table
    """
    from saltrust.cache.store import open_cubes
    from saltrust.report.protocols.localization import ProtocolOptions, run_protocol

    tree = open_cubes(cubes)
    refuse_to_replace(folder, overwrite=overwrite)
    found = run_protocol(tree, ProtocolOptions(
        findings=choose_or_all(findings), explainers=choose_or_all(explainers),
        models=choose_or_all(models), progress=shows_progress(ctx), **options))
    deliver(found, folder)


def refuse_to_replace(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder that holds something, before anything is computed."""
    if folder.exists() and any(folder.iterdir()) and not overwrite:
        raise UsageError(f"{folder} exists and is not empty; say --overwrite to replace its "
                         "files, or choose another folder")


def deliver(found: Protocol, folder: Path) -> None:
    """Write what a protocol found, warn of what is missing, and say where it is."""
    count = _write(found, folder)
    for name, why in found.missing.items():
        _log.warning("%s: %s", name.replace("_", " "), why)
    click.echo(f"wrote {count} files to {folder}", err=True)
    click.echo(str(folder / "methods.md"))


def _write(found: Protocol, folder: Path) -> int:
    """Write beside the folder, then move every file in whole."""
    from saltrust.analysis.result.text import render, render_frame

    advice = Advice("repeat the command", "choose another folder", UsageError)
    with whole_files(folder, advice) as aside:
        content = {"methods.md": found.methods}
        for name, table in found.tables.items():
            title, legend = found.captions.get(name, (name, ""))
            for form, suffix in (("markdown", "md"), ("latex", "tex"), ("csv", "csv"),
                                 ("json", "json")):
                content[f"tables/{name}.{suffix}"] = render_frame(table, form, title=title,
                                                                legend=legend)
        for topic, result in found.results.items():
            content[f"results/{topic}.json"] = render(result, "json", tables=None)
            for name in result.tables:
                content[f"results/{topic}_{name}.csv"] = render(result, "csv", tables=[name])
        for name, text in content.items():
            path = aside / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        for name, figure in found.figures.items():
            stem = "".join(c if c.isalnum() or c in "_-" else "-" for c in name)
            (aside / "figures").mkdir(exist_ok=True)
            for suffix in ("png", "svg"):
                # Without a date, the same figure is the same file.
                figure.savefig(aside / "figures" / f"{stem}.{suffix}", dpi=200,
                               metadata={"Date": None} if suffix == "svg" else None)
        return sum(path.is_file() for path in aside.rglob("*"))
