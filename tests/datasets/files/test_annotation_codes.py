"""Codes of annotations against hand-made masks and independent decoders."""

from __future__ import annotations

import itertools
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from saltrust.cache import rle
from saltrust.datasets.files.annotation_codes import (
    boxes_mask,
    coco_counts,
    drawn_contours,
    kaggle_counts,
    parse_boxes,
    parse_points,
    polygons_mask,
    unite,
    xy_points,
)
from saltrust.errors import DataError

Mask = npt.NDArray[np.bool_]


def kaggle_code(mask: Mask, *, relative: bool) -> str:
    """Encode by walking down the columns, pixel by pixel."""
    numbers: list[int] = []
    pixels = [bool(mask[y, x]) for x in range(mask.shape[1]) for y in range(mask.shape[0])]
    end, i = 0, 0
    while i < len(pixels):
        if pixels[i]:
            start = i
            while i < len(pixels) and pixels[i]:
                i += 1
            numbers += [start - end if relative else start + 1, i - start]
            end = i
        else:
            i += 1
    return " ".join(map(str, numbers)) or "-1"


@settings(deadline=None, max_examples=50)
@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))), st.booleans())
def test_kaggle_codes_give_the_code_of_the_mask(mask: Mask, relative: bool) -> None:
    drawn = kaggle_counts(kaggle_code(mask, relative=relative), *mask.shape, relative=relative)
    assert drawn == rle.encode(mask)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 9)), min_size=1, max_size=8))
def test_runs_of_absolute_starts_are_in_order_and_apart(runs: list[tuple[int, int]]) -> None:
    flat = np.zeros(40, dtype=bool)
    for start, length in runs:
        flat[start - 1:start - 1 + length] = True
    code = " ".join(f"{start} {length}" for start, length in runs)
    real = [(start, length) for start, length in runs if length]
    if all(first + length <= second for (first, length), (second, _) in itertools.pairwise(real)):
        assert kaggle_counts(code, 8, 5, relative=False) == rle.encode(flat.reshape(5, 8).T)
    else:
        with pytest.raises(DataError, match="not in order or overlap"):
            kaggle_counts(code, 8, 5, relative=False)


@pytest.mark.parametrize(("code", "relative", "column"), [
    # Twenty runs of a column each; read as absolute ones they lie on each other.
    ("405 15" + " 25 15" * 19, False, "siim_rle:FINDING"),
    ("30 9 3 9", False, "siim_rle:FINDING"),
    ("406 15 446 15 1986 15", True, "kaggle_rle:FINDING"),
])
def test_a_code_of_the_other_kind_names_its_column(code: str, relative: bool, column: str) -> None:
    with pytest.raises(DataError, match=column):
        kaggle_counts(code, 40, 50, relative=relative)
    # The way out leads out.
    assert kaggle_counts(code, 40, 50, relative=not relative)


def test_a_code_of_neither_kind_is_to_be_encoded_again() -> None:
    with pytest.raises(DataError, match=r"overlap, .*; encode the mask again"):
        kaggle_counts("30 9 3 9 20 9", 6, 7, relative=False)
    with pytest.raises(DataError, match=r"reaches pixel 63, but the image has 42$"):
        kaggle_counts("30 9 20 4", 6, 7, relative=True)


@settings(deadline=None, max_examples=50)
@given(st.lists(arrays(bool, (5, 7)), min_size=1, max_size=4))
def test_the_union_of_masks(masks: list[Mask]) -> None:
    drawn = rle.decode(unite([rle.encode(mask) for mask in masks], 5, 7), 5, 7)
    np.testing.assert_array_equal(drawn, np.any(masks, axis=0))


def test_kaggle_code_of_a_known_mask() -> None:
    # Columns first: the second column's rows 0 and 1 are pixels 4 and 5, counted from 1.
    mask = np.zeros((3, 3), dtype=bool)
    mask[0:2, 1] = True
    assert kaggle_counts("4 2", 3, 3, relative=False) == rle.encode(mask)
    assert kaggle_counts("3 2", 3, 3, relative=True) == rle.encode(mask)
    assert kaggle_counts("-1", 3, 3, relative=True) == rle.encode(np.zeros((3, 3)))


