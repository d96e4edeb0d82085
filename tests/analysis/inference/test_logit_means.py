"""Logits of means: R, statsmodels, level where rows of a patient are alike, what cannot be had."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from saltrust.analysis.inference.logit_means import logit_mean
from saltrust.errors import DataError, UsageError

REFERENCE = Path(__file__).parents[2] / "reference" / "logit_means"
GOLDEN = json.loads((REFERENCE / "golden.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("covariance", ["cr2", "mancl-derouen"])
@pytest.mark.parametrize("name", ["overlap", "hits"])
def test_agrees_with_r(name: str, covariance: Any) -> None:
    rows = pd.read_csv(REFERENCE / f"{name}.csv")
    made = logit_mean(rows["x"], rows["y"], rows["patient"], covariance=covariance)
    golden = GOLDEN[name][covariance]
    for column in ("estimate", "std_error", "df", "p_value"):
        assert getattr(made.slope, column) == pytest.approx(golden[column], rel=1e-6), column
    assert made.marginal.estimate == pytest.approx(GOLDEN[name]["effect"], rel=1e-9)
    assert made.marginal.std_error == pytest.approx(golden["effect_error"], rel=1e-6)
    assert made.clusters == 14


def test_agrees_with_statsmodels() -> None:
    rows = pd.read_csv(REFERENCE / "overlap.csv")
    design = sm.add_constant(rows["x"].to_numpy())
    fit = sm.GLM(rows["y"].to_numpy(), design, family=sm.families.Binomial()).fit(tol=1e-14)
    made = logit_mean(rows["x"], rows["y"], rows["patient"])
    assert made.slope.estimate == pytest.approx(fit.params[1], rel=1e-9)
    # Of one row each CR2 is HC2, which is above the model's sandwich.
    single = logit_mean(rows["x"], rows["y"], np.arange(len(rows)))
    sandwich = sm.GLM(rows["y"].to_numpy(), design, family=sm.families.Binomial()).fit(
        cov_type="HC0").bse[1]
    assert sandwich < single.slope.std_error < 1.1 * sandwich


@pytest.mark.parametrize(("covariance", "hits"), [("cr2", False), ("mancl-derouen", True)])
def test_level_of_a_covariate_of_patients(covariance: Any, hits: bool) -> None:
    rejected = []
    for seed in range(200):
        generator = np.random.default_rng(seed)
        codes = np.repeat(np.arange(40), generator.integers(1, 11, 40))
        x = generator.uniform(size=40)[codes]
        mean = 1 / (1 + np.exp(0.4 - 1.2 * generator.normal(size=40)[codes]))
        y = ((generator.random(len(codes)) < mean).astype(float) if hits else
             np.where(generator.random(len(codes)) < 0.35, 0.0,
                      np.round(generator.beta(5 * mean, 5 * (1 - mean)), 2)))
        rejected.append(logit_mean(x, y, codes, covariance=covariance).slope.p_value < 0.05)
    assert 0.01 <= np.mean(rejected) <= 0.095


@pytest.mark.parametrize(("x", "y", "clusters", "note"), [
    ([1, 2], [0, 1], [1, 2], "2 rows"), ([1, 1, 1], [0, 1, 0], [1, 2, 3], "constant"),
    ([1, 2, 3], [0.5, 0.5, 0.5], [1, 2, 3], "response is constant"),
    ([1, 2, 3, 4], [0, 0, 1, 1], [1, 2, 3, 4], "no maximum"),
    ([1, 2, 3, 4], [0, 1, 0.2, 1], [1, 1, 1, 1], "1 patient: no clustered error")])
@pytest.mark.parametrize("covariance", ["cr2", "mancl-derouen"])
def test_what_cannot_be_had_is_said(x: Any, y: Any, clusters: Any, note: str, covariance: Any
                                    ) -> None:
    made = logit_mean(x, y, clusters, covariance=covariance)
    assert note in made.slope.note
    assert math.isnan(made.slope.p_value)
    assert math.isnan(made.marginal.p_value)


def test_wrong_input() -> None:
    with pytest.raises(DataError, match=r"0\.\.1"):
        logit_mean([1, 2, 3], [0, 1.5, 1], [1, 2, 3])
    with pytest.raises(DataError, match="finite"):
        logit_mean([1, 2, np.nan], [0, 0.5, 1], [1, 2, 3])
    with pytest.raises(DataError, match="every row needs one"):
        logit_mean([1, 2, 3], [0, 1, 0.5], [1, 2])
    with pytest.raises(UsageError, match="covariance"):
        logit_mean([1, 2, 3], [0, 1, 0.5], [1, 2, 3], covariance="cr3")  # type: ignore[arg-type]
