"""Localizers' image-level scores beside their maps, in the tables of the criteria."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from sklearn.metrics import average_precision_score

from saltrust.analysis.inference.auc import roc_auc
from saltrust.analysis.options import Decision
from saltrust.analysis.protocols.trustworthiness.tables import marks_table
from saltrust.analysis.result import Result
from saltrust.analysis.select import select
from saltrust.analysis.trustworthiness.repeatability import repeatability
from saltrust.analysis.trustworthiness.utility import joined_localizers, utility
from saltrust.errors import UsageError


@pytest.fixture
def scored(build_study: Any) -> tuple[xr.DataTree, dict[str, float]]:
    """Two localizers with scores of their own, and their AUC on the test images."""
    cubes = build_study(localizers=["unet-1", "unet-2"])
    labels = cubes["reference/label"].values[:, 0]
    test = cubes.coords["split"].values.astype(str) == "test"
    scores = np.random.default_rng(3).uniform(0, 0.6, (len(labels), 2)).astype(np.float32)
    scores[:, 1] += (0.4 * labels).astype(np.float32)
    group = cubes["localizer"].to_dataset(inherit=False)
    cubes["localizer"] = group.assign(score=(("image", "finding", "model"), scores[:, None]))
    return cubes, {f"unet-{k + 1}": roc_auc(labels[test] == 1, scores[test, k])
                   for k in range(2)}


def test_utility_shows_the_auc_of_the_scores(scored: tuple[xr.DataTree, dict[str, float]]) -> None:
    cubes, expected = scored
    tables = utility(select(cubes, split="test"), fitted_on=cubes).tables
    models, summary = tables["models"], tables["summary"]
    for name, auc in expected.items():
        for table, column in ((models, "model"), (summary, "explainer")):
            row = table[(table[column] == name) & (table["condition"] == "localizer")]
            assert row["image_auc"].tolist() == [pytest.approx(auc)]
    assert (models["condition"] == "trained").sum() == len(cubes["saliency"]["model"])


def test_repeatability_shows_both_seeds(scored: tuple[xr.DataTree, dict[str, float]]) -> None:
    cubes, expected = scored
    summary = repeatability(select(cubes, split="test")).tables["summary"]
    row = summary[summary["explainer"] == "localizer unet"].iloc[0]
    assert row["image_auc_a"] == pytest.approx(expected[row["model_a"]])
    assert row["image_auc_b"] == pytest.approx(expected[row["model_b"]])


def test_a_decoder_without_scores_has_the_auc_of_its_classifier(build_study: Any) -> None:
    """A map of a model of /prediction beside it, as a decoder trained on gaze has."""
    cubes = build_study(localizers=["dense-1"])
    summary = utility(select(cubes, split="test"), fitted_on=cubes).tables["summary"]
    of_model = summary[summary["model"] == "dense-1"].set_index(["explainer", "condition"])
    aucs = of_model["image_auc"]
    assert np.isfinite(aucs["dense-1", "localizer"])
    assert aucs.nunique() == 1


def test_what_a_localizer_is_not_about_is_not_listed(build_study: Any) -> None:
    cubes = build_study(localizers=["unet-1"])
    group = cubes["localizer"].to_dataset(inherit=False)
    shape = group["status"].shape
    cubes["localizer"] = group.assign(
        score=(group["status"].dims, np.full(shape, np.nan, np.float32)))
    models = utility(select(cubes, split="test"), fitted_on=cubes).tables["models"]
    assert "localizer" not in set(models["condition"])


def test_precision_over_images_stands_beside_the_auc(
        scored: tuple[xr.DataTree, dict[str, float]]) -> None:
    cubes, expected = scored
    test = cubes.coords["split"].values.astype(str) == "test"
    labels = cubes["reference/label"].values[test, 0] == 1
    models = utility(select(cubes, split="test"), fitted_on=cubes).tables["models"]
    for k, (name, auc) in enumerate(expected.items()):
        row = models[models["model"] == name].iloc[0]
        scores = cubes["localizer/score"].values[test, 0, k]
        assert row["image_ap"] == pytest.approx(average_precision_score(labels, scores))
        assert row["image_auc_low"] < auc < row["image_auc_high"]
        assert row["image_ap_low"] < row["image_ap"] < row["image_ap_high"]
        assert row["image_auprc_low"] < row["image_auprc"] < row["image_auprc_high"]
    of_classifiers = models[models["condition"] == "trained"]
    assert of_classifiers["image_ap"].notna().all()


def test_the_seeds_of_a_localizer_are_one_level_on_request(
        scored: tuple[xr.DataTree, dict[str, float]]) -> None:
    cubes, expected = scored
    part = select(cubes, split="test")
    each = utility(part, fitted_on=cubes)
    together = utility(part, fitted_on=cubes, decision=Decision(localizers="together"))
    name = "unet: 2 seeds"
    assert together.meta["localizers_together"] == {name: ["unet-1", "unet-2"]}
    assert set(each["decisions"]["baseline"]) - set(together["decisions"]["baseline"]) \
        == {"unet-1", "unet-2"}
    assert set(together["decisions"]["baseline"]) - set(each["decisions"]["baseline"]) == {name}
    row = together["summary"].set_index("explainer").loc[name]
    scores = each["scores"][each["scores"]["condition"] == "localizer"]
    per_image = scores.groupby("image")["average_precision"].mean()
    assert row["average_precision_mean"] == pytest.approx(per_image.mean())
    assert row["average_precision_sd"] == pytest.approx(per_image.std())
    assert row["n"] == len(per_image)
    assert row["image_auc"] == pytest.approx(np.mean(list(expected.values())))
    # What was scored stays as it is.
    assert set(together["scores"]["model"]) == set(each["scores"]["model"])
    # Maps that one of the seeds lacks say nothing of both.
    gap = scores.index[0]
    joined, _ = joined_localizers(each["scores"].drop(index=gap), part)
    assert (joined["explainer"] == name).sum() == len(per_image) - 1


def test_the_trapezoid_decides_the_marks_on_request(
        scored: tuple[xr.DataTree, dict[str, float]]) -> None:
    cubes, _ = scored
    part = select(cubes, split="test")
    for metric, column in (("ap", "average_precision"), ("auprc", "auprc")):
        judged = utility(part, fitted_on=cubes, decision=Decision(metric=metric))
        assert judged.meta["deciding_metric"] == column
        # Told apart by turning the others' decisions.
        decisions = judged["decisions"]
        turned = decisions.assign(decision=decisions["decision"].where(
            decisions["metric"] == column, "another"))
        marks = marks_table({"utility": Result(judged.meta, {"decisions": turned}, "utility")})
        assert "another" not in marks.to_numpy()
    assert "since ties" not in judged.meta["average_precision"]
    with pytest.raises(UsageError, match="metric 'auc'"):
        Decision(metric="auc")  # type: ignore[arg-type]
