"""Decoding radiographs and masks from pictures and DICOM files."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from saltrust.cache.collection import Radiograph
from saltrust.datasets.files import dicom_pixels
from saltrust.datasets.files.gray_scale import LUMA, stretch
from saltrust.datasets.files.limits import bands, of_file
from saltrust.datasets.files.mask_values import MaskColors, foreground
from saltrust.datasets.files.patient_ids import distinct_patients
from saltrust.datasets.files.pictures import Picture, opened, picture_size
from saltrust.errors import DataError

_log = logging.getLogger(__name__)

#: File name endings taken for radiographs when a folder is searched.
RADIOGRAPH_SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm", ".dicom", ".bmp", ".tif", ".tiff")

#: The tag of TIFF that is 0 where 0 is white.
_PHOTOMETRIC = 262
#: Files that are named for one kind of doubt; a store has the doubt of every radiograph.
_MOST_NAMED = 20
_named: dict[str, set[Path]] = {}


@of_file()
def read_radiograph(path: str | Path, grid: tuple[int, int]) -> Radiograph:
    """Decode a radiograph and resample it.

    Parameters
    ----------
    path : path
        DICOM (see :mod:`saltrust.datasets.files.dicom_pixels`), PNG, JPEG, BMP or TIFF, gray or
        colour.  Colour becomes luma (ITU-R 601-2), transparent becomes black.  More than 8 bits
        are stretched from their own minimum to their maximum, since a picture does not say how
        many of its bits are used.  EXIF orientation is applied.
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
    if doubt:
        _warn_of(path, f"{doubt}; correct its header if the image looks wrong")
    if pixels.min() == pixels.max():
        _warn_of(path, "it has one gray value everywhere, so there is nothing to be seen in it")
    height, width = pixels.shape
    return Radiograph(resample(pixels, grid), height, width, doubt)


def _warn_of(path: Path, doubt: str) -> None:
    """Say once what is odd about a file; after many of one kind, only that there are more."""
    kind = "".join(letter for letter in doubt if letter.isalpha() or letter == " ")
    named = _named.setdefault(kind, set())
    if path in named or len(named) > _MOST_NAMED:
        return
    named.add(path)
    more = "; more files of this kind are not named" if len(named) > _MOST_NAMED else ""
    _log.warning("%s: %s%s", path, doubt, more)


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
    with opened(path) as picture:
        doubt = ""
        if picture.deep is not None:
            gray = _gray_of_deep(picture)
        elif picture.image.mode[0] in "IF":
            gray, doubt = _gray_of_many_bits(picture)
        else:
            gray = np.empty(picture.shape, dtype=np.uint8)
            for rows in bands(gray.shape):
                gray[rows] = np.asarray(_luma(picture.cut(rows)))
        return picture.upright(gray), doubt


def _gray_of_many_bits(picture: Picture) -> tuple[npt.NDArray[np.uint8], str]:
    values = np.asarray(picture.image)
    shown = np.isfinite(values)
    if not shown.any():
        raise ValueError("it holds no pixel that is a number")
    low, high = float(values[shown].min()), float(values[shown].max())
    gray = np.empty(values.shape, dtype=np.uint8)
    for rows in bands(gray.shape):
        gray[rows] = stretch(np.where(shown[rows], values[rows], low), low, high)
    # TIFF may say that 0 is white, which Pillow heeds where there are at most 8 bits.
    if getattr(picture.image, "tag_v2", {}).get(_PHOTOMETRIC) == 0:
        gray = 255 - gray
    gray[~shown] = 0
    return gray, "" if shown.all() else "it holds pixels that are no numbers, which are black"


def _gray_of_deep(picture: Picture) -> npt.NDArray[np.uint8]:
    def values_of(rows: slice) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        part = picture.part(rows)
        opaque = part[..., -1:] if picture.has_alpha else np.full((1, 1, 1), 65535)
        colors = part[..., :-1] if picture.has_alpha else part
        gray = colors[..., 0].astype(np.float64)
        if colors.shape[2] == 3:
            # Of a gray pixel its gray, which products with fractions would miss by a rounding.
            level = (colors == colors[..., :1]).all(axis=-1)
            gray = np.where(level, gray, colors @ LUMA)
        shown = np.broadcast_to(opaque[..., 0] > 0, gray.shape)
        return gray * (opaque[..., 0] / 65535), shown

    low, high = np.inf, -np.inf
    for rows in bands(picture.shape):
        values, shown = values_of(rows)
        low = min(low, float(values.min(where=shown, initial=np.inf)))
        high = max(high, float(values.max(where=shown, initial=-np.inf)))
    gray = np.empty(picture.shape, dtype=np.uint8)
    for rows in bands(gray.shape):
        values, shown = values_of(rows)
        gray[rows] = np.where(shown, stretch(values, low, high), 0)
    return gray


