"""Pairs of different images, and what they are for."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saltrust.analysis.pixels.map_similarity import (
    chance_corrected,
    different_images,
    draw_pairs,
    same_images,
)
from saltrust.analysis.pixels.ssim import SSIM_SETTINGS, ssim
from saltrust.errors import UsageError

SETTINGS = SSIM_SETTINGS["default"]


@given(st.lists(st.integers(0, 9), max_size=30), st.integers(1, 1000), st.booleans(),
       st.integers(0, 5))
@settings(deadline=None, max_examples=50)
def test_pairs_are_of_different_patients_and_none_is_twice(
        groups: list[int], pairs: int, ordered: bool, seed: int) -> None:
    left, right = draw_pairs(groups, pairs, np.random.default_rng(seed), ordered=ordered)
    every = {pair for pair in (permutations if ordered else combinations)(range(len(groups)), 2)
             if groups[pair[0]] != groups[pair[1]]}
    pairs_drawn = list(zip(left.tolist(), right.tolist(), strict=True))
    assert len(pairs_drawn) == len(set(pairs_drawn)) == min(pairs, len(every))
    assert set(pairs_drawn) <= every


def test_every_pair_is_as_likely() -> None:
    counts = np.zeros((6, 6))
    for seed in range(2000):
        left, right = draw_pairs(range(6), 3, np.random.default_rng(seed), ordered=False)
        counts[left, right] += 1
    expected = 2000 * 3 / 15
    assert np.abs(counts[np.triu_indices(6, 1)] - expected).max() < 5 * np.sqrt(expected)


def test_many_images_are_drawn_without_listing_all_pairs() -> None:
    left, right = draw_pairs(np.arange(5000), 1000, np.random.default_rng(0), ordered=False)
    assert len(left) == len(set(zip(left.tolist(), right.tolist(), strict=True))) == 1000
    assert (left < right).all()
    assert right.max() < 5000


def test_values_are_those_of_the_pairs() -> None:
    maps = np.random.default_rng(0).normal(size=(9, 24, 24)).astype(np.float32)
    others = maps + 1

    def read(images):
        return maps[images]

    def read_other(images):
        return others[images] ** 2

    images = [1, 3, 4, 8]
    compared = different_images(read, read_other, images, SETTINGS, pairs=100)
    assert compared.possible == len(compared.ssim) == 12
    assert compared.monte_carlo_error == 0
    for left, right, value in zip(compared.left, compared.right, compared.ssim, strict=True):
        assert value == ssim(maps[images[left]], others[images[right]] ** 2, SETTINGS)
    drawn = different_images(read, read, images, SETTINGS, pairs=3, ordered=False, seed=1)
    assert drawn.monte_carlo_error == pytest.approx(
        drawn.ssim.std(ddof=1) * np.sqrt((1 - 3 / 6) / 3))
    of_two = different_images(read, read_other, images, SETTINGS, pairs=100,
                              patients=["a", "b", "a", "c"])
    assert of_two.possible == len(of_two.ssim) == 10
    np.testing.assert_array_equal(same_images(read, read_other, images, SETTINGS),
                                  ssim(maps[images], others[images] ** 2, SETTINGS))


def test_the_monte_carlo_error_is_that_of_repeated_drawings() -> None:
    maps = np.random.default_rng(0).normal(size=(12, 16, 16)).cumsum(axis=1)

    def read(images):
        return maps[images]

    drawn = [different_images(read, read, range(12), SETTINGS, pairs=20, seed=seed, ordered=False)
             for seed in range(200)]
    spread = np.std([sample.mean for sample in drawn], ddof=1)
    assert np.mean([sample.monte_carlo_error for sample in drawn]) == pytest.approx(spread, rel=0.2)


def test_chance_and_bad_input() -> None:
    assert np.isnan(chance_corrected(1, 1))
    assert chance_corrected(0.2, 0.4) < 0
    with pytest.raises(UsageError, match="pairs"):
        different_images(lambda i: i, lambda i: i, [0, 1], SETTINGS, pairs=0)
    empty = different_images(lambda i: np.zeros((len(i), 20, 20)),
                             lambda i: np.zeros((len(i), 20, 20)), [3], SETTINGS)
    assert np.isnan(empty.mean)
