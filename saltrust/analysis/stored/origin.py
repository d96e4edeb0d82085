"""Whether a variable of the cubes is still what the store holds, and which part of it.

What is kept of a store's maps says nothing of maps that somebody changed in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from xarray.core import indexing

from saltrust.cache.scores import ScoreStore


def store_positions(array: xr.DataArray, store: ScoreStore, name: str, dims: Sequence[str]
                    ) -> dict[str, npt.NDArray[np.intp]] | None:
    """Which positions of a stored array a lazy variable would read.

    Parameters
    ----------
    array : xarray.DataArray
        A variable of opened cubes, after any selection.
    store : ScoreStore
        That the cubes were opened from.
    name : str
        Path of the array in the store, such as ``saliency/heatmap``.
    dims : sequence of str
        Dimensions of the stored array, in order.

    Returns
    -------
    dict of str to ndarray of int, or None
        By dimension, one where a single label was selected.  None where the values were computed,
        are in memory or under Dask, or are of another array: then only the values themselves
        can be trusted.

    Notes
    -----
    xarray has no public question for this.  What is not recognized, in a version to come too, is
    None: nothing is looked up, and the numbers are right.
    """
    data: Any = array.variable._data
    while isinstance(data, indexing.MemoryCachedArray | indexing.CopyOnWriteArray):
        data = data.array
    if type(data) is not indexing.LazilyIndexedArray:
        return None
    stored = getattr(data.array, "_array", None)
    root = getattr(getattr(stored, "store", None), "root", None)
    if stored is None or root is None or Path(root).resolve() != store.source.resolve():
        return None
    if str(stored.path).strip("/") != name or len(dims) != len(stored.shape):
        return None
    positions = {}
    for dim, size, key in zip(dims, stored.shape, data.key.tuple, strict=True):
        every = np.arange(size)
        chosen = every[key if isinstance(key, slice) else np.atleast_1d(np.asarray(key))]
        positions[dim] = chosen
    return positions
