"""Panels of maps beside each other: headings that fit, numbers below, one legend for all."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from saltrust.analysis.stored.arrays import dataset_of
from saltrust.cache.schema import Status
from saltrust.report.figures.literal import WIDTH, new_figure
from saltrust.report.figures.overlay import OPACITY, STYLES, Contour, Kind, Point, draw_overlay
from saltrust.report.figures.palette import FONT_SIZE, INK
from saltrust.report.figures.pictures import (
    Heatmap,
    picture_size,
    radiograph,
    reader_contours,
)

#: Panels beside each other, at most; further ones are wrapped.
MOST_COLUMNS = 6
#: Widest panel in inches, and lines of a heading.
_WIDEST, _MOST_LINES = 2.9, 4
_SIZE = FONT_SIZE - 1.5
#: Width of a letter as a share of the font's size, on average and rather large.
_LETTER = 0.6
#: Gray of a panel without a radiograph.
_GROUND = 40
#: Width of the widest entry of the legend, in inches.
_ENTRY = 1.9
#: What the legend calls lines and marks.
_LINES: dict[Kind, str] = {"reference": "reference", "expert": "expert",
                           "predicted": "segmentation of the map"}
_MARKS: dict[Kind, tuple[str, str]] = {"expert": ("o", "point of an expert"),
                                       "predicted": ("+", "peak of the map")}


@dataclass(frozen=True)
class Panel:
    """A radiograph, a map over it, and what is written round it.

    Attributes
    ----------
    image : str
        Whose radiograph is the ground.
    heading, note : str
        Above and below.
    heatmap : ndarray, shape (y, x), optional
        As it is read.
    contours : tuple of Contour
    points : tuple of Point
    bare : bool
        The map by itself, without the radiograph.
    side : str
        Left of it, what a whole line is of.
    """

    image: str
    heading: str
    note: str = ""
    heatmap: npt.NDArray[np.floating[Any]] | None = None
    contours: tuple[Contour, ...] = ()
    points: tuple[Point, ...] = ()
    bare: bool = False
    side: str = ""


@dataclass(frozen=True)
class _Drawn:
    """A panel with its texts in lines, and height and width of its picture."""

    panel: Panel
    above: str
    below: str
    size: tuple[float, float]

    def height(self, side: float) -> float:
        """In inches, with its texts, where it is ``side`` inches wide."""
        lines = sum(text.count("\n") + 1 for text in (self.above, self.below) if text)
        return side * min(self.size[0] / self.size[1], 2.0) + lines * 1.35 * _SIZE / 72 + 0.12


def map_panel(image: str, heading: str, heatmap: Heatmap | None, *, note: str = "",
              contours: Sequence[Contour] = (), points: Sequence[Point] = (), bare: bool = False,
              side: str = "") -> Panel:
    """A panel of a map that may be missing, flat or not finite, which its note says then."""
    if heatmap is None or heatmap.status is not Status.OK:
        what = "no map stored" if heatmap is None else {
            Status.FLAT: "flat map", Status.NONFINITE: "map not finite"}.get(
                heatmap.status, "no map stored")
        return Panel(image, heading, "\n".join(filter(None, [what, note])), None,
                     tuple(contours), bare=bare, side=side)
    return Panel(image, heading, note, heatmap.values, tuple(contours), tuple(points), bare,
                 side)


def reference_contours(cubes: xr.DataTree, image: str, finding: str) -> tuple[Contour, ...]:
    """Masks of the reference readers on one image."""
    return tuple(contour for contour in reader_contours(cubes, image, finding)
                 if contour.kind == "reference")


def draw_panels(cubes: xr.DataTree, blocks: Sequence[Sequence[Panel]], *, title: str = "",
                columns: int | None = None) -> Figure:
    """Draw blocks of panels below each other.

    Parameters
    ----------
    cubes : xarray.DataTree
        Whose radiographs are the ground.
    blocks : sequence of sequence of Panel
        Each begins on a new line, and is wrapped where it is longer than that.
    title : str
        Above all.
    columns : int, optional
        Panels of a line; by default as many as the longest block has, six at most, in lines of
        equal length.

    Returns
    -------
    matplotlib.figure.Figure
        Its axes are the panels, line by line; places that stay empty are axes too.
    """
    longest = max(map(len, blocks))
    columns = columns or -(-longest // -(-longest // MOST_COLUMNS))
    side = min(WIDTH / columns, _WIDEST)
    drawn = [[_Drawn(panel, wrapped(panel.heading, side), wrapped(panel.note, side),
                     picture_size(cubes, panel.image, _grid(cubes)))
              for panel in block[start:start + columns]]
             for block in blocks for start in range(0, len(block), columns)]
    heights = [max(one.height(side) for one in line) for line in drawn]
    figure = new_figure(sum(heights) + 0.9, side * columns)
    grid = figure.subplots(len(drawn), columns, squeeze=False, height_ratios=heights)
    for axes in grid.ravel():
        axes.set_axis_off()
    kinds: set[str] = set()
    for one, axes in ((one, axes) for line, places in zip(drawn, grid, strict=True)
                      for one, axes in zip(line, places, strict=False)):
        panel = one.panel
        _draw(cubes, axes, panel, one.size)
        _write(axes, one.above, one.below, wrapped(panel.side, side))
        kinds |= {contour.kind for contour in panel.contours}
        kinds |= {f"point of {point.kind}" for point in panel.points}
    if title:
        figure.suptitle(wrapped(title, side * columns, FONT_SIZE), fontsize=FONT_SIZE, color=INK)
    _legend(figure, kinds)
    return figure


def wrapped(text: str, inches: float, size: float = _SIZE) -> str:
    r"""A text in lines that are not wider than that, four of them at most.

    Parameters
    ----------
    text : str
        Lines of it stay lines.
    inches : float
    size : float
        Of the font, in points.

    Returns
    -------
    str
        Broken after spaces and marks where there are any; the middle of what is too long is left
        out.

    Examples
    --------
    >>> wrapped("guided_backprop_of_everything", 0.9, 8.0).split("\n")
    ['guided_', 'backprop_of_', 'everything']
    """
    room = max(int(inches * 72 / (_LETTER * size)), 4)
    lines: list[str] = []
    for line in text.split("\n"):
        lines += _broken(line, room)
    if len(lines) > _MOST_LINES:
        half = _MOST_LINES // 2
        lines = [*lines[:half - 1], lines[half - 1][:room - 1] + "\u2026", *lines[-half:]]
    return "\n".join(lines)


def _broken(line: str, room: int) -> list[str]:
    """Pieces of a line, each as long as there is room."""
    pieces = [""]
    for token in re.findall(r"[^\s_\-/.,]+[\s_\-/.,]*|[\s_\-/.,]+", line):
        if pieces[-1] and _width(pieces[-1]) + _width(token.rstrip()) > room:
            pieces.append("")
        for letter in token:
            if _width(pieces[-1]) + _width(letter) > room and letter.strip():
                pieces.append("")
            pieces[-1] += letter
    return [piece.strip() for piece in pieces]


def _width(text: str) -> int:
    """Places that a text takes: letters of East Asia are twice as wide as others."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else
               not unicodedata.combining(letter) for letter in text)


