"""Convex hulls and minimum-area rectangles of points on the integer lattice.

Coordinates are whole numbers, so that orientation tests have no rounding and the area of every
candidate rectangle is one correctly rounded quotient of integers: ties are seen as ties.  They
are common (an acute triangle has three rectangles of the same smallest area, one along each
side), and the rounding of float32 arithmetic picks among them in published numbers; that
arithmetic is offered too.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]


class Rectangle(NamedTuple):
    """Sides of a rectangle.

    Attributes
    ----------
    longer, shorter : float
        Lengths of the sides; 0 for points on one line.
    area : float
    """

    longer: float
    shorter: float
    area: float


def convex_hull(points: npt.ArrayLike) -> IntArray:
    """Corners of the convex hull.

    Parameters
    ----------
    points : array_like of int, shape (n, 2)

    Returns
    -------
    ndarray of int64, shape (m, 2)
        In order round the hull, without points along its edges; both ends for points on one
        line, the point itself for equal points.

    References
    ----------
    A. M. Andrew (1979), Inf. Process. Lett. 9, 216-219.

    Examples
    --------
    >>> convex_hull([[0, 0], [0, 1], [0, 2], [2, 2], [1, 1], [2, 0]]).tolist()
    [[0, 0], [2, 0], [2, 2], [0, 2]]
    """
    array = np.asarray(points, dtype=np.int64)
    lines = _ends_of_lines(array)
    lower = _chain(_pruned(lines).tolist())
    upper = _chain(_pruned(lines[::-1]).tolist())
    corners = lower[:-1] + upper[:-1] if len(lower) + len(upper) > 2 else lower
    return np.array(corners, dtype=np.int64).reshape(-1, 2)


def minimum_area_rectangle(points: npt.ArrayLike) -> Rectangle:
    """The rectangle of smallest area, at any angle, that holds all points.

    Parameters
    ----------
    points : array_like of int, shape (n, 2)
        At least one point; coordinates below 2**15 in size.

    Returns
    -------
    Rectangle
        Of several rectangles of the same area the one nearest to a square.

    References
    ----------
    H. Freeman and R. Shapira (1975), Commun. ACM 18, 409-413: one side lies along an edge of
    the convex hull.

    Examples
    --------
    >>> minimum_area_rectangle([[0, 0], [3, 3], [1, -1], [4, 2]])
    Rectangle(longer=4.242..., shorter=1.414..., area=6.0)
    """
    hull = convex_hull(points)
    if len(hull) < 3:
        length = float(np.hypot(*(np.roll(hull, -1, axis=0) - hull)[0]))
        return Rectangle(length, 0.0, 0.0)
    edge, length, width, area = _smallest(hull)
    scale = float(np.sqrt((edge**2).sum()))
    return Rectangle(float(max(length, width)) / scale, float(min(length, width)) / scale, area)


def minimum_area_corners(points: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Corners of the rectangle of :func:`minimum_area_rectangle`.

    Parameters
    ----------
    points : array_like of int, shape (n, 2)
        Not all on one line.

    Returns
    -------
    ndarray of float64, shape (4, 2)
        In order round the rectangle, in the coordinates of the points.

    Examples
    --------
    >>> minimum_area_corners([[0, 0], [0, 9], [4, 9], [4, 0]]).tolist()
    [[0.0, 0.0], [4.0, 0.0], [4.0, 9.0], [0.0, 9.0]]
    """
    hull = convex_hull(points)
    edge, *_ = _smallest(hull)
    along = edge / np.sqrt((edge**2).sum())
    axes = np.stack([along, [-along[1], along[0]]])
    low, high = (hull @ axes.T).min(axis=0), (hull @ axes.T).max(axis=0)
    return np.array([low, (high[0], low[1]), high, (low[0], high[1])]) @ axes


def _smallest(hull: IntArray) -> tuple[IntArray, int, int, float]:
    """Edge along which the rectangle lies, its extents times the edge's length, and its area."""
    edges = np.roll(hull, -1, axis=0) - hull
    along = edges @ hull.T
    across = np.stack([-edges[:, 1], edges[:, 0]], axis=1) @ hull.T
    # Extents times the length of the edge, whole numbers below 2**53 in their product.
    length = np.ptp(along, axis=1)
    width = np.ptp(across, axis=1)
    squared = (edges**2).sum(axis=1)
    areas = (length * width) / squared
    tied = np.flatnonzero(areas == areas.min())
    longer = np.maximum(length, width)[tied]
    shorter = np.minimum(length, width)[tied]
    best = int(tied[int(np.argmin(longer / shorter))])
    return edges[best], int(length[best]), int(width[best]), float(areas[best])


