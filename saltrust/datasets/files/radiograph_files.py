"""Decoding radiographs from PNG, JPEG and DICOM files."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from saltrust.cache.collection import Radiograph
from saltrust.datasets.files import dicom_pixels
from saltrust.datasets.files.gray_scale import stretch
from saltrust.datasets.files.limits import bands, check_pixels, of_file
from saltrust.errors import DataError

_log = logging.getLogger(__name__)

#: File name endings taken for radiographs when a folder is searched.
RADIOGRAPH_SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm", ".dicom")

_FORMATS = ("PNG", "JPEG")
#: Files that are named for one kind of doubt; a store has the doubt of every radiograph.
_MOST_NAMED = 20
_named: dict[str, set[Path]] = {}


@of_file()
def read_radiograph(path: str | Path, grid: tuple[int, int]) -> Radiograph:
    """Decode a radiograph and resample it.

    Parameters
    ----------
    path : path
        PNG (gray or colour, 8 or 16 bit, palette), JPEG or DICOM (see
        :mod:`saltrust.datasets.files.dicom_pixels`).  Colour becomes luma (ITU-R 601-2),
        transparent
        becomes black, and 16-bit gray is stretched from its own minimum and maximum, since a
        PNG does not say how many of its bits are used.  EXIF orientation is not applied.
    grid : (int, int)
        Height and width of the result; bilinear, and averaging over area when reducing.

    Returns
    -------
    Radiograph

    Raises
    ------
    DataError
        If the file is missing, truncated, no such image or too large; DICOM without pixels
        or in a transfer syntax for which no decoder is installed.  The message names the file.
    """
    path = Path(path)
    pixels, doubt = _gray_and_doubt(path)
    if pixels.min() == pixels.max():
        constant = "it has one gray value everywhere, so there is nothing to be seen in it"
        doubt = f"{doubt}; {constant}" if doubt else constant
    if doubt:
        _warn_of(path, doubt)
    height, width = pixels.shape
    return Radiograph(resample(pixels, grid), height, width, doubt)


def _warn_of(path: Path, doubt: str) -> None:
    """Say once what is doubtful about a file; after many of one kind, only that there are more."""
    kind = "".join(letter for letter in doubt if letter.isalpha() or letter == " ")
    named = _named.setdefault(kind, set())
    if path in named or len(named) > _MOST_NAMED:
        return
    named.add(path)
    end = ("more files of this kind are not named" if len(named) > _MOST_NAMED
           else "correct its header if the image looks wrong")
    _log.warning("%s: %s; %s", path, doubt, end)


@of_file()
def read_gray(path: Path) -> npt.NDArray[np.uint8]:
    """Decode a radiograph at native size.

    Returns
    -------
    ndarray of uint8, shape (height, width)
    """
    return _gray_and_doubt(path)[0]


def _gray_and_doubt(path: Path) -> tuple[npt.NDArray[np.uint8], str]:
    if dicom_pixels.is_dicom(path):
        return dicom_pixels.read_gray(path)
    with _opened(path) as image:
        gray = np.empty((image.height, image.width), dtype=np.uint8)
        if image.mode in {"I;16", "I;16B", "I;16L", "I;16N", "I", "F"}:
            values = np.asarray(image)
            low, high = float(values.min()), float(values.max())
            for rows in bands(gray.shape):
                gray[rows] = stretch(values[rows], low, high)
        else:
            for rows in bands(gray.shape):
                gray[rows] = np.asarray(_luma(_cut(image, rows)))
        return gray, ""


@of_file()
def read_mask(path: Path) -> npt.NDArray[np.bool_]:
    """Decode a mask from PNG: foreground is every pixel that is neither black nor transparent.

    Returns
    -------
    ndarray of bool, shape (height, width)
    """
    with _opened(path) as image:
        mask = np.empty((image.height, image.width), dtype=bool)
        for rows in bands(mask.shape):
            part = _without_palette(_cut(image, rows))
            values = np.atleast_3d(np.asarray(part)) != 0
            opaque = values[..., -1] if part.mode in {"LA", "RGBA", "La", "RGBa"} else True
            mask[rows] = (values[..., :-1] if opaque is not True else values).any(axis=-1) & opaque
        return mask


@of_file()
def read_pixels(path: Path) -> npt.NDArray[Any]:
    """Decode a PNG or JPEG as it is stored, palettes resolved.

    Returns
    -------
    ndarray of uint8, uint16, int32 or bool, shape (height, width) or (height, width, channels)
    """
    with _opened(path) as image:
        first = np.asarray(_without_palette(_cut(image, slice(0, 1))))
        pixels = np.empty((image.height, *first.shape[1:]), dtype=first.dtype)
        for rows in bands((image.height, image.width)):
            pixels[rows] = np.asarray(_without_palette(_cut(image, rows)))
        return pixels


@of_file()
def native_size(path: str | Path) -> tuple[int, int]:
    """Read height and width in pixels from the header, without decoding.

    Raises
    ------
    DataError
        If the file is missing or is not a PNG, JPEG or DICOM image.
    """
    path = Path(path)
    if dicom_pixels.is_dicom(path):
        return dicom_pixels.native_size(path)
    with _opened(path, decode=False) as image:
        return image.height, image.width


def resample(pixels: npt.NDArray[np.uint8], grid: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Resample gray values to ``grid`` = (height, width), bilinear with area when reducing."""
    if pixels.shape == tuple(grid):
        return pixels
    image = Image.fromarray(pixels).resize((grid[1], grid[0]), Image.Resampling.BILINEAR)
    return np.asarray(image).copy()


