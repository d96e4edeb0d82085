"""What the report measures itself: discrimination, extents of maps, agreement of explainers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from sklearn.metrics import roc_auc_score

from saltrust.report.page import maps
from saltrust.report.page.maps import agreement, mean_maps, survey
from saltrust.report.page.predictions import (
    _resampled_auc,
    discrimination,
    held_out,
    labelled_probabilities,
)


def table_of(truth: np.ndarray, scores: np.ndarray, patients: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"image": [f"i{k}" for k in range(len(truth))], "patient": patients,
                         "finding": "A", "label": np.where(truth, "positive", "negative"),
                         "probability": scores})


def test_weighted_auc_is_the_auc_of_the_repeated_rows() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(30) < 0.4
    scores = rng.integers(0, 8, 30) / 8  # many ties
    weights = rng.integers(0, 4, (20, 30))
    found = _resampled_auc(truth, scores, weights)
    for row, value in zip(weights, found, strict=True):
        assert value == pytest.approx(roc_auc_score(np.repeat(truth, row),
                                                    np.repeat(scores, row)), abs=1e-12)
    nothing = np.where(truth, 0, 1)[None]
    assert np.isnan(_resampled_auc(truth, scores, nothing)).all()


def test_blocks_do_not_change_the_resampled_auc(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    truth, scores = rng.random(40) < 0.5, rng.random(40)
    weights = rng.integers(0, 3, (10, 40))
    whole = _resampled_auc(truth, scores, weights)
    monkeypatch.setattr("saltrust.report.page.predictions._BLOCK", 50)
    assert _resampled_auc(truth, scores, weights) == pytest.approx(whole, abs=1e-12)


def test_discrimination_is_sklearns_and_its_interval_knows_patients() -> None:
    rng = np.random.default_rng(2)
    truth = np.repeat(rng.random(40) < 0.5, 5)
    scores = truth * 0.8 + np.repeat(rng.normal(size=40), 5)
    alone = discrimination(table_of(truth, scores, [str(k) for k in range(200)]), seed=4)
    paired = discrimination(table_of(truth, scores, [str(k // 5) for k in range(200)]), seed=4)
    assert alone["estimate"][0] == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    assert paired["estimate"][0] == alone["estimate"][0]
    # Five copies of every patient carry no more than one.
    width = (paired["conf_high"] - paired["conf_low"])[0]
    narrow = (alone["conf_high"] - alone["conf_low"])[0]
    assert 1.7 < width / narrow < 3
    assert alone[["n_positive", "n_negative"]].iloc[0].tolist() == [truth.sum(), (~truth).sum()]


def test_discrimination_needs_both_classes() -> None:
    table = table_of(np.ones(4, dtype=bool), np.linspace(0, 1, 4), list("abcd"))
    found = discrimination(table)
    assert found[["estimate", "conf_low", "conf_high"]].isna().all(axis=None)
    assert found["n_negative"][0] == 0


def test_probabilities_stand_beside_their_own_labels(cubes: xr.DataTree) -> None:
    table = labelled_probabilities(cubes, model="net")
    assert len(table) == 36
    for row in table.to_dict("records"):
        where = {"image": row["image"], "finding": row["finding"]}
        assert row["probability"] == float(
            cubes.children["prediction"].to_dataset()["probability"].sel(**where, model="net"))
        code = int(cubes.children["reference"].to_dataset()["label"].sel(**where))
        assert row["label"] == {1: "positive", 0: "negative", -1: "uncertain"}[code]
        assert row["patient"] == str(cubes["patient"].sel(image=row["image"]).values)


def test_without_patients_or_labels_images_stand_for_themselves(cubes: xr.DataTree) -> None:
    tree = xr.DataTree.from_dict({
        "/": cubes.to_dataset(inherit=False).drop_vars("patient"),
        "/prediction": cubes.children["prediction"].to_dataset(inherit=False)})
    table = labelled_probabilities(tree, model="net")
    assert table["patient"].tolist() == table["image"].tolist()
    assert set(table["label"]) == {"not stated"}
    assert discrimination(table)["estimate"].isna().all()


@pytest.mark.parametrize(("splits", "expected", "words"), [
    (["train"] * 6 + ["val"] * 3 + ["test"] * 3, {"test"}, "images of the test split"),
    (["train"] * 6 + ["val"] * 6, {"val"}, "images of the validation split"),
    (["train"] * 12, {"train"}, "all images, those the model was trained on included"),
    (["none"] * 12, {"none"}, "all images; which of them the model was trained on is not stated"),
])
def test_discrimination_is_judged_on_images_the_model_has_not_seen(
        cubes: xr.DataTree, splits: list[str], expected: set[str], words: str) -> None:
    root = cubes.to_dataset(inherit=False).assign_coords(split=("image", splits))
    tree = xr.DataTree.from_dict({
        "/": root, "/prediction": cubes.children["prediction"].to_dataset(inherit=False)})
    kept, which = held_out(tree, labelled_probabilities(tree, model="net"))
    assert which == words
    of_image = dict(zip(root["image"].values.tolist(), splits, strict=True))
    assert {of_image[name] for name in kept["image"]} == expected
    assert len(kept) == 3 * sum(split in expected for split in splits)


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


def test_survey_measures_squares_exactly(cubes: xr.DataTree) -> None:
    found = survey(square_maps(cubes), model="net")
    assert found is not None
    assert found.positives
    assert found.images["Edema & co"] == [f"image-{k:02d}" for k in range(8)]
    assert len(found.maps) == 8 * 3 * 2
    assert (found.maps["extent"] == 64 / 1024).all()
    first = found.maps[found.maps["explainer"] == "gradcam"]
    assert (first["peak_y"] == 4.5 / 32).all()
    assert (first["peak_x"] == 8.5 / 32).all()
    # Two squares of 64 pixels that share 32.
    assert found.overlaps["iou"].tolist() == [32 / 96] * 24
    table = agreement(found, {}, seed=1)
    assert table["estimate"].tolist() == pytest.approx([1 / 3] * 3)
    assert table["n"].tolist() == [8] * 3
    mean = found.sums["Cardiomegaly", "gradcam"] / 8
    assert mean[4:12, 8:16].tolist() == np.ones((8, 8)).tolist()
    assert mean.sum() == 64


def test_survey_leaves_out_failed_maps_and_keeps_the_order_of_the_cubes(
        cubes: xr.DataTree) -> None:
    found = survey(cubes, model="net")
    assert found is not None
    counts = found.maps.groupby(["finding", "explainer"], sort=False).size()
    assert counts.index.tolist() == [
        (finding, explainer) for finding in ("Cardiomegaly", "Edema & co", "Lung_Lesion")
        for explainer in ("gradcam", "grad")]
    assert counts["Lung_Lesion", "grad"] == 7
    figure = mean_maps(found)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert "Cardiomegaly\ngradcam, n = 8" in titles
    assert "grad, n = 7" in titles


def test_survey_is_bounded_and_evenly_spaced(cubes: xr.DataTree,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "MOST_IMAGES", 3)
    found = survey(cubes, model="net")
    assert found is not None
    assert found.images["Cardiomegaly"] == ["image-00", "image-04", "image-07"]


def test_survey_without_labels_takes_all_maps_and_none_without_maps(cubes: xr.DataTree) -> None:
    groups = {"/": cubes.to_dataset(inherit=False),
              "/saliency": cubes.children["saliency"].to_dataset(inherit=False)}
    found = survey(xr.DataTree.from_dict(groups), model="net")
    assert found is not None
    assert not found.positives
    assert len(found.images["Cardiomegaly"]) == 12
    assert found.grounds == {}
    groups["/saliency"] = groups["/saliency"].copy(deep=True)
    groups["/saliency"]["status"].values[:] = 0
    assert survey(xr.DataTree.from_dict(groups), model="net") is None
    assert survey(xr.DataTree.from_dict({"/": groups["/"]}), model="") is None


def test_too_few_rows_of_a_class_get_no_interval() -> None:
    truth = np.array([True] * 4 + [False] * 9)
    found = discrimination(table_of(truth, np.linspace(1, 0, 13), [str(k) for k in range(13)]))
    assert found["estimate"][0] == 1
    assert np.isnan(found["conf_low"][0])
