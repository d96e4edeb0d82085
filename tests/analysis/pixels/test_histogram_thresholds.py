"""Thresholds of histograms are those that scikit-image finds in the pixels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import filters

from saltrust.analysis.pixels.histogram_thresholds import histogram_threshold
from saltrust.analysis.pixels.segmentation import otsu_level, otsu_threshold
from saltrust.choices import ThresholdMethod, words

METHODS: tuple[ThresholdMethod, ...] = words(ThresholdMethod)  # type: ignore[assignment]


def _histogram(rng: np.random.Generator, pixels: int) -> npt.NDArray[np.int64]:
    """Of a map: steep, even, or of a few levels; 0 and 255 are met as in a stretched map."""
    share = [rng.gamma(rng.uniform(0.3, 4), size=256),
             np.exp(-np.arange(256) / rng.uniform(5, 60)),
             np.where(rng.random(256) < 0.1, rng.random(256), 0) + 1e-9][rng.integers(3)]
    counts = rng.multinomial(pixels, share / share.sum())
    counts[[0, 255]] += 1
    return np.asarray(counts, dtype=np.int64)


def _pixels(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    return np.repeat(np.arange(256, dtype=np.uint8), counts)[None]


@pytest.mark.parametrize("method", METHODS)
def test_histograms_are_cut_as_scikit_image_cuts_pixels(method: ThresholdMethod) -> None:
    rng = np.random.default_rng(11)
    of_pixels = getattr(filters, f"threshold_{method}")
    for _ in range(60):
        counts = _histogram(rng, 5000)
        assert histogram_threshold(counts, method) == pytest.approx(
            float(of_pixels(_pixels(counts))), abs=1e-4)


def test_otsu_of_the_default_is_opencvs_on_maps() -> None:
    rng = np.random.default_rng(3)
    for _ in range(100):
        counts = _histogram(rng, 50_000)
        ours, theirs = otsu_threshold(counts), otsu_level(counts, "default")
        assert counts[ours + 1:].sum() == counts[theirs + 1:].sum()
        assert otsu_level(counts, "peer") == ours


def test_one_level_has_no_split() -> None:
    for counts in (np.zeros(256, dtype=np.int64), np.eye(256, dtype=np.int64)[9]):
        assert otsu_level(counts, "default") == otsu_level(counts, "peer") == 0


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 90_000_000), min_size=2, max_size=256), st.sampled_from(METHODS))
def test_every_histogram_is_split_into_two_parts(listed: list[int], method: ThresholdMethod
                                                 ) -> None:
    counts = np.array(listed, dtype=np.int64)
    counts[[0, -1]] += 1
    threshold = histogram_threshold(counts, method)
    assert 0 <= threshold < len(counts) - 1


def test_pixels_that_float32_loses_are_still_above() -> None:
    counts = np.zeros(256, dtype=np.int64)
    counts[[0, 255]] = 40_000_000, 1
    assert histogram_threshold(counts, "isodata") == 0
