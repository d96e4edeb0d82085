"""Agreement of maps with gaze: closed forms and independent implementations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from skimage.metrics import structural_similarity
from sklearn.metrics import roc_auc_score

from saltrust.analysis.pixels.gaze_agreement import (
    Agreement,
    agreement,
    auc_shuffled,
    fixated_pixels,
    standardize,
)
from saltrust.errors import DataError

SIZE = (24, 20)


def scene(seed: int, k: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A map with ties, k gaze heatmaps and their fixated pixels."""
    rng = np.random.default_rng(seed)
    heatmap = np.round(rng.normal(size=SIZE), 1)
    gaze = rng.gamma(0.5, size=(k, *SIZE))
    gaze[:, :4] = 0
    gaze /= gaze.max(axis=(1, 2), keepdims=True)
    return heatmap, gaze, gaze > np.quantile(gaze, 0.95)


@pytest.mark.parametrize("seed", range(4))
def test_against_independent_implementations(seed: int) -> None:
    heatmap, gaze, fixated = scene(seed)
    measures = agreement(heatmap, gaze, fixated)
    for k in range(len(gaze)):
        q = gaze[k] / gaze[k].sum()
        p = heatmap - heatmap.min()
        p /= p.sum()
        assert measures.correlation[k] == pytest.approx(stats.pearsonr(
            heatmap.ravel(), gaze[k].ravel()).statistic, abs=1e-12)
        unit = (heatmap - heatmap.min()) / np.ptp(heatmap)
        other = (gaze[k] - gaze[k].min()) / np.ptp(gaze[k])
        assert measures.ssim[k] == pytest.approx(structural_similarity(
            unit, other, data_range=1.0, gaussian_weights=True, use_sample_covariance=False),
            abs=1e-9)
        assert measures.similarity[k] == pytest.approx(1 - np.abs(p - q).sum() / 2, abs=1e-12)
        assert measures.auc_judd[k] == pytest.approx(
            roc_auc_score(fixated[k].ravel(), heatmap.ravel()), abs=1e-12)
        assert measures.nss[k] == pytest.approx(stats.zscore(heatmap, axis=None)[fixated[k]].mean(),
                                             abs=1e-12)


def test_divergence_is_scipys_where_both_densities_are_positive() -> None:
    rng = np.random.default_rng(1)
    heatmap, gaze = rng.uniform(0.2, 1, SIZE), rng.uniform(0.2, 1, (2, *SIZE))
    measures = agreement(heatmap, gaze, gaze > 0.9)
    for k in range(2):
        # scipy's entropy normalises both to densities itself.
        assert measures.kl[k] == pytest.approx(stats.entropy(gaze[k].ravel(), heatmap.ravel()),
                                            abs=1e-10)


def test_divergence_where_the_map_is_zero_is_large_and_finite() -> None:
    heatmap = np.zeros(SIZE)
    heatmap[0, 0] = 1
    gaze = np.zeros((1, *SIZE))
    gaze[0, 10, 10] = 1
    measures = agreement(heatmap, gaze, gaze > 0)
    # All of the gaze lies where the map has nothing: log(1 / eps).
    assert measures.kl[0] == pytest.approx(-np.log(np.finfo(float).eps), rel=1e-12)
    assert measures.similarity[0] == 0


def test_a_map_agrees_perfectly_with_itself_and_not_with_its_negative() -> None:
    _, gaze, fixated = scene(7, k=1)
    for factor, shift in ((1.0, 0.0), (1e-30, 0.0), (1e30, 0.0), (4.0, -9.0)):
        measures = agreement(factor * gaze[0] + shift, gaze, fixated)
        assert measures.correlation[0] == pytest.approx(1)
        assert measures.ssim[0] == pytest.approx(1)
        assert measures.auc_judd[0] == 1
        if shift == 0:
            assert measures.similarity[0] == pytest.approx(1)
            assert measures.kl[0] == pytest.approx(0, abs=1e-9)
    worst = agreement(-gaze[0], gaze, fixated)
    assert worst.correlation[0] == pytest.approx(-1)
    assert worst.auc_judd[0] == 0
    assert worst.nss[0] < 0


