"""What every ``saltrust analyze`` command does: load, select, compute, emit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from saltrust.cli.options import shows_progress
from saltrust.cli.output import emit, write_figures

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from saltrust.analysis.result import Result

#: Options that choose a part of the cubes, and the coordinate that each names.
SELECTION = {"split": "split", "findings": "finding", "explainers": "explainer",
             "models": "model", "reader": "reader"}
#: What people are shown beside the headline where groups are compared.
SUBGROUPS = ("subgroups", "subgroup_differences", "subgroup_tests")
OUTPUT = ("form", "tables", "folder", "overwrite", "spreadsheet_safe")
#: Names of options on the command line, where they are not those of the fields.
_FIELDS = {"slice": "iou_slice", "kind": "bootstrap"}

Draw = Callable[["xr.DataTree", "Result"], Mapping[str, "Figure"]]
Load = Callable[[Path, dict[str, Any]], Any]


def run(ctx: click.Context, topic: str, compute: Callable[..., Result], source: Path,
        options: dict[str, Any], *, load: Load | None = None, draw: Draw | None = None,
        save: Callable[[Result], None] | None = None,
        shown: Callable[[Mapping[str, Any]], tuple[str, ...]] | None = None) -> None:
    """Load, select, compute, and emit.

    Parameters
    ----------
    ctx : click.Context
    topic : str
        Stem of the names of files.
    compute : callable
        ``compute(loaded, **options)``, an analysis of the Python face.
    source : Path
        Of the cubes, or of what else the analysis starts from.
    options : dict
        As click gives them; those that belong together are handed on together.
    load : callable, optional
        ``load(source, options)`` to what is analysed, with the options that choose taken out; by
        default the selected part of the cubes.
    draw : callable, optional
        Figures by name, written where a folder was named.
    save : callable, optional
        Writes what else the options ask for.
    shown : callable, optional
        Options to the tables that people are shown who name none; by default the headline.
    """
    output = split_off(options, OUTPUT)
    loaded = (load or load_cubes)(source, options)
    if shown is not None and not output["tables"] and output["form"] == "table":
        output["tables"] = shown(options)
    result = compute(loaded, **grouped(ctx, options))
    if options.get("by") and not output["tables"] and output["form"] == "table":
        output["tables"] = (next(iter(result)), *SUBGROUPS)
    if save is not None:
        save(result)
    emit(result, topic, **output)
    if output["folder"] is None:
        return
    figures = dict(draw(loaded, result)) if draw is not None else {}
    if options.get("by"):
        from saltrust.report.figures.subgroups import subgroups

        figures[f"{topic}_subgroups"] = subgroups(result)
    if figures:
        write_figures(figures, output["folder"], overwrite=output["overwrite"])


def load_cubes(path: Path, options: dict[str, Any]) -> xr.DataTree:
    """The part of the cubes at a path that the options choose."""
    from saltrust.cache.store import open_cubes

    return selected(open_cubes(path), options)


def selected(tree: xr.DataTree, options: dict[str, Any]) -> xr.DataTree:
    """The part of the cubes that the options choose; these are taken out of the options."""
    from saltrust.analysis.select import select

    labels: dict[str, Any] = {SELECTION[name]: value or None
                              for name, value in split_off(options, SELECTION).items()}
    return select(tree, **labels)


def split_off(options: dict[str, Any], names: Any) -> dict[str, Any]:
    """Take these options out of the others."""
    return {name: options.pop(name) for name in names if name in options}


def grouped(ctx: click.Context, options: Mapping[str, Any]) -> dict[str, Any]:
    """Flat options as the values that analyses take together.

    Parameters
    ----------
    ctx : click.Context
    options : mapping of str to object

    Returns
    -------
    dict of str to object
        ``scoring``, ``execution``, ``comparison``, ``decision``, ``resampling``, ``testing``
        where their options are among these, and the others as they are.
    """
    from saltrust.analysis.options import (
        Decision,
        Execution,
        GazeComparison,
        Margins,
        Resampling,
        Scoring,
        Testing,
    )

    rest = dict(options)
    values: dict[str, Any] = {}
    no_worse = rest.pop("non_inferiority", None)
    if no_worse is not None:
        rest["margin"] = Margins(rest.get("margin"), no_worse)
    for name, kind, sign in (("scoring", Scoring, "definition"),
                             ("execution", Execution, "workers"),
                             ("comparison", GazeComparison, "others"),
                             ("decision", Decision, "alpha"),
                             ("resampling", Resampling, "resamples"),
                             # Last: where there are resamples, the level is theirs.
                             ("testing", Testing, "errors")):
        if sign not in rest:
            continue
        given = {field.name: rest.pop(_FIELDS.get(field.name, field.name))
                 for field in fields(kind) if _FIELDS.get(field.name, field.name) in rest}
        if kind is Execution:
            given["progress"] = shows_progress(ctx)
        values[name] = kind(**given)
    return {**values, **rest}
