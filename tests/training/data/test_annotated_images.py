"""Masks and boxes as localizers learn them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from skimage import measure

from saltrust.cache import rle
from saltrust.cache.collection import Annotation
from saltrust.cache.grid import mask_to_grid
from saltrust.errors import DataError
from saltrust.training.data.annotated_images import AnnotatedImages, boxes_around, read_annotations
from saltrust.training.data.augmentation import Variation
from saltrust.training.data.images import read_images
from saltrust.training.data.localizer_data import move_boxes, move_masks, select_data, warn_of_data


def read(collection: Any) -> AnnotatedImages:
    return read_annotations(collection, read_images(collection, (32, 32), progress=False),
                            progress=False)


@pytest.fixture
def masked(squares: Callable[..., Any]) -> Any:
    return squares(annotated=True)


def with_annotations(collection: Any, changed: Mapping[str, Mapping[Any, Annotation]]) -> Any:
    before = collection.annotations
    collection.annotations = lambda image: {**before(image), **changed.get(image, {})}
    return collection


def test_masks_and_boxes_are_where_the_squares_are(masked: Any) -> None:
    annotated = read(masked)
    assert annotated.known.all()
    rows = np.arange(len(annotated.images.names))
    masks = annotated.masks(rows, (1, 0))
    for row in rows:
        for column in range(2):
            place = masked.places.get((row, column))
            assert annotated.positive[row, column] == (place is not None)
            expected = np.zeros((32, 32), bool)
            boxes = annotated.boxes[row][0][annotated.boxes[row][1] == column]
            if place is None:
                assert len(boxes) == 0
            else:
                top, left, side = place
                expected[top:top + side, left:left + side] = True
                assert boxes.tolist() == [[top, left, top + side, left + side]]
            np.testing.assert_array_equal(masks[row, 1 - column], expected)


def test_what_is_known_of_a_pair(masked: Any) -> None:
    """Label and mask by case: who is unknown is neither positive nor negative."""
    empty, full = (Annotation(rle.encode(np.full((32, 32), value))) for value in (False, True))
    labels = masked.index["label"].values.copy()
    labels[:6, 0] = [1, 0, -1, -1, -2, 0]
    drawn = [empty, full, full, empty, None, None]
    before = masked.annotations

    def annotations(image: str) -> dict[Any, Annotation]:
        changed = dict(before(image))
        row = int(image.removeprefix("image"))
        if row < 6:
            item = drawn[row]
            changed.pop(("Left Square", "reference"))
            if item is not None:
                changed["Left Square", "reference"] = item
        return changed

    masked.annotations = annotations
    masked.set("label", labels)
    annotated = read(masked)
    assert annotated.known[:6, 0].tolist() == [False, True, True, True, False, True]
    assert annotated.positive[:6, 0].tolist() == [False, False, True, False, False, False]


def test_readers_are_united_and_experts_left_out(masked: Any) -> None:
    first, second, third = np.zeros((3, 32, 32), bool)
    first[2:4, 2:6], second[3:8, 5:7], third[:] = True, True, True
    index = masked.index.drop_vars(["reader", "reader_role"])
    masked.index = index.assign_coords(
        reader=["a", "b", "expert-1"],
        reader_role=("reader", ["reference", "reference", "benchmark"]))
    row = next(row for row, column in masked.places if column == 0)
    drawn = {("Left Square", reader): Annotation(rle.encode(mask)) for reader, mask in
             (("a", first), ("b", second), ("expert-1", third))}
    masked.annotations = lambda image: drawn if image == f"image{row:03d}" else {}
    annotated = read(masked)
    np.testing.assert_array_equal(annotated.masks(np.array([row]), (0,))[0, 0], first | second)
    assert annotated.boxes[row][0].tolist() == [[2, 2, 8, 7]]


def test_masks_come_to_the_grid_as_in_the_cubes_and_boxes_in_its_pixels(
        squares: Callable[..., Any]) -> None:
    collection = squares(annotated=True)
    native = np.zeros((64, 48), bool)
    native[10:31, 7:20] = True
    box = (12.0, 6.0, 40.0, 24.0)
    collection.set("native_height", np.full(len(collection.pixels), 64))
    collection.set("native_width", np.full(len(collection.pixels), 48))
    row = next(row for row, column in collection.places if column == 0)
    drawn = {("Left Square", "reference"): Annotation(rle.encode(native), boxes=(box,))}
    collection.annotations = lambda image: drawn if image == f"image{row:03d}" else {}
    annotated = read(collection)
    np.testing.assert_array_equal(annotated.masks(np.array([row]), (0,))[0, 0],
                                  mask_to_grid(native, (32, 32)))
    np.testing.assert_allclose(annotated.boxes[row][0], [[6, 4, 20, 16]])


@settings(deadline=None, max_examples=50)
@given(npst.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_boxes_around_components_are_those_of_scikit_image(mask: np.ndarray) -> None:
    regions = measure.regionprops(measure.label(mask, connectivity=2))
    assert sorted(map(tuple, boxes_around(mask).tolist())) == sorted(r.bbox for r in regions)


@pytest.mark.parametrize(("box", "message"), [
    ((4.0, 4.0, 40.0, 8.0), r"image000, Left Square: the box y 4 to 40, x 4 to 8 leaves the "
                            r"image of 32 x 32"),
    ((4.0, -9.0, 8.0, 8.0), "leaves the image"),
    ((8.0, 4.0, 8.0, 8.0), "has no extent"),
    ((4.0, float("nan"), 8.0, 8.0), "has no extent"),
])
def test_boxes_that_cannot_be(masked: Any, box: Any, message: str) -> None:
    labels = masked.index["label"].values.copy()
    labels[0, 0] = 1
    masked.set("label", labels)
    mask = rle.encode(np.ones((32, 32), bool))
    with_annotations(masked, {
        "image000": {("Left Square", "reference"): Annotation(mask, boxes=(box,))}})
    with pytest.raises(DataError, match=message):
        read(masked)


def test_a_mask_of_another_size_is_named(masked: Any) -> None:
    labels = masked.index["label"].values.copy()
    labels[0, 0] = 1
    masked.set("label", labels)
    with_annotations(masked, {"image000": {
        ("Left Square", "reference"): Annotation(rle.encode(np.ones((9, 9), bool)))}})
    with pytest.raises(DataError, match="image000, Left Square, reader reference: "):
        read(masked)


def test_no_reference_annotations_at_all(squares: Callable[..., Any]) -> None:
    with pytest.raises(DataError, match=r"no reference masks or boxes.*mask:FINDING"):
        read(squares())


def test_balanced_drawing_gives_half_of_each(masked: Any) -> None:
    data = select_data(read(masked), ["Left Square"], complete=False, name="net")
    rows = data.rows("train")
    weights = data.sampling_weights(rows)
    share = weights / weights.sum()
    assert share[data.positive[rows, 0]].sum() == pytest.approx(0.5)
    both = select_data(read(masked), ["Right Square", "Left Square"], complete=False, name="net")
    expected = sum(select_data(read(masked), [name], complete=False, name="net")
                   .sampling_weights(rows) for name in both.findings)
    np.testing.assert_allclose(both.sampling_weights(rows), expected)


def test_only_a_detector_wants_all_findings_known(masked: Any, caplog: Any) -> None:
    annotated = read(masked)
    known = annotated.known.copy()
    known[0, 0] = known[1] = False
    partly = replace(annotated, known=known)
    segmenter = select_data(partly, partly.images.findings, complete=False, name="net")
    detector = select_data(partly, partly.images.findings, complete=True, name="net")
    warn_of_data(segmenter, "net")
    warn_of_data(detector, "net")
    assert segmenter.rows("train").tolist() == [0, *range(2, 24)]
    assert detector.rows("train").tolist() == [*range(2, 24)]
    assert "1 training images are left out" in caplog.text
    assert "2 training images are left out" in caplog.text


@pytest.mark.parametrize(("split", "keep", "message"), [
    ("train", 0, r"no training image with a mask or box of Left Square.*\['Right Square'\]"),
    ("train", 1, "no training image with a mask or box of Right Square"),
])
def test_a_finding_without_a_mask(masked: Any, split: str, keep: int, message: str) -> None:
    annotated = read(masked)
    positive = annotated.positive.copy()
    positive[annotated.images.rows(split), keep] = False
    with pytest.raises(DataError, match=message):
        select_data(replace(annotated, positive=positive), annotated.images.findings,
                    complete=False, name="net")


def test_too_few_annotated_images(masked: Any) -> None:
    annotated = read(masked)
    known = annotated.known.copy()
    known[annotated.images.rows("val")] = False
    with pytest.raises(DataError, match="0 images of split 'val'"):
        select_data(replace(annotated, known=known), annotated.images.findings, complete=False,
                    name="net")


def test_a_finding_that_validation_lacks_is_said(masked: Any, caplog: Any) -> None:
    annotated = read(masked)
    positive = annotated.positive.copy()
    positive[annotated.images.rows("val"), 1] = False
    data = select_data(replace(annotated, positive=positive), annotated.images.findings,
                       complete=False, name="net")
    warn_of_data(data, "net")
    assert "no validation image has a mask or box of Right Square" in caplog.text


@settings(deadline=None, max_examples=40)
@given(y=st.integers(20, 60), x=st.integers(20, 40), down=st.floats(-0.1, 0.1),
       right=st.floats(-0.1, 0.1), angle=st.floats(-0.2, 0.2))
def test_a_moved_box_lies_around_its_moved_mask(y: int, x: int, down: float, right: float,
                                                angle: float) -> None:
    mask = torch.zeros(1, 1, 96, 72, dtype=torch.bool)
    mask[0, 0, y:y + 14, x:x + 9] = True
    variation = Variation(torch.tensor([[down, right]]), torch.tensor([angle]), torch.ones(1))
    box = move_boxes(torch.tensor([[y, x, y + 14.0, x + 9]]), variation, 0, (96, 72))[0]
    around = boxes_around(move_masks(mask, variation)[0, 0].numpy())
    assert len(around) == 1
    # Corners of the turned mask lose up to a pixel, as less than half of it is covered.
    np.testing.assert_allclose(box, around[0], atol=1.6)


def test_what_does_not_move_stays_and_borders_cut(masked: Any) -> None:
    data = select_data(read(masked), ["Left Square"], complete=False, name="net")
    rows = data.rows("train")
    plain = data.batch(rows)
    assert torch.equal(plain.masks, torch.from_numpy(data.annotated.masks(rows, (0,))))
    still = Variation(torch.zeros(1, 2), torch.zeros(1), torch.ones(1))
    boxes = torch.tensor([[-3.0, 2.0, 8.0, 40.0]])
    assert move_boxes(boxes, still, 0, (32, 32)).tolist() == [[0, 2, 8, 32]]
    assert torch.equal(move_masks(plain.masks[:1], still), plain.masks[:1])
    varied = data.batch(rows, torch.Generator().manual_seed(1))
    again = data.batch(rows, torch.Generator().manual_seed(1))
    assert torch.equal(varied.pixels, again.pixels)
    assert not torch.equal(varied.pixels, plain.pixels)
    # Bright pixels and masks have move_maps together.
    inside = varied.pixels[varied.masks[:, 0]].float()
    assert inside.mean() > 200
