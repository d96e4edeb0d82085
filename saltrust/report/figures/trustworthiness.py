"""Figures of protocol A: boxes against baselines, SSIM along the stages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from saltrust.report.figures.literal import new_figure
from saltrust.report.figures.palette import FONT_SIZE, INK, dress, series_colors

_METRICS = {"auprc": "AUPRC", "average_precision": "Average precision", "auroc": "AUROC"}
_BASELINE_COLOR = "#56B4E9"
_LOCALIZER_COLOR = "#003D66"


def utility(scores: pd.DataFrame, metric: str) -> Figure:
    """Distribution over images of one metric: every explainer beside the baselines.

    Trained and randomised models stand side by side; the line of a box is the median, the
    dashes are the mean.
    """
    groups, labels, colors = [], [], []
    names = {"trained": "", "randomised": ", random weights"}
    per_image = scores.groupby(["explainer", "model", "condition", "image"], sort=False)[
        metric].mean().reset_index()
    several = len(set(per_image.loc[per_image["condition"] == "trained", "model"])) > 1
    palette = series_colors(list(dict.fromkeys(
        per_image.loc[per_image["condition"].isin(list(names)), "explainer"])))
    # Random weights below the trained model they are of.
    place = {name: i for i, name in enumerate(dict.fromkeys(per_image["explainer"]))}
    per_image = per_image.sort_values("explainer", key=lambda column: column.map(place),
                                      kind="stable")
    for key, group in per_image.groupby(["explainer", "model", "condition"], sort=False):
        explainer, model, condition = map(str, key)
        groups.append(group[metric].to_numpy())
        shown = f" ({model})" if several and condition in names else ""
        labels.append(explainer + shown + names.get(condition, ""))
        colors.append({"baseline": _BASELINE_COLOR, "localizer": _LOCALIZER_COLOR}.get(
            condition, palette.get(explainer, INK)))
    figure = new_figure(1.2 + 0.26 * len(groups))
    axes = figure.add_subplot()
    _boxes(axes, groups, labels, colors)
    _baselines(axes, [(label, float(np.mean(values)), color)
                      for label, values, color in zip(labels, groups, colors, strict=True)
                      if color in {_BASELINE_COLOR, _LOCALIZER_COLOR}])
    axes.set_xlabel(f"{_METRICS[metric]} per positive image")
    return figure


def similarity(results: dict[str, pd.DataFrame], low: float) -> Figure:
    """Distribution over images of the SSIM between models, under both criteria.

    Parameters
    ----------
    results : dict of str to pandas.DataFrame
        Scores by criterion.
    low : float
        Low baseline, drawn as a line, as the mean of each kind of localizer is.
    """
    groups, labels, colors = [], [], []
    names = list(dict.fromkeys(e for table in results.values() for e in table["explainer"]))
    palette = series_colors([name for name in names if not name.startswith("localizer")])
    for name in names:
        for criterion, table in results.items():
            rows = table[table["explainer"] == name]
            # Localizers are the same under both criteria.
            if rows.empty or (name.startswith("localizer") and criterion != next(iter(results))):
                continue
            groups.append(rows.groupby("image", sort=False)["ssim"].mean().to_numpy())
            labels.append(name if name.startswith("localizer") else f"{name}, {criterion}")
            colors.append(palette.get(name, _LOCALIZER_COLOR))
    figure = new_figure(1.2 + 0.26 * len(groups))
    axes = figure.add_subplot()
    _boxes(axes, groups, labels, colors)
    _baselines(axes, [(f"low baseline {low:g}", low, _BASELINE_COLOR),
                      *((label, float(np.mean(values)), color) for label, values, color in
                        zip(labels, groups, colors, strict=True) if color == _LOCALIZER_COLOR)])
    axes.set_xlabel("SSIM of two models' maps of an image")
    return figure


def stages(table: pd.DataFrame, order: Sequence[str]) -> Figure:
    """Mean SSIM with the trained model's maps along the randomization, baselines dotted.

    The band is one standard deviation of the replicates' means, or of the images where there is
    one replicate only.
    """
    explainers = list(dict.fromkeys(table["explainer"]))
    colors = series_colors(explainers)
    figure = new_figure(3.8)
    axes = figure.add_subplot()
    for explainer in explainers:
        rows = table[table["explainer"] == explainer]
        grouped = rows.groupby("stage_index")
        mean = grouped["ssim_mean"].mean()
        replicates = grouped["replicate"].nunique().max()
        band = grouped["ssim_mean"].std(ddof=1) if replicates > 1 else grouped["ssim_sd"].mean()
        x = [0, *mean.index]
        y, spread = np.r_[1.0, mean.to_numpy()], np.r_[0.0, band.to_numpy()]
        axes.plot(x, y, color=colors[explainer], marker="o", markersize=3, linewidth=1.4)
        axes.fill_between(x, y - spread, y + spread, color=colors[explainer], alpha=0.12,
                          linewidth=0)
        axes.axhline(float(rows["baseline"].mean()), color=colors[explainer], linewidth=1,
                     linestyle=":")
    axes.set_xticks(range(len(order)), order, rotation=30, ha="right", fontsize=FONT_SIZE)
    axes.set_xlabel("Randomised from the top down to")
    axes.set_ylabel("SSIM with the trained model's map")
    handles = [Line2D([], [], color=colors[name], label=name) for name in explainers]
    handles.append(Line2D([], [], color=INK, linestyle=":", linewidth=1,
                          label="maps of different images"))
    axes.legend(handles=handles, frameon=False, fontsize=FONT_SIZE - 1, loc="center left",
                bbox_to_anchor=(1.01, 0.5))
    dress(axes, grid="y")
    return figure


def _boxes(axes: Axes, groups: Sequence[np.ndarray], labels: Sequence[str],
           colors: Sequence[str]) -> None:
    drawn = axes.boxplot(groups, orientation="horizontal", widths=0.6, patch_artist=True,
                         showmeans=True, meanline=True,
                         flierprops={"marker": ".", "markersize": 2, "markeredgecolor": "#888888"},
                         medianprops={"color": INK}, meanprops={"color": INK, "linestyle": "--"})
    for box, color in zip(drawn["boxes"], colors, strict=True):
        box.set(facecolor=color, alpha=0.7, linewidth=0.6)
    axes.set_yticks(range(1, len(labels) + 1), labels, fontsize=FONT_SIZE - 1)
    axes.invert_yaxis()
    dress(axes)


def _baselines(axes: Axes, lines: Sequence[tuple[str, float, str]]) -> None:
    """Draw baselines (label, value, color) across the boxes; say what every line is."""
    names: dict[str, list[str]] = {}
    for label, value, color in lines:
        axes.axvline(value, color=color, linewidth=1, linestyle=":")
        names.setdefault(color, []).append(label)
    handles = [Line2D([], [], color=INK, linewidth=1, label="median"),
               Line2D([], [], color=INK, linewidth=1, linestyle="--", label="mean"),
               *(Line2D([], [], color=color, linewidth=1, linestyle=":", label=", ".join(known))
                 for color, known in names.items())]
    axes.legend(handles=handles, frameon=False, fontsize=FONT_SIZE - 1, loc="lower right",
                bbox_to_anchor=(1.0, 1.0), ncols=len(handles), borderpad=0.0)
