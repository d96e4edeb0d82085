"""Intervals of proportions: statsmodels, equal rows, and coverage of patients with many rows."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from saltrust.analysis.inference.bootstrap import mean_interval
from saltrust.analysis.inference.proportions import (
    clustered_wilson,
    proportion_interval,
    wilson_interval,
)
from saltrust.errors import DataError, UsageError


@given(st.integers(1, 60), st.floats(0.5, 0.999), st.data())
@settings(deadline=None, max_examples=50)
def test_wilson_is_statsmodels(n: int, confidence_level: float, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, n))
    low, high = wilson_interval(successes, n, confidence_level)
    peer = proportion_confint(successes, n, alpha=1 - confidence_level, method="wilson")
    assert low == pytest.approx(peer[0], abs=1e-9)
    assert high == pytest.approx(peer[1], abs=1e-9)
    assert 0 <= low <= successes / n <= high <= 1


def test_proportions_that_are_all_equal_get_wilsons_interval() -> None:
    values = np.array([[1.0, 0.0, 0.0]] * 10 + [[1.0, 0.0, 1.0]])
    interval = proportion_interval(values, seed=5)
    assert (interval.conf_low[0], interval.conf_high[0]) == wilson_interval(11, 11)
    assert (interval.conf_low[1], interval.conf_high[1]) == wilson_interval(0, 11)
    plain = mean_interval(values, seed=5)
    assert (interval.conf_low[2], interval.conf_high[2]) == (plain.conf_low[2], plain.conf_high[2])
    assert interval.notes[0] == "all hits: Wilson interval on 11 rows"
    clustered = proportion_interval([1.0] * 6, ["a", "a", "b", "b", "c", "c"])
    assert float(clustered.conf_low) == wilson_interval(3, 3)[0]
    alone = proportion_interval([1.0])
    assert (float(alone.conf_low), float(alone.conf_high)) == wilson_interval(1, 1)
    assert np.isnan(proportion_interval([np.nan]).conf_low)


def test_a_row_a_patient_is_wilsons_interval_with_t() -> None:
    values = [1, 0, 1, 1, 0, 1, 1, 0, 1, 1, 0, 0]
    low, high = clustered_wilson(values, range(12))
    # s^2 / n of 0 and 1 is p (1 - p) / (n - 1).
    share, size, t = np.mean(values), 11, scipy.stats.t.ppf(0.975, 11)
    expected = np.roots([1 + t**2 / size, -2 * share - t**2 / size, share**2])
    np.testing.assert_allclose(sorted([low, high]), sorted(expected), rtol=1e-9)


def test_patients_of_equal_rows_count_once() -> None:
    repeated = clustered_wilson(np.repeat([1, 0, 1, 1, 0, 1], 7), np.repeat(np.arange(6), 7))
    np.testing.assert_allclose(repeated, clustered_wilson([1, 0, 1, 1, 0, 1], range(6)),
                               rtol=1e-9)
    assert clustered_wilson([1, 1, 1], [1, 1, 2]) == wilson_interval(2, 2)
    assert np.isnan(clustered_wilson([], [])).all()


@pytest.mark.parametrize("share", [0.5, 0.85])
def test_coverage_of_few_patients_with_several_images(share: float) -> None:
    generator = np.random.default_rng(4)
    covered = tried = 0
    for _ in range(400):
        owner = np.repeat(np.arange(12), generator.integers(1, 11, 12))
        latent = np.sqrt(0.5) * generator.normal(size=12)[owner] + np.sqrt(0.5) * generator.normal(
            size=len(owner))
        made = proportion_interval((scipy.stats.norm.cdf(latent) < share).astype(float), owner,
                                   method="auto", resamples=2)
        tried += 1
        covered += bool(made.conf_low <= share <= made.conf_high)
    assert 0.925 * tried <= covered <= 0.985 * tried


def test_wrong_calls_say_what_is_wrong() -> None:
    with pytest.raises(DataError, match="0, 1 or missing"):
        proportion_interval([0.5, 1.0])
    with pytest.raises(UsageError, match="5 of 3"):
        wilson_interval(5, 3)
