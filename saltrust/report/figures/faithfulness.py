"""Curves of faithfulness: mean predictions with bands, beside those of random orders."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from saltrust.analysis.result import Result
from saltrust.analysis.result.text import confidence_level
from saltrust.analysis.trustworthiness.faithfulness.mean_curves import RANDOM
from saltrust.errors import DataError
from saltrust.report.figures.literal import WIDTH, new_figure
from saltrust.report.figures.palette import FONT_SIZE, INK, dress, series_colors

#: Axis titles of the metrics; of insertion the fraction that is shown again.
TITLES = {"deletion": "Deleted", "insertion": "Inserted", "morf": "Most relevant imputed",
          "lerf": "Least relevant imputed"}
_RANDOM_COLOR = "#888888"
_COLUMNS = 4


def curves(result: Result) -> Figure:
    """Mean probability along every curve of the first model: a line of panels per finding.

    Bands are pointwise intervals of the mean by patient, where there are enough patients; random
    orders are gray.

    Parameters
    ----------
    result : Result
        Of :func:`saltrust.faithfulness`.

    Raises
    ------
    DataError
        If only metrics without curves were asked for.
    """
    table = result.tables.get("curves")
    if table is None:
        raise DataError("the result has no curves, only metrics that are one number a map; ask "
                        "for deletion, insertion, morf or lerf")
    table = table[table["model"] == table["model"].iloc[0]]
    findings, metrics = (list(dict.fromkeys(table[name])) for name in ("finding", "metric"))
    explainers = [name for name in dict.fromkeys(table["explainer"]) if name != RANDOM]
    colors = {**series_colors(explainers), RANDOM: _RANDOM_COLOR}
    side = WIDTH / _COLUMNS
    figure = new_figure(0.7 + len(findings) * (side + 0.25), side * max(len(metrics), 2))
    grid = figure.subplots(len(findings), len(metrics), squeeze=False, sharex=True, sharey="row")
    for line, finding in zip(grid, findings, strict=True):
        for axes, metric in zip(line, metrics, strict=True):
            part = table[(table["finding"] == finding) & (table["metric"] == metric)]
            _panel(axes, part, metric, colors)
        line[0].set_ylabel(f"{finding}\nProbability", fontsize=FONT_SIZE)
    for axes, metric in zip(grid[-1], metrics, strict=True):
        axes.set_xlabel(TITLES[metric], fontsize=FONT_SIZE)
    handles: list[Line2D | Patch] = [Line2D([], [], color=colors[name], label=name,
                                            linestyle="--" if name == RANDOM else "-")
                                     for name in [*explainers, RANDOM]]
    if table["conf_low"].notna().any():
        handles.append(Patch(color="#CCCCCC", label=f"{100 * confidence_level(result.meta):g}% "
                                                    "interval by patient"))
    figure.legend(handles=handles, frameon=False, fontsize=FONT_SIZE - 1, loc="outside upper left",
                  ncols=min(len(handles), 4))
    return figure


def _panel(axes: Axes, table: pd.DataFrame, metric: str, colors: dict[str, str]) -> None:
    for explainer, rows in table.groupby("explainer", sort=False):
        name = str(explainer)
        removed = rows["removed"].to_numpy()
        x = 1 - removed if metric == "insertion" else removed
        axes.plot(x, rows["estimate"], color=colors[name], linewidth=1.4,
                  linestyle="--" if name == RANDOM else "-", zorder=1 if name == RANDOM else 2)
        if np.isfinite(rows["conf_low"]).any():
            axes.fill_between(x, rows["conf_low"], rows["conf_high"], color=colors[name],
                              alpha=0.15, linewidth=0)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.xaxis.set_ticks([0, 0.5, 1], labels=["0", "0.5", "1"])
    axes.tick_params(colors=INK)
    dress(axes, grid="both")
