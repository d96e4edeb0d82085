"""The simulated experts: near the truth, wrong in the ways that are built in."""

from __future__ import annotations

import functools

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage, stats

from saltrust.cache.rle import decode
from saltrust.datasets.phantom.collection import phantom
from saltrust.datasets.phantom.readers import BUILT_IN_EFFECTS, annotate

EIGHT = np.ones((3, 3))
SIZE = 128
EXPERTS = ("expert-1", "expert-2")


def shape(mask: npt.NDArray[np.bool_]) -> tuple[float, ...]:
    """Instances, area ratio, elongation, irrectangularity; dominant = longest outline."""
    parts, n = ndimage.label(mask, EIGHT)
    outlines = [cv2.findContours((parts == k).astype(np.uint8), cv2.RETR_EXTERNAL,
                                 cv2.CHAIN_APPROX_NONE)[0][0] for k in range(1, n + 1)]
    dominant = 1 + int(np.argmax([cv2.arcLength(outline, True) for outline in outlines]))
    rows, columns = np.nonzero(parts == dominant)
    corners = np.concatenate([np.column_stack([columns + dx, rows + dy])
                              for dx in (0, 1) for dy in (0, 1)])
    _, sides, _ = cv2.minAreaRect(corners.astype(np.float32))
    return n, mask.mean(), max(sides) / min(sides), 1 - len(rows) / (sides[0] * sides[1])


@functools.cache
def readings() -> dict[str, npt.NDArray[np.float64]]:
    """One row per expert and positive pair of image and finding; and all negatives drawn."""
    data = phantom(patients=150, size=SIZE, seed=31)
    positives: list[tuple[float, ...]] = []
    negatives: list[tuple[float, float]] = []
    off_image = []
    for name in data.index["image"].values:
        annotations = data.annotations(str(name))
        for finding, label in zip(data.index["finding"].values,
                                  data.index["label"].sel(image=name).values, strict=True):
            truth = decode(annotations[finding, "reference"].mask_rle, SIZE, SIZE)
            described = shape(truth) if label == 1 else ()
            for k, expert in enumerate(EXPERTS):
                annotation = annotations[finding, expert]
                mask = decode(annotation.mask_rle, SIZE, SIZE)
                assert len(annotation.points) == int(mask.any())
                assert (annotation.n_polygons == 0) == (not mask.any())
                if label == 0:
                    negatives.append((k, float(mask.any())))
                if label != 1:
                    continue
                hit, inside = 0.0, 1.0
                if mask.any():
                    row, column = (int(value) for value in annotation.points[0])
                    off_image.append(not (0 <= row < SIZE and 0 <= column < SIZE))
                    hit, inside = float(truth[row, column]), float(mask[row, column])
                iou = (mask & truth).sum() / (mask | truth).sum()
                n_drawn = ndimage.label(mask, EIGHT)[1]
                positives.append((k, *described, iou, hit, inside, n_drawn))
    assert not any(off_image)
    names = ("expert", "n_instances", "area_ratio", "elongation", "irrectangularity", "iou",
             "hit", "inside", "n_drawn")
    table = dict(zip(names, np.array(positives, dtype=float).T, strict=True))
    return table | {"negatives": np.array(negatives, dtype=float)}


def of(expert: str, column: str) -> npt.NDArray[np.float64]:
    table = readings()
    mine: npt.NDArray[np.float64] = table[column][table["expert"] == EXPERTS.index(expert)]
    return mine


