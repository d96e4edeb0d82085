"""What became of a map: usable, flat, or not finite."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from saltrust.cache.schema import Status


def map_status(maps: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.uint8]:
    """Judge maps by their values.

    Parameters
    ----------
    maps : ndarray of float, shape (..., y, x)

    Returns
    -------
    ndarray of uint8, shape (...)
        :class:`~saltrust.cache.schema.Status`: NONFINITE where any value is NaN or infinite,
        else FLAT where all are equal, else OK.

    Examples
    --------
    >>> maps = np.array([[[0.0, 1.0]], [[2.0, 2.0]], [[0.0, np.nan]]])
    >>> [Status(code).name for code in map_status(maps)]
    ['OK', 'FLAT', 'NONFINITE']
    """
    finite = np.isfinite(maps).all(axis=(-2, -1))
    flat = (maps == maps[..., :1, :1]).all(axis=(-2, -1))
    status = np.where(flat, Status.FLAT, Status.OK)
    return np.where(finite, status, Status.NONFINITE).astype(np.uint8)
