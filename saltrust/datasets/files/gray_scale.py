"""Values to gray of 0..255: stretching, windows, luma."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit

#: ITU-R 601-2, as Pillow has it.
LUMA = np.array([0.299, 0.587, 0.114])


def stretch(values: npt.NDArray[Any], low: float | None = None, high: float | None = None,
            ) -> npt.NDArray[np.uint8]:
    """Map ``low``..``high`` (by default the minimum and the maximum) linearly to 0..255.

    Values outside are clipped; where all are equal the result is 0.

    Examples
    --------
    >>> stretch(np.array([[0, 1000, 4000]]))
    array([[  0,  64, 255]], dtype=uint8)
    """
    bottom = float(values.min()) if low is None else low
    top = float(values.max()) if high is None else high
    if not top > bottom:
        return np.zeros(values.shape, dtype=np.uint8)
    unit = (np.clip(values.astype(np.float64), bottom, top) - bottom) / (top - bottom)
    return np.rint(unit * 255).astype(np.uint8)


def window(values: npt.NDArray[np.float64], center: float, width: float,
           function: str = "LINEAR") -> npt.NDArray[np.float64]:
    """Apply a VOI window: gray in 0..1 (DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3).

    Examples
    --------
    >>> window(np.array([0.0, 50.0, 100.0]), center=50.5, width=101)
    array([0. , 0.5, 1. ])
    """
    if function == "SIGMOID":
        return np.asarray(expit(4 * (values - center) / width))
    if function == "LINEAR_EXACT":
        return np.clip((values - center) / width + 0.5, 0, 1)
    if width <= 1:
        return (values > center - 0.5).astype(np.float64)
    return np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1)
