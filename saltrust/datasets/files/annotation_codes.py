"""Annotations as other programs write them, turned into masks at native size.

Run-length codes of Kaggle (both kinds) and COCO, boxes, points and polygons.  All errors are
DataErrors without a file name: the callers know the row and put it in front.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from pycocotools import mask as coco

from saltrust.cache import rle
from saltrust.datasets.files.boxes import Box, box_of, clipped
from saltrust.datasets.files.limits import (
    FARTHEST_PIXEL,
    MOST_CORNERS,
    MOST_SCANNING,
    check_instances,
    check_pixels,
)
from saltrust.errors import DataError
from saltrust.reading import shown

Mask = npt.NDArray[np.bool_]
Point = tuple[float, float]

#: Filling a row takes time for every corner, and for so many pixels as much as for one.
_PIXELS_PER_CORNER = 512

#: The ways out where a code is of the other kind than its column.
RELATIVE_HINT = "that of SIIM-ACR, whose column in a manifest is called siim_rle:FINDING"
ABSOLUTE_HINT = "in a manifest their column is called kaggle_rle:FINDING"

#: Cells that state "looked, and there is nothing": Kaggle's, and a word for people.
EMPTY_CELLS = ("-1", "none")


def kaggle_counts(code: str, height: int, width: int, *, relative: bool) -> str:
    """Turn Kaggle's run-length code into compressed COCO counts; both run down the columns.

    Parameters
    ----------
    code : str
        ``"start length start length ..."``; ``-1`` is the empty mask.
    height, width : int
        Native size in pixels.
    relative : bool
        False, the usual kind: ``start`` is a pixel number that begins with 1.  True, the kind
        of SIIM-ACR Pneumothorax: ``start`` is the distance from the end of the run before,
        the first from the first pixel.

    Raises
    ------
    DataError
        If it is not pairs of numbers, a run leaves the image, or runs of the usual kind are not
        in order or overlap; where the other kind fits, the sentence says so.

    Examples
    --------
    >>> code = kaggle_counts("1 2 6 1", 3, 2, relative=False)
    >>> rle.decode(code, 3, 2).astype(int)
    array([[1, 0],
           [1, 0],
           [0, 1]])
    >>> kaggle_counts("0 2 3 1", 3, 2, relative=True) == code
    True
    """
    starts, ends = _kaggle_runs(code, height * width, relative=relative)
    inside = ends > starts
    starts, ends = starts[inside], ends[inside]
    # Runs that touch become one, so that equal masks have equal codes.
    apart = np.ones(len(starts), dtype=bool)
    apart[1:] = starts[1:] > ends[:-1]
    last = np.append(apart[1:], True) if len(apart) else apart
    edges = np.stack([starts[apart], ends[last]], axis=1).ravel()
    runs = np.diff(np.concatenate([[0], edges, [height * width]]))
    return _compressed(runs[:-1].tolist() if runs[-1] == 0 else runs.tolist(), height, width)


def unite(codes: Sequence[str], height: int, width: int) -> str:
    """Compressed COCO counts of the union of masks of one size.

    Examples
    --------
    >>> first, second = (kaggle_counts(code, 3, 2, relative=False) for code in ("1 2", "2 3"))
    >>> unite([first, second], 3, 2) == kaggle_counts("1 4", 3, 2, relative=False)
    True
    """
    for code in codes:
        rle.area(code, height, width)
    merged = coco.merge([{"size": [height, width], "counts": code.encode("ascii")}
                         for code in codes])
    counts: bytes = merged["counts"]
    return counts.decode("ascii")


def _kaggle_runs(code: str, size: int, *, relative: bool,
                 ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """First pixel and end of every run, counted from 0 down the columns."""
    if code.strip() == "-1":
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    try:
        numbers = np.array(code.split(), dtype=np.int64)
    except (ValueError, OverflowError):
        raise DataError(f"the run-length code {_shortened(code)} is not a list of whole numbers"
                        ) from None
    if len(numbers) == 0 or len(numbers) % 2:
        raise DataError(f"the run-length code {_shortened(code)} is not pairs of start and length")
    starts, lengths = numbers[0::2], numbers[1::2]
    if (lengths < 0).any() or (starts < (0 if relative else 1)).any():
        raise DataError("the run-length code holds a negative number or a start below 1"
                        + (" (starts counted from 0 are the relative kind)" if not relative
                           else ""))
    if numbers.max() > size:
        raise DataError(f"the run-length code holds {int(numbers.max())}, but the image has "
                        f"{size} pixels")
    starts = (np.cumsum(starts) + np.cumsum(lengths) - lengths) if relative else starts - 1
    ends = starts + lengths
    if relative and ends.max() > size:
        meant = (_in_order(numbers[0::2], lengths)
                 and int((numbers[0::2] + lengths).max()) <= size + 1)
        raise DataError(f"the run-length code reaches pixel {int(ends.max())}, but the image has "
                        f"{size}" + ("; its starts are in order, as those counted from the first "
                                     f"pixel are: {ABSOLUTE_HINT}" if meant else ""))
    if ends.max() > size:
        raise DataError(f"the run-length code reaches pixel {int(ends.max())}, but the image has "
                        f"{size}")
    if not relative and not _in_order(starts, lengths):
        meant = int(numbers.sum()) <= size
        raise DataError("the runs of the run-length code are not in order or overlap, as those "
                        "counted from the first pixel never do"
                        + (f"; it looks like the relative kind, {RELATIVE_HINT}; if it is not, put "
                           "its runs in order" if meant else "; encode the mask again"))
    return starts, ends


def _in_order(starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> bool:
    """Whether every run begins where that before it has ended, or later."""
    starts, lengths = starts[lengths > 0], lengths[lengths > 0]
    return bool((starts[1:] >= (starts + lengths)[:-1]).all())


def coco_counts(code: str | dict[str, Any], height: int, width: int) -> str:
    """Check a COCO run-length code and give its compressed counts.

    Parameters
    ----------
    code : str or dict
        Compressed counts, or ``{"size": [height, width], "counts": ...}`` as JSON or dict,
        whose counts may also be a list of run lengths.
    height, width : int
        Native size in pixels, which the code must have.

    Raises
    ------
    DataError
        If it is damaged, or of another size.

    Examples
    --------
    >>> coco_counts('{"size": [2, 2], "counts": [1, 3]}', 2, 2)
    '13'
    """
    if isinstance(code, str) and code.lstrip().startswith("{"):
        try:
            code = json.loads(code)
        except (ValueError, RecursionError):
            raise DataError(f"the COCO code {_shortened(str(code))} is not valid JSON") from None
    if isinstance(code, dict):
        size = coco_size(code)
        if size != (height, width):
            raise DataError(f"the COCO code is of a mask of {size[0]} x {size[1]} pixels, the "
                            f"radiograph has {height} x {width}"
                            + "; its height and width are exchanged" * (size == (width, height)))
        counts = code["counts"]
    else:
        counts = code
    if isinstance(counts, list):
        counts = _compressed(counts, height, width)
    if not isinstance(counts, str):
        raise DataError("the counts of the COCO code are neither text nor a list")
    rle.area(counts, height, width)
    return counts


def coco_size(code: Any) -> tuple[int, int]:
    """Height and width that a COCO code states.

    Raises
    ------
    DataError
        If it is not a dict with ``size`` and ``counts``.
    """
    size = code.get("size") if isinstance(code, dict) else None
    if (not isinstance(size, list) or len(size) != 2 or "counts" not in code
            or not all(type(n) is int and n > 0 for n in size)):
        raise DataError(f"the COCO code {shown(code, 40)} is not "
                        '{"size": [height, width], "counts": ...}')
    check_pixels(size[0], size[1], "the COCO code")
    return size[0], size[1]


def polygons_mask(polygons: Any, height: int, width: int) -> Mask:
    """Fill polygons and draw their outlines, as the released CheXlocalize code does.

    Parameters
    ----------
    polygons : list of list of (x, y)
        Contours in native pixels; overlaps are united, those of one point left out
        (:func:`drawn_contours`).
    height, width : int

    Returns
    -------
    ndarray of bool, shape (height, width)
        By Pillow's ImageDraw, on a bilevel image, with fill and outline.

    Raises
    ------
    DataError
        If a point is not two finite numbers, or a contour lies wholly outside the image.
    """
    check_pixels(height, width, "the image of the polygons")
    canvas = Image.new("1", (width, height))
    draw = ImageDraw.Draw(canvas)
    contours = drawn_contours(polygons)
    work = 0.0
    for points in contours:
        ys, xs = [y for _, y in points], [x for x, _ in points]
        if max(xs) < 0 or max(ys) < 0 or min(xs) > width or min(ys) > height:
            raise DataError(f"a contour from ({min(xs):g}, {min(ys):g}) to ({max(xs):g}, "
                            f"{max(ys):g}) (x, y) lies wholly outside the image of {height} x "
                            f"{width} pixels; correct it, or see whether it is of the image at "
                            "another size")
        rows = [min(max(y, 0), height) for y in ys]
        work += (max(rows) - min(rows)) * (len(points) + width / _PIXELS_PER_CORNER)
    if work > MOST_SCANNING:
        corners = sum(map(len, contours))
        raise DataError(f"{len(contours):,} polygons with {corners:,} corners would take minutes "
                        "to fill, more than anybody draws; give a mask instead")
    for points in contours:
        draw.polygon(points, outline=1, fill=1)
    return np.asarray(canvas, dtype=bool).copy()


def drawn_contours(polygons: Any) -> list[list[Point]]:
    """Contours as lists of (x, y), each once, without those of a single point.

    A click that was meant for something else leaves one point.  Two make a line, which the
    released CheXlocalize code draws: that is how a wire may have been marked.

    Raises
    ------
    DataError
        If it is not a list of contours, or a point is not two finite numbers.

    Examples
    --------
    >>> drawn_contours([[[0, 0], [4, 0], [0, 4]], [[7, 7]], [[1, 1], [5, 5]]])
    [[(0.0, 0.0), (4.0, 0.0), (0.0, 4.0)], [(1.0, 1.0), (5.0, 5.0)]]
    """
    if not isinstance(polygons, list):
        raise DataError("the polygons are not a list of contours")
    corners = sum(len(contour) for contour in polygons if isinstance(contour, list))
    if corners > MOST_CORNERS:
        raise DataError(f"the polygons have {corners:,} corners, more than {MOST_CORNERS:,}, "
                        "which nobody draws")
    contours = dict.fromkeys(xy_points(contour) for contour in polygons)
    return [[(x, y) for y, x in contour] for contour in contours
            if len(set(contour)) > 1]


def xy_points(pairs: Any) -> tuple[Point, ...]:
    """Turn ``[[x, y], ...]`` into ((row, column), ...).

    Examples
    --------
    >>> xy_points([[30, 10.5]])
    ((10.5, 30.0),)
    """
    try:
        points = tuple((float(y), float(x)) for x, y in pairs)
    except (TypeError, ValueError, OverflowError):
        raise DataError("the points are not a list of [x, y] pairs") from None
    if not all(math.isfinite(number) for point in points for number in point):
        raise DataError("a point is not two finite numbers")
    if any(abs(number) > FARTHEST_PIXEL for point in points for number in point):
        raise DataError(f"a point lies more than {FARTHEST_PIXEL:,.0f} pixels from the image")
    return points


def stated_boxes(text: str) -> list[tuple[str, Box]]:
    """Read ``"x y width height; x y width height"`` in native pixels, as it stands.

    Returns
    -------
    list of (str, Box)
        The text of each, and y0, x0, y1, x1, which may reach outside the image.

    Raises
    ------
    DataError
        If it is not groups of four numbers, or a box has no area.

    Examples
    --------
    >>> stated_boxes("-3 5 20 20")
    [('-3 5 20 20', (5.0, -3.0, 25.0, 17.0))]
    """
    boxes = []
    for numbers in _number_groups(text, 4, "x y width height"):
        written = " ".join(f"{number:g}" for number in numbers)
        box = box_of(*numbers)
        if box is None:
            raise DataError(f"the box {written} (x y width height) has no area, or one larger than "
                            "any image")
        boxes.append((written, box))
    return boxes


def parse_boxes(text: str, height: int, width: int) -> tuple[Box, ...]:
    """Read ``"x y width height; x y width height"`` in native pixels, cut to the image.

    Returns
    -------
    tuple of (y0, x0, y1, x1)
        Far edges exclusive; boxes that are the same stand once.

    Raises
    ------
    DataError
        If it is not groups of four numbers, a side is not positive, or a box lies wholly outside
        the image.

    Examples
    --------
    >>> parse_boxes("10 20 5 8; -1 0 2 2; 10 20 5 8", 100, 100)
    ((20.0, 10.0, 28.0, 15.0), (0.0, 0.0, 2.0, 1.0))
    """
    boxes: dict[Box, None] = {}
    for written, box in stated_boxes(text):
        inside = clipped(box, (height, width))
        if inside is None:
            raise DataError(f"the box {written} (x y width height) lies wholly outside the image "
                            f"of {height} x {width} pixels; correct it")
        boxes[inside] = None
    return tuple(boxes)


def parse_points(text: str) -> tuple[Point, ...]:
    """Read ``"x y; x y"`` in native pixels as ((row, column), ...).

    Examples
    --------
    >>> parse_points("30 10; 5 6.5")
    ((10.0, 30.0), (6.5, 5.0))
    """
    return tuple((y, x) for x, y in _number_groups(text, 2, "x y"))


def boxes_mask(boxes: Sequence[Box], height: int, width: int) -> Mask:
    """Fill boxes: a pixel is in when its centre is, and every box has at least one pixel.

    Examples
    --------
    >>> boxes_mask([(0, 1, 2, 3)], 3, 4).astype(int)
    array([[0, 1, 1, 0],
           [0, 1, 1, 0],
           [0, 0, 0, 0]])
    """
    mask = np.zeros((height, width), dtype=bool)
    for y0, x0, y1, x1 in boxes:
        top, bottom = _pixels_within(y0, y1, height)
        left, right = _pixels_within(x0, x1, width)
        mask[top:bottom, left:right] = True
    return mask


def _pixels_within(low: float, high: float, size: int) -> tuple[int, int]:
    first, end = math.ceil(low - 0.5), math.ceil(high - 0.5)
    if end <= first:
        first = min(int(low), size - 1)
        end = first + 1
    return first, end


def _compressed(runs: list[Any], height: int, width: int) -> str:
    if not all(type(run) is int and run >= 0 for run in runs) or sum(runs) != height * width:
        raise DataError(f"the COCO code's runs do not add up to {height} x {width} pixels")
    code = coco.frPyObjects({"size": [height, width], "counts": runs}, height, width)
    counts: bytes = code["counts"]
    return counts.decode("ascii")


def _number_groups(text: str, length: int, form: str) -> list[list[float]]:
    groups = []
    check_instances(text.count(";"), "boxes" if length == 4 else "points")
    for part in text.split(";"):
        if not part.strip():
            continue
        try:
            numbers = [float(number) for number in _numbers_of(part, length)]
        except ValueError:
            numbers = []
        if len(numbers) != length or not all(math.isfinite(number) for number in numbers):
            raise DataError(f"{_shortened(part.strip())} is not {form!r}, several separated by "
                            "semicolons")
        groups.append(numbers)
    return groups


def _numbers_of(text: str, length: int) -> list[str]:
    """Numbers between blanks, whose commas are decimal, or between commas, also in brackets."""
    plain = text.strip().strip("[]()")
    words = [word.strip(",") for word in plain.split()]
    if len(words) == length:
        return [word.replace(",", ".") if word.count(",") == 1 else word for word in words]
    return [word.strip() for word in plain.split(",")]


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