def _cut(image: Image.Image, rows: slice) -> Image.Image:
    return image.crop((0, rows.start, image.width, rows.stop))


def _without_palette(image: Image.Image) -> Image.Image:
    return image.convert("RGBA") if image.mode in {"P", "PA"} else image


def _luma(image: Image.Image) -> Image.Image:
    if image.mode not in {"P", "PA", "LA", "RGBA", "La", "RGBa"}:
        return image.convert("L")
    color = image.convert("RGBA")
    black = Image.new("RGBA", color.size, (0, 0, 0, 255))
    return Image.alpha_composite(black, color).convert("L")


@contextmanager
def _opened(path: Path, *, decode: bool = True) -> Iterator[Image.Image]:
    """Open a PNG or JPEG, decode it, and say what is wrong with it in one sentence."""
    try:
        with _open(path) as image:
            check_pixels(image.height, image.width, path)
            if decode:
                image.load()
            yield image
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; check the path") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder, not an image; check the path") from None
    except PermissionError:
        raise DataError(f"{path} cannot be read; check its permissions") from None
    except UnidentifiedImageError:
        raise DataError(f"{path} is not a PNG, JPEG or DICOM image (or its header is damaged); "
                        "convert it or fetch it again") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DataError(f"{path} declares more pixels than any radiograph has; check where it "
                        "comes from") from None
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001 - decoders raise what they like on damaged data
        raise DataError(f"{path} is truncated or damaged ({error}); fetch it again") from None


def _open(path: Path) -> Image.Image:
    with warnings.catch_warnings():
        # Of sizes; it ends in a sentence.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return Image.open(path, formats=_FORMATS)


def stated_patients(images: Sequence[str], paths: Sequence[Path]) -> list[str]:
    """Patient of every image: PatientID of a DICOM header, else the image's own name.

    Where all of several DICOM files state the same PatientID, it is a mark of
    anonymisation, and every image counts as its own patient; the log says so.
    """
    stated = [dicom_pixels.patient_id(path) if dicom_pixels.is_dicom(path) else ""
              for path in paths]
    known = set(stated) - {""}
    if len(known) == 1 and stated.count(next(iter(known))) > 1:
        _log.warning("all DICOM files state the PatientID %r, so every image counts as its own "
                     "patient; name patients in a CSV manifest if they repeat", next(iter(known)))
        return list(images)
    return [patient or image for patient, image in zip(stated, images, strict=True)]
