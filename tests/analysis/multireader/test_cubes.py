"""Explainers and models judged by several readers, from cubes: by hand, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import saltrust
from saltrust.analysis.inference.auc import roc_auc
from saltrust.analysis.inference.multireader.obuchowski_rockette import (
    components,
    treatments_alike,
)
from saltrust.errors import DataError, UsageError

READERS = ["radiologists", "reader-1", "reader-2"]


@pytest.fixture(scope="module")
def cubes() -> xr.DataTree:
    return saltrust.simulate_cubes(patients=24, findings=("Edema", "Pneumothorax"), parts=(),
                                   grid=16, seed=5)


@pytest.fixture(scope="module")
def by_explainer(cubes: xr.DataTree) -> saltrust.Result:
    return saltrust.mrmc(saltrust.select(cubes, model="densenet-1"))


@pytest.fixture(scope="module")
def by_model(cubes: xr.DataTree) -> saltrust.Result:
    return saltrust.mrmc(saltrust.select(cubes, explainer="gradcam"), treatment="model")


def jackknifed(figures: Callable[[pd.DataFrame], np.ndarray], rows: pd.DataFrame) -> np.ndarray:
    """Covariance of figures by leaving out one patient of the rows at a time."""
    names = rows["patient"].unique()
    left_out = np.array([figures(rows[rows["patient"] != name]) for name in names])
    around = left_out - left_out.mean(axis=0)
    return (len(names) - 1) / len(names) * around.T @ around


@pytest.mark.parametrize("metric", ["iou", "hit"])
def test_explainers_are_compared_as_by_hand(cubes: xr.DataTree, by_explainer: saltrust.Result,
                                            metric: str) -> None:
    """Reader by reader in the place of the reference, which localization takes alone."""
    parts = []
    for reader in READERS:
        part = saltrust.select(cubes, reader=reader, model="densenet-1", finding="Edema").copy()
        part.children["reference"].dataset = part.children["reference"].to_dataset(
            inherit=False).assign_coords(reader_role=("reader", ["reference"]))
        parts.append(saltrust.localization(part)["scores"])
    scores = pd.concat(parts).dropna(subset=[metric])
    explainers = ["gradcam", "guided_backprop", "grad"]
    # Images that all have: a map that is missing, is so for all.
    wide = scores.pivot_table(index=["patient", "image", "reader"], columns="explainer",
                              values=metric).dropna().reset_index()

    def figures(rows: pd.DataFrame) -> np.ndarray:
        return np.array([rows.loc[rows["reader"] == reader, explainer].mean()
                         for explainer in explainers for reader in READERS])

    expected = treatments_alike(components(figures(wide).reshape(3, 3), jackknifed(figures, wide)))
    table = by_explainer["test"]
    (row,) = table[(table["finding"] == "Edema") & (table["metric"] == metric)].to_dict("records")
    assert row["f"] == pytest.approx(expected.f, rel=1e-9)
    assert row["df2"] == pytest.approx(expected.df2, rel=1e-9)
    assert row["p_value"] == pytest.approx(expected.p_value, rel=1e-7, abs=1e-15)
    assert row["n"] == wide["image"].nunique()
    assert row["patients"] == wide["patient"].nunique()


def test_models_are_told_apart_by_what_readers_saw(cubes: xr.DataTree,
                                                   by_model: saltrust.Result) -> None:
    reference, prediction = (cubes[name].to_dataset() for name in ("reference", "prediction"))
    negative = (reference["label"] == 0).sel(finding="Edema").values
    annotated = reference["annotated"].sel(finding="Edema")
    drawn = reference["mask"].sel(finding="Edema")
    # Models are compared on cases that all of them predicted.
    predicted = np.isfinite(prediction["probability"].sel(finding="Edema").values).all(axis=1)
    models = ["densenet-1", "densenet-2", "inception-1"]
    figures = by_model["figures"]
    area = figures[(figures["metric"] == "auc") & (figures["finding"] == "Edema")]
    assert len(area) == 9
    for model in models:
        probability = prediction["probability"].sel(finding="Edema", model=model).values
        for reader in READERS:
            of_reader = annotated.sel(reader=reader).values
            seen = of_reader & drawn.sel(reader=reader).values.astype(bool).any(axis=(1, 2))
            known = (of_reader | negative) & predicted
            (value,) = area.loc[(area["treatment"] == model) & (area["reader"] == reader),
                                "estimate"]
            assert value == pytest.approx(roc_auc(seen[known], probability[known]))


def test_the_mean_over_findings_weighs_each_alike(by_explainer: saltrust.Result) -> None:
    means = by_explainer["means"].set_index(["metric", "treatment", "finding"])["estimate"]
    for metric in ("iou", "hit"):
        parts = [means[metric, "gradcam", finding] for finding in ("Edema", "Pneumothorax")]
        assert means[metric, "gradcam", "average"] == pytest.approx(np.mean(parts))
    test = by_explainer["test"]
    assert test["family"].tolist()[:3] == ["iou, densenet-1 (2 tests)"] * 2 + [
        "iou, densenet-1, average (1 test)"]
    assert by_explainer.meta["readers"] == READERS
    assert "sample" not in by_explainer.meta["test"]


def test_differences_have_the_error_of_the_test(by_explainer: saltrust.Result) -> None:
    test = by_explainer["test"].set_index(["finding", "metric"])
    pairs = by_explainer["differences"]
    assert len(pairs) == 3 * len(test)
    for _, pair in pairs.iterrows():
        row = test.loc[(pair["finding"], pair["metric"])]
        assert pair["std_error"] == pytest.approx(np.sqrt(2 / 3 * row["denominator"]))
        assert pair["df"] == pytest.approx(row["df2"])


def test_readers_are_chosen_by_the_selection(cubes: xr.DataTree) -> None:
    two = saltrust.mrmc(saltrust.select(cubes, model="densenet-1", finding="Edema",
                                        reader=["reader-1", "reader-2"]))
    assert two.meta["readers"] == ["reader-1", "reader-2"]
    assert two["test"]["note"].str.startswith("2 readers").all()
    fixed = saltrust.mrmc(saltrust.select(cubes, model="densenet-1", finding="Edema",
                                          reader="reader-1"), fixed="readers")
    assert fixed["test"]["df2"].isna().all()
    assert fixed["test"]["p_value"].notna().all()
    assert np.isinf(fixed["differences"]["df"]).all()


def test_of_few_patients_there_is_no_test_but_a_row(cubes: xr.DataTree) -> None:
    few = saltrust.select(cubes, split="val", model="densenet-1")
    with pytest.raises(DataError, match="fewer than 10 patients"):
        saltrust.mrmc(few)


def _idle(cubes: xr.DataTree) -> xr.DataTree:
    tree = cubes.copy()
    reference = tree.children["reference"].to_dataset(inherit=False)
    drew = reference["annotated"].where(reference["reader"] != "reader-2", False)
    tree.children["reference"].dataset = reference.assign(annotated=drew)
    return tree


@pytest.mark.parametrize(("change", "options", "sentence"), [
    (lambda c: saltrust.select(c, reader="reader-1"), {}, "masks of one reader.*fixed readers"),
    (lambda c: saltrust.select(c, explainer="grad", model="densenet-1"), {},
     "one explainer, grad and one model, densenet-1; two"),
    (lambda c: saltrust.select(c, explainer="grad"), {"treatment": "explainer"},
     "one explainer, grad; .*--treatment model"),
    (_idle, {}, "reader-2 annotated no selected image"),
    (lambda c: c.filter(lambda node: node.name != "saliency"), {}, "no heatmaps")])
def test_what_cannot_be_compared_is_one_sentence(cubes: xr.DataTree, change: Any,
                                                 options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence) as caught:
        saltrust.mrmc(change(cubes), **options)
    assert "\n" not in str(caught.value)


def test_unknown_words_are_refused(cubes: xr.DataTree) -> None:
    with pytest.raises(UsageError, match="explainer"):
        saltrust.mrmc(cubes, treatment="explainers")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="readers"):
        saltrust.mrmc(cubes, fixed="reader")  # type: ignore[arg-type]
