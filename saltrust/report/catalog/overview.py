"""What passes: every explainer, criterion and baseline in one picture."""

from __future__ import annotations

import pandas as pd
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from saltrust.analysis.protocols.trustworthiness.protocol import protocol_trustworthiness
from saltrust.analysis.trustworthiness.decisions import FAIL, PASS, UNCERTAIN
from saltrust.errors import DataError
from saltrust.report.catalog.declaration import NamedFigure, Request
from saltrust.report.catalog.panels import wrapped
from saltrust.report.figures.literal import WIDTH, new_figure
from saltrust.report.figures.palette import FONT_SIZE, INK

#: Colors of the decisions, and of models that disagree; the words stand in the cells too.
_COLORS = {PASS: "#8CD0B4", FAIL: "#F0A98A", UNCERTAIN: "#E3E3E3"}
_OTHERWISE, _NOTHING = "#F5E3B3", "#FFFFFF"
_NAMES = ("finding", "explainer")
#: Height of a line, and width of the narrowest column, in inches.
_LINE, _COLUMN = 0.32, 1.02


def _draw(cubes: xr.DataTree, request: Request) -> Figure:
    protocol = protocol_trustworthiness(cubes, map=request.map, progress=request.progress)
    if "decisions" not in protocol.tables:
        raise DataError("no explainer has a baseline to be judged by: "
                        + "; ".join(protocol.missing.values()))
    return draw_overview(protocol.tables["decisions"])


def draw_overview(decisions: pd.DataFrame) -> Figure:
    """Draw the decisions as cells: pass, did not pass, uncertain.

    Parameters
    ----------
    decisions : pandas.DataFrame
        Table ``decisions`` of :func:`saltrust.protocol_trustworthiness`: ``finding`` where there
        are several, ``explainer``, and a column ``criterion: baseline`` each.

    Returns
    -------
    matplotlib.figure.Figure
        A star marks what changes between methods; where models disagree, both words stand.
    """
    columns = [str(name) for name in decisions.columns if name not in _NAMES]
    criteria = [tuple(part.strip() for part in name.split(":", 1)) for name in columns]
    names = [" / ".join(str(row[name]) for name in _NAMES if name in decisions.columns)
             for _, row in decisions.iterrows()]
    margin = 0.3 + 0.075 * min(max(map(len, names)), 40)
    width = max(WIDTH, margin + _COLUMN * len(columns))
    column = (width - margin) / len(columns)
    # The star stays with its word.
    cells = [[wrapped(value.replace(" *", "\u00a0*"), column - 0.06, FONT_SIZE - 2)
              for value in row] for row in decisions[columns].astype(str).to_numpy()]
    heads = [wrapped(baseline, column - 0.06, FONT_SIZE - 2) for _, baseline in criteria]
    heights = [_LINE + 0.13 * (max(text.count("\n") for text in (*row, wrapped(name, margin)))
                               if row else 0) for row, name in zip(cells, names, strict=True)]
    top = 0.35 + 0.15 * max(head.count("\n") + 1 for head in heads)
    figure = new_figure(sum(heights) + top + 0.3, width)
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(sum(heights) + 0.05, -top)
    y = 0.0
    for name, row, height in zip(names, cells, heights, strict=True):
        axes.text(margin - 0.08, y + height / 2, wrapped(name, margin), ha="right", va="center",
                  fontsize=FONT_SIZE - 1, color=INK)
        for place, text in enumerate(row):
            x = margin + place * column
            axes.add_patch(Rectangle((x, y), column, height, facecolor=_color(text),
                                     edgecolor="white", linewidth=1.5))
            axes.text(x + column / 2, y + height / 2, text, ha="center", va="center",
                      fontsize=FONT_SIZE - 2, color=INK)
        y += height
    for place, head in enumerate(heads):
        axes.text(margin + (place + 0.5) * column, -0.06, head, ha="center", va="bottom",
                  fontsize=FONT_SIZE - 2, color=INK)
    for criterion in dict.fromkeys(name for name, _ in criteria):
        at = [place for place, (name, _) in enumerate(criteria) if name == criterion]
        left, right = margin + at[0] * column, margin + (at[-1] + 1) * column
        axes.plot([left + 0.05, right - 0.05], [0.12 - top] * 2, color="#888888", linewidth=0.8)
        axes.text((left + right) / 2, 0.08 - top, criterion, ha="center", va="bottom",
                  fontsize=FONT_SIZE, color=INK)
    return figure


def _color(text: str) -> str:
    """Of a cell, by its words."""
    words = " ".join(text.split()).removesuffix(" *")  # No-break spaces are spaces too.
    return _COLORS.get(words, _OTHERWISE if words else _NOTHING)


FIGURES = (NamedFigure(
    "overview", "what passes, does not pass or stays uncertain: every explainer, criterion and "
                "baseline", _draw),)
