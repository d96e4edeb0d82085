"""PNG and JPEG in all their kinds; what is wrong with a file is said in one sentence."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saltrust.datasets.files import limits
from saltrust.datasets.files.radiograph_files import native_size, read_mask, read_radiograph
from saltrust.errors import DataError

GRAY = (np.arange(12 * 10).reshape(12, 10) * 2).astype(np.uint8)


def refuse(path: Path, *words: str) -> None:
    with pytest.raises(DataError) as caught:
        read_radiograph(path, (8, 8))
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.fixture(autouse=True)
def narrow_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images of a few rows are converted in several parts."""
    monkeypatch.setattr(limits, "_PIXELS_AT_ONCE", 40)


def test_eight_bit_gray_is_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.fromarray(GRAY).save(path)
    radiograph = read_radiograph(path, (12, 10))
    np.testing.assert_array_equal(radiograph.pixels, GRAY)
    assert radiograph.pixels.dtype == np.uint8
    assert (radiograph.native_height, radiograph.native_width) == (12, 10) == native_size(path)


def test_every_kind_of_png_gives_the_same_gray(tmp_path: Path) -> None:
    image = Image.fromarray(GRAY)
    kinds = {
        "rgb": image.convert("RGB"), "rgba": image.convert("RGBA"), "la": image.convert("LA"),
        "palette": image.convert("P"),
    }
    transparent = image.convert("P")
    transparent.info["transparency"] = bytes([255] * 256)
    kinds["palette with transparency"] = transparent
    for name, kind in kinds.items():
        path = tmp_path / f"{name}.png"
        kind.save(path)
        np.testing.assert_array_equal(read_radiograph(path, (12, 10)).pixels, GRAY, err_msg=name)


def test_color_becomes_luma_and_transparent_becomes_black(tmp_path: Path) -> None:
    color = np.zeros((2, 2, 4), dtype=np.uint8)
    color[0, 0] = (255, 0, 0, 255)
    color[0, 1] = (0, 255, 0, 255)
    color[1, 0] = (255, 255, 255, 0)
    color[1, 1] = (0, 0, 255, 255)
    Image.fromarray(color).save(tmp_path / "x.png")
    radiograph = read_radiograph(tmp_path / "x.png", (2, 2)).pixels
    np.testing.assert_array_equal(radiograph, [[76, 150], [0, 29]])  # 0.299, 0.587, 0.114 of 255


def test_sixteen_bit_is_stretched_from_its_minimum_to_its_maximum(tmp_path: Path) -> None:
    stored = np.array([[100, 100 + 4095], [100 + 1365, 100 + 2730]], dtype=np.uint16)
    Image.fromarray(stored).save(tmp_path / "x.png")
    radiograph = read_radiograph(tmp_path / "x.png", (2, 2)).pixels
    np.testing.assert_array_equal(radiograph, [[0, 255], [85, 170]])
    Image.fromarray(np.full((2, 2), 7, dtype=np.uint16)).save(tmp_path / "flat.png")
    assert not read_radiograph(tmp_path / "flat.png", (2, 2)).pixels.any()


def test_bilevel_png_is_black_and_white(tmp_path: Path) -> None:
    Image.fromarray(GRAY > 100).save(tmp_path / "x.png")
    radiograph = read_radiograph(tmp_path / "x.png", (12, 10)).pixels
    np.testing.assert_array_equal(radiograph, np.where(GRAY > 100, 255, 0))


def test_jpeg_is_close_and_its_size_is_read_from_the_header(tmp_path: Path) -> None:
    smooth = np.add.outer(np.arange(64), np.arange(48)).astype(np.uint8)
    path = tmp_path / "x.JPG"
    Image.fromarray(smooth).save(path, format="JPEG", quality=95)
    assert native_size(path) == (64, 48)
    radiograph = read_radiograph(path, (64, 48)).pixels.astype(int)
    assert np.abs(radiograph - smooth).max() <= 3


def test_reducing_averages_over_area(tmp_path: Path) -> None:
    # Lines one pixel wide would vanish or stay whole if pixels were picked.
    lines = np.zeros((64, 64), dtype=np.uint8)
    lines[:, ::2] = 200
    Image.fromarray(lines).save(tmp_path / "x.png")
    radiograph = read_radiograph(tmp_path / "x.png", (8, 8)).pixels.astype(int)
    assert np.abs(radiograph[:, 1:-1] - 100).max() <= 4
    assert abs(radiograph.mean() - 100) <= 4


