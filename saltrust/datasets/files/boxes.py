"""Boxes around findings: cut to their image, repeated ones counted once.

One rule for manifests and releases alike: a box that reaches outside its image is cut at the rim
and counted, one that lies wholly outside is an error, and boxes that are the same count once.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from saltrust.errors import DataError

_log = logging.getLogger(__name__)

#: y0, x0, y1, x1 in native pixels; far edges exclusive.
Box = tuple[float, float, float, float]
#: Of a corner or a side; what lies farther away is a mistake of units.
_FARTHEST = 1e6


@dataclass
class BoxTally:
    """What was done to the boxes of a data set.

    Attributes
    ----------
    clipped_images : set of str
        Images with boxes that reached outside.
    farthest : float
        By so many pixels at most.
    repeated : int
        Boxes that stood for the same finding, reader and image before.
    outside : list of str
        Where boxes stand that lie wholly outside, which :meth:`report` refuses.
    """

    clipped_images: set[str] = field(default_factory=set)
    farthest: float = 0.0
    repeated: int = 0
    outside: list[str] = field(default_factory=list)

    def within(self, stated: Sequence[tuple[str, Box]], image: str, size: tuple[int, int],
               ) -> tuple[Box, ...]:
        """The boxes of one image, finding and reader, cut to the image, each once.

        Parameters
        ----------
        stated : sequence of (str, Box)
            Where each stands, and the box.
        image : str
        size : (int, int)
            Height and width.
        """
        kept: dict[Box, None] = {}
        for where, box in stated:
            inside = clipped(box, size)
            if inside is None:
                self.outside.append(where)
                continue
            if inside != box:
                self.clipped_images.add(image)
                self.farthest = max(self.farthest, *(abs(a - b) for a, b in
                                                     zip(inside, box, strict=True)))
            self.repeated += inside in kept
            kept[inside] = None
        return tuple(kept)

    def report(self, source: object) -> dict[str, int]:
        """Log what was done, and give its counts for the description of the data set.

        Raises
        ------
        DataError
            If boxes lie wholly outside their images.
        """
        if self.outside:
            number = len(self.outside)
            raise DataError(f"{source}: {number} box{'es lie' if number > 1 else ' lies'} wholly "
                            f"outside the image (first: {self.outside[0]}); correct them, or see "
                            "whether they are of the image at another size")
        if self.clipped_images:
            _log.warning("%d images of %s have boxes that reach outside the image, by %g pixels at "
                         "most (first: %s); they are clipped", len(self.clipped_images), source,
                         self.farthest, min(self.clipped_images))
        if self.repeated:
            _log.warning("%d boxes of %s repeat another of the same image and finding; each counts "
                         "once", self.repeated, source)
        return {"images_with_clipped_boxes": len(self.clipped_images),
                "repeated_boxes": self.repeated}


def box_of(x: float, y: float, width: float, height: float) -> Box | None:
    """Corners of a box that is stated by its place and sides; None where that is no box.

    Examples
    --------
    >>> box_of(10, 20, 5, 8), box_of(1, 2, 0, 4)
    ((20, 10, 28, 15), None)
    """
    if not (width > 0 and height > 0 and max(abs(x), abs(y), width, height) < _FARTHEST):
        return None
    return y, x, y + height, x + width


def clipped(box: Box, size: tuple[int, int]) -> Box | None:
    """A box cut to an image of ``size`` = (height, width); None where nothing is left.

    Examples
    --------
    >>> clipped((5, -3, 25, 17), (40, 50)), clipped((5, 50, 25, 60), (40, 50))
    ((5, 0.0, 25, 17), None)
    """
    y0, x0, y1, x1 = box
    inside = max(y0, 0.0), max(x0, 0.0), min(y1, float(size[0])), min(x1, float(size[1]))
    return inside if inside[0] < inside[2] and inside[1] < inside[3] else None
