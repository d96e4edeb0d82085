"""What can be said of heatmaps without any mask: where they point, how much they cover.

One pass over a bounded number of maps, so that a report stays a matter of seconds.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure
from tqdm import tqdm

from saltrust.analysis.inference.bootstrap import mean_interval
from saltrust.analysis.pixels.segmentation import histogram, otsu_threshold, quantize
from saltrust.cache.schema import Label, Status
from saltrust.report.figures.contours import overlay, unit_range
from saltrust.report.figures.palette import FONT_SIZE, INK, WIDTH, new_figure

#: Images per finding that the pass looks at, evenly spaced over the study.
MOST_IMAGES = 100
_FINDINGS_PER_LINE = 5


@dataclass
class Survey:
    """What the pass over the maps found.

    Attributes
    ----------
    maps : pandas.DataFrame
        One row per map: ``image, finding, explainer, extent`` (share of pixels above Otsu's
        threshold), ``peak_y``, ``peak_x`` (shares of height and width).
    overlaps : pandas.DataFrame
        One row per image, finding and pair of explainers: ``iou`` of the two masks.
    sums : dict
        Sum of min-max normalised maps by (finding, explainer), shape (y, x).
    grounds : dict
        Sum of the radiographs by finding, shape (y, x); empty without radiographs.
    images : dict
        Images looked at, by finding.
    positives : bool
        Whether these are the images labelled positive; otherwise there are no labels.
    """

    maps: pd.DataFrame = field(default_factory=pd.DataFrame)
    overlaps: pd.DataFrame = field(default_factory=pd.DataFrame)
    sums: dict[tuple[str, str], npt.NDArray[np.float64]] = field(default_factory=dict)
    grounds: dict[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    images: dict[str, list[str]] = field(default_factory=dict)
    positives: bool = True


def survey(cubes: xr.DataTree, *, model: str, progress: bool = False) -> Survey | None:
    """Look at the maps of one model, at most ``MOST_IMAGES`` images per finding.

    Returns
    -------
    Survey or None
        None where no map of the model is there to look at.
    """
    if "saliency" not in cubes.children or not model:
        return None
    saliency = cubes["saliency"].to_dataset().sel(model=model)
    explainers = [str(name) for name in saliency.coords["explainer"].values]
    found = _sample(cubes, saliency)
    if not any(found.images.values()):
        return None
    pixels = cubes["radiograph"].to_dataset().get("pixels") \
        if "radiograph" in cubes.children else None
    wanted: dict[str, list[str]] = {}
    for finding, images in found.images.items():
        for image in images:
            wanted.setdefault(image, []).append(finding)
    rows: list[dict[str, object]] = []
    overlaps: list[dict[str, object]] = []
    for image, findings in tqdm(wanted.items(), desc="maps", unit="image",
                                disable=None if progress else True):
        at = saliency[["heatmap", "status"]].sel(image=image, finding=findings).load()
        ground = None if pixels is None else \
            pixels.sel(image=image).transpose("y", "x").values.astype(np.float64)
        for finding in findings:
            if ground is not None:
                found.grounds[finding] = found.grounds.get(finding, 0.0) + ground
            masks: dict[str, npt.NDArray[np.bool_]] = {}
            for explainer in explainers:
                one = at.sel(finding=finding, explainer=explainer)
                if int(one["status"]) != int(Status.OK):
                    continue
                heatmap = one["heatmap"].transpose("y", "x").values
                masks[explainer], row = _measure(heatmap)
                rows.append({"image": image, "finding": finding, "explainer": explainer, **row})
                key = (finding, explainer)
                found.sums[key] = found.sums.get(key, 0.0) + unit_range(heatmap)
            for first, second in itertools.combinations(masks, 2):
                either = np.count_nonzero(masks[first] | masks[second])
                both = np.count_nonzero(masks[first] & masks[second])
                overlaps.append({"image": image, "finding": finding, "first": first,
                                 "second": second, "iou": both / either})
    if not rows:
        return None
    found.maps = _ordered(pd.DataFrame(rows), found, explainers)
    found.overlaps = _ordered(
        pd.DataFrame(overlaps, columns=["image", "finding", "first", "second", "iou"]), found)
    found.sums = {(finding, explainer): found.sums[finding, explainer]
                  for finding in found.images for explainer in explainers
                  if (finding, explainer) in found.sums}
    return found


def _ordered(table: pd.DataFrame, found: Survey, explainers: Sequence[str] = (),
             ) -> pd.DataFrame:
    """Rows by finding, then by explainer, in the order of the cubes."""
    places = {name: i for i, name in enumerate([*found.images, *explainers])}
    keys = ["finding", "explainer"] if explainers else ["finding"]
    return table.sort_values(keys, key=lambda names: names.map(places), kind="stable",
                             ignore_index=True)


def _sample(cubes: xr.DataTree, saliency: xr.Dataset) -> Survey:
    """Choose the images: labelled positive where there are labels, evenly spaced."""
    mapped = (saliency["status"] != int(Status.MISSING)).any("explainer")
    mapped = mapped.transpose("finding", "image")
    images = [str(name) for name in mapped.coords["image"].values]
    chosen = mapped.values
    labelled = False
    if "reference" in cubes.children:
        labels = cubes["reference"].to_dataset()["label"].transpose("finding", "image")
        positive = labels.values == int(Label.POSITIVE)
        labelled = bool(positive.any())
        chosen = chosen & positive if labelled else chosen
    found = Survey(positives=labelled)
    for finding, row in zip(mapped.coords["finding"].values, chosen, strict=True):
        places = np.flatnonzero(row)
        if len(places) > MOST_IMAGES:
            spaced = np.linspace(0, len(places) - 1, MOST_IMAGES).round().astype(int)
            places = places[spaced]
        found.images[str(finding)] = [images[i] for i in places]
    return found


def _measure(heatmap: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.bool_], dict[str, float]]:
    """Mask by Otsu's threshold, its extent and the place of the peak."""
    levels = quantize(heatmap, float(heatmap.min()), float(heatmap.max()))
    mask = levels > otsu_threshold(histogram(levels))
    y, x = np.unravel_index(int(np.argmax(heatmap)), heatmap.shape)
    height, width = heatmap.shape
    return mask, {"extent": float(mask.mean()), "peak_y": (float(y) + 0.5) / height,
                  "peak_x": (float(x) + 0.5) / width}


