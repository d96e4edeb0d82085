"""Figures of classification: ROC curves with their areas, reliability diagrams."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from saltrust.analysis.classification.calibration import reliability
from saltrust.analysis.classification.predictions import roc_points
from saltrust.analysis.result import Result
from saltrust.analysis.result.cells import significant
from saltrust.analysis.result.text import confidence_level
from saltrust.report.figures.literal import WIDTH, new_figure
from saltrust.report.figures.palette import FONT_SIZE, INK, dress, series_colors

_COLUMNS = 3
_DIAGONAL = "#999999"
_LINES = ("-", (0, (4, 1.5)), ":", "-.")


def roc(result: Result) -> Figure:
    """Empirical ROC curve of every model, one panel per finding.

    Parameters
    ----------
    result : Result
        Of :func:`saltrust.analysis.classification.analysis.classification`.

    Returns
    -------
    Figure
        The legend of a panel gives area and interval as in table ``auc``, and how many cases are
        positive and negative; findings of one class only have an empty panel that says so.
    """
    areas = result.tables["auc"]
    figure, panels = _panels(result, "1 - specificity", "Sensitivity")
    for panel in panels:
        for model, cases, style in panel.models:
            row = areas[(areas["finding"] == panel.finding) & (areas["model"] == model)].iloc[0]
            curve = roc_points(cases)
            panel.axes.plot(curve["false_positive"], curve["true_positive"], **style,
                            linewidth=1.4)
            panel.handles.append(Line2D([], [], **style, linewidth=1.6,
                                        label=f"{model}  {_interval(row)}"))
        _finish(panel)
    figure.suptitle(f"ROC curves: AUC ({100 * confidence_level(result.meta):g}% interval)",
                    fontsize=FONT_SIZE + 1, color=INK)
    return figure


def calibration(result: Result) -> Figure:
    """Reliability diagram of every model, one panel per finding.

    Ten bins of equal width; a point is the mean probability and the share of positives of the
    cases of a bin, its size grows with their number, its line is Wilson's interval.  The legend
    gives the Brier score, the slope of calibration and the expected calibration error of table
    ``calibration``.

    Parameters
    ----------
    result : Result
        Of :func:`saltrust.analysis.classification.analysis.classification`.
    """
    measures, level = result.tables["calibration"], confidence_level(result.meta)
    bins = reliability(result.tables["cases"], confidence_level=level)
    figure, panels = _panels(result, "Predicted probability", "Share of positives")
    for panel in panels:
        for model, _, style in panel.models:
            shares = bins[(bins["finding"] == panel.finding) & (bins["model"] == model)]
            panel.axes.vlines(shares["predicted"], shares["conf_low"], shares["conf_high"],
                              color=style["color"], linewidth=0.9, alpha=0.6)
            panel.axes.plot(shares["predicted"], shares["observed"], **style, linewidth=1.2)
            panel.axes.scatter(shares["predicted"], shares["observed"], color=style["color"],
                               zorder=3, s=8 + 60 * shares["n"] / max(int(bins["n"].max()), 1),
                               linewidths=0)
            rows = measures[(measures["finding"] == panel.finding)
                            & (measures["model"] == model)]
            terms = dict(zip(rows["term"], rows["estimate"], strict=True))
            panel.handles.append(
                Line2D([], [], **style, marker="o", markersize=4, linewidth=1.4,
                       label=f"{model}  {_number(terms['brier'])}, "
                             f"{significant(terms['slope'])}, {_number(terms['ece'])}"))
        _finish(panel)
    figure.suptitle(f"Calibration: Brier score, slope, ECE ({100 * level:g}% intervals of shares)",
                    fontsize=FONT_SIZE + 1, color=INK)
    return figure


@dataclass(frozen=True)
class _Panel:
    """The axes of one finding, and what is drawn there: model, its cases, and its style."""

    finding: str
    axes: Axes
    models: tuple[tuple[str, pd.DataFrame, dict[str, Any]], ...]
    handles: list[Line2D] = field(default_factory=list)


def _styles(models: list[str]) -> dict[str, dict[str, Any]]:
    """Color and line of every model: where colors come again, the line is another."""
    colors = series_colors(models)
    seen: dict[str, int] = {}
    styles = {}
    for model in models:
        color = colors[model]
        styles[model] = {"color": color, "linestyle": _LINES[seen.get(color, 0) % len(_LINES)]}
        seen[color] = seen.get(color, 0) + 1
    return styles


def _panels(result: Result, across: str, up: str) -> tuple[Figure, list[_Panel]]:
    """A panel per finding with the diagonal drawn and the axes named."""
    cases = result.tables["cases"]
    models = list(dict.fromkeys(cases["model"]))
    findings = list(dict.fromkeys(cases["finding"]))
    styles = _styles(models)
    columns = min(_COLUMNS, len(findings))
    lines = -(-len(findings) // columns)
    side = WIDTH / _COLUMNS
    # Room for the title of two lines, the legend, and the heading, which is the widest of all.
    figure = new_figure(lines * (side + 0.45 + 0.18 * len(models)) + 0.35,
                        max(side * columns, 4.4))
    # Legends below axes that keep their aspect come out a little lower than was reckoned with.
    engine: Any = figure.get_layout_engine()
    engine.set(rect=(0, 0.03, 1, 0.97), hspace=0.06 if lines > 1 else 0)
    grid = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes in grid[len(findings):]:
        axes.set_axis_off()
    panels = []
    for finding, axes in zip(findings, grid[:len(findings)], strict=True):
        axes.plot([0, 1], [0, 1], color=_DIAGONAL, linewidth=0.8, linestyle="--")
        axes.set_xlabel(across)
        axes.set_ylabel(up)
        of_finding = cases[cases["finding"] == finding]
        panels.append(_Panel(finding, axes, tuple(
            (model, of_finding[of_finding["model"] == model], styles[model])
            for model in models)))
    return figure, panels


def _finish(panel: _Panel) -> None:
    axes, (_, cases, _) = panel.axes, panel.models[0]
    positives = int(cases["label"].sum())
    axes.set_title(f"{panel.finding}\n{positives} positive, {len(cases) - positives} negative",
                   fontsize=FONT_SIZE, color=INK)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    # At the top of its place: the legend below it needs the rest.
    axes.set_aspect("equal", anchor="N")
    ticks = np.linspace(0, 1, 3)
    axes.set_xticks(ticks, ["0", "0.5", "1"])
    axes.set_yticks(ticks, ["0", "0.5", "1"])
    dress(axes, grid="both")
    # Below the panel, where no curve can lie under it.
    axes.legend(handles=panel.handles, frameon=False, fontsize=FONT_SIZE - 2, loc="upper center",
                bbox_to_anchor=(0.5, -0.22), handlelength=1.4)


def _interval(row: pd.Series) -> str:
    if pd.isna(row["estimate"]):
        return str(row["note"]) or "not estimable"
    # Of an area of 1 there is no variance, and an interval without width says a wrong thing.
    if pd.isna(row["conf_low"]) or row["conf_low"] == row["conf_high"]:
        return _number(row["estimate"])
    return f"{_number(row['estimate'])} ({_number(row['conf_low'])}, {_number(row['conf_high'])})"


def _number(value: float) -> str:
    return "-" if pd.isna(value) else f"{value:.3f}"
