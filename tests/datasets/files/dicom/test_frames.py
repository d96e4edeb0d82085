"""Frames that cannot be decoded here: what lacks a plug-in says so, what is damaged says so."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit, RLELossless

from saltrust.datasets.files.dicom.frames import mended
from saltrust.datasets.files.radiograph_files import read_gray, read_radiograph
from saltrust.errors import DataError

Make = Callable[..., Path]
STORED = np.arange(64, dtype=np.uint8).reshape(8, 8)


@pytest.mark.parametrize("name", ["JPGExtended.dcm", "JPEG-lossy.dcm"])
def test_jpeg_of_12_bits_names_the_plug_in(name: str) -> None:
    path = get_testdata_file(name, download=False)
    with pytest.raises(DataError) as caught:
        read_gray(Path(path))
    assert str(caught.value).startswith(f"{path} is in the transfer syntax JPEG Extended (Process "
                                        "2 and 4) (a JPEG of 12 bits), for which no decoder is")
    assert "pip install 'saltrust[dicom]'" in str(caught.value)
    assert "pylibjpeg-libjpeg" in str(caught.value)


@pytest.mark.parametrize(("marker", "precision", "word"), [
    (0xC1, 12, "a JPEG of 12 bits"), (0xC3, 8, "a lossless JPEG of 8 bits"),
    (0xF7, 16, "a lossless JPEG of 16 bits"), (0xC1, 8, "damaged"), (0xC0, 8, "damaged")])
def test_what_a_frame_is_decides(tmp_path: Path, save_dicom: Make, marker: int, precision: int,
                                 word: str) -> None:
    comment = b"\xff\xfe\x00\x04ab"
    frame = (b"\xff\xd8" + comment + bytes([0xFF, marker, 0, 11, precision, 0, 8, 0, 8, 1, 1, 17,
                                            0]) + b"\xff\xd9")
    path = save_dicom(tmp_path / "x.dcm", STORED, TransferSyntaxUID=JPEGExtended12Bit,
                      PixelData=encapsulate([frame]))
    with pytest.raises(DataError, match=rf"x\.dcm.*{word}"):
        read_gray(path)


def test_a_cut_baseline_jpeg_is_damaged(tmp_path: Path, save_dicom: Make) -> None:
    stream = io.BytesIO()
    Image.fromarray(STORED).save(stream, "JPEG")
    path = save_dicom(tmp_path / "x.dcm", STORED, TransferSyntaxUID=JPEGBaseline8Bit,
                      PixelData=encapsulate([stream.getvalue()[:60]]))
    with pytest.raises(DataError, match=r"x\.dcm.*damaged"):
        read_gray(path)


def test_run_lengths_of_more_bits_than_stated(tmp_path: Path, save_dicom: Make) -> None:
    stored = np.arange(0, 4096, 64, dtype=np.uint16).reshape(8, 8)
    path = save_dicom(tmp_path / "x.dcm", stored)
    dataset = dcmread(path)
    dataset.compress(RLELossless, generate_instance_uid=False)
    dataset.BitsStored, dataset.HighBit = 8, 7
    dataset.save_as(path)
    radiograph = read_radiograph(path, (8, 8))
    np.testing.assert_array_equal(radiograph.pixels, np.rint(stored / stored.max() * 255))
    assert "states 8 bits" in radiograph.doubt


@pytest.mark.parametrize(("name", "value", "word"), [
    ("BitsStored", None, "states no bits"), ("BitsStored", 0, "states no bits"),
    ("BitsStored", 12, "states 12 bits for a pixel in 8"),
    ("PixelRepresentation", None, "have a sign"), ("PixelRepresentation", 7, "have a sign"),
    ("SamplesPerPixel", None, "samples of a pixel"),
    ("PhotometricInterpretation", None, "taken for MONOCHROME2")])
def test_what_a_header_lacks_is_filled_in(tmp_path: Path, save_dicom: Make, name: str, value: Any,
                                          word: str) -> None:
    radiograph = read_radiograph(save_dicom(tmp_path / "x.dcm", STORED, **{name: value}), (8, 8))
    np.testing.assert_array_equal(radiograph.pixels, STORED)
    assert word in radiograph.doubt


def test_colors_are_known_by_their_interpretation() -> None:
    dataset = Dataset()
    dataset.PhotometricInterpretation = "YBR_FULL"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.PixelRepresentation = 0
    assert mended(dataset) == ["its header does not state the samples of a pixel, taken for 3"]
    assert dataset.SamplesPerPixel == 3
