"""Shape descriptors against closed forms, OpenCV, scikit-image and the toy shapes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from saltrust.analysis.pixels.contours import trace_borders
from saltrust.analysis.pixels.shape import ShapeDescriptors, describe_shape, fitted_rectangle
from saltrust.errors import UsageError

Mask = npt.NDArray[np.bool_]
MASKS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=14), elements=st.booleans())


def _box(*boxes: tuple[int, int, int, int]) -> Mask:
    mask = np.zeros((64, 64), dtype=bool)
    for top, left, height, width in boxes:
        mask[top:top + height, left:left + width] = True
    return mask


def _toys() -> dict[str, Mask]:
    y, x = np.mgrid[:64, :64]
    squared = (y - 32)**2 + (x - 32)**2
    diagonal = np.zeros((64, 64), dtype=bool)
    diagonal[range(10, 20), range(10, 20)] = True
    return {
        "single_pixel": _box((10, 10, 1, 1)), "line_1x10": _box((10, 10, 1, 10)),
        "two_adjacent_px": _box((10, 10, 1, 2)), "square_2x2": _box((10, 10, 2, 2)),
        "rect_10x20": _box((10, 10, 10, 20)), "rect_2x20": _box((10, 10, 2, 20)),
        "diagonal_line_10": diagonal, "disk_r15": squared <= 225,
        "ring_r20_r8": (squared <= 400) & (squared > 64),
        "L_shape": _box((10, 10, 30, 10), (30, 10, 10, 30)),
        "two_rects_diag_touch": _box((10, 10, 10, 10), (20, 20, 10, 10)),
        "equal_comps": _box((5, 5, 10, 10), (30, 30, 10, 10)),
        "border_full": np.ones((64, 64), dtype=bool), "empty": np.zeros((64, 64), dtype=bool),
    }


@pytest.fixture(scope="module")
def golden(reference_folder: Path) -> dict[str, Any]:
    toys: dict[str, Any] = json.loads((reference_folder / "shape_toys.json").read_text())
    return toys


@pytest.mark.parametrize("name", list(_toys()))
def test_toys_have_their_golden_values(name: str, golden: dict[str, Any]) -> None:
    mask, expected = _toys()[name], golden[name]
    assert np.count_nonzero(mask) == expected["area_px"]
    if name == "empty":
        assert describe_shape(mask)[:2] == describe_shape(mask, "peer")[:2] == (0, 0.0)
        assert all(map(math.isnan, describe_shape(mask)[2:] + describe_shape(mask, "peer")[2:]))
        return
    shape = describe_shape(mask)
    assert shape.n_instances == expected["n8"]
    assert shape.area_ratio == pytest.approx(expected["area_px"] / mask.size, abs=1e-12)
    corners = expected["corners"]
    assert shape.elongation == pytest.approx(corners["elongation"], rel=1e-6)
    # The golden share is of all filled pixels, ours of the dominant instance.
    share = corners["filled_over_rect"]
    assert 1 - shape.irrectangularity == pytest.approx(share, rel=1e-6)
    peer = describe_shape(mask, "peer")
    if isinstance(expected["peer"], str):
        assert expected["peer"].startswith("ZeroDivisionError")
        assert math.isnan(peer.elongation)
        assert math.isnan(peer.irrectangularity)
    else:
        assert peer.n_instances == expected["peer"]["n"]
        assert peer.area_ratio == pytest.approx(expected["peer"]["area_ratio"], abs=1e-12)
        assert peer.elongation == pytest.approx(expected["peer"]["elongation"], abs=1e-6)
        assert 1 - peer.irrectangularity == pytest.approx(expected["peer"]["rec_area_ratio"],
                                                          abs=1e-6)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 12), (5, 5), (3, 20)])
def test_rectangles_have_closed_forms(height: int, width: int) -> None:
    shape = describe_shape(_box((7, 9, height, width)))
    assert shape == (1, height * width / 4096, width / height, 0.0)


def test_a_large_disk_tends_to_the_circle() -> None:
    y, x = np.mgrid[:801, :801]
    shape = describe_shape((y - 400)**2 + (x - 400)**2 <= 390**2)
    assert shape.n_instances == 1
    assert shape.elongation == pytest.approx(1, abs=0.01)
    assert shape.irrectangularity == pytest.approx(1 - math.pi / 4, abs=0.005)
    assert shape.area_ratio == pytest.approx(math.pi * 390**2 / 801**2, rel=1e-3)


def test_a_turned_rectangle_keeps_its_sides() -> None:
    y, x = np.mgrid[:400, :400] - 200
    angle = math.radians(30)
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(
        angle)
    shape = describe_shape((np.abs(along) <= 150) & (np.abs(across) <= 30))
    assert shape.elongation == pytest.approx(5, rel=0.02)
    assert shape.irrectangularity == pytest.approx(0, abs=0.03)


def test_holes_are_filled_and_islands_in_them_do_not_count_twice() -> None:
    ring = _box((10, 10, 30, 30))
    ring[15:35, 15:35] = False
    ring[20:25, 20:25] = True
    shape = describe_shape(ring)
    assert shape.n_instances == 2
    assert shape.irrectangularity == 0
    assert shape.area_ratio == (900 - 400 + 25) / 4096


def test_the_longest_outline_dominates_not_the_largest_area() -> None:
    shape = describe_shape(_box((2, 2, 16, 16), (40, 2, 2, 60)))
    assert shape.n_instances == 2
    assert shape.elongation == 30


def test_annotated_contours_count_under_peer_only() -> None:
    mask = _box((10, 10, 10, 10))
    assert describe_shape(mask, "peer", n_polygons=3).n_instances == 3
    assert describe_shape(mask, "peer").n_instances == 1
    assert describe_shape(mask, "default", n_polygons=3).n_instances == 1


def _released(mask: Mask) -> ShapeDescriptors:
    """What OpenCV gives by the recipe of protocol S."""
    contours = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)[0]
    longest = max(contours, key=len)
    _, (width, height), _ = cv2.minAreaRect(longest)
    if min(width, height) == 0:
        return ShapeDescriptors(len(contours), float(mask.mean()), math.nan, math.nan)
    return ShapeDescriptors(len(contours), float(mask.mean()),
                            max(width, height) / min(width, height),
                            1 - cv2.contourArea(longest) / (width * height))


def test_peer_is_opencv_on_blobs() -> None:
    generator = np.random.default_rng(5)
    for k in range(200):
        noise = ndimage.gaussian_filter(generator.normal(size=generator.integers(8, 120, 2)),
                                        (1, 2, 4, 6)[k % 4])
        mask = noise > np.quantile(noise, generator.uniform(0.3, 0.97))
        np.testing.assert_allclose(describe_shape(mask, "peer"), _released(mask), rtol=1e-6,
                                   atol=1e-6)


@settings(deadline=None, max_examples=50)
@given(MASKS, st.integers(0, 5), st.integers(0, 5))
def test_moving_and_turning_by_quarters_change_nothing(mask: Mask, down: int, right: int) -> None:
    assume(mask.any())
    expected = describe_shape(np.pad(mask, 5))
    moved = np.pad(mask, ((down, 10 - down), (right, 10 - right)))
    for changed in (moved, np.rot90(np.pad(mask, 5)), np.pad(mask, 5)[::-1], np.pad(mask, 5).T):
        np.testing.assert_allclose(describe_shape(changed), expected, rtol=1e-12, atol=1e-12)
    assert expected.elongation >= 1
    assert 0 <= expected.irrectangularity < 1


@settings(deadline=None, max_examples=50)
@given(MASKS)
def test_the_dominant_outline_is_the_longest(mask: Mask) -> None:
    assume(mask.any())
    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    lengths = [max(cv2.arcLength(c, True) for c in cv2.findContours(
        (labels == k + 1).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0])
        for k in range(count)]
    longest = [k for k in range(count) if lengths[k] > max(lengths) - 1e-4]
    candidates = []
    for k in longest:
        filled = ndimage.binary_fill_holes(labels == k + 1)
        candidates.append((describe_shape(filled).elongation,
                           describe_shape(filled).irrectangularity))
    shape = describe_shape(mask)
    assert any(np.allclose((shape.elongation, shape.irrectangularity), c) for c in candidates)
    assert shape.n_instances == count == int((~trace_borders(mask).hole).sum())


def test_refuses_what_is_not_a_mask_and_unknown_definitions() -> None:
    with pytest.raises(UsageError, match="shape"):
        describe_shape(np.zeros((2, 2, 2)))
    with pytest.raises(UsageError, match="did you mean 'peer'"):
        describe_shape(np.zeros((2, 2)), "per")  # type: ignore[arg-type]


@settings(deadline=None, max_examples=40)
@given(MASKS)
def test_the_fitted_rectangle_has_the_elongation(mask: Mask) -> None:
    assume(mask.any())
    fitted = fitted_rectangle(mask)
    sides = np.hypot(*(np.roll(fitted.corners, -1, axis=0) - fitted.corners).T)
    assert max(sides) / min(sides) == pytest.approx(describe_shape(mask).elongation)
    # The dominant instance alone is an instance of the same rectangle.
    assert fitted.outline.min(axis=0).tolist() >= [0, 0]
    assert (fitted.outline.max(axis=0) <= mask.shape).all()
