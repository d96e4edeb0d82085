"""Step-down max-T: against its definition, its bound, and how often it errs."""

from __future__ import annotations

import numpy as np
import pytest

from saltrust.analysis.inference.max_t import step_down
from saltrust.analysis.inference.multiplicity import adjust
from saltrust.analysis.inference.resampling import resample_weights
from saltrust.errors import DataError


def by_definition(values: np.ndarray, clusters: np.ndarray, resamples: int, seed: int
                  ) -> np.ndarray:
    """Algorithm 3.1 for one family, written out."""
    n, k = values.shape
    mean = values.mean(axis=0)
    names = np.unique(clusters)
    parts = np.array([(values[clusters == c] - mean).sum(axis=0) for c in names]) / n
    error = np.sqrt(len(names) / (len(names) - 1) * (parts**2).sum(axis=0))
    first = np.array([np.flatnonzero(clusters == c)[0] for c in names])
    away = []
    for weights in resample_weights(clusters, resamples, seed)[:, first]:
        drawn = np.repeat(parts, weights, axis=0)
        away.append(np.abs(drawn.sum(axis=0)) / (drawn.std(axis=0, ddof=1) * np.sqrt(len(names))))
    away, seen = np.array(away), np.abs(mean) / error
    adjusted, before = np.empty(k), 0.0
    order = np.argsort(-seen)
    for step, column in enumerate(order):
        largest = away[:, order[step:]].max(axis=1)
        before = max(before, (1 + np.sum(largest >= seen[column])) / (resamples + 1))
        adjusted[column] = before
    return adjusted


def test_it_is_the_algorithm() -> None:
    generator = np.random.default_rng(0)
    clusters = np.repeat(np.arange(20), generator.integers(1, 5, 20))
    values = generator.normal([0.0, 0.2, 0.5, 0.3], 1, (len(clusters), 4))
    made = step_down(values, clusters, np.arange(4), ["f"] * 4, resamples=400, seed=3)
    np.testing.assert_allclose(made.p_adjusted, by_definition(values, clusters, 400, 3))
    assert (made.p_adjusted >= made.p_value).all()
    apart = step_down(values, clusters, np.arange(4), list("abcd"), resamples=400, seed=3)
    np.testing.assert_array_equal(apart.p_adjusted, made.p_value)


def test_thirty_six_clear_differences_are_clear() -> None:
    """What 1,000 resamples and Holm's correction could never show."""
    generator = np.random.default_rng(1)
    values = generator.normal(2, 1, (100, 36))
    made = step_down(values, np.arange(100), np.arange(36), ["f"] * 36, seed=1)
    assert made.p_adjusted.max() == made.least == 1e-4
    assert adjust(np.full(36, 2 / 1001), "holm").min() > 0.07


def test_tests_that_go_together_cost_less_than_under_holm() -> None:
    generator = np.random.default_rng(2)
    shared = generator.normal(0.28, 1, (80, 1))
    values = shared + generator.normal(0, 0.1, (80, 20))
    made = step_down(values, np.arange(80), np.arange(20), ["f"] * 20, resamples=2000)
    assert made.p_adjusted.min() < adjust(made.p_value, "holm").min() / 3


def test_means_of_means_and_what_cannot_be_tested() -> None:
    generator = np.random.default_rng(3)
    values = generator.normal(0.5, 1, (30, 4))
    values[:, 2], values[:, 3] = 1.0, np.nan
    made = step_down(values, np.arange(30), [0, 1, 2, 3, [0, 1], []], [*"abcd", "mean", "none"],
                     resamples=300)
    mean = values[:, :2].mean(axis=1)
    assert made.statistic[4] == pytest.approx(mean.mean() / (mean.std(ddof=1) / np.sqrt(30)))
    assert np.isnan(made.p_adjusted[[2, 3, 5]]).all()
    assert np.isfinite(made.p_adjusted[[0, 1, 4]]).all()
    with pytest.raises(DataError, match="do not fit"):
        step_down(values, np.arange(30), [0, 1], ["f"] * 3)


def test_familywise_error_of_unequal_spreads() -> None:
    """Nine explainers with spreads of .02 to .25, patients of one to five images, no effect."""
    generator = np.random.default_rng(4)
    spreads = np.geomspace(0.02, 0.25, 9)
    pairs = [(a, b) for a in range(9) for b in range(a)]
    wrong = 0
    for run in range(150):
        clusters = np.repeat(np.arange(40), generator.integers(1, 6, 40))
        scores = spreads * (generator.normal(size=(40, 9))[clusters]
                            + generator.normal(size=(len(clusters), 9)))
        values = np.column_stack([scores[:, a] - scores[:, b] for a, b in pairs])
        made = step_down(values, clusters, np.arange(36), ["f"] * 36, resamples=299, seed=run)
        wrong += made.p_adjusted.min() < 0.05
    assert wrong / 150 <= 0.08
