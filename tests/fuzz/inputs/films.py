"""Radiographs: DICOM files with spoiled elements and bytes, pictures with spoiled bytes."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from saltrust.datasets.files.heatmap_files import read_heatmap
from saltrust.datasets.files.radiograph_files import (
    native_size,
    read_gray,
    read_mask,
    stated_patients,
)
from tests.fuzz.mutations import NASTY_TEXTS, flipped

_EXPLICIT, _IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
_DEFLATED, _RLE = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"
_JPEG, _JPEG2000 = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.90"

#: Group, element, kind, value: what a radiograph has that is read.
_ELEMENTS: dict[str, tuple[int, int, bytes, bytes]] = {
    "PatientID": (0x10, 0x20, b"LO", b"P1"),
    "SamplesPerPixel": (0x28, 0x02, b"US", struct.pack("<H", 1)),
    "Photometric": (0x28, 0x04, b"CS", b"MONOCHROME2 "),
    "Frames": (0x28, 0x08, b"IS", b"1 "),
    "Rows": (0x28, 0x10, b"US", struct.pack("<H", 8)),
    "Columns": (0x28, 0x11, b"US", struct.pack("<H", 8)),
    "BitsAllocated": (0x28, 0x100, b"US", struct.pack("<H", 16)),
    "BitsStored": (0x28, 0x101, b"US", struct.pack("<H", 12)),
    "HighBit": (0x28, 0x102, b"US", struct.pack("<H", 11)),
    "Representation": (0x28, 0x103, b"US", struct.pack("<H", 0)),
    "Padding": (0x28, 0x120, b"US", struct.pack("<H", 0)),
    "Center": (0x28, 0x1050, b"DS", b"600 "),
    "Width": (0x28, 0x1051, b"DS", b"1200"),
    "Intercept": (0x28, 0x1052, b"DS", b"0 "),
    "Slope": (0x28, 0x1053, b"DS", b"1 "),
    "Function": (0x28, 0x1056, b"CS", b"LINEAR"),
}
_SHORTS = st.sampled_from((0, 1, 2, 3, 7, 8, 12, 16, 32, 64, 255, 4095, 32768, 65535)).map(
    lambda number: struct.pack("<H", number))
_DECIMALS = st.one_of(
    st.sampled_from((b"1e308", b"-1e308", b"1e400", b"nan", b"inf", b"0", b"-1", b"", b"  ", b"abc",
                     b"1\\2\\3", b"\\", b"9" * 4400, b"1e-320", b"\xff\xfe", b"\x00\x00")),
    st.binary(max_size=12))
_TEXTS = st.one_of(st.sampled_from([text.encode("utf-8", "replace") for text in NASTY_TEXTS]),
                   st.sampled_from((b"MONOCHROME1 ", b"RGB ", b"YBR_FULL", b"PALETTE COLOR ",
                                    b"SIGMOID ", b"LINEAR_EXACT")), st.binary(max_size=16))
_LENGTHS = st.sampled_from((0, 1, 127, 128, 129, 1000))


def _element(group: int, number: int, kind: bytes, value: bytes, *, explicit: bool) -> bytes:
    value += b"\0" * (len(value) % 2)
    head = struct.pack("<HH", group, number)
    if not explicit:
        return head + struct.pack("<L", len(value)) + value
    if kind in {b"OW", b"OB", b"SQ", b"UN"} or len(value) > 65535:
        return head + kind + b"\0\0" + struct.pack("<L", len(value)) + value
    return head + kind + struct.pack("<H", len(value)) + value


@st.composite
def _dicom(draw: st.DrawFn) -> bytes:
    syntax = draw(st.sampled_from((_EXPLICIT,) * 6 + (_IMPLICIT, _DEFLATED, _RLE, _JPEG, _JPEG2000,
                                                      "1.2.3", "")))
    elements = dict(_ELEMENTS)
    for name in draw(st.lists(st.sampled_from(sorted(elements)), max_size=3, unique=True)):
        group, number, kind, _ = elements[name]
        how = draw(st.sampled_from(("value", "value", "value", "kind", "leave out")))
        if how == "leave out":
            del elements[name]
            continue
        source = {b"US": _SHORTS, b"DS": _DECIMALS, b"IS": _DECIMALS}.get(kind, _TEXTS)
        if how == "kind":
            kind = draw(st.sampled_from((b"US", b"DS", b"LO", b"SQ", b"OW", b"UN", b"FD", b"ZZ")))
            source = st.one_of(_SHORTS, _DECIMALS, _TEXTS)
        elements[name] = group, number, kind, draw(source)
    pixels = np.arange(64, dtype=np.uint16).tobytes()[:draw(_LENGTHS)]
    elements["Pixels"] = (0x7FE0, 0x10, draw(st.sampled_from((b"OW", b"OW", b"OB", b"UN"))), pixels)
    if draw(st.integers(0, 9)) == 0:
        del elements["Pixels"]
    body = b"".join(_element(*element, explicit=syntax != _IMPLICIT)
                    for element in sorted(elements.values()))
    if syntax == _DEFLATED:
        if draw(st.integers(0, 9)) == 0:
            body += _element(0x7FE1, 0x10, b"OB", b"\0" * draw(st.sampled_from((10**6, 10**8))),
                             explicit=True)
        packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        body = packer.compress(body) + packer.flush()
    meta = _element(2, 0x10, b"UI", syntax.encode(), explicit=True)
    content = (b"\0" * 128 + b"DICM" + _element(2, 0, b"UL", struct.pack("<L", len(meta)),
                                                explicit=True) + meta + body)
    return draw(st.one_of(st.just(content), st.just(content), flipped(content)))


def _read_dicom(folder: Path, content: bytes) -> None:
    path = folder / "a.dcm"
    path.write_bytes(content)
    patient = stated_patients(["a"], [path])
    assert len(patient) == 1
    size = native_size(path)
    gray = read_gray(path)
    assert gray.shape == size
    assert gray.dtype == np.uint8


def _picture(form: str, mode: str, large: bool) -> bytes:
    size = (3000, 3000) if large else (9, 7)
    image = Image.new(mode, size, 1) if mode in {"1", "L", "P", "I;16"} else Image.new(mode, size)
    stream = io.BytesIO()
    options: dict[str, Any] = {}
    if form == "PNG":
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_text("Comment", "x" * 100, zip=True)
        options["icc_profile"] = b"\0" * 200
    image.save(stream, form, **options)
    return stream.getvalue()


_VALID = [_picture(form, mode, False) for form, modes in (
    ("PNG", ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")), ("JPEG", ("L", "RGB", "CMYK")),
    ("BMP", ("L",)), ("TIFF", ("L",)), ("GIF", ("L",))) for mode in modes]
# Of 16-bit colour, which Pillow does not write.
_VALID += [cv2.imencode(ending, np.arange(189, dtype=np.uint16).reshape(9, 7, 3) * 300)[1].tobytes()
           for ending in (".png", ".tiff")]


def _claim(width: int, height: int, kind: int) -> bytes:
    """A PNG that claims a size in its header, with a right checksum."""
    content = bytearray(_VALID[1])
    header = struct.pack(">LLBBBBB", width, height, 8, kind, 0, 0, 0)
    content[16:29] = header
    content[29:33] = struct.pack(">L", zlib.crc32(b"IHDR" + header))
    return bytes(content)


_pictures = st.one_of(
    st.sampled_from(_VALID), flipped(st.sampled_from(_VALID)), flipped(st.sampled_from(_VALID)),
    st.builds(_claim, st.sampled_from((0, 1, 9, 30_000, 2**31 - 1)),
              st.sampled_from((0, 7, 30_000, 2**31 - 1)), st.sampled_from((0, 2, 3, 6, 9))),
    st.binary(max_size=60))


def _read_picture(folder: Path, content: bytes) -> None:
    path = folder / "a.png"
    path.write_bytes(content)
    refused: list[Exception] = []
    from saltrust.errors import SaltrustError

    for read in (native_size, read_gray, read_mask, read_heatmap):
        try:
            read(path)
        except SaltrustError as error:
            refused.append(error)
    if refused:
        raise refused[0]


TARGETS = {"dicom": (_dicom(), _read_dicom), "pictures": (_pictures, _read_picture)}
