"""Masks as compressed COCO run-length codes, the form in which native-size masks are kept.

The code itself is pycocotools'; here are its exact conventions (column-major runs, counts as
ASCII text) and errors that say what is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco

from saltrust.errors import DataError

Mask = npt.NDArray[np.bool_]


def encode(mask: npt.NDArray[Any]) -> str:
    """Encode a mask.

    Parameters
    ----------
    mask : ndarray of bool or 0/1, shape (height, width)

    Returns
    -------
    str
        Counts of the compressed COCO code; an empty mask has a code of its own.

    Examples
    --------
    >>> decode(encode(np.eye(3, dtype=bool)), 3, 3).astype(int)
    array([[1, 0, 0],
           [0, 1, 0],
           [0, 0, 1]])
    """
    if mask.ndim != 2:
        raise DataError(f"a mask must have the shape (height, width), not {mask.shape}")
    code = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
    counts: bytes = code["counts"]
    return counts.decode("ascii")


def decode(counts: str, height: int, width: int) -> Mask:
    """Decode a mask of known size.

    Returns
    -------
    ndarray of bool, shape (height, width)

    Raises
    ------
    DataError
        If the runs do not add up to ``height * width`` pixels.
    """
    # Not coco.decode, which warns under NumPy 2; the code is already taken apart to check it.
    runs = checked_run_lengths(counts, height, width)
    inside = np.arange(len(runs)) % 2 == 1
    return np.repeat(inside, runs).reshape(width, height).T


def area(counts: str, height: int, width: int) -> int:
    """Count the pixels of a mask without decoding it."""
    return int(checked_run_lengths(counts, height, width)[1::2].sum())


def run_lengths(counts: str) -> npt.NDArray[np.int64]:
    """Return the runs of a code: background first, then in turn, in column-major order.

    The compressed form is a base-48 varint of five payload bits a character; from the third
    run on, it holds the difference from the run before the last (the COCO API's format).

    Examples
    --------
    >>> run_lengths(encode(np.array([[0, 1], [1, 1]])))
    array([1, 3])
    """
    characters = np.frombuffer(counts.encode("ascii"), dtype=np.uint8).astype(np.int64) - 48
    if ((characters < 0) | (characters > 63)).any():
        raise DataError("the run-length code holds a character that is not part of the "
                        "compressed COCO code")
    if not len(characters):
        return np.zeros(0, dtype=np.int64)
    last = np.flatnonzero(characters & 0x20 == 0)
    if not len(last) or last[-1] != len(characters) - 1:
        raise DataError("the run-length code ends in the middle of a number; it is truncated")
    starts = np.concatenate([[0], last[:-1] + 1])
    lengths = last - starts + 1
    if lengths.max() > 12:
        raise DataError("the run-length code holds a number that is too large; it is damaged")
    places = np.arange(len(characters)) - np.repeat(starts, lengths)
    values = np.add.reduceat((characters & 0x1F) << (5 * places), starts)
    negative = characters[last] & 0x10 != 0
    values[negative] -= np.int64(1) << (5 * lengths[negative])
    runs = values.copy()
    runs[1::2] = np.cumsum(values[1::2])
    runs[2::2] = np.cumsum(values[2::2])
    return runs


def intersection_over_union(first: Sequence[str], second: Sequence[str], height: int,
                            width: int) -> npt.NDArray[np.float64]:
    """IoU of every mask of ``first`` with every mask of ``second``, in run-length space.

    Returns
    -------
    ndarray of float64, shape (len(first), len(second))
        Two empty masks give 0.
    """
    if not first or not second:
        return np.zeros((len(first), len(second)))
    return np.asarray(coco.iou(
        [_code(counts, height, width) for counts in first],
        [_code(counts, height, width) for counts in second],
        [0] * len(second),
    ), dtype=np.float64)


def _code(counts: str, height: int, width: int) -> dict[str, Any]:
    checked_run_lengths(counts, height, width)
    return {"size": [height, width], "counts": counts.encode("ascii")}


def checked_run_lengths(counts: str, height: int, width: int) -> npt.NDArray[np.int64]:
    """Return the runs of a code (:func:`run_lengths`) that is known to fit its mask.

    Raises
    ------
    DataError
        If the code is damaged or covers another number of pixels.
    """
    # pycocotools trusts its input with memory, so a code of the wrong length is caught here.
    try:
        runs = run_lengths(counts)
    except UnicodeEncodeError:
        raise DataError("the run-length code holds characters outside ASCII") from None
    # No run is longer than the mask, or sums would wrap around to what is right.
    size = height * width
    if (runs < 0).any():
        raise DataError("the run-length code holds a run of a negative number of pixels; it is "
                        "damaged")
    if (runs > size).any() or int(runs.sum()) != size:
        raise DataError(
            f"the run-length code covers {sum(runs.tolist())} pixels but the mask should have "
            f"{height} x {width} = {height * width}; check the image's native size")
    return runs
