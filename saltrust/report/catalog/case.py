"""A case: where a map is cut and where it peaks, beside what readers drew, with IoU and hit."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from saltrust.analysis.localization.survey import mask_above
from saltrust.analysis.options import Execution, Scoring
from saltrust.analysis.result.cells import significant
from saltrust.analysis.scores.score_rows import EXPERT
from saltrust.analysis.scores.scored_maps import score_maps
from saltrust.analysis.select import select
from saltrust.analysis.stored.arrays import labels_of
from saltrust.analysis.stored.readings import read_as
from saltrust.cache.schema import Status
from saltrust.report.catalog.choosing import (
    OVERLAP,
    PIXELS,
    PROBABILITY,
    Case,
    cases,
    require_maps,
    shown_models,
)
from saltrust.report.catalog.declaration import NamedFigure, Request
from saltrust.report.catalog.panels import Panel, draw_panels, map_panel
from saltrust.report.figures.overlay import Contour, Point
from saltrust.report.figures.pictures import (
    expert_points,
    peak,
    picture_size,
    reader_contours,
    stored_map,
)


def _draw(cubes: xr.DataTree, request: Request) -> Figure:
    chosen = cases(cubes, request, _RANKED_BY)
    scores = score_maps(select(cubes, image=list(dict.fromkeys(case.image for case in chosen))),
                        Scoring(map=request.map), Execution(progress=request.progress)).table
    return draw_cases(read_as(cubes, request.map), chosen, scores)


def draw_cases(cubes: xr.DataTree, chosen: Sequence[Case], scores: pd.DataFrame) -> Figure:
    """Draw cases below each other: what people drew, then every map beside it.

    Parameters
    ----------
    cubes : xarray.DataTree
        Maps of every explainer, of the models that were selected by name, else of the ensemble or
        the first.
    chosen : sequence of Case
    scores : pandas.DataFrame
        Table ``scores`` of :func:`saltrust.localization`: IoU, hit and threshold of every map, and
        IoU and hit of every benchmark reader.
    """
    saliency = require_maps(cubes)
    grid = saliency.sizes["y"], saliency.sizes["x"]
    blocks = []
    for case in chosen:
        size = picture_size(cubes, case.image, grid)
        drawn = tuple(reader_contours(cubes, case.image, case.finding))
        points = tuple(expert_points(cubes, case.image, case.finding, size))
        of_case = scores[(scores["image"] == case.image) & (scores["finding"] == case.finding)]
        people = of_case[of_case["explainer"] == EXPERT].drop_duplicates("model")
        block = [Panel(case.image, f"{case.image}\n{case.finding}", "\n".join(filter(None, [
            case.why, *(f"{row['model']}: {outcome(row)}" for _, row in people.iterrows())])),
            None, drawn, points)]
        models = shown_models(cubes)
        for model in models:
            for explainer in labels_of(saliency, "explainer"):
                rows = of_case[(of_case["explainer"] == explainer) & (of_case["model"] == model)]
                heading = f"{explainer}\n{model}" if len(models) > 1 else explainer
                block.append(_panel(cubes, case, heading, (explainer, model),
                                    None if rows.empty else rows.iloc[0], (drawn, points)))
        blocks.append(block)
    return draw_panels(cubes, blocks)


def _panel(cubes: xr.DataTree, case: Case, heading: str, labels: tuple[str, str],
           row: pd.Series | None, people: tuple[tuple[Contour, ...], tuple[Point, ...]]) -> Panel:
    drawn, points = people
    heatmap = stored_map(cubes, "saliency", image=case.image, finding=case.finding,
                         explainer=labels[0], model=labels[1])
    marks = []
    if heatmap is not None and heatmap.status is Status.OK:
        size = picture_size(cubes, case.image, heatmap.values.shape)
        marks = [peak(heatmap, size, labels[0])]
        # Below the cut-off of probabilities the segmentation is empty.
        if row is not None and pd.notna(row["threshold"]) and row["area_predicted"] > 0:
            mask = mask_above(heatmap.values, float(row["threshold"]))
            drawn = (*drawn, Contour(mask, "segmentation", "predicted"))
    return map_panel(case.image, heading, heatmap, note="" if row is None else outcome(row),
                     contours=drawn, points=(*points, *marks))


def outcome(row: pd.Series) -> str:
    """IoU and hit or miss of one row of scores, as they are printed.

    Examples
    --------
    >>> outcome(pd.Series({"iou": 0.25714, "hit": 1.0}))
    'IoU 0.257, hit'
    """
    words = [f"IoU {significant(float(row['iou']))}"] if pd.notna(row["iou"]) else []
    return ", ".join(words + (["hit" if row["hit"] else "miss"] if pd.notna(row["hit"]) else []))


_RANKED_BY = (*OVERLAP, *PIXELS, PROBABILITY)
FIGURES = (NamedFigure(
    "case", "a case with IoU and hit mark: contours of the map's segmentation, of the reference "
            "and of experts", _draw, _RANKED_BY),)
