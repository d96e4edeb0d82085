"""Files without preamble or transfer syntax, as old and stripped ones are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import JPEGBaseline8Bit

from saltrust.datasets.files.radiograph_files import native_size, read_gray, read_radiograph
from saltrust.errors import DataError

Make = Callable[..., Path]
RAMP = np.arange(0, 4096, 32, dtype=np.uint16).reshape(8, 16)


def content_after_meta(path: Path) -> bytes:
    content = path.read_bytes()
    return content[144 + int.from_bytes(content[140:144], "little"):]


@pytest.mark.parametrize("name", ["MR_small", "MR_small_implicit", "MR_small_bigendian"])
def test_a_file_without_preamble_is_read(tmp_path: Path, name: str) -> None:
    original = Path(get_testdata_file(f"{name}.dcm", download=False))
    path = tmp_path / "x.dcm"
    path.write_bytes(content_after_meta(original))
    radiograph = read_radiograph(path, (64, 64))
    np.testing.assert_array_equal(radiograph.pixels, read_gray(original))
    assert radiograph.pixels.std() > 20
    assert "does not state its transfer syntax" in radiograph.doubt
    assert native_size(path) == (64, 64)


def test_a_compressed_file_without_transfer_syntax_is_refused(tmp_path: Path,
                                                              save_dicom: Make) -> None:
    path = save_dicom(tmp_path / "x.dcm", RAMP, TransferSyntaxUID=JPEGBaseline8Bit,
                      PixelData=b"\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\x00\xe0\2\0\0\0ab",
                      SOPClassUID="1.2.840.10008.5.1.4.1.1.1.1")
    path.write_bytes(content_after_meta(path))
    with pytest.raises(DataError, match=r"x\.dcm.*transfer syntax"):
        read_gray(path)


@pytest.mark.parametrize("content", [b"", b"nothing of the kind", b"\x08\0\x16\0UI\2\x001\0",
                                     bytes(300)])
def test_what_is_no_dicom_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.dcm").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.dcm is named like DICOM but is not"):
        read_gray(tmp_path / "x.dcm")
