"""What can be said of heatmaps without any mask: where they point, how much they cover.

One pass over a bounded number of maps, which stays a matter of seconds.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from tqdm import tqdm

from saltrust.analysis.inference.bootstrap import mean_interval
from saltrust.analysis.pixels.segmentation import histogram, otsu_level, quantize
from saltrust.analysis.stored.arrays import group_of, labels_of
from saltrust.analysis.stored.maps import require_finite
from saltrust.analysis.stored.readings import as_read, readings_of
from saltrust.cache.schema import Label, Status

#: Images per finding that the pass looks at, evenly spaced over the study.
MOST_IMAGES = 100


@dataclass
class Survey:
    """What a pass over the maps saw.

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


def survey_maps(cubes: xr.DataTree, *, model: str, progress: bool = False) -> Survey | None:
    """Look at the maps of one model, at most ``MOST_IMAGES`` images per finding.

    Of every map only what is read of it (:mod:`saltrust.analysis.stored.readings`); one that is
    flat then is passed over.

    Parameters
    ----------
    cubes : xarray.DataTree
        Radiographs and labels are used where present.
    model : str
        Empty where the cubes have none.
    progress : bool
        Whether a bar is shown on stderr.

    Returns
    -------
    Survey or None
        None where no map of the model is there to look at.
    """
    if "saliency" not in cubes.children or not model:
        return None
    saliency = group_of(cubes, "saliency").sel(model=model)
    explainers = labels_of(saliency, "explainer")
    readings = readings_of(saliency)
    seen = _sample(cubes, saliency)
    if not any(seen.images.values()):
        return None
    pixels = group_of(cubes, "radiograph").get("pixels") \
        if "radiograph" in cubes.children else None
    wanted: dict[str, list[str]] = {}
    for finding, images in seen.images.items():
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
                seen.grounds[finding] = seen.grounds.get(finding, 0.0) + ground
            masks: dict[str, npt.NDArray[np.bool_]] = {}
            for explainer in explainers:
                one = at.sel(finding=finding, explainer=explainer)
                if int(one["status"]) != int(Status.OK):
                    continue
                values = one["heatmap"].transpose("y", "x").values
                require_finite(values, image=image, finding=finding, explainer=explainer)
                heatmap = as_read(values, readings[explainer])
                if not heatmap.max() > heatmap.min():
                    continue
                masks[explainer], row = _measure(heatmap)
                rows.append({"image": image, "finding": finding, "explainer": explainer, **row})
                key = (finding, explainer)
                seen.sums[key] = seen.sums.get(key, 0.0) + unit_range(heatmap)
            for first, second in itertools.combinations(masks, 2):
                either = np.count_nonzero(masks[first] | masks[second])
                both = np.count_nonzero(masks[first] & masks[second])
                overlaps.append({"image": image, "finding": finding, "first": first,
                                 "second": second, "iou": both / either})
    if not rows:
        return None
    seen.maps = _ordered(pd.DataFrame(rows), seen, explainers)
    seen.overlaps = _ordered(
        pd.DataFrame(overlaps, columns=["image", "finding", "first", "second", "iou"]), seen)
    seen.sums = {(finding, explainer): seen.sums[finding, explainer]
                  for finding in seen.images for explainer in explainers
                  if (finding, explainer) in seen.sums}
    return seen


def _ordered(table: pd.DataFrame, seen: Survey, explainers: Sequence[str] = (),
             ) -> pd.DataFrame:
    """Rows by finding, then by explainer, in the order of the cubes."""
    places = {name: i for i, name in enumerate([*seen.images, *explainers])}
    keys = ["finding", "explainer"] if explainers else ["finding"]
    return table.sort_values(keys, key=lambda names: names.map(places), kind="stable",
                             ignore_index=True)


def _sample(cubes: xr.DataTree, saliency: xr.Dataset) -> Survey:
    """Choose the images: labelled positive where there are labels, evenly spaced."""
    mapped = (saliency["status"] != int(Status.MISSING)).any("explainer")
    mapped = mapped.transpose("finding", "image")
    images = [str(name) for name in mapped.coords["image"].values]
    chosen = mapped.values
    labeled = False
    if "reference" in cubes.children:
        labels = group_of(cubes, "reference")["label"].transpose("finding", "image")
        positive = labels.values == int(Label.POSITIVE)
        labeled = bool(positive.any())
        chosen = chosen & positive if labeled else chosen
    seen = Survey(positives=labeled)
    for finding, row in zip(mapped.coords["finding"].values, chosen, strict=True):
        places = np.flatnonzero(row)
        if len(places) > MOST_IMAGES:
            spaced = np.linspace(0, len(places) - 1, MOST_IMAGES).round().astype(int)
            places = places[spaced]
        seen.images[str(finding)] = [images[i] for i in places]
    return seen


def mask_above(heatmap: npt.NDArray[np.float32], threshold: float) -> npt.NDArray[np.bool_]:
    """Pixels of a map above a threshold, as they are cut for scoring.

    Parameters
    ----------
    heatmap : ndarray of float32, shape (height, width)
        Finite.
    threshold : float
        In the 256 levels that the map is stretched to, as column ``threshold`` of
        :func:`saltrust.localization` has it.

    Returns
    -------
    ndarray of bool, shape (height, width)
    """
    return quantize(heatmap, float(heatmap.min()), float(heatmap.max())) > threshold


def otsu_mask(heatmap: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Pixels of a map above Otsu's threshold of it.

    Parameters
    ----------
    heatmap : ndarray of float32, shape (height, width)
        Finite.

    Returns
    -------
    ndarray of bool, shape (height, width)
    """
    levels = quantize(heatmap, float(heatmap.min()), float(heatmap.max()))
    return levels > otsu_level(histogram(levels), "default")


def unit_range(heatmap: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Min-max normalize a map over its finite values; a flat map becomes zeros.

    Parameters
    ----------
    heatmap : ndarray

    Returns
    -------
    ndarray of float64
        In [0, 1]; what is not finite becomes 0.
    """
    values = np.asarray(heatmap, dtype=np.float64)
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros_like(values)
    low, high = values[finite].min(), values[finite].max()
    if high <= low:
        return np.zeros_like(values)
    return np.where(finite, (values - low) / (high - low), 0.0)


def _measure(heatmap: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.bool_], dict[str, float]]:
    """Mask by Otsu's threshold, its extent and the place of the peak."""
    mask = otsu_mask(heatmap)
    y, x = np.unravel_index(int(np.argmax(heatmap)), heatmap.shape)
    height, width = heatmap.shape
    return mask, {"extent": float(mask.mean()), "peak_y": (float(y) + 0.5) / height,
                  "peak_x": (float(x) + 0.5) / width}


def explainer_agreement(seen: Survey, patients: dict[str, str], *, seed: int = 0) -> pd.DataFrame:
    """Mean IoU between the Otsu masks of two explainers, with a bootstrap interval.

    Parameters
    ----------
    seen : Survey
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
    for (finding, first, second), group in seen.overlaps.groupby(
            ["finding", "first", "second"], sort=False):
        clusters = [patients.get(image, image) for image in group["image"]]
        interval = mean_interval(group["iou"].to_numpy(float), clusters, seed=seed,
                                 method="auto")
        rows.append({"finding": finding, "explainers": f"{first} and {second}",
                     "n": len(group), "estimate": float(interval.mean),
                     "conf_low": float(interval.conf_low),
                     "conf_high": float(interval.conf_high)})
    return pd.DataFrame(rows)
