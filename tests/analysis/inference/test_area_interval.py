"""Newcombe's interval: what defines it, its ends, and how often it holds the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from saltrust.analysis.inference.area_interval import (
    EffectiveSizes,
    effective_sizes,
    modeled_variance,
    score_estimate,
    score_interval,
)
from saltrust.analysis.inference.auc_covariance import auc_covariance


@settings(deadline=None, derandomize=True, max_examples=60)
@given(area=st.floats(0, 1), positives=st.floats(0.5, 1e5), negatives=st.floats(0.5, 1e5),
       level=st.sampled_from([0.8, 0.95, 0.999]))
def test_bounds_solve_the_equation_that_defines_them(area, positives, negatives, level) -> None:
    low, high = score_interval(area, EffectiveSizes(positives, negatives), level)
    assert 0 <= low <= area <= high <= 1
    z = norm.ppf((1 + level) / 2)
    for bound in {low, high} - {0.0, 1.0}:
        width = z * np.sqrt(modeled_variance(bound, positives, negatives))
        assert abs(bound - area) == pytest.approx(width, rel=1e-4, abs=1e-8)
    mirrored = score_interval(1 - area, EffectiveSizes(positives, negatives), level)
    assert (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx((low, high), abs=1e-8)


def test_perfect_separation_has_an_interval_that_patients_narrow() -> None:
    lows = [score_interval(1.0, EffectiveSizes(n, n))[0] for n in (1, 5, 20, 1000)]
    assert lows == sorted(lows)
    assert 0.1 < lows[0] < 0.3
    assert 0.99 < lows[-1] < 1
    # Ten images of two patients are no more than two patients.
    labels, patients = np.repeat([1, 1, 0, 0], 5), np.repeat([0, 1, 2, 3], 5)
    for none in (0.0, np.nan):
        assert effective_sizes(labels, patients, none, none, none) == (2, 2, np.inf)
    # One image a patient: the design effect is known.
    assert effective_sizes(labels, np.arange(20), 0.3, 0.1, 5.0) == (10, 10, np.inf)


def test_hanley_and_mcneil_of_equal_numbers() -> None:
    """With m = n both variances are one; theirs has q1 - a^2 and q2 - a^2 written out."""
    area, n = 0.87, 40
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    theirs = (area * (1 - area) + (n - 1) * (q1 - area**2 + q2 - area**2)) / n**2
    assert modeled_variance(area, n, n) == pytest.approx(theirs, rel=1e-12)


def test_the_test_inverts_the_interval() -> None:
    for area in np.linspace(0.5, 1, 40):
        made = score_estimate(float(area), 0.1, EffectiveSizes(9.0, 14.0, 7.0), 23)
        assert (made.p_value < 0.05) == (made.conf_low > 0.5)


def test_coverage_with_several_images_a_patient_and_few_positives() -> None:
    """Eight positive patients, one to ten images each, areas of .8 and .98."""
    generator = np.random.default_rng(0)
    for area in (0.8, 0.98):
        shift, held, runs = np.sqrt(2) * norm.ppf(area), 0, 500
        wald = 0
        for _ in range(runs):
            sizes = generator.integers(1, 11, 40)
            patients = np.repeat(np.arange(40), sizes)
            labels = patients < 8
            scores = (shift * labels + np.sqrt(0.5) * generator.normal(size=40)[patients]
                      + np.sqrt(0.5) * generator.normal(size=len(patients)))[:, None]
            clustered = auc_covariance(labels, scores, patients)
            plain = auc_covariance(labels, scores)
            numbers = effective_sizes(labels, patients, clustered.covariance[0, 0],
                                      plain.covariance[0, 0], clustered.df[0])
            low, high = score_interval(clustered.auc[0], numbers)
            held += low <= area <= high
            half = 1.96 * np.sqrt(clustered.covariance[0, 0])
            wald += abs(clustered.auc[0] - area) <= half
        assert 0.92 <= held / runs <= 0.995
        assert wald < held
