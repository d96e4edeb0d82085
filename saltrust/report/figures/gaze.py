"""Figures of gaze: agreement of every map beside chance, and maps with the gaze over them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from saltrust.analysis.gaze.analysis import ALL
from saltrust.analysis.gaze.scores import BASELINE
from saltrust.analysis.localization.survey import unit_range
from saltrust.analysis.result import Result
from saltrust.analysis.result.cells import significant
from saltrust.analysis.result.text import confidence_level
from saltrust.analysis.stored.arrays import group_of
from saltrust.analysis.stored.readings import as_read, read_as
from saltrust.choices import MapChoice
from saltrust.report.figures.literal import WIDTH, new_figure
from saltrust.report.figures.palette import EXPERTS, FONT_SIZE, INK, dress, series_colors
from saltrust.report.figures.pictures import at_labels, native_size, radiograph, stored_map

#: Axis titles of the measures.
TITLES = {"correlation": "Correlation", "ssim": "SSIM", "similarity": "Similarity",
          "kl": "KL (lower is better)", "auc_judd": "AUC-Judd",
          "auc_shuffled": "Shuffled AUC", "nss": "NSS"}
#: What a map that tells nothing gets, where it is one number.
CHANCE = {"correlation": 0.0, "ssim": 0.0, "auc_judd": 0.5, "auc_shuffled": 0.5, "nss": 0.0}
#: Images of the figure of examples, and maps beside each.
_EXAMPLES, _MAPS = 3, 5
_GAZE = "#00E5FF"

Entry = tuple[str, str, str]


def agreement(result: Result) -> Figure:
    """Mean of every measure with its interval, one panel per measure, one row per map.

    A hollow mark is the mean with the gaze on other images, the dashed line what a map gets that
    tells nothing.  Baselines, which know nothing of the image, are blue.

    Parameters
    ----------
    result : Result
        Of :func:`saltrust.analysis.gaze.analysis.gaze`.
    """
    summary = result.tables["summary"]
    findings = list(dict.fromkeys(summary["finding"]))
    shown = summary[summary["finding"] == (ALL if ALL in findings else findings[0])]
    measures = list(dict.fromkeys(shown["term"]))
    entries = list(dict.fromkeys(zip(shown["source"], shown["explainer"], shown["model"],
                                     strict=True)))
    colors = _colors(entries)
    columns = min(len(measures), 4)
    lines = -(-len(measures) // columns)
    figure = new_figure(0.6 + lines * (0.7 + 0.22 * len(entries)))
    panels = figure.subplots(lines, columns, squeeze=False, sharey=True).ravel()
    for axes in panels[len(measures):]:
        axes.set_axis_off()
    for axes, measure in zip(panels, measures, strict=False):
        rows = shown[shown["term"] == measure].set_index(["source", "explainer", "model"])
        if measure in CHANCE:
            axes.axvline(CHANCE[measure], color="#999999", linewidth=0.8, linestyle="--")
        for place, entry in enumerate(entries):
            row = rows.loc[entry]
            axes.plot([row["conf_low"], row["conf_high"]], [place, place], color=colors[entry],
                      linewidth=1.6, solid_capstyle="butt")
            axes.plot(row["estimate"], place, "o", color=colors[entry], markersize=4.5)
            axes.plot(row["other"], place, "o", markerfacecolor="white", zorder=1,
                      markeredgecolor=colors[entry], markersize=4.5)
        axes.set_yticks(range(len(entries)), _names(entries))
        axes.set_ylim(len(entries) - 0.5, -0.5)
        axes.set_xlabel(TITLES[measure])
        dress(axes)
    handles = [Line2D([], [], color=INK, marker="o", markersize=4.5, linewidth=1.6,
                      label=f"own gaze, {100 * confidence_level(result.meta):g}% interval"),
               Line2D([], [], color=INK, marker="o", markersize=4.5, linewidth=0,
                      markerfacecolor="white", label="gaze on other images")]
    figure.legend(handles=handles, loc="outside upper right", ncols=2, frameon=False,
                  fontsize=FONT_SIZE - 1)
    return figure


def examples(cubes: xr.DataTree, result: Result, measure: str = "nss") -> Figure:
    """Radiographs with gaze, and maps with the gaze outlined: a high, a middling and a low one.

    The outline is where the gaze heatmap is at half of its maximum; circles are fixations, as
    large as they were long.

    Parameters
    ----------
    cubes : xarray.DataTree
        What the result was made from.
    result : Result
        Of :func:`saltrust.analysis.gaze.analysis.gaze`.
    measure : str
        What orders the images and stands above each map; the first of the result where it
        lacks this one.
    """
    cubes = read_as(cubes, result.meta["map"])
    scores = result.tables["scores"]
    maps = scores[scores["source"] != BASELINE]
    known = set(result.tables["summary"]["term"])
    measure = measure if measure in known else str(result.tables["summary"]["term"].iloc[0])
    entries = list(dict.fromkeys(zip(maps["source"], maps["explainer"], maps["model"],
                                     strict=True)))[:_MAPS]
    order = maps.groupby(["image", "finding"], sort=False)[measure].mean().sort_values(
        ascending=measure == "kl")
    places = np.unique(np.round(np.linspace(0.1, 0.9, _EXAMPLES) * (len(order) - 1)).astype(int))
    columns = len(entries) + 1
    size = WIDTH / max(columns, 4)
    figure = new_figure(0.35 + (size + 0.3) * len(places), width=size * columns)
    panels = figure.subplots(len(places), columns, squeeze=False)
    for row, place in zip(panels, places, strict=True):
        image, finding = order.index[place]
        heatmap, fixations = _gaze(cubes, image, str(result.meta["reader"]))
        _panel(row[0], _radiograph(cubes, image, heatmap.shape), heatmap, "gray")
        _circles(row[0], fixations)
        row[0].set_title(f"{image[:22]}\n{finding}", fontsize=FONT_SIZE - 2)
        of_image = maps[(maps["image"] == image) & (maps["finding"] == finding)].set_index(
            ["source", "explainer", "model"])
        for axes, entry, name in zip(row[1:], entries, _names(entries), strict=True):
            axes.set_axis_off()
            if entry not in of_image.index:
                continue
            values = _map(cubes, image, finding, entry, result.meta["map"])
            _panel(axes, unit_range(values), heatmap, "inferno")
            score = significant(float(of_image.loc[[entry], measure].iloc[0]))
            axes.set_title(f"{name}\n{TITLES[measure].split(' (')[0]} {score}",
                           fontsize=FONT_SIZE - 2)
    return figure


def _colors(entries: Sequence[Entry]) -> dict[Entry, str]:
    explainers = list(dict.fromkeys(e for source, e, _ in entries if source != BASELINE))
    palette = series_colors(explainers)
    return {entry: EXPERTS[1] if entry[0] == BASELINE else palette[entry[1]] for entry in entries}


def _names(entries: Sequence[Entry]) -> list[str]:
    """What rows are called: models are named where there are several."""
    several = len({model for source, _, model in entries if source != BASELINE}) > 1
    return [f"{explainer}, {model}" if several and source != BASELINE else explainer
            for source, explainer, model in entries]


def _gaze(cubes: xr.DataTree, image: str, reader: str,
          ) -> tuple[npt.NDArray[np.float64], pd.DataFrame]:
    """Heatmap of one image, and its fixations in pixels of the grid."""
    reference = group_of(cubes, "reference")
    heatmap = at_labels(reference["gaze"], image=image, reader=reader).transpose(
        "y", "x").values.astype(np.float64)
    names = ("fixation_y", "fixation_x", "fixation_duration")
    native = native_size(cubes, image)
    if not set(names) <= set(reference.data_vars) or native is None:
        return heatmap, pd.DataFrame(columns=["y", "x", "seconds"], dtype=float)
    table = pd.DataFrame({
        short: at_labels(reference[name], image=image, reader=reader).values
        for short, name in zip(("y", "x", "seconds"), names, strict=True)}).dropna(
            subset=["y", "x"])
    for column, length, cells in zip(("y", "x"), native, heatmap.shape, strict=True):
        table[column] = (table[column] + 0.5) * (cells / length) - 0.5
    return heatmap, table.fillna({"seconds": 0.2})


def _map(cubes: xr.DataTree, image: str, finding: str, entry: Entry, form: MapChoice,
         ) -> npt.NDArray[np.float64]:
    group, explainer, model = entry
    labels = {"image": image, "finding": finding, "model": model}
    if group == "saliency":
        labels["explainer"] = explainer
    stored = stored_map(cubes, group, **labels)
    assert stored is not None
    values = stored.values.astype(np.float64)
    if group != "saliency" and form != "auto":
        # Localizers declare nothing, but one reading for all maps is for theirs too.
        values = as_read(values, form)
    return np.where(np.isfinite(values), values, 0.0)


def _radiograph(cubes: xr.DataTree, image: str, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    pixels = radiograph(cubes, image)
    return np.ones(shape) if pixels is None else pixels / 255.0


def _panel(axes: Axes, picture: npt.NDArray[np.float64], gaze: npt.NDArray[np.float64],
           colors: str) -> None:
    axes.imshow(picture, cmap=colors, vmin=0, vmax=1)
    axes.contour(gaze, levels=[0.5], colors=_GAZE, linewidths=0.9)
    axes.set_axis_off()


def _circles(axes: Axes, fixations: pd.DataFrame) -> None:
    axes.scatter(fixations["x"], fixations["y"], s=6 + 40 * fixations["seconds"], marker="o",
                 facecolors="none", edgecolors="#FFD54F", linewidths=0.6)
