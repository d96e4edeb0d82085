"""Residuals of the regressions on shape, against what was fitted."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from saltrust.analysis.result import Result
from saltrust.report.figures.literal import new_figure
from saltrust.report.figures.palette import FONT_SIZE, INK, dress, series_colors

#: Inches of a row of panels.
_HEIGHT = 1.7
#: More are told in no legend.
_MOST_NAMED = 16


def residuals(result: Result) -> Figure:
    """Mean residuals of groups of rows with like fitted values.

    A row of panels per scheme and response, a column per descriptor; a color per explainer and
    model.  Bars are twice the standard error of the group's mean, rows taken as independent.
    What is no line in the descriptor bends away from zero; bars that grow are uneven errors.

    Parameters
    ----------
    result : Result
        Of :func:`saltrust.regressions` with the fit ``diagnostics``.

    Returns
    -------
    Figure
    """
    table = result.tables["residuals"]
    of_map = (table["explainer"] + " " + table["model"]).rename("map")
    colors = series_colors(list(dict.fromkeys(of_map)))
    kinds = list(dict.fromkeys(zip(table["scheme"], table["response"], strict=True)))
    shapes = list(dict.fromkeys(table["descriptor"]))
    figure = new_figure(0.6 + _HEIGHT * max(len(kinds), 1))
    panels = figure.subplots(max(len(kinds), 1), max(len(shapes), 1), squeeze=False)
    for (scheme, response), row in zip(kinds, panels, strict=False):
        for shape, axes in zip(shapes, row, strict=True):
            axes.axhline(0, color="#999999", linewidth=0.8)
            here = table[(table["scheme"] == scheme) & (table["response"] == response)
                         & (table["descriptor"] == shape)]
            for name, groups in here.groupby(of_map, sort=False):
                # One row has no spread, and no bar.
                error = (2 * groups["sd"] / np.sqrt(groups["n"].astype(float))).fillna(0.0)
                axes.errorbar(groups["fitted"].to_numpy(), groups["residual"].to_numpy(),
                              yerr=error.to_numpy(), color=colors[str(name)], fmt="o-",
                              markersize=2.5, linewidth=0.9, elinewidth=0.6)
            _label(axes, f"{scheme}, {response}" if shape == shapes[0] else "",
                   shape if (scheme, response) == kinds[0] else "")
    if 1 < len(colors) <= _MOST_NAMED:
        figure.legend(handles=[Line2D([], [], color=color, label=name)
                               for name, color in colors.items()],
                      loc="outside lower center", ncols=4, fontsize=FONT_SIZE - 1, frameon=False)
    figure.suptitle("Residuals against fitted values, means of groups", fontsize=FONT_SIZE + 1,
                    color=INK)
    return figure


def _label(axes: Axes, response: str, shape: str) -> None:
    dress(axes, grid="y")
    axes.tick_params(labelsize=FONT_SIZE - 2)
    if response:
        axes.set_ylabel(response)
    if shape:
        axes.set_title(shape, fontsize=FONT_SIZE, color=INK)
