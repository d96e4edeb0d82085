"""Boxes that readers drew: a table of them becomes annotations at the size of each image."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from saltrust.cache.collection import Annotation
from saltrust.datasets.files.annotation_codes import boxes_mask, coco_counts, unite
from saltrust.datasets.files.boxes import Box, BoxTally
from saltrust.datasets.files.limits import FARTHEST_PIXEL, MOST_INSTANCES
from saltrust.datasets.releases.columns import Columns
from saltrust.errors import DataError

#: Columns that say which annotation a box is of.
_LIST = ["image", "finding", "reader"]
_CORNERS = ["y0", "x0", "y1", "x1"]

Pair = tuple[str, str]
Size = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Drawings:
    """Boxes by image, and who looked at it.

    Attributes
    ----------
    boxes : dict
        Image -> (finding, reader) -> boxes in native pixels.
    readers : mapping
        Image -> those who looked for every finding: one without a box is an empty annotation.
        Of images that are not in it, only what was drawn is annotated.
    findings : tuple of str
        Those that readers looked for.
    """

    boxes: Mapping[str, Mapping[Pair, tuple[Box, ...]]]
    readers: Mapping[str, tuple[str, ...]]
    findings: tuple[str, ...]

    def annotations(self, image: str, size: Size) -> dict[Pair, Annotation]:
        """All annotations of an image of (height, width)."""
        drawn: dict[Pair, tuple[Box, ...]] = {
            (finding, reader): () for reader in self.readers.get(image, ())
            for finding in self.findings}
        drawn |= self.boxes.get(image, {})
        return {pair: Annotation(boxes_code(boxes, *size), n_polygons=len(boxes), boxes=boxes)
                for pair, boxes in drawn.items()}


@dataclass(frozen=True, eq=False)
class BoxTable:
    """Boxes as the tables have them, sizes not looked at.

    Attributes
    ----------
    frame : pandas.DataFrame
        ``image``, ``finding``, ``reader``, ``y0``, ``x0``, ``y1``, ``x1``, ``row`` (a place in a
        file, for sentences).
    readers : mapping
        As of :class:`Drawings`.
    findings : tuple of str
        As of :class:`Drawings`.
    """

    frame: pd.DataFrame
    readers: Mapping[str, tuple[str, ...]]
    findings: tuple[str, ...]

    @property
    def most_boxes(self) -> int:
        """The longest list of any annotation, whichever images are on disk."""
        lists = self.frame.drop_duplicates([*_LIST, *_CORNERS]).groupby(_LIST).size()
        return int(lists.max()) if len(lists) else 0

    def content(self) -> str:
        """A text that differs where anything else was drawn, or somebody else looked."""
        text = repr((self.frame[[*_LIST, *_CORNERS]].values.tolist(),
                     sorted(self.readers.items()), self.findings))
        return hashlib.sha256(text.encode()).hexdigest()

    def within(self, sizes: Mapping[str, Size], source: object) -> tuple[Drawings, dict[str, int]]:
        """Take the boxes of some images and clip them there; identical ones count once.

        Parameters
        ----------
        sizes : mapping
            Image -> height and width; other images are left out.
        source : object
            The release, for sentences.

        Returns
        -------
        drawings : Drawings
        counts : dict
            Of images with clipped boxes and of repeated boxes, which are logged too.

        Raises
        ------
        DataError
            If boxes lie wholly outside their image, or one has more than a store keeps.
        """
        frame = self.frame[self.frame["image"].isin(list(sizes))]
        stated: dict[str, dict[Pair, list[tuple[str, Box]]]] = {}
        for image, finding, reader, row, corners in zip(
                *(frame[name] for name in (*_LIST, "row")), frame[_CORNERS].values.tolist(),
                strict=True):
            y0, x0, y1, x1 = corners
            of_pair = stated.setdefault(image, {}).setdefault((finding, reader), [])
            of_pair.append((row, (y0, x0, y1, x1)))
            if len(of_pair) > MOST_INSTANCES:
                raise DataError(f"{row}: {image} has more than {MOST_INSTANCES} boxes of {finding} "
                                f"by {reader}; leave out those that are no boxes")
        tally = BoxTally()
        boxes = {image: {pair: tally.within(listed, image, sizes[image])
                         for pair, listed in of_image.items()}
                 for image, of_image in stated.items()}
        counts = tally.report(source)
        return Drawings(boxes, {image: readers for image, readers in self.readers.items()
                                if image in sizes}, self.findings), counts


def box_corners(columns: Columns, names: Sequence[str], *, sides: bool) -> pd.DataFrame:
    """The corners of the boxes of a table, and the row of each.

    Parameters
    ----------
    columns : Columns
    names : four str
        Columns of x and y of the near corner, then of the far one, or of width and height.
    sides : bool
        Whether the last two are width and height.

    Returns
    -------
    pandas.DataFrame
        ``y0``, ``x0``, ``y1``, ``x1``, ``row``; the index is that of the table.

    Raises
    ------
    DataError
        If a cell is no number, or a box has no area; the row is named.
    """
    numbers = {}
    for name in names:
        values = pd.to_numeric(columns.text(name), errors="coerce").to_numpy(dtype=float)
        columns.fail(~(np.abs(values) < FARTHEST_PIXEL), name,
                     "not a number of pixels; correct it or leave the row out")
        numbers[name] = values
    x0, y0, x1, y1 = (numbers[name] for name in names)
    if sides:
        x1, y1 = x0 + x1, y0 + y1
    columns.fail(x1 <= x0, names[2], "so the box has no width; correct it or leave the row out")
    columns.fail(y1 <= y0, names[3], "so the box has no height; correct it or leave the row out")
    places = [f"{columns.path}, row {row}" for row in columns.frame.index]
    return pd.DataFrame({"y0": y0, "x0": x0, "y1": y1, "x1": x1, "row": places},
                        index=columns.frame.index)


def boxes_code(boxes: Sequence[Box], height: int, width: int) -> str:
    """Run-length code of the union of boxes, without a mask of the whole radiograph.

    Parameters
    ----------
    boxes : sequence of (y0, x0, y1, x1)
        In pixels, within the image.
    height, width : int

    Returns
    -------
    str
        That of :func:`saltrust.datasets.files.annotation_codes.boxes_mask`.

    Examples
    --------
    >>> boxes_code([(0, 1, 2, 3)], 3, 4), boxes_code([], 3, 4)
    ('32103', '<')
    """
    codes = [_box_code(box, height, width) for box in boxes]
    if not codes:
        return _empty_code(height, width)
    return codes[0] if len(codes) == 1 else unite(codes, height, width)


@functools.lru_cache(maxsize=4096)
def _empty_code(height: int, width: int) -> str:
    return coco_counts({"size": [height, width], "counts": [height * width]}, height, width)


def _box_code(box: Box, height: int, width: int) -> str:
    y0, x0, y1, x1 = box
    rows = np.flatnonzero(boxes_mask([(y0, 0, y1, 1)], height, 1))
    columns = np.flatnonzero(boxes_mask([(0, x0, 1, x1)], 1, width))
    top, tall = int(rows[0]), len(rows)
    left, wide = int(columns[0]), len(columns)
    between = height - tall
    runs = ([tall * wide] if between == 0 else [tall, *[between, tall] * (wide - 1)])
    rest = height * width - left * height - top - sum(runs)
    return coco_counts({"size": [height, width],
                        "counts": [left * height + top, *runs, *[rest] * (rest > 0)]},
                       height, width)
