"""The maps of an image beside each other, with what protocol A scores of each below."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from saltrust.analysis.result.cells import significant
from saltrust.analysis.stored.annotations import read_annotations
from saltrust.analysis.stored.arrays import dataset_of, labels_of, whole
from saltrust.analysis.stored.average_mask import AVERAGE_MASK, average_mask
from saltrust.analysis.stored.readings import read_as
from saltrust.analysis.stored.whole_study import fitted_study
from saltrust.cache.schema import Status
from saltrust.errors import DataError
from saltrust.report.catalog.choosing import (
    RANKED_BY,
    Case,
    cases,
    pixel_scores,
    require_maps,
    shown_models,
)
from saltrust.report.catalog.declaration import NamedFigure, Request
from saltrust.report.catalog.panels import (
    Panel,
    draw_panels,
    map_panel,
    reference_contours,
)
from saltrust.report.figures.pictures import Heatmap, radiograph, stored_map

#: ``(case, explainer, model)`` to the row of its scores, or None.
ScoreOf = Callable[[Case, str, str], pd.Series | None]


def _draw(cubes: xr.DataTree, request: Request) -> Figure:
    cubes = read_as(cubes, request.map)
    chosen = cases(cubes, request)
    shown = {(case.image, case.finding): case for one in chosen
             for case in maps_of_image(cubes, one)}
    chosen = list(shown.values())
    return draw_maps(cubes, chosen, pixel_scores(cubes, chosen, request.map),
                     average_masks(cubes, {case.finding for case in chosen}))


def maps_of_image(cubes: xr.DataTree, case: Case) -> list[Case]:
    """What is shown of an image: of one explainer every finding that has a map.

    Parameters
    ----------
    cubes : xarray.DataTree
    case : Case
    """
    status = whole(require_maps(cubes)["status"], ("image", "finding", "explainer", "model"))
    if status.sizes["explainer"] > 1:
        return [case]
    stored = (status.sel(image=case.image).values != int(Status.MISSING)).any(axis=(1, 2))
    return [Case(case.image, finding, case.why) for finding, has_map in
            zip(labels_of(status, "finding"), stored, strict=True) if has_map]


def draw_maps(cubes: xr.DataTree, chosen: Sequence[Case], score: ScoreOf,
              averages: Mapping[str, Heatmap] | None = None) -> Figure:
    """Draw all maps of some images.

    Parameters
    ----------
    cubes : xarray.DataTree
        Of every explainer; of the models that were selected by name, else of the ensemble or the
        first.  Of one explainer all findings of an image stand in one line.
    chosen : sequence of Case
    score : callable
        Utility of a map; AUPRC and average precision (AP) are written below it.
    averages : mapping of str to Heatmap, optional
        The average mask of each finding, drawn beside the maps.
    """
    saliency, models = require_maps(cubes), shown_models(cubes)
    explainers = labels_of(saliency, "explainer")
    blocks: dict[tuple[str, str], list[Panel]] = {}
    for case in chosen:
        for model in models:
            # Findings of one explainer go on in the line of their image.
            key = (case.image, model if len(explainers) == 1 else f"{model}\n{case.finding}")
            block = blocks.setdefault(key, _ground(cubes, case, model if len(models) > 1 else "",
                                                   with_finding=len(explainers) > 1))
            for explainer in explainers:
                heatmap = stored_map(cubes, "saliency", image=case.image, finding=case.finding,
                                     explainer=explainer, model=model)
                heading = explainer if len(explainers) > 1 else case.finding
                block.append(_panel(cubes, case, heading, heatmap,
                                    score(case, explainer, model)))
            if len(explainers) > 1:
                block += _baselines(cubes, case, score, averages or {})
    title = f"Maps of {explainers[0]}, {models[0]}" if len(explainers) == 1 else \
        f"Maps of {models[0]}" if len(models) == 1 else ""
    return draw_panels(cubes, list(blocks.values()), title=title)


def average_masks(cubes: xr.DataTree, findings: set[str]) -> dict[str, Heatmap]:
    """The average mask of training and validation images, by finding, where there is one.

    Parameters
    ----------
    cubes : xarray.DataTree
        The store that they are a selection of has the images of these splits.
    findings : set of str
    """
    averages = {}
    for finding in sorted(findings):
        try:
            readers = read_annotations(cubes, resolution="grid")
            average = average_mask(fitted_study(cubes), finding,
                                   readers.readers[readers.readers_with("reference")[0]])
        except (DataError, IndexError):
            continue
        averages[finding] = Heatmap(average.values.astype(np.float32), Status.OK)
    return averages


def _ground(cubes: xr.DataTree, case: Case, model: str, *, with_finding: bool) -> list[Panel]:
    """The radiograph, alone in the first place of a line."""
    heading = "\n".join(filter(None, [case.image, case.finding if with_finding else "", model]))
    contours = reference_contours(cubes, case.image, case.finding) if with_finding else ()
    note = case.why if radiograph(cubes, case.image) is not None else \
        "\n".join(filter(None, ["no radiograph stored", case.why]))
    return [Panel(case.image, heading, note, None, contours)]


def _panel(cubes: xr.DataTree, case: Case, heading: str, heatmap: Heatmap | None,
           row: pd.Series | None) -> Panel:
    return map_panel(case.image, heading, heatmap, note=_numbers(row),
                     contours=reference_contours(cubes, case.image, case.finding))


def _baselines(cubes: xr.DataTree, case: Case, score: ScoreOf,
               averages: Mapping[str, Heatmap]) -> list[Panel]:
    """The average mask, then every localizer."""
    panels = []
    if case.finding in averages:
        panels.append(_panel(cubes, case, "average mask", averages[case.finding],
                             score(case, AVERAGE_MASK, "")))
    localizers = dataset_of(cubes, "localizer")
    if localizers is not None and "heatmap" in localizers:
        for name in labels_of(localizers, "model"):
            heatmap = stored_map(cubes, "localizer", image=case.image, finding=case.finding,
                                 model=name)
            panels.append(_panel(cubes, case, name, heatmap, score(case, name, name)))
    return panels


def _numbers(row: pd.Series | None) -> str:
    """AUPRC and average precision of a map, as they are printed below it."""
    if row is None:
        return ""
    return (f"AUPRC {significant(float(row['auprc']))}\n"
            f"AP {significant(float(row['average_precision']))}")


FIGURES = (NamedFigure(
    "maps", "the maps of an image, of every explainer, with average mask, localizers, AUPRC and "
            "AP; of one explainer those of every finding", _draw, RANKED_BY),)
