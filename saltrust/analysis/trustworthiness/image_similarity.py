"""SSIM of the maps of single images: along randomization, between models.

The numbers are those of tables ``scores`` of the analyses, without baselines and tests, which take
all images.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import pandas as pd
import xarray as xr

from saltrust.analysis.pixels.ssim import ssim_settings
from saltrust.analysis.stored.contents import require_heatmaps, source
from saltrust.analysis.stored.images import images_of
from saltrust.analysis.stored.maps import stored_maps
from saltrust.analysis.trustworthiness.map_pairs import MapPairs
from saltrust.analysis.trustworthiness.model_pairs import Criterion, plan_comparisons
from saltrust.choices import SsimSetting
from saltrust.errors import DataError

_FAILURE = "with a flat or non-finite map"


def randomized_similarity(cubes: xr.DataTree, *, ssim: SsimSetting = "default") -> pd.DataFrame:
    """SSIM of the maps of every stage of randomization to the trained model's, image by image.

    Parameters
    ----------
    cubes : xarray.DataTree
        With ``/randomization``; a selection of few images.
    ssim : {"default", "paper", "raw"}

    Returns
    -------
    pandas.DataFrame
        As table ``scores`` of :func:`saltrust.randomization`, of the first replicate: ``image,
        patient, finding, explainer, model, replicate, stage, ssim, failed``; without images whose
        trained map is flat or not finite, since nothing can degrade.

    Raises
    ------
    DataError
        If there are no maps of a randomized model.
    """
    maps = stored_maps(cubes, "randomization")
    if maps is None or len(maps.labels["stage"]) < 2:
        raise DataError(f"{source(cubes)} has no maps of a randomised model of what was selected "
                        "(/randomization/heatmap is absent or empty); generate them with "
                        "randomization, or choose other images")
    compared = _pairs(cubes, ssim)
    replicate, stages = maps.labels["replicate"][0], maps.labels["stage"]
    rows: list[dict[str, Any]] = []
    for finding, explainer, model in product(maps.labels["finding"], maps.labels["explainer"],
                                             maps.labels["model"]):
        names = {"explainer": explainer, "model": model, "replicate": replicate}
        trained = maps.series(**names, stage=stages[0])
        usable = set(compared.usable(finding, trained))
        for stage in stages[1:]:
            random = maps.series(**names, stage=stage)
            stored = [image for image in compared.stored(finding, random) if image in usable]
            rows += compared.compare(finding, (trained, random), stored,
                                     {**names, "stage": stage}, _FAILURE)
    if not rows:
        raise DataError("no usable map of a trained and a randomised model is stored of the "
                        "selected images; choose other images or generate them")
    return pd.DataFrame(rows)


def model_similarity(cubes: xr.DataTree, criterion: Criterion, *, ssim: SsimSetting = "default"
                     ) -> pd.DataFrame:
    """SSIM of the maps of the models that a criterion compares, image by image.

    Parameters
    ----------
    cubes : xarray.DataTree
        A selection of few images.
    criterion : {"repeatability", "reproducibility"}
    ssim : {"default", "paper", "raw"}

    Returns
    -------
    pandas.DataFrame
        As table ``scores`` of :func:`saltrust.repeatability`: ``image, patient, finding,
        criterion, explainer, model_a, model_b, ssim, failed``; of localizers too.

    Raises
    ------
    DataError
        If there are no two models to compare.
    """
    require_heatmaps(cubes, "there is nothing to compare between models")
    saliency = stored_maps(cubes, "saliency")
    assert saliency is not None
    plan = plan_comparisons(cubes, criterion, saliency, stored_maps(cubes, "localizer"))
    compared = _pairs(cubes, ssim)
    rows = [row for comparison in plan.comparisons if comparison.criterion == criterion
            for finding in saliency.labels["finding"]
            for row in compared.compare(
                finding, comparison.series, compared.stored(finding, *comparison.series),
                {"criterion": criterion, "explainer": comparison.explainer,
                 "model_a": comparison.models[0], "model_b": comparison.models[1]}, _FAILURE)]
    if not rows:
        raise DataError("no selected image has maps of two models to compare; choose other "
                        "images or generate them")
    return pd.DataFrame(rows)


def _pairs(cubes: xr.DataTree, ssim: SsimSetting) -> MapPairs:
    # No pairs of different images are drawn here.
    return MapPairs(images_of(cubes), "all", ssim_settings(ssim), 1, 0)
