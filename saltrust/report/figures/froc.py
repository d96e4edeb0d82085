"""Figures of the free-response analysis: FROC and weighted AFROC curves of every map."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from saltrust.analysis.result import Result
from saltrust.analysis.result.text import confidence_level
from saltrust.report.figures.literal import WIDTH, new_figure
from saltrust.report.figures.palette import FONT_SIZE, INK, dress, series_colors

_LINES = ("-", (0, (4, 1.5)), ":", "-.")
#: Curve, its axes, and the figure of merit that its legend gives.
_CURVES = (("froc", "False marks per image", "Share of lesions", ""),
           ("wafroc", "Normal images with a false mark", "Weighted share of lesions", "wafroc"))
#: Beyond as many false marks per image a curve says little of what readers would bear.
_MOST_FALSE = 10.0


def curves(result: Result) -> Figure:
    """FROC beside weighted AFROC curve of every explainer and model, a line of panels per finding.

    Parameters
    ----------
    result : Result
        Of :func:`saltrust.analysis.froc.analysis.froc`.

    Returns
    -------
    Figure
        The legend gives the weighted AFROC figure of merit with its interval, the titles how many
        images and lesions there are.  FROC curves are drawn up to ten false marks per image; a
        weighted AFROC curve ends in a straight line to what is not marked at all.
    """
    points, summary = result.tables["curves"], result.tables["summary"]
    findings = list(dict.fromkeys(points["finding"]))
    pairs = list(dict.fromkeys(zip(points["explainer"], points["model"], strict=True)))
    several = len({model for _, model in pairs}) > 1
    colors = series_colors(list(dict.fromkeys(explainer for explainer, _ in pairs)))
    models = list(dict.fromkeys(model for _, model in pairs))
    height = 2.9 + 0.17 * len(pairs)
    figure = new_figure(height * max(len(findings), 1) + 0.35, WIDTH)
    grid = figure.subplots(max(len(findings), 1), 2, squeeze=False)
    if not findings:
        for axes in grid.ravel():
            axes.set_axis_off()
    for line, finding in zip(grid, findings, strict=False):
        rows = summary[(summary["finding"] == finding) & (summary["metric"] == "wafroc")]
        for axes, (curve, across, up, metric) in zip(line, _CURVES, strict=True):
            handles = []
            for explainer, model in pairs:
                drawn = points[(points["finding"] == finding) & (points["curve"] == curve)
                             & (points["explainer"] == explainer) & (points["model"] == model)]
                style: dict[str, Any] = {
                    "color": colors[explainer],
                    "linestyle": _LINES[models.index(model) % len(_LINES)]}
                axes.plot(drawn["across"], drawn["up"], **style, linewidth=1.4)
                name = f"{explainer}, {model}" if several else explainer
                merit = rows[(rows["explainer"] == explainer) & (rows["model"] == model)]
                handles.append(Line2D([], [], **style, linewidth=1.6,
                                      label=f"{name}  {_interval(merit)}" if metric else name))
            _dress(axes, curve, across, up, points)
            axes.legend(handles=handles, frameon=False, fontsize=FONT_SIZE - 2,
                        loc="upper center", bbox_to_anchor=(0.5, -0.2), handlelength=1.6)
            first = rows.iloc[0]
            axes.set_title(
                f"{finding}\n{first['lesions']:.0f} lesions, {first['lesion_images']:.0f} images "
                f"with and {first['normal_images']:.0f} without", fontsize=FONT_SIZE, color=INK)
    figure.suptitle("FROC (left) and weighted AFROC (right) with its figure of merit "
                    f"({100 * confidence_level(result.meta):g}% interval)",
                    fontsize=FONT_SIZE + 1, color=INK)
    return figure


def _dress(axes: Axes, curve: str, across: str, up: str, points: pd.DataFrame) -> None:
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.set_ylim(-0.02, 1.02)
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    if curve == "froc":
        most = float(points.loc[points["curve"] == "froc", "across"].max())
        axes.set_xlim(-0.02 * min(most, _MOST_FALSE), max(min(most, _MOST_FALSE), 1e-3))
    else:
        axes.set_xlim(-0.02, 1.02)
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    dress(axes, grid="both")


def _interval(rows: pd.DataFrame) -> str:
    if rows.empty or np.isnan(rows.iloc[0]["estimate"]):
        return "not estimable"
    row = rows.iloc[0]
    if np.isnan(row["conf_low"]):
        return f"{row['estimate']:.3f}"
    return f"{row['estimate']:.3f} ({row['conf_low']:.3f}, {row['conf_high']:.3f})"
