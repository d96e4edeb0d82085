"""Lesions of a reference: connected parts of a mask, boxes or points, and which a mark hits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from saltrust.analysis.pixels.run_masks import RunMask

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_EIGHT = np.ones((3, 3), dtype=bool)
#: Of places and distances, which are quotients of whole numbers.
_ROUNDING = 1e-9


class Lesion(Protocol):
    """What a mark can hit; places are in shares of the image's height and width."""

    def distance(self, at: FloatArray, scale: tuple[float, float]) -> FloatArray:
        """Distance of places, shape (marks, 2), shape (marks,); 0 inside."""


@dataclass(frozen=True)
class Part:
    """A connected part of a mask.

    Attributes
    ----------
    pixels : ndarray of bool, shape (rows, columns)
        Of the smallest box that holds the part.
    corner : (int, int)
        Row and column at which the box begins.
    size : (int, int)
        Height and width of the image.
    """

    pixels: BoolArray
    corner: tuple[int, int]
    size: tuple[int, int]

    def distance(self, at: FloatArray, scale: tuple[float, float]) -> FloatArray:
        """Distance to the nearest pixel of the part."""
        place = np.floor(at * self.size + _ROUNDING).astype(np.int64)
        place = np.minimum(place, np.array(self.size) - 1) - self.corner
        held = ((place >= 0) & (place < self.pixels.shape)).all(axis=1)
        inside = np.zeros(len(at), dtype=bool)
        inside[held] = self.pixels[tuple(place[held].T)]
        away = np.zeros(len(at))
        if not inside.all():
            edge = np.argwhere(self.pixels & ~ndimage.binary_erosion(self.pixels))
            centers = (edge + self.corner + 0.5) / self.size
            away[~inside] = _to_rectangles(at[~inside], centers - 0.5 / np.array(self.size),
                                           centers + 0.5 / np.array(self.size), scale)
        return away


@dataclass(frozen=True)
class Box:
    """A rectangle, or a point where it has no extent.

    Attributes
    ----------
    low, high : ndarray of float64, shape (2,)
        Top left and bottom right.
    """

    low: FloatArray
    high: FloatArray

    def distance(self, at: FloatArray, scale: tuple[float, float]) -> FloatArray:
        """Distance to the rectangle."""
        return _to_rectangles(at, self.low[None], self.high[None], scale)


def _to_rectangles(at: FloatArray, low: FloatArray, high: FloatArray,
                   scale: tuple[float, float]) -> FloatArray:
    """Distance of places to the nearest of some rectangles."""
    outside = np.maximum(np.maximum(low - at[:, None], at[:, None] - high), 0) * scale
    return np.asarray(np.hypot(outside[..., 0], outside[..., 1]).min(axis=1))


def mask_lesions(mask: RunMask) -> list[Part]:
    """The connected parts of a mask, diagonal neighbours connected, in row order.

    Parameters
    ----------
    mask : RunMask

    Examples
    --------
    >>> from saltrust.analysis.pixels.run_masks import mask_of_pixels
    >>> len(mask_lesions(mask_of_pixels(np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0]], dtype=bool))))
    1
    """
    pixels = mask.cropped()
    if not pixels.any():
        return []
    starts, stops = mask.bounds[::2], mask.bounds[1::2]
    one_column = ((stops - 1) // mask.height == starts // mask.height).all()
    top = int((starts % mask.height).min()) if one_column else 0
    left = int(starts[0]) // mask.height
    number, count = ndimage.label(pixels, structure=_EIGHT)
    return [Part(number[part] == k, (top + part[0].start, left + part[1].start),
                 (mask.height, mask.width))
            for k, part in enumerate(ndimage.find_objects(number, count), 1)]


def box_lesions(boxes: npt.ArrayLike, size: tuple[int, int]) -> list[Box]:
    """Boxes, top, left, bottom and right in pixels of an image of this size."""
    return [Box(box[:2], box[2:]) for box in
            np.asarray(boxes, dtype=np.float64).reshape(-1, 4) / np.array([*size, *size])]


def point_lesions(points: npt.ArrayLike, size: tuple[int, int]) -> list[Box]:
    """Points, row and column in pixels of an image of this size."""
    return [Box(point, point) for point in
            np.asarray(points, dtype=np.float64).reshape(-1, 2) / np.array(size)]


def hits(at: npt.ArrayLike, lesions: Sequence[Lesion], scale: tuple[float, float],
         within: float = 0.0) -> BoolArray:
    """Which lesions every mark hits: the nearest one, if it is near enough.

    Parameters
    ----------
    at : array_like of float, shape (marks, 2)
        In shares of height and width.
    lesions : sequence of Lesion
    scale : (float, float)
        What a height and a width measure in the units of ``within``.
    within : float
        Largest distance of a hit; 0: inside.

    Returns
    -------
    ndarray of bool, shape (marks, lesions)
        Several of a mark where lesions overlap, or are equally near.

    Examples
    --------
    >>> box = box_lesions([[0, 0, 10, 10]], (100, 100))
    >>> hits([[0.05, 0.05], [0.12, 0.05]], box, (100, 100), within=1).ravel().tolist()
    [True, False]
    """
    places = np.asarray(at, dtype=np.float64).reshape(-1, 2)
    if not lesions or not len(places):
        return np.zeros((len(places), len(lesions)), dtype=bool)
    away = np.stack([lesion.distance(places, scale) for lesion in lesions], axis=1)
    nearest = away <= away.min(axis=1, keepdims=True) + _ROUNDING
    return np.asarray(nearest & (away <= within + _ROUNDING))
