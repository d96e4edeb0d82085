"""Outlines of masks, paths, and pictures as data URIs."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from saltrust.report.figures.contours import jpeg_data_uri, largest, outlines, path_data


def area(contour: np.ndarray) -> float:
    """Signed area of a closed polygon (shoelace)."""
    y, x = contour[:-1].T
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) / 2


def test_the_contour_of_a_square_lies_on_its_pixel_edges() -> None:
    mask = np.zeros((10, 12), dtype=bool)
    mask[2:6, 3:9] = True
    (contour,) = outlines(mask)
    assert np.array_equal(contour[0], contour[-1])
    assert contour.min(axis=0).tolist() == [2, 3]
    assert contour.max(axis=0).tolist() == [6, 9]
    # Each of the four corners is cut by a triangle with legs of half a pixel.
    assert abs(area(contour)) == 4 * 6 - 4 * 0.125


def test_masks_at_the_border_are_closed_and_holes_have_contours() -> None:
    full = np.ones((4, 5), dtype=bool)
    (contour,) = outlines(full)
    assert contour.min(axis=0).tolist() == [0, 0]
    assert contour.max(axis=0).tolist() == [4, 5]
    ring = np.ones((7, 7), dtype=bool)
    ring[3, 3] = False
    assert len(outlines(ring)) == 2
    assert outlines(np.zeros((3, 3), dtype=bool)) == []


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_contours_enclose_as_much_as_the_mask(seed: int) -> None:
    mask = np.random.default_rng(seed).random((9, 11)) < 0.5
    enclosed = abs(sum(area(contour) for contour in outlines(mask)))
    corners = sum(len(contour) - 1 for contour in outlines(mask))
    assert abs(enclosed - mask.sum()) <= 0.125 * corners


def test_path_data_is_scaled_and_has_x_first() -> None:
    square = np.array([[0, 0], [0, 2], [2, 2], [2, 0], [0, 0]], dtype=float)
    assert path_data([square], scale=(10, 100)) == "M0 0L200 0L200 20L0 20Z"
    assert path_data([]) == ""


def test_long_paths_lose_points_but_not_their_shape() -> None:
    rows, columns = np.mgrid[:60, :60]
    (contour,) = outlines((rows - 30) ** 2 + (columns - 30) ** 2 <= 20**2)
    text = path_data([contour])
    points = np.array([[float(v) for v in point.split()]
                       for point in re.split("[ML]", text.rstrip("Z"))[1:]])
    assert len(points) < len(contour)
    radius = np.hypot(points[:, 0] - 30.5, points[:, 1] - 30.5)
    assert radius.min() > 19.4
    assert radius.max() < 20.9


def test_only_the_longest_contours_are_kept() -> None:
    contours = [np.zeros((n, 2)) for n in (5, 9, 3, 9, 7)]
    assert [len(contour) for contour in largest(contours, 3)] == [9, 9, 7]
    assert largest(contours, 5) is contours


def test_pictures_are_made_small_but_not_larger() -> None:
    def size(rgb: np.ndarray) -> tuple[int, int]:
        uri = jpeg_data_uri(rgb, largest_side=50)
        assert uri.startswith("data:image/jpeg;base64,")
        return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).size

    assert size(np.zeros((100, 80, 3), dtype=np.uint8)) == (40, 50)
    assert size(np.zeros((20, 30, 3), dtype=np.uint8)) == (30, 20)