def rotating_calipers_rectangle(points: npt.ArrayLike) -> Rectangle:
    """The minimum-area rectangle as OpenCV's ``minAreaRect`` rounds it.

    The same rectangle as :func:`minimum_area_rectangle` but for ties, where the last of the
    smallest float32 areas counts while the rectangle turns from 0 to 90 degrees.

    Parameters
    ----------
    points : array_like of int, shape (n, 2)
        Row and column; at least one point.

    Returns
    -------
    Rectangle
        Sides as float32 gives them.

    References
    ----------
    G. Toussaint (1983), Proc. IEEE MELECON, A10.02: all rectangles along hull edges in one turn.

    Examples
    --------
    >>> rotating_calipers_rectangle([[0, 0], [0, 9], [4, 9], [4, 0]])
    Rectangle(longer=9.0, shorter=4.0, area=36.0)
    """
    hull = convex_hull(points)
    if len(hull) < 3:
        return minimum_area_rectangle(points)
    # Column as x, row as y, in the order in which x turns towards y.
    corners = hull[::-1, ::-1]
    edges = np.roll(corners, -1, axis=0) - corners
    side = _quarter(edges)
    # An edge along the first row comes last there: contours begin at its far end.
    side[(edges[:, 1] == 0) & (edges[:, 0] > 0)] = 3
    slope = np.array([_turned_back(edge, quarter) for edge, quarter in
                      zip(edges.tolist(), side.tolist(), strict=True)], dtype=np.int64)
    # The quotient of whole numbers is the same for parallel edges, to the last bit.
    angle = np.divide(slope[:, 1], slope[:, 0], out=np.full(len(slope), np.inf),
                      where=slope[:, 0] > 0)
    # Start the hull at the side that the walk enters first, so that the sides follow each other.
    first = int(np.lexsort((angle, side))[0])
    corners, side, slope, angle = (np.roll(part, -first, axis=0)
                                   for part in (corners, side, slope, angle))
    turn = np.lexsort((side, angle))
    passed = np.cumsum(side[turn][:, None] == np.arange(4), axis=0)
    entered = np.searchsorted(side, np.arange(4), side="left")
    bottom, right, top, left = ((entered + passed) % len(corners)).T
    place = corners.astype(np.float32)
    inverse = (1.0 / np.sqrt((slope.astype(np.float64)**2).sum(axis=1))).astype(np.float32)
    direction = (slope.astype(np.float32) * inverse[:, None])[turn]
    across = place[right] - place[left]
    upward = place[top] - place[bottom]
    width = across[:, 0] * direction[:, 0] + across[:, 1] * direction[:, 1]
    height = upward[:, 1] * direction[:, 0] - upward[:, 0] * direction[:, 1]
    areas = width * height
    best = len(areas) - 1 - int(np.argmin(areas[::-1]))
    sides = [np.float32(np.hypot(*(direction[best] * length).astype(np.float64)))
             for length in (width[best], height[best])]
    return Rectangle(float(max(sides)), float(min(sides)), float(sides[0]) * float(sides[1]))


def _quarter(edges: IntArray) -> IntArray:
    """Quarter turn that an edge is in: 0 from the first axis up to the second, and so on."""
    x, y = edges.T
    return np.select([(x > 0) & (y >= 0), (y > 0) & (x <= 0), (x < 0) & (y <= 0)], [0, 1, 2], 3)


def _turned_back(edge: list[int], quarter: int) -> tuple[int, int]:
    """Turn an edge back by quarter turns into the first quarter."""
    x, y = edge
    return ((x, y), (y, -x), (-x, -y), (-y, x))[quarter]


def _ends_of_lines(points: IntArray) -> IntArray:
    """The first and the last point of each line of equal first coordinate, sorted.

    Others cannot be corners of the hull; a contour of thousands of points keeps two a row.
    """
    points = points[np.lexsort((points[:, 1], points[:, 0]))]
    change = points[1:, 0] != points[:-1, 0]
    first = np.concatenate([[True], change])
    last = np.concatenate([change, [True]])
    return np.unique(points[first | last], axis=0)


def _pruned(points: IntArray) -> IntArray:
    """Drop points that are no corners of the half of the hull on which turns are positive.

    A point that does not turn that way between its neighbours lies on or beyond the line between
    two points of the set; passes of this leave little for the walk in Python.
    """
    while len(points) > 2:
        one, two = np.diff(points, axis=0)[:-1], points[2:] - points[:-2]
        kept = np.ones(len(points), dtype=bool)
        kept[1:-1] = one[:, 0] * two[:, 1] - two[:, 0] * one[:, 1] > 0
        # The last few are gone faster by walking.
        if np.count_nonzero(kept) > 0.9 * len(points):
            return points[kept]
        points = points[kept]
    return points


def _chain(points: list[list[int]]) -> list[list[int]]:
    """Half of the hull: the points that turn one way only."""
    chain: list[list[int]] = []
    for y, x in points:
        while len(chain) > 1:
            (y0, x0), (y1, x1) = chain[-2:]
            if (y1 - y0) * (x - x0) - (x1 - x0) * (y - y0) > 0:
                break
            chain.pop()
        chain.append([y, x])
    return chain
