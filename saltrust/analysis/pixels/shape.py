"""Shape descriptors of a mask: number of instances, area ratio, elongation, irrectangularity.

Protocol S (Saporta et al., 2022) names the four descriptors; where its text and its released code
leave room, ``definition`` says which way is taken.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from saltrust.analysis.pixels.contours import Borders, PixelContours, pixel_contours, trace_borders
from saltrust.analysis.pixels.rectangles import (
    Rectangle,
    minimum_area_corners,
    minimum_area_rectangle,
    rotating_calipers_rectangle,
)
from saltrust.choices import Definition
from saltrust.errors import UsageError, nearest

DEFINITIONS: tuple[Definition, ...] = ("default", "peer")


class ShapeDescriptors(NamedTuple):
    """Descriptors of one mask.

    Attributes
    ----------
    n_instances : int
        Components, or contours (see :func:`describe_shape`); 0 for an empty mask.
    area_ratio : float
        Share of the image that the whole mask covers.
    elongation : float
        Longer over shorter side of the minimum-area rectangle round the dominant instance, at
        least 1; NaN for an empty mask and where the rectangle has no width.
    irrectangularity : float
        1 minus the share of that rectangle that the dominant instance fills; NaN likewise.
    """

    n_instances: int
    area_ratio: float
    elongation: float
    irrectangularity: float


class FittedRectangle(NamedTuple):
    """The smallest rectangle round the dominant instance of a mask.

    Attributes
    ----------
    outline : ndarray of int64, shape (n, 2)
        Outer border of the dominant instance: row and column of pixel corners.
    corners : ndarray of float64, shape (4, 2)
        Of the rectangle, in order round it.
    """

    outline: npt.NDArray[np.int64]
    corners: npt.NDArray[np.float64]


def describe_shape(mask: npt.NDArray[Any], definition: Definition = "default",
                   n_polygons: int = -1) -> ShapeDescriptors:
    """Describe the shape of a mask.

    Parameters
    ----------
    mask : ndarray of bool or 0/1, shape (height, width)
    definition : {"default", "peer"}
        ``"default"``: instances are 8-connected components; the dominant one has the longest
        outer contour (then the largest filled area); the rectangle holds whole pixels, so that
        a line one pixel wide is 1 wide; the area is the number of pixels, holes filled.
        ``"peer"``: as the code released with CheXlocalize, on contours through pixel centres.
        Every contour, those of holes included, is an instance unless ``n_polygons`` is known;
        the dominant one has most points, the area is that of the polygon.  A line one pixel
        wide has a rectangle without width, and no elongation.
    n_polygons : int
        Contours the reader drew, -1 unknown; used under ``"peer"`` only.

    Returns
    -------
    ShapeDescriptors

    Raises
    ------
    UsageError
        If the definition is unknown or the mask is not a plane.

    References
    ----------
    A. Saporta et al. (2022), Nat. Mach. Intell. 4, 867-878, Methods.

    Examples
    --------
    >>> mask = np.zeros((10, 20), dtype=bool)
    >>> mask[2:6, 3:15] = True
    >>> describe_shape(mask)
    ShapeDescriptors(n_instances=1, area_ratio=0.24, elongation=3.0, irrectangularity=0.0)
    """
    check_definition(definition)
    mask = np.asarray(mask, dtype=bool)
    if mask.ndim != 2 or mask.size == 0:
        raise UsageError(f"a mask must have the shape (height, width), not {mask.shape}")
    pixels = int(np.count_nonzero(mask))
    if pixels == 0:
        return ShapeDescriptors(0, 0.0, float("nan"), float("nan"))
    borders = trace_borders(mask)
    contours = pixel_contours(borders)
    if definition == "peer":
        count = n_polygons if n_polygons >= 0 else len(borders)
        elongation, irrectangularity = _peer_dominant(contours)
    else:
        count = int(np.count_nonzero(~borders.hole))
        elongation, irrectangularity = _dominant(borders, contours)
    return ShapeDescriptors(count, pixels / mask.size, elongation, irrectangularity)


def check_definition(definition: str) -> None:
    """Refuse an unknown definition with a UsageError."""
    if definition not in DEFINITIONS:
        raise UsageError(f"definition {definition!r} is not known; "
                         f"{nearest(definition, DEFINITIONS)}")


def fitted_rectangle(mask: npt.NDArray[np.bool_]) -> FittedRectangle:
    """The rectangle that elongation and irrectangularity are of, by the definition ``default``.

    Parameters
    ----------
    mask : ndarray of bool, shape (height, width)
        Not empty.

    Returns
    -------
    FittedRectangle
    """
    borders = trace_borders(mask)
    dominant = _dominant_border(borders, pixel_contours(borders))
    outline = borders.corners(dominant)
    return FittedRectangle(outline, minimum_area_corners(outline))


def _dominant(borders: Borders, contours: PixelContours) -> tuple[float, float]:
    dominant = _dominant_border(borders, contours)
    return _elongation(minimum_area_rectangle(borders.corners(dominant)),
                       float(borders.area[dominant]))


def _dominant_border(borders: Borders, contours: PixelContours) -> int:
    outer = np.flatnonzero(~borders.hole)
    perimeters = contours.perimeters()[outer]
    longest = outer[perimeters == perimeters.max()]
    longest = longest[borders.area[longest] == borders.area[longest].max()]
    # Equal again: the least elongated, so that turning the image changes nothing.
    return min(longest.tolist(), key=lambda k: _elongation(
        minimum_area_rectangle(borders.corners(k)), float(borders.area[k])))


def _peer_dominant(contours: PixelContours) -> tuple[float, float]:
    counts = contours.n_points()
    # OpenCV lists the contours that a scan meets last first, and the first longest one counts.
    dominant = len(counts) - 1 - int(np.argmax(counts[::-1]))
    rectangle = rotating_calipers_rectangle(contours.points(dominant))
    return _elongation(rectangle, float(contours.polygon_areas()[dominant]))


def _elongation(rectangle: Rectangle, area: float) -> tuple[float, float]:
    """Elongation and irrectangularity."""
    if rectangle.shorter == 0:
        return float("nan"), float("nan")
    return rectangle.longer / rectangle.shorter, 1.0 - area / rectangle.area
