"""Border following against OpenCV, scipy and closed forms."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from saltrust.analysis.pixels.contours import pixel_contours, trace_borders

Mask = npt.NDArray[np.bool_]
MASKS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.booleans())


def _blobs(count: int, seed: int) -> list[Mask]:
    generator = np.random.default_rng(seed)
    masks = []
    for k in range(count):
        noise = generator.normal(size=generator.integers(1, 45, 2))
        smooth = (0, 0.5, 1, 2, 3)[k % 5]
        noise = ndimage.gaussian_filter(noise, smooth) if smooth else noise
        masks.append(noise > np.quantile(noise, generator.uniform(0, 0.95)))
    return masks


def _drawn() -> list[Mask]:
    y, x = np.mgrid[:64, :80]
    radius = np.hypot(y - 30, x - 40)
    rings = (radius < 28) & ~((radius > 20) & (radius < 24)) & ~((radius > 8) & (radius < 14))
    frame = np.ones((20, 20), dtype=bool)
    frame[1:-1, 1:-1] = False
    return [rings, frame, np.eye(15, dtype=bool), np.eye(15, dtype=bool)[::-1],
            np.indices((9, 9)).sum(0) % 2 == 0, np.ones((1, 9), dtype=bool),
            np.ones((9, 1), dtype=bool), np.ones((7, 5), dtype=bool), np.abs(y - x) < 2]


def _compare(mask: Mask) -> None:
    expected = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)[0]
    borders = trace_borders(mask)
    contours = pixel_contours(borders)
    # OpenCV lists the contours met last first.
    assert len(contours) == len(expected)
    for k, points in enumerate(reversed(expected)):
        theirs = points[:, 0, ::-1].tolist()
        ours = contours.points(k).tolist()
        assert sorted(ours) == sorted(theirs)
        start = ours.index(theirs[0])
        turned = ours[start:] + ours[:start]
        backwards = [turned[0], *turned[:0:-1]]
        # A pixel passed twice may be the one we start from at its other passage.
        assert (theirs in (turned, backwards)) or ours.count(theirs[0]) > 1
    np.testing.assert_allclose(
        contours.polygon_areas(), [cv2.contourArea(c) for c in reversed(expected)])
    np.testing.assert_allclose(
        contours.perimeters(), [cv2.arcLength(c, True) for c in reversed(expected)], rtol=1e-5)


def test_contours_are_opencvs_on_blobs() -> None:
    for mask in _blobs(300, seed=0):
        _compare(mask)


def test_contours_are_opencvs_on_drawn_shapes() -> None:
    for mask in _drawn():
        _compare(mask)


@settings(deadline=None, max_examples=50)
@given(MASKS)
def test_contours_are_opencvs_on_any_mask(mask: Mask) -> None:
    _compare(mask)


@settings(deadline=None, max_examples=50)
@given(MASKS)
def test_borders_count_and_fill_components(mask: Mask) -> None:
    borders = trace_borders(mask)
    labels, components = ndimage.label(mask, structure=np.ones((3, 3)))
    outer = ~borders.hole
    assert np.count_nonzero(outer) == components
    filled = [int(ndimage.binary_fill_holes(labels == k + 1).sum()) for k in range(components)]
    assert sorted(borders.area[outer].tolist()) == sorted(filled)
    # Filled components less their holes are the mask, islands in holes counted again.
    contours = pixel_contours(borders)
    net_area = {int(labels[tuple(contours.points(k)[0])]): int(borders.area[k])
           for k in np.flatnonzero(outer).tolist()}
    for k in np.flatnonzero(borders.hole).tolist():
        net_area[int(labels[tuple(contours.points(k)[0])])] -= int(borders.area[k])
    assert sum(net_area.values()) == np.count_nonzero(mask)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (4, 9), (30, 2)])
def test_rectangles_have_closed_forms(height: int, width: int) -> None:
    mask = np.zeros((40, 50), dtype=bool)
    mask[3:3 + height, 5:5 + width] = True
    borders = trace_borders(mask)
    contours = pixel_contours(borders)
    assert borders.area.tolist() == [height * width]
    assert len(borders.corners(0)) == 2 * (height + width)
    assert borders.corners(0).min(axis=0).tolist() == [3, 5]
    assert borders.corners(0).max(axis=0).tolist() == [3 + height, 5 + width]
    assert contours.perimeters()[0] == 2 * (height - 1 + width - 1)
    assert contours.polygon_areas()[0] == (height - 1) * (width - 1)


def test_nothing_has_no_borders() -> None:
    borders = trace_borders(np.zeros((5, 6), dtype=bool))
    assert len(borders) == 0
    assert len(pixel_contours(borders)) == 0
    assert len(pixel_contours(borders).perimeters()) == 0


def test_nested_holes_are_told_apart() -> None:
    y, x = np.mgrid[:41, :41]
    square = np.maximum(np.abs(y - 20), np.abs(x - 20))
    mask = (square <= 20) & ~((square > 5) & (square <= 10))
    borders = trace_borders(mask)
    assert borders.hole.tolist() == [False, True, False]
    assert borders.area.tolist() == [41 * 41, 21 * 21, 11 * 11]
