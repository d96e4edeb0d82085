"""Bilinear upsampling against torch, closed forms and the whole map."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from saltrust.analysis.pixels.upsampling import ARITHMETICS, bilinear_map
from saltrust.errors import DataError, UsageError

SIZES = [(32, 32, 232, 283), (32, 32, 200, 170), (64, 48, 100, 90), (30, 20, 150, 151),
         (5, 9, 300, 200), (32, 32, 32, 320), (90, 80, 64, 70)]


def _maps(rows: int, columns: int) -> list[npt.NDArray[np.float32]]:
    generator = np.random.default_rng([rows, columns])
    noise = generator.normal(size=(rows, columns)).astype(np.float32)
    return [noise, np.maximum(noise, 0), np.float32(1e-5) * np.clip(noise, 0.1, 0.7),
            np.round(noise) * np.float32(0.1) + np.float32(0.3)]


@pytest.mark.parametrize("size", SIZES)
def test_torch_arithmetic_is_torch_to_the_last_bit(size: tuple[int, int, int, int]) -> None:
    fused = torch.backends.cpu.get_cpu_capability().startswith("AVX")
    rows, columns, height, width = size
    for values in _maps(rows, columns):
        expected = torch.nn.functional.interpolate(
            torch.from_numpy(values)[None, None], size=(height, width), mode="bilinear",
            align_corners=False)[0, 0].numpy()
        # Without fused multiply-add torch rounds otherwise, in the last bit.
        np.testing.assert_allclose(bilinear_map(values, height, width, "torch").values(),
                                   expected, rtol=0,
                                   atol=0 if fused else 1e-6 * np.abs(values).max())


@pytest.mark.parametrize("size", SIZES)
def test_lerp_agrees_with_float64(size: tuple[int, int, int, int]) -> None:
    rows, columns, height, width = size
    for values in _maps(rows, columns):
        expected = torch.nn.functional.interpolate(
            torch.from_numpy(values.astype(np.float64))[None, None], size=(height, width),
            mode="bilinear", align_corners=False)[0, 0].numpy()
        np.testing.assert_allclose(bilinear_map(values, height, width).values(), expected,
                                   rtol=0, atol=1e-6 * np.abs(values).max())


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("size", SIZES)
def test_extremes_are_those_of_the_whole_map(arithmetic: str, size: tuple[int, int, int, int],
                                             ) -> None:
    rows, columns, height, width = size
    for values in _maps(rows, columns):
        upsampled = bilinear_map(values, height, width, arithmetic)  # type: ignore[arg-type]
        whole = upsampled.values()
        peak = upsampled.peak()
        assert upsampled.minimum() == whole.min()
        assert peak.value == whole.max()
        assert peak.row * width + peak.column == whole.argmax()
        assert peak.n == np.count_nonzero(whole == whole.max())


@settings(deadline=None, max_examples=50)
@given(values=arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=6),
                     elements=st.floats(-1e3, 1e3, width=32)),
       height=st.integers(1, 40), width=st.integers(1, 40))
def test_lerp_stays_within_the_range_and_keeps_plateaus(values: npt.NDArray[np.float32],
                                                        height: int, width: int) -> None:
    upsampled = bilinear_map(values, height, width).values()
    slack = 1e-6 * np.abs(values).max()
    assert values.min() - slack <= upsampled.min()
    assert upsampled.max() <= values.max() + slack
    level = np.full_like(values, values.flat[0])
    assert (bilinear_map(level, height, width).values() == values.flat[0]).all()


def test_a_ramp_stays_a_ramp_between_its_centers() -> None:
    ramp = np.arange(8, dtype=np.float32)[None, :]
    upsampled = bilinear_map(ramp, 1, 80).values()[0]
    centers = (np.arange(80) + 0.5) / 10 - 0.5
    np.testing.assert_allclose(upsampled, np.clip(centers, 0, 7), atol=1e-6)


def test_the_first_of_a_plateau_in_row_order_is_the_peak() -> None:
    values = np.zeros((4, 4), dtype=np.float32)
    values[1, 3] = values[2, 0] = 1
    peak = bilinear_map(values, 4, 4).peak()
    assert peak == (1, 3, 2, 1.0)


@pytest.mark.parametrize("level", [0, 1])
def test_all_of_a_large_plateau_is_counted(level: float) -> None:
    """More pixels than are looked at in one step; zeros cannot round past each other."""
    values = np.full((6, 6), level - 1, dtype=np.float32)
    values[1:5, 1:5] = level
    made = bilinear_map(values, 600, 600)
    peak = made.peak()
    assert peak.n == np.count_nonzero(made.values() == level) > 1 << 16
    assert (peak.row, peak.column) == (150, 150)


def test_rows_on_request_are_rows_of_the_whole() -> None:
    upsampled = bilinear_map(_maps(9, 7)[0], 50, 60, "torch")
    whole = upsampled.values()
    np.testing.assert_array_equal(upsampled.rows(np.array([49, 0, 7])), whole[[49, 0, 7]])
    bands = [upsampled.rows(band) for band in upsampled.bands()]
    np.testing.assert_array_equal(np.concatenate(bands), whole)


@pytest.mark.parametrize(("values", "size", "match"), [
    (np.zeros(3), (2, 2), "shape"), (np.zeros((0, 3)), (2, 2), "shape"),
    (np.zeros((3, 3)), (0, 2), "0 x 2"),
])
def test_refuses_what_is_not_a_map(values: npt.NDArray[np.float64], size: tuple[int, int],
                                   match: str) -> None:
    with pytest.raises(UsageError, match=match):
        bilinear_map(values, *size)


@pytest.mark.parametrize("values", [[[0, np.nan]], [[np.inf, 1]], [[-3e38, 3e38]]])
def test_refuses_what_float32_cannot_hold(values: list[list[float]]) -> None:
    with pytest.raises(DataError, match="finite"):
        bilinear_map(values, 1, 4)


def test_refuses_unknown_arithmetic() -> None:
    with pytest.raises(UsageError, match="torch"):
        bilinear_map(np.zeros((2, 2)), 2, 2, "torhc")  # type: ignore[arg-type]
