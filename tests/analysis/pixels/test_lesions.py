"""Lesions: parts of masks, boxes and points, and which a mark hits."""

from __future__ import annotations

import numpy as np
import pytest

from saltrust.analysis.pixels.lesions import box_lesions, hits, mask_lesions, point_lesions
from saltrust.analysis.pixels.run_masks import mask_of_pixels


def test_parts_of_a_mask_are_hit_where_its_pixels_are() -> None:
    generator = np.random.default_rng(0)
    for size in ((12, 9), (9, 12)):
        mask = generator.random(size) < 0.2
        lesions = mask_lesions(mask_of_pixels(mask))
        at = np.array([[(y + 0.5) / size[0], (x + 0.5) / size[1]]
                       for y in range(size[0]) for x in range(size[1])])
        hit = hits(at, lesions, (1, 1))
        assert (hit.any(axis=1).reshape(size) == mask).all()
        assert hit.sum() == mask.sum()
        # Diagonal neighbours are of one part.
        from skimage.measure import label

        assert len(lesions) == label(mask, connectivity=2).max()


def test_a_mark_nearby_hits_the_nearest_alone() -> None:
    mask = np.zeros((20, 40), dtype=bool)
    mask[5:8, 2:6] = mask[5:8, 12:16] = True
    lesions = mask_lesions(mask_of_pixels(mask))
    # Two pixels right of the first part's last column of pixels, in units of the image's pixels.
    at = np.array([[6.5 / 20, 8.0 / 40], [6.5 / 20, 10.0 / 40], [6.5 / 20, 9.0 / 40]])
    assert hits(at, lesions, (20, 40), within=2).tolist() == [[True, False], [False, True],
                                                              [False, False]]
    # Equally near to both.
    assert hits(at[2:], lesions, (20, 40), within=3).tolist() == [[True, True]]
    assert not hits(at, lesions, (20, 40), within=1.9).any()


def test_boxes_and_points_are_measured_in_the_straight_line() -> None:
    boxes = box_lesions([[10, 10, 20, 30], [15, 20, 40, 40]], (100, 200))
    overlap = [[0.17, 0.12]]
    assert hits(overlap, boxes, (100, 200)).tolist() == [[True, True]]
    corner = [[0.07, 6 / 200]]  # 3 down, 4 across from the corner.
    assert hits(corner, boxes, (100, 200), within=5).tolist() == [[True, False]]
    assert not hits(corner, boxes, (100, 200), within=4.99).any()
    point = point_lesions([[50, 100]], (100, 200))
    assert hits([[0.5, 0.5], [0.53, 0.5]], point, (100, 200), within=3).tolist() == [[True],
                                                                                    [True]]
    assert hits([[0.5, 0.5]], [], (1, 1)).shape == (1, 0)
    assert mask_lesions(mask_of_pixels(np.zeros((3, 3), dtype=bool))) == []


@pytest.mark.parametrize(("map_shape", "size"), [((7, 5), (70, 50)), ((24, 24), (101, 77))])
def test_every_pixel_of_a_map_finds_its_place_in_the_mask(
        map_shape: tuple[int, int], size: tuple[int, int]) -> None:
    for y in range(map_shape[0]):
        for x in range(map_shape[1]):
            mask = np.zeros(size, dtype=bool)
            mask[(2 * y + 1) * size[0] // (2 * map_shape[0]),
                 (2 * x + 1) * size[1] // (2 * map_shape[1])] = True
            place = [[(y + 0.5) / map_shape[0], (x + 0.5) / map_shape[1]]]
            assert hits(place, mask_lesions(mask_of_pixels(mask)), map_shape).all()
