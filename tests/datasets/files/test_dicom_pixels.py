"""DICOM gray values follow the standard's formulas; files that cannot be shown are named."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.utils import pixel_array
from pydicom.sequence import Sequence
from pydicom.uid import (
    MPEG2MPML,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from saltrust.datasets.files import limits, radiograph_files
from saltrust.datasets.files.radiograph_files import (
    native_size,
    read_gray,
    read_radiograph,
    stated_patients,
)
from saltrust.errors import DataError

Make = Callable[..., Path]
RAMP12 = np.arange(0, 4096, 32, dtype=np.uint16).reshape(8, 16)


@pytest.fixture(autouse=True)
def narrow_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images of a few rows are converted in several parts."""
    monkeypatch.setattr(limits, "_PIXELS_AT_ONCE", 40)


@pytest.mark.parametrize("header", [
    {"RescaleSlope": None, "RescaleIntercept": None}, {"RescaleSlope": "1", "RescaleIntercept": ""},
    {"RescaleSlope": "", "RescaleIntercept": "0"}, {"VOILUTSequence": Sequence([Dataset()])},
    {"VOILUTSequence": Sequence([])}, {"ModalityLUTSequence": Sequence([Dataset()])}])
def test_what_is_empty_counts_as_not_there(tmp_path: Path, save_dicom: Make,
                                           header: dict[str, Any]) -> None:
    window = {"WindowCenter": "2048", "WindowWidth": "4096"}
    plain = read_gray(save_dicom(tmp_path / "x.dcm", RAMP12, **window))
    path = save_dicom(tmp_path / "y.dcm", RAMP12, **window, **header)
    np.testing.assert_array_equal(read_gray(path), plain)
    assert read_radiograph(path, (8, 16)).doubt == ""


def test_a_picture_within_that_is_far_larger_than_the_header(tmp_path: Path,
                                                             save_dicom: Make,
                                                             monkeypatch: pytest.MonkeyPatch,
                                                             ) -> None:
    stream = io.BytesIO()
    Image.new("L", (64, 64)).save(stream, "JPEG")
    path = save_dicom(tmp_path / "x.dcm", np.zeros((8, 8), dtype=np.uint8))
    dataset = dcmread(path)
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.PixelData = encapsulate([stream.getvalue()])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4000)
    with pytest.raises(DataError, match=r"x\.dcm: its pixels cannot be decoded .*exceeds limit"):
        read_gray(path)


def test_eight_bits_keep_their_full_range(tmp_path: Path, save_dicom: Make) -> None:
    stored = np.arange(40, 140, dtype=np.uint8).reshape(10, 10)
    path = save_dicom(tmp_path / "x.dcm", stored)
    np.testing.assert_array_equal(read_gray(path), stored)
    assert native_size(path) == (10, 10)


