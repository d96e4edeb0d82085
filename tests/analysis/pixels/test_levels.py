"""Histograms of maps: exact at every threshold, the same compiled and not, areas under curves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from saltrust.analysis.pixels.histogram_curves import area_under_roc, average_precision
from saltrust.analysis.pixels.levels import THRESHOLDS, count_levels, filled_above, levels_for
from saltrust.analysis.pixels.run_masks import RunMask, mask_of_pixels, mask_of_runs
from saltrust.analysis.pixels.segmentation import fill_contours, otsu_threshold, quantize
from saltrust.analysis.pixels.upsampling import BilinearMap, bilinear_map
from saltrust.cache import rle
from saltrust.errors import UsageError


def _map(seed: int, arithmetic: str = "lerp", size: tuple[int, int] = (61, 83)) -> BilinearMap:
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(7, 9)).astype(np.float32)
    if seed % 2:
        # Plateaus at the thresholds themselves: 0, 0.1, ... 1 of the range.
        values = (generator.integers(0, 11, (7, 9)) / 10).astype(np.float32)
        values[0, :2] = 0, 1
    return bilinear_map(values, *size, arithmetic)  # type: ignore[arg-type]


def _masks(seed: int, size: tuple[int, int] = (61, 83)) -> list[np.ndarray]:
    generator = np.random.default_rng([seed, 1])
    box = np.zeros(size, dtype=bool)
    box[10:40, 20:70] = True
    return [box, generator.random(size) < 0.3, np.zeros(size, dtype=bool), np.ones(size, bool)]


@pytest.mark.parametrize("use_compiled", [False, True])
@pytest.mark.parametrize("arithmetic", ["lerp", "torch"])
@pytest.mark.parametrize("extra", [(), (0.123, 0.5001, 0.5002, 0.5003, 0.99)])
@pytest.mark.parametrize("seed", range(4))
def test_every_threshold_is_exact(seed: int, arithmetic: str, use_compiled: bool,
                                  extra: tuple[float, ...]) -> None:
    heatmap, masks = _map(seed, arithmetic), _masks(seed)
    values = heatmap.values()
    low, high = heatmap.minimum(), heatmap.peak().value
    share = (values - np.float32(low)) / (np.float32(high) - np.float32(low))
    levels = levels_for(extra)
    counts = count_levels(heatmap, low, high, levels, [mask_of_pixels(mask) for mask in masks],
                          use_compiled=use_compiled)
    for threshold in (*THRESHOLDS, *extra):
        above = share.astype(np.float64) > threshold
        start = levels.bin_above(threshold)
        assert counts.total[start:].sum() == above.sum(), threshold
        for row, mask in zip(counts.inside, masks, strict=True):
            assert row[start:].sum() == (above & mask).sum(), threshold
    stretched = quantize(values, low, high)
    expected = np.bincount(stretched.ravel(), minlength=256)
    assert (levels.of_level(counts.total) == expected).all()
    assert otsu_threshold(levels.of_level(counts.total)) == otsu_threshold(expected)


def test_evenly_spaced_thresholds_are_counted_by_a_product() -> None:
    assert levels_for().steps == 20
    assert levels_for([0.05, 0.5]).steps == 20
    assert levels_for([0.123]).steps == 0
    # Neighbours in float32 of every threshold and of every level fall where they must.
    exact = np.array([*THRESHOLDS, *(k / 255 for k in range(256))], dtype=np.float64)
    near = exact.astype(np.float32)
    values = np.concatenate([near, np.nextafter(near, np.float32(-1)),
                             np.nextafter(near, np.float32(2)), np.float32([0, 1])])
    values = np.clip(values, 0, 1)[:, None]
    heatmap = bilinear_map(values, len(values), 1)
    for use_compiled in (False, True):
        counts = count_levels(heatmap, 0.0, 1.0, levels_for(), [], use_compiled=use_compiled)
        for threshold in THRESHOLDS:
            start = levels_for().bin_above(threshold)
            assert counts.total[start:].sum() == (values.astype(np.float64) > threshold).sum()


@given(st.integers(0, 2**32 - 1), st.integers(1, 14), st.integers(2, 80), st.integers(0, 254),
       st.sampled_from(["lerp", "torch"]))
@settings(deadline=None, max_examples=50)
def test_filling_runs_is_filling_pixels(seed: int, height: int, width: int, threshold: int,
                                        arithmetic: str) -> None:
    values = np.random.default_rng(seed).integers(0, 256, (height, width)).astype(np.float32)
    values[0, :2] = 0, 255
    # At its own size a map is left as it is.
    heatmap = bilinear_map(values, height, width, arithmetic)  # type: ignore[arg-type]
    expected = fill_contours(quantize(values, 0, 255) > threshold)
    for use_compiled in (False, True):
        above = filled_above(heatmap, 0, 255, threshold, use_compiled=use_compiled)
        pixels = above.inside(np.arange(width * height)).reshape(width, height).T
        assert (pixels == expected).all()
        assert above.area == expected.sum()


def test_thresholds_out_of_range_are_refused() -> None:
    for wrong in (-0.1, 1.0, float("nan")):
        with pytest.raises(UsageError, match="threshold"):
            levels_for([wrong])
    with pytest.raises(UsageError, match="not among"):
        levels_for().bin_above(0.33)


def test_a_mask_of_another_size_is_refused() -> None:
    heatmap = _map(0)
    with pytest.raises(UsageError, match=r"60 x 83.*61 x 83"):
        count_levels(heatmap, -1, 1, levels_for(), [mask_of_pixels(np.ones((60, 83), bool))])


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 12), st.floats(0, 1))
@settings(deadline=None, max_examples=50)
def test_runs_say_what_pixels_say(seed: int, height: int, width: int, share: float) -> None:
    generator = np.random.default_rng(seed)
    one, two = (generator.random((height, width)) < share for _ in range(2))
    first, second = mask_of_pixels(one), mask_of_pixels(two)
    again = mask_of_runs(rle.run_lengths(rle.encode(one)), height, width)
    assert first.area == again.area == one.sum()
    assert first.shared_with(second) == second.shared_with(again) == (one & two).sum()
    rows, columns = np.flatnonzero(one.any(axis=1)), np.flatnonzero(one.any(axis=0))
    if len(rows):
        box = one[:, columns[0]:columns[-1] + 1]
        # A run over the end of a column keeps whole columns.
        assert (again.cropped().sum(), again.cropped().shape[1]) == (one.sum(), box.shape[1])
        assert again.cropped().shape[0] in {rows[-1] - rows[0] + 1, height}
        if again.cropped().shape[0] < height:
            assert (again.cropped() == box[rows[0]:rows[-1] + 1]).all()
        else:
            assert (again.cropped() == box).all()
    else:
        assert again.cropped().size == 0
    for row in range(-1, height + 1):
        for column in range(-1, width + 1):
            inside = 0 <= row < height and 0 <= column < width and bool(one[row, column])
            assert first.covers(row, column) == again.covers(row, column) == inside


def test_masks_of_different_sizes_share_nothing_quietly() -> None:
    with pytest.raises(UsageError, match="one size"):
        RunMask(2, 2, np.array([0, 1])).shared_with(RunMask(2, 3, np.array([0, 1])))


@pytest.mark.parametrize("seed", range(3))
def test_curves_equal_scikit_learn(seed: int) -> None:
    generator = np.random.default_rng(seed)
    place, inside = generator.integers(0, 20, 500), generator.random(500) < 0.2
    total = np.bincount(place, minlength=24)
    hits = np.bincount(place[inside], minlength=24)
    assert average_precision(total, hits) == pytest.approx(average_precision_score(inside, place))
    assert area_under_roc(total, hits) == pytest.approx(roc_auc_score(inside, place))
    assert np.isnan(average_precision(total, np.zeros(24, dtype=int)))
    assert np.isnan(area_under_roc(total, total))