@of_file()
def read_mask(path: Path) -> npt.NDArray[np.bool_]:
    """Decode a mask from PNG: foreground is nearer to its largest value than to black.

    Transparency counts as black; see :mod:`saltrust.datasets.files.mask_values` for what is a
    mask.

    Returns
    -------
    ndarray of bool, shape (height, width)

    Raises
    ------
    DataError
        If it has the gray levels of a radiograph, several classes, or covers the whole image.
    """
    with opened(path) as picture:
        values = np.empty(picture.shape, dtype=np.uint16)
        colors = MaskColors()
        transparency = set()
        for rows in bands(values.shape):
            pixels = np.atleast_3d(picture.part(rows))
            if picture.has_alpha:
                opaque, top = pixels[..., -1:], np.iinfo(pixels.dtype).max
                transparency |= {int(opaque.min()), int(opaque.max())}
                pixels = (pixels[..., :-1].astype(np.uint32) * opaque + top // 2) // top
            if pixels.shape[2] == 3:
                colors.look(pixels)
            values[rows] = pixels.max(axis=-1)
        if len(transparency) > 1 and not values.any():
            raise DataError(f"the mask {path} is drawn in black on what is transparent, and both "
                            "are background; draw in white")
        colors.check(path)
        return picture.upright(foreground(values, path))


@of_file()
def read_pixels(path: Path) -> npt.NDArray[Any]:
    """Decode a picture as it is stored, palettes resolved, upright.

    Returns
    -------
    ndarray of uint8, uint16, int32 or bool, shape (height, width) or (height, width, channels)
    """
    with opened(path) as picture:
        first = picture.part(slice(0, 1))
        pixels = np.empty((picture.shape[0], *first.shape[1:]), dtype=first.dtype)
        for rows in bands(picture.shape):
            pixels[rows] = picture.part(rows)
        return picture.upright(pixels)


@of_file()
def native_size(path: str | Path) -> tuple[int, int]:
    """Read height and width in pixels, upright, from the header.

    Raises
    ------
    DataError
        If the file is missing or is no such image.
    """
    path = Path(path)
    return dicom_pixels.native_size(path) if dicom_pixels.is_dicom(path) else picture_size(path)


def resample(pixels: npt.NDArray[np.uint8], grid: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Resample gray values to ``grid`` = (height, width), bilinear with area when reducing."""
    if pixels.shape == tuple(grid):
        return pixels
    image = Image.fromarray(pixels).resize((grid[1], grid[0]), Image.Resampling.BILINEAR)
    return np.asarray(image).copy()


def _luma(image: Image.Image) -> Image.Image:
    if image.mode not in {"P", "PA", "LA", "RGBA", "La", "RGBa"}:
        return image.convert("L")
    color = image.convert("RGBA")
    black = Image.new("RGBA", color.size, (0, 0, 0, 255))
    return Image.alpha_composite(black, color).convert("L")


def _patient(path: Path) -> str:
    try:
        return dicom_pixels.patient_id(path) if dicom_pixels.is_dicom(path) else ""
    except DataError:
        # Whoever decodes it says what is wrong, of all such files at once.
        return ""


def stated_patients(images: Sequence[str], paths: Sequence[Path]) -> list[str]:
    """Patient of every image: PatientID of a DICOM header, else the image's own name.

    Where all of several DICOM files state the same PatientID, it is a mark of
    anonymisation, and every image counts as its own patient; so does one whose id is nobody's
    (:func:`saltrust.datasets.files.patient_ids.distinct_patients`).  The log says so.
    """
    stated = [_patient(path) for path in paths]
    known = set(stated) - {""}
    if len(known) == 1 and stated.count(next(iter(known))) > 1:
        _log.warning("all DICOM files state the PatientID %r, so every image counts as its own "
                     "patient; name patients in a CSV manifest if they repeat", next(iter(known)))
        return list(images)
    return distinct_patients(stated, images, "the DICOM files")
