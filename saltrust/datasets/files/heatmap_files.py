"""Ready-made heatmaps from PNG files, gray or coloured by matplotlib's default colour map."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from saltrust.datasets.files.limits import bands
from saltrust.datasets.files.radiograph_files import read_pixels
from saltrust.errors import DataError

_log = logging.getLogger(__name__)

#: Largest difference of a colour channel, of 255, that rounding explains.
_TOLERANCE = 2


def read_heatmap(path: str | Path) -> npt.NDArray[np.float32]:
    """Decode a heatmap.

    Gray images (8 or 16 bit) hold the values themselves.  Images of the colours of ``viridis``,
    which ``matplotlib.pyplot.imsave`` writes and the code released with Eye Gaze Data for Chest
    X-rays leaves, are turned back into values: their luma is no linear function of them and is
    not 0 where the heatmap is.

    Returns
    -------
    ndarray of float32, shape (height, width)
        0 to 1 of the range of the file; not yet scaled to its own maximum.

    Raises
    ------
    DataError
        If the file is missing, damaged, no PNG, or coloured otherwise.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise DataError(f"the heatmap {path} is not a PNG; convert it")
    pixels = read_pixels(path)
    if pixels.ndim == 2:
        top = {np.dtype(np.uint8): 255, np.dtype(np.bool_): 1}.get(pixels.dtype, 65535)
        values = _parts(top)
        return _converted(pixels, lambda part: values[part.astype(np.uint16)])
    parts = list(bands(pixels.shape))
    if pixels.dtype == np.uint16:
        if pixels.shape[2] == 2 or all(_is_gray(pixels[rows]) for rows in parts):
            values = _parts(65535)
            return _converted(pixels, lambda part: values[part[..., 0]])
        # The colours of viridis are of 8 bits.
        pixels = _converted_to_8_bits(pixels)
    if pixels.shape[2] in {1, 2} or all(_is_gray(pixels[rows]) for rows in parts):
        grays = _parts(255)
        return _converted(pixels, lambda part: grays[part[..., 0]])
    present = np.zeros(2**24, dtype=bool)
    for rows in parts:
        present[_codes(pixels[rows])] = True
    codes = np.flatnonzero(present)
    colors = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=1).astype(np.int16)
    # More colours than can lie around those of viridis are not compared with them.
    near = len(codes) <= len(_viridis()) * (2 * _TOLERANCE + 1)**3
    distance = np.abs(colors[:, None] - _viridis()[None]).max(axis=2) if near else None
    if distance is None or distance.min(axis=1).max() > _TOLERANCE:
        raise DataError(f"the heatmap {path} has colours that are neither gray nor those of "
                        "viridis, so its values cannot be told; save it in gray")
    value_of = np.zeros(2**24, dtype=np.float32)
    value_of[codes] = distance.argmin(axis=1) / 255.0
    return _converted(pixels, lambda part: value_of[_codes(part)])


def gaze_heatmap(path: Path, grid: tuple[int, int]) -> npt.NDArray[np.float32] | None:
    """Decode a gaze heatmap and bring it to the grid, maximum 1; None, and logged, if black.

    Returns
    -------
    ndarray of float32, shape grid, or None
    """
    heatmap = read_heatmap(path)
    if not heatmap.max() > 0:
        _log.warning("the gaze heatmap %s is black, so it counts as no gaze", path)
        return None
    return resample_heatmap(heatmap, grid)


def resample_heatmap(heatmap: npt.NDArray[np.floating], grid: tuple[int, int],
                     ) -> npt.NDArray[np.float32]:
    """Bring a heatmap to ``grid`` (bilinear, averaging over area when reducing), maximum 1.

    Parameters
    ----------
    heatmap : ndarray, shape (height, width)
        Not negative, not zero everywhere.
    grid : (int, int)
        Height and width of the result.
    """
    values = np.asarray(heatmap, dtype=np.float32)
    if values.shape != tuple(grid):
        image = Image.fromarray(values).resize((grid[1], grid[0]), Image.Resampling.BILINEAR)
        values = np.asarray(image).clip(min=0)
    return np.asarray(values / values.max(), dtype=np.float32)


def _converted_to_8_bits(pixels: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint8]:
    eight = np.empty(pixels.shape, dtype=np.uint8)
    for rows in bands(eight.shape):
        eight[rows] = (pixels[rows].astype(np.uint32) + 128) // 257
    return eight


def _converted(pixels: npt.NDArray[Any], convert: Callable[[npt.NDArray[Any]], npt.NDArray[Any]],
               ) -> npt.NDArray[np.float32]:
    values = np.empty(pixels.shape[:2], dtype=np.float32)
    for rows in bands(values.shape):
        values[rows] = convert(pixels[rows])
    return values


def _parts(top: int) -> npt.NDArray[np.float32]:
    """Gray values as parts of the largest."""
    return np.asarray(np.arange(top + 1) / top, dtype=np.float32)


def _is_gray(pixels: npt.NDArray[Any]) -> bool:
    return bool((pixels[..., 1:3] == pixels[..., :1]).all())


def _codes(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    """Colours as one number each."""
    red, green, blue = (pixels[..., k].astype(np.int32) for k in range(3))
    return red << 16 | green << 8 | blue


@lru_cache(maxsize=1)
def _viridis() -> npt.NDArray[np.int16]:
    from matplotlib import colormaps

    colors = np.asarray(colormaps["viridis"](np.arange(256), bytes=True))
    return colors[:, :3].astype(np.int16)
