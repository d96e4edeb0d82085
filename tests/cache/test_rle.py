"""Run-length codes against pycocotools and against run counting by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco

from saltrust.cache import rle
from saltrust.errors import DataError

masks = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40))


@settings(deadline=None, max_examples=50)
@given(masks)
def test_round_trip_and_runs(mask: np.ndarray) -> None:
    code = rle.encode(mask)
    assert np.array_equal(rle.decode(code, *mask.shape), mask)
    assert rle.area(code, *mask.shape) == mask.sum()
    # Column-major runs, the first of background, counted the slow way.
    runs, value = [0], False
    for pixel in mask.T.ravel():
        if pixel == value:
            runs[-1] += 1
        else:
            runs.append(1)
            value = pixel
    assert rle.run_lengths(code).tolist() == runs


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_iou_equals_pixel_counting(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    first = rng.random((3, height, width)) < 0.5
    second = rng.random((2, height, width)) < 0.3
    got = rle.intersection_over_union([rle.encode(m) for m in first],
                                      [rle.encode(m) for m in second], height, width)
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            union = (a | b).sum()
            assert got[i, j] == pytest.approx((a & b).sum() / union if union else 0)


def test_long_runs_agree_with_coco_area() -> None:
    mask = np.zeros((2320, 2828), dtype=bool)
    mask[400:1900, 300:2500] = True
    mask[900, 20] = True
    code = rle.encode(mask)
    assert rle.area(code, *mask.shape) == coco.area(
        {"size": list(mask.shape), "counts": code.encode()}) == mask.sum()
    assert np.array_equal(rle.decode(code, *mask.shape), mask)


def test_runs_that_wrap_around_to_the_right_sum() -> None:
    # The first is 2**58 = 8 * 32**11; the others differ from the one before the last by nothing,
    # the third from no other.
    code = "P" * 11 + "8" + ("P" * 11 + "8") * 2 + "0" * 61 + "T" + "P" * 10 + "H"
    runs = rle.run_lengths(code)
    assert runs[:64].tolist() == [2**58] * 64
    for size in ((2, 2), (2**29, 2**29)):
        with pytest.raises(DataError, match=r"covers 1[0-9]{19} pixels"):
            rle.area(code, *size)


@pytest.mark.parametrize(("counts", "size", "word"), [
    (rle.encode(np.ones((4, 5), bool)), (5, 5), "20 pixels"),
    ("\x10", (2, 2), "character"),
    ("é", (2, 2), "ASCII"),
    ("o", (2, 2), "truncated"),
    ("", (2, 2), "0 pixels"),
    # 6 of background, 1, and 3 less than none: 4 in all.
    ("61M", (2, 2), "negative number of pixels"),
])
def test_damaged_codes_are_refused(counts: str, size: tuple[int, int], word: str) -> None:
    with pytest.raises(DataError, match=word):
        rle.decode(counts, *size)
