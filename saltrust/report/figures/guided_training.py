"""Figure of protocol W: gaze, maps of the classifier and heatmaps of the decoder side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saltrust.analysis.gaze.scores import LOCALIZER
from saltrust.analysis.localization.survey import unit_range
from saltrust.analysis.protocols.guided_training.arms import RULES, Arm
from saltrust.analysis.stored.arrays import dataset_of, group_of, labels_of
from saltrust.cache.schema import Status
from saltrust.report.figures.literal import WIDTH, new_figure
from saltrust.report.figures.palette import FONT_SIZE, INK
from saltrust.report.figures.pictures import Heatmap, at_labels, radiograph, stored_map

#: Images of the figure, and models beside each other in it.
EXAMPLES = 3
MOST_MODELS = 6
#: Maps are shown up to this percentile, above which gradients have single bright pixels.
_BRIGHTEST = 99.5
#: Most characters of a name above a panel.
_NAME = 22


def examples(cubes: xr.DataTree, scores: pd.DataFrame, arms: Sequence[Arm], explainer: str,
             reader: str) -> Figure | None:
    """Radiograph with gaze, and per model its map and what its decoder made of the image.

    Parameters
    ----------
    cubes : xarray.DataTree
    scores : pandas.DataFrame
        Table ``scores`` of :func:`saltrust.analysis.gaze.analysis.gaze`.
    arms : sequence of Arm
        The first of each way of training is shown, six at most: where there are more, not those
        that had the map of another rule in their loss.
    explainer : str
        Whose maps; of what is read of them, up to the 99.5th percentile.
    reader : str
        Whose gaze.

    Returns
    -------
    Figure or None
        Images of high, middling and low agreement of the last model; the number above a map is
        its correlation with the gaze.  None where no map was scored.
    """
    shown = _one_of_each(arms)
    if len(shown) > MOST_MODELS:
        shown = _one_of_each([arm for arm in arms if arm.rule in ("", explainer)
                              or explainer not in RULES])[-MOST_MODELS:]
    of_last = scores[(scores["explainer"] == explainer) & (scores["model"] == shown[-1].model)]
    if of_last.empty:
        return None
    localizers = dataset_of(cubes, "localizer")
    decoders = [] if localizers is None else labels_of(localizers, "model")
    order = of_last.sort_values("correlation", kind="stable").drop_duplicates("image")
    places = np.unique(np.round(np.linspace(0.9, 0.1, EXAMPLES) * (len(order) - 1)).astype(int))
    size = WIDTH / max(len(shown) + 1, 5)
    figure = new_figure(0.6 + (2 * size + 0.45) * len(places), width=size * (len(shown) + 1))
    panels = figure.subplots(2 * len(places), len(shown) + 1, squeeze=False)
    for axes in panels.ravel():
        axes.set_axis_off()
    for k, place in enumerate(places[::-1]):
        row = order.iloc[int(place)]
        image, finding = str(row["image"]), str(row["finding"])
        of_image = scores[(scores["image"] == image) & (scores["finding"] == finding)]
        values = {(str(e), str(m)): float(r) for e, m, r in zip(
            of_image["explainer"], of_image["model"], of_image["correlation"], strict=True)}
        upper, lower = panels[2 * k], panels[2 * k + 1]
        _first_column(cubes, (upper[0], lower[0]), image, finding, reader)
        for axes, below, arm in zip(upper[1:], lower[1:], shown, strict=True):
            heading = arm.model if k == 0 else ""
            labels = {"image": image, "finding": finding, "model": arm.model}
            _draw(axes, stored_map(cubes, "saliency", **labels, explainer=explainer), heading,
                  values.get((explainer, arm.model)))
            if arm.model in decoders:
                _draw(below, stored_map(cubes, "localizer", **labels), "",
                      values.get((LOCALIZER, arm.model)))
    # As wide as the narrowest figure, of two models.
    figure.suptitle(f"Above: {explainer} of the classifier; below: the decoder\n"
                    "(number: correlation with gaze)", fontsize=FONT_SIZE, color=INK)
    return figure


def _one_of_each(arms: Sequence[Arm]) -> list[Arm]:
    """The first of each way of training, in order."""
    first: dict[str, Arm] = {}
    for arm in arms:
        first.setdefault(arm.label, arm)
    return list(first.values())


def _first_column(cubes: xr.DataTree, axes: tuple[Axes, Axes], image: str, finding: str,
                  reader: str) -> None:
    gaze = at_labels(group_of(cubes, "reference")["gaze"], image=image, reader=reader)
    heat = gaze.transpose("y", "x").values
    pixels = radiograph(cubes, image)
    if pixels is not None:
        axes[0].imshow(pixels, cmap="gray", vmin=0, vmax=255)
        axes[0].contour(heat, levels=[0.25, 0.5, 0.75], colors="#E69F00", linewidths=0.8)
    axes[0].set_title(f"{_short(image)}\n{finding}", fontsize=FONT_SIZE - 2, color=INK)
    axes[1].imshow(heat, cmap="inferno", vmin=0, vmax=1)
    axes[1].set_title("gaze", fontsize=FONT_SIZE - 2, color=INK)


def _short(name: str) -> str:
    """Beginning and end of a long name: images of one patient differ at the end."""
    return name if len(name) <= _NAME else f"{name[:_NAME - 10]}\u2026{name[-9:]}"


def _draw(axes: Axes, stored: Heatmap | None, heading: str, correlation: float | None) -> None:
    if stored is None:
        return
    heatmap = stored.values.astype(np.float64)
    if stored.status is Status.OK:
        heatmap = unit_range(np.minimum(heatmap, np.percentile(heatmap, _BRIGHTEST)))
    axes.imshow(np.nan_to_num(heatmap), cmap="inferno", vmin=0, vmax=1)
    number = "" if correlation is None or np.isnan(correlation) else f"{correlation:.2f}"
    axes.set_title("\n".join(part for part in (heading, number) if part),
                   fontsize=FONT_SIZE - 2, color=INK)
