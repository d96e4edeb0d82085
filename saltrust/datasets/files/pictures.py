"""PNG, JPEG, BMP and TIFF with all the bits they have, the way up that they say.

Pillow has no images of 16-bit colour and keeps the upper byte of every channel.  Told that bytes
lie the other way round it keeps the lower one, so two decodings give both.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from saltrust.datasets.files.limits import bands, check_pixels
from saltrust.errors import DataError

T = TypeVar("T", bound=np.generic)

_FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
_ALPHA = {"LA", "RGBA", "La", "RGBa"}
#: Pillow's names of 16-bit colour as it lies in a file: what gives its upper and lower bytes.
_BIG, _LITTLE = ("{0};16B", "{0};16L"), ("{0};16L", "{0};16B")
_ORDERS = {"16B": _BIG, "16L": _LITTLE, "16N": _LITTLE if sys.byteorder == "little" else _BIG}
#: The tag of TIFF with the bits of every channel.
_BITS = 258
#: Chunks of PNG that may hold EXIF.
_TELLING = {b"eXIf", b"iTXt", b"tEXt", b"zTXt"}


@dataclass(frozen=True)
class Picture:
    """A decoded picture, of which parts are taken.

    Attributes
    ----------
    image : PIL.Image.Image
    deep : ndarray of uint16, shape (height, width, channels), or None
        What ``image`` has lost of 16-bit colour: gray and alpha, colours, or colours and alpha.
    orientation : int
        EXIF's, 1 to 8.
    """

    image: Image.Image
    deep: npt.NDArray[np.uint16] | None
    orientation: int

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width as stored."""
        return self.image.height, self.image.width

    @property
    def has_alpha(self) -> bool:
        """Whether the last channel of :meth:`part` is opacity."""
        if self.deep is not None:
            return self.deep.shape[2] in {2, 4}
        return self.image.mode in _ALPHA | {"P", "PA"}

    def cut(self, rows: slice) -> Image.Image:
        """Rows as Pillow has them."""
        return self.image.crop((0, rows.start, self.image.width, rows.stop))

    def part(self, rows: slice) -> npt.NDArray[Any]:
        """Rows as they are stored, palettes resolved: (rows, width) or (rows, width, channels)."""
        if self.deep is not None:
            return self.deep[rows]
        image = self.cut(rows)
        return np.asarray(image.convert("RGBA") if image.mode in {"P", "PA"} else image)

    def upright(self, pixels: npt.NDArray[T]) -> npt.NDArray[T]:
        """An array of the picture turned as EXIF's orientation says.

        Examples
        --------
        >>> stored = np.array([[1, 2, 3], [4, 5, 6]])
        >>> Picture(Image.new("L", (3, 2)), None, 6).upright(stored)
        array([[4, 1],
               [5, 2],
               [6, 3]])
        """
        if self.orientation in {5, 6, 7, 8}:
            pixels = np.swapaxes(pixels, 0, 1)
        down = slice(None, None, -1 if self.orientation in {3, 4, 7, 8} else 1)
        across = slice(None, None, -1 if self.orientation in {2, 3, 6, 7} else 1)
        return np.ascontiguousarray(pixels[down, across])


@contextmanager
def opened(path: Path) -> Iterator[Picture]:
    """Decode a picture; whatever is wrong with it, also while it is looked at, is one sentence.

    Raises
    ------
    DataError
        If the file is missing, no such picture, damaged, or larger than any radiograph.
    """
    with _reading(path):
        deep = _deep(path)
        with _open(path) as image:
            check_pixels(image.height, image.width, path)
            if deep is None or _tells_at_the_end(path):
                image.load()
            yield Picture(image, deep, _orientation(image))


def picture_size(path: Path) -> tuple[int, int]:
    """Height and width in pixels, upright, from the header.

    Raises
    ------
    DataError
        As of :func:`opened`, but for damage in the pixels.
    """
    with _reading(path), _open(path) as image:
        check_pixels(image.height, image.width, path)
        if _tells_at_the_end(path):
            image.load()
        turned = _orientation(image) in {5, 6, 7, 8}
        return (image.width, image.height) if turned else (image.height, image.width)


