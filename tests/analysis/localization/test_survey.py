"""What can be told of maps without any mask: where they point, how much they cover."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from saltrust.analysis.localization import survey
from saltrust.analysis.localization.survey import (
    explainer_agreement,
    mask_above,
    otsu_mask,
    survey_maps,
    unit_range,
)


def square_maps(tree: xr.DataTree) -> xr.DataTree:
    """Maps that are 1 in a known square and 0 elsewhere."""
    saliency = tree.children["saliency"].to_dataset(inherit=False).copy(deep=True)
    values = np.zeros(saliency["heatmap"].shape, dtype=np.float32)
    values[:, :, 0, 0, 4:12, 8:16] = 1.0
    values[:, :, 1, 0, 8:16, 8:16] = 1.0
    saliency["heatmap"].values[:] = values
    saliency["status"].values[:] = 1
    groups = {f"/{name}": node.to_dataset(inherit=False)
              for name, node in tree.children.items()}
    return xr.DataTree.from_dict({**groups, "/": tree.to_dataset(inherit=False),
                                  "/saliency": saliency})


def test_survey_measures_squares_exactly(small_study: xr.DataTree) -> None:
    seen = survey_maps(square_maps(small_study), model="net")
    assert seen is not None
    assert seen.positives
    assert seen.images["Edema & co"] == [f"image-{k:02d}" for k in range(8)]
    assert len(seen.maps) == 8 * 3 * 2
    assert (seen.maps["extent"] == 64 / 1024).all()
    first = seen.maps[seen.maps["explainer"] == "gradcam"]
    assert (first["peak_y"] == 4.5 / 32).all()
    assert (first["peak_x"] == 8.5 / 32).all()
    # Two squares of 64 pixels that share 32.
    assert seen.overlaps["iou"].tolist() == [32 / 96] * 24
    table = explainer_agreement(seen, {}, seed=1)
    assert table["estimate"].tolist() == pytest.approx([1 / 3] * 3)
    assert table["n"].tolist() == [8] * 3
    mean = seen.sums["Cardiomegaly", "gradcam"] / 8
    assert mean[4:12, 8:16].tolist() == np.ones((8, 8)).tolist()
    assert mean.sum() == 64


def test_survey_leaves_out_failed_maps_and_keeps_the_order_of_the_cubes(
        small_study: xr.DataTree) -> None:
    seen = survey_maps(small_study, model="net")
    assert seen is not None
    counts = seen.maps.groupby(["finding", "explainer"], sort=False).size()
    assert counts.index.tolist() == [
        (finding, explainer) for finding in ("Cardiomegaly", "Edema & co", "Lung_Lesion")
        for explainer in ("gradcam", "grad")]
    assert counts["Lung_Lesion", "grad"] == 7


def test_survey_is_bounded_and_evenly_spaced(
        small_study: xr.DataTree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "MOST_IMAGES", 3)
    seen = survey_maps(small_study, model="net")
    assert seen is not None
    assert seen.images["Cardiomegaly"] == ["image-00", "image-04", "image-07"]


def test_survey_without_labels_takes_all_maps_and_none_without_maps(
        small_study: xr.DataTree) -> None:
    groups = {"/": small_study.to_dataset(inherit=False),
              "/saliency": small_study.children["saliency"].to_dataset(inherit=False)}
    seen = survey_maps(xr.DataTree.from_dict(groups), model="net")
    assert seen is not None
    assert not seen.positives
    assert len(seen.images["Cardiomegaly"]) == 12
    assert seen.grounds == {}
    groups["/saliency"] = groups["/saliency"].copy(deep=True)
    groups["/saliency"]["status"].values[:] = 0
    assert survey_maps(xr.DataTree.from_dict(groups), model="net") is None
    assert survey_maps(xr.DataTree.from_dict({"/": groups["/"]}), model="") is None


def test_masks_of_a_map_are_cut_as_for_scoring() -> None:
    heatmap = np.zeros((4, 4), dtype=np.float32)
    heatmap[1, 1:3] = [2.0, 1.0]
    assert mask_above(heatmap, 200).sum() == 1
    assert mask_above(heatmap, 100).sum() == 2
    assert otsu_mask(heatmap)[1].tolist() == [False, True, True, False]
    assert unit_range(heatmap)[1].tolist() == [0, 1, 0.5, 0]
    assert unit_range(np.array([[np.nan, np.nan]])).tolist() == [[0, 0]]
