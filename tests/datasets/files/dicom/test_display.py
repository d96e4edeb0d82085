"""Headers that disagree with their pixels: the next best rule, and a doubt that says so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from saltrust.datasets.files.dicom.display import display
from saltrust.datasets.files.dicom.levels import converted, levels_of

RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)
STRETCHED = np.rint(RAMP / 4095 * 255)


def table(descriptor: Any, data: Any, kind: str = "OW") -> Sequence:
    item = Dataset()
    item.add_new(0x00283002, "US", descriptor)
    item.add_new(0x00283006, kind, data)
    return Sequence([item])


def shown(stored: np.ndarray, shown_pixels: np.ndarray | None = None, **header: Any,
          ) -> tuple[np.ndarray, str]:
    dataset = Dataset()
    for name, value in header.items():
        setattr(dataset, name, value)
    levels = levels_of(stored, shown_pixels)
    convert, doubts = display(dataset, levels)
    return converted(stored, levels, convert), "; ".join(doubts)


@pytest.mark.parametrize(("header", "word"), [
    ({"WindowCenter": "30000", "WindowWidth": "500"}, "leaves 1 of 256"),
    ({"WindowCenter": "-99999", "WindowWidth": "2"}, "leaves 1 of 256"),
    ({"WindowCenter": "2000", "WindowWidth": "1"}, "leaves 2 of 256"),
    ({"WindowCenter": "5", "WindowWidth": "100"}, "of the pixels black or white"),
    ({"WindowCenter": "2000", "WindowWidth": "1e9"}, "leaves 2 of 256"),
    ({"WindowCenter": "2000", "WindowWidth": "-4096"}, "width -4096) is none"),
    ({"WindowCenter": "2000"}, "width unknown) is none"),
    ({"WindowWidth": "2000"}, "center unknown"),
    ({"WindowCenter": "30000", "WindowWidth": "500", "VOILUTFunction": "SIGMOID"}, "leaves 1"),
    ({"WindowCenter": "30000", "WindowWidth": "5", "VOILUTFunction": "LINEAR_EXACT"}, "leaves 1"),
    ({"RescaleSlope": "0", "RescaleIntercept": "5"}, "leaves 1 of 4096 values"),
    ({"RescaleSlope": "1e308", "RescaleIntercept": "1e308"}, "infinite or no numbers"),
    ({"VOILUTSequence": table([4096, 0, 12], RAMP.tobytes()[:4096])}, "2048 of 4096 entries"),
    ({"VOILUTSequence": table([4096, 0, 12], b"\0" * 8192)}, "leaves 1 of 256"),
    ({"VOILUTSequence": table([64, 30000, 12], RAMP.tobytes()[:128])}, "leaves 1 of 256"),
    ({"VOILUTSequence": table([4096, 0], RAMP.tobytes())}, "cannot be read"),
    ({"ModalityLUTSequence": table([4096, 0, 16], RAMP.tobytes()[:2000])}, "1000 of 4096 entries"),
    ({"ModalityLUTSequence": table([4096, 0, 16], b"\1\0" * 4096)}, "leaves 1 of 4096 values"),
])
def test_what_misses_the_pixels_gives_way_to_the_next_rule(header: dict[str, Any],
                                                           word: str) -> None:
    gray, doubt = shown(RAMP, **header)
    np.testing.assert_array_equal(gray, STRETCHED)
    assert word in doubt


@pytest.mark.parametrize("header", [
    {"WindowCenter": ["30000", "2048"], "WindowWidth": ["500", "1024"]},
    {"WindowCenter": ["2048", "2048"], "WindowWidth": ["0", "1024"]},
    {"VOILUTSequence": table([4096, 0, 12], RAMP.tobytes()[:2000]), "WindowCenter": "2048",
     "WindowWidth": "1024"}])
def test_the_next_window_of_a_header_comes_first(header: dict[str, Any]) -> None:
    alone, doubt = shown(RAMP, WindowCenter="2048", WindowWidth="1024")
    assert doubt == ""
    gray, doubt = shown(RAMP, **header)
    np.testing.assert_array_equal(gray, alone)
    assert doubt.endswith("its window (center 2048, width 1024) is taken instead")


def test_a_later_window_that_is_broken_is_no_doubt() -> None:
    assert shown(RAMP, WindowCenter=["2048", "1"], WindowWidth=["4096", "0"])[1] == ""


@pytest.mark.parametrize(("bits", "factor"), [(16, 1), (8, 1), (12, 1), (16, 15)])
def test_white_is_the_largest_entry_where_the_descriptor_is_wrong(bits: int, factor: int) -> None:
    entries = (RAMP.ravel() * factor).astype("<u2")
    gray, doubt = shown(RAMP, VOILUTSequence=table([4096, 0, bits], entries.tobytes()))
    expected = STRETCHED if factor == 1 else np.rint(entries.reshape(64, 64) / 65535 * 255)
    np.testing.assert_array_equal(gray, expected)
    assert (doubt == "") == (bits == 12 or factor == 15)


@pytest.mark.parametrize(("bits", "doubted"), [(8, False), (16, True)])
def test_entries_of_8_bits_two_in_a_word(bits: int, doubted: bool) -> None:
    entries = (255 - np.arange(4096) // 16).astype(np.uint8)
    gray, doubt = shown(RAMP, VOILUTSequence=table([4096, 0, bits], entries.tobytes()))
    np.testing.assert_array_equal(gray, entries.reshape(64, 64))
    assert bool(doubt) == doubted
    gray, _ = shown(RAMP, VOILUTSequence=table([4096, 0, bits],
                                               entries.view("<u2").tolist(), "US"))
    np.testing.assert_array_equal(gray, entries.reshape(64, 64))


def test_a_table_whose_missing_entries_no_pixel_has() -> None:
    gray, doubt = shown(RAMP[:16], VOILUTSequence=table([4096, 0, 12], RAMP.tobytes()[:3000]))
    np.testing.assert_array_equal(gray, STRETCHED[:16])
    assert "enough here" in doubt


def test_a_table_begins_in_the_sign_of_the_values() -> None:
    signed = RAMP.astype(np.int16) - 2048
    gray, doubt = shown(signed, VOILUTSequence=table([4096, 65536 - 2048, 12], RAMP.tobytes()))
    np.testing.assert_array_equal(gray, STRETCHED)
    assert doubt == ""


def test_a_modality_table_of_12_bits_inverts() -> None:
    gray, doubt = shown(RAMP, ModalityLUTSequence=table([4096, 0, 12],
                                                        RAMP.ravel()[::-1].tobytes()))
    np.testing.assert_array_equal(gray, np.rint((4095 - RAMP) / 4095 * 255))
    assert doubt == ""


def test_values_rescaled_to_one_with_a_window_of_one() -> None:
    gray, doubt = shown(RAMP, RescaleSlope="0.0001", RescaleIntercept="0",
                        WindowCenter="0.2", WindowWidth="0.4")
    np.testing.assert_allclose(gray, np.clip(RAMP / 4000, 0, 1) * 255, atol=0.51)
    assert "LINEAR_EXACT" in doubt


def test_a_slope_without_intercept_counts() -> None:
    gray, doubt = shown(RAMP, RescaleSlope="2", WindowCenter="4095.5", WindowWidth="8191")
    np.testing.assert_array_equal(gray, np.rint(RAMP / 4095 * 255))
    assert doubt == ""


def test_an_unknown_function_is_linear_and_doubted() -> None:
    gray, doubt = shown(RAMP, WindowCenter="2048", WindowWidth="4096", VOILUTFunction="CUBIC")
    np.testing.assert_array_equal(gray, shown(RAMP, WindowCenter="2048", WindowWidth="4096")[0])
    assert "'CUBIC' is unknown" in doubt


def test_a_few_outliers_do_not_take_all_levels() -> None:
    stored = RAMP // 16
    stored[0, 0] = 65535
    gray, doubt = shown(stored)
    assert len(np.unique(gray)) > 200
    assert "the middle 99 percent" in doubt


def test_a_narrow_window_is_kept_and_doubted() -> None:
    gray, doubt = shown(RAMP, WindowCenter="2048", WindowWidth="300")
    assert len(np.unique(gray)) > 200
    assert (gray[0, 0], gray[-1, -1]) == (0, 255)
    assert doubt == "its window (center 2048, width 300) makes 93% of the pixels black or white"


def test_an_image_of_one_value_has_no_better_rule() -> None:
    flat = np.full((4, 4), 7, np.uint16)
    gray, doubt = shown(flat, WindowCenter="7.5", WindowWidth="3")
    assert len(np.unique(gray)) == 1
    assert doubt == ""


@given(st.floats(allow_nan=True, allow_infinity=True), st.floats(), st.floats(), st.floats(),
       st.sampled_from(["", "LINEAR", "LINEAR_EXACT", "SIGMOID"]))
def test_no_header_takes_the_image_away(center: float, width: float, slope: float,
                                        intercept: float, function: str) -> None:
    stored = RAMP[::4, ::4]
    dataset = Dataset()
    for number, value in enumerate([center, width, intercept, slope]):
        dataset.add_new(0x00281050 + number, "LO", repr(value))
    dataset.VOILUTFunction = function
    levels = levels_of(stored, None)
    convert, doubts = display(dataset, levels)
    gray = converted(stored, levels, convert)
    assert len(np.unique(gray)) >= 32
    assert "\n" not in "; ".join(doubts)
