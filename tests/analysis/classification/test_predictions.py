"""Probabilities beside labels, and the areas under their ROC curves."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from sklearn.metrics import roc_auc_score

from saltrust.analysis.classification.predictions import (
    _resampled_auc,
    aucs_of_models,
    discrimination,
    held_out,
    labeled_probabilities,
    roc_points,
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
    areas = _resampled_auc(truth, scores, weights)
    for row, value in zip(weights, areas, strict=True):
        assert value == pytest.approx(roc_auc_score(np.repeat(truth, row),
                                                    np.repeat(scores, row)), abs=1e-12)
    nothing = np.where(truth, 0, 1)[None]
    assert np.isnan(_resampled_auc(truth, scores, nothing)).all()


def test_blocks_do_not_change_the_resampled_auc(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    truth, scores = rng.random(40) < 0.5, rng.random(40)
    weights = rng.integers(0, 3, (10, 40))
    whole = _resampled_auc(truth, scores, weights)
    monkeypatch.setattr("saltrust.analysis.classification.predictions._BLOCK", 50)
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
    areas = discrimination(table)
    assert areas[["estimate", "conf_low", "conf_high"]].isna().all(axis=None)
    assert areas["n_negative"][0] == 0


def test_probabilities_stand_beside_their_own_labels(small_study: xr.DataTree) -> None:
    table = labeled_probabilities(small_study, model="net")
    assert len(table) == 36
    for row in table.to_dict("records"):
        where = {"image": row["image"], "finding": row["finding"]}
        assert row["probability"] == float(
            small_study["prediction/probability"].sel(**where, model="net"))
        code = int(small_study.children["reference"].to_dataset()["label"].sel(**where))
        assert row["label"] == {1: "positive", 0: "negative", -1: "uncertain"}[code]
        assert row["patient"] == str(small_study["patient"].sel(image=row["image"]).values)


def test_without_patients_or_labels_images_stand_for_themselves(small_study: xr.DataTree) -> None:
    tree = xr.DataTree.from_dict({
        "/": small_study.to_dataset(inherit=False).drop_vars("patient"),
        "/prediction": small_study.children["prediction"].to_dataset(inherit=False)})
    table = labeled_probabilities(tree, model="net")
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
        small_study: xr.DataTree, splits: list[str], expected: set[str], words: str) -> None:
    root = small_study.to_dataset(inherit=False).assign_coords(split=("image", splits))
    tree = xr.DataTree.from_dict({
        "/": root, "/prediction": small_study.children["prediction"].to_dataset(inherit=False)})
    kept, which = held_out(tree, labeled_probabilities(tree, model="net"))
    assert which == words
    of_image = dict(zip(root["image"].values.tolist(), splits, strict=True))
    assert {of_image[name] for name in kept["image"]} == expected
    assert len(kept) == 3 * sum(split in expected for split in splits)


def test_too_few_rows_of_a_class_get_no_interval() -> None:
    truth = np.array([True] * 4 + [False] * 9)
    areas = discrimination(table_of(truth, np.linspace(1, 0, 13), [str(k) for k in range(13)]))
    assert areas["estimate"][0] == 1
    assert np.isnan(areas["conf_low"][0])


def test_areas_of_all_models_and_their_curves(small_study: xr.DataTree) -> None:
    areas = aucs_of_models(small_study, resamples=20)
    assert areas is not None
    assert set(areas["model"]) == {"net"}
    table = labeled_probabilities(small_study, model="net")
    known = table[table["label"].isin(["positive", "negative"])]
    for finding, group in known.groupby("finding"):
        cases = group.assign(label=(group["label"] == "positive").astype(int))
        curve = roc_points(cases)
        area = np.trapezoid(curve["true_positive"], curve["false_positive"])
        row = areas[areas["finding"] == finding].iloc[0]
        assert area == pytest.approx(row["estimate"], abs=1e-12)
    bare = xr.DataTree.from_dict({"/": small_study.to_dataset(inherit=False)})
    assert aucs_of_models(bare) is None