def agreement(found: Survey, patients: dict[str, str], *, seed: int = 0) -> pd.DataFrame:
    """Mean IoU between the Otsu masks of two explainers, with a bootstrap interval.

    Parameters
    ----------
    found : Survey
        With at least one overlap.
    patients : dict
        Patient of each image; whole patients are resampled.
    seed : int
        Of the resampling.

    Returns
    -------
    pandas.DataFrame
        ``finding, explainers, n, estimate, conf_low, conf_high``.
    """
    rows = []
    for (finding, first, second), group in found.overlaps.groupby(
            ["finding", "first", "second"], sort=False):
        clusters = [patients.get(image, image) for image in group["image"]]
        interval = mean_interval(group["iou"].to_numpy(float), clusters, seed=seed)
        rows.append({"finding": finding, "explainers": f"{first} and {second}",
                     "n": len(group), "estimate": float(interval.mean),
                     "conf_low": float(interval.conf_low),
                     "conf_high": float(interval.conf_high)})
    return pd.DataFrame(rows)


def mean_maps(found: Survey) -> Figure:
    """Average map over the average radiograph, with the peak of every single map.

    One row of panels per explainer, one column per finding, wrapped into several lines.
    """
    findings = [name for name, images in found.images.items() if images]
    explainers = list(dict.fromkeys(explainer for _, explainer in found.sums))
    lines = -(-len(findings) // _FINDINGS_PER_LINE)
    columns = min(len(findings), _FINDINGS_PER_LINE)
    side = min(WIDTH / columns, 2.4)
    figure = new_figure(lines * len(explainers) * (side + 0.12) + 0.3 * lines, side * columns)
    panels = figure.subplots(lines * len(explainers), columns, squeeze=False)
    for axes in panels.ravel():
        axes.set_axis_off()
    for number, finding in enumerate(findings):
        line, column = divmod(number, _FINDINGS_PER_LINE)
        for k, explainer in enumerate(explainers):
            axes = panels[line * len(explainers) + k, column]
            rows = found.maps[(found.maps["finding"] == finding)
                              & (found.maps["explainer"] == explainer)]
            if rows.empty:
                continue
            mean = found.sums[finding, explainer] / len(rows)
            ground = found.grounds.get(finding)
            pixels = None if ground is None else \
                np.round(ground / len(found.images[finding])).astype(np.uint8)
            axes.imshow(overlay(pixels, mean), extent=(0, 1, 1, 0), interpolation="bilinear")
            axes.plot(rows["peak_x"], rows["peak_y"], linestyle="none", marker="o",
                      markersize=2.6, markerfacecolor="white", markeredgecolor="black",
                      markeredgewidth=0.4, alpha=0.8)
            axes.set_xlim(0, 1)
            axes.set_ylim(1, 0)
            title = f"{explainer}, n = {len(rows)}"
            axes.set_title(f"{finding}\n{title}" if k == 0 else title, fontsize=FONT_SIZE - 1,
                           color=INK, pad=3)
    return figure
