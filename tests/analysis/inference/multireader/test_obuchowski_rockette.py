"""Obuchowski and Rockette's test against closed forms and other designs that it contains."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.anova import AnovaRM

from saltrust.analysis.inference.multireader.obuchowski_rockette import (
    Components,
    components,
    treatment_mean,
    treatments_alike,
)


def figures(treatments: int, readers: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return 0.8 + 0.05 * generator.normal(size=(treatments, readers))


def test_without_noise_of_cases_it_is_the_anova_of_repeated_measures() -> None:
    theta = figures(3, 5)
    made = treatments_alike(components(theta, np.zeros((15, 15))))
    table = pd.DataFrame({"theta": theta.ravel(), "treatment": np.repeat(range(3), 5),
                          "reader": np.tile(range(5), 3)})
    anova = AnovaRM(table, "theta", "reader", ["treatment"]).fit().anova_table.iloc[0]
    assert made.f == pytest.approx(anova["F Value"], rel=1e-10)
    assert (made.df1, made.df2) == pytest.approx((anova["Num DF"], anova["Den DF"]))
    assert made.p_value == pytest.approx(anova["Pr > F"], rel=1e-9)
    # The same as with fixed cases, whatever the covariances.
    fixed = treatments_alike(components(theta, np.eye(15)), "cases")
    assert fixed[:4] == pytest.approx(made[:4])


def test_without_noise_of_cases_two_treatments_are_the_paired_t_test() -> None:
    theta = figures(2, 6, seed=1)
    made = treatments_alike(components(theta, np.zeros((12, 12))))
    paired = stats.ttest_rel(*theta)
    assert made.f == pytest.approx(paired.statistic**2)
    assert made.p_value == pytest.approx(paired.pvalue)
    difference = theta.mean(axis=1) @ [1, -1]
    assert difference / made.std_error == pytest.approx(paired.statistic)
    assert made.df == pytest.approx(5)


def test_the_denominator_has_a_bound_where_readers_of_a_treatment_share_less() -> None:
    made = Components(3, 4, ms_t=0.02, ms_tr=0.004, var=0.003, cov1=0.001, cov2=0.0005,
                      cov3=0.0009)
    test = treatments_alike(made)
    assert test.denominator == 0.004
    assert test.f == pytest.approx(5)
    assert test.df2 == pytest.approx(6)
    assert test.p_value == pytest.approx(stats.f.sf(5, 2, 6))
    free = treatments_alike(made._replace(cov2=0.0012))
    assert free.denominator == pytest.approx(0.004 + 4 * 0.0003)
    assert free.df2 == pytest.approx(0.0052**2 / (0.004**2 / 6))


def test_fixed_readers_are_the_wald_test_where_covariances_are_alike() -> None:
    theta = figures(3, 4, seed=2)
    var, cov1, cov2, cov3 = 0.004, 0.002, 0.0015, 0.001
    treatment, reader = (np.ravel(part) for part in np.indices(theta.shape))
    same_treatment = treatment[:, None] == treatment
    same_reader = reader[:, None] == reader
    covariance = np.select([same_treatment & same_reader, same_reader, same_treatment],
                           [var, cov1, cov2], cov3)
    made = treatments_alike(components(theta, covariance), "readers")
    contrasts = np.kron([[1, -1, 0], [1, 0, -1]], np.full((1, 4), 0.25))
    spread = contrasts @ covariance @ contrasts.T
    distance = contrasts @ theta.ravel()
    wald = float(distance @ np.linalg.solve(spread, distance))
    assert made.f * made.df1 == pytest.approx(wald)
    assert np.isnan(made.df2)
    assert made.p_value == pytest.approx(stats.chi2.sf(wald, 2))
    assert made.std_error == pytest.approx(np.sqrt(spread[0, 0]))


def test_one_reader_who_is_fixed_is_tested_by_cases_alone() -> None:
    covariance = np.array([[0.003, 0.001], [0.001, 0.002]])
    made = treatments_alike(components([[0.8], [0.7]], covariance), "readers")
    assert np.sqrt(made.f) == pytest.approx(0.1 / np.sqrt(0.003 + 0.002 - 0.002))
    assert np.isnan(treatments_alike(components([[0.8], [0.7]], covariance)).p_value)


@pytest.mark.parametrize("fixed", [None, "readers", "cases"])
def test_nothing_that_varies_is_no_test(fixed: str | None) -> None:
    made = treatments_alike(components([[0.5, 0.5], [0.5, 0.5]], np.zeros((4, 4))), fixed)  # type: ignore[arg-type]
    assert np.isnan(made.p_value)
    assert np.isnan(made.std_error)


def test_a_mean_without_noise_of_cases_is_that_of_its_readers() -> None:
    theta = figures(1, 5, seed=3)[0]
    made = treatment_mean(theta, np.zeros((5, 5)))
    low, high = stats.t.interval(0.95, 4, theta.mean(), stats.sem(theta))
    half = stats.t.ppf(0.975, made.df) * made.std_error
    assert (made.mean - half, made.mean + half) == pytest.approx((low, high))
    # A negative covariance is none.
    assert treatment_mean(theta, np.eye(5) - 0.1)[:2] == pytest.approx(made[:2])
    fixed = treatment_mean(theta, np.full((5, 5), 0.01), "readers")
    assert fixed.std_error == pytest.approx(0.1)
    assert np.isinf(fixed.df)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), treatments=st.integers(2, 4), readers=st.integers(2, 5))
def test_the_order_of_treatments_and_readers_changes_nothing(seed: int, treatments: int,
                                                             readers: int) -> None:
    generator = np.random.default_rng(seed)
    theta = generator.random((treatments, readers))
    root = generator.normal(size=(theta.size, theta.size + 2))
    covariance = 0.001 * root @ root.T
    cells = np.arange(theta.size).reshape(theta.shape)
    moved = cells[generator.permutation(treatments)][:, generator.permutation(readers)].ravel()
    one = treatments_alike(components(theta, covariance))
    two = treatments_alike(components(theta.ravel()[moved].reshape(theta.shape),
                                      covariance[np.ix_(moved, moved)]))
    assert two == pytest.approx(one, nan_ok=True)
    assert one.df2 >= (treatments - 1) * (readers - 1) * (1 - 1e-9)
    # A shift of all figures, and a reader's own, is no difference of treatments.
    shifted = treatments_alike(components(theta + generator.random(readers), covariance))
    assert shifted == pytest.approx(one, nan_ok=True)
