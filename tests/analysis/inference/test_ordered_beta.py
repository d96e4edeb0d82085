"""Ordered beta regression: glmmTMB, the mean it implies, the jackknife, what cannot be had."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saltrust.analysis.inference.ordered_beta import OrderedBeta, ordered_beta
from saltrust.errors import DataError

REFERENCE = Path(__file__).parents[2] / "reference" / "ordbeta"
GOLDEN: dict[str, Any] = json.loads((REFERENCE / "golden.json").read_text())


def study(seed: int, patients: int = 40, slope: float = 0.0
          ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shares of which a third is 0, alike within patients, over a covariate of patients."""
    generator = np.random.default_rng(seed)
    codes = np.repeat(np.arange(patients), generator.integers(1, 11, patients))
    x = generator.uniform(size=patients)[codes]
    eta = -0.3 + slope * x + generator.normal(0, 0.7, patients)[codes]
    mean = 1 / (1 + np.exp(-eta))
    inner = np.clip(np.round(generator.beta(4 * mean, 4 * (1 - mean)), 2), 0.01, 0.99)
    return x, np.where(eta + generator.logistic(size=len(codes)) < -0.9, 0, inner), codes


def _table(name: str) -> pd.DataFrame:
    return pd.read_csv(REFERENCE / f"{name}.csv")


def _mean(fit: OrderedBeta, x: np.ndarray) -> np.ndarray:
    eta = fit.intercept + fit.slope * x
    below, above, mean = (1 / (1 + np.exp(-(eta - cut)))
                          for cut in (fit.lower, fit.upper, 0.0))
    return np.asarray(above + (below - above) * mean)


@pytest.mark.parametrize("name", ["ends", "zeros"])
def test_the_maximum_is_that_of_glmmtmb(name: str) -> None:
    table, golden = _table(name), GOLDEN[name]
    fit = ordered_beta(table["x"], table["y"], table["patient"])
    for field, value in golden["glmmTMB"].items():
        assert getattr(fit, field) == pytest.approx(value, rel=1e-5)
    assert fit.upper == (pytest.approx(golden["upper"], rel=1e-5) if golden["upper"] else math.inf)
    # glmmTMB stops a little short of the top.
    assert fit.log_likelihood >= golden["glmmTMB"]["log_likelihood"] - 1e-9
    assert fit.effect.estimate == pytest.approx(golden["effect"], rel=1e-6)
    assert fit.effect.std_error == pytest.approx(golden["effect_error"], rel=1e-5)
    assert fit.effect.df == golden["patients"] - (5 if golden["upper"] else 4)


def test_the_effect_is_the_change_of_the_mean() -> None:
    table, step = _table("ends"), 1e-5
    x = table["x"].to_numpy()
    fit = ordered_beta(x, table["y"], table["patient"])
    change = (_mean(fit, x + step) - _mean(fit, x - step)).mean() / (2 * step)
    assert fit.effect.estimate == pytest.approx(change, rel=1e-7)


def test_shares_seen_from_the_other_end_have_the_opposite_effect() -> None:
    x, y, codes = study(8, slope=1.0)
    one, other = ordered_beta(x, y, codes), ordered_beta(x, 1 - y, codes)
    assert other.upper == pytest.approx(-one.lower, rel=1e-6)
    assert math.isinf(other.lower)
    assert other.effect.estimate == pytest.approx(-one.effect.estimate, rel=1e-6)
    assert other.effect.std_error == pytest.approx(one.effect.std_error, rel=1e-5)


def test_shares_without_ends_are_a_beta_regression() -> None:
    x, y, codes = study(9, slope=1.0)
    inner = (y > 0) & (y < 1)
    fit = ordered_beta(x[inner], y[inner], codes[inner])
    assert (fit.lower, fit.upper) == (-math.inf, math.inf)
    assert fit.effect.df == len(set(codes[inner])) - 3


def test_the_error_is_near_the_jackknife() -> None:
    x, y, codes = study(2, 30, slope=1.0)
    made = ordered_beta(x, y, codes).effect
    without = np.array([ordered_beta(x[codes != g], y[codes != g], codes[codes != g]
                                     ).effect.estimate for g in range(30)])
    jackknife = math.sqrt(29 / 30 * ((without - without.mean()) ** 2).sum())
    assert made.std_error == pytest.approx(jackknife, rel=0.1)


def test_level_of_a_covariate_of_patients() -> None:
    rejected = np.mean([ordered_beta(*study(seed)).effect.p_value < 0.05 for seed in range(150)])
    assert 0.01 <= rejected <= 0.1


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0, 1e-300]),
                          st.sampled_from([0.0, 1.0, 0.2, 0.999999, 1e-12]),
                          st.integers(0, 4)), min_size=1, max_size=25))
def test_whatever_the_shares_a_number_or_a_note(rows: list[tuple[float, float, int]]) -> None:
    fit = ordered_beta(*zip(*rows, strict=True))
    effect = fit.effect
    assert math.isfinite(effect.estimate) or effect.note
    assert math.isfinite(effect.p_value) or effect.note


@pytest.mark.parametrize(("y", "note"), [
    ([0, 0, 0, 0, 0, 0], "0 shares"), ([0, 1, 0.4, 0.4, 0.4, 0], "3 shares"),
    ([0, 0.3, 0, 0.5, 0, 1], "2 shares")])
def test_what_cannot_be_had_says_why(y: list[float], note: str) -> None:
    assert note in ordered_beta(range(6), y, range(6)).effect.note


def test_what_is_no_regression_is_refused() -> None:
    assert "constant" in ordered_beta([1, 1, 1], [0.1, 0.2, 0.3], [1, 2, 3]).effect.note
    few = ordered_beta(range(6), [0.1, 0.3, 0.2, 0.5, 0, 0], [0, 0, 0, 1, 1, 1]).effect
    assert "no clustered error" in few.note
    for y in ([0.1, 2, 0.3], [0.1, math.nan, 0.3], [0.1, 0.2]):
        with pytest.raises(DataError):
            ordered_beta([1, 2, 3], y, [1, 2, 3])
