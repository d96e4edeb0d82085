"""A forest of subgroups: the estimate of every group, and whether groups differ."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from saltrust.analysis.result import Result
from saltrust.analysis.result.text import confidence_level
from saltrust.report.figures.estimates import draw_interval
from saltrust.report.figures.literal import new_figure
from saltrust.report.figures.palette import FONT_SIZE, INK, dress, series_colors

#: Inches of a line.
_LINE = 0.21
#: Series of a coordinate that are drawn; the first ones.
MOST_SERIES = 12
#: What stands for all findings, where an analysis has them together.
_POOLED = ("average", "macro average", "All findings (with finding fixed effects)")
#: Columns of which one label is drawn, the first.
_ONE = ("scheme", "metric", "response", "baseline")


def subgroups(result: Result) -> Figure:
    """Estimates of every group with their intervals, a panel per coordinate.

    Drawn are all findings together where the analysis has them so, else the first finding, and of
    several metrics the first.  An empty marker is a group that is not tested.  At the right stands
    the adjusted p of the test that all groups are alike.

    Parameters
    ----------
    result : Result
        Of an analysis with ``by=``.

    Returns
    -------
    Figure
    """
    table = _shown(result["subgroups"])
    tests = result["subgroup_tests"]
    names = [name for name in table.columns[2:table.columns.get_loc("term")] if name not in _ONE
             and name != "finding"]
    panels = []
    for by, rows in table.groupby("by", sort=False):
        series = [(key, part) for key, part in rows.groupby(names, sort=False)][:MOST_SERIES]
        panels.append((str(by), series))
    lines = [sum(len(part) + 1 for _, part in series) for _, series in panels]
    figure = new_figure(0.7 + sum(0.5 + _LINE * count for count in lines))
    axes = figure.subplots(len(panels), 1, squeeze=False,
                           gridspec_kw={"height_ratios": [count + 2.0 for count in lines]})[:, 0]
    for (by, series), panel in zip(panels, axes, strict=True):
        _panel(panel, by, series, tests)
    first = table.iloc[0]
    what = [str(first[name]) for name in ("finding", *_ONE) if name in table and first[name]]
    figure.suptitle(f"Groups: {', '.join([*what, str(first['term'])])}", fontsize=FONT_SIZE + 1,
                    color=INK)
    figure.legend(handles=[
        Line2D([], [], color=INK, linewidth=1.6, label=f"{100 * confidence_level(result.meta):g}% "
                                                        "CI, by patient"),
        Line2D([], [], color=INK, marker="o", markerfacecolor="white", linestyle="none",
               markersize=5, label="not tested")],
        loc="outside lower center", ncols=2, frameon=False, fontsize=FONT_SIZE)
    return figure


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of one finding (all together where possible), metric and term."""
    if "finding" in table:
        findings = list(dict.fromkeys(table["finding"]))
        chosen = next((name for name in _POOLED if name in findings), findings[0])
        table = table[table["finding"] == chosen]
    for name in (*_ONE, "term"):
        if name in table and len(table):
            table = table[table[name] == table[name].iloc[0]]
    return table


def _panel(axes: Axes, by: str, series: Sequence[tuple[object, pd.DataFrame]],
           tests: pd.DataFrame) -> None:
    at, places, labels = 0.0, [], []
    names = [_named(part.iloc[0]) for _, part in series]
    colors = series_colors(names)
    for name, (_, part) in zip(names, series, strict=True):
        places.append(at)
        labels.append(name)
        axes.annotate(_p_value(tests, part.iloc[0]), (1, at),
                      xycoords=("axes fraction", "data"), ha="right", va="center",
                      fontsize=FONT_SIZE - 1, color=INK)
        for _, row in part.iterrows():
            at += 1
            draw_interval(axes, row, at, colors[name], filled=bool(pd.notna(row["conf_low"])))
            places.append(at)
            labels.append(f"{row['group']} ({row['patients']} patients)")
        at += 1
    dress(axes)
    axes.set_yticks(places, labels)
    axes.set_ylim(at - 0.5, -0.7)
    axes.set_title(by, fontsize=FONT_SIZE + 0.5, color=INK, loc="left")


def _named(row: pd.Series) -> str:
    """What a row is of."""
    return " ".join(str(row[name]) for name in ("explainer", "model", "descriptor")
                    if row.get(name))


def _p_value(tests: pd.DataFrame, row: pd.Series) -> str:
    """What the test of the groups of this row says."""
    names = list(tests.columns[1:tests.columns.get_loc("quantity")])
    same = (tests["by"] == row["by"]) & (tests["quantity"] == row["term"])
    for name in names:
        same &= tests[name] == row[name]
    (p_value,) = tests.loc[same, "p_adjusted"]
    if pd.isna(p_value):
        return "not tested"
    return "adjusted p < 0.001" if p_value < 0.001 else f"adjusted p = {p_value:.3f}"