def _grid(cubes: xr.DataTree) -> tuple[int, int]:
    for name in ("saliency", "radiograph", "reference"):
        dataset = dataset_of(cubes, name)
        if dataset is not None and {"y", "x"} <= set(dataset.sizes):
            return dataset.sizes["y"], dataset.sizes["x"]
    return 1, 1


def _draw(cubes: xr.DataTree, axes: Axes, panel: Panel, size: tuple[float, float]) -> None:
    pixels = None if panel.bare else radiograph(cubes, panel.image)
    if pixels is None and panel.heatmap is None:
        pixels = np.full(_grid(cubes), _GROUND, dtype=np.uint8)
    draw_overlay(axes, pixels, panel.heatmap, contours=panel.contours, points=panel.points,
                 size=size, alpha=1.0 if panel.bare else OPACITY)


def _write(axes: Axes, above: str, below: str, beside: str) -> None:
    axes.set_title(above, fontsize=_SIZE, color=INK, pad=3)
    if below or beside:
        axes.set_axis_on()
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_xlabel(below, fontsize=_SIZE, color=INK, labelpad=3)
        axes.set_ylabel(beside, fontsize=_SIZE, color=INK, labelpad=3)


def _legend(figure: Figure, kinds: Collection[str]) -> None:
    """Say below what the lines and marks are, on gray: some of them are white."""
    handles = [Line2D([], [], color=STYLES[kind][0], linestyle=STYLES[kind][1],  # type: ignore[arg-type]
                      linewidth=1.5, label=label)
               for kind, label in _LINES.items() if kind in kinds]
    handles += [Line2D([], [], linestyle="none", marker=marker, markersize=6,
                       markerfacecolor="none", markeredgewidth=1.5,
                       markeredgecolor=STYLES[kind][0], label=label)
                for kind, (marker, label) in _MARKS.items() if f"point of {kind}" in kinds]
    if handles:
        figure.legend(handles=handles, loc="outside lower center",
                      ncols=min(len(handles), max(int(figure.get_figwidth() / _ENTRY), 1)),
                      fontsize=FONT_SIZE - 1.5, facecolor="#4A4A4A", labelcolor="white",
                      edgecolor="none", framealpha=1.0)
