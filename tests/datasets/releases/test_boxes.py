"""Codes of boxes equal those of their masks."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from saltrust.cache import rle
from saltrust.datasets.files.annotation_codes import boxes_mask
from saltrust.datasets.files.boxes import Box
from saltrust.datasets.releases.boxes import boxes_code

SIDES = st.integers(1, 14)


@st.composite
def boxes_in_an_image(draw: st.DrawFn) -> tuple[list[Box], int, int]:
    height, width = draw(SIDES), draw(SIDES)
    edges = [st.lists(st.floats(0, size, width=16) | st.sampled_from([0.0, float(size)]),
                      min_size=2, max_size=2, unique=True).map(sorted) for size in (height, width)]
    pairs = draw(st.lists(st.tuples(*edges), max_size=4))
    return [(y[0], x[0], y[1], x[1]) for y, x in pairs], height, width


@settings(max_examples=200, deadline=None, derandomize=True)
@given(case=boxes_in_an_image())
def test_the_code_of_boxes_is_that_of_their_mask(case: tuple[list[Box], int, int]) -> None:
    boxes, height, width = case
    assert boxes_code(boxes, height, width) == rle.encode(boxes_mask(boxes, height, width))
