"""The jackknife of a mean is its t test; where it cannot be had, a note says why."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from saltrust.analysis.inference.jackknife import jackknife_estimate, share_jackknife


def without_each(values: np.ndarray) -> np.ndarray:
    return (values.sum() - values) / (len(values) - 1)


def test_of_a_mean_it_is_the_t_test() -> None:
    values = np.random.default_rng(0).exponential(size=9)
    made = jackknife_estimate(values.mean(), without_each(values), 9, null=0.5)
    expected = stats.ttest_1samp(values, 0.5)
    interval = expected.confidence_interval()
    assert made.std_error == pytest.approx(stats.sem(values))
    assert (made.statistic, made.p_value, made.df) == pytest.approx(
        (expected.statistic, expected.pvalue, 8))
    assert (made.conf_low, made.conf_high) == pytest.approx((interval.low, interval.high))


def test_bounds_hold_the_interval() -> None:
    made = jackknife_estimate(0.99, [0.5, 0.9, 1.0, 1.0], 4, bounds=(0, 1))
    assert (made.conf_low, made.conf_high) == (0, 1)


@pytest.mark.parametrize(("left_out", "why"), [
    ([], "0 patients"), ([0.5], "1 patient:"), ([0.5, np.nan, 0.4], "one patient alone"),
    ([0.7, 0.7, 0.7], "no variation")])
def test_without_an_interval_a_note_says_why(left_out: list[float], why: str) -> None:
    made = jackknife_estimate(0.7, left_out, 3)
    assert why in made.note
    assert np.isnan([made.conf_low, made.p_value]).all()
    assert made.estimate == 0.7


def test_no_estimate() -> None:
    assert np.isnan(jackknife_estimate(np.nan, [0.1, 0.2], 2).estimate)


def test_a_share_has_bounds_symmetric_in_log_odds() -> None:
    left = np.array([0.96, 0.985, 0.97, 0.98, 0.99])
    made, plain = share_jackknife(0.98, left, 5), jackknife_estimate(0.98, left, 5, null=0.5)
    odds = [np.log(p / (1 - p)) for p in (made.conf_low, 0.98, made.conf_high)]
    assert odds[1] - odds[0] == pytest.approx(odds[2] - odds[1])
    assert 0 < made.conf_low < 0.98 < made.conf_high < 1
    assert made.std_error == plain.std_error
    assert made.p_value < 0.05
    # Where leaving one out makes it perfect there are no log-odds.
    perfect = share_jackknife(0.98, [0.97, 1.0, 0.98], 3)
    assert perfect.conf_high == 1
