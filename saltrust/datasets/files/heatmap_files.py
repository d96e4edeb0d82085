"""Ready-made heatmaps from PNG files, gray or coloured by matplotlib's default colour map."""

from __future__ import annotations

import logging
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from saltrust.datasets.files.radiograph_files import read_pixels
from saltrust.datasets.gaze_maps import resample_heatmap
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
        top = {np.dtype(np.uint8): 255.0, np.dtype(np.bool_): 1.0}.get(pixels.dtype, 65535.0)
        return np.asarray(pixels / top, dtype=np.float32)
    if pixels.shape[2] in {1, 2} or (np.ptp(pixels[..., :3].astype(np.int16), axis=2) == 0).all():
        return np.asarray(pixels[..., 0] / 255.0, dtype=np.float32)
    colors, at = np.unique(pixels[..., :3].reshape(-1, 3), axis=0, return_inverse=True)
    distance = np.abs(colors[:, None].astype(np.int16) - _viridis()[None]).max(axis=2)
    if distance.min(axis=1).max() > _TOLERANCE:
        raise DataError(f"the heatmap {path} has colours that are neither gray nor those of "
                        "viridis, so its values cannot be told; save it in gray")
    values = distance.argmin(axis=1)[at.ravel()] / 255.0
    return np.asarray(values.reshape(pixels.shape[:2]), dtype=np.float32)


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


@lru_cache(maxsize=1)
def _viridis() -> npt.NDArray[np.int16]:
    from matplotlib import colormaps

    colors = np.asarray(colormaps["viridis"](np.arange(256), bytes=True))
    return colors[:, :3].astype(np.int16)
