"""Precision-recall curves of the maps of one image, beside those of the average mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from saltrust.analysis.pixels.precision_recall import (
    CurveAreas,
    curve_areas,
    precision_recall_curve,
)
from saltrust.analysis.select import select
from saltrust.analysis.stored.annotations import read_annotations
from saltrust.analysis.stored.average_mask import AVERAGE_MASK, average_mask
from saltrust.analysis.stored.maps import RANDOMIZED
from saltrust.analysis.stored.whole_study import fitted_study
from saltrust.analysis.trustworthiness.named_maps import maps_to_score, usable_map
from saltrust.analysis.trustworthiness.utility_scores import BASELINE
from saltrust.choices import MapChoice
from saltrust.errors import DataError


@dataclass(frozen=True)
class PixelCurve:
    """How well a map ranks the pixels of a finding on one image.

    Attributes
    ----------
    explainer, model, condition : str
        As in table ``scores`` of :func:`saltrust.utility`.
    recall, precision : ndarray of float64, shape (n,)
    areas : CurveAreas
        Below them, with the prevalence.
    """

    explainer: str
    model: str
    condition: str
    recall: npt.NDArray[np.float64]
    precision: npt.NDArray[np.float64]
    areas: CurveAreas


def pixel_curves(cubes: xr.DataTree, image: str, finding: str, *, map: MapChoice = "auto"
                 ) -> list[PixelCurve]:
    """Precision-recall curves of every map of an image: explainers, average mask, localizers.

    Parameters
    ----------
    cubes : xarray.DataTree
        With reference masks on the grid.
    image, finding : str
        Labels of the cubes.
    map : {"auto", "raw", "absolute", "positive"}
        What of the maps ranks the pixels.

    Returns
    -------
    list of PixelCurve
        Without maps that are missing, flat or not finite; the average mask where there is one
        that this image is no part of.

    Raises
    ------
    DataError
        If no reference reader outlined the finding on the image, or no map is usable.
    """
    chosen = select(cubes, image=image, finding=finding)
    annotations = read_annotations(chosen, resolution="grid")
    readers = annotations.readers_with("reference")
    mask = annotations.pixels(0, 0, readers[0]).mask if readers else None
    if mask is None:
        raise DataError(f"no reference reader outlined {finding} on {image}, so there is nothing "
                        "to localise there; choose another image or finding")
    curves = []
    for maps in maps_to_score(chosen, map):
        values = None if maps.condition == RANDOMIZED else usable_map(maps, image, finding)
        if values is not None:
            curves.append(_curve(maps.explainer, maps.model, maps.condition, values, mask))
    if not curves:
        raise DataError(f"no usable map of {finding} on {image} is stored; choose another image, "
                        "or generate its maps")
    try:
        average = average_mask(fitted_study(cubes), finding, annotations.readers[readers[0]])
    except DataError:
        return curves
    if image in average.images:
        return curves
    return [*curves, _curve(AVERAGE_MASK, "", BASELINE, average.values, mask)]


def _curve(explainer: str, model: str, condition: str, values: npt.NDArray[np.floating],
           mask: npt.NDArray[np.bool_]) -> PixelCurve:
    return PixelCurve(explainer, model, condition, *precision_recall_curve(values, mask),
                      curve_areas(values, mask))
