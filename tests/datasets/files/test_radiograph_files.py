"""PNG and JPEG in all their kinds; what is wrong with a file is said in one sentence."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from saltrust.datasets.files import limits
from saltrust.datasets.files.radiograph_files import (
    native_size,
    read_gray,
    read_mask,
    read_pixels,
    read_radiograph,
)
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
    refuse(tmp_path / "text.png", "not a PNG, JPEG, BMP, TIFF or DICOM")
    (tmp_path / "empty.png").write_bytes(b"")
    refuse(tmp_path / "empty.png", "not a PNG, JPEG, BMP, TIFF or DICOM")
    Image.fromarray(GRAY).save(tmp_path / "x.gif")
    refuse(tmp_path / "x.gif", "not a PNG, JPEG, BMP, TIFF or DICOM")
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


RAMP = (np.arange(12 * 10) * 34).astype(np.uint16).reshape(12, 10)
WHITE = np.full_like(RAMP, 65535)
#: Of 12 bits in 16, by channels.
DEEP = {"rgb": [RAMP] * 3, "rgba": [RAMP] * 3 + [WHITE], "la": [RAMP, WHITE]}


#: First row and column of every pass of Adam7, and the steps.
ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
         (1, 0, 2, 1))


def write_png(path: Path, channels: np.ndarray, *, before: bytes = b"", after: bytes = b"",
              interlaced: bool = False) -> Path:
    """A PNG of 16 bits as the standard has it, every row filtered otherwise."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (struct.pack(">I", len(data)) + kind + data
                + struct.pack(">I", zlib.crc32(kind + data)))

    height, width, depth = channels.shape
    parts = [channels[row::down, column::across] for row, column, down, across in ADAM7
             ] if interlaced else [channels]
    rows = []
    for part in parts:
        above = np.zeros(2 * depth * part.shape[1], np.uint8)
        for number, values in enumerate(part if part.shape[1] else ()):
            row = np.frombuffer(values.astype(">u2").tobytes(), np.uint8)
            left = np.concatenate([np.zeros(2 * depth, np.uint8), row[:-2 * depth]])
            mean = ((left.astype(int) + above) // 2).astype(np.uint8)
            kind = number % 4
            rows.append(bytes([kind]) + (row - [0, left, above, mean][kind]).astype(
                np.uint8).tobytes())
            above = row
    color = {1: 0, 2: 4, 3: 2, 4: 6}[depth]
    path.write_bytes(b"\x89PNG\r\n\x1a\n"
                     + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, color, 0, 0,
                                                  int(interlaced)))
                     + before + chunk(b"IDAT", zlib.compress(b"".join(rows))) + after
                     + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("kind", sorted(DEEP))
def test_sixteen_bit_color_is_stretched_as_sixteen_bit_gray_is(tmp_path: Path, kind: str,
                                                               interlaced: bool) -> None:
    path = write_png(tmp_path / "x.png", np.dstack(DEEP[kind]), interlaced=interlaced)
    Image.fromarray(RAMP).save(tmp_path / "gray.png")
    gray = read_radiograph(tmp_path / "gray.png", (12, 10)).pixels
    radiograph = read_radiograph(path, (12, 10))
    np.testing.assert_array_equal(radiograph.pixels, gray)
    assert (gray.min(), gray.max(), len(np.unique(gray))) == (0, 255, 120)
    assert (radiograph.native_height, radiograph.native_width) == native_size(path) == (12, 10)
    np.testing.assert_array_equal(read_pixels(path), np.dstack(DEEP[kind]))


def test_gray_in_color_is_rounded_as_gray_is(tmp_path: Path) -> None:
    halves = np.arange(511, dtype=np.uint16).reshape(7, 73)
    path = write_png(tmp_path / "x.png", np.dstack([halves] * 3))
    np.testing.assert_array_equal(read_gray(path), np.rint(halves / 2))


@pytest.mark.parametrize("ending", ["png", "tiff"])
@pytest.mark.parametrize("alpha", [False, True])
def test_sixteen_bit_color_of_other_writers(tmp_path: Path, ending: str, alpha: bool) -> None:
    rng = np.random.default_rng(0)
    channels = rng.integers(0, 65536, (9, 7, 4 if alpha else 3), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / f"x.{ending}"), channels)
    stored = channels[..., [2, 1, 0, 3][:channels.shape[2]]]
    np.testing.assert_array_equal(read_pixels(tmp_path / f"x.{ending}"), stored)
    luma = stored[..., :3] @ [0.299, 0.587, 0.114]
    if alpha:
        luma *= stored[..., 3] / 65535
    expected = (luma - luma.min()) / (luma.max() - luma.min()) * 255
    np.testing.assert_allclose(read_gray(tmp_path / f"x.{ending}"), expected, atol=0.501)


def test_transparent_pixels_of_sixteen_bits_take_no_part(tmp_path: Path) -> None:
    alpha = WHITE.copy()
    alpha[:2] = 0
    gray = RAMP + 500
    path = write_png(tmp_path / "x.png", np.dstack([gray, alpha]))
    radiograph = read_radiograph(path, (12, 10)).pixels
    assert not radiograph[:2].any()
    np.testing.assert_array_equal(radiograph[2:], np.rint((gray[2:] - gray[2, 0]) / (
        gray[-1, -1] - gray[2, 0]) * 255))


@pytest.mark.parametrize("ending", ["png", "tiff"])
def test_masks_of_sixteen_bit_color_keep_their_lower_bits(tmp_path: Path, ending: str) -> None:
    inside = np.zeros((6, 5), dtype=np.uint16)
    inside[1:4, 2:5] = 1
    cv2.imwrite(str(tmp_path / f"x.{ending}"), np.dstack([inside * 0, inside, inside * 0]))
    np.testing.assert_array_equal(read_mask(tmp_path / f"x.{ending}"), inside == 1)