@pytest.mark.parametrize(("code", "relative", "words"), [
    ("1 2 3", False, "pairs"), ("", True, "pairs"), ("a b", False, "whole numbers"),
    ("1.5 2", False, "whole numbers"), ("0 2", False, "relative kind"),
    ("8 3", False, "pixel 10"), ("0 10", True, "10"),
    ("99999999999 1", False, "99999999999"), ("5 3 1 1", True, "pixel 10"),
    ("1 -2", False, "negative"), ("-3 2", True, "negative"), ("9" * 30 + " 1", False, "whole"),
])
def test_kaggle_codes_that_are_none(code: str, relative: bool, words: str) -> None:
    with pytest.raises(DataError, match=words):
        kaggle_counts(code, 3, 3, relative=relative)


@settings(deadline=None, max_examples=50)
@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_coco_codes_in_all_their_forms(mask: Mask) -> None:
    size, counts = list(mask.shape), rle.encode(mask)
    runs = rle.run_lengths(counts).tolist()
    for code in (counts, {"size": size, "counts": counts}, {"size": size, "counts": runs},
                 f'{{"size": {size}, "counts": {runs}}}'):
        drawn = rle.decode(coco_counts(code, *mask.shape), *mask.shape)
        np.testing.assert_array_equal(drawn, mask)


@pytest.mark.parametrize(("code", "words"), [
    ('{"size": [3, 4], "counts": "<"}', "3 x 4 .* 3 x 3$"), ('{"size": [3, 3]}', "size"),
    ('{"size": "x", "counts": "9"}', "size"), ("{not json", "JSON"),
    ('{"size": [3, 3], "counts": [1, 2]}', "add up"),
    ('{"size": [3, 3], "counts": [10, -1]}', "add up"),
    ('{"size": [3, 3], "counts": 9}', "neither"), ("8", "covers 8"), ("not a code!", "."),
])
def test_coco_codes_that_are_none(code: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        coco_counts(code, 3, 3)


def test_a_coco_code_on_its_side_is_named() -> None:
    with pytest.raises(DataError, match=r"4 x 3 .* has 3 x 4; its height and width are exchanged"):
        coco_counts('{"size": [4, 3], "counts": [12]}', 3, 4)


def test_polygons_agree_with_opencv_away_from_edges() -> None:
    contours = [[[10, 10], [60, 15], [40, 50]], [[30, 30], [80, 30], [80, 90], [30, 90]]]
    drawn = polygons_mask(contours, 100, 120)
    expected = np.zeros((100, 120), dtype=np.uint8)
    for contour in contours:
        cv2.fillPoly(expected, [np.array(contour, dtype=np.int32)], 1)
    differing = drawn != expected.astype(bool)
    rim = cv2.morphologyEx(expected, cv2.MORPH_GRADIENT, np.ones((3, 3), dtype=np.uint8))
    assert not (differing & (rim == 0)).any()
    assert differing.sum() < 0.02 * expected.sum()


def test_a_rectangle_as_polygon_includes_its_outline() -> None:
    drawn = polygons_mask([[[2, 1], [5, 1], [5, 3], [2, 3]]], 6, 8)
    expected = np.zeros((6, 8), dtype=bool)
    expected[1:4, 2:6] = True
    np.testing.assert_array_equal(drawn, expected)


@pytest.mark.parametrize("polygons", [
    [[[1, 2], [3]]], [[[1, 2], ["a", 3]]], [[[1, 2], [float("nan"), 3]]], "x", [5],
    {"a": 1},
])
def test_polygons_that_are_none(polygons: Any) -> None:
    with pytest.raises(DataError):
        polygons_mask(polygons, 10, 10)


def test_stray_contours_count_for_nothing_and_lines_are_drawn() -> None:
    square = [[2.0, 1.0], [5.0, 1.0], [5.0, 3.0], [2.0, 3.0]]
    strays: list[Any] = [[[7, 4]], [], [[2, 2]] * 5]
    np.testing.assert_array_equal(polygons_mask([*strays, square, square], 6, 8),
                                  polygons_mask([square], 6, 8))
    assert drawn_contours([*strays, square, square]) == [[tuple(point) for point in square]]
    assert not polygons_mask(strays, 6, 8).any()
    # As the released code draws it.
    line = polygons_mask([*strays, [[1, 1], [4, 4]]], 6, 8)
    np.testing.assert_array_equal(np.argwhere(line), [[1, 1], [2, 2], [3, 3], [4, 4]])


@pytest.mark.parametrize(("left", "top", "words"), [
    (-9, 1, "wholly outside the image of 6 x 8"), (9, 1, "wholly outside"), (1, 7, "outside"),
    (1, -9, "outside"), (-2, 1, ""), (6, 4, "")])
def test_contours_reach_into_the_image(left: int, top: int, words: str) -> None:
    contour = [[left, top], [left + 4, top], [left + 4, top + 4], [left, top + 4]]
    if words:
        with pytest.raises(DataError, match=words):
            polygons_mask([contour], 6, 8)
    else:
        assert polygons_mask([contour], 6, 8).any()


def test_points_are_x_then_y() -> None:
    assert parse_points("30 10; 5 6.5;") == ((10.0, 30.0), (6.5, 5.0))
    assert xy_points([[30, 10]]) == ((10.0, 30.0),)
    assert parse_points("30,10; [5, 6.5]") == ((10.0, 30.0), (6.5, 5.0))
    with pytest.raises(DataError, match="x y"):
        parse_points("1 2 3")


def test_boxes_are_filled_by_pixel_centers() -> None:
    boxes = parse_boxes("2 1 3 2; 6 4 1 1", 8, 10)
    assert boxes == ((1.0, 2.0, 3.0, 5.0), (4.0, 6.0, 5.0, 7.0))
    expected = np.zeros((8, 10), dtype=bool)
    expected[1:3, 2:5] = True
    expected[4, 6] = True
    np.testing.assert_array_equal(boxes_mask(boxes, 8, 10), expected)
    # 0.4..2.6 covers the centres 0.5, 1.5 and 2.5; a box thinner than a pixel keeps one.
    assert boxes_mask([(0.4, 0.4, 2.6, 2.6)], 8, 10).sum() == 9
    assert boxes_mask([(7.6, 9.7, 7.9, 9.9)], 8, 10).sum() == 1


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 20), st.integers(0, 20), st.integers(1, 20), st.integers(1, 20))
def test_whole_boxes_have_their_area(x: int, y: int, width: int, height: int) -> None:
    boxes = parse_boxes(f"{x} {y} {width} {height}", 40, 40)
    assert boxes_mask(boxes, 40, 40).sum() == width * height


