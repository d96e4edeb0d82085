"""A mixed model: means, contrasts, and whether its residuals are even and normal."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from saltrust.analysis.result import Result
from saltrust.analysis.result.text import confidence_level
from saltrust.errors import UsageError
from saltrust.report.figures.estimates import ALPHA, draw_interval, marker_key
from saltrust.report.figures.literal import new_figure
from saltrust.report.figures.palette import DIFFERENCE, FONT_SIZE, INK, dress, series_colors

#: Inches of a line of means or contrasts, and of the panels of residuals.
_LINE, _PANEL = 0.2, 2.6
#: More contrasts are no forest; the smallest p-values of them are drawn.
MOST_CONTRASTS = 60


def mixed_model(result: Result) -> Figure:
    """Means with their intervals, contrasts as a forest, and residuals where they were made.

    Parameters
    ----------
    result : Result
        Of :func:`saltrust.mixed_model`; with ``Inspection(residuals=True)`` two panels more:
        residuals against fitted values, and quantiles against the normal's.

    Returns
    -------
    Figure

    Raises
    ------
    UsageError
        If there is nothing to draw: no means were compared, and no residuals made.
    """
    means = result.tables["means"]
    contrasts = result.tables.get("contrasts", means.iloc[:0])
    shown = contrasts.loc[contrasts["p_value"].sort_values(kind="stable").index[:MOST_CONTRASTS]]
    shown = shown.sort_index()
    residuals = "residuals" in result.tables
    if not (len(means) or residuals):
        raise UsageError("this model compares no means and has no residuals to draw; name the "
                         "factor with --over, or say --residuals")
    lines = max(len(means), len(shown))
    top = 1.0 + _LINE * lines if lines else 0.0
    figure = new_figure(0.5 + top + (_PANEL if residuals else 0.0))
    heights = [height for height in (top, _PANEL if residuals else 0.0) if height]
    panels = figure.subplots(len(heights), 2, squeeze=False,
                             gridspec_kw={"height_ratios": heights})
    level = confidence_level(result.meta)
    if lines:
        _means(panels[0, 0], means)
        _forest(panels[0, 1], shown, len(contrasts))
        figure.legend(handles=[*marker_key(level)[:2], _interval_key(level)],
                      loc="outside upper right", ncols=3, frameon=False, fontsize=FONT_SIZE)
    if residuals:
        _residuals(panels[-1, 0], result.tables["residuals"])
        _quantiles(panels[-1, 1], result.tables["residual_quantiles"])
    return figure


def _interval_key(level: float) -> Line2D:
    return Line2D([], [], color=INK, linewidth=1.6, label=f"{100 * level:g}% CI")


def _means(axes: Axes, means: pd.DataFrame) -> None:
    for at, (_, row) in enumerate(means.iterrows()):
        draw_interval(axes, row, at, INK, filled=True)
    dress(axes)
    axes.set_yticks(range(len(means)), _named(means, "level"))
    axes.set_ylim(len(means) - 0.5, -0.5)
    axes.set_title("Marginal means", fontsize=FONT_SIZE + 0.5, color=INK, loc="left")


def _forest(axes: Axes, contrasts: pd.DataFrame, of: int) -> None:
    axes.axvline(0, color="#888888", linewidth=1)
    for at, (_, row) in enumerate(contrasts.iterrows()):
        p = row["p_adjusted"] if pd.notna(row["p_adjusted"]) else row["p_value"]
        draw_interval(axes, row, at, DIFFERENCE, filled=bool(pd.notna(p) and p < ALPHA))
    dress(axes)
    axes.set_yticks(range(len(contrasts)), _named(contrasts, "contrast"))
    axes.set_ylim(len(contrasts) - 0.5, -0.5)
    part = "" if of == len(contrasts) else f", the {len(contrasts)} smallest p of {of}"
    axes.set_title(f"Contrasts{part}", fontsize=FONT_SIZE + 0.5, color=INK, loc="left")


def _named(table: pd.DataFrame, column: str) -> list[str]:
    """What rows are called: a level or contrast, and the level of another factor within."""
    within = [f", {level}" for level in table["by_level"]] if "by_level" in table else \
        [""] * len(table)
    return [f"{name}{rest}" for name, rest in zip(table[column], within, strict=True)]


def _residuals(axes: Axes, table: pd.DataFrame) -> None:
    """Means of rows of like fitted values; bars are standard deviations of the rows."""
    axes.axhline(0, color="#999999", linewidth=0.8)
    axes.errorbar(table["fitted"].to_numpy(), table["residual"].to_numpy(),
                  yerr=table["sd"].fillna(0.0).to_numpy(), color=INK, fmt="o", markersize=3,
                  elinewidth=0.8)
    dress(axes, grid="y")
    axes.set_xlabel("Fitted, rows of like values together")
    axes.set_ylabel("Residual, mean and SD")
    axes.set_title("Residuals", fontsize=FONT_SIZE + 0.5, color=INK, loc="left")


def _quantiles(axes: Axes, table: pd.DataFrame) -> None:
    ends = np.array([table["normal"].min(), table["normal"].max()])
    axes.plot(ends, ends, color="#999999", linewidth=0.8)
    named = (table["group"] + " " + table["effect"].replace("(Intercept)", "")).str.strip()
    for name, color in series_colors(list(dict.fromkeys(named))).items():
        rows = table[named == name]
        axes.plot(rows["normal"], rows["quantile"], "o", markersize=2.2, color=color, label=name)
    dress(axes, grid="y")
    axes.set_xlabel("Quantile of the normal distribution")
    axes.set_ylabel("Quantile, in estimated SD")
    axes.set_title("Normality", fontsize=FONT_SIZE + 0.5, color=INK, loc="left")
    axes.legend(frameon=False, fontsize=FONT_SIZE - 1)