def slope(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Slope and two-sided p of y on min-max normalised x, by the normal equations."""
    x = (x - x.min()) / (x.max() - x.min())
    design = np.column_stack([np.ones_like(x), x])
    solution, residual = np.linalg.lstsq(design, y, rcond=None)[:2]
    variance = residual[0] / (len(y) - 2) * np.linalg.inv(design.T @ design)[1, 1]
    t = solution[1] / np.sqrt(variance)
    return float(solution[1]), float(2 * stats.t.sf(abs(t), len(y) - 2))


@pytest.mark.parametrize(("scheme", "descriptor", "sign"), [
    (scheme, descriptor, sign) for scheme, effects in BUILT_IN_EFFECTS.items()
    for descriptor, sign in effects.items()])
def test_the_second_expert_shows_the_effects_that_are_built_in(
        scheme: str, descriptor: str, sign: int) -> None:
    x, y = of("expert-2", descriptor), of("expert-2", scheme)
    assert len(y) > 400
    estimate, p_value = slope(x, y)
    assert np.sign(estimate) == sign
    assert p_value < 0.01


@pytest.mark.parametrize("descriptor", ["area_ratio", "elongation", "irrectangularity"])
def test_the_first_expert_shows_them_too(descriptor: str) -> None:
    estimate, p_value = slope(of("expert-1", descriptor), of("expert-1", "iou"))
    assert np.sign(estimate) == BUILT_IN_EFFECTS["iou"][descriptor]
    assert p_value < 0.01


def test_four_effects_are_declared_on_overlap() -> None:
    assert BUILT_IN_EFFECTS["iou"] == {"n_instances": -1, "area_ratio": 1, "elongation": -1,
                                       "irrectangularity": -1}


def test_the_first_expert_is_better_and_neither_is_perfect() -> None:
    first, second = of("expert-1", "iou"), of("expert-2", "iou")
    assert 0.55 < first.mean() < 0.85
    assert 0.35 < second.mean() < first.mean() - 0.1
    assert of("expert-1", "hit").mean() > of("expert-2", "hit").mean() + 0.05
    assert np.mean(first == 1) < 0.01


def test_experts_miss_findings_and_imagine_others_now_and_then() -> None:
    for k, (missed, imagined) in enumerate([(0.015, 0.015), (0.04, 0.03)]):
        empty = of(EXPERTS[k], "n_drawn") == 0
        drawn = readings()["negatives"]
        false = drawn[drawn[:, 0] == k, 1]
        assert stats.binomtest(int(empty.sum()), len(empty), missed).pvalue > 0.001
        assert stats.binomtest(int(false.sum()), len(false), imagined).pvalue > 0.001


def test_experts_overlook_instances() -> None:
    several = of("expert-2", "n_instances") >= 2
    drawn, instances = of("expert-2", "n_drawn")[several], of("expert-2", "n_instances")[several]
    assert 0.4 < np.mean(drawn < instances) < 0.9
    assert np.mean(drawn > instances) < 0.2


def test_most_points_lie_in_the_expert_s_own_outline_but_not_all() -> None:
    assert 0.9 < of("expert-1", "inside").mean() < 1
    assert 0.75 < of("expert-2", "inside").mean() < 1


def test_the_reference_is_the_truth_itself() -> None:
    data = phantom(patients=5, size=64, seed=1)
    for name in data.index["image"].values:
        scene, annotations = data.scene(str(name)), data.annotations(str(name))
        for finding, mask in scene.masks.items():
            annotation = annotations[finding, "reference"]
            assert np.array_equal(decode(annotation.mask_rle, 64, 64), mask)
            assert annotation.n_polygons == ndimage.label(mask, EIGHT)[1]
            for row, column in annotation.points:
                assert mask[int(row), int(column)]


def test_the_point_is_the_pole_of_inaccessibility_of_the_largest_instance() -> None:
    mask = np.zeros((40, 40), dtype=bool)
    mask[2:6, 2:38] = True      # long and thin, but smaller
    mask[12:33, 10:31] = True   # a square of 21 pixels about (22, 20)
    annotation = annotate(mask)
    assert annotation.points == ((22.0, 20.0),)
    assert annotation.n_polygons == 2


def test_the_border_of_the_image_bounds_an_instance() -> None:
    mask = np.zeros((21, 21), dtype=bool)
    mask[:, :11] = True
    row, column = annotate(mask).points[0]
    assert column == 5
    assert 5 <= row <= 15


def test_a_shaken_point_stays_in_the_image() -> None:
    mask = np.zeros((16, 16), dtype=bool)
    mask[0, 0] = True
    assert annotate(mask, (-9.0, 99.0)).points == ((0.0, 15.0),)
