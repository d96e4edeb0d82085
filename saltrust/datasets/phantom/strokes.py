"""Lines and polygons of the phantom, rasterised with fractional coverage."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from saltrust.datasets.phantom.anatomy import Anatomy
from saltrust.datasets.phantom.fields import Field

#: Pillow draws without antialiasing, so strokes are drawn at least this large and averaged.
_CANVAS = 512

Points = npt.NDArray[np.float64]


class Canvas:
    """A picture of strokes given in patient coordinates.

    Parameters
    ----------
    anatomy : Anatomy
        Says where patient coordinates lie in the image, and its size.
    """

    def __init__(self, anatomy: Anatomy) -> None:
        self._anatomy = anatomy
        factor = max(2, -(-_CANVAS // anatomy.size))
        self._side = anatomy.size * factor
        self._picture = Image.new("L", (self._side, self._side))
        self._draw = ImageDraw.Draw(self._picture)

    def _pixels(self, points: Points) -> Points:
        u, v = self._anatomy.to_image(points[..., 0], points[..., 1])
        return np.stack([u, v], axis=-1) * self._side

    def line(self, points: Points, width: float, strength: float = 1.0) -> None:
        """Draw a smooth curve, ``points`` of shape (n, 2) as X, Y, with square ends."""
        along = np.gradient(points, axis=0)
        normal = along[:, ::-1] * (1, -1) / np.linalg.norm(along, axis=1, keepdims=True)
        # Below one canvas pixel a polygon would have gaps.
        least = 1 / (self._side * self._anatomy.pose.scale)
        offset = 0.5 * max(width, least) * normal
        self.polygon(np.concatenate([points + offset, (points - offset)[::-1]]), strength)

    def lines(self, points: Points, width: float, strength: float = 1.0) -> None:
        """Draw many short polylines at once, ``points`` of shape (m, n, 2), with plain joints."""
        ink = _ink(strength)
        thickness = max(1, round(width * self._anatomy.pose.scale * self._side))
        for pixels in self._pixels(points).reshape(len(points), -1).tolist():
            self._draw.line(pixels, fill=ink, width=thickness)

    def polygon(self, points: Points, strength: float = 1.0) -> None:
        """Fill a polygon, ``points`` of shape (n, 2) as X, Y."""
        self._draw.polygon(self._pixels(points).ravel().tolist(), fill=_ink(strength))

    def coverage(self) -> Field:
        """Strength 0..1 in every pixel, shape (size, size)."""
        size = self._anatomy.size
        small = self._picture.resize((size, size), Image.Resampling.BOX)
        return np.asarray(small, dtype=np.float64) / 255


def _ink(strength: float) -> int:
    return round(255 * min(strength, 1.0))


def curve(nodes: Sequence[tuple[float, float]], samples: int = 12) -> Points:
    """Smooth curve through ``nodes``: a uniform Catmull-Rom spline, shape (n, 2)."""
    knots = np.asarray(nodes, dtype=np.float64)
    padded = np.concatenate([[2 * knots[0] - knots[1]], knots, [2 * knots[-1] - knots[-2]]])
    position = np.linspace(0, len(knots) - 1, samples * (len(knots) - 1) + 1)
    cell = np.minimum(position.astype(int), len(knots) - 2)
    t = (position - cell)[:, None]
    before, start, end, after = (padded[cell + k] for k in range(4))
    smooth: Points = 0.5 * (
        2 * start
        + (end - before) * t
        + (2 * before - 5 * start + 4 * end - after) * t**2
        + (3 * start - before - 3 * end + after) * t**3
    )
    return smooth
