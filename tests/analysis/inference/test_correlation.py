"""Spearman's rho: scipy, R, coverage with known truth, strata, degenerate input."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from saltrust.analysis.inference.bootstrap import resample_weights
from saltrust.analysis.inference.correlation import fisher_interval, spearman
from saltrust.choices import CorrelationInterval
from saltrust.errors import DataError, UsageError

REFERENCE = Path(__file__).parents[2] / "reference" / "linear"
GOLDEN = json.loads((REFERENCE / "golden.json").read_text(encoding="utf-8"))["tables"]


@pytest.mark.parametrize("name", GOLDEN)
def test_agrees_with_r(name: str) -> None:
    rows = pd.read_csv(REFERENCE / f"{name}.csv")
    correlation = spearman(rows["x"], rows["y"])
    assert correlation.estimate == pytest.approx(GOLDEN[name]["spearman"]["estimate"], rel=1e-10)
    assert correlation.p_value == pytest.approx(GOLDEN[name]["spearman"]["p_value"], rel=1e-10)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=4, max_size=30))
@settings(deadline=None, max_examples=50)
def test_agrees_with_scipy_on_ties(pairs: list[tuple[int, int]]) -> None:
    x, y = np.array(pairs, dtype=float).T
    assume(len(set(x)) > 1 and len(set(y)) > 1)
    correlation, peer = spearman(x, y), scipy.stats.spearmanr(x, y)
    assert correlation.estimate == pytest.approx(peer.statistic, abs=1e-12)
    assert correlation.p_value == pytest.approx(peer.pvalue, rel=1e-9, abs=1e-12)


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=25)
def test_monotone_maps_change_nothing(seed: int) -> None:
    x, y = np.random.default_rng(seed).normal(size=(2, 20))
    plain, mapped = spearman(x, y), spearman(np.exp(x), y**3)
    assert mapped == plain
    turned = spearman(-x, y)
    assert turned.estimate == pytest.approx(-plain.estimate, abs=1e-15)
    assert turned.conf_low == pytest.approx(-plain.conf_high, abs=1e-12)


def test_intervals_have_their_closed_forms() -> None:
    x, y = np.random.default_rng(1).normal(size=(2, 50))
    y = y + x
    plain = spearman(x, y)
    rho, z = plain.estimate, scipy.stats.norm.ppf(0.975)
    for interval, variance in (("bonett-wright", (1 + rho**2 / 2) / 47), ("fisher", 1 / 47)):
        correlation = spearman(x, y, interval=interval)  # type: ignore[arg-type]
        half = z * math.sqrt(variance)
        assert correlation.conf_low == pytest.approx(math.tanh(math.atanh(rho) - half), rel=1e-12)
        assert correlation.conf_high == pytest.approx(math.tanh(math.atanh(rho) + half), rel=1e-12)
        assert correlation.std_error == pytest.approx((1 - rho**2) * math.sqrt(variance), rel=1e-12)


def test_printed_interval_of_protocol_s_belongs_to_another_n() -> None:
    # Pneumothorax, 11 radiographs: rho 0.734 (0.710, 0.756) is what n of about 1,534 gives.
    low, high, _ = fisher_interval(0.734, 1534, interval="fisher")
    assert (round(low, 3), round(high, 3)) == (0.710, 0.756)
    low, high, _ = fisher_interval(0.734, 11, interval="fisher")
    assert (round(low, 2), round(high, 2)) == (0.24, 0.93)


def test_bonett_wright_covers_where_fisher_is_short() -> None:
    generator = np.random.default_rng(5)
    pearson = 0.9
    # Spearman's rho of a bivariate normal: 6 / pi * asin(r / 2).
    truth = 6 / math.pi * math.asin(pearson / 2)
    covered = {"bonett-wright": 0, "fisher": 0}
    for _ in range(1000):
        x, e = generator.normal(size=(2, 40))
        y = pearson * x + math.sqrt(1 - pearson**2) * e
        for interval in covered:
            correlation = spearman(x, y, interval=interval)  # type: ignore[arg-type]
            covered[interval] += correlation.conf_low <= truth <= correlation.conf_high
    assert covered["bonett-wright"] / 1000 >= 0.935
    assert covered["fisher"] < covered["bonett-wright"]


def test_bootstrap_is_the_correlation_of_the_drawn_rows() -> None:
    generator = np.random.default_rng(2)
    x = generator.integers(0, 5, 14).astype(float)
    y = x + generator.integers(0, 4, 14)
    correlation = spearman(x, y, interval="bootstrap", resamples=80, seed=3)
    drawn = [scipy.stats.spearmanr(np.repeat(x, weights), np.repeat(y, weights)).statistic
             for weights in resample_weights(np.arange(14), 80, seed=3)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert (correlation.conf_low, correlation.conf_high) == pytest.approx((low, high), abs=1e-12)
    assert correlation.std_error == pytest.approx(np.std(drawn, ddof=1), rel=1e-10)


def test_bootstrap_by_patient_is_wider_on_alike_rows() -> None:
    generator = np.random.default_rng(4)
    patients = np.repeat(np.arange(20), 8)
    x, y = (np.repeat(v, 8) + 0.1 * generator.normal(size=160)
            for v in generator.normal(size=(2, 20)))
    by_row = spearman(x, y, interval="bootstrap", seed=1)
    by_patient = spearman(x, y, interval="bootstrap", clusters=patients, seed=1)
    assert by_patient.estimate == by_row.estimate
    assert (by_patient.conf_high - by_patient.conf_low) > 2 * (by_row.conf_high - by_row.conf_low)


def test_resamples_without_variation_are_counted() -> None:
    x, y = [0, 0, 0, 0, 0, 1], [0.1, 0.2, 0.3, 0.1, 0.2, 0.5]
    correlation = spearman(x, y, interval="bootstrap", resamples=500, seed=0)
    missing = (resample_weights(np.arange(6), 500, seed=0)[:, 5] == 0).sum()
    assert correlation.note.startswith(f"{missing} of 500 resamples")
    assert math.isfinite(correlation.conf_low)


def test_strata_undo_differences_between_them() -> None:
    generator = np.random.default_rng(3)
    strata = np.repeat([0, 1, 2], [30, 60, 40])
    x = generator.normal(size=130) + 10 * strata
    y = x - 10 * strata + 0.5 * generator.normal(size=130) - 20.0 * strata
    assert spearman(x, y).estimate < -0.5
    within = spearman(x, y, strata=strata)
    alone = [spearman(x[strata == s], y[strata == s]).estimate for s in range(3)]
    assert min(alone) <= within.estimate <= max(alone)
    assert (within.df, within.n) == (130 - 2 - 2, 130)
    # Without ties it is the mean of the three, weighted by n - 1 / n.
    weights = np.array([30, 60, 40]) - 1 / np.array([30, 60, 40])
    assert within.estimate == pytest.approx(np.average(alone, weights=weights), abs=1e-12)
    # Another monotone scale in one stratum changes nothing.
    assert spearman(np.where(strata == 1, np.exp(x - 10), x), y,
                    strata=strata).estimate == within.estimate


def test_one_stratum_is_no_stratum() -> None:
    x, y = np.random.default_rng(3).normal(size=(2, 12))
    assert spearman(x, y, strata=["a"] * 12) == spearman(x, y)
    first, second = (spearman(x, y, strata=strata, interval="bootstrap", seed=2, resamples=50)
                     for strata in (None, ["a"] * 12))
    assert first == second


def test_stratified_test_holds_its_level() -> None:
    generator = np.random.default_rng(9)
    strata = np.repeat(np.arange(8), 6)
    rejected = 0
    for _ in range(600):
        x, y = generator.normal(size=(2, 48)) + 5 * strata
        rejected += spearman(x, y, strata=strata).p_value < 0.05
    assert 0.02 <= rejected / 600 <= 0.08


@pytest.mark.parametrize(("x", "y", "note"), [
    ([], [], "no rows: at least 4 are needed"),
    ([1], [2], "1 row: at least 4 are needed"),
    ([1, 2, 3], [2, 1, 3], "3 rows: at least 4 are needed"),
    ([1, 1, 1, 1], [2, 5, 6, 1], "x is constant"),
    ([2, 5, 6, 1], [1, 1, 1, 1], "y is constant"),
])
@pytest.mark.parametrize("interval", ["bonett-wright", "fisher", "bootstrap"])
def test_what_cannot_be_had_says_why(x: list[float], y: list[float], note: str,
                                     interval: CorrelationInterval) -> None:
    correlation = spearman(x, y, interval=interval)
    assert (correlation.n, correlation.note) == (len(x), note)
    assert math.isnan(correlation.estimate)
    assert math.isnan(correlation.p_value)


def test_few_rows_in_strata() -> None:
    assert spearman([1, 2, 3, 4, 5], [1, 3, 2, 5, 4], strata=list("aabbc")).note == (
        "5 rows in 3 groups: at least 6 are needed")
    flat = spearman([1, 1, 1, 2, 2, 2], [1, 3, 2, 5, 4, 6], strata=list("aaabbb"))
    assert flat.note == "x is constant within every group"


def test_perfect_correlation_has_no_interval() -> None:
    correlation = spearman([1, 2, 3, 4, 5], [9, 7, 5, 3, 1])
    assert (correlation.estimate, correlation.p_value) == (-1.0, 0.0)
    assert math.isnan(correlation.conf_low)
    assert correlation.note == "perfect rank correlation: no interval"


def test_wrong_calls() -> None:
    with pytest.raises(UsageError, match="did you mean 'fisher'"):
        spearman([1, 2, 3, 4], [1, 2, 3, 4], interval="fischer")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="confidence_level = 0"):
        spearman([1, 2, 3, 4], [1, 2, 3, 4], confidence_level=0)
    with pytest.raises(DataError, match="finite"):
        spearman([1, 2, 3, np.nan], [1, 2, 3, 4])
    with pytest.raises(DataError, match="give pairs"):
        spearman([1, 2, 3], [1, 2, 3, 4])
    with pytest.raises(DataError, match="1 stratum labels were given for 4 rows"):
        spearman([1, 2, 3, 4], [1, 2, 3, 4], strata=["a"])
    with pytest.raises(DataError, match="1 cluster labels were given for 5 rows"):
        spearman([1, 2, 3, 4, 5], [1, 2, 4, 3, 5], clusters=["a"], interval="bootstrap")
    with pytest.raises(UsageError, match="rho = 1"):
        fisher_interval(1.0, 10)