def test_monochrome1_is_inverted(tmp_path: Path, save_dicom: Make) -> None:
    stored = np.arange(100, dtype=np.uint8).reshape(10, 10)
    path = save_dicom(tmp_path / "x.dcm", stored, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(read_gray(path), 255 - stored)


def test_more_bits_without_a_window_are_stretched_past_padding(tmp_path: Path,
                                                               save_dicom: Make) -> None:
    expected = np.rint(RAMP12 / RAMP12.max() * 255).astype(np.uint8)
    path = save_dicom(tmp_path / "x.dcm", RAMP12, BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(read_gray(path), expected)
    padded = RAMP12.copy()
    padded[0, 5] = 65535
    expected[0, 5] = 0
    path = save_dicom(tmp_path / "p.dcm", padded, PixelPaddingValue=65535)
    np.testing.assert_array_equal(read_gray(path), expected)
    path = save_dicom(tmp_path / "i.dcm", padded, PixelPaddingValue=65535,
                      PhotometricInterpretation="MONOCHROME1")
    expected = 255 - expected
    expected[0, 5] = 0
    np.testing.assert_array_equal(read_gray(path), expected)


def test_a_linear_window_follows_the_standard(tmp_path: Path, save_dicom: Make) -> None:
    center, width = 2048.0, 1024.0
    path = save_dicom(tmp_path / "x.dcm", RAMP12, BitsStored=12, HighBit=11,
                      WindowCenter=center, WindowWidth=width)
    x = RAMP12.astype(float)
    y = ((x - (center - 0.5)) / (width - 1) + 0.5) * 255  # PS3.3 C.11.2.1.2.1
    y = np.where(x <= center - 0.5 - (width - 1) / 2, 0, y)
    y = np.where(x > center - 0.5 + (width - 1) / 2, 255, y)
    np.testing.assert_array_equal(read_gray(path), np.rint(y))


def test_the_first_of_several_windows_and_other_functions(tmp_path: Path, save_dicom: Make) -> None:
    first = read_gray(save_dicom(tmp_path / "a.dcm", RAMP12, WindowCenter=[1000, 3000],
                                 WindowWidth=[500, 100]))
    alone = read_gray(save_dicom(tmp_path / "b.dcm", RAMP12, WindowCenter=1000, WindowWidth=500))
    np.testing.assert_array_equal(first, alone)
    sigmoid = read_gray(save_dicom(tmp_path / "c.dcm", RAMP12, WindowCenter=2048,
                                   WindowWidth=1024, VOILUTFunction="SIGMOID"))
    expected = 255 / (1 + np.exp(-4 * (RAMP12 - 2048.0) / 1024))
    np.testing.assert_array_equal(sigmoid, np.rint(expected))
    exact = read_gray(save_dicom(tmp_path / "d.dcm", RAMP12, WindowCenter=2048,
                                 WindowWidth=1024, VOILUTFunction="LINEAR_EXACT"))
    expected = np.clip((RAMP12 - 2048.0) / 1024 + 0.5, 0, 1) * 255
    np.testing.assert_array_equal(exact, np.rint(expected))


def test_rescaling_comes_before_the_window(tmp_path: Path, save_dicom: Make) -> None:
    plain = read_gray(save_dicom(tmp_path / "a.dcm", RAMP12, WindowCenter=2048,
                                 WindowWidth=1024))
    scaled = read_gray(save_dicom(tmp_path / "b.dcm", RAMP12, RescaleSlope=2,
                                  RescaleIntercept=-1000, WindowCenter=2 * 2047.5 - 1000 + 0.5,
                                  WindowWidth=2 * 1023 + 1))
    np.testing.assert_array_equal(plain, scaled)


def test_signed_pixels(tmp_path: Path, save_dicom: Make) -> None:
    stored = (RAMP12.astype(np.int16) - 2048)
    gray = read_gray(save_dicom(tmp_path / "x.dcm", stored))
    np.testing.assert_array_equal(gray, np.rint(RAMP12 / RAMP12.max() * 255))


def test_a_voi_table_is_looked_up(tmp_path: Path, save_dicom: Make) -> None:
    table = Dataset()
    table.add_new(0x00283002, "US", [256, 0, 16])  # entries, first value mapped, bits
    values = (np.arange(256, dtype=np.uint16)[::-1] * 257)
    table.add_new(0x00283006, "OW", values.tobytes())
    stored = np.arange(100, dtype=np.uint8).reshape(10, 10)
    path = save_dicom(tmp_path / "x.dcm", stored, VOILUTSequence=Sequence([table]))
    np.testing.assert_array_equal(read_gray(path), 255 - stored)


def test_a_doubt_is_said_once_with_the_file(tmp_path: Path, save_dicom: Make,
                                            caplog: pytest.LogCaptureFixture) -> None:
    path = save_dicom(tmp_path / "x.dcm", RAMP12, WindowCenter=2048, WindowWidth=0)
    for _ in range(2):
        radiograph = read_radiograph(path, (8, 16))
    np.testing.assert_array_equal(radiograph.pixels, np.rint(RAMP12 / RAMP12.max() * 255))
    assert radiograph.doubt == ("its window (center 2048, width 0) is none; the range from its "
                                "minimum to its maximum is taken instead")
    assert [record.getMessage().count(str(path)) for record in caplog.records] == [1]


def test_not_every_file_of_one_kind_is_named(tmp_path: Path, save_dicom: Make,
                                             monkeypatch: pytest.MonkeyPatch,
                                             caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(radiograph_files, "_MOST_NAMED", 3)
    monkeypatch.setattr(radiograph_files, "_named", {})
    for width in range(9):
        path = save_dicom(tmp_path / f"{width}.dcm", RAMP12, WindowCenter=2048, WindowWidth=-width)
        assert f"width {-width:g}" in read_radiograph(path, (8, 16)).doubt
    assert len(caplog.records) == 4
    assert "more files of this kind are not named" in caplog.records[-1].getMessage()


def test_colors_of_12_bits_in_16_are_stretched_and_8_bits_are_not(tmp_path: Path,
                                                                  save_dicom: Make) -> None:
    radiograph = read_radiograph(
        save_dicom(tmp_path / "a.dcm", np.dstack([RAMP12] * 3)), (8, 16))
    np.testing.assert_array_equal(radiograph.pixels, np.rint(RAMP12 / RAMP12.max() * 255))
    assert "the range of its 16 bits is not that of its values" in radiograph.doubt
    dark = (np.arange(128) // 8).astype(np.uint8).reshape(8, 16)
    radiograph = read_radiograph(save_dicom(tmp_path / "b.dcm", np.dstack([dark] * 3)), (8, 16))
    np.testing.assert_array_equal(radiograph.pixels, dark)
    assert radiograph.doubt == ""


def test_a_palette_that_is_broken(tmp_path: Path, save_dicom: Make) -> None:
    stored = np.arange(100, dtype=np.uint8).reshape(10, 10)
    radiograph = read_radiograph(save_dicom(tmp_path / "x.dcm", stored,
                                            PhotometricInterpretation="PALETTE COLOR"), (10, 10))
    np.testing.assert_array_equal(radiograph.pixels, np.rint(stored / 99 * 255))
    assert "palette" in radiograph.doubt


def test_color_and_several_frames(tmp_path: Path, save_dicom: Make) -> None:
    color = np.zeros((2, 2, 3), dtype=np.uint8)
    color[0, 0], color[0, 1], color[1, 0] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    path = save_dicom(tmp_path / "rgb.dcm", color)
    np.testing.assert_array_equal(read_gray(path), [[76, 150], [29, 0]])
    frames = np.stack([np.full((4, 4), 10, dtype=np.uint8), np.full((4, 4), 90, dtype=np.uint8)])
    path = save_dicom(tmp_path / "frames.dcm", frames[0], NumberOfFrames=2,
                      PixelData=frames.tobytes())
    np.testing.assert_array_equal(read_gray(path), frames[0])


def encapsulated(path: Path, save_dicom: Make, frame: bytes, syntax: str,
                 **attributes: Any) -> Path:
    stored = np.zeros((32, 32), dtype=np.uint8)
    return save_dicom(path, stored, TransferSyntaxUID=syntax, PixelData=encapsulate([frame]),
                      **attributes)


def test_jpeg_baseline_is_decoded(tmp_path: Path, save_dicom: Make) -> None:
    smooth = np.add.outer(np.arange(32), np.arange(32)).astype(np.uint8) * 3
    buffer = io.BytesIO()
    Image.fromarray(smooth).save(buffer, format="JPEG", quality=95)
    path = encapsulated(tmp_path / "x.dcm", save_dicom, buffer.getvalue(), JPEGBaseline8Bit)
    assert np.abs(read_gray(path).astype(int) - smooth).max() <= 3
    assert native_size(path) == (32, 32)


def refuse(path: Path, *words: str) -> None:
    with pytest.raises(DataError) as caught:
        read_radiograph(path, (16, 16))
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    for word in words:
        assert word in message


def test_syntaxes_without_a_decoder_name_the_plug_in(tmp_path: Path, save_dicom: Make) -> None:
    path = encapsulated(tmp_path / "x.dcm", save_dicom, b"\xff\xd8\xff\xf7", JPEGLSLossless)
    refuse(path, "JPEG-LS", "pylibjpeg-libjpeg")
    path = encapsulated(tmp_path / "y.dcm", save_dicom, b"\0" * 16, MPEG2MPML)
    refuse(path, "MPEG2", "convert")


def test_damaged_frames(tmp_path: Path, save_dicom: Make) -> None:
    path = encapsulated(tmp_path / "x.dcm", save_dicom, b"\xff\xd8no jpeg here", JPEGBaseline8Bit)
    refuse(path, "cannot be decoded")
    path = encapsulated(tmp_path / "y.dcm", save_dicom, b"\0" * 64, RLELossless)
    refuse(path, "cannot be decoded")


def test_dicom_without_pixels(tmp_path: Path, save_dicom: Make) -> None:
    path = save_dicom(tmp_path / "x.dcm", None, Modality="SR")
    refuse(path, "without pixels", "SR")
    with pytest.raises(DataError, match="without pixels"):
        native_size(path)
    refuse(save_dicom(tmp_path / "y.dcm", None, Rows=8, Columns=8), "without pixels")


def test_truncated_dicom(tmp_path: Path, save_dicom: Make) -> None:
    path = save_dicom(tmp_path / "x.dcm", RAMP12)
    whole = path.read_bytes()
    for end in (len(whole) - 50, len(whole) - RAMP12.nbytes - 4, 300, 140):
        path.write_bytes(whole[:end])
        refuse(path)


def test_files_that_are_no_dicom(tmp_path: Path) -> None:
    (tmp_path / "x.dcm").write_bytes(b"nothing of the kind")
    refuse(tmp_path / "x.dcm", "not")
    refuse(tmp_path / "none.dcm", "does not exist")


def test_dicom_is_known_by_its_content_too(tmp_path: Path, save_dicom: Make) -> None:
    stored = np.arange(100, dtype=np.uint8).reshape(10, 10)
    path = save_dicom(tmp_path / "1.2.840.1", stored)
    np.testing.assert_array_equal(read_radiograph(path, (10, 10)).pixels, stored)


def test_sizes_that_no_radiograph_has(tmp_path: Path, save_dicom: Make) -> None:
    stored = np.zeros((4, 4), dtype=np.uint8)
    refuse(save_dicom(tmp_path / "x.dcm", stored, Rows=60000, Columns=60000), "more")
    refuse(save_dicom(tmp_path / "y.dcm", stored, Rows=0), "without pixels")


def test_patients_come_from_the_header(tmp_path: Path, save_dicom: Make,
                                       caplog: pytest.LogCaptureFixture) -> None:
    stored = np.zeros((4, 4), dtype=np.uint8)
    paths = [save_dicom(tmp_path / f"{i}.dcm", stored, PatientID=name)
             for i, name in enumerate(["anna", "bert", "anna", ""])]
    assert stated_patients(["0", "1", "2", "3"], paths) == ["anna", "bert", "anna", "3"]
    assert stated_patients(["0", "2"], [paths[0], paths[2]]) == ["0", "2"]
    assert "anna" in caplog.text


@pytest.mark.real_data
def test_a_real_dicom(shared_data: Path) -> None:
    path = next((shared_data / "siim_acr").glob("*.dcm"))
    assert native_size(path) == (1024, 1024)
    np.testing.assert_array_equal(read_gray(path), pixel_array(path))
    assert read_radiograph(path, (320, 320)).pixels.shape == (320, 320)
