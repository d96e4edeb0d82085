"""What every ``saltrust protocol`` command does: cubes, select, compute, draw, write."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import click

from saltrust.choices import OnError
from saltrust.cli.analyze.command import selected
from saltrust.cli.options import (
    PathType,
    command_line,
    device_option,
    on_error_option,
    shows_progress,
    spreadsheet_option,
    stack,
)
from saltrust.cli.output import say
from saltrust.cli.protocol.chain import (
    Request,
    is_study_file,
    keep_thresholds,
    make_cubes,
    record_tables,
)
from saltrust.cli.signals import goes_on_when_repeated
from saltrust.cli.training import Launch
from saltrust.errors import UsageError
from saltrust.files import Advice, stems, whole_files

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from saltrust.analysis.protocols.result import ProtocolResult
    from saltrust.analysis.result import Result

    Compute = Callable[..., ProtocolResult]
    Group = Callable[[dict[str, Any]], dict[str, Any]]
    Tune = Callable[[xr.DataTree, dict[str, Any]], Result]

_log = logging.getLogger(__name__)

_ADVICE = Advice("repeat the command", "choose another folder", UsageError)
_SUFFIXES = {"markdown": "md", "latex": "tex", "csv": "csv", "json": "json"}

folder_options = stack(
    click.option("-o", "--output", "folder", required=True, metavar="DIR",
                 type=PathType(path_type=Path, file_okay=False),
                 help="Folder to write; with a study file, also of its cubes."),
    click.option("--overwrite", is_flag=True,
                 help="Replace existing files; with a study file, also models and cubes that were "
                      "begun from something else. What is the same is kept."),
    device_option,
    on_error_option,
    click.option("--plan", "plan_file", type=PathType(path_type=Path), default=None,
                 metavar="PLAN.toml",
                 help="Say point by point what followed this plan (saltrust plan): table plan."),
    spreadsheet_option,
)


@click.group()
def protocol() -> None:
    """Run a published protocol as a whole, from a study file or from cubes.

    Tables, figures and a methods paragraph; of a study file, its models and cubes before.
    """


@dataclass(frozen=True)
class Output:
    """Where a protocol writes, and how.

    Attributes
    ----------
    folder : pathlib.Path
    overwrite, spreadsheet_safe : bool
    device : str or None
        Of the models of a study file.
    on_error : {'stop', 'skip'}
        Of the files of a study.
    plan_file : pathlib.Path or None
        What the results are compared with.
    """

    folder: Path
    overwrite: bool
    spreadsheet_safe: bool
    device: str | None
    on_error: OnError
    plan_file: Path | None = None

    def holds_something(self) -> bool:
        """Whether there are files in the folder already."""
        return self.folder.exists() and any(self.folder.iterdir())


def run(compute: Compute, source: Path, options: dict[str, Any], group: Group, *,
        tune: Tune | None = None) -> None:
    """Run a protocol on what the options select, and write its folder.

    Parameters
    ----------
    compute : callable
        ``compute(cubes, **options)``, a protocol of the Python face.
    source : Path
        Of the cubes; or of a study file, whose cubes are made first.
    options : dict
        As click gives them.
    group : callable
        Makes of the options that are left those of ``compute``.
    tune : callable, optional
        ``tune(cubes, options)`` finds the cut-offs on validation images.  The protocol takes
        them where it is started from a study file and the options state none.
    """
    ctx = click.get_current_context()
    output = Output(**{name: options.pop(name) for name in (
        "folder", "overwrite", "spreadsheet_safe", "device", "on_error", "plan_file")})
    if output.plan_file is not None:
        from saltrust.analysis.planning.declaration import read_plan

        # Before minutes of work.
        read_plan(output.plan_file)
    if is_study_file(source):
        _run_chain(ctx, compute, source, options, output, group, tune)
        return
    if output.device is not None or output.on_error != "stop":
        raise UsageError("--device and --on-error say how the models of a study file are trained "
                         "and explained; leave them out where cubes are given")
    from saltrust.cache.store import open_cubes

    tree = open_cubes(source)
    # Before minutes of work.
    if output.holds_something() and not output.overwrite:
        raise UsageError(f"{output.folder} exists and is not empty; say --overwrite to replace its "
                         "files, or choose another folder")
    _make_tables(compute, selected(tree, options), group(options), output)


def _run_chain(ctx: click.Context, compute: Compute, source: Path, options: dict[str, Any],
               output: Output, group: Group, tune: Tune | None) -> None:
    """Make the cubes of a study, and the tables of these."""
    launch = Launch(output.device, output.overwrite, on_error=output.on_error)
    stores = make_cubes(Request(source, output.folder, str(ctx.info_name), dict(options), launch,
                                shows_progress(ctx), command_line(ctx)),
                        tunes=tune is not None and options["cutoff"] is None)
    from saltrust.cache.store import open_cubes

    with goes_on_when_repeated(f"models and cubes stay in {output.folder}"):
        others = {}
        if tune is not None and len(stores) > 1:
            others["thresholds"] = tune(open_cubes(stores[1]), dict(options))
            options["cutoff"] = str(keep_thresholds(output.folder, others["thresholds"]))
            if stores[0] == stores[1] and options["split"] is None:
                options["split"] = "test"
        _make_tables(compute, selected(open_cubes(stores[0]), options), group(options), output,
                     others)
        record_tables(output.folder, stores)


def _make_tables(compute: Compute, tree: xr.DataTree, options: dict[str, Any], output: Output,
                 others: Mapping[str, Result] = MappingProxyType({})) -> None:
    """Compute and write; `others` are results beside those of the protocol."""
    from saltrust.report.protocols.figures import figures_of

    result = compute(tree, **options)
    heading, _, text = result.methods().partition("\n\n")
    methods = "\n\n".join([heading, *(other.methods() for other in others.values()), text])
    whole = replace(result, results={**result.results, **others}, methods_text=methods)
    if output.plan_file is not None:
        from saltrust.analysis.planning.checking import with_plan

        whole = with_plan(whole, output.plan_file, tree)
    count = _write(whole, figures_of(result, tree), output)
    for name, why in result.missing.items():
        _log.warning("%s: %s", name.replace("_", " "), why)
    say(f"wrote {count} files to {output.folder}", err=True)
    say(str(output.folder / "methods.md"))


def _write(result: ProtocolResult, figures: Mapping[str, Figure], output: Output) -> int:
    """Write beside the folder, then move every file in whole."""
    from saltrust.analysis.result.files import csv_texts
    from saltrust.analysis.result.text import render_frame
    from saltrust.report.figures.files import save_figure

    content = {"methods.md": result.methods()}
    for name, table in result.tables.items():
        title, legend = result.caption(name)
        for form, suffix in _SUFFIXES.items():
            content[f"tables/{name}.{suffix}"] = render_frame(
                table, form, title=title, legend=legend, spreadsheet_safe=output.spreadsheet_safe)
    for name, analysis in result.results.items():
        content[f"results/{name}.json"] = analysis.to_json()
        content |= {f"results/{file}": text for file, text in csv_texts(
            analysis, name, spreadsheet_safe=output.spreadsheet_safe).items()}
    with whole_files(output.folder, _ADVICE) as aside:
        for name, text in content.items():
            path = aside / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", errors="backslashreplace")
        named = stems(figures)
        for name, figure in figures.items():
            (aside / "figures").mkdir(exist_ok=True)
            for suffix in ("png", "svg"):
                save_figure(figure, aside / "figures" / f"{named[name]}.{suffix}", suffix)
        return sum(path.is_file() for path in aside.rglob("*"))
