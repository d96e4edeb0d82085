"""Segments of a radiograph at several scales, as XRAI grows its regions from them."""

from __future__ import annotations

import hashlib
import zlib
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from skimage.segmentation import felzenszwalb
from skimage.transform import resize

#: Scales of the segmentation, and the side to which images are brought for it.
SCALES = (50, 100, 150, 250, 500, 1200)
SIDE = 224
_SIGMA = 0.8
_SMALLEST = 150
#: By how many pixels segments are widened, so that edges lie within them.
RADIUS = 5

Labels = npt.NDArray[np.uint16]
Pixels = npt.NDArray[np.int32]


def segment(gray: npt.NDArray[np.float64]) -> Labels:
    """Segment a radiograph by Felzenszwalb's and Huttenlocher's method at six scales.

    As in the authors' implementation of XRAI, of an image of three equal channels: gray values
    are stretched to [-1, 1], the image is brought to 224 x 224 by cubic interpolation, and
    segmented at scales 50, 100, 150, 250, 500 and 1200 with sigma 0.8 and at least 150 pixels
    per segment.

    Parameters
    ----------
    gray : ndarray of float64, shape (H, W)
        In any unit.

    Returns
    -------
    ndarray of uint16, shape (6, 224, 224)
        Labels from 0.  A uniform image is one segment.
    """
    low, high = gray.min(), gray.max()
    if not low < high:
        return np.zeros((len(SCALES), SIDE, SIDE), dtype=np.uint16)
    small = resize(  # type: ignore[no-untyped-call]
        (gray - low) / (high - low) * 2 - 1, (SIDE, SIDE), order=3, mode="constant",
        preserve_range=True, anti_aliasing=True)
    channels = np.repeat(small[..., None], 3, axis=2)
    return np.stack([
        felzenszwalb(channels, scale=scale, sigma=_SIGMA, min_size=_SMALLEST)
        for scale in SCALES]).astype(np.uint16)


def segment_masks(labels: Labels, size: tuple[int, int]) -> list[Pixels]:
    """Bring segments to the size of the image and widen them.

    Parameters
    ----------
    labels : ndarray of uint16, shape (scales, 224, 224)
    size : (int, int)
        Height and width of the image.

    Returns
    -------
    list of ndarray of int32
        Flat positions of the pixels of each segment, ascending: scale by scale, by label.  A
        segment is dilated by a disk of radius 5.  Labels that get lost on the way are left out.
    """
    masks = []
    for scale in labels:
        whole = resized(scale, size)
        for label, (top, bottom, left, right) in _boxes(whole):
            box = (slice(max(0, top - RADIUS), bottom + RADIUS),
                   slice(max(0, left - RADIUS), right + RADIUS))
            y, x = np.nonzero(_dilate(whole[box] == label))
            flat = (y + box[0].start) * size[1] + (x + box[1].start)
            masks.append(flat.astype(np.int32))
    return masks


def resized(labels: Labels, size: tuple[int, int]) -> Labels:
    """Labels (224, 224) of one scale at another size, each from the nearest pixel."""
    rows, columns = (_nearest(length) for length in size)
    return labels[rows[:, None], columns]


@lru_cache(maxsize=8)
def _nearest(length: int) -> npt.NDArray[np.intp]:
    """Which of 224 rows each of `length` rows is taken from, as skimage's resize takes them."""
    ramp = np.arange(SIDE, dtype=np.float64)[:, None]
    rows: npt.NDArray[np.float64] = resize(  # type: ignore[no-untyped-call]
        ramp, (length, 1), order=0, mode="constant", preserve_range=True, anti_aliasing=False)
    return rows[:, 0].astype(np.intp)


def _boxes(labels: Labels) -> list[tuple[int, tuple[int, int, int, int]]]:
    """Bounding box (top, bottom, left, right; ends excluded) of each label that occurs."""
    n_labels = int(labels.max()) + 1
    height, width = labels.shape
    occurs = np.zeros((n_labels, height), dtype=bool)
    occurs[labels, np.arange(height)[:, None]] = True
    across = np.zeros((n_labels, width), dtype=bool)
    across[labels, np.arange(width)] = True
    return [
        (label, (*_extent(occurs[label]), *_extent(across[label])))
        for label in range(n_labels) if occurs[label].any()
    ]


def _extent(line: npt.NDArray[np.bool_]) -> tuple[int, int]:
    first = int(line.argmax())
    return first, len(line) - int(line[::-1].argmax())


def _dilate(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Dilate by the disk of radius 5: x^2 + y^2 <= 25.

    The disk is a stack of lines, 11 pixels wide in the middle row, 9 in the three rows above
    and below it, 7 in the fourth and 1 in the fifth; wider lines are made from narrower ones.
    """
    height, width = mask.shape
    padded = np.zeros((height + 2 * RADIUS, width + 2 * RADIUS), dtype=bool)
    padded[RADIUS:-RADIUS, RADIUS:-RADIUS] = mask
    line = {0: padded}
    for half in range(1, RADIUS + 1):
        wider = line[half - 1].copy()
        wider[:, :-half] |= padded[:, half:]
        wider[:, half:] |= padded[:, :-half]
        line[half] = wider
    result = line[RADIUS][RADIUS:-RADIUS, RADIUS:-RADIUS].copy()
    for offset in range(1, RADIUS + 1):
        half = int((RADIUS**2 - offset**2) ** 0.5)
        for start in (RADIUS - offset, RADIUS + offset):
            result |= line[half][start:start + height, RADIUS:-RADIUS]
    return result


class SegmentStore:
    """Segments of the images of a job, each found once for all models and stages.

    Labels are kept compressed, some 15 kB per image.  What exceeds the budget is found anew
    each time it is asked for: every image is asked for once per model, so that making room by
    dropping another would never pay.

    Parameters
    ----------
    budget : int
        Bytes.
    """

    def __init__(self, budget: int = 2**28) -> None:
        self._budget = budget
        self._labels: dict[bytes, bytes] = {}

    def masks(self, gray: npt.NDArray[np.float64]) -> list[Pixels]:
        """The widened segments of a radiograph (H, W), as :func:`segment_masks` gives them."""
        height, width = gray.shape
        return segment_masks(self.labels(gray), (height, width))

    def labels(self, gray: npt.NDArray[np.float64]) -> Labels:
        """The segments of a radiograph (H, W), as :func:`segment` gives them."""
        key = hashlib.blake2b(np.ascontiguousarray(gray).tobytes(), digest_size=16,
                              person=f"{gray.shape[0]}x{gray.shape[1]}".encode()).digest()
        if key in self._labels:
            flat = np.frombuffer(zlib.decompress(self._labels[key]), dtype=np.uint16)
            return flat.reshape(len(SCALES), SIDE, SIDE)
        labels = segment(gray)
        packed = zlib.compress(labels.tobytes(), level=1)
        if len(packed) <= self._budget:
            self._budget -= len(packed)
            self._labels[key] = packed
        return labels
