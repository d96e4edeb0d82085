"""Tests of paired differences when a patient has several images: closed forms and error rates."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.weightstats import DescrStatsW

from saltrust.analysis.inference.paired_differences import (
    bootstrap,
    equivalence,
    signed_rank,
    within_cluster_ranks,
)


def test_signed_ranks_of_patients_by_enumeration() -> None:
    values = np.array([0.4, -0.1, 0.3, 0.0, 0.8, 0.25, -0.2, 0.6])
    patients = np.array(["a", "a", "b", "b", "c", "c", "d", "d"])
    nonzero = values != 0
    ranks = np.sign(values[nonzero]) * stats.rankdata(np.abs(values[nonzero]))
    sums = np.array([ranks[patients[nonzero] == name].sum() for name in "abcd"])
    every = [abs(np.dot(signs, sums)) for signs in itertools.product((-1, 1), repeat=4)]
    made = signed_rank(values, patients)
    assert made.p_value == np.mean(np.array(every) >= abs(sums.sum()) - 1e-12)
    assert made.estimate == np.median(values)


def test_single_images_are_the_test_as_it_is_known() -> None:
    generator = np.random.default_rng(1)
    for n, how in ((12, {"mode": "exact"}), (40, {"mode": "approx", "correction": False})):
        values = generator.normal(0.3, 1, n)
        expected = stats.wilcoxon(values, **how).pvalue
        assert signed_rank(values, np.arange(n)).p_value == pytest.approx(expected, rel=1e-9)


def test_ranks_of_one_image_drawn_from_every_patient() -> None:
    """By its definition: the mean of a value's rank over all draws of one a patient."""
    sizes, codes = np.array([1.0, 3.0, 2.0, 5.0, 3.0]), np.array([0, 0, 1, 1, 2])
    members = [np.flatnonzero(codes == c) for c in range(3)]
    expected = np.zeros(5)
    draws = list(itertools.product(*members))
    for draw in draws:
        expected[list(draw)] += stats.rankdata(sizes[list(draw)])
    np.testing.assert_allclose(within_cluster_ranks(sizes, codes), expected / len(draws))


def test_size_of_patients_that_informs_is_said() -> None:
    generator = np.random.default_rng(2)
    numbers = np.repeat([1, 6], 15)
    patients = np.repeat(np.arange(30), numbers)
    values = generator.normal(0, np.where(numbers[patients] == 1, 0.1, 1.0))
    assert "patients count alike" in signed_rank(values, patients).note
    alike = generator.normal(size=len(patients))
    assert signed_rank(alike, patients).note == ""


def test_equivalence_of_single_images_is_the_t_test() -> None:
    values = np.random.default_rng(3).normal(0.01, 0.1, 25)
    expected = DescrStatsW(values).ttost_mean(-0.05, 0.05)[0]
    assert equivalence(values, np.arange(25), 0.05).p_value == pytest.approx(expected)
    assert np.isnan(equivalence(values, np.zeros(25), 0.05).p_value)
    assert equivalence(np.full(3, 0.01), np.arange(3), 0.05).p_value == 0
    assert equivalence(np.full(3, 0.2), np.arange(3), 0.05).p_value == 1


def test_equivalence_of_equal_patients_is_the_t_test_of_their_means() -> None:
    means = np.random.default_rng(4).normal(0.01, 0.1, 9)
    values = np.repeat(means, 3) + np.tile([-0.02, 0.0, 0.02], 9)
    expected = DescrStatsW(means).ttost_mean(-0.05, 0.05)[0]
    made = equivalence(values, np.repeat(np.arange(9), 3), 0.05)
    assert made.p_value == pytest.approx(expected)
    assert made.df == pytest.approx(8)


@pytest.mark.parametrize("patients", [12, 40])
def test_error_rates_with_several_images_a_patient(patients: int) -> None:
    """One to ten images a patient, intraclass correlation .5, a third of the differences zero."""
    generator = np.random.default_rng(patients)
    runs, margin = 600, 0.5
    symmetric, at_margin, unclustered = 0, 0, 0
    for _ in range(runs):
        codes = np.repeat(np.arange(patients), generator.integers(1, 11, patients))
        values = (generator.normal(size=patients)[codes]
                  + generator.normal(size=len(codes))) * np.sqrt(0.5)
        at_margin += equivalence(values + margin, codes, margin).p_value < 0.05
        values[generator.random(len(codes)) < 1 / 3] = 0
        symmetric += signed_rank(values, codes).p_value < 0.05
        unclustered += stats.wilcoxon(values[values != 0]).pvalue < 0.05
    assert 0.02 <= symmetric / runs <= 0.07
    assert 0.02 <= at_margin / runs <= 0.08
    assert unclustered / runs > 0.15


@pytest.mark.parametrize("patients", [12, 29, 40])
def test_the_bootstrap_rejects_where_its_interval_leaves_zero(patients: int) -> None:
    generator = np.random.default_rng(patients)
    rejected = []
    for _ in range(40):
        owner = np.repeat(np.arange(patients), generator.integers(1, 6, patients))
        values = generator.normal(0.5, 1, patients)[owner] + generator.normal(size=len(owner))
        made = bootstrap(values, owner, resamples=999, seed=3, confidence_level=0.95)
        rejected.append(made.p_value <= 0.05)
        if not 0.045 < made.p_value < 0.055:  # the edge of a quantile lies between two resamples
            assert rejected[-1] == (not made.conf_low <= 0 <= made.conf_high)
    assert 0 < sum(rejected) < 40


def test_the_bootstrap_of_few_patients_has_no_p_but_of_zeros() -> None:
    values, owner = np.random.default_rng(0).normal(3, 1, 18), np.repeat(np.arange(9), 2)
    made = bootstrap(values, owner, resamples=200, seed=0, confidence_level=0.95)
    assert np.isnan([made.p_value, made.conf_low, made.conf_high]).all()
    assert "fewer than 10" in made.note
    zeros = bootstrap(np.zeros(18), owner, resamples=200, seed=0, confidence_level=0.95)
    assert zeros.p_value == 1
