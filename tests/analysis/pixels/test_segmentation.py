"""Quantising, Otsu and filling against OpenCV, Pillow and brute force."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image, ImageDraw
from scipy import ndimage

from saltrust.analysis.pixels.runs import background_runs, components, foreground_runs, framed
from saltrust.analysis.pixels.segmentation import (
    fill_contours,
    histogram,
    otsu_threshold,
    quantize,
    segment,
)
from saltrust.analysis.pixels.upsampling import bilinear_map

Mask = npt.NDArray[np.bool_]
Levels = npt.NDArray[np.uint8]
MASKS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.booleans())


def _drawn_by_pillow(mask: Mask) -> Mask:
    """The released way: contours of more than one point, drawn as filled polygons."""
    image = Image.new("1", (mask.shape[1], mask.shape[0]))
    for contour in cv2.findContours(mask.astype(np.uint8), cv2.RETR_TREE,
                                    cv2.CHAIN_APPROX_SIMPLE)[0]:
        if len(contour) > 1:
            ImageDraw.Draw(image).polygon([tuple(p) for p in contour[:, 0].tolist()],
                                          outline=1, fill=1)
    return np.array(image)


def _level_images(count: int, seed: int) -> list[Levels]:
    generator = np.random.default_rng(seed)
    images = []
    for k in range(count):
        shape = tuple(generator.integers(1, 60, 2))
        few = generator.choice(generator.integers(0, 256, size=generator.integers(2, 6)), shape)
        rare = np.where(generator.random((200, 200)) < 1e-4, 255,
                        generator.integers(0, 3, (200, 200)))
        two = np.concatenate([generator.normal(60, 20, shape), generator.normal(160, 12, shape)])
        images.append((generator.integers(0, 256, shape), few, rare, np.clip(two, 0, 255),
                       np.tile(np.arange(256), (3, 1)))[k % 5].astype(np.uint8))
    return images


def test_otsu_is_opencvs_on_any_histogram() -> None:
    for levels in _level_images(300, seed=0):
        expected, cut = cv2.threshold(levels, 0, 255, cv2.THRESH_OTSU)
        threshold = otsu_threshold(histogram(levels))
        assert threshold == expected
        np.testing.assert_array_equal(levels > threshold, cut > 0)


@settings(deadline=None, max_examples=50)
@given(arrays(np.int64, st.integers(2, 12), elements=st.integers(0, 9)))
def test_otsu_maximizes_the_variance_between_classes(counts: npt.NDArray[np.int64]) -> None:
    assume(np.count_nonzero(counts) > 1)

    def between(level: int) -> Fraction:
        parts = [counts[:level + 1].tolist(), counts[level + 1:].tolist()]
        sums = [sum(part) for part in parts]
        if 0 in sums:
            return Fraction(0)
        moments = [sum(k * c for k, c in enumerate(part)) for part in parts]
        means = [Fraction(moments[0], sums[0]), level + 1 + Fraction(moments[1], sums[1])]
        return Fraction(sums[0] * sums[1]) * (means[0] - means[1])**2

    best = max(between(level) for level in range(len(counts)))
    variance = between(otsu_threshold(counts))
    # Exact ties may fall to any of them by rounding.
    assert float(variance) == pytest.approx(float(best), rel=1e-12)


def test_otsu_without_a_split_is_zero() -> None:
    assert otsu_threshold(np.zeros(256, dtype=np.int64)) == 0
    assert otsu_threshold(np.eye(256, dtype=np.int64)[7]) == 0


@settings(deadline=None, max_examples=30)
@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_histogram_counts_every_pixel(levels: Levels) -> None:
    np.testing.assert_array_equal(histogram(levels), np.bincount(levels.ravel(), minlength=256))
    np.testing.assert_array_equal(histogram(levels[:, ::-1]), histogram(levels))


@settings(deadline=None, max_examples=50)
@given(arrays(np.float32, st.integers(2, 40), elements=st.floats(-1e3, 1e3, width=32)))
def test_quantize_is_the_released_arithmetic(values: npt.NDArray[np.float32]) -> None:
    assume(values.min() < values.max())
    shifted = values - values.min()
    expected = np.uint8(255 * (shifted / shifted.max()))
    levels = quantize(values, float(values.min()), float(values.max()))
    np.testing.assert_array_equal(levels, expected)
    assert levels.min() == 0
    assert levels.max() == 255


@settings(deadline=None, max_examples=50)
@given(MASKS)
def test_filling_is_opencv_and_pillow_on_any_mask(mask: Mask) -> None:
    np.testing.assert_array_equal(fill_contours(mask), _drawn_by_pillow(mask))


def test_filling_is_opencv_and_pillow_on_blobs() -> None:
    generator = np.random.default_rng(1)
    for k in range(200):
        noise = generator.normal(size=generator.integers(1, 50, 2))
        smooth = (0, 0.5, 1, 2)[k % 4]
        noise = ndimage.gaussian_filter(noise, smooth) if smooth else noise
        mask = noise > np.quantile(noise, generator.uniform(0.05, 0.95))
        before = mask.copy()
        np.testing.assert_array_equal(fill_contours(mask), _drawn_by_pillow(mask))
        np.testing.assert_array_equal(mask, before)


@settings(deadline=None, max_examples=50)
@given(MASKS)
def test_components_of_runs_are_components_of_pixels(mask: Mask) -> None:
    frame = framed(mask)
    foreground = foreground_runs(frame)
    assert components(foreground, diagonal=True)[0] == ndimage.label(mask, np.ones((3, 3)))[1]
    assert components(foreground, diagonal=False)[0] == ndimage.label(mask)[1]
    gaps = background_runs(foreground, len(frame))
    assert components(gaps, diagonal=False)[0] == ndimage.label(~frame)[1]
    assert (gaps.stop - gaps.start).sum() == np.count_nonzero(~frame)


@pytest.mark.parametrize("definition", ["default", "peer"])
def test_a_two_level_map_is_segmented_into_its_levels(definition: str) -> None:
    values = np.full((20, 30), -0.3, dtype=np.float32)
    values[4:9, 5:20] = 1.7
    segmented = segment(bilinear_map(values, 20, 30), definition)  # type: ignore[arg-type]
    assert segmented is not None
    np.testing.assert_array_equal(segmented.mask, values > 0)
    assert (segmented.peak.row, segmented.peak.column, segmented.peak.n) == (4, 5, 75)


def test_only_peer_fills_and_drops() -> None:
    values = np.zeros((20, 20), dtype=np.float32)
    values[4:12, 4:12] = 1
    values[7, 7] = 0
    values[16, 16] = 1
    plain = segment(bilinear_map(values, 20, 20))
    filled = segment(bilinear_map(values, 20, 20), "peer")
    assert plain is not None
    assert filled is not None
    np.testing.assert_array_equal(plain.mask, values > 0)
    assert filled.mask[7, 7]
    assert not filled.mask[16, 16]
    assert np.count_nonzero(filled.mask) == 64


def test_the_whole_way_is_that_of_the_released_code() -> None:
    generator = np.random.default_rng(2)
    for _ in range(20):
        small = ndimage.gaussian_filter(generator.normal(size=(32, 32)), 2).astype(np.float32)
        whole = bilinear_map(small, 150, 181, "torch")
        values = whole.values() - whole.values().min()
        levels = (255 * (values / values.max())).astype(np.uint8)
        threshold, cut = cv2.threshold(levels, 0, 255, cv2.THRESH_OTSU)
        segmented = segment(whole, "peer")
        assert segmented is not None
        assert segmented.threshold == threshold
        np.testing.assert_array_equal(segmented.mask, _drawn_by_pillow(cut > 0))


def test_a_flat_map_cannot_be_split() -> None:
    assert segment(bilinear_map(np.full((3, 3), 0.2), 9, 9)) is None
