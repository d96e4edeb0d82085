"""Maps of one image along the stages of randomization."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from saltrust.analysis.result.cells import significant
from saltrust.analysis.select import select
from saltrust.analysis.stored.arrays import dataset_of, labels_of, whole
from saltrust.analysis.stored.readings import read_as
from saltrust.analysis.trustworthiness.image_similarity import randomized_similarity
from saltrust.cache.schema import Status
from saltrust.errors import DataError
from saltrust.report.catalog.choosing import RANKED_BY, Case, cases
from saltrust.report.catalog.declaration import NamedFigure, Request
from saltrust.report.catalog.panels import Panel, draw_panels, map_panel
from saltrust.report.figures.pictures import stored_map

_DIMENSIONS = ("image", "finding", "explainer", "model", "replicate", "stage")


def _draw(cubes: xr.DataTree, request: Request) -> Figure:
    status = whole(randomized(cubes)["status"], _DIMENSIONS)
    # They may be fewer than those that have maps.
    stored = [image for image, has_map in zip(
        labels_of(status, "image"),
        (status.values != int(Status.MISSING)).any(axis=(1, 2, 3, 4, 5)), strict=True) if has_map]
    if not stored:
        raise DataError("no map of a randomised model is stored of the selected images; choose "
                        "others or generate them")
    chosen = cases(cubes if request.images else select(cubes, image=stored), request)
    scores = randomized_similarity(select(cubes, image=[case.image for case in chosen]))
    return draw_stages(cubes, chosen, scores)


def randomized(cubes: xr.DataTree) -> xr.Dataset:
    """Group ``/randomization``.

    Raises
    ------
    DataError
        If the cubes hold no maps of randomized models.
    """
    dataset = dataset_of(cubes, "randomization")
    if dataset is None or "heatmap" not in dataset:
        raise DataError("the cubes hold no maps of randomised models (/randomization is absent), "
                        "so there are no stages to draw; generate them with [randomization]")
    return dataset


def draw_stages(cubes: xr.DataTree, chosen: Sequence[Case], scores: pd.DataFrame) -> Figure:
    """Draw the maps of every stage: a line per explainer, the trained model's first.

    Parameters
    ----------
    cubes : xarray.DataTree
        Maps are drawn as they are stored, since their similarity is of these; of the first model
        and replicate.
    chosen : sequence of Case
    scores : pandas.DataFrame
        Table ``scores`` of :func:`saltrust.randomization`: the SSIM with the trained model's map
        is written below each.
    """
    dataset, raw = randomized(cubes), read_as(cubes, "raw")
    model, replicate = labels_of(dataset, "model")[0], labels_of(dataset, "replicate")[0]
    stages = labels_of(dataset, "stage")
    columns = ["image", "finding", "explainer", "stage"]
    rows = scores[(scores["model"] == model) & (scores["replicate"].astype(str) == replicate)]
    ssim = dict(zip(rows[columns].itertuples(index=False, name=None), rows["ssim"], strict=True))
    blocks: list[list[Panel]] = []
    for case in chosen:
        for line, explainer in enumerate(labels_of(dataset, "explainer")):
            block = []
            for stage in stages:
                heatmap = stored_map(raw, "randomization", image=case.image, finding=case.finding,
                                     explainer=explainer, model=model, replicate=replicate,
                                     stage=stage)
                value = ssim.get((case.image, case.finding, explainer, stage))
                heading = "" if line else stage
                # Over narrow panels a name of several images has no other place.
                if len(chosen) > 1 and not line and stage == stages[0]:
                    heading = "\n".join(filter(None, [case.image, case.why, stage]))
                block.append(map_panel(
                    case.image, heading, heatmap, bare=True,
                    note="" if value is None else f"SSIM {significant(float(value))}",
                    side=explainer if stage == stages[0] else ""))
            blocks.append(block)
    what = ", ".join(dict.fromkeys(case.finding for case in chosen))
    if len(chosen) == 1:
        what = ", ".join(filter(None, [chosen[0].image, what, chosen[0].why]))
    return draw_panels(raw, blocks, columns=len(stages),
                       title=f"{what}: maps of {model}, randomised from the top down to")


FIGURES = (NamedFigure(
    "randomization", "maps of an image along the stages of randomization, with their SSIM to the "
                     "trained model's", _draw, RANKED_BY),)
