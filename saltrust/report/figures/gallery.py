"""Pictures from cubes, by labels: one map over its radiograph, several beside each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saltrust.analysis.localization.survey import Survey
from saltrust.analysis.stored.arrays import dataset_of, labels_of
from saltrust.cache.schema import Status
from saltrust.errors import DataError, UsageError
from saltrust.report.figures.cases import by_probability, headline_model
from saltrust.report.figures.literal import WIDTH, new_figure
from saltrust.report.figures.overlay import blend, draw_overlay
from saltrust.report.figures.palette import FONT_SIZE, INK
from saltrust.report.figures.pictures import (
    expert_points,
    peak,
    picture_size,
    radiograph,
    reader_contours,
    stored_map,
)

_FINDINGS_PER_LINE = 5


def overlay(cubes: xr.DataTree, image: str, finding: str, explainer: str | None = None, *,
            model: str | None = None, reader: str | Sequence[str] | None = None,
            axes: Axes | None = None) -> Axes:
    """Draw a radiograph, a map over it, and what readers outlined and marked.

    Parameters
    ----------
    cubes : xarray.DataTree
        Any selection that holds the labels.
    image, finding : str
    explainer : str, optional
        Whose map; by default none, and the radiograph is seen alone.
    model : str, optional
        By default the ensemble where there is one, else the first.
    reader : str or sequence of str, optional
        Whose masks are outlined; by default everyone's.
    axes : matplotlib.axes.Axes, optional
        By default those of a new figure, outside pyplot's state: ``axes.figure.savefig(...)``.

    Returns
    -------
    matplotlib.axes.Axes
        In pixels of the grid (of the aspect as acquired), y downwards.  Contours and points have
        the names of the readers as labels, for a legend; the peak of a map that says something
        is a cross.

    Raises
    ------
    UsageError
        If a label is not known.
    DataError
        If the cubes hold neither the radiograph nor the map.
    """
    pixels, heatmap = radiograph(cubes, image), None
    if explainer is not None:
        model = model or _headline_model(cubes)
        heatmap = stored_map(cubes, "saliency", image=image, finding=finding,
                             explainer=explainer, model=model)
        if heatmap is None:
            raise DataError(f"no map of {explainer} and {model} is stored of {finding} on {image}; "
                            "generate it, or choose another")
    ground = pixels if pixels is not None else heatmap.values if heatmap is not None else None
    if ground is None:
        raise DataError(f"no radiograph of {image} is stored, so there is nothing to draw a mask "
                        "on; name an explainer whose map is stored")
    size = picture_size(cubes, image, (ground.shape[0], ground.shape[1]))
    readers = [reader] if isinstance(reader, str) else reader
    points = [point for point in expert_points(cubes, image, finding, size)
              if readers is None or point.label in readers]
    if heatmap is not None and heatmap.status is Status.OK:
        points.append(peak(heatmap, size, str(explainer)))
    if axes is None:
        side = 4.0
        axes = new_figure(side * size[0] / size[1], side).add_subplot()
    return draw_overlay(axes, pixels, None if heatmap is None else heatmap.values,
                        contours=reader_contours(cubes, image, finding, readers), points=points,
                        size=size)


def gallery(cubes: xr.DataTree, finding: str, explainer: str | None = None, *,
            model: str | None = None, reader: str | Sequence[str] | None = None,
            images: Sequence[str] | None = None, rows: int = 3, columns: int = 4) -> Figure:
    """Draw a finding on several images.

    Parameters
    ----------
    cubes : xarray.DataTree
        Any selection that holds the labels.
    finding : str
    explainer : str, optional
        Whose maps, one per panel.  By default every line is one image: the radiograph, then the
        maps of the first explainers beside each other.
    model : str, optional
        By default the ensemble where there is one, else the first.
    reader : str or sequence of str, optional
        Whose masks are outlined; by default everyone's.
    images : sequence of str, optional
        By default images labelled positive, from the highest to the lowest probability and evenly
        spaced: by rule, not by eye.
    rows, columns : int
        Of panels, at most.

    Returns
    -------
    matplotlib.figure.Figure
        Outside pyplot's state.

    Raises
    ------
    UsageError
        If a label is not known.
    DataError
        If the cubes hold no maps of the finding.
    """
    saliency = dataset_of(cubes, "saliency")
    if saliency is None:
        raise DataError("the cubes hold no heatmaps (/saliency is absent), so there is no gallery; "
                        "run `saltrust generate`")
    model = model or headline_model(saliency)
    explainers = [explainer] if explainer else labels_of(saliency, "explainer")[:columns - 1]
    if images is None:
        images = by_probability(cubes, finding, explainers[0], model,
                                rows * columns if explainer else rows)
    if not images:
        raise DataError(f"no map of {explainers[0]} and {model} is stored of {finding!r}, so there "
                        "is no gallery of it; choose another")
    columns = min(columns, len(images)) if explainer else len(explainers) + 1
    lines = -(-len(images) // columns) if explainer else len(images)
    side = min(WIDTH / columns, 2.6)
    figure = new_figure((side + 0.25) * lines, side * columns)
    panels = figure.subplots(lines, columns, squeeze=False)
    shown = ([(image, explainer) for image in images] if explainer else
             [(image, name) for image in images for name in (None, *explainers)])
    for axes in panels.ravel():
        axes.set_axis_off()
    for axes, (image, name) in zip(panels.ravel(), shown, strict=False):
        if _is_stored(cubes, image, finding, name, model):
            overlay(cubes, image, finding, name, model=model, reader=reader, axes=axes)
            axes.set_title(image if explainer or name is None else name,
                           fontsize=FONT_SIZE - 1, color=INK)
    figure.suptitle(", ".join([finding, *([explainer] if explainer else []), model]),
                    fontsize=FONT_SIZE, color=INK)
    return figure


def _is_stored(cubes: xr.DataTree, image: str, finding: str, explainer: str | None, model: str,
               ) -> bool:
    if explainer is None:
        return radiograph(cubes, image) is not None
    return stored_map(cubes, "saliency", image=image, finding=finding, explainer=explainer,
                      model=model) is not None


def _headline_model(cubes: xr.DataTree) -> str:
    saliency = dataset_of(cubes, "saliency")
    if saliency is None:
        raise UsageError("the cubes hold no heatmaps (/saliency is absent); leave the explainer "
                         "out to see the radiograph alone")
    return headline_model(saliency)


def mean_maps(survey: Survey) -> Figure:
    """Average map over the average radiograph, with the peak of every single map.

    Parameters
    ----------
    survey : Survey
        With at least one map.

    Returns
    -------
    matplotlib.figure.Figure
        One row of panels per explainer, one column per finding, wrapped into several lines.
    """
    findings = [name for name, images in survey.images.items() if images]
    explainers = list(dict.fromkeys(explainer for _, explainer in survey.sums))
    lines = -(-len(findings) // _FINDINGS_PER_LINE)
    columns = min(len(findings), _FINDINGS_PER_LINE)
    side = min(WIDTH / columns, 2.4)
    figure = new_figure(lines * len(explainers) * (side + 0.12) + 0.3 * lines, side * columns)
    panels = figure.subplots(lines * len(explainers), columns, squeeze=False)
    for axes in panels.ravel():
        axes.set_axis_off()
    for number, finding in enumerate(findings):
        line, column = divmod(number, _FINDINGS_PER_LINE)
        for k, explainer in enumerate(explainers):
            axes = panels[line * len(explainers) + k, column]
            rows = survey.maps[(survey.maps["finding"] == finding)
                              & (survey.maps["explainer"] == explainer)]
            if rows.empty:
                continue
            mean = survey.sums[finding, explainer] / len(rows)
            ground = survey.grounds.get(finding)
            pixels = None if ground is None else \
                np.round(ground / len(survey.images[finding])).astype(np.uint8)
            axes.imshow(blend(pixels, mean, signed=False), extent=(0, 1, 1, 0),
                        interpolation="bilinear")
            axes.plot(rows["peak_x"], rows["peak_y"], linestyle="none", marker="o",
                      markersize=2.6, markerfacecolor="white", markeredgecolor="black",
                      markeredgewidth=0.4, alpha=0.8)
            axes.set_xlim(0, 1)
            axes.set_ylim(1, 0)
            title = f"{explainer}, n = {len(rows)}"
            axes.set_title(f"{finding}\n{title}" if k == 0 else title, fontsize=FONT_SIZE - 1,
                           color=INK, pad=3)
    return figure
