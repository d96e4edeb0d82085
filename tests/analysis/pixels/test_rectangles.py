"""Hulls and minimum-area rectangles against scipy, OpenCV and closed forms."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial import ConvexHull

from saltrust.analysis.pixels.contours import pixel_contours, trace_borders
from saltrust.analysis.pixels.rectangles import (
    convex_hull,
    minimum_area_corners,
    minimum_area_rectangle,
    rotating_calipers_rectangle,
)

Points = npt.NDArray[np.int64]
POINTS = st.integers(1, 25).flatmap(
    lambda n: arrays(np.int64, (n, 2), elements=st.integers(-50, 50)))


def _area(corners: Points) -> float:
    y, x = corners.T
    return abs(float(np.sum(y * np.roll(x, -1) - x * np.roll(y, -1)))) / 2


@settings(deadline=None, max_examples=50)
@given(POINTS)
def test_hull_is_scipys(points: Points) -> None:
    hull = convex_hull(points)
    spread = points - points[0]
    rank = np.linalg.matrix_rank(spread)
    assume(rank == 2)
    expected = ConvexHull(points)
    assert {tuple(p) for p in hull.tolist()} == {
        tuple(p) for p in points[expected.vertices].tolist()}
    assert _area(hull) == pytest.approx(expected.volume)


@pytest.mark.parametrize(("points", "expected"), [
    ([[3, 4]], [[3, 4]]), ([[3, 4], [3, 4]], [[3, 4]]),
    ([[0, 0], [2, 4], [1, 2]], [[0, 0], [2, 4]]), ([[0, 5], [0, 1], [0, 3]], [[0, 1], [0, 5]]),
])
def test_hull_of_points_on_one_line_is_its_ends(points: list[list[int]],
                                                expected: list[list[int]]) -> None:
    assert convex_hull(points).tolist() == expected


@settings(deadline=None, max_examples=50)
@given(POINTS)
def test_area_is_opencvs(points: Points) -> None:
    _, (width, height), _ = cv2.minAreaRect(points[:, ::-1].astype(np.int32).reshape(-1, 1, 2))
    for rectangle in (minimum_area_rectangle(points), rotating_calipers_rectangle(points)):
        assert rectangle.area == pytest.approx(width * height, rel=1e-5, abs=1e-3)
        assert rectangle.area == pytest.approx(rectangle.longer * rectangle.shorter, rel=1e-6)
        assert rectangle.longer >= rectangle.shorter


@settings(deadline=None, max_examples=50)
@given(POINTS)
def test_no_direction_gives_a_smaller_rectangle(points: Points) -> None:
    angles = np.linspace(0, np.pi / 2, 721)
    along = np.stack([np.cos(angles), np.sin(angles)], axis=1) @ points.T
    across = np.stack([-np.sin(angles), np.cos(angles)], axis=1) @ points.T
    smallest = float((np.ptp(along, axis=1) * np.ptp(across, axis=1)).min())
    assert minimum_area_rectangle(points).area <= smallest + 1e-9


@settings(deadline=None, max_examples=50)
@given(POINTS, st.integers(-1000, 1000), st.integers(-1000, 1000))
def test_moving_turning_and_mirroring_change_nothing(points: Points, y: int, x: int) -> None:
    expected = minimum_area_rectangle(points)
    turned = np.stack([-points[:, 1], points[:, 0]], axis=1)
    for moved in (points + np.array([y, x]), points[:, ::-1], turned):
        assert minimum_area_rectangle(moved) == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_an_acute_triangle_is_a_tie_that_goes_to_the_squarest() -> None:
    triangle = [[0, 0], [0, 6], [4, 2]]
    rectangle = minimum_area_rectangle(triangle)
    assert rectangle.area == 24
    # Along the sides: 6 x 4, sqrt(20) x 24 / sqrt(20), sqrt(32) x 24 / sqrt(32).
    assert rectangle.longer == pytest.approx(24 / math.sqrt(20))


def _opencv_elongation(points: npt.NDArray[Any]) -> float:
    _, (width, height), _ = cv2.minAreaRect(points)
    return max(width, height) / min(width, height) if min(width, height) else math.inf


def test_opencvs_choice_among_ties_is_reproduced() -> None:
    generator = np.random.default_rng(3)
    ties = 0
    for _ in range(300):
        # Rows differ: where a contour begins decides the order along a level first row.
        points = np.stack([generator.permutation(500)[:4], generator.integers(0, 400, 4)], 1)
        expected = _opencv_elongation(points[:, ::-1].astype(np.int32).reshape(-1, 1, 2))
        rectangle = rotating_calipers_rectangle(points)
        assert rectangle.longer / rectangle.shorter == pytest.approx(expected, rel=1e-6)
        exact = minimum_area_rectangle(points)
        ties += abs(exact.longer / exact.shorter - expected) > 1e-5 * expected
    # The sample holds ties that the exact rectangle decides otherwise.
    assert ties > 10


def _elongations(corners: Points) -> tuple[float, float]:
    """Of the longest contour of a drawn polygon: ours, and OpenCV's of its own contour."""
    canvas = np.zeros((90, 90), dtype=np.uint8)
    cv2.fillPoly(canvas, [corners.astype(np.int32)], 1)
    contours = pixel_contours(trace_borders(canvas))
    rectangle = rotating_calipers_rectangle(contours.points(int(np.argmax(contours.n_points()))))
    theirs = cv2.findContours(canvas, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)[0]
    return (rectangle.longer / rectangle.shorter if rectangle.shorter else math.inf,
            _opencv_elongation(np.asarray(max(theirs, key=len))))


