"""Readers against one who is given: closed forms, and the same test in other clothes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from saltrust.analysis.inference.multireader.obuchowski_rockette import (
    components,
    treatments_alike,
)
from saltrust.analysis.inference.multireader.random_readers import readers_against_one


def left_out_of(scores: np.ndarray) -> np.ndarray:
    return (scores.sum(axis=0) - scores) / (len(scores) - 1)


@pytest.fixture
def scores() -> np.ndarray:
    """Of 15 patients by four readers and a model."""
    generator = np.random.default_rng(4)
    return (0.5 + 0.1 * generator.normal(size=(15, 1)) + 0.1 * generator.normal(size=(15, 5))
            + 0.05 * generator.normal(size=5))


def test_formula_of_hillis(scores: np.ndarray) -> None:
    readers, one = scores[:, :4], scores[:, 4]
    made = readers_against_one(readers.mean(axis=0), one.mean(), left_out_of(readers),
                               left_out_of(one), 15)
    # Of a mean, the jackknife's covariance is that of the scores over n.
    covariance = np.cov((readers - one[:, None]).T) / 15
    psi = (readers - one[:, None]).mean(axis=0)
    cov2 = (covariance.sum() - np.trace(covariance)) / 12
    spread = psi.var(ddof=1)
    assert cov2 > 0
    total = spread + 4 * cov2
    assert made.estimate == pytest.approx(psi.mean())
    assert made.std_error == pytest.approx(np.sqrt(total / 4))
    assert made.df == pytest.approx(total**2 / (spread**2 / 3))
    assert made.statistic == pytest.approx(psi.mean() / np.sqrt(total / 4))
    assert made.p_value == pytest.approx(2 * stats.t.sf(abs(made.statistic), made.df))
    assert made.conf_high == pytest.approx(
        psi.mean() + stats.t.ppf(0.975, made.df) * np.sqrt(total / 4))
    assert (made.n, made.note) == (15, "")


def test_it_is_obuchowski_and_rockette_with_a_reader_who_is_always_the_same(
        scores: np.ndarray) -> None:
    readers, one = scores[:, :4], scores[:, [4]]
    every = np.hstack([readers, np.repeat(one, 4, axis=1)])
    test = treatments_alike(components(every.mean(axis=0).reshape(2, 4), np.cov(every.T) / 15))
    made = readers_against_one(readers.mean(axis=0), one.mean(), left_out_of(readers),
                               left_out_of(one)[:, 0])
    assert made.statistic**2 == pytest.approx(test.f)
    assert made.df == pytest.approx(test.df2)
    assert made.p_value == pytest.approx(test.p_value)
    assert made.std_error == pytest.approx(test.std_error)


def test_without_noise_of_patients_it_is_the_t_test_of_readers() -> None:
    figures = np.array([0.61, 0.66, 0.58])
    made = readers_against_one(figures, 0.55, np.tile(figures, (9, 1)), np.full(9, 0.55))
    expected = stats.ttest_1samp(figures, 0.55)
    assert made.p_value == pytest.approx(expected.pvalue)
    assert made.df == pytest.approx(2)


def test_a_negative_covariance_is_none(scores: np.ndarray) -> None:
    readers = scores[:, :2].copy()
    readers[:, 1] = 1.1 - readers[:, 0]
    made = readers_against_one(readers.mean(axis=0), 0.0, left_out_of(readers), np.zeros(15))
    spread = readers.mean(axis=0).var(ddof=1)
    assert made.std_error == pytest.approx(np.sqrt(spread / 2))
    assert made.df == pytest.approx(1)


@pytest.mark.parametrize(("readers", "without", "note"), [
    ([0.5], np.full((5, 1), 0.5), "1 reader"), ([], np.empty((5, 0)), "no reader"),
    ([0.5, np.nan], np.full((5, 2), 0.5), "without cases"),
    ([0.5, 0.6], np.full((1, 2), 0.5), "1 patient"),
    ([0.5, 0.6], np.array([[0.5, np.nan], [0.5, 0.5]]), "one patient alone"),
    ([0.5, 0.5], np.full((5, 2), 0.5), "no variation")])
def test_what_has_no_test_says_why(readers: list[float], without: np.ndarray, note: str) -> None:
    made = readers_against_one(readers, 0.4, without, np.full(len(without), 0.4))
    assert note in made.note
    assert np.isnan(made.p_value)
    assert np.isnan(made.conf_low)
