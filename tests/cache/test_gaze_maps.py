"""Gaze heatmaps: Gaussians on fixations, exact at any grid."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from saltrust.cache.collection import Fixations
from saltrust.cache.gaze_maps import (
    GazeSmoothing,
    fixation_heatmap,
    period,
    window_heatmaps,
    within,
)
from saltrust.errors import UsageError


def looks(*rows: tuple[float, float, float]) -> Fixations:
    y, x, duration = np.array(rows, dtype=float).reshape(-1, 3).T
    return Fixations(y, x, duration)


points = st.lists(st.tuples(st.floats(0, 19), st.floats(0, 29), st.floats(0.05, 2.0)),
                  min_size=1, max_size=6)


@settings(deadline=None, max_examples=40)
@given(points, st.sampled_from([(20, 30), (7, 9), (40, 40)]), st.floats(0.8, 12.0),
       st.sampled_from(["duration", "count"]))
def test_every_pixel_is_the_closed_form(rows: Any, grid: tuple[int, int], sigma: float,
                                        weight: str) -> None:
    heatmap = fixation_heatmap(looks(*rows), (20, 30), grid,
                               GazeSmoothing(f"{sigma:.3f}px", weight))
    sigma = round(sigma, 3)
    expected = np.zeros(grid)
    for i in range(grid[0]):
        for j in range(grid[1]):
            # Where the centre of the grid pixel lies among the native pixels.
            cy, cx = (i + 0.5) * 20 / grid[0] - 0.5, (j + 0.5) * 30 / grid[1] - 0.5
            expected[i, j] = sum(
                (seconds if weight == "duration" else 1.0)
                * math.exp(-((cy - y) ** 2 + (cx - x) ** 2) / (2 * sigma**2))
                for y, x, seconds in rows)
    assert heatmap is not None
    assert heatmap.dtype == np.float32
    assert heatmap.max() == 1
    np.testing.assert_allclose(heatmap, expected / expected.max(), atol=2e-6)


def test_at_native_size_it_is_scipys_gaussian_filter_of_the_counts() -> None:
    rng = np.random.default_rng(3)
    rows = [(int(y), int(x), 1.0) for y, x in rng.integers(20, 60, (12, 2))]
    counts = np.zeros((80, 80))
    for y, x, _ in rows:
        counts[y, x] += 1
    filtered = ndimage.gaussian_filter(counts, 4.0, truncate=10, mode="constant")
    heatmap = fixation_heatmap(looks(*rows), (80, 80), (80, 80), GazeSmoothing("4px", "count"))
    np.testing.assert_allclose(heatmap, filtered / filtered.max(), atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(points, points, st.floats(0.1, 0.9))
def test_heatmaps_add_up_before_they_are_scaled(first: Any, second: Any, at: float) -> None:
    """Each map is proportional to its sum of Gaussians: the sum map lies in their span."""
    smoothing, size = GazeSmoothing("6px"), (20, 30)
    one, two, both = (fixation_heatmap(looks(*rows), size, size, smoothing).astype(float)
                      for rows in (first, second, first + second))
    design = np.column_stack([one.ravel(), two.ravel()])
    fitted = design @ np.linalg.lstsq(design, both.ravel(), rcond=None)[0]
    np.testing.assert_allclose(fitted, both.ravel(), atol=1e-5)


def test_twice_the_duration_is_twice_the_fixation() -> None:
    smoothing = GazeSmoothing("3px")
    long = fixation_heatmap(looks((5, 5, 0.6), (9, 20, 0.3)), (20, 30), (20, 30), smoothing)
    twice = fixation_heatmap(looks((5, 5, 0.3), (9, 20, 0.3), (5, 5, 0.3)), (20, 30), (20, 30),
                             smoothing)
    np.testing.assert_allclose(long, twice, atol=1e-6)
    same = fixation_heatmap(looks((5, 5, 0.6), (9, 20, 0.1)), (20, 30), (20, 30),
                            GazeSmoothing("3px", "count"))
    assert same[5, 5] == pytest.approx(same[9, 20], abs=1e-3)


def test_fixations_outside_are_dropped_and_counted_and_edges_belong_to_pixels() -> None:
    rows = looks((-0.5, 0, 1), (19.49, 29.49, 1), (-0.51, 3, 1), (19.5, 3, 1), (3, 29.5, 1),
                 (np.nan, 3, 1), (3, np.inf, 1))
    kept, dropped = within(rows, (20, 30))
    assert (len(kept), dropped) == (2, 5)
    timed = Fixations(rows.y, rows.x, rows.duration, np.arange(7.0))
    assert within(timed, (20, 30))[0].onset.tolist() == [0.0, 1.0]
    assert np.isnan(kept.onset).all()
    for far in ("1px", "20px"):
        with_them = fixation_heatmap(rows, (20, 30), (10, 10), GazeSmoothing(far))
        np.testing.assert_array_equal(
            with_them, fixation_heatmap(kept, (20, 30), (10, 10), GazeSmoothing(far)))


def test_without_a_fixation_there_is_no_heatmap() -> None:
    size = (20, 30)
    assert fixation_heatmap(looks(), size, size, GazeSmoothing()) is None
    assert fixation_heatmap(looks((-9, 3, 1), (3, 99, 1)), size, size, GazeSmoothing()) is None
    timeless = looks((3, 3, 0), (4, 4, np.nan))
    assert fixation_heatmap(timeless, size, size, GazeSmoothing("2px", "duration")) is None
    assert fixation_heatmap(timeless, size, size, GazeSmoothing("2px", "count")) is not None


def test_a_sigma_far_below_a_grid_pixel_still_peaks_at_the_fixation() -> None:
    heatmap = fixation_heatmap(looks((520, 130, 1)), (1000, 1000), (10, 10), GazeSmoothing("0.5px"))
    assert np.isfinite(heatmap).all()
    assert np.unravel_index(heatmap.argmax(), heatmap.shape) == (5, 1)
    assert heatmap.max() == 1


def test_sigma_is_in_native_pixels_or_part_of_the_longer_side() -> None:
    assert GazeSmoothing("2.5%").pixels(400, 1000) == 25
    assert GazeSmoothing("150px").pixels(400, 1000) == 150
    wide = fixation_heatmap(looks((200, 500, 1)), (400, 1000), (40, 100), GazeSmoothing("5%"))
    same = fixation_heatmap(looks((200, 500, 1)), (400, 1000), (40, 100), GazeSmoothing("50px"))
    np.testing.assert_array_equal(wide, same)


@pytest.mark.parametrize("sigma", ["150", "", "0px", "-3px", "5 percent", "nan%", "px"])
def test_a_sigma_without_a_unit_is_refused(sigma: str) -> None:
    with pytest.raises(UsageError, match="'150px'"):
        GazeSmoothing(sigma)


def test_an_unknown_weight_is_refused() -> None:
    with pytest.raises(UsageError, match="'duration' or 'count'"):
        GazeSmoothing("5%", "time")


timed = st.lists(st.tuples(st.floats(0, 19), st.floats(0, 29), st.floats(0.05, 2.0),
                           st.floats(0, 1.5)), min_size=1, max_size=6)


@settings(deadline=None, max_examples=40)
@given(timed, st.integers(1, 7), st.sampled_from(["duration", "count"]))
def test_windows_add_up_to_the_static_heatmap(rows: Any, windows: int, weight: str) -> None:
    y, x, duration, onset = np.array(rows, dtype=float).T
    looked = Fixations(y, x, duration, onset)
    start, end = period(looked) or (0.0, 0.0)
    assert (start, end) == (onset.min(), (onset + duration).max())
    smoothing = GazeSmoothing("3px", weight)
    frames = window_heatmaps(looked, (20, 30), (10, 15), smoothing,
                             np.linspace(start, end, windows + 1))
    assert frames is not None
    assert frames.shape == (windows, 10, 15)
    assert frames.min() >= 0
    np.testing.assert_allclose(frames.sum(axis=0),
                               fixation_heatmap(looked, (20, 30), (10, 15), smoothing), atol=2e-6)


def test_a_fixation_counts_by_its_part_within_a_window() -> None:
    looked = Fixations(np.array([2.0, 17.0]), np.array([3.0, 26.0]), np.array([2.0, 1.0]),
                       np.array([10.0, 12.0]))
    edges = np.array([10.0, 10.5, 12.25, 14.0])
    frames = window_heatmaps(looked, (20, 30), (20, 30), GazeSmoothing("0.8px"), edges)
    assert frames is not None
    np.testing.assert_allclose(frames[:, 2, 3], [0.25, 0.75, 0], atol=1e-6)
    np.testing.assert_allclose(frames[:, 17, 26], [0, 0.125, 0.375], atol=1e-6)
    counted = window_heatmaps(looked, (20, 30), (20, 30), GazeSmoothing("0.8px", "count"), edges)
    assert counted is not None
    np.testing.assert_allclose(counted[:, 17, 26], [0, 0.25, 0.75], atol=1e-6)


def test_moments_lie_in_one_window_and_what_has_no_onset_in_none() -> None:
    smoothing = GazeSmoothing("0.8px", "count")
    y, x = np.array([2.0, 9.0, 17.0, 5.0]), np.array([3.0, 9.0, 26.0, 20.0])
    looked = Fixations(y, x, np.array([np.nan, np.nan, 0.0, 1.0]), np.array([0, 1, 2, np.nan]))
    assert period(looked) == (0.0, 2.0)
    frames = window_heatmaps(looked, (20, 30), (20, 30), smoothing, np.array([0.0, 1.0, 2.0]))
    assert frames is not None
    np.testing.assert_allclose(frames[:, y.astype(int), x.astype(int)],
                               [[1, 0, 0, 0], [0, 1, 1, 0]], atol=1e-6)
    untimed = Fixations(y, x, np.ones(4))
    assert period(untimed) is None
    assert window_heatmaps(untimed, (20, 30), (20, 30), smoothing, np.array([0.0, 9.0])) is None
    # Before and after the windows, or outside the image.
    assert window_heatmaps(looked, (20, 30), (20, 30), smoothing, np.array([3.0, 9.0])) is None
    assert window_heatmaps(looked, (1, 1), (1, 1), smoothing, np.array([0.0, 9.0])) is None
