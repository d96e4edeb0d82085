"""Pictures of cases: a radiograph, what readers drew on it, where each map points.

Contours and points are vectors over the pixels, so that they stay sharp on paper.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import xarray as xr

from saltrust.analysis.localization.survey import mask_above
from saltrust.analysis.result.cells import significant
from saltrust.analysis.stored.arrays import labels_of
from saltrust.cache.schema import Status
from saltrust.report.figures.cases import Choice, choose, headline_model
from saltrust.report.figures.contours import jpeg_data_uri, largest, outlines, path_data
from saltrust.report.figures.overlay import Contour, blend
from saltrust.report.figures.pictures import (
    Heatmap,
    expert_points,
    peak,
    picture_size,
    radiograph,
    reader_contours,
    stored_map,
)

#: Explainers shown side by side; more would not fit a line.
MOST_EXPLAINERS = 4
#: Contours drawn of one mask; a noisy map falls into thousands of pieces.
MOST_CONTOURS = 40


@dataclass(frozen=True)
class Outline:
    """Contours in a picture: ``kind`` is reference, expert or predicted.

    ``fine`` asks for a thin line, since the mask falls into very many pieces.
    """

    kind: str
    path: str
    fine: bool = False


@dataclass(frozen=True)
class Marker:
    """One point in a picture, in its coordinates: ``kind`` is expert or predicted."""

    kind: str
    x: float
    y: float


@dataclass(frozen=True)
class Tile:
    """One picture: pixels below, vector contours and points above.

    Attributes
    ----------
    title : str
        Explainer, or what else the picture shows.
    caption : str
        What was scored on it; may be empty.
    picture : str
        Data URI.
    width, height : float
        Size of the coordinate system; its aspect is that of the radiograph as acquired.
    description : str
        The picture in words.
    """

    title: str
    caption: str
    picture: str
    width: float
    height: float
    description: str
    outlines: tuple[Outline, ...] = ()
    markers: tuple[Marker, ...] = ()


@dataclass(frozen=True)
class Case:
    """A chosen image and finding with its pictures."""

    choice: Choice
    tiles: tuple[Tile, ...]


def build(cubes: xr.DataTree, scores: pd.DataFrame | None, *, model: str | None = None,
          ) -> list[Case]:
    """Choose and draw the cases of a study.

    Parameters
    ----------
    cubes : xarray.DataTree
        Needs ``/saliency``; radiographs, predictions and annotations are used where present.
    scores : pandas.DataFrame or None
        Per-map scores (columns ``image, finding, explainer, model, iou, hit, threshold,
        area_reference``).
    model : str, optional
        Whose maps are shown; by default the ensemble, else the first model.

    Returns
    -------
    list of Case
        By finding, in the order of the cubes; empty without maps.
    """
    if "saliency" not in cubes.children or not cubes["saliency"].sizes.get("explainer"):
        return []
    saliency = cubes["saliency"].to_dataset()
    model = model or headline_model(saliency)
    explainers = labels_of(saliency, "explainer")[:MOST_EXPLAINERS]
    return [Case(choice, _tiles(cubes, scores, choice, explainers, model))
            for choice in choose(cubes, scores, explainer=explainers[0], model=model)]


def _tiles(cubes: xr.DataTree, scores: pd.DataFrame | None, choice: Choice,
           explainers: list[str], model: str) -> tuple[Tile, ...]:
    image, finding = choice.image, choice.finding
    saliency = cubes["saliency"].sizes
    size = picture_size(cubes, image, (saliency["y"], saliency["x"]))
    height, width = size
    pixels = radiograph(cubes, image)
    drawn = tuple(_outline(contour, size)
                  for contour in reader_contours(cubes, image, finding))
    tiles = []
    if pixels is not None:
        markers = tuple(Marker(point.kind, point.x, point.y)
                        for point in expert_points(cubes, image, finding, size))
        tiles.append(Tile("radiograph", _reader_caption(scores, choice),
                          jpeg_data_uri(blend(pixels, None)), width, height,
                          f"Radiograph {image}", drawn, markers))
    for explainer in explainers:
        heatmap = stored_map(cubes, "saliency", image=image, finding=finding,
                             explainer=explainer, model=model)
        if heatmap is None:
            continue
        row = _score(scores, choice, explainer, model)
        caption, contour, marker = _marks(heatmap, row, size)
        reference = [shape for shape in drawn if shape.kind == "reference"]
        tiles.append(Tile(explainer, caption, jpeg_data_uri(blend(pixels, heatmap.values)), width,
                          height, f"{explainer} for {finding} over radiograph {image}",
                          (*reference, *contour), marker))
    return tuple(tiles)


def _marks(heatmap: Heatmap, row: pd.Series | None, size: tuple[float, float],
           ) -> tuple[str, tuple[Outline, ...], tuple[Marker, ...]]:
    """Caption, predicted contour and peak of one map."""
    usable = heatmap.status is Status.OK
    contour: tuple[Outline, ...] = ()
    words = [] if usable else [f"{heatmap.status.name.lower()} map"]
    if row is not None:
        words += _outcome(row)
        if usable and pd.notna(row["threshold"]):
            mask = mask_above(heatmap.values, float(row["threshold"]))
            contour = (_outline(Contour(mask, "", "predicted"), size),)
    if not usable:
        return ", ".join(words), contour, ()
    point = peak(heatmap, size, "")
    return ", ".join(words), contour, (Marker(point.kind, point.x, point.y),)


def _outline(contour: Contour, size: tuple[float, float]) -> Outline:
    polygons = outlines(contour.mask)
    scale = size[0] / contour.mask.shape[0], size[1] / contour.mask.shape[1]
    return Outline(contour.kind, path_data(largest(polygons, MOST_CONTOURS), scale),
                   fine=len(polygons) > MOST_CONTOURS)


def _outcome(row: pd.Series) -> list[str]:
    words = [f"IoU {significant(float(row['iou']))}"] if pd.notna(row["iou"]) else []
    return words + (["hit" if row["hit"] else "miss"] if pd.notna(row["hit"]) else [])


def _score(scores: pd.DataFrame | None, choice: Choice, explainer: str,
           model: str) -> pd.Series | None:
    if scores is None:
        return None
    rows = scores[(scores["image"] == choice.image) & (scores["finding"] == choice.finding)
                  & (scores["explainer"] == explainer) & (scores["model"] == model)]
    return None if rows.empty else rows.iloc[0]


def _reader_caption(scores: pd.DataFrame | None, choice: Choice) -> str:
    """What every benchmark reader scored on this case."""
    if scores is None:
        return ""
    rows = scores[(scores["image"] == choice.image) & (scores["finding"] == choice.finding)
                  & (scores["explainer"] == "expert")]
    rows = rows.drop_duplicates("model")
    outcomes = [(str(row["model"]), _outcome(row)) for _, row in rows.iterrows()]
    return "\n".join(f"{name} {', '.join(words)}" for name, words in outcomes if words)