@pytest.mark.parametrize(("text", "words"), [
    ("1 2 3", "x y width height"), ("1 2 3 a", "x y width height"), ("1 2 0 4", "no area"),
    ("1 2 3 -4", "no area"), ("-0.9 0 0.5 4", "outside"), ("10 10 1 1", "outside"),
    ("0 -4 4 4", "outside"), ("1 1 2e6 2", "larger than any image"),
    ("nan 0 4 4", "x y width height"),
])
def test_boxes_that_are_none(text: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        parse_boxes(text, 10, 10)


@pytest.mark.parametrize(("text", "boxes"), [
    ("-0.5 0 10.8 10.5", [(0.0, 0.0, 10.0, 10.0)]),
    ("-3 5 20 20; 8 -7 4 9", [(5.0, 0.0, 10.0, 10.0), (0.0, 8.0, 2.0, 10.0)]),
    ("1 2 3 4; 1 2 3 4;1 2 3.0 4", [(2.0, 1.0, 6.0, 4.0)]),
    ("1, 2, 3, 4", [(2.0, 1.0, 6.0, 4.0)]), ("[1,2,3,4]", [(2.0, 1.0, 6.0, 4.0)]),
    ("1,5 2,5 3 4", [(2.5, 1.5, 6.5, 4.5)]),
])
def test_boxes_are_cut_to_the_image_and_count_once(text: str, boxes: list[tuple[float, ...]],
                                                   ) -> None:
    assert parse_boxes(text, 10, 10) == tuple(boxes)
