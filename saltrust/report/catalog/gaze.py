"""Gaze as it was recorded, before any model: by class, as a whole and over time."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saltrust.analysis.gaze.temporal import temporal_gaze, timed_images
from saltrust.analysis.select import select
from saltrust.analysis.stored.arrays import dataset_of, group_of, labels_of, read_at, values_of
from saltrust.analysis.stored.contents import source
from saltrust.analysis.stored.images import images_of
from saltrust.choices import Rank
from saltrust.errors import DataError, UsageError, nearest
from saltrust.report.catalog.choosing import Case, ranked
from saltrust.report.catalog.declaration import NamedFigure, Request
from saltrust.report.catalog.panels import Panel, draw_panels
from saltrust.report.figures.overlay import OPACITY
from saltrust.report.figures.pictures import at_labels, native_size, picture_size

#: Windows of time in a film strip.
FRAMES = 6
#: Scores by which images can be chosen: how long they were looked at, and how many fixations.
RANKED_BY = ("seconds", "fixations")
#: Images of one class beside each other.
_BESIDE = 3
_CIRCLES = "#FFD54F"
#: What the images of a rank have of a score.
_RANKS: dict[Rank, str] = {"best": "most", "median": "median", "worst": "fewest"}

BoolArray = npt.NDArray[np.bool_]


def _draw_gaze(cubes: xr.DataTree, request: Request) -> Figure:
    reader, recorded = _recorded(cubes)
    return draw_gaze(cubes, _cases(cubes, reader, recorded, request), reader)


def draw_gaze(cubes: xr.DataTree, chosen: Sequence[Case], reader: str) -> Figure:
    """Draw radiographs of every class, and the gaze over each: heatmap and fixations.

    Parameters
    ----------
    cubes : xarray.DataTree
    chosen : sequence of Case
        On whose images there is gaze of the reader.
    reader : str
    """
    groups = [[case for case in chosen if case.finding == finding]
              for finding in dict.fromkeys(case.finding for case in chosen)]
    if max(map(len, groups)) == 1:
        groups = [list(chosen)]
    columns = 2 * min(max(map(len, groups)), _BESIDE)
    blocks = [[panel for case in group for panel in (
        _ground(case), Panel(case.image, "gaze", _amount(cubes, case.image, reader)))]
        for group in groups]
    figure = draw_panels(cubes, blocks, columns=columns, title=(
        f"Gaze of {reader}; circles are fixations, as large as they were long"))
    panels = _axes_of(figure, blocks, columns)
    for k, case in enumerate(case for group in groups for case in group):
        axes = panels[2 * k + 1]
        heatmap = _heatmap(cubes, case.image, reader)
        size = picture_size(cubes, case.image, heatmap.shape)
        _shade(axes, heatmap, size)
        _circle(axes, cubes, case.image, reader, size)
    return figure


def _draw_film(cubes: xr.DataTree, request: Request) -> Figure:
    reader, timed = timed_images(cubes)
    return draw_film(cubes, _cases(cubes, reader, timed, request), reader)


def draw_film(cubes: xr.DataTree, chosen: Sequence[Case], reader: str, frames: int = FRAMES
              ) -> Figure:
    """Draw where was looked in equal windows of time, and the static heatmap behind them.

    Parameters
    ----------
    cubes : xarray.DataTree
    chosen : sequence of Case
        Of whose images the onsets of the reader's fixations are known.
    reader : str
    frames : int
        Windows of time.
    """
    films = temporal_gaze(select(cubes, image=list(dict.fromkeys(
        case.image for case in chosen))), frames=frames, reader=reader)
    blocks = []
    for case in chosen:
        film = films.sel(image=case.image)
        times = [f"{start:.1f} to {end:.1f} s" for start, end in zip(
            (film["start"] - film["start"][0]).values, (film["end"] - film["start"][0]).values,
            strict=True)]
        blocks.append([_ground(case), *(Panel(case.image, time) for time in times),
                       Panel(case.image, "all", _amount(cubes, case.image, reader))])
    figure = draw_panels(cubes, blocks, columns=frames + 2, title=(
        f"Gaze of {reader} over time since the first fixation; the windows of an image are on "
        "one scale"))
    panels = iter(_axes_of(figure, blocks, frames + 2))
    for case in chosen:
        windows = films.sel(image=case.image).values
        size = picture_size(cubes, case.image, (films.sizes["y"], films.sizes["x"]))
        next(panels)
        for heatmap in windows / (windows.max() or 1.0):
            _shade(next(panels), heatmap, size)
        _shade(next(panels), _heatmap(cubes, case.image, reader), size)
    return figure


def draw_recorded(cubes: xr.DataTree) -> dict[str, Figure]:
    """Both figures, of one image of every class, as far as the cubes hold what they show.

    Parameters
    ----------
    cubes : xarray.DataTree

    Returns
    -------
    dict of str to Figure
        ``gaze`` and ``gaze_film``.
    """
    figures = {}
    for name, draw in (("gaze", _draw_gaze), ("gaze_film", _draw_film)):
        with suppress(DataError):
            figures[name] = draw(cubes, Request())
    return figures


def _recorded(cubes: xr.DataTree) -> tuple[str, BoolArray]:
    """The first reader with gaze, and on which images."""
    reference = dataset_of(cubes, "reference")
    if reference is not None and {"gaze", "gaze_recorded"} <= set(reference):
        recorded = values_of(reference["gaze_recorded"], ("image", "reader")).astype(bool)
        for r, name in enumerate(labels_of(reference, "reader")):
            if recorded[:, r].any():
                return name, recorded[:, r]
    raise DataError(f"{source(cubes)} holds no gaze on any selected image (/reference/gaze); "
                    "import a data set with gaze, such as `saltrust import egd-cxr`, or select "
                    "other images")


def _cases(cubes: xr.DataTree, reader: str, usable: BoolArray, request: Request) -> list[Case]:
    """Images with gaze: those that are named, else some of every class by rank."""
    images = images_of(cubes)
    at = {name: k for k, name in enumerate(images.names)}
    shows = {finding: images.positive(finding) if images.labels is not None
             else np.zeros(len(at), dtype=bool) for finding in images.findings}
    if request.images:
        for name in request.images:
            if name not in at:
                raise UsageError(f"the cubes have no image {name!r}; {nearest(name, list(at))}")
            if not usable[at[name]]:
                raise DataError(f"there is no such gaze of {reader} on image {name!r}; choose "
                                "another image, or leave --image out")
        return [Case(name, next((finding for finding in images.findings
                                 if shows[finding][at[name]]), "")) for name in request.images]
    usable = usable & _with_radiograph(cubes, usable)
    by, score = _scores(cubes, reader, request.by, len(at))
    table = pd.DataFrame({"image": images.names, "score": score})
    classes = {finding: rows & usable for finding, rows in shows.items() if (rows & usable).any()}
    why = f"{_RANKS[request.rank]} {by}" if by else ""
    return [replace(case, why=why) for finding, rows in (classes or {"": usable}).items()
            for case in ranked(table[rows].assign(finding=finding), request.rank, request.count,
                               by)]


def _with_radiograph(cubes: xr.DataTree, usable: BoolArray) -> BoolArray:
    """Images whose radiographs are stored; all where none of the usable ones is."""
    radiographs = dataset_of(cubes, "radiograph")
    if radiographs is None or "stored" not in radiographs:
        return np.ones_like(usable)
    stored = values_of(radiographs["stored"], ["image"]) == 1
    return stored if (stored & usable).any() else np.ones_like(usable)


def _scores(cubes: xr.DataTree, reader: str, by: str | None, n_images: int
            ) -> tuple[str, npt.NDArray[np.float64]]:
    """What the images are ranked by; of ready-made heatmaps all are alike."""
    for name in [by] if by else RANKED_BY:
        stored = _fixations(cubes, reader,
                            "fixation_duration" if name == "seconds" else "fixation_y")
        if stored is not None and np.isfinite(stored).any():
            return name, (np.nansum(stored, axis=1) if name == "seconds"
                                       else np.isfinite(stored).sum(axis=1).astype(np.float64))
    if by:
        raise DataError(f"{source(cubes)} holds no {by} of gaze of {reader} (/reference/fixation_"
                        f"{'duration' if by == 'seconds' else 'y'}); leave --by out, or name "
                        "images")
    return "", np.zeros(n_images)


def _fixations(cubes: xr.DataTree, reader: str, name: str) -> npt.NDArray[np.float32] | None:
    """A variable of fixations of one reader, shape (image, fixation)."""
    reference = group_of(cubes, "reference")
    if name not in reference:
        return None
    return read_at(reference[name], ("image", "fixation"),
                   reader=labels_of(reference, "reader").index(reader))


def _of_image(cubes: xr.DataTree, image: str, reader: str, *names: str
              ) -> list[npt.NDArray[np.float64]] | None:
    """Variables of the fixations on one image that have a place; None where there are none."""
    reference = group_of(cubes, "reference")
    if not {"fixation_y", *names} <= set(reference):
        return None
    values = [np.ravel(at_labels(reference[name], image=image, reader=reader).values).astype(
        np.float64) for name in ("fixation_y", *names)]
    return [value[np.isfinite(values[0])] for value in values[1:]]


def _amount(cubes: xr.DataTree, image: str, reader: str) -> str:
    """How many fixations there are on an image and how long they are together."""
    looked = _of_image(cubes, image, reader, "fixation_duration")
    if looked is None or not len(looked[0]):
        return ""
    seconds = np.nansum(looked[0])
    return f"{len(looked[0])} fixations" + (f"\n{seconds:.1f} s" if seconds > 0 else "")


def _ground(case: Case) -> Panel:
    return Panel(case.image, "\n".join(filter(None, [case.finding, case.image])), case.why)


def _heatmap(cubes: xr.DataTree, image: str, reader: str) -> npt.NDArray[np.float64]:
    stored = at_labels(group_of(cubes, "reference")["gaze"], image=image, reader=reader)
    return np.nan_to_num(stored.transpose("y", "x").values.astype(np.float64))


def _axes_of(figure: Figure, blocks: Sequence[Sequence[Panel]], columns: int) -> list[Axes]:
    """The axes of the panels, without the places that stay empty at the ends of lines."""
    taken: list[Axes] = []
    line = 0
    for block in blocks:
        taken += figure.axes[line * columns:][:len(block)]
        line += -(-len(block) // columns)
    return taken


def _shade(axes: Axes, heatmap: npt.NDArray[np.floating[Any]], size: tuple[float, float]) -> None:
    """Lay gaze over a radiograph: the same value is the same colour, whatever the picture."""
    colors = colormaps["inferno"](0.25 + 0.7 * heatmap)
    colors[..., 3] = OPACITY * np.sqrt(heatmap)
    axes.imshow(colors, extent=(0, size[1], size[0], 0), interpolation="bilinear")


def _circle(axes: Axes, cubes: xr.DataTree, image: str, reader: str, size: tuple[float, float]
            ) -> None:
    native = native_size(cubes, image)
    looked = _of_image(cubes, image, reader, "fixation_x", "fixation_duration", "fixation_y")
    if native is None or looked is None:
        return
    x, seconds, y = looked
    axes.scatter((x + 0.5) * size[1] / native[1], (y + 0.5) * size[0] / native[0],
                 s=4 + 30 * np.nan_to_num(seconds, nan=0.2), marker="o", facecolors="none",
                 edgecolors=_CIRCLES, linewidths=0.6)


FIGURES = (
    NamedFigure("gaze", "radiographs of every class with the recorded gaze over them, before any "
                        "model", _draw_gaze, RANKED_BY),
    NamedFigure("gaze-film", "gaze over time as a film strip beside the static heatmap",
                _draw_film, RANKED_BY))