def test_a_damaged_png_of_sixteen_bit_color(tmp_path: Path) -> None:
    path = write_png(tmp_path / "x.png", np.dstack(DEEP["rgb"]))
    content = path.read_bytes()
    path.write_bytes(content[:-40])
    refuse(path, "damaged")


@pytest.mark.parametrize("pixels", [
    GRAY, RAMP, RAMP.astype(np.int32), RAMP.astype(np.float32), np.dstack([GRAY] * 3)])
@pytest.mark.parametrize("inverted", [False, True])
def test_tiff_of_every_kind(tmp_path: Path, pixels: np.ndarray, inverted: bool) -> None:
    path = tmp_path / "x.tif"
    if inverted and pixels.ndim == 2 and pixels.dtype.kind == "u":
        tifffile.imwrite(path, pixels, photometric="miniswhite")
    else:
        tifffile.imwrite(path, pixels)
        inverted = False
    expected = GRAY if pixels.dtype == np.uint8 else np.rint(RAMP / RAMP.max() * 255)
    np.testing.assert_array_equal(read_gray(path), 255 - expected if inverted else expected)


def test_tiff_with_pixels_that_are_no_numbers(tmp_path: Path) -> None:
    pixels = RAMP.astype(np.float32)
    pixels[0, :3] = np.nan, np.inf, -np.inf
    tifffile.imwrite(tmp_path / "x.tif", pixels)
    radiograph = read_radiograph(tmp_path / "x.tif", (12, 10))
    np.testing.assert_array_equal(radiograph.pixels[1:], np.rint((RAMP[1:] - 102) / (
        RAMP.max() - 102) * 255))
    assert not radiograph.pixels[0, :3].any()
    assert "no numbers" in radiograph.doubt
    tifffile.imwrite(tmp_path / "y.tif", np.full((4, 4), np.nan, np.float32))
    refuse(tmp_path / "y.tif", "no pixel that is a number")


def test_tiff_of_separate_planes_of_sixteen_bits_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "x.tif", np.stack([RAMP] * 3), photometric="rgb",
                     planarconfig="separate")
    refuse(tmp_path / "x.tif", "colours of 16 bits", "save it as PNG")


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("ending", ["png", "jpg", "tiff", "lzw.tiff"])
def test_exif_orientation_is_applied(tmp_path: Path, ending: str, orientation: int) -> None:
    image = Image.fromarray(GRAY.repeat(8, 0).repeat(8, 1))
    options = {"jpg": {"quality": 95}, "lzw.tiff": {"compression": "tiff_lzw"}}.get(ending, {})
    if orientation not in range(1, 9):
        # libtiff writes no such.
        options.pop("compression", None)
    image.save(tmp_path / f"x.{ending}", **options)
    with Image.open(tmp_path / f"x.{ending}") as plain:
        plain.getexif()[0x0112] = orientation
        turned = np.asarray(ImageOps.exif_transpose(plain))
    image.save(tmp_path / f"x.{ending}", exif=exif_of(orientation), **options)
    path = tmp_path / f"x.{ending}"
    np.testing.assert_array_equal(read_gray(path), turned)
    assert native_size(path) == turned.shape
    assert turned.shape == ((80, 96) if orientation in {5, 6, 7, 8} else (96, 80))
    np.testing.assert_array_equal(read_pixels(path), turned)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_masks_are_turned_as_their_images_are(tmp_path: Path, orientation: int) -> None:
    inside = np.zeros((12, 10), dtype=bool)
    inside[1:4, 2:9] = inside[4:7, 2:3] = True
    image = Image.fromarray(inside)
    image.save(tmp_path / "x.png", exif=exif_of(orientation))
    image.getexif()[0x0112] = orientation
    np.testing.assert_array_equal(read_mask(tmp_path / "x.png"),
                                  np.asarray(ImageOps.exif_transpose(image)))


@pytest.mark.parametrize("place", ["before", "after"])
def test_orientation_before_and_behind_the_pixels_of_sixteen_bits(tmp_path: Path, place: str,
                                                                  ) -> None:
    data = exif_of(6).tobytes().removeprefix(b"Exif\0\0")
    chunk = (struct.pack(">I", len(data)) + b"eXIf" + data
             + struct.pack(">I", zlib.crc32(b"eXIf" + data)))
    path = write_png(tmp_path / "x.png", np.dstack(DEEP["rgb"]), **{place: chunk})
    assert native_size(path) == (10, 12)
    np.testing.assert_array_equal(read_gray(path), np.rot90(np.rint(RAMP / RAMP.max() * 255), -1))


def test_exif_that_is_damaged_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    Image.fromarray(GRAY).save(path, exif=exif_of(6))
    content = path.read_bytes()
    path.write_bytes(content.replace(b"MM\0*", b"XX\0*").replace(b"II*\0", b"XX*\0"))
    assert native_size(path) == (12, 10)
    assert read_gray(path).shape == (12, 10)


@pytest.mark.real_data
def test_real_radiographs(shared_data: Path) -> None:
    folder = shared_data / "radiographs" / "pneumonia"
    radiograph = read_radiograph(folder / "000.png", (320, 320))
    np.testing.assert_array_equal(radiograph.pixels, np.asarray(Image.open(folder / "000.png")))
    path = next((shared_data / "chexlocalize_sample").glob("valid/patient64541/*/*.jpg"))
    assert native_size(path) == (2320, 2828)
    assert read_radiograph(path, (320, 320)).pixels.std() > 20
