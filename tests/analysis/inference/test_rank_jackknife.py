"""Clustered rank correlations: by hand, by derivative, their level and coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from saltrust.analysis.inference import rank_jackknife
from saltrust.analysis.inference.correlation import spearman
from saltrust.analysis.inference.estimate import Estimate
from saltrust.analysis.inference.rank_jackknife import clustered_spearman
from saltrust.errors import DataError


def made(x: np.ndarray, y: np.ndarray, clusters: np.ndarray, **options: object) -> Estimate:
    return clustered_spearman(spearman(x, y), x, y, clusters, **options)  # type: ignore[arg-type]


def clustered(seed: int, patients: int, rho: float = 0.0, *, single: bool = False,
              zeros: float = 0.35) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probability and score, each with an intraclass correlation of .5, a third of scores 0."""
    generator = np.random.default_rng(seed)
    sizes = np.ones(patients, dtype=int) if single else generator.integers(1, 11, patients)
    codes = np.repeat(np.arange(patients), sizes)
    x, e = (math.sqrt(0.5) * (generator.normal(size=patients)[codes]
                              + generator.normal(size=len(codes))) for _ in range(2))
    y = rho * x + math.sqrt(1 - rho**2) * e
    return x, np.where(y < stats.norm.ppf(zeros), 0, np.round(stats.norm.cdf(y), 2)), codes


def test_it_is_the_jackknife_by_hand() -> None:
    x, y, codes = clustered(3, 9, 0.4)
    z = [math.atanh(stats.spearmanr(x[codes != g], y[codes != g])[0]) for g in range(9)]
    error = math.sqrt(8 / 9 * sum((np.array(z) - np.mean(z)) ** 2))
    estimate = made(x, y, codes)
    rho = stats.spearmanr(x, y)[0]
    assert estimate.estimate == pytest.approx(rho, rel=1e-12)
    assert estimate.statistic == pytest.approx(math.atanh(rho) / error, rel=1e-9)
    half = stats.t.ppf(0.975, 8) * error
    assert (estimate.conf_low, estimate.conf_high) == pytest.approx(
        (math.tanh(math.atanh(rho) - half), math.tanh(math.atanh(rho) + half)), rel=1e-9)
    assert estimate.df == 8
    assert estimate.std_error == pytest.approx((1 - rho**2) * error, rel=1e-9)


@pytest.mark.parametrize("rho", [0.0, 0.5])
def test_the_derivative_says_what_leaving_out_says(rho: float, monkeypatch: pytest.MonkeyPatch
                                                   ) -> None:
    x, y, codes = clustered(5, 90, rho)
    strata = np.random.default_rng(0).integers(0, 4, len(x))
    fit = spearman(x, y, strata=strata)
    exact = clustered_spearman(fit, x, y, codes, strata=strata)
    monkeypatch.setattr(rank_jackknife, "MOST_LEFT_OUT", 10)
    near = clustered_spearman(fit, x, y, codes, strata=strata)
    assert near.std_error == pytest.approx(exact.std_error, rel=0.05)
    # Of the correlation itself: moving all weight of a row by a little.
    parts = [np.flatnonzero(strata == s) for s in range(4)]
    derivative = rank_jackknife._derivative(x, y, parts)
    weights = np.ones((2, len(x)))
    weights[:, 7] += [1e-6, -1e-6]
    moved = np.arctanh([_plain_rho(x, y, parts, row) for row in weights])
    assert derivative[7] == pytest.approx((moved[0] - moved[1]) / 2e-6, rel=1e-4, abs=1e-7)


def _plain_rho(x: np.ndarray, y: np.ndarray, parts: list[np.ndarray], weights: np.ndarray) -> float:
    """Weighted ranks by their definition: half the weight above less half that below."""
    products = np.zeros(3)
    for part in parts:
        w = weights[part]
        a, b = (((np.sign(v[part][:, None] - v[part]) / 2) @ w) / w.sum() for v in (x, y))
        products += [w @ (a * b), w @ (a * a), w @ (b * b)]
    return float(products[0] / np.sqrt(products[1] * products[2]))


@pytest.mark.parametrize(("patients", "single", "low", "high"), [
    (12, False, 0.015, 0.09), (12, True, 0.0, 0.07), (40, False, 0.02, 0.08)])
def test_level_where_the_rows_of_a_patient_are_alike(patients: int, single: bool, low: float,
                                                     high: float) -> None:
    runs = [clustered(seed, patients, single=single) for seed in range(300)]
    rejected = np.mean([made(*run).p_value < 0.05 for run in runs])
    assert low <= rejected <= high
    if not single:
        assert np.mean([spearman(x, y).p_value < 0.05 for x, y, _ in runs]) > 0.13


def test_intervals_cover_a_correlation_by_patient() -> None:
    # Of 10^6 rows with a correlation of .5 before scores were cut and rounded.
    truth = float(stats.spearmanr(*clustered(10**6, 200_000, 0.5)[:2])[0])
    covered = [estimate.conf_low <= truth <= estimate.conf_high
               for estimate in (made(*clustered(seed, 40, 0.5)) for seed in range(250))]
    assert 0.91 <= np.mean(covered) <= 0.985


@pytest.mark.parametrize(("clusters", "note"), [
    ([1] * 6, "1 patient: no clustered error"), ([1, 1, 1, 1, 1, 2], "one patient alone"),
    ([1, 1, 2, 2, 3, 3], "2.0 degrees of freedom")])
def test_what_cannot_be_had_is_said(clusters: list[int], note: str) -> None:
    x, y = np.arange(6.0), np.array([1.0, 3, 2, 6, 5, 4])
    assert note in made(x, y, np.array(clusters)).note


def test_without_a_test_there_is_none_and_labels_are_counted() -> None:
    x = np.arange(6.0)
    perfect = made(x, x, x)
    assert (perfect.estimate, math.isnan(perfect.p_value)) == (1.0, True)
    assert "perfect" in perfect.note
    assert math.isnan(made(x, np.ones(6), x).estimate)
    with pytest.raises(DataError, match="every row needs one"):
        made(x, x[::-1] ** 2 % 7, np.array([1, 2]))