def test_elongation_of_contours_is_opencvs() -> None:
    generator = np.random.default_rng(4)
    for _ in range(100):
        corners = generator.integers(2, 88, size=(generator.integers(3, 7), 2))
        assert _elongations(corners)[0] == pytest.approx(_elongations(corners)[1], rel=1e-6)


def test_contours_with_a_level_first_row_are_turned_as_opencv_turns_them() -> None:
    """Where contours begin decides among ties; rounding of float32 leaves one in a thousand."""
    generator = np.random.default_rng(4)
    other = 0
    for _ in range(500):
        corners = generator.integers(2, 88, size=(3, 2))
        corners[:2, 1] = corners[:, 1].min()
        made, expected = _elongations(corners)
        other += made != pytest.approx(expected, rel=1e-6)
    assert other <= 1


@pytest.mark.parametrize("length", [1, 2, 10])
def test_points_on_one_line_have_no_width(length: int) -> None:
    for step in ([0, 1], [1, 0], [1, 1]):
        points = np.arange(length)[:, None] * np.array(step)
        for function in (minimum_area_rectangle, rotating_calipers_rectangle):
            rectangle = function(points)
            assert rectangle.shorter == rectangle.area == 0
            assert rectangle.longer == pytest.approx((length - 1) * math.hypot(*step))


@settings(deadline=None, max_examples=50)
@given(POINTS)
def test_corners_are_those_of_the_smallest_rectangle(points: Points) -> None:
    assume(np.linalg.matrix_rank(points - points[0]) == 2)
    corners, rectangle = minimum_area_corners(points), minimum_area_rectangle(points)
    sides = np.roll(corners, -1, axis=0) - corners
    lengths = np.sort(np.hypot(*sides.T))
    assert lengths[[0, 2]] == pytest.approx([rectangle.shorter, rectangle.longer])
    assert float(sides[0] @ sides[1]) == pytest.approx(0, abs=1e-6)
    # Every point lies within.
    for side in (0, 1):
        along = (points - corners[0]) @ sides[side] / (sides[side] @ sides[side])
        assert along.min() > -1e-9
        assert along.max() < 1 + 1e-9
