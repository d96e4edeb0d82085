"""Overlap of two masks: intersection over union and Dice, and which pairs count."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from saltrust.choices import IouSlice
from saltrust.errors import UsageError, nearest

#: Which pairs of masks have an intersection over union, and what these are in words.
IOU_SLICES: dict[IouSlice, str] = {
    "positive": "reference mask not empty; an empty prediction counts 0",
    "all": "all but true negatives (both masks empty); a false positive counts 0",
    "both_nonempty": "reference and predicted mask not empty",
}


def check_slice(iou_slice: str) -> None:
    """Refuse an unknown slice with a UsageError."""
    if iou_slice not in IOU_SLICES:
        raise UsageError(f"slice {iou_slice!r} is not known; {nearest(iou_slice, IOU_SLICES)}")


def intersection_over_union(predicted: npt.NDArray[Any], reference: npt.NDArray[Any],
                            iou_slice: IouSlice = "positive") -> float:
    """Intersection over union (Jaccard index) of two masks.

    Parameters
    ----------
    predicted, reference : ndarray of bool or 0/1, shape (height, width)
    iou_slice : {"positive", "all", "both_nonempty"}
        Which pairs have a value.  ``"positive"``: where the reference is not empty; an empty
        prediction counts 0.  ``"all"``: where one of them is not empty.  ``"both_nonempty"``:
        where both are not.

    Returns
    -------
    float
        Between 0 and 1; NaN outside the slice.

    Raises
    ------
    UsageError
        If the shapes differ or the slice is unknown.

    References
    ----------
    P. Jaccard (1912), New Phytol. 11, 37-50.

    Examples
    --------
    >>> intersection_over_union(np.array([[1, 1, 0]]), np.array([[0, 1, 1]]))
    0.3333333333333333
    """
    check_slice(iou_slice)
    counts = _counts(predicted, reference)
    return iou_of_counts(*counts, iou_slice)


def dice(predicted: npt.NDArray[Any], reference: npt.NDArray[Any]) -> float:
    """Dice coefficient of two masks.

    Returns
    -------
    float
        Twice the intersection over the sum of the areas; NaN where both masks are empty.

    Raises
    ------
    UsageError
        If the shapes differ.

    References
    ----------
    L. R. Dice (1945), Ecology 26, 297-302.

    Examples
    --------
    >>> dice(np.array([[1, 1, 0]]), np.array([[0, 1, 1]]))
    0.5
    """
    intersection, first, second = _counts(predicted, reference)
    if first + second == 0:
        return float("nan")
    return 2 * intersection / (first + second)


def iou_of_counts(intersection: int, predicted: int, reference: int,
                  iou_slice: IouSlice) -> float:
    """Intersection over union from numbers of pixels (see :func:`intersection_over_union`)."""
    if iou_slice == "all":
        inside = predicted > 0 or reference > 0
    elif iou_slice == "both_nonempty":
        inside = predicted > 0 and reference > 0
    else:
        inside = reference > 0
    if not inside:
        return float("nan")
    return intersection / (predicted + reference - intersection)


def _counts(predicted: npt.NDArray[Any], reference: npt.NDArray[Any]) -> tuple[int, int, int]:
    first, second = np.asarray(predicted, dtype=bool), np.asarray(reference, dtype=bool)
    if first.shape != second.shape:
        raise UsageError(f"masks of {first.shape} and {second.shape} pixels cannot be compared; "
                         "bring them to one size")
    return (int(np.count_nonzero(first & second)), int(np.count_nonzero(first)),
            int(np.count_nonzero(second)))


def iou_array(shared: npt.ArrayLike, predicted: npt.ArrayLike, reference: npt.ArrayLike,
              iou_slice: IouSlice) -> npt.NDArray[np.float64]:
    """Intersection over union of many pairs of masks from their numbers of pixels.

    Parameters
    ----------
    shared, predicted, reference : array_like of float
        Numbers of pixels, broadcast against each other; NaN in ``reference`` where there is no
        annotation.
    iou_slice : {"positive", "all", "both_nonempty"}

    Returns
    -------
    ndarray of float64
        NaN outside the slice.

    Examples
    --------
    >>> iou_array([2, 0, 0], [4, 3, 0], [2, 0, 0], "all")
    array([0.5, 0. , nan])
    """
    check_slice(iou_slice)
    shared, predicted, reference = (np.asarray(part, dtype=np.float64)
                                    for part in (shared, predicted, reference))
    inside = {"positive": reference > 0,
              "all": (reference > 0) | ((reference == 0) & (predicted > 0)),
              "both_nonempty": (reference > 0) & (predicted > 0)}[iou_slice]
    union = predicted + reference - shared
    return np.divide(shared, union, out=np.full(np.broadcast_shapes(
        union.shape, inside.shape), np.nan), where=inside)
