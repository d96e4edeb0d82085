"""Bits above those stated are values, overlays or a sign."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset

from saltrust.datasets.files.dicom.bits import excess, values_of

RAMP12 = np.arange(0, 4096, 32, dtype=np.uint16).reshape(8, 16)


def header(stored: int, high: int | None = None, overlay: str = "") -> Dataset:
    dataset = Dataset()
    dataset.BitsStored = stored
    dataset.HighBit = stored - 1 if high is None else high
    if overlay:
        dataset.add_new(0x60000010, "US", 1)
    if overlay == "beside":
        dataset.add_new(0x60003000, "OW", b"\0\0")
    return dataset


@pytest.mark.parametrize(("raw", "stated", "expected", "doubted"), [
    (RAMP12, header(8), RAMP12, True), (RAMP12, header(12), RAMP12, False),
    (RAMP12, header(8, overlay="beside"), RAMP12, True),
    (RAMP12 | 0x8000, header(12, overlay="in pixels"), RAMP12, False),
    (RAMP12.astype(np.int16) - 2048, header(12), RAMP12.astype(np.int16) - 2048, False),
    (RAMP12.astype(np.int16) - 2049, header(12), RAMP12.astype(np.int16) - 2049, True),
    ((RAMP12 - 2048 & 0xFFF).astype(np.int16), header(12), RAMP12.astype(np.int16) - 2048, False),
    (RAMP12 << 4, header(12, high=15), RAMP12, False),
    (RAMP12, header(12, high=15), RAMP12, False),
    (RAMP12, header(16), RAMP12, False)])
def test_bits(raw: np.ndarray, stated: Dataset, expected: np.ndarray, doubted: bool) -> None:
    values = values_of(stated, raw)
    np.testing.assert_array_equal(values, expected)
    assert values.dtype == raw.dtype
    assert bool(excess(stated, values, None)) == doubted


def test_padding_above_the_stored_bits_is_no_doubt() -> None:
    padded = RAMP12.copy()
    padded[0, 0] = 63536
    shown = padded != 63536
    stated = header(12)
    assert "0 to 63536" not in excess(stated, values_of(stated, padded), shown)
    assert excess(stated, padded, shown) == ""
    assert "32 to 63536" in excess(stated, padded, None)
