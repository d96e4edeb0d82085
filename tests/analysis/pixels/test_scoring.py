"""Scores of one map and one expert against one mask."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from saltrust.analysis.pixels.overlap import intersection_over_union
from saltrust.analysis.pixels.scoring import (
    MaskPixels,
    score_expert,
    score_segmentation,
    segment_heatmap,
)
from saltrust.errors import UsageError

Mask = npt.NDArray[np.bool_]
MASKS = arrays(np.bool_, (9, 11), elements=st.booleans())


def _pixels(mask: Mask) -> MaskPixels:
    return MaskPixels(int(mask.sum()), mask if mask.any() else None)


@settings(deadline=None, max_examples=50)
@given(MASKS)
def test_a_mask_as_its_own_heatmap_scores_one(mask: Mask) -> None:
    assume(mask.any() and not mask.all())
    segmented = segment_heatmap(mask.astype(np.float32) * 0.37 - 0.1, mask.shape)
    score = score_segmentation(segmented, _pixels(mask))
    assert (score.iou, score.hit) == (1, 1)
    assert score.area_predicted == score.area_reference == mask.sum()
    assert score.n_peak == mask.sum()


@settings(deadline=None, max_examples=50)
@given(MASKS, MASKS)
def test_iou_is_that_of_the_masks(drawn: Mask, reference: Mask) -> None:
    assume(drawn.any() and not drawn.all())
    segmented = segment_heatmap(drawn.astype(np.float32), drawn.shape)
    for iou_slice in ("positive", "all", "both_nonempty"):
        score = score_segmentation(segmented, _pixels(reference), iou_slice)
        expected = intersection_over_union(drawn, reference, iou_slice)
        np.testing.assert_equal(score.iou, expected)
    score = score_segmentation(segmented, _pixels(reference))
    first = np.unravel_index(drawn.argmax(), drawn.shape)
    np.testing.assert_equal(score.hit, float(reference[first]) if reference.any() else np.nan)


@pytest.mark.parametrize("values", [np.zeros((4, 4)), np.full((4, 4), np.nan),
                                    np.full((4, 4), np.inf)])
def test_a_map_without_information_is_a_failure(values: npt.NDArray[np.float64]) -> None:
    segmented = segment_heatmap(values.astype(np.float32), (8, 8))
    assert segmented is None
    reference = np.zeros((8, 8), dtype=bool)
    reference[2:5, 2:5] = True
    score = score_segmentation(segmented, _pixels(reference))
    assert (score.iou, score.hit, score.area_predicted) == (0, 0, 0)
    assert math.isnan(score.threshold)
    assert math.isnan(score.peak_y)
    both = score_segmentation(segmented, _pixels(reference), "both_nonempty")
    assert math.isnan(both.iou)
    assert both.hit == 0


def test_a_missing_annotation_is_not_a_negative() -> None:
    segmented = segment_heatmap(np.eye(4, dtype=np.float32), (4, 4))
    for iou_slice in ("positive", "all"):
        missing = score_segmentation(segmented, None, iou_slice)
        assert math.isnan(missing.iou)
        assert math.isnan(missing.hit)
        assert math.isnan(missing.area_reference)
        assert missing.area_predicted == 4
    empty = score_segmentation(segmented, MaskPixels(0, None), "all")
    assert empty.iou == empty.area_reference == 0
    assert math.isnan(empty.hit)


def test_an_expert_is_scored_by_the_point_not_the_centroid() -> None:
    reference = np.zeros((20, 20), dtype=bool)
    reference[5:15, 5:15] = True
    # A ring round the reference has its centroid inside and every pixel outside.
    ring = np.ones((20, 20), dtype=bool)
    ring[3:17, 3:17] = False
    outside, inside = (0, 0), (10, 10)
    ring_pixels, target = _pixels(ring), _pixels(reference)
    assert score_expert(ring_pixels, [outside], target).hit == 0
    assert score_expert(ring_pixels, [inside], target).hit == 1
    assert score_expert(ring_pixels, [outside, inside], target).hit == 0
    assert score_expert(ring_pixels, [outside, inside], target, definition="peer").hit == 1
    assert math.isnan(score_expert(ring_pixels, [], target).hit)
    assert score_expert(ring_pixels, [], target, definition="peer").hit == 0
    assert score_expert(ring_pixels, [(40, -3)], target).hit == 0
    expert = score_expert(ring_pixels, [inside], target)
    assert (expert.peak_y, expert.peak_x, expert.iou) == (10, 10, 0)
    assert math.isnan(expert.threshold)
    assert math.isnan(expert.n_peak)
    assert math.isnan(score_expert(target, [inside], MaskPixels(0, None)).hit)
    assert math.isnan(score_expert(target, [inside], None, definition="peer").hit)


def test_pixels_of_a_mask_cannot_be_left_out() -> None:
    with pytest.raises(UsageError, match="empty"):
        MaskPixels(3, None)
    with pytest.raises(UsageError, match="definition"):
        segment_heatmap(np.eye(2, dtype=np.float32), (2, 2), "pier")  # type: ignore[arg-type]
