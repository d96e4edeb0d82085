"""IoU and Dice against closed forms and each other."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import f1_score, jaccard_score

from saltrust.analysis.pixels.overlap import dice, intersection_over_union
from saltrust.errors import UsageError

Mask = npt.NDArray[np.bool_]
PAIR = st.tuples(*(arrays(np.bool_, (4, 5), elements=st.booleans()) for _ in range(2)))


@pytest.mark.parametrize("shift", range(12))
def test_shifted_squares_have_a_closed_form(shift: int) -> None:
    first, second = np.zeros((2, 30, 30), dtype=bool)
    first[5:15, 5:15] = True
    second[5:15, 5 + shift:15 + shift] = True
    shared = 10 * max(10 - shift, 0)
    assert intersection_over_union(first, second) == shared / (200 - shared)
    assert dice(first, second) == 2 * shared / 200


@settings(deadline=None, max_examples=50)
@given(PAIR)
def test_symmetry_bounds_and_the_relation_of_the_two(pair: tuple[Mask, Mask]) -> None:
    first, second = pair
    assume(first.any() and second.any())
    iou, other = intersection_over_union(first, second), dice(first, second)
    assert iou == intersection_over_union(second, first)
    assert other == dice(second, first)
    assert 0 <= iou <= other <= 1
    assert other == pytest.approx(2 * iou / (1 + iou))
    assert (iou == 1) == bool((first == second).all())
    assert iou == pytest.approx(jaccard_score(second.ravel(), first.ravel()))
    assert other == pytest.approx(f1_score(second.ravel(), first.ravel()))


@pytest.mark.parametrize(("predicted", "reference", "positive", "everything", "both"), [
    (True, True, 1.0, 1.0, 1.0), (False, True, 0.0, 0.0, None), (True, False, None, 0.0, None),
    (False, False, None, None, None),
])
def test_slices_say_which_pairs_count(predicted: bool, reference: bool, positive: float | None,
                                      everything: float | None, both: float | None) -> None:
    pair = np.full((2, 2), predicted), np.full((2, 2), reference)
    for iou_slice, expected in (("positive", positive), ("all", everything),
                                ("both_nonempty", both)):
        iou = intersection_over_union(*pair, iou_slice)  # type: ignore[arg-type]
        assert math.isnan(iou) if expected is None else iou == expected


def test_dice_of_nothing_is_undefined() -> None:
    assert math.isnan(dice(np.zeros((2, 2)), np.zeros((2, 2))))


def test_refuses_masks_of_two_sizes_and_unknown_slices() -> None:
    with pytest.raises(UsageError, match="one size"):
        dice(np.zeros((2, 2)), np.zeros((1, 2)))
    with pytest.raises(UsageError, match="positive"):
        intersection_over_union(np.zeros((2, 2)), np.zeros((2, 2)),
                                "positiv")  # type: ignore[arg-type]
