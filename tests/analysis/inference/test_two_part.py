"""Two-part effects: statsmodels and differences, the jackknife, level, what cannot be had."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm

from saltrust.analysis.inference.two_part import two_part_effect
from saltrust.errors import DataError


def study(seed: int, patients: int = 40, slope: float = 0.0, most: int = 10
          ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shares of which a third is 0, alike within patients, over a covariate of patients."""
    generator = np.random.default_rng(seed)
    codes = np.repeat(np.arange(patients), generator.integers(1, most + 1, patients))
    x = generator.uniform(size=patients)[codes]
    level = generator.normal(0, 0.7, patients)[codes]
    mean = 1 / (1 + np.exp(0.4 - slope * x - level))
    some = generator.random(len(codes)) < 1 / (1 + np.exp(-0.8 - slope * x - level))
    return x, np.where(some, np.round(generator.beta(4 * mean, 4 * (1 - mean)), 2), 0), codes


def by_statsmodels(x: np.ndarray, y: np.ndarray) -> float:
    design = sm.add_constant(x)
    family, step = sm.families.Binomial(), 1e-6
    parts = [sm.GLM(response, rows, family=family).fit(tol=1e-13) for response, rows in (
        ((y > 0).astype(float), design), (y[y > 0], design[y > 0]))]
    means = [np.mean(parts[0].predict(moved) * parts[1].predict(moved))
             for moved in (design + np.array([0, step]), design - np.array([0, step]))]
    return float((means[0] - means[1]) / (2 * step))


def test_the_effect_is_the_change_of_the_product() -> None:
    x, y, codes = study(1, slope=1.0)
    assert two_part_effect(x, y, codes).estimate == pytest.approx(by_statsmodels(x, y), rel=1e-6)


def test_the_error_is_near_the_jackknife() -> None:
    x, y, codes = study(2, 30, slope=1.0)
    made = two_part_effect(x, y, codes)
    without = np.array([by_statsmodels(x[codes != g], y[codes != g]) for g in range(30)])
    jackknife = math.sqrt(29 / 30 * ((without - without.mean()) ** 2).sum())
    assert made.std_error == pytest.approx(jackknife, rel=0.1)
    assert made.df == 26


def test_level_of_a_covariate_of_patients() -> None:
    rejected = np.mean([two_part_effect(*study(seed)).p_value < 0.05 for seed in range(200)])
    assert 0.01 <= rejected <= 0.095


@pytest.mark.parametrize(("y", "clusters", "note"), [
    ([0.1, 0.2, 0.3, 0.2, 0.5, 0.4], range(6), "no share is 0"),
    ([0, 0, 0, 0, 0, 0], range(6), "every share is 0"),
    ([0, 0, 0, 0.3, 0.5, 0.4], range(6), "whether a share is 0"),
    ([0, 0.3, 0, 0.3, 0, 0.3], range(6), "the shares above 0"),
    ([0, 0.3, 0, 0.2, 0, 0.4], [1, 1, 2, 2, 3, 3], "3 patients: no clustered error")])
def test_what_cannot_be_had_is_said(y: Any, clusters: Any, note: str) -> None:
    made = two_part_effect(np.arange(6.0), y, list(clusters))
    assert note in made.note
    assert math.isnan(made.p_value)


def test_wrong_input() -> None:
    with pytest.raises(DataError, match=r"0\.\.1"):
        two_part_effect([1, 2, 3], [0, 1.5, 1], [1, 2, 3])
    with pytest.raises(DataError, match="2 cluster labels were given for 3 rows; every row"):
        two_part_effect([1, 2, 3], [0, 0.5, 1], [1, 2])