def test_a_gaussian_against_a_shifted_gaussian_has_its_closed_form() -> None:
    """Densities of equal width s, d apart: KL = d^2 / (2 s^2); shared mass = 2 Phi(-d / 2s)."""
    n, s, d = 200, 12.0, 9.0
    row = np.exp(-0.5 * ((np.arange(n) - 95) / s) ** 2)
    moved = np.exp(-0.5 * ((np.arange(n) - 95 - d) / s) ** 2)
    column = np.exp(-0.5 * ((np.arange(n) - 100) / s) ** 2)
    measures = agreement(np.outer(column, row), np.outer(column, moved)[None],
                      np.outer(column, moved)[None] > 0.5)
    assert measures.kl[0] == pytest.approx(d**2 / (2 * s**2), rel=1e-6)
    assert measures.similarity[0] == pytest.approx(2 * stats.norm.cdf(-d / (2 * s)), abs=2e-4)
    # Correlation of the densities' fluctuations about their means, by the Gaussian integral.
    a, b = n * n, 2 * np.pi * s**2
    expected = (np.pi * s**2 * np.exp(-d**2 / (4 * s**2)) - b**2 / a) / (np.pi * s**2 - b**2 / a)
    assert measures.correlation[0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("broken", ["flat", "zero", "nan", "inf"])
def test_a_map_without_information_gets_what_chance_gets(broken: str) -> None:
    _, gaze, fixated = scene(3)
    heatmap = np.full(SIZE, {"flat": 0.7, "zero": 0.0, "nan": np.nan, "inf": 1.0}[broken])
    if broken == "inf":
        heatmap[3, 3] = np.inf
    measures = agreement(heatmap, gaze, fixated)
    for measure in (measures.correlation, measures.ssim, measures.nss):
        assert measure.tolist() == [0, 0, 0]
    assert measures.auc_judd.tolist() == [0.5] * 3
    q = gaze / gaze.sum(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(measures.similarity,
                               np.minimum(q, 1 / heatmap.size).sum(axis=(1, 2)))
    assert np.isfinite(measures.kl).all()
    assert auc_shuffled(heatmap, fixated[0], fixated[1:].sum(axis=0)) == 0.5


@pytest.mark.parametrize("wrong", [np.nan, -0.1, 0.0])
def test_what_is_no_gaze_is_refused(wrong: float) -> None:
    heatmap, gaze, fixated = scene(0)
    gaze[1] = 0 if wrong == 0 else gaze[1]
    gaze[1, 5, 5] = wrong
    with pytest.raises(DataError, match="leave out images without gaze"):
        agreement(heatmap, gaze, fixated)
    with pytest.raises(DataError, match="one size"):
        agreement(heatmap[1:], gaze, fixated)


def test_without_fixations_only_the_heatmap_is_compared() -> None:
    heatmap, gaze, fixated = scene(0, k=1)
    measures = agreement(heatmap, gaze, np.zeros_like(fixated))
    assert np.isnan([measures.auc_judd[0], measures.nss[0]]).all()
    assert np.isfinite(measures.correlation[0])
    assert np.isnan(auc_shuffled(heatmap, np.zeros(SIZE, bool), np.ones(SIZE)))
    assert np.isnan(auc_shuffled(heatmap, fixated[0], np.zeros(SIZE)))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000))
def test_the_shuffled_auc_is_the_expectation_over_all_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    heatmap = rng.integers(0, 5, (5, 6)).astype(float)
    viewed = rng.random((5, 6)) < 0.2
    viewed[0, 0] = True
    others = rng.poisson(0.5, (5, 6))
    others[1, 1] += 1
    negatives = np.repeat(heatmap.ravel(), others.ravel())
    wins = [np.mean((value > negatives) + 0.5 * (value == negatives)) for value in heatmap[viewed]]
    if np.ptp(heatmap) == 0:
        assert auc_shuffled(heatmap, viewed, others) == 0.5
    else:
        assert auc_shuffled(heatmap, viewed, others) == pytest.approx(np.mean(wins), abs=1e-12)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.floats(0.1, 50), st.floats(-5, 5))
def test_rank_and_moment_measures_ignore_scale_and_offset(seed: int, a: float, b: float) -> None:
    heatmap, gaze, fixated = scene(seed, k=2)
    one, two = agreement(heatmap, gaze, fixated), agreement(a * heatmap + b, gaze, fixated)
    for name in ("correlation", "ssim", "auc_judd", "nss"):
        np.testing.assert_allclose(getattr(one, name), getattr(two, name), atol=1e-9)


def test_fixations_fall_into_the_pixels_that_hold_them() -> None:
    rng = np.random.default_rng(0)
    y, x = rng.uniform(-0.5, 99.49, 50), rng.uniform(-0.5, 59.49, 50)
    # Edges in native pixel coordinates, as numpy's histogram counts them.
    counts, _, _ = np.histogram2d(y, x, bins=[np.linspace(-0.5, 99.5, 13),
                                              np.linspace(-0.5, 59.5, 8)])
    np.testing.assert_array_equal(fixated_pixels(y, x, (100, 60), (12, 7)), counts > 0)
    assert not fixated_pixels([-3, 200, np.nan], [4, 4, 4], (100, 60), (12, 7)).any()


def test_standardized_maps_have_mean_zero_and_unit_spread() -> None:
    values: Any = np.random.default_rng(2).normal(3, 7, SIZE)
    for factor in (1.0, 1e200, 1e-200):
        z = standardize(values * factor)
        np.testing.assert_allclose(z, stats.zscore(values, axis=None), atol=1e-9)
    assert Agreement._fields == ("correlation", "ssim", "similarity", "kl", "auc_judd", "nss")
