"""Calibration against scikit-learn, statsmodels and a model that is calibrated by construction."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import xarray as xr
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, roc_auc_score
from statsmodels.stats.proportion import proportion_confint

from saltrust.analysis.classification.calibration import (
    calibration_of_cases,
    calibration_table,
    debiased_error,
    expected_error,
    reliability,
)


def _study(seed: int, n: int = 4000, sharpen: float = 1.0
           ) -> tuple[xr.DataTree, pd.DataFrame, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    truth = generator.uniform(0.05, 0.95, n)
    label = (generator.random(n) < truth).astype(np.int8)
    logit = sharpen * np.log(truth / (1 - truth))
    p = 1 / (1 + np.exp(-logit))
    images = [f"i{k}" for k in range(n)]
    stored = np.concatenate([label, np.array([-1, -2], dtype=np.int8)])
    cubes = xr.DataTree.from_dict({
        "/": xr.Dataset(coords={"image": [*images, "x", "y"], "finding": ["Edema"]}),
        "/reference": xr.Dataset({"label": (("image", "finding"), stored[:, None])})})
    predicted = pd.DataFrame({"image": [*images, "x", "y"], "finding": "Edema", "model": "net",
                              "probability": [*p, 0.5, 0.5]})
    return cubes, predicted, p, label


def _by_term(table: pd.DataFrame) -> pd.DataFrame:
    return table.set_index("term")


def test_calibration_equals_independent_implementations() -> None:
    cubes, predicted, p, label = _study(0, n=300, sharpen=2.0)
    table = _by_term(calibration_table(cubes, predicted, resamples=100))
    assert table.loc["brier", "estimate"] == pytest.approx(brier_score_loss(label, p))
    assert table.loc["auc", "estimate"] == pytest.approx(roc_auc_score(label, p))
    expected = sm.Logit(label, sm.add_constant(np.log(p / (1 - p)))).fit(disp=0)
    assert table.loc["slope", "estimate"] == pytest.approx(expected.params[1], rel=1e-6)
    # One image a patient: CR2 is near the model's own error, and the test is against 1.
    assert table.loc["slope", "std_error"] == pytest.approx(expected.bse[1], rel=0.15)
    assert table.loc["slope", "statistic"] == pytest.approx(
        (table.loc["slope", "estimate"] - 1) / table.loc["slope", "std_error"])
    shift = sm.GLM(label, np.ones(len(p)), sm.families.Binomial(),
                   offset=np.log(p / (1 - p))).fit()
    assert table.loc["intercept", "estimate"] == pytest.approx(shift.params[0], rel=1e-6)
    # Uncertain and unstated labels are left out.
    assert (table["n"] == 300).all()
    by_hand = sum(abs(p[inside].mean() - label[inside].mean()) * inside.sum() for inside in
                  ((np.floor(10 * p) == k) for k in range(10)) if inside.any()) / len(p)
    assert table.loc["ece", "estimate"] == pytest.approx(by_hand)


def test_overconfidence_is_told_from_calibration() -> None:
    fair, bold = (_by_term(calibration_table(*_study(1, sharpen=sharpen)[:2], resamples=50))
                  for sharpen in (1.0, 2.0))
    assert fair.loc["slope", "conf_low"] < 1 < fair.loc["slope", "conf_high"]
    assert bold.loc["slope", "estimate"] == pytest.approx(fair.loc["slope", "estimate"] / 2)
    assert fair.loc["ece", "estimate"] < 0.03 < bold.loc["ece", "estimate"]
    assert fair.loc["brier", "estimate"] < bold.loc["brier", "estimate"]


def test_intercept_and_slope_have_the_errors_of_r() -> None:
    folder = Path(__file__).parents[2] / "reference" / "logit"
    rows = pd.read_csv(folder / "uneven.csv")
    golden = json.loads((folder / "golden.json").read_text(encoding="utf-8"))["uneven"]
    cases = pd.DataFrame({"model": "net", "finding": "Edema", "label": rows["y"],
                          "patient": rows["patient"], "probability": 1 / (1 + np.exp(-rows["x"]))})
    table = _by_term(calibration_of_cases(cases, resamples=50))
    for term in ("slope", "intercept"):
        for field in ("estimate", "std_error", "df"):
            assert table.loc[term, field] == pytest.approx(golden[term][field], rel=1e-7)
    assert table.loc["intercept", "p_value"] == pytest.approx(golden["intercept"]["p_value"])


def test_the_debiased_error_is_that_without_noise() -> None:
    generator = np.random.default_rng(5)
    plain, debiased = [], []
    for _ in range(200):
        p = generator.uniform(0, 1, 150)
        label = (generator.random(150) < np.clip(p + 0.1, 0, 1)).astype(float)
        plain.append(expected_error(p, label))
        debiased.append(debiased_error(p, label))
    # A tenth too low everywhere, but for the highest bin, which has no room.
    assert np.mean(plain) > 0.105
    assert np.mean(debiased) == pytest.approx(0.095, abs=0.008)
    assert debiased_error(np.full(9, 0.4), np.zeros(9)) == pytest.approx(0.4)


def test_one_class_says_why() -> None:
    cubes, predicted, _, label = _study(2, n=20)
    positives = predicted[:20][label == 1]
    table = _by_term(calibration_table(cubes, positives, resamples=20))
    assert table.loc["slope", "note"] == "only positives are labelled"
    assert table.loc["auc", "note"] == "only one class is labelled"
    assert np.isnan(expected_error(np.zeros(0), np.zeros(0)))


def test_bins_of_a_reliability_diagram_are_those_of_scikit_learn() -> None:
    _, _, p, label = _study(3, n=600, sharpen=1.4)
    cases = pd.DataFrame({"model": "net", "finding": "Edema", "label": label, "probability": p,
                          "patient": np.arange(len(p))})
    table = reliability(cases)
    observed, predicted = calibration_curve(label, p, n_bins=10)
    np.testing.assert_allclose(table["observed"], observed)
    np.testing.assert_allclose(table["predicted"], predicted)
    assert table["n"].sum() == 600
    for row in table.itertuples():
        # The effective number of independent cases is n - 1, and t has n - 1 degrees of freedom.
        low, high = proportion_confint(round(row.observed * row.n), row.n, method="wilson")
        np.testing.assert_allclose([row.conf_low, row.conf_high], [low, high], atol=0.03)
    error = (table["n"] * (table["observed"] - table["predicted"]).abs()).sum() / 600
    assert error == pytest.approx(expected_error(p, label.astype(float)))


def test_cases_with_labels_need_no_cubes() -> None:
    cubes, predicted, _, label = _study(4, n=300)
    cases = predicted[:300].assign(label=label, patient=predicted["image"][:300])
    pd.testing.assert_frame_equal(calibration_of_cases(cases, resamples=200),
                                  calibration_table(cubes, predicted, resamples=200))
