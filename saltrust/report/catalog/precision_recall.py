"""Precision-recall curves of the maps of single images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from saltrust.analysis.result.cells import significant
from saltrust.analysis.stored.maps import LOCALIZER, TRAINED
from saltrust.analysis.trustworthiness.pixel_curves import PixelCurve, pixel_curves
from saltrust.choices import MapChoice
from saltrust.report.catalog.choosing import PIXELS, PROBABILITY, Case, cases, shown_models
from saltrust.report.catalog.declaration import NamedFigure, Request
from saltrust.report.catalog.panels import wrapped
from saltrust.report.figures.literal import WIDTH, new_figure
from saltrust.report.figures.palette import FONT_SIZE, INK, dress, series_colors

#: Panels beside each other.
_COLUMNS = 3
_BASELINE_COLOR, _LOCALIZER_COLOR, _PREVALENCE_COLOR = "#56B4E9", "#003D66", "#999999"
#: Lines of several models or localizers of one color.
_LINES = ("-", (0, (4, 1.5)), ":", "-.")


def _draw(cubes: xr.DataTree, request: Request) -> Figure:
    return draw_curves(cubes, cases(cubes, request, _RANKED_BY), map=request.map)


def draw_curves(cubes: xr.DataTree, chosen: Sequence[Case], *, map: MapChoice = "auto") -> Figure:
    """Draw the precision-recall curves of every map of some images, a panel of each.

    Parameters
    ----------
    cubes : xarray.DataTree
        Of the models that were selected by name, else of the ensemble or the first; with the
        average mask and localizers.
    chosen : sequence of Case
    map : {"auto", "raw", "absolute", "positive"}
        What of the maps ranks the pixels.

    Returns
    -------
    matplotlib.figure.Figure
        The legend of a panel has average precision (AP) and AUPRC of every curve, and the
        prevalence, which a map without information has for its precision.
    """
    models = shown_models(cubes)
    curves = [[curve for curve in pixel_curves(cubes, case.image, case.finding, map=map)
               if curve.condition != TRAINED or curve.model in models] for case in chosen]
    columns = min(_COLUMNS, len(chosen))
    lines = -(-len(chosen) // columns)
    # A single panel is not stretched over the page.
    side = WIDTH / max(columns, 2)
    entries = max(map_count for map_count in (len(of_case) for of_case in curves)) + 1
    figure = new_figure(lines * (side + 0.4 + 0.17 * entries) + 0.2, side * columns)
    grid = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes in grid[len(chosen):]:
        axes.set_axis_off()
    for axes, case, of_case in zip(grid, chosen, curves, strict=False):
        _panel(axes, of_case, several=len(models) > 1)
        heading = "\n".join(filter(None, [case.image, case.finding, case.why]))
        axes.set_title(wrapped(heading, side, FONT_SIZE - 1), fontsize=FONT_SIZE - 1, color=INK)
    return figure


def _panel(axes: Axes, curves: Sequence[PixelCurve], *, several: bool) -> None:
    colors = series_colors(list(dict.fromkeys(
        curve.explainer for curve in curves if curve.condition == TRAINED)))
    seen: dict[str, int] = {}
    handles = []
    for curve in curves:
        color = colors.get(curve.explainer, _LOCALIZER_COLOR if curve.condition == LOCALIZER
                           else _BASELINE_COLOR)
        style: dict[str, Any] = {"color": color, "linewidth": 1.4,
                                 "linestyle": _LINES[seen.get(color, 0) % len(_LINES)]}
        seen[color] = seen.get(color, 0) + 1
        axes.plot(curve.recall, curve.precision, **style)
        name = curve.explainer + (f", {curve.model}" if several and curve.condition == TRAINED
                                  else "")
        handles.append(Line2D([], [], **style, label=(
            f"{name}: AP {significant(curve.areas.average_precision)}, "
            f"AUPRC {significant(curve.areas.auprc)}")))
    prevalence = curves[0].areas.prevalence
    axes.axhline(prevalence, color=_PREVALENCE_COLOR, linewidth=0.8, linestyle="--")
    handles.append(Line2D([], [], color=_PREVALENCE_COLOR, linewidth=0.8, linestyle="--",
                          label=f"prevalence {significant(prevalence)}"))
    axes.set_xlabel("Recall")
    axes.set_ylabel("Precision")
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_aspect("equal", anchor="N")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks([0, 0.5, 1], labels=["0", "0.5", "1"])
    dress(axes, grid="both")
    # Below the panel, where no curve can lie under it.
    axes.legend(handles=handles, frameon=False, fontsize=FONT_SIZE - 2, loc="upper center",
                bbox_to_anchor=(0.5, -0.17), handlelength=1.6)


_RANKED_BY = (*PIXELS, PROBABILITY)
FIGURES = (NamedFigure(
    "precision-recall", "precision-recall curves of an image's maps, with average mask, "
                        "localizers, AP and AUPRC", _draw, _RANKED_BY),)
