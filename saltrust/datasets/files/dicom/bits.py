"""Which bits of a pixel are its value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from saltrust.datasets.files.dicom.elements import whole
from saltrust.datasets.files.limits import bands

if TYPE_CHECKING:
    from pydicom import Dataset


def values_of(dataset: Dataset, raw: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Take the stored bits out of the allocated ones, where there is something to take out.

    Bits above BitsStored are cut off where an overlay lies there, and a sign that does not reach
    up is drawn up.  Where values need more bits than stated and HighBit leaves them room, they are
    moved down (files from before 1998); otherwise they stay as they are, more bits and all.

    Returns
    -------
    ndarray, shape and type of ``raw``
    """
    if raw.dtype.kind not in "iu" or not raw.size:
        return raw
    allocated = raw.dtype.itemsize * 8
    stored = _stored(dataset, raw)
    if stored >= allocated:
        return raw
    up = allocated - stored
    signed = raw.dtype.kind == "i"
    unsigned = raw.view(f"u{raw.dtype.itemsize}") if signed else raw
    in_pixels, high = _has_overlay_in_pixels(dataset), whole(dataset, "HighBit")
    top = int(unsigned.max())
    fits = top < 2**stored or (signed and _inside(raw, stored))
    if fits and not (signed and 2 ** (stored - 1) <= top < 2**stored):
        return raw
    down = 0 if fits or high is None or not stored <= high < allocated else high + 1 - stored
    if not (fits or in_pixels or down):
        return raw
    # Up to the sign, then down again.
    values = np.empty_like(raw)
    for rows in bands(raw.shape):
        values[rows] = raw[rows] << (up - down) >> up
    return values


def excess(dataset: Dataset, values: npt.NDArray[Any], shown: npt.NDArray[np.bool_] | None) -> str:
    """What is doubtful where values that are shown need more bits than the header states."""
    kept = values if shown is None else values[shown]
    if kept.dtype.kind not in "iu" or not kept.size:
        return ""
    stored = _stored(dataset, values)
    if _inside(kept, stored):
        return ""
    return (f"its header states {stored} bits for a pixel, but its values go from {kept.min()} to "
            f"{kept.max()}; they are taken as they are stored")


def _stored(dataset: Dataset, values: npt.NDArray[Any]) -> int:
    return whole(dataset, "BitsStored") or values.dtype.itemsize * 8


def _inside(values: npt.NDArray[Any], bits: int) -> bool:
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if values.dtype.kind == "i" else (
        0, 2**bits - 1)
    return low <= int(values.min()) and int(values.max()) <= high


def _has_overlay_in_pixels(dataset: Dataset) -> bool:
    """Whether an overlay is declared without data of its own (retired in 2004)."""
    groups = {tag.group for tag in dataset.keys()  # noqa: SIM118 - iteration is over elements
              if tag.group & 0xFF00 == 0x6000}
    return any((group, 0x3000) not in dataset for group in groups)
