"""A multi-reader analysis: means of treatments with every reader beside, and differences."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saltrust.analysis.localization.summary import AVERAGE
from saltrust.analysis.result import Result
from saltrust.analysis.result.text import confidence_level
from saltrust.errors import UsageError
from saltrust.report.figures.estimates import ALPHA, draw_interval, marker_key
from saltrust.report.figures.literal import new_figure
from saltrust.report.figures.palette import DIFFERENCE, FONT_SIZE, INK, dress

#: Inches of a line.
_LINE = 0.2
#: More lines are no figure; the first are drawn.
MOST_LINES = 60


def readers_and_treatments(result: Result) -> Figure:
    """Means with their intervals and the figures of all readers; differences as a forest.

    Parameters
    ----------
    result : Result
        Of :func:`saltrust.mrmc` or :func:`saltrust.mrmc_from_ratings`.  Of several findings the
        mean over them is drawn.

    Returns
    -------
    Figure

    Raises
    ------
    UsageError
        If no treatments were compared, but a model with readers alone.
    """
    if "means" not in result.tables:
        raise UsageError("no treatments were compared, so that there is nothing to draw")
    means, differences, figures = (_drawn(result.tables[name]) for name in
                                   ("means", "differences", "figures"))
    lines = max(len(means), len(differences))
    figure = new_figure(1.3 + _LINE * lines)
    left, right = figure.subplots(1, 2)
    _means(left, means, figures)
    _forest(right, differences)
    figure.legend(handles=marker_key(confidence_level(result.meta)), loc="outside upper right",
                  ncols=3, frameon=False, fontsize=FONT_SIZE)
    return figure


def _drawn(table: pd.DataFrame) -> pd.DataFrame:
    """The mean over findings where there is one, and no more lines than can be drawn."""
    if "finding" in table and (table["finding"] == AVERAGE).any():
        table = table[table["finding"] == AVERAGE]
    return table if "reader" in table else table.iloc[:MOST_LINES]


def _means(axes: Axes, means: pd.DataFrame, figures: pd.DataFrame) -> None:
    by_name = dict(list(figures.groupby(_identity(figures), sort=False)["estimate"]))
    names = _identity(means)
    for at, (name, (_, row)) in enumerate(zip(names, means.iterrows(), strict=True)):
        of_readers = by_name[name].dropna()
        draw_interval(axes, row, at, INK, filled=True)
        # Above the mean, which readers who agree would lie under.
        axes.plot(of_readers, [at - 0.28] * len(of_readers), "|", color="#777777", markersize=6)
    dress(axes)
    axes.set_yticks(range(len(means)), names.tolist())
    axes.set_ylim(len(means) - 0.5, -0.5)
    axes.set_title("Means, with each reader a stroke above", fontsize=FONT_SIZE + 0.5,
                   color=INK, loc="left")


def _forest(axes: Axes, differences: pd.DataFrame) -> None:
    axes.axvline(0, color="#888888", linewidth=1)
    for at, (_, row) in enumerate(differences.iterrows()):
        p = row["p_adjusted"]
        draw_interval(axes, row, at, DIFFERENCE, filled=bool(pd.notna(p) and p < ALPHA))
    dress(axes)
    axes.set_yticks(range(len(differences)), _identity(differences, "contrast").tolist())
    axes.set_ylim(len(differences) - 0.5, -0.5)
    axes.set_title("Differences of treatments", fontsize=FONT_SIZE + 0.5, color=INK, loc="left")


def _identity(table: pd.DataFrame, name: str = "treatment") -> pd.Series:
    """What a row is called: its treatment or contrast, then what else it is of."""
    columns = [name, *(column for column in ("explainer", "model", "metric")
                       if column in table and len(set(table[column])) > 1)]
    return pd.Series([", ".join(filter(None, map(str, row))) for row in
                      table[columns].itertuples(index=False)], table.index, dtype=str)