def _deep(path: Path) -> npt.NDArray[np.uint16] | None:
    """Channels of 16-bit colour; None of what Pillow keeps whole."""
    deep: npt.NDArray[np.uint16] | None = None
    number = 0
    modes: tuple[str, ...] = ("",)
    while number < len(modes):
        with _open(path) as image:
            check_pixels(image.height, image.width, path)
            modes = _modes_by_byte(path, image)
            if not modes:
                return None
            mode = modes[number]
            image.tile = [tile._replace(args=(mode, *tile.args[1:]) if isinstance(tile.args, tuple)
                                        else mode) for tile in image.tile]
            image.load()
            for rows in bands((image.height, image.width)):
                part = np.asarray(image.crop((0, rows.start, image.width, rows.stop)))
                if len(modes) == 1:
                    # Gray and alpha, two bytes each, as four channels.
                    part = np.ascontiguousarray(part).view(">u2")
                if deep is None:
                    deep = np.zeros((image.height, image.width, part.shape[2]), dtype=np.uint16)
                deep[rows] <<= 8
                deep[rows] |= part
        number += 1
    return deep


def _modes_by_byte(path: Path, image: ImageFile.ImageFile) -> tuple[str, ...]:
    """How Pillow has to be told to decode all bytes of 16-bit colour; empty of all else."""
    modes = {str(tile.args if isinstance(tile.args, str) else (tile.args or ("",))[0])
             for tile in image.tile}
    mode = modes.pop() if len(modes) == 1 else ""
    name, _, order = mode.partition(";")
    if order in _ORDERS and name == "LA":
        # Gray and alpha have as many bytes as four channels of 8 bits.
        return ("RGBA",)
    if order in _ORDERS and name in {"RGB", "RGBX", "RGBA"}:
        return tuple(each.format(name) for each in _ORDERS[order])
    bits = image.tag_v2.get(_BITS, (1,)) if isinstance(image, TiffImageFile) else (1,)
    if image.mode[0] not in "IF" and max(bits) > 8:
        raise DataError(f"{path} has colours of {max(bits)} bits in a layout of TIFF that is not "
                        "read; save it as PNG")
    return ()


def _orientation(image: Image.Image) -> int:
    if isinstance(image, TiffImageFile):
        # Pillow has turned it.
        return 1
    try:
        # That of PNG would decode the image.
        stated = int(Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 - EXIF may be anything, and says nothing of the pixels
        return 1
    return stated if 1 <= stated <= 8 else 1


def _tells_at_the_end(path: Path) -> bool:
    """Whether a PNG has what may hold EXIF behind its pixels, where opening does not look."""
    with path.open("rb") as file:
        place, size, after = 8, path.stat().st_size, False
        if file.read(4) != b"\x89PNG":
            return False
        while place + 8 <= size:
            file.seek(place)
            head = file.read(8)
            kind = head[4:]
            if after and kind in _TELLING:
                return True
            after = after or kind == b"IDAT"
            place += 12 + int.from_bytes(head[:4], "big")
    return False


@contextmanager
def _open(path: Path) -> Iterator[ImageFile.ImageFile]:
    # Given a path, Pillow 13 maps plain TIFF into memory and loses its orientation.
    with path.open("rb") as stream, warnings.catch_warnings():
        # Of sizes; it ends in a sentence.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(stream, formats=_FORMATS) as image:
            yield image


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; check the path") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder, not an image; check the path") from None
    except PermissionError:
        raise DataError(f"{path} cannot be read; check its permissions") from None
    except UnidentifiedImageError:
        raise DataError(f"{path} is not a PNG, JPEG, BMP, TIFF or DICOM image (or its header is "
                        "damaged); convert it or fetch it again") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DataError(f"{path} declares more pixels than any radiograph has; check where it "
                        "comes from") from None
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001 - decoders raise what they like on damaged data
        raise DataError(f"{path} is truncated or damaged ({error}); fetch it again") from None
