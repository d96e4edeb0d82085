"""What localizers learn from: reference masks and boxes on the grid, in memory."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from tqdm import tqdm

from saltrust.cache import rle
from saltrust.cache.bad_files import BadFiles
from saltrust.cache.collection import Annotation, Collection
from saltrust.cache.grid import mask_to_grid
from saltrust.cache.reference import native_size
from saltrust.cache.schema import Label
from saltrust.choices import OnError
from saltrust.errors import DataError
from saltrust.training.data.images import LabeledImages

#: Pixels that touch at a corner belong to one component.
_EIGHT = np.ones((3, 3), dtype=int)
#: By how much a box may leave its image, in native pixels: coordinates are often rounded.
_TOLERANCE = 1.0

Boxes = npt.NDArray[np.float32]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AnnotatedImages:
    """Reference annotations of images in memory, the union over reference readers.

    Attributes
    ----------
    images : LabeledImages
    known : ndarray of bool, shape (N, F)
        Where it is known which pixels show the finding: a reader annotated it, or the label is
        negative and no pixel does.  A mask without a pixel under a positive label says nothing.
    positive : ndarray of bool, shape (N, F)
        Where the known mask has a pixel.
    packed : ndarray of uint8, shape (N, F, ceil(H * W / 8))
        Masks, eight pixels to the byte (:func:`numpy.packbits`).
    boxes : tuple of (ndarray of float32, ndarray of int64)
        Per image its boxes, shape (n, 4), as y0, x0, y1, x1 in pixels of the grid, and the
        columns of their findings, shape (n,).  As drawn, where a reference reader drew boxes,
        else around the 8-connected components of the mask.
    """

    images: LabeledImages
    known: npt.NDArray[np.bool_]
    positive: npt.NDArray[np.bool_]
    packed: npt.NDArray[np.uint8]
    boxes: tuple[tuple[Boxes, npt.NDArray[np.int64]], ...]

    def masks(self, rows: npt.NDArray[np.intp], columns: Sequence[int]) -> npt.NDArray[np.bool_]:
        """Masks of some images and findings, shape (len(rows), len(columns), H, W)."""
        _, height, width = self.images.pixels.shape
        packed = self.packed[rows][:, list(columns)]
        bits = np.unpackbits(packed, axis=-1, count=height * width)
        return bits.reshape(*packed.shape[:2], height, width).astype(bool)


def read_annotations(collection: Collection, images: LabeledImages, *,
                     on_error: OnError = "stop", progress: bool = True) -> AnnotatedImages:
    """Bring all reference annotations of decoded images onto their grid.

    Parameters
    ----------
    collection : Collection
    images : LabeledImages
        Decoded from it.
    on_error : {'stop', 'skip'}
        Whether annotations that cannot be read are an error, once all of them are known, or leave
        it unknown where the findings of their image are.
    progress : bool
        Show a bar on stderr.

    Raises
    ------
    DataError
        If there is no reference reader, a mask does not fit the native size of its image, or a
        box leaves its image or has no extent; the message names image and finding.
    """
    readers = reference_readers(collection)
    n, height, width = images.pixels.shape
    shape = (n, len(images.findings))
    known = images.labels == Label.NEGATIVE
    positive = np.zeros(shape, bool)
    packed = np.zeros((*shape, -(-height * width // 8)), np.uint8)
    boxes = []
    position = {str(name): k for k, name in enumerate(collection.index["image"].values)}
    bar = tqdm(images.names, desc="reading annotations", unit="image",
               disable=None if progress else True)
    bad = BadFiles(on_error)
    for row, name in enumerate(bar):
        drawn: dict[tuple[str, str], Annotation] = {}
        size = (height, width)
        with bad.collecting(name):
            drawn = {pair: item for pair, item in collection.annotations(name).items()
                     if pair[1] in readers}
            size = native_size(collection, name, position[name]) if drawn else size
        if name in bad.reasons:
            known[row] = False
        of_image: list[tuple[Boxes, npt.NDArray[np.int64]]] = []
        for column, finding in enumerate(images.findings):
            label = images.labels[row, column]
            of_finding = {reader: item for (which, reader), item in drawn.items()
                          if which == finding}
            if not of_finding or label == Label.NEGATIVE:
                continue
            where = f"{name}, {finding}"
            mask = _union(of_finding, size, (height, width), where)
            known[row, column] = mask.any() or label != Label.POSITIVE
            positive[row, column] = mask.any()
            packed[row, column] = np.packbits(mask)
            around = _boxes(of_finding, mask, size, where)
            of_image.append((around, np.full(len(around), column, np.int64)))
        boxes.append((np.concatenate([b for b, _ in of_image] or [np.zeros((0, 4), np.float32)]),
                      np.concatenate([c for _, c in of_image] or [np.zeros(0, np.int64)])))
    sentence = bad.settle(n, "annotations of images")
    if sentence:
        _log.warning("%s", sentence)
    return AnnotatedImages(images, known, positive, packed, tuple(boxes))


def reference_readers(collection: Collection) -> frozenset[str]:
    """Names of the readers whose annotations are the reference.

    Raises
    ------
    DataError
        If there is none.
    """
    index = collection.index
    names: list[str] = []
    if "reader" in index.coords:
        names = [str(reader) for reader, role in
                 zip(index["reader"].values, index["reader_role"].values, strict=True)
                 if str(role) == "reference"]
    if not names:
        raise DataError("the data set has no reference masks or boxes, from which alone a "
                        "localizer can learn; give one that has them, such as a manifest with a "
                        "column mask:FINDING or boxes:FINDING, or leave [[localizers]] out")
    return frozenset(names)


def _union(drawn: Mapping[str, Annotation], native: tuple[int, int], grid: tuple[int, int],
           where: str) -> npt.NDArray[np.bool_]:
    union = np.zeros(native, bool)
    for reader, item in drawn.items():
        try:
            union |= rle.decode(item.mask_rle, *native)
        except DataError as error:
            raise DataError(f"{where}, reader {reader}: {error}") from None
    return mask_to_grid(union, grid)


def _boxes(drawn: Mapping[str, Annotation], mask: npt.NDArray[np.bool_],
           native: tuple[int, int], where: str) -> Boxes:
    stated = [box for item in drawn.values() for box in item.boxes]
    if not stated:
        return boxes_around(mask)
    boxes = np.array(stated, np.float64)
    size = np.array([*native, *native], np.float64)
    for box in boxes:
        y0, x0, y1, x1 = box
        if not (y0 < y1 and x0 < x1):
            raise DataError(f"{where}: the box y {y0:g} to {y1:g}, x {x0:g} to {x1:g} has no "
                            "extent; correct or remove it")
        if (box < -_TOLERANCE).any() or (box > size + _TOLERANCE).any():
            raise DataError(f"{where}: the box y {y0:g} to {y1:g}, x {x0:g} to {x1:g} leaves the "
                            f"image of {native[0]} x {native[1]} pixels; correct it, or the size "
                            "that the data state")
    on_grid: Boxes = (np.clip(boxes, 0, size) / size
                      * np.array([*mask.shape, *mask.shape])).astype(np.float32)
    return on_grid


def boxes_around(mask: npt.NDArray[np.bool_]) -> Boxes:
    """Boxes around the 8-connected components of a mask.

    Returns
    -------
    ndarray of float32, shape (n, 4)
        y0, x0, y1, x1, the far edges exclusive, in the order of their first pixels.

    Examples
    --------
    >>> boxes_around(np.array([[1, 0, 0, 1], [0, 1, 0, 1]], bool)).tolist()
    [[0.0, 0.0, 2.0, 2.0], [0.0, 3.0, 2.0, 4.0]]
    """
    components, _ = ndimage.label(mask, _EIGHT)
    boxes = [(rows.start, columns.start, rows.stop, columns.stop)
             for rows, columns in ndimage.find_objects(components)]
    rectangles: Boxes = np.array(boxes, np.float32).reshape(-1, 4)
    return rectangles