def test_the_grid_is_height_then_width(tmp_path: Path) -> None:
    Image.fromarray(np.tile(np.array([0, 255], dtype=np.uint8), (20, 15))).save(tmp_path / "x.png")
    radiograph = read_radiograph(tmp_path / "x.png", (5, 9))
    assert radiograph.pixels.shape == (5, 9)
    assert (radiograph.native_height, radiograph.native_width) == (20, 30)


def test_missing_files_folders_and_other_formats(tmp_path: Path) -> None:
    refuse(tmp_path / "none.png", "does not exist")
    (tmp_path / "folder.png").mkdir()
    refuse(tmp_path / "folder.png", "folder")
    (tmp_path / "text.png").write_text("no image")
    refuse(tmp_path / "text.png", "not a PNG, JPEG or DICOM")
    (tmp_path / "empty.png").write_bytes(b"")
    refuse(tmp_path / "empty.png", "not a PNG, JPEG or DICOM")
    Image.fromarray(GRAY).save(tmp_path / "x.gif")
    refuse(tmp_path / "x.gif", "not a PNG, JPEG or DICOM")
    with pytest.raises(DataError, match=r"text\.png"):
        native_size(tmp_path / "text.png")


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_truncated_files(tmp_path: Path, ending: str) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / f"x.{ending}"
    Image.fromarray(rng.integers(0, 255, (200, 200), dtype=np.uint8)).save(path)
    whole = path.read_bytes()
    for part in (0.9, 0.5, 0.1):
        path.write_bytes(whole[:int(len(whole) * part)])
        refuse(path)


def test_a_damaged_png_chunk(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.fromarray(GRAY).save(path)
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 6] ^= 0xFF
    path.write_bytes(bytes(content))
    refuse(path, "damaged")


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (struct.pack(">I", len(data)) + kind + data
                + struct.pack(">I", zlib.crc32(kind + data)))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
            + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b""))


@pytest.mark.parametrize(("width", "height"), [(9_500, 9_500), (12_000, 12_000),
                                               (60_000, 60_000)])
def test_decompression_bombs(tmp_path: Path, width: int, height: int) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(width, height))
    refuse(path, "more")


@pytest.mark.parametrize(("width", "height"), [(0, 5), (5, 0)])
def test_images_without_pixels(tmp_path: Path, width: int, height: int) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(png_header(width, height))
    refuse(path)


def test_masks_of_every_kind(tmp_path: Path) -> None:
    inside = np.zeros((6, 5), dtype=bool)
    inside[1:4, 2:5] = True
    images = {
        "bilevel": Image.fromarray(inside),
        "one": Image.fromarray(inside.astype(np.uint8)),
        "white": Image.fromarray(inside.astype(np.uint8) * 255),
        "sixteen": Image.fromarray(inside.astype(np.uint16) * 1000),
        "red": Image.fromarray(np.dstack([inside * 255, inside * 0, inside * 0]).astype(np.uint8)),
        "alpha": Image.fromarray(np.dstack([np.full((6, 5, 3), 255), inside * 255]).astype(
            np.uint8)),
    }
    palette = Image.fromarray(inside.astype(np.uint8))
    palette.putpalette([0, 0, 0, 10, 20, 30])
    images["palette"] = palette
    for name, image in images.items():
        image.save(tmp_path / f"{name}.png")
        np.testing.assert_array_equal(read_mask(tmp_path / f"{name}.png"), inside, err_msg=name)


def test_the_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.fromarray(GRAY), Image.fromarray(255 - GRAY)]
    buffer = io.BytesIO()
    frames[0].save(buffer, format="PNG", save_all=True, append_images=frames[1:])
    (tmp_path / "x.png").write_bytes(buffer.getvalue())
    np.testing.assert_array_equal(read_radiograph(tmp_path / "x.png", (12, 10)).pixels, GRAY)


@pytest.mark.real_data
def test_real_radiographs(shared_data: Path) -> None:
    folder = shared_data / "radiographs" / "pneumonia"
    radiograph = read_radiograph(folder / "000.png", (320, 320))
    np.testing.assert_array_equal(radiograph.pixels, np.asarray(Image.open(folder / "000.png")))
    path = next((shared_data / "chexlocalize_sample").glob("valid/patient64541/*/*.jpg"))
    assert native_size(path) == (2320, 2828)
    assert read_radiograph(path, (320, 320)).pixels.std() > 20
