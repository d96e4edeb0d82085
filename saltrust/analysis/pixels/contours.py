"""Borders of a mask: following them, the pixels along them, their lengths and areas.

A border is a closed walk along the edges between foreground and background pixels, with the
foreground on its right.  Foreground is 8-connected, so that every component has one outer border
and one border for each of its holes.  All borders of a mask are held one after another in flat
arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_EAST, _SOUTH, _WEST, _NORTH = range(4)


@dataclass(frozen=True)
class Borders:
    """All borders of a mask, in the order in which a scan along the rows meets them.

    Attributes
    ----------
    y, x : ndarray of int64, shape (n_edges,)
        Where each pixel edge begins, on the lattice of pixel corners: pixel (row, column) has
        the corners row, row + 1 and column, column + 1.
    heading : ndarray of int64, shape (n_edges,)
        0 east, 1 south, 2 west, 3 north, row numbers growing southwards.
    start : ndarray of int64, shape (n_borders + 1,)
        Border ``i`` has the edges ``start[i]:start[i + 1]``.
    hole : ndarray of bool, shape (n_borders,)
        Whether the border encloses a hole.
    area : ndarray of int64, shape (n_borders,)
        Enclosed pixels, those of holes and islands within included.
    """

    y: IntArray
    x: IntArray
    heading: IntArray
    start: IntArray
    hole: npt.NDArray[np.bool_]
    area: IntArray

    def __len__(self) -> int:
        return len(self.hole)

    def corners(self, border: int) -> IntArray:
        """Lattice points of one border.

        Returns
        -------
        ndarray of int64, shape (n, 2)
            Row and column of pixel corners.
        """
        part = slice(self.start[border], self.start[border + 1])
        return np.stack([self.y[part], self.x[part]], axis=1)


@dataclass(frozen=True)
class PixelContours:
    """Foreground pixels along each border, in the order of the walk.

    A pixel passed twice, as on a line one pixel wide, is there twice.

    Attributes
    ----------
    y, x : ndarray of int64, shape (n_points,)
        Row and column of the pixels.
    start : ndarray of int64, shape (n_borders + 1,)
        Border ``i`` has the points ``start[i]:start[i + 1]``.
    """

    y: IntArray
    x: IntArray
    start: IntArray

    def __len__(self) -> int:
        return len(self.start) - 1

    def points(self, border: int) -> IntArray:
        """Points of one border, shape (n, 2): row and column."""
        part = slice(self.start[border], self.start[border + 1])
        return np.stack([self.y[part], self.x[part]], axis=1)

    def n_points(self) -> IntArray:
        """Number of points of each border."""
        return np.diff(self.start)

    def perimeters(self) -> FloatArray:
        """Length of the closed polygon through the pixel centres, in pixels; 0 for one pixel."""
        y, x = self._steps()
        diagonal = ((y != 0) & (x != 0)).astype(np.int64)
        straight = ((y != 0) ^ (x != 0)).astype(np.int64)
        return _sums(straight, self.start) + np.sqrt(2.0) * _sums(diagonal, self.start)

    def polygon_areas(self) -> FloatArray:
        """Area of the polygon through the pixel centres, in square pixels, without sign."""
        step_y, step_x = self._steps()
        return np.abs(_sums(self.x * step_y - self.y * step_x, self.start)) / 2

    def _steps(self) -> tuple[IntArray, IntArray]:
        follower = np.arange(1, len(self.y) + 1)
        follower[self.start[1:] - 1] = self.start[:-1]
        return self.y[follower] - self.y, self.x[follower] - self.x


def trace_borders(mask: npt.NDArray[Any]) -> Borders:
    """Follow all borders of a mask.

    Parameters
    ----------
    mask : ndarray of bool or 0/1, shape (height, width)

    Returns
    -------
    Borders

    Examples
    --------
    >>> ring = np.ones((3, 3), dtype=bool)
    >>> ring[1, 1] = False
    >>> borders = trace_borders(ring)
    >>> borders.hole, borders.area
    (array([False,  True]), array([9, 1]))
    """
    top, left, crop = _crop(np.asarray(mask, dtype=bool))
    frame = np.zeros((crop.shape[0] + 2, crop.shape[1] + 2), dtype=bool)
    frame[1:-1, 1:-1] = crop
    begin, end, heading = _edges(frame)
    walk, start = _walks(_followers(begin, end, heading))
    pitch = frame.shape[1]
    y, x, heading = begin[walk] // pitch, begin[walk] % pitch, heading[walk]
    signed = _sums(np.where(heading == _WEST, y, 0) - np.where(heading == _EAST, y, 0), start)
    # From corners of the framed crop to corners of the mask.
    return Borders(y + (top - 1), x + (left - 1), heading, start, signed < 0, np.abs(signed))


def pixel_contours(borders: Borders) -> PixelContours:
    """The foreground pixels along borders.

    Returns
    -------
    PixelContours
        The points that OpenCV's ``findContours`` gives with ``CHAIN_APPROX_NONE``, up to the
        starting point and direction.

    References
    ----------
    S. Suzuki and K. Abe (1985), Comput. Vis. Graph. Image Process. 30, 32-46: border following
    with 8-connected foreground visits the same pixels.

    Examples
    --------
    >>> pixel_contours(trace_borders(np.ones((1, 4), dtype=bool))).points(0).tolist()
    [[0, 1], [0, 2], [0, 3], [0, 2], [0, 1], [0, 0]]
    """
    y = borders.y - ((borders.heading == _WEST) | (borders.heading == _NORTH))
    x = borders.x - ((borders.heading == _SOUTH) | (borders.heading == _WEST))
    before = np.arange(-1, len(y) - 1)
    before[borders.start[:-1]] = borders.start[1:] - 1
    new = (y != y[before]) | (x != x[before])
    # A single pixel has four edges and no change.
    counts = _sums(new.astype(np.int64), borders.start)
    new[borders.start[:-1][counts == 0]] = True
    start = np.concatenate([[0], np.cumsum(np.maximum(counts, 1))]).astype(np.int64)
    return PixelContours(y[new], x[new], start)


def _crop(mask: Mask) -> tuple[int, int, Mask]:
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return 0, 0, mask[:0, :0]
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    columns = np.flatnonzero(mask[top:bottom].any(axis=0))
    left, right = int(columns[0]), int(columns[-1]) + 1
    return top, left, mask[top:bottom, left:right]


def _edges(frame: Mask) -> tuple[IntArray, IntArray, IntArray]:
    """All pixel edges between foreground and background: begin, end (corners) and heading.

    The edges that a scan along the rows meets first come first.
    """
    flat = frame.reshape(-1)
    pitch = frame.shape[1]
    # Edges above pixel i and left of pixel i; the frame is background, so no row wraps round.
    above = np.flatnonzero(flat[pitch:] != flat[:-pitch]) + pitch
    beside = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    below_is_in, right_is_in = flat[above], flat[beside]
    begin = np.concatenate([np.where(right_is_in, beside + pitch, beside),
                            np.where(below_is_in, above, above + 1)])
    end = np.concatenate([np.where(right_is_in, beside, beside + pitch),
                          np.where(below_is_in, above + 1, above)])
    heading = np.concatenate([np.where(right_is_in, _NORTH, _SOUTH),
                              np.where(below_is_in, _EAST, _WEST)])
    return begin, end, heading


def _followers(begin: IntArray, end: IntArray, heading: IntArray) -> IntArray:
    """The edge that follows each edge on its border."""
    order = np.argsort(begin, kind="stable")
    sorted_begin = begin[order]
    place = np.searchsorted(sorted_begin, end)
    follower = order[place]
    # Where two foreground pixels meet at a corner only, two edges begin: turning left crosses
    # over to the other pixel and keeps the component in one piece.
    other = order[np.minimum(place + 1, len(order) - 1)]
    two = begin[other] == end
    left = (heading + 3) % 4
    return np.where(two & (heading[follower] != left), other, follower)


def _walks(follower: IntArray) -> tuple[IntArray, IntArray]:
    """Cut a permutation into its cycles, those with the lowest first element first."""
    after = follower.tolist()
    seen = bytearray(len(after))
    walk: list[int] = []
    start = [0]
    for first in range(len(after)):
        edge = first
        while not seen[edge]:
            seen[edge] = 1
            walk.append(edge)
            edge = after[edge]
        if len(walk) > start[-1]:
            start.append(len(walk))
    return np.array(walk, dtype=np.int64), np.array(start, dtype=np.int64)


def _sums(values: IntArray, start: IntArray) -> IntArray:
    """Sum of each part ``start[i]:start[i + 1]``; no part is empty."""
    if len(start) == 1:
        return np.zeros(0, dtype=np.int64)
    return np.add.reduceat(values, start[:-1])
