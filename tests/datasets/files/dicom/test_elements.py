"""Numbers of headers as people write them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from saltrust.datasets.files.dicom.elements import decimals, text, whole


def stored(kind: str, value: bytes) -> Dataset:
    """A header read from a file whose window center is this."""
    element = b"\x28\x00\x50\x10" + kind.encode() + len(value).to_bytes(2, "little") + value
    meta = b"\x02\x00\x10\x00UI\x14\x001.2.840.10008.1.2.1\0"
    return dcmread(io.BytesIO(b"\0" * 128 + b"DICM" + meta + element))


@pytest.mark.parametrize(("value", "expected"), [
    (b"2048", [2048]), (b"40,5 ", [40.5]), (b"1\\2\\3 ", [1, 2, 3]), (b"", []), (b"    ", []),
    (b"\\ ", []), (b"abc ", [np.nan]), (b"7\\abc ", [7, np.nan]), (b"nan ", [np.nan]),
    (b"1e400 ", [np.inf]), (b"\xff\xfe", [np.nan])])
def test_decimals(value: bytes, expected: list[float]) -> None:
    np.testing.assert_array_equal(decimals(stored("DS", value), "WindowCenter"), expected)


def test_decimals_of_other_kinds() -> None:
    assert decimals(stored("FD", np.float64(2.5).tobytes()), "WindowCenter") == [2.5]
    assert decimals(Dataset(), "WindowCenter") == []


@pytest.mark.parametrize(("value", "expected"), [
    (12, 12), ("12", 12), (None, None), ([7, 8], 7), ([], None)])
def test_whole(value: Any, expected: int | None) -> None:
    dataset = Dataset()
    dataset.add_new(0x00280101, "IS", value)
    assert whole(dataset, "BitsStored") == expected


def test_text() -> None:
    dataset = Dataset()
    dataset.add_new(0x00280004, "LO", "monochrome1 ")
    assert text(dataset, "PhotometricInterpretation") == "MONOCHROME1"
    assert text(dataset, "VOILUTFunction") == ""
