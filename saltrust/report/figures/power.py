"""Power against patients, one curve for each combination of the rest."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saltrust.analysis.result import Result
from saltrust.analysis.result.text import confidence_level
from saltrust.errors import UsageError
from saltrust.report.figures.literal import new_figure
from saltrust.report.figures.palette import FONT_SIZE, INK, dress, series_colors

#: More curves cannot be told apart.
MOST_CURVES = 14
_MARKS = "osD^vPX"
_COMBINED = ("effect", "images", "readers", "models")
_HEIGHT = 3.6


def power_curves(result: Result) -> Figure:
    """Power of every design with its Monte Carlo interval, and the smallest that suffices.

    Parameters
    ----------
    result : Result
        Of :func:`saltrust.power`.

    Returns
    -------
    Figure

    Raises
    ------
    UsageError
        If there are more curves than can be told apart.
    """
    table = result.tables["power"]
    varying = [name for name in _COMBINED if len(set(table[name])) > 1] or ["effect"]
    parts = dict(list(table.groupby(varying, sort=False)))
    if len(parts) > MOST_CURVES:
        raise UsageError(f"{len(parts)} combinations of {', '.join(varying)} are more curves than "
                         f"a figure can tell apart, which is {MOST_CURVES}; ask for fewer")
    level = confidence_level(result.meta)
    figure = new_figure(_HEIGHT)
    axes = figure.subplots()
    names = {key: _name(varying, key) for key in parts}
    colors = series_colors(list(names.values()))
    for mark, (key, part) in enumerate(parts.items()):
        _curve(axes, part.sort_values("patients"), names[key], colors[names[key]],
               _MARKS[mark % len(_MARKS)])
    target = result.meta.get("target_power")
    if target is not None:
        axes.axhline(float(target), color="#888888", linewidth=1, linestyle="--")
        axes.annotate(f"target {target:g}", (0.0, float(target)),
                      xycoords=("axes fraction", "data"), xytext=(3, 3), ha="left",
                      textcoords="offset points", color="#666666", fontsize=FONT_SIZE - 1)
        reached = result.tables["smallest"].dropna(subset=["patients"])
        for key, part in reached.groupby(varying, sort=False):
            axes.plot(part["patients"].to_numpy(float), part["power"].to_numpy(float), marker="*",
                      markersize=11, zorder=4, color=colors[_name(varying, key)],
                      markeredgecolor=INK, markeredgewidth=0.6, linestyle="none")
    dress(axes, grid="y")
    axes.set_ylim(0, 1.03)
    axes.set_xlabel("Patients")
    axes.set_ylabel("Power")
    star = "" if target is None else "; star: the fewest patients that reach the target"
    axes.set_title(f"{result.meta['comparison']}: {result.meta['decides']}\nbars: {100 * level:g}% "
                   f"Monte Carlo interval{star}", fontsize=FONT_SIZE, color=INK, loc="left")
    figure.legend(loc="outside right center", frameon=False, fontsize=FONT_SIZE)
    return figure


def _name(varying: list[str], key: object) -> str:
    values = key if isinstance(key, tuple) else (key,)
    return ", ".join(f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
                     for name, value in zip(varying, values, strict=True))


def _curve(axes: Axes, part: pd.DataFrame, name: str, color: str, mark: str) -> None:
    power = part["power"].to_numpy(float)
    bars = [power - part["conf_low"].to_numpy(float), part["conf_high"].to_numpy(float) - power]
    axes.errorbar(part["patients"].to_numpy(float), power,
                  yerr=[[max(bar, 0.0) if math.isfinite(bar) else 0.0 for bar in side]
                        for side in bars],
                  color=color, marker=mark, markersize=4, linewidth=1.4, elinewidth=1, capsize=2,
                  label=name)
