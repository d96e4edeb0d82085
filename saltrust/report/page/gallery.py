"""Pictures of cases: a radiograph, what readers drew on it, where each map points.

Contours and points are vectors over the pixels, so that they stay sharp on paper.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from saltrust.analysis.pixels.segmentation import quantize
from saltrust.analysis.result.cells import significant
from saltrust.cache.rle import decode
from saltrust.cache.schema import Status
from saltrust.report.figures.contours import jpeg_data_uri, largest, outlines, overlay, path_data
from saltrust.report.page.cases import Choice, choose, headline_model

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
    first = str(saliency.coords["explainer"].values[0])
    return [Case(choice, _tiles(cubes, saliency, scores, choice, model=model))
            for choice in choose(cubes, scores, explainer=first, model=model)]


def shown_explainers(cubes: xr.DataTree) -> list[str]:
    """The explainers that fit a line of the gallery, in storage order."""
    names = cubes["saliency"].coords["explainer"].values
    return [str(name) for name in names][:MOST_EXPLAINERS]


def _tiles(cubes: xr.DataTree, saliency: xr.Dataset, scores: pd.DataFrame | None,
           choice: Choice, *, model: str) -> tuple[Tile, ...]:
    image, finding = choice.image, choice.finding
    grid = (saliency.sizes["y"], saliency.sizes["x"])
    height, width = _size(cubes, image, grid)
    scale = (height / grid[0], width / grid[1])
    pixels = _pixels(cubes, image)
    drawn = _reader_outlines(cubes, choice, (height, width))
    tiles = []
    if pixels is not None:
        tiles.append(Tile("radiograph", _reader_caption(scores, choice),
                          jpeg_data_uri(overlay(pixels, None)), width, height,
                          f"Radiograph {image}", drawn,
                          _reader_points(cubes, choice, (height, width))))
    maps = saliency[["heatmap", "status"]].sel(image=image, finding=finding, model=model)
    for explainer in shown_explainers(cubes):
        status = Status(int(maps["status"].sel(explainer=explainer)))
        if status is Status.MISSING:
            continue
        heatmap = maps["heatmap"].sel(explainer=explainer).transpose("y", "x").values
        row = _score(scores, choice, explainer, model)
        caption, contour, peak = _marks(heatmap, status, row, scale)
        reference = [shape for shape in drawn if shape.kind == "reference"]
        tiles.append(Tile(explainer, caption, jpeg_data_uri(overlay(pixels, heatmap)), width,
                          height, f"{explainer} for {finding} over radiograph {image}",
                          (*reference, *contour), peak))
    return tuple(tiles)


def _marks(heatmap: npt.NDArray[np.float32], status: Status, row: pd.Series | None,
           scale: tuple[float, float],
           ) -> tuple[str, tuple[Outline, ...], tuple[Marker, ...]]:
    """Caption, predicted contour and peak of one map."""
    contour: tuple[Outline, ...] = ()
    words = [] if status is Status.OK else [f"{status.name.lower()} map"]
    if row is not None:
        words += _outcome(row)
        if status is Status.OK and pd.notna(row["threshold"]):
            levels = quantize(heatmap, float(heatmap.min()), float(heatmap.max()))
            mask = levels > float(row["threshold"])
            contour = (_outline("predicted", mask, scale),)
    if status is not Status.OK:
        return ", ".join(words), contour, ()
    y, x = np.unravel_index(int(np.argmax(heatmap)), heatmap.shape)
    peak = Marker("predicted", (float(x) + 0.5) * scale[1], (float(y) + 0.5) * scale[0])
    return ", ".join(words), contour, (peak,)


def _outline(kind: str, mask: npt.NDArray[np.bool_], scale: tuple[float, float]) -> Outline:
    contours = outlines(mask)
    return Outline(kind, path_data(largest(contours, MOST_CONTOURS), scale),
                   fine=len(contours) > MOST_CONTOURS)


def _outcome(row: pd.Series) -> list[str]:
    words = [f"IoU {significant(float(row['iou']))}"] if pd.notna(row["iou"]) else []
    return words + (["hit" if row["hit"] else "miss"] if pd.notna(row["hit"]) else [])


def _size(cubes: xr.DataTree, image: str, grid: tuple[int, int]) -> tuple[float, float]:
    """Height and width with the aspect as acquired, the longer side that of the grid."""
    native = _native_size(cubes, image)
    if native is None:
        return float(grid[0]), float(grid[1])
    factor = max(grid) / max(native)
    return native[0] * factor, native[1] * factor


def _native_size(cubes: xr.DataTree, image: str) -> tuple[int, int] | None:
    names = ("native_height", "native_width")
    if not all(name in cubes.coords for name in names):
        return None
    height, width = (int(cubes.coords[name].sel(image=image)) for name in names)
    return (height, width) if height > 0 and width > 0 else None


def _pixels(cubes: xr.DataTree, image: str) -> npt.NDArray[np.uint8] | None:
    if "radiograph" not in cubes.children or "pixels" not in cubes["radiograph"].data_vars:
        return None
    values = cubes["radiograph/pixels"].sel(image=image).transpose("y", "x").values
    return np.asarray(values, dtype=np.uint8) if values.any() else None


def _readers(reference: xr.Dataset) -> list[tuple[str, str]]:
    """Name and kind (reference or expert) of every reader."""
    if "reader" not in reference.coords:
        return []
    names = [str(name) for name in reference.coords["reader"].values]
    if "reader_role" not in reference.coords:
        return [(name, "reference") for name in names]
    roles = [str(role) for role in reference.coords["reader_role"].values]
    return [(name, "expert" if role == "benchmark" else "reference")
            for name, role in zip(names, roles, strict=True)]


def _reader_outlines(cubes: xr.DataTree, choice: Choice, size: tuple[float, float],
                     ) -> tuple[Outline, ...]:
    if "reference" not in cubes.children:
        return ()
    reference = cubes["reference"].to_dataset()
    shapes = []
    for reader, kind in _readers(reference):
        at = reference.sel(image=choice.image, finding=choice.finding, reader=reader)
        mask = _mask(at, _native_size(cubes, choice.image))
        if mask is not None and mask.any():
            scale = (size[0] / mask.shape[0], size[1] / mask.shape[1])
            shapes.append(_outline(kind, mask, scale))
    return tuple(shapes)


def _mask(at: xr.Dataset, native: tuple[int, int] | None) -> npt.NDArray[np.bool_] | None:
    """The mask of one image, finding and reader, on the grid where it is stored there."""
    if "annotated" in at and not bool(at["annotated"]):
        return None
    if "mask" in at:
        return np.asarray(at["mask"].transpose("y", "x").values, dtype=bool)
    if "mask_rle" in at and native is not None and str(at["mask_rle"].values):
        return decode(str(at["mask_rle"].values), *native)
    return None


def _reader_points(cubes: xr.DataTree, choice: Choice, size: tuple[float, float],
                   ) -> tuple[Marker, ...]:
    native = _native_size(cubes, choice.image)
    if native is None or "reference" not in cubes.children:
        return ()
    reference = cubes["reference"].to_dataset()
    if "point_y" not in reference or "point_x" not in reference:
        return ()
    markers: list[Marker] = []
    for reader, kind in _readers(reference):
        if kind != "expert":
            continue
        at = reference[["point_y", "point_x"]].sel(image=choice.image, finding=choice.finding,
                                                   reader=reader)
        points = np.column_stack([np.ravel(at["point_y"].values), np.ravel(at["point_x"].values)])
        # A point stands for the pixel it lies in, as it does for scoring.
        centres = np.floor(points[np.isfinite(points).all(axis=1)]) + 0.5
        markers += [Marker(kind, float(x) * size[1] / native[1], float(y) * size[0] / native[0])
                    for y, x in centres]
    return tuple(markers)


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
    said = [(str(row["model"]), _outcome(row)) for _, row in rows.iterrows()]
    return "\n".join(f"{name} {', '.join(words)}" for name, words in said if words)
