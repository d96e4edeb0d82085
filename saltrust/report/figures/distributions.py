"""Figures of distributions: shapes of masks, probabilities by label, extents of maps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from saltrust.report.figures.literal import new_figure
from saltrust.report.figures.palette import (
    DIFFERENCE,
    EXPERT,
    FONT_SIZE,
    INK,
    dress,
    series_colors,
)

#: Columns of the descriptor table, with their axis labels and whether the axis is logarithmic.
DESCRIPTORS = (
    ("n_instances", "Instances (components)", True),
    ("area_ratio", "Area ratio (mask / image)", False),
    ("elongation", "Elongation (long / short side)", True),
    ("irrectangularity", "Irrectangularity (1 - area / rectangle)", False),
)

#: Fewer values are drawn one by one.
_FEWEST_BOXED = 8
#: Fewer values speak for themselves.
_FEWEST_WITH_MEDIAN = 3
LABEL_COLORS = {"positive": "#D55E00", "negative": EXPERT, "uncertain": "#999999",
                 "not stated": DIFFERENCE}


def letter_values(values: npt.NDArray[np.float64]) -> list[tuple[float, float]]:
    """Lower and upper letter values, from the fourths outwards.

    Each pair leaves half as many values outside as the one before; it stops when five or
    fewer would be left in each tail, where the estimates no longer mean much.

    Parameters
    ----------
    values : ndarray of float, shape (n,)
        Finite.

    Returns
    -------
    list of (float, float)
        Empty for fewer than 8 values.

    References
    ----------
    H. Hofmann, H. Wickham, K. Kafadar (2017), Letter-value plots: boxplots for large data,
    Journal of Computational and Graphical Statistics 26, 469-477.

    Examples
    --------
    >>> letter_values(np.arange(41.0))
    [(10.0, 30.0), (5.0, 35.0)]
    """
    ordered = np.sort(values)
    pairs: list[tuple[float, float]] = []
    if len(ordered) < _FEWEST_BOXED:
        return pairs
    depth = (1 + len(ordered)) / 2
    while True:
        depth = (1 + np.floor(depth)) / 2
        if pairs and depth < 5:
            return pairs
        below, above = int(np.floor(depth)) - 1, int(np.ceil(depth)) - 1
        low = (ordered[below] + ordered[above]) / 2
        high = (ordered[-1 - below] + ordered[-1 - above]) / 2
        pairs.append((float(low), float(high)))


def _letter_value_plot(axes: Axes, values: npt.NDArray[np.float64], position: float, *,
                       height: float, color: str) -> None:
    """Draw nested boxes, the median and what lies outside them."""
    if not len(values):
        return
    pairs = letter_values(values)
    for k, (low, high) in reversed(list(enumerate(pairs))):
        tall = height * 0.72**k
        axes.add_patch(Rectangle((low, position - tall / 2), high - low, tall,
                                 facecolor=color, alpha=0.75 * 0.62**k, linewidth=0))
    if pairs:
        low, high = pairs[-1]
        outside = values[(values < low) | (values > high)]
    else:
        outside = values
    jitter = np.linspace(-0.18, 0.18, 5)[np.arange(len(outside)) % 5] * height
    axes.plot(outside, position + jitter, linestyle="none", marker="o", markersize=2.2,
              markerfacecolor=color, markeredgewidth=0, alpha=0.65)
    if len(values) < _FEWEST_WITH_MEDIAN:
        return
    median = float(np.median(values))
    axes.plot([median, median], [position - height / 2, position + height / 2], color=INK,
              linewidth=1.6, solid_capstyle="butt", gid="median")


def descriptors(table: pd.DataFrame) -> Figure:
    """Distribution of the four shape descriptors over the masks of each finding.

    Parameters
    ----------
    table : pandas.DataFrame
        Rows ``image, finding, reader`` with the columns of ``DESCRIPTORS``; empty masks
        (``n_instances`` 0) are left out.

    Returns
    -------
    Figure
        Letter-value plots, one panel per descriptor, findings from top to bottom.
    """
    table = table[table["n_instances"] > 0]
    findings = list(dict.fromkeys(table["finding"].tolist()))
    figure = new_figure(1.1 + 0.32 * len(findings))
    panels = figure.subplots(1, len(DESCRIPTORS), sharey=True)
    for axes, (column, label, logarithmic) in zip(panels, DESCRIPTORS, strict=True):
        for position, finding in enumerate(findings):
            values = table.loc[table["finding"] == finding, column].dropna().to_numpy(float)
            _letter_value_plot(axes, values, position, height=0.62, color=EXPERT)
        dress(axes)
        axes.set_xlabel(label.replace(" (", "\n("))
        if logarithmic:
            _log_axis(axes, table[column].dropna().to_numpy(float))
        elif column == "irrectangularity":
            axes.set_xlim(min(0.0, float(table[column].min())), 1)
        else:
            axes.set_xlim(left=0)
    counts = table["finding"].value_counts()
    _finding_axis(panels[0], [f"{name}  (n = {counts[name]})" for name in findings])
    return figure


def _log_axis(axes: Axes, values: npt.NDArray[np.float64]) -> None:
    """Logarithmic axis from 1 with plain numbers at its ticks."""
    largest = float(values.max()) if len(values) else 1.0
    axes.set_xscale("log")
    ticks = [tick for tick in (1, 2, 3, 5, 10, 20, 50, 100, 200, 500) if tick <= largest * 1.05]
    if len(ticks) > 5:
        ticks = [tick for tick in ticks if tick in {1, 3, 10, 50, 200}]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlim(0.9, max(largest * 1.15, 2.2))


def _finding_axis(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)


def probabilities(table: pd.DataFrame, aucs: pd.DataFrame | None = None) -> Figure:
    """Distribution of the predicted probability by label, for each finding.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``finding, label, probability``; ``label`` one of the keys of
        ``LABEL_COLORS``.
    aucs : pandas.DataFrame, optional
        Columns ``finding, estimate, conf_low, conf_high``: areas under the ROC curve, written
        at the right margin.
    """
    present = set(table["label"].tolist())
    colors = {name: color for name, color in LABEL_COLORS.items() if name in present}
    figure, axes = _side_by_side(table, "probability", "label", colors)
    axes.set_xlim(-0.01, 1.01)
    axes.set_xlabel("Predicted probability")
    if aucs is not None and len(aucs):
        _auc_margin(axes, list(dict.fromkeys(table["finding"].tolist())), aucs)
    return figure


def extents(table: pd.DataFrame) -> Figure:
    """Share of the image that each map highlights, per finding and explainer.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``finding, explainer, extent`` (share of pixels above Otsu's threshold, 0..1).
    """
    colors = series_colors(list(dict.fromkeys(table["explainer"].tolist())))
    figure, axes = _side_by_side(table, "extent", "explainer", colors)
    axes.set_xlim(-0.01, max(0.5, float(table["extent"].max()) * 1.03))
    axes.set_xlabel("Share of the image above Otsu's threshold")
    return figure


def _side_by_side(table: pd.DataFrame, value: str, group: str, colors: dict[str, str],
                  ) -> tuple[Figure, Axes]:
    """Distributions of ``value`` in each finding, one below the other per ``group``."""
    findings = list(dict.fromkeys(table["finding"].tolist()))
    slot = 0.8 / max(len(colors), 1)
    figure = new_figure(1.1 + len(findings) * (0.14 + 0.17 * len(colors)))
    axes = figure.subplots()
    texts = []
    for position, finding in enumerate(findings):
        counts = []
        for k, (name, color) in enumerate(colors.items()):
            chosen = (table["finding"] == finding) & (table[group] == name)
            values = table.loc[chosen, value].dropna().to_numpy(float)
            at = position + (k - (len(colors) - 1) / 2) * slot
            _letter_value_plot(axes, values, at, height=0.82 * slot, color=color)
            counts.append(str(len(values)))
        same = counts[:1] if len(set(counts)) == 1 and group == "explainer" else counts
        texts.append(f"{finding}  (n = {' + '.join(same)})")
    dress(axes)
    _finding_axis(axes, texts)
    handles: list[Artist] = [Patch(facecolor=color, alpha=0.75, label=name)
                             for name, color in colors.items()]
    handles.append(Line2D([], [], color=INK, linewidth=1.6, label="median"))
    figure.legend(handles=handles, loc="outside upper right", ncols=len(handles), frameon=False,
                  fontsize=FONT_SIZE)
    return figure, axes


def _auc_margin(axes: Axes, findings: Sequence[str], aucs: pd.DataFrame) -> None:
    texts = {}
    for row in aucs[aucs["estimate"].notna()].to_dict("records"):
        text = f"AUC {row['estimate']:.2f}"
        if pd.notna(row["conf_low"]):
            text += f" [{row['conf_low']:.2f}, {row['conf_high']:.2f}]"
        texts[str(row["finding"])] = text
    margin = axes.secondary_yaxis("right")
    margin.set_yticks(range(len(findings)), [texts.get(name, "") for name in findings])
    margin.tick_params(length=0, labelsize=FONT_SIZE, colors=INK)
    margin.spines["right"].set_visible(False)
