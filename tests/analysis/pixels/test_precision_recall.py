"""Areas under the curves against scikit-learn, counts by hand and closed forms."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score

from saltrust.analysis.pixels import precision_recall as kernel
from saltrust.analysis.pixels.precision_recall import curve_areas
from saltrust.errors import DataError


def reference(values: npt.NDArray[np.generic], mask: npt.NDArray[np.bool_]
              ) -> tuple[float, float, float]:
    score, inside = values.ravel(), mask.ravel()
    precision, recall, _ = precision_recall_curve(inside, score)
    auroc = float("nan") if inside.all() else float(roc_auc_score(inside, score))
    return float(auc(recall, precision)), float(average_precision_score(inside, score)), auroc


def agree(values: npt.NDArray[np.generic], mask: npt.NDArray[np.bool_]) -> None:
    areas = curve_areas(values, mask)
    np.testing.assert_allclose(areas[:3], reference(values, mask), rtol=0, atol=1e-12)
    assert areas.prevalence == mask.mean()
    curve = kernel.precision_recall_curve(values, mask)
    assert curve.recall[0] == 0
    assert curve.recall[-1] == 1
    assert np.trapezoid(curve.precision, curve.recall) == pytest.approx(areas.auprc, abs=1e-12)
    assert float(np.diff(curve.recall) @ curve.precision[1:]) == pytest.approx(
        areas.average_precision, abs=1e-12)


def blob(shape: tuple[int, int], seed: int) -> npt.NDArray[np.bool_]:
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:shape[0], :shape[1]] / max(shape)
    cy, cx = generator.uniform(0.2, 0.8, 2)
    return ((y - cy) ** 2 + (x - cx) ** 2) < generator.uniform(0.05, 0.25) ** 2


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["noise", "rectified", "regions", "rounded", "signed zero"])
def test_float32_maps_as_scikit_learn(kind: str, seed: int) -> None:
    generator = np.random.default_rng(seed)
    mask = blob((160, 120), seed)
    noise = generator.normal(size=mask.shape) + mask * generator.uniform(-1, 1)
    values = {"noise": noise, "rectified": np.maximum(noise, 0), "regions": np.round(noise),
              "rounded": np.round(255 / (1 + np.exp(-noise))),
              "signed zero": np.where(noise > 0.3, noise, np.where(noise > 0, 0.0, -0.0))}[kind]
    agree(values.astype(np.float32), mask)


@given(hnp.arrays(np.float32, st.integers(1, 60),
                  elements=st.sampled_from([-2.5, -0.0, 0.0, 1e-30, 0.5, 3.25, 1e30])),
       st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=50)
def test_heavy_ties_as_scikit_learn(values: npt.NDArray[np.float32], random: object) -> None:
    mask = np.array([random.random() < 0.3 for _ in values])  # type: ignore[attr-defined]
    mask[0] = True
    agree(values, mask)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16, np.float16])
def test_counted_arrays_equal_sorted_ones(dtype: type[np.generic]) -> None:
    generator = np.random.default_rng(3)
    mask = blob((200, 180), 3)
    if dtype is np.float16:
        values = (generator.normal(size=mask.shape) * 30 + mask).astype(dtype)
        values[::7] = np.float16(-0.0)
        values[1::7] = np.float16(0.0)
    else:
        limits = np.iinfo(dtype)
        values = generator.integers(limits.min, limits.max, mask.shape, endpoint=True).astype(dtype)
        values[0, :2] = limits.min, limits.max
    assert curve_areas(values, mask) == curve_areas(values.astype(np.float64), mask)
    swapped = values.astype(values.dtype.newbyteorder())
    assert curve_areas(swapped, mask) == curve_areas(values, mask)
    agree(values, mask)


def test_flat_map_has_the_average_precision_of_no_information() -> None:
    mask = blob((64, 64), 1)
    areas = curve_areas(np.full(mask.shape, 0.25, np.float32), mask)
    p = mask.mean()
    assert areas == (pytest.approx((1 + p) / 2, abs=1e-15), p, 0.5, p)


def test_perfect_and_inverted_maps() -> None:
    mask = blob((64, 64), 2)
    assert curve_areas(mask.astype(np.float32), mask)[:3] == (1.0, 1.0, 1.0)
    assert curve_areas(~mask, mask).auroc == 0.0


def test_nothing_inside_and_nothing_outside() -> None:
    values = np.arange(9, dtype=np.float32).reshape(3, 3)
    empty = curve_areas(values, np.zeros((3, 3), bool))
    assert np.isnan(empty[:3]).all()
    assert empty.prevalence == 0
    full = curve_areas(values, np.ones((3, 3), bool))
    assert full[:2] == (1.0, 1.0)
    assert np.isnan(full.auroc)


def test_rank_invariance() -> None:
    generator = np.random.default_rng(5)
    mask = blob((50, 50), 5)
    values = generator.normal(size=mask.shape)
    assert curve_areas(values, mask) == curve_areas(np.exp(values) * 7 - 3, mask)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("inside", [True, False])
def test_values_that_are_not_finite_are_refused(dtype: type, bad: float, inside: bool) -> None:
    mask = np.zeros((4, 4), bool)
    mask[0] = True
    values = np.arange(16).reshape(4, 4).astype(dtype)
    values[0 if inside else 2, 1] = bad
    with pytest.raises(DataError, match="NaN or infinite"):
        curve_areas(values, mask)


def test_wrong_input_is_named() -> None:
    with pytest.raises(DataError, match=r"shape \(2, 2\).*\(4,\)"):
        curve_areas(np.zeros((2, 2)), np.zeros(4, bool))
    with pytest.raises(DataError, match="without pixels"):
        curve_areas(np.zeros((0, 2)), np.zeros((0, 2), bool))
    with pytest.raises(DataError, match="boolean"):
        curve_areas(np.zeros(3), np.array([0, 1, 2]))
    with pytest.raises(DataError, match="numbers"):
        curve_areas(np.array(["a"]), np.array([True]))


def test_a_curve_without_a_positive_is_refused() -> None:
    with pytest.raises(DataError, match="without a pixel"):
        kernel.precision_recall_curve([0.1, 0.2], [False, False])
