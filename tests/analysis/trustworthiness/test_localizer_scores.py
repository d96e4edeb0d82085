"""Localizers' image-level scores beside their maps, in the tables of the criteria."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from saltrust.analysis.inference.auc import roc_auc
from saltrust.analysis.select import select
from saltrust.analysis.trustworthiness.repeatability import repeatability
from saltrust.analysis.trustworthiness.utility import utility


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
