"""Outlines of masks as polygons and paths, and pictures as data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from PIL import Image
from skimage.measure import approximate_polygon, find_contours

_JPEG_QUALITY = 82


def outlines(mask: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.float64]]:
    """Outer and inner boundaries of a mask.

    Parameters
    ----------
    mask : ndarray of bool, shape (height, width)

    Returns
    -------
    list of ndarray, shape (n, 2)
        Closed polygons of (row, column) on pixel edges: the corner of the first pixel is
        (0, 0), so that a full mask is bounded by 0 and its height and width.  Corners of
        pixels are cut by half a pixel, as marching squares do at the middle level.
    """
    padded = np.pad(mask.astype(np.float64), 1)
    # Padding moves centres by one pixel, centres lie half a pixel from the corner.
    return [contour - 0.5 for contour in find_contours(padded, 0.5)]  # type: ignore[no-untyped-call]


def largest(contours: list[npt.NDArray[np.float64]], most: int,
            ) -> list[npt.NDArray[np.float64]]:
    """The contours with the most points, in their order: a noisy mask has thousands."""
    if len(contours) <= most:
        return contours
    shortest = sorted(map(len, contours))[-most]
    kept = [contour for contour in contours if len(contour) >= shortest]
    return kept[:most]


def path_data(contours: Iterable[npt.NDArray[np.float64]], scale: tuple[float, float] = (1, 1),
              tolerance: float = 0.25) -> str:
    """SVG path data of closed contours, x before y.

    Parameters
    ----------
    contours : iterable of ndarray, shape (n, 2)
        Polygons of (row, column), as from :func:`outlines`.
    scale : (float, float)
        Factors of rows and columns.
    tolerance : float
        Largest distance in pixels (before scaling) by which points may be left out.

    Examples
    --------
    >>> path_data([np.array([[0, 0], [0, 4], [2, 4], [2, 0], [0, 0]])])
    'M0 0L4 0L4 2L0 2Z'
    """
    parts = []
    for contour in contours:
        points = contour if len(contour) <= 8 else approximate_polygon(  # type: ignore[no-untyped-call]
            contour, tolerance)
        rows, columns = (points[:-1] * np.asarray(scale)).T
        texts = [f"{x:.4g} {y:.4g}" for y, x in zip(rows, columns, strict=True)]
        parts.append("M" + "L".join(texts) + "Z")
    return "".join(parts)


def jpeg_data_uri(rgb: npt.NDArray[np.uint8], largest_side: int = 288) -> str:
    """Encode a picture as a data URI, made smaller where a side is longer than that."""
    picture = Image.fromarray(rgb)
    picture.thumbnail((largest_side, largest_side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=_JPEG_QUALITY, subsampling=0, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
