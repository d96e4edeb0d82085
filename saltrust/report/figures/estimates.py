"""Figures of estimates: localization bars, coefficients, confidence against localization.

Every figure is drawn from the tables of :mod:`saltrust.analysis` and computes nothing but
positions.  No state of pyplot is touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from saltrust.analysis.result.cells import heading
from saltrust.report.figures.literal import new_figure, width_of
from saltrust.report.figures.palette import (
    DIFFERENCE,
    EXPERT,
    FONT_SIZE,
    INK,
    dress,
    series_colors,
)

#: Significance level at which a marker is filled.
ALPHA = 0.05

_METRICS = {"iou": "Mean IoU", "hit": "Hit rate"}
_SCHEMES = {"iou": "IoU", "hit": "Hit (1) or miss (0)"}
_RESPONSES = {"iou": "Probability with IoU", "hit": "Probability with hit"}
_DESCRIPTORS = {"n_instances": "Number of\ninstances", "area_ratio": "Area ratio",
                "elongation": "Elongation", "irrectangularity": "Irrectangularity"}
_SCATTER_COLUMNS = 5


def series_names(table: pd.DataFrame) -> pd.Series:
    """Name of the series of each row: the explainer, with the model where several differ.

    Examples
    --------
    >>> series_names(pd.DataFrame({"explainer": ["expert", "grad", "grad"],
    ...                            "model": ["reader 2", "a", "b"]})).tolist()
    ['expert', 'grad (a)', 'grad (b)']
    """
    explainer = table["explainer"].astype(object)
    if "model" not in table:
        return explainer
    named = table["model"].fillna("").astype(object)
    counts = named.groupby(explainer == "expert").nunique()
    several = (explainer == "expert").map(lambda expert: counts[expert] > 1)
    full = explainer + " (" + named + ")"
    return explainer.where(~(several & (named != "")), full)


def experts_first(names: Sequence[str]) -> list[str]:
    """Distinct series, people before maps."""
    return sorted(dict.fromkeys(names), key=lambda name: not name.startswith("expert"))


# Localization -------------------------------------------------------------------------------


def localization(summary: pd.DataFrame, metric: str, *, decrease: pd.DataFrame | None = None,
                 level: float = 0.95) -> Figure:
    """Mean IoU or hit rate per finding: the expert beside every explainer.

    Parameters
    ----------
    summary : pandas.DataFrame
        Rows ``finding, explainer, model, metric, estimate, conf_low, conf_high, n``; optionally
        ``chance``, drawn as a mark across the bar.
    metric : {"iou", "hit"}
        Which rows.
    decrease : pandas.DataFrame, optional
        Rows ``finding, explainer, metric, estimate`` with the percentage decrease from expert
        to explainer; findings are sorted by the first explainer's, largest first.
    level : float
        Confidence level of the intervals, for the legend.

    Returns
    -------
    Figure
        Horizontal bars whose lengths are the estimates, lines for the intervals.
    """
    rows = summary[summary["metric"] == metric]
    rows = rows.assign(series=series_names(rows))
    names = experts_first(rows["series"].tolist())
    colors = series_colors(names)
    findings = by_decrease(rows, metric, decrease)
    figure = new_figure(1.2 + len(findings) * (0.16 + 0.17 * len(names)))
    axes = figure.subplots()
    slot = 0.8 / len(names)
    chance_seen = False
    for position, finding in enumerate(findings):
        for k, name in enumerate(names):
            row = rows[(rows["finding"] == finding) & (rows["series"] == name)]
            if row.empty or pd.isna(row["estimate"].iloc[0]):
                continue
            at = position + (k - (len(names) - 1) / 2) * slot
            first = row.iloc[0]
            axes.barh(at, float(first["estimate"]), height=0.88 * slot, color=colors[name])
            axes.hlines(at, float(first["conf_low"]), float(first["conf_high"]), color=INK,
                        linewidth=1.2)
            if "chance" in row and pd.notna(first["chance"]):
                chance_seen = True
                ends = at - 0.44 * slot, at + 0.44 * slot
                axes.vlines(float(first["chance"]), *ends, color="white", linewidth=3)
                axes.vlines(float(first["chance"]), *ends, color=INK, linewidth=1.2)
    dress(axes)
    axes.set_xlim(0, 1)
    axes.set_xlabel(_METRICS.get(metric, heading(metric)))
    _finding_ticks(axes, [_with_counts(name, rows.loc[rows["finding"] == name, "n"])
                          for name in findings])
    handles: list[Artist] = [Patch(facecolor=colors[name], label=name) for name in names]
    handles.append(Line2D([], [], color=INK, linewidth=1.2, label=f"{100 * level:g}% CI"))
    if chance_seen:
        handles.append(Line2D([], [], color=INK, marker="|", markersize=9, linestyle="none",
                              label="chance"))
    _legend(figure, handles)
    return figure


def by_decrease(rows: pd.DataFrame, metric: str, decrease: pd.DataFrame | None) -> list[str]:
    """Findings by the decrease from expert to the first explainer, largest first."""
    findings = list(dict.fromkeys(rows["finding"].tolist()))
    if decrease is None or decrease.empty:
        return findings
    drops = decrease[decrease["metric"] == metric]
    drops = drops[drops["explainer"] == drops["explainer"].iloc[0]] if len(drops) else drops
    size = dict(zip(drops["finding"], drops["estimate"], strict=True))
    unknown = float("-inf")

    def key(name: str) -> float:
        value = size.get(name, unknown)
        return -float(unknown if pd.isna(value) else value)

    return sorted(findings, key=key)


def _with_counts(name: str, counts: pd.Series) -> str:
    return f"{name}  (n = {count(counts)})"


def _finding_ticks(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)


def _legend(figure: Figure, handles: list[Artist]) -> None:
    """A legend above the panels, in as few lines as fit the width of the figure."""
    for lines in range(-(-len(handles) // 6), len(handles) + 1):
        legend = figure.legend(handles=handles, loc="outside upper right",
                               ncols=-(-len(handles) // lines), frameon=False, fontsize=FONT_SIZE)
        if (lines == len(handles)
                or width_of(legend) <= 0.98 * figure.bbox.width):
            return
        legend.remove()


# Coefficients -------------------------------------------------------------------------------


def coefficients(estimates: pd.DataFrame, *, level: float = 0.95) -> Figure:
    """Regression coefficients with their intervals, by descriptor, response and scheme.

    Parameters
    ----------
    estimates : pandas.DataFrame
        Rows ``scheme, response, descriptor, estimate, conf_low, conf_high, p_adjusted, n`` of
        one explainer and model.
    level : float
        Confidence level of the intervals.

    Returns
    -------
    Figure
        One panel per scheme; a filled marker has an adjusted p-value below ``ALPHA``.
    """
    schemes = list(dict.fromkeys(estimates["scheme"].tolist()))
    descriptors = list(dict.fromkeys(estimates["descriptor"].tolist()))
    responses = list(dict.fromkeys(estimates["response"].tolist()))
    colors = _response_colors(responses)
    figure = new_figure(1.2 + len(descriptors) * (0.18 + 0.2 * len(responses)))
    panels = figure.subplots(1, len(schemes), sharey=True, squeeze=False)[0]
    for axes, scheme in zip(panels, schemes, strict=True):
        rows = estimates[estimates["scheme"] == scheme]
        _intervals(axes, rows, ("descriptor", descriptors), ("response", colors))
        dress(axes)
        title = _SCHEMES.get(str(scheme).lower(), str(scheme))
        axes.set_title(f"{title}  (n = {count(rows['n'])})", fontsize=FONT_SIZE + 0.5,
                       color=INK, loc="left")
        axes.set_xlabel("Coefficient of the min-max normalised descriptor")
    _finding_ticks(panels[0], [_DESCRIPTORS.get(str(name), str(name)) for name in descriptors])
    handles: list[Artist] = [
        Line2D([], [], color=colors[name], marker="o", linewidth=1.6, markersize=5,
               label="expert - saliency" if name == "difference" else name)
        for name in responses]
    _legend(figure, [*handles, *marker_key(level)])
    return figure


def count(counts: pd.Series) -> str:
    """Numbers of rows as one text: a number, or the range where they differ."""
    low, high = int(counts.min()), int(counts.max())
    return str(low) if low == high else f"{low} to {high}"


def _response_colors(responses: Sequence[str]) -> dict[str, str]:
    """The difference has a color of its own: it is neither the expert's nor the map's."""
    colors = series_colors(responses)
    return {name: DIFFERENCE if " - " in name or name == "difference" else color
            for name, color in colors.items()}


def _intervals(axes: Axes, rows: pd.DataFrame, lines: tuple[str, Sequence[str]],
               series: tuple[str, Mapping[str, str]]) -> None:
    """Estimates with their intervals about 0: a line per value of one column, and on it, side by
    side, those of the series of another, each in its color.
    """
    line_column, values = lines
    series_column, colors = series
    slot = 0.75 / len(colors)
    axes.axvline(0, color="#888888", linewidth=1)
    for position, value in enumerate(values):
        for k, (name, color) in enumerate(colors.items()):
            row = rows[(rows[line_column] == value) & (rows[series_column] == name)]
            if len(row):
                at = position + (k - (len(colors) - 1) / 2) * slot
                _interval(axes, row.iloc[0], at, color)


def _interval(axes: Axes, row: pd.Series, at: float, color: str) -> None:
    p = row["p_adjusted"] if pd.notna(row["p_adjusted"]) else row["p_value"]
    draw_interval(axes, row, at, color, filled=bool(pd.notna(p) and float(p) < ALPHA))


def draw_interval(axes: Axes, row: pd.Series, at: float, color: str, *, filled: bool) -> None:
    """Draw an estimate with its interval on a horizontal line.

    Parameters
    ----------
    axes : Axes
    row : pandas.Series
        ``estimate, conf_low, conf_high``; NaN is written out.
    at : float
        Height of the line.
    color : str
    filled : bool
        Whether the marker is.
    """
    if pd.isna(row["estimate"]):
        axes.annotate("not estimable", (0, at), fontsize=FONT_SIZE - 2, color="#777777",
                      va="center", xytext=(4, 0), textcoords="offset points")
        return
    if pd.notna(row["conf_low"]) and pd.notna(row["conf_high"]):
        axes.hlines(at, float(row["conf_low"]), float(row["conf_high"]), color=color,
                    linewidth=1.6)
    axes.plot([float(row["estimate"])], [at], marker="o", markersize=5.5, color=color,
              markerfacecolor=color if filled else "white", markeredgewidth=1.4)


def marker_key(level: float) -> list[Artist]:
    """What filled and empty markers and lines mean, for a legend."""
    return [
        Line2D([], [], color=INK, marker="o", linestyle="none", markersize=5,
               label=f"adjusted p < {ALPHA:g}"),
        Line2D([], [], color=INK, marker="o", markerfacecolor="white", linestyle="none",
               markersize=5, label=f"adjusted p \N{GREATER-THAN OR EQUAL TO} {ALPHA:g}"),
        Line2D([], [], color=INK, linewidth=1.6, label=f"{100 * level:g}% CI, not adjusted"),
    ]


# Confidence ---------------------------------------------------------------------------------


def correlations(estimates: pd.DataFrame, *, level: float = 0.95) -> Figure:
    """Spearman correlation of probability with localization, per finding and pooled.

    Parameters
    ----------
    estimates : pandas.DataFrame
        Spearman rows ``scheme, finding, estimate, conf_low, conf_high, p_adjusted, n`` with a
        column ``series`` (see :func:`series_names`).
    level : float
        Confidence level of the intervals.
    """
    schemes = list(dict.fromkeys(estimates["scheme"].tolist()))
    findings = list(dict.fromkeys(estimates["finding"].tolist()))
    names = list(dict.fromkeys(estimates["series"].tolist()))
    colors = series_colors(names)
    figure = new_figure(1.2 + len(findings) * (0.12 + 0.18 * len(names)))
    panels = figure.subplots(1, len(schemes), sharey=True, squeeze=False)[0]
    for axes, scheme in zip(panels, schemes, strict=True):
        rows = estimates[estimates["scheme"] == scheme]
        _intervals(axes, rows, ("finding", findings), ("series", colors))
        dress(axes)
        axes.set_xlim(-1.02, 1.02)
        axes.set_title(_RESPONSES.get(str(scheme), str(scheme)), fontsize=FONT_SIZE + 0.5,
                       color=INK, loc="left")
        axes.set_xlabel("Spearman correlation")
    _finding_ticks(panels[0], [_with_counts(name, estimates.loc[estimates["finding"] == name,
                                                                "n"]) for name in findings])
    handles: list[Artist] = [
        Line2D([], [], color=colors[name], marker="o", linewidth=1.6, markersize=5, label=name)
        for name in names]
    _legend(figure, [*handles, *marker_key(level)])
    return figure


def confidence_scatter(points: pd.DataFrame, estimates: pd.DataFrame | None = None) -> Figure:
    """IoU against predicted probability, one panel per finding.

    Parameters
    ----------
    points : pandas.DataFrame
        Rows ``finding, probability, iou, hit`` of one explainer and model.
    estimates : pandas.DataFrame, optional
        Rows ``finding, estimate, conf_low, conf_high`` of Spearman's correlation, written above
        the panels.

    Returns
    -------
    Figure
        Hits are filled circles, misses open ones.
    """
    points = points[points["probability"].notna() & points["iou"].notna()]
    findings = list(dict.fromkeys(points["finding"].tolist()))
    columns = min(_SCATTER_COLUMNS, max(len(findings), 1))
    lines = -(-len(findings) // columns)
    figure = new_figure(0.5 + (1.9 if estimates is None else 2.05) * lines)
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    top = min(1.0, 1.08 * float(points["iou"].max())) if len(points) else 1.0
    for axes in panels.ravel()[len(findings):]:
        axes.set_axis_off()
    for axes, finding in zip(panels.ravel(), findings, strict=False):
        rows = points[points["finding"] == finding]
        hit = (rows["hit"] == 1).to_numpy(bool)
        for chosen, face in ((~hit, "none"), (hit, EXPERT)):
            axes.scatter(rows["probability"].to_numpy(float)[chosen],
                         rows["iou"].to_numpy(float)[chosen], s=12, facecolors=face,
                         edgecolors=EXPERT, linewidths=0.7, alpha=0.75, clip_on=False)
        dress(axes, grid="both")
        axes.set_title("\n".join([finding, f"n = {len(rows)}", *_rho(finding, estimates)]),
                       fontsize=FONT_SIZE - 1, color=INK)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, max(top, 0.05))
        axes.set_xticks(np.linspace(0, 1, 3), ["0", "0.5", "1"])
    for axes in panels[:, 0]:
        axes.set_ylabel("IoU")
    figure.supxlabel("Predicted probability", fontsize=FONT_SIZE)
    handles: list[Artist] = [
        Line2D([], [], marker="o", linestyle="none", color=EXPERT, markersize=4, label="hit"),
        Line2D([], [], marker="o", linestyle="none", markerfacecolor="white", color=EXPERT,
               markersize=4, label="miss")]
    _legend(figure, handles)
    return figure


def _rho(finding: str, estimates: pd.DataFrame | None) -> list[str]:
    """Spearman's correlation as one line; none where there is no estimate."""
    if estimates is None:
        return []
    known = estimates[(estimates["finding"] == finding) & estimates["estimate"].notna()]
    if known.empty:
        return [""]
    row = known.iloc[0]
    bounds = (f" ({row['conf_low']:.2f}, {row['conf_high']:.2f})" if pd.notna(row["conf_low"])
              else "")
    return [f"\N{GREEK SMALL LETTER RHO} = {row['estimate']:.2f}{bounds}"]
