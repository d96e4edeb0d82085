"""The four descriptors of a reference mask, with the rectangle that two of them are of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from saltrust.analysis.options import Execution
from saltrust.analysis.result.cells import significant
from saltrust.analysis.shape.descriptors import DrawnShape, descriptors, drawn_shape
from saltrust.analysis.stored.arrays import dataset_of, labels_of
from saltrust.errors import DataError, UsageError, nearest
from saltrust.report.catalog.choosing import Case, ranked
from saltrust.report.catalog.declaration import NamedFigure, Request
from saltrust.report.catalog.panels import wrapped
from saltrust.report.figures.contours import outlines
from saltrust.report.figures.literal import WIDTH, new_figure
from saltrust.report.figures.overlay import draw_overlay
from saltrust.report.figures.palette import EXPLAINERS, FONT_SIZE, INK
from saltrust.report.figures.pictures import picture_size, radiograph, reader_kinds

DESCRIPTORS = ("n_instances", "area_ratio", "elongation", "irrectangularity")
_MASK, _BOX = "#35d0ff", EXPLAINERS[1]
_GROUND = 40


def _draw(cubes: xr.DataTree, request: Request) -> Figure:
    table = descriptors(cubes, execution=Execution(progress=request.progress))["descriptors"]
    reference = dataset_of(cubes, "reference")
    kinds = {} if reference is None else reader_kinds(reference)
    drawn = table[(table["n_instances"] > 0)
                  & table["reader"].map(kinds).eq("reference").to_numpy()]
    drawn = drawn.drop_duplicates(["image", "finding"])
    if drawn.empty:
        raise DataError("no reference reader drew anything on the selected images; select others")
    chosen = (_named(drawn, request, labels_of(cubes.to_dataset(), "image")) if request.images
              else _ranked(drawn, request))
    return draw_descriptors(cubes, chosen, drawn)


def _ranked(drawn: pd.DataFrame, request: Request) -> list[Case]:
    by = request.by or DESCRIPTORS[0]
    chosen = ranked(drawn.assign(score=drawn[by]), request.rank, request.count, "")
    # Of a shape no value is better than another.
    why = {"best": "largest", "worst": "smallest"}.get(request.rank, request.rank)
    name = by.replace("n_instances", "number of instances").replace("_", " ")
    return [Case(case.image, case.finding, f"{why} {name}") for case in chosen]


def _named(drawn: pd.DataFrame, request: Request, known: Sequence[str]) -> list[Case]:
    chosen = []
    for image in request.images:
        if image not in known:
            raise UsageError(f"the cubes have no image {image!r}; {nearest(image, known)}")
        of_image = drawn[drawn["image"] == image]
        if of_image.empty:
            raise DataError(f"no reference reader drew anything on {image!r} of what was "
                            "selected; choose another image")
        chosen += [Case(image, str(finding)) for finding in of_image["finding"]]
    return chosen


def draw_descriptors(cubes: xr.DataTree, chosen: Sequence[Case], table: pd.DataFrame) -> Figure:
    """Draw the descriptors of some masks: one line of four panels each.

    Parameters
    ----------
    cubes : xarray.DataTree
    chosen : sequence of Case
    table : pandas.DataFrame
        Table ``descriptors`` of :func:`saltrust.descriptors`, one row of each case: its reader's
        mask is drawn, its numbers stand above the panels.
    """
    rows = [table[(table["image"] == case.image) & (table["finding"] == case.finding)].iloc[0]
            for case in chosen]
    side = WIDTH / 4
    shapes = [drawn_shape(cubes, case.image, case.finding, str(row["reader"]))
              for case, row in zip(chosen, rows, strict=True)]
    sizes = [picture_size(cubes, case.image, (drawn.mask.shape[0], drawn.mask.shape[1]))
             for case, drawn in zip(chosen, shapes, strict=True)]
    headings = [wrapped("\n".join(filter(None, [case.image, case.finding, case.why])), side,
                        FONT_SIZE - 1) for case in chosen]
    heights = [side * min(height / width, 2.0) + 0.2 + 0.16 * (heading.count("\n") + 2)
               for (height, width), heading in zip(sizes, headings, strict=True)]
    figure = new_figure(sum(heights), WIDTH)
    panels = figure.subplots(len(chosen), 4, squeeze=False, height_ratios=heights)
    for k, (line, case, row) in enumerate(zip(panels, chosen, rows, strict=True)):
        drawn, size = shapes[k], sizes[k]
        texts = _texts(row)
        for axes, name, text in zip(line, DESCRIPTORS, texts, strict=True):
            pixels = radiograph(cubes, case.image)
            draw_overlay(axes, np.full((8, 8), _GROUND, np.uint8) if pixels is None else pixels,
                         None, size=size)
            _draw_shape(axes, name, drawn, size)
            axes.set_title(wrapped(text, side, FONT_SIZE - 1), fontsize=FONT_SIZE - 1, color=INK)
        line[0].set_title(f"{headings[k]}\n{texts[0]}", fontsize=FONT_SIZE - 1, color=INK)
    return figure


def _texts(row: pd.Series) -> list[str]:
    count = int(row["n_instances"])
    return [f"{count} instance{'' if count == 1 else 's'}",
            f"area ratio {significant(float(row['area_ratio']))}",
            f"elongation {significant(float(row['elongation']))}",
            f"irrectangularity {significant(float(row['irrectangularity']))}"]


def _draw_shape(axes: Axes, name: str, drawn: DrawnShape, size: tuple[float, float]) -> None:
    """What one descriptor is of: outlines, the area, the sides, what fills the rectangle."""
    scale = np.array([size[1] / drawn.mask.shape[1], size[0] / drawn.mask.shape[0]])
    contours = [outline[:, ::-1] * scale for outline in outlines(drawn.mask)]
    corners = drawn.fitted.corners[:, ::-1] * scale
    if name == "area_ratio":
        shown = np.zeros((*drawn.mask.shape, 4))
        shown[drawn.mask] = (*(int(_MASK[k:k + 2], 16) / 255 for k in (1, 3, 5)), 0.5)
        axes.imshow(shown, extent=(0, size[1], size[0], 0), interpolation="nearest")
    if name in ("elongation", "irrectangularity"):
        axes.add_patch(Polygon(corners, closed=True, facecolor="none", edgecolor=_BOX,
                               linewidth=1.5))
    if name == "elongation":
        lengths = np.hypot(*(np.roll(corners, -1, axis=0) - corners).T)
        longest = int(np.argmax(lengths[:2]))
        for k, label in ((longest, "longer"), (1 - longest, "shorter")):
            start, end = corners[k], corners[(k + 1) % 4]
            axes.plot(*np.stack([start, end]).T, color=_BOX, linewidth=3, label=label)
    if name == "irrectangularity":
        # What of the rectangle the dominant instance does not fill.
        axes.add_patch(Polygon(corners, closed=True, facecolor=_BOX, edgecolor="none", alpha=0.5))
        axes.add_patch(Polygon(drawn.fitted.outline[:, ::-1] * scale, closed=True,
                               facecolor=_MASK, edgecolor="none", alpha=0.8))
    for outline in contours:
        axes.plot(*outline.T, color=_MASK, linewidth=1.3)


FIGURES = (NamedFigure(
    "descriptors", "number of instances, area ratio, elongation and irrectangularity of a "
                   "reference mask, with the fitted rectangle", _draw, DESCRIPTORS),)
