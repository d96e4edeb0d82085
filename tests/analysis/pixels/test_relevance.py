"""Mass, rank and energy in a mask: by the pixels themselves, one way and the other."""

from __future__ import annotations

import numpy as np
import pytest

from saltrust.analysis.pixels.levels import count_levels, levels_for
from saltrust.analysis.pixels.relevance import (
    RegionSums,
    pixels_of_level,
    quantus_relevance,
    rank_accuracy,
    relevance,
    uninformative,
)
from saltrust.analysis.pixels.run_masks import mask_of_pixels
from saltrust.analysis.pixels.upsampling import Arithmetic, bilinear_map

LEVELS = levels_for()


def masks(generator: np.random.Generator, size: tuple[int, int]) -> list[np.ndarray]:
    """An ellipse, scattered pixels, a single one, whole columns, and all."""
    y, x = np.mgrid[:size[0], :size[1]]
    whole = np.zeros(size, dtype=bool)
    whole[:, size[1] // 3:size[1] // 2] = True
    single = np.zeros(size, dtype=bool)
    single[-1, -1] = True
    return [((y - size[0] / 2) / size[0]) ** 2 + ((x - size[1] / 3) / size[1]) ** 2 < 0.03,
            generator.random(size) < 0.2, single, whole, np.ones(size, dtype=bool)]


def by_pixels(values: np.ndarray, positive: np.ndarray, mask: np.ndarray
              ) -> tuple[float, float, float]:
    """The definitions on all pixels, ties at the K-th value in their share."""
    rows, columns = np.nonzero(mask)
    box = positive[rows.min():rows.max() + 1, columns.min():columns.max() + 1]
    size = mask.sum()
    least = np.sort(values, axis=None)[-size]
    tied = values == least
    among = (size - (values > least).sum()) / tied.sum()
    rank = ((values > least) & mask).sum() + among * (tied & mask).sum()
    return positive[mask].sum() / positive.sum(), rank / size, box.sum() / positive.sum()


@pytest.mark.parametrize("arithmetic", ["lerp", "torch"])
@pytest.mark.parametrize(("shape", "size"), [((7, 9), (40, 33)), ((12, 10), (12, 10)),
                                             ((9, 8), (5, 71)), ((30, 30), (11, 13)),
                                             ((1, 1), (4, 5))])
@pytest.mark.parametrize("kind", ["positive", "signed", "ties"])
def test_shares_are_those_of_all_pixels(kind: str, shape: tuple[int, int], size: tuple[int, int],
                                        arithmetic: Arithmetic) -> None:
    generator = np.random.default_rng([*shape, *size])
    values = generator.normal(size=shape).astype(np.float32)
    values = {"positive": np.abs(values), "signed": values,
              "ties": np.maximum(np.round(values), 0)}[kind]
    if values.min() == values.max():
        return
    heatmap = bilinear_map(values, *size, arithmetic)
    full = heatmap.values()
    positive = bilinear_map(np.maximum(values, 0), *size, arithmetic).values().astype(np.float64)
    low, high = float(full.min()), float(full.max())
    sums = RegionSums(values, *size, arithmetic)
    assert sums.total == pytest.approx(positive.sum(), rel=1e-6)
    for pixels in masks(generator, size):
        mask = mask_of_pixels(pixels)
        counts = count_levels(heatmap, low, high, LEVELS, [mask])
        ranks = {rank_accuracy(heatmap, low, high, LEVELS, counts.total, counts.inside[0], mask,
                               use_compiled=way) for way in (False, True)}
        assert len(ranks) == 1
        made = relevance(sums, ranks.pop(), mask)
        expected = by_pixels(full, positive, pixels)
        assert made.rank == pytest.approx(expected[1], abs=1e-12)
        assert (made.mass, made.energy) == pytest.approx((expected[0], expected[2]), abs=1e-6)


@pytest.mark.parametrize("arithmetic", ["lerp", "torch"])
def test_pixels_of_a_level_are_the_same_compiled_or_not(arithmetic: Arithmetic) -> None:
    generator = np.random.default_rng(5)
    for offset in (0.0, 1000.0, -3.0):
        values = (generator.normal(size=(9, 14)) + offset).astype(np.float32)
        heatmap = bilinear_map(values, 61, 83, arithmetic)
        full = heatmap.values()
        low, high = float(full.min()), float(full.max())
        gathered = 0
        for level in (0, 1, 100, 254, 255):
            made = [pixels_of_level(heatmap, low, high, level, use_compiled=way)
                    for way in (False, True)]
            orders = [np.argsort(positions) for _, positions in made]
            for part in (0, 1):
                assert np.array_equal(made[0][part][orders[0]], made[1][part][orders[1]])
            gathered += len(made[0][0])
        assert gathered > 0


def test_a_map_that_says_nothing_has_the_shares_of_the_image() -> None:
    mask = np.zeros((10, 10), dtype=bool)
    mask[2, 2] = mask[4, 6] = True
    runs = mask_of_pixels(mask)
    assert uninformative(runs) == (0.02, 0.02, 0.15)
    negative = np.full((10, 10), -1.0, dtype=np.float32)
    negative[0, 0] = -2.0
    sums = RegionSums(negative, 10, 10)
    assert relevance(sums, 0.5, runs) == (0.02, 0.5, 0.15)
    assert np.isnan(uninformative(mask_of_pixels(np.zeros((3, 3), dtype=bool)))).all()


def test_quantus_sums_negative_values_and_takes_whole_ties() -> None:
    values = np.float32([[4, -1, 0, 0], [2, -3, 0, 0], [1, 1, 0, 0]])
    mask = np.zeros((3, 4), dtype=bool)
    mask[:2, :2] = True
    runs = mask_of_pixels(mask)
    heatmap = bilinear_map(values, 3, 4)
    made = quantus_relevance(heatmap, runs)
    assert made.mass == pytest.approx(2 / 4)
    # What Quantus computes: positions of the largest K, in the mask.
    last = np.argsort(values.astype(np.float64).ravel())[-4:]
    assert made.rank == np.isin(last, np.flatnonzero(mask)).mean()
    # Here without what is negative, and K = 4 is at 1, which two pixels outside share.
    ours = relevance(RegionSums(values, 3, 4), 0.5, runs)
    assert ours.mass == pytest.approx(6 / 8)
    zero = quantus_relevance(bilinear_map(np.float32([[1, -1]]), 1, 2),
                             mask_of_pixels(np.array([[True, False]])))
    assert np.isnan(zero.mass)
    assert zero.rank == 1
