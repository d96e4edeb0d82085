"""Padding is known in whatever sign a header writes it, alone and as a range."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset

from saltrust.datasets.files.dicom.padding import shown_pixels

SIGNED = np.array([[-2000, 5], [7, -1990]], dtype=np.int16)
UNSIGNED = np.array([[63536, 5], [7, 63546]], dtype=np.uint16)


def shown(stored: np.ndarray, *ends: tuple[str, int], bits: int = 16) -> tuple[np.ndarray, str]:
    dataset = Dataset()
    dataset.BitsStored = bits
    for number, (kind, value) in enumerate(ends):
        dataset.add_new(0x00280120 + number, kind, value)
    mask, doubt = shown_pixels(dataset, stored)
    return np.ones(stored.shape, dtype=bool) if mask is None else mask, doubt


@pytest.mark.parametrize(("stored", "value"), [
    (SIGNED, ("SS", -2000)), (SIGNED, ("US", 63536)), (UNSIGNED, ("US", 63536)),
    (UNSIGNED, ("SS", -2000)), (SIGNED.astype(np.int32), ("US", 63536))])
def test_one_value_in_either_sign(stored: np.ndarray, value: tuple[str, int]) -> None:
    mask, doubt = shown(stored, value)
    np.testing.assert_array_equal(mask, [[False, True], [True, True]])
    assert doubt == ""


@pytest.mark.parametrize("value", [4096 - 2000, 65536 - 2000])
def test_the_sign_of_the_stored_bits(value: int) -> None:
    np.testing.assert_array_equal(shown(SIGNED, ("US", value), bits=12)[0],
                                  [[False, True], [True, True]])


@pytest.mark.parametrize("ends", [
    (("SS", -2000), ("SS", -1990)), (("SS", -1990), ("SS", -2000)),
    (("US", 63536), ("US", 63546)), (("US", 63546), ("SS", -2000))])
@pytest.mark.parametrize("stored", [SIGNED, UNSIGNED])
def test_a_range_in_either_order_and_sign(stored: np.ndarray,
                                          ends: tuple[tuple[str, int], ...]) -> None:
    mask, doubt = shown(stored, *ends)
    np.testing.assert_array_equal(mask, [[False, True], [True, False]])
    assert doubt == ""


@pytest.mark.parametrize(("stored", "value"), [
    (np.array([[0, 255]], dtype=np.uint8), 65535), (np.array([[0, 44]], dtype=np.uint8), 300),
    (np.array([[0, 4095]], dtype=np.uint16), 65535)])
def test_what_no_pixel_can_be_is_no_padding(stored: np.ndarray, value: int) -> None:
    assert shown(stored, ("US", value), bits=12)[0].all()


def test_a_range_that_would_leave_nothing_is_not_believed() -> None:
    stored = np.arange(16, dtype=np.uint16).reshape(4, 4)
    mask, doubt = shown(stored, ("US", 0), ("US", 65535))
    assert mask.sum() == 15
    assert "0 to 65535 would leave no image" in doubt
    mask, doubt = shown(stored // 8, ("US", 1))
    assert mask.all()
    assert "would leave no image" in doubt


def test_padding_of_real_numbers() -> None:
    dataset = Dataset()
    dataset.add_new(0x00280122, "FL", -1.5)
    stored = np.array([[-1.5, 0.25, 3]], dtype=np.float32)
    mask, doubt = shown_pixels(dataset, stored)
    np.testing.assert_array_equal(mask, [[False, True, True]])
    assert doubt == ""


def test_no_padding() -> None:
    assert shown_pixels(Dataset(), SIGNED) == (None, "")
