"""Thresholds: fixed, tuned, read from files; golden values of the released code."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from saltrust.analysis.localization.analysis import localization
from saltrust.analysis.localization.thresholds import (
    CUTOFFS,
    GRID,
    save_thresholds,
    tune_thresholds,
)
from saltrust.analysis.options import Execution, Resampling, Scoring
from saltrust.analysis.pixels.overlap import intersection_over_union
from saltrust.analysis.pixels.upsampling import bilinear_map
from saltrust.analysis.scores.scored_maps import score_maps
from saltrust.analysis.scores.segmentation_rules import cutoff_choice, threshold_choice
from saltrust.analysis.select import select
from saltrust.cache import rle
from saltrust.errors import DataError, UsageError

BuildCubes = Callable[..., xr.DataTree]
GOLDEN = "patient64541_study1_view1_frontal"
SIZE = (40, 50)
FEW = Resampling(resamples=20)


def _scores(cubes: xr.DataTree, **scoring: Any) -> pd.DataFrame:
    return score_maps(cubes, Scoring(**scoring), Execution()).table


def _with_probabilities(cubes: xr.DataTree, values: Any, model: str) -> xr.DataTree:
    """Cubes with a prediction group of one model; values by image and finding."""
    table = np.asarray(values, dtype=np.float32)[..., None]
    prediction = xr.Dataset({"probability": (("image", "finding", "model"), table)},
                            coords={"model": [model]})
    return cubes.assign({"prediction": xr.DataTree(prediction)})


@pytest.fixture(scope="module")
def golden(shared_data: Path, reference_folder: Path, build_cubes: BuildCubes,
           ) -> tuple[xr.DataTree, dict[str, Any]]:
    import pickle

    folder = shared_data / "chexlocalize_sample"
    drawn = json.loads((folder / "gt_segmentations_val.json").read_text())[GOLDEN]
    text = (reference_folder / "chexlocalize_patient64541.json").read_text()
    expected = {row["finding"]: row for row in json.loads(text)["rows"]}
    heatmaps, probability = {}, []
    for finding in drawn:
        path = folder / "gradcam_maps_val" / f"{GOLDEN}_{finding}_map.pkl"
        # Our own sample, so plain unpickling will do here.
        stored = pickle.loads(path.read_bytes())
        heatmaps[GOLDEN, finding, "gradcam", "ensemble"] = stored["map"][0, 0].numpy()
        probability.append(float(stored["prob"]))
    cubes = build_cubes({(GOLDEN, finding, "truth"): rle.decode(code["counts"], *code["size"])
                         for finding, code in drawn.items()}, heatmaps=heatmaps)
    return _with_probabilities(cubes, [probability], "ensemble"), expected


@pytest.mark.real_data
@pytest.mark.parametrize(("threshold", "cutoff", "name"), [
    (True, False, "thr"), (False, True, "otsu_prob"), (True, True, "thr_prob")])
@pytest.mark.parametrize(("iou_slice", "suffix"), [("both_nonempty", "tp_only"), ("all", "all")])
def test_released_tuned_segmentations(golden: tuple[xr.DataTree, dict[str, Any]],
                                      shared_data: Path, threshold: bool, cutoff: bool, name: str,
                                      iou_slice: Any, suffix: str) -> None:
    cubes, expected = golden
    folder = shared_data / "chexlocalize_sample"
    scores = _scores(
        cubes, definition="peer", resolution="native", slice=iou_slice,
        threshold=folder / "tuning_results.csv" if threshold else None,
        cutoff=folder / "probability_tuning_results.csv" if cutoff else None)
    assert len(scores) == 10
    for row in scores.to_dict("records"):
        values = expected[row["finding"]]
        assert row["area_predicted"] == values[f"area_{name}_px"]
        iou = values[f"iou_{name}_{suffix}"]
        if iou is None:
            assert math.isnan(row["iou"])
        else:
            assert row["iou"] == pytest.approx(iou, abs=1e-6)
        assert (row["hit"] == values["hit"]) or values["hit"] is None


@pytest.mark.real_data
def test_released_files_are_read(shared_data: Path) -> None:
    folder = shared_data / "chexlocalize_sample"
    threshold = threshold_choice(folder / "tuning_results.csv")
    cutoff = cutoff_choice(folder / "probability_tuning_results.csv")
    # The first row with the largest mIoU of the finding.
    assert threshold.of("Cardiomegaly", "any", "any") == 0.2
    assert cutoff.of("Airspace Opacity", "any", "any") == 0.4
    assert cutoff.of("Enlarged Cardiomediastinum", "any", "any") == 0.0


@pytest.fixture(scope="module")
def study(build_cubes: BuildCubes) -> xr.DataTree:
    """Twelve images, two findings, random smooth maps; every third reference is empty."""
    generator = np.random.default_rng(8)
    images = [f"i{k}" for k in range(12)]
    masks, heatmaps = {}, {}
    for k, image in enumerate(images):
        for finding in ("Edema", "Mass"):
            top, left = generator.integers(0, 20, 2)
            mask = np.zeros(SIZE, dtype=bool)
            if k % 3:
                mask[top:top + 15, left:left + 20] = True
            masks[image, finding, "truth"] = mask
            heatmaps[image, finding, "cam", "net"] = generator.random((5, 6))
    heatmaps["i4", "Edema", "cam", "net"] = np.zeros((5, 6))
    cubes = build_cubes(masks, heatmaps=heatmaps, images=images, findings=["Edema", "Mass"],
                        splits=["val", "test"] * 6)
    return _with_probabilities(cubes, generator.random((12, 2)), "net")


def _ious(study: xr.DataTree, finding: str, threshold: float, iou_slice: Any,
          split: str | None = None) -> list[float]:
    """Brute force: upsample, stretch, threshold, decode, compare."""
    ious = []
    reference, root = study["reference"].to_dataset(), study.to_dataset()
    for image in [str(name) for name in root["image"].values]:
        if split and str(root["split"].sel(image=image).item()) != split:
            continue
        mask = rle.decode(str(reference["mask_rle"].sel(
            image=image, finding=finding, reader="truth").item()), *SIZE)
        values = bilinear_map(study["saliency/heatmap"].sel(
            image=image, finding=finding, explainer="cam", model="net").values, *SIZE).values()
        low, high = values.min(), values.max()
        cut = (((values - low) / (high - low)).astype(np.float64) > threshold if high > low
               else np.zeros(SIZE, dtype=bool))
        ious.append(intersection_over_union(cut, mask, iou_slice))
    return ious


@pytest.mark.parametrize("iou_slice", ["positive", "all", "both_nonempty"])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.37])
def test_a_fixed_threshold_is_brute_force(study: xr.DataTree, threshold: float, iou_slice: Any,
                                          ) -> None:
    scores = _scores(study, threshold=threshold, slice=iou_slice)
    for finding in ("Edema", "Mass"):
        ious = scores.loc[scores["finding"] == finding, "iou"].tolist()
        assert ious == pytest.approx(_ious(study, finding, threshold, iou_slice), nan_ok=True)
    usable = scores["threshold"].notna()
    assert (scores.loc[usable, "threshold"] == 255 * threshold).all()
    assert (~usable).sum() == 1


def test_pixelwise_measures_follow_from_the_counts(study: xr.DataTree) -> None:
    result = localization(study, scoring=Scoring(threshold=0.4), resampling=FEW)
    overlap = result.tables["overlap"]
    scores = result.tables["scores"].set_index(["image", "finding"])
    assert len(overlap) == 16
    for row in overlap.to_dict("records"):
        iou = scores.loc[(row["image"], row["finding"]), "iou"]
        assert row["dice"] == pytest.approx(2 * iou / (1 + iou))
        if iou == 0:
            continue
        assert 1 / iou == pytest.approx(1 / row["precision"] + 1 / row["recall"] - 1)
        assert 0 < row["specificity"] <= 1
    flat = overlap[(overlap["image"] == "i4") & (overlap["finding"] == "Edema")].iloc[0]
    assert (flat["dice"], flat["recall"], flat["specificity"], flat["auroc"]) == (0, 0, 1, 0.5)
    assert flat["average_precision"] == pytest.approx(15 * 20 / (40 * 50))
    assert math.isnan(flat["precision"])


def test_tuning_is_brute_force(study: xr.DataTree) -> None:
    result = tune_thresholds(select(study, split="val"))
    table = result.tables["thresholds"].set_index("finding")
    for finding in ("Edema", "Mass"):
        means = [np.nanmean(_ious(study, finding, t, "both_nonempty", "val")) for t in GRID]
        assert table.loc[finding, "threshold"] == GRID[int(np.argmax(means))]
        assert table.loc[finding, "miou"] == pytest.approx(max(means))
        curve = result.tables["threshold_curve"]
        assert curve.loc[curve["finding"] == finding, "miou"].tolist() == pytest.approx(means)
        reached = []
        for cutoff in CUTOFFS:
            scores = _scores(select(study, split="val", finding=[finding]), cutoff=cutoff,
                             slice="all")
            reached.append(scores["iou"].mean())
        assert table.loc[finding, "cutoff"] == CUTOFFS[int(np.argmax(reached))]
        assert table.loc[finding, "miou_cutoff"] == pytest.approx(max(reached))


def test_tuned_on_one_split_and_applied_to_another(study: xr.DataTree, tmp_path: Path) -> None:
    result = tune_thresholds(select(study, split="val"), thresholds=[0.25, 0.35, 0.62])
    path = tmp_path / "tuned.csv"
    save_thresholds(result, path)
    table = result.tables["thresholds"].set_index("finding")
    scoring = Scoring(threshold=path, cutoff=str(path), slice="all")
    scores = localization(select(study, split="test"), scoring=scoring, resampling=FEW)
    meta = scores.meta
    assert "tuned.csv" in meta["threshold"]
    assert "tuned.csv" in meta["probability_cutoff"]
    probability = study["prediction/probability"]
    for row in scores.tables["scores"].to_dict("records"):
        if not math.isnan(row["threshold"]):
            assert row["threshold"] == 255 * table.loc[row["finding"], "threshold"]
        value = float(probability.sel(image=row["image"], finding=row["finding"]).item())
        if value <= table.loc[row["finding"], "cutoff"]:
            assert row["area_predicted"] == 0
    assert meta["counts"]["below_cutoff"] == sum(
        float(probability.sel(image=row["image"], finding=row["finding"]).item())
        <= table.loc[row["finding"], "cutoff"]
        for row in scores.tables["scores"].to_dict("records"))


def test_a_cutoff_empties_segmentations_but_touches_no_hit(study: xr.DataTree) -> None:
    free, cut = (_scores(study, cutoff=cutoff, slice="both_nonempty")
                 for cutoff in (None, 0.5))
    probability = study["prediction/probability"].values[..., 0].ravel()
    below = np.float32(probability) <= np.float32(0.5)
    assert below.any()
    pd.testing.assert_series_equal(free["hit"], cut["hit"])
    assert (cut.loc[below, "area_predicted"] == 0).all()
    assert cut.loc[below, "iou"].isna().all()
    pd.testing.assert_series_equal(free.loc[~below, "iou"], cut.loc[~below, "iou"])


def test_what_cannot_be_tuned_keeps_its_row(build_cubes: BuildCubes) -> None:
    cubes = build_cubes({("a", "Edema", "truth"): np.zeros(SIZE, dtype=bool)},
                        heatmaps={("a", "Edema", "cam", "net"): np.eye(5)})
    row = tune_thresholds(cubes).tables["thresholds"].iloc[0]
    assert math.isnan(row["threshold"])
    assert math.isnan(row["cutoff"])
    assert "no threshold: no map in the slice" in row["note"]


def test_of_equal_means_the_first_wins(build_cubes: BuildCubes) -> None:
    mask = np.zeros(SIZE, dtype=bool)
    mask[:, :25] = True
    cubes = build_cubes({("a", "Edema", "truth"): mask},
                        heatmaps={("a", "Edema", "cam", "net"): mask})
    row = tune_thresholds(cubes, thresholds=[0.6, 0.3, 0.5]).tables["thresholds"].iloc[0]
    assert (row["threshold"], row["miou"]) == (0.6, 1.0)


@pytest.mark.parametrize(("text", "words"), [
    ("finding,cutoff\nEdema,0.3\n", "no column 'threshold'"),
    ("finding,threshold\nEdema,high\n", "'high' is not a number"),
    ("finding,threshold\nEdema,1.5\n", "at least 0 and below 1"),
    ("finding,threshold\nEdema,0.1\nEdema,0.2\n", "more than one row for Edema"),
    ("finding,threshold\n", "no rows"),
])
def test_bad_files_are_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "tuned.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=words):
        threshold_choice(path)


def test_bad_options_are_named(study: xr.DataTree, tmp_path: Path) -> None:
    for wrong in ("otsi", "1.2", "-0.1", str(tmp_path / "none.csv")):
        with pytest.raises(UsageError, match="threshold"):
            _scores(study, threshold=wrong)
    with pytest.raises(UsageError, match="cutoff"):
        _scores(study, cutoff="1.5")
    with pytest.raises(UsageError, match="cut-off"):
        tune_thresholds(study, cutoffs=[2.0])
    path = tmp_path / "tuned.csv"
    path.write_text("finding,threshold\nEdema,0.3\n")
    with pytest.raises(DataError, match=r"tuned.csv has no row for finding 'Mass'"):
        _scores(study, threshold=path)
    edema = select(study, finding=["Edema"])
    assert set(_scores(edema, threshold=path)["finding"]) == {"Edema"}


def test_the_most_specific_row_counts(tmp_path: Path) -> None:
    path = tmp_path / "tuned.csv"
    path.write_text("finding,explainer,model,threshold\nLung Opacity,,,0.1\n"
                    "Airspace Opacity,cam,,0.2\nAirspace Opacity,cam,net,\n")
    choice = threshold_choice(path)
    assert choice.of("Airspace Opacity", "grad", "net") == 0.1
    assert choice.of("Airspace Opacity", "cam", "other") == 0.2
    assert choice.of("Airspace Opacity", "cam", "net") is None
