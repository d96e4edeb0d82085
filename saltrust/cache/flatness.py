"""Whether a map is the same everywhere, but for rounding."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

#: Steps of float32 at the largest value within which a map counts as constant: what is computed in
#: another order, or interpolated between equal values, differs by a few.
ROUNDING = 16 * float(np.finfo(np.float32).eps)


def is_flat(low: npt.ArrayLike, high: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Judge maps by their smallest and largest values.

    Parameters
    ----------
    low, high : array_like of float
        Finite, of the same shape.

    Returns
    -------
    ndarray of bool, of that shape
        True where ``high - low`` is at most 16 steps of float32 (2e-6) at the larger of their
        magnitudes.

    Examples
    --------
    >>> is_flat([0.0, 1.0, 0.0], [0.0, 1.0000002, 1e-30])
    array([ True,  True, False])
    """
    lowest, highest = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
    largest = np.maximum(np.abs(lowest), np.abs(highest))
    return np.asarray(highest - lowest <= ROUNDING * largest)
