"""Pixels that are padding: one value or a range, in whatever sign the header writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from saltrust.datasets.files.dicom.elements import decimals, whole
from saltrust.datasets.files.limits import bands

if TYPE_CHECKING:
    from pydicom import Dataset

_WORD = 2**16


def shown_pixels(dataset: Dataset, stored: npt.NDArray[Any],
                 ) -> tuple[npt.NDArray[np.bool_] | None, str]:
    """Where pixels are no padding (PS3.3 C.7.5.1.1.2), and what is doubtful about it.

    A value is compared in the sign of the pixels: 63536 written unsigned is -2000.  A range goes
    from PixelPaddingValue to PixelPaddingRangeLimit in either order, both included.  Padding that
    would leave one value of several is not believed.

    Parameters
    ----------
    dataset : Dataset
    stored : ndarray, shape (rows, columns)
        With their sign.

    Returns
    -------
    ndarray of bool, shape (rows, columns), or None
        None where nothing is padding.
    str
        Empty where nothing is doubtful.
    """
    ends = _ends(dataset, stored)
    ranges = [ends, ends[:1]] if len(ends) == 2 else [ends]
    for number, stated in enumerate([each for each in ranges if each]):
        low, high = min(stated), max(stated)
        shown = np.empty(stored.shape, dtype=bool)
        for rows in bands(stored.shape):
            shown[rows] = (stored[rows] < low) | (stored[rows] > high)
        if shown.all():
            return None, ""
        left = stored[shown]
        if (left.size and left.min() < left.max()) or stored.min() == stored.max():
            return shown, _doubt(ends) if number else ""
    return None, _doubt(ends) if ends else ""


def _doubt(ends: list[float]) -> str:
    values = " to ".join(f"{end:g}" for end in ends)
    return f"its padding {values} would leave no image, so it is not taken for padding"


def _ends(dataset: Dataset, stored: npt.NDArray[Any]) -> list[float]:
    """The padding value and the limit of a range as pixels have them, without what none can be."""
    if stored.dtype.kind == "f":
        prefix = "Double" if "DoubleFloatPixelPaddingValue" in dataset else ""
        names = (f"{prefix}FloatPixelPaddingValue", f"{prefix}FloatPixelPaddingRangeLimit")
        stated = [decimals(dataset, name)[:1] for name in names]
        return [end[0] for end in stated if end] if stated[0] else []
    value, limit = (whole(dataset, f"PixelPadding{name}") for name in ("Value", "RangeLimit"))
    if value is None:
        return []
    bits = whole(dataset, "BitsStored") or stored.dtype.itemsize * 8
    ends = [_in_sign(end, stored, bits) for end in (value, limit) if end is not None]
    if ends[0] is None:
        return []
    return [end for end in ends if end is not None]


def _in_sign(value: int, stored: npt.NDArray[Any], bits: int) -> int | None:
    limits = np.iinfo(stored.dtype)
    if limits.min < 0:
        turned = [value, value - _WORD, value - 2**bits]
    else:
        turned = [value + int(limits.max) + 1 if value < 0 else value]
    inside = [each for each in turned if limits.min <= each <= limits.max]
    if len(inside) > 1:
        inside.sort(key=lambda each: not (stored == each).any())
    return inside[0] if inside else None
