"""Descriptors kept in ``/scores`` of the store, so that masks are measured once.

A mask is known by its labels and by a digest of what was drawn: one that was changed in memory,
or in the store, is measured anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from saltrust.cache.scores import read_scores, scores_key, write_scores

TOPIC = "descriptors"
#: Raised when the same mask would have other descriptors.
DESCRIPTORS_VERSION = 1
_NAMES = ["image", "finding", "reader"]
_CONTENT = ["mask_digest", "n_polygons"]

Measure = Callable[[npt.NDArray[np.intp]], pd.DataFrame]


def keep_masks(cubes: xr.DataTree, masks: pd.DataFrame, made_from: Mapping[str, Any],
               measure: Measure, *, keep: bool) -> pd.DataFrame:
    """Descriptors of masks: those kept where they are of the same drawing, the others measured.

    Parameters
    ----------
    cubes : xarray.DataTree
    masks : pandas.DataFrame
        Columns ``image, finding, reader, mask_digest, n_polygons``, one row per mask.
    made_from : mapping
        What descriptors depend on besides the mask, as JSON values.
    measure : callable
        Rows of ``masks`` to their descriptors, one column each.
    keep : bool
        Whether to look up and to keep; without a store that can be written to, nothing is kept.

    Returns
    -------
    pandas.DataFrame
        Of float64, one row per mask in the order of ``masks``.
    """
    source = cubes.attrs.get("source") if keep else None
    facts = {"version": DESCRIPTORS_VERSION, **made_from}
    key = scores_key({str(name): value for name, value in cubes.attrs.items()}, facts)
    kept = read_scores(source, TOPIC, key) if source else None
    stored = _frame(kept) if kept is not None else None
    rows = np.full(len(masks), -1)
    if stored is not None:
        rows = pd.MultiIndex.from_frame(stored[_NAMES]).get_indexer(
            pd.MultiIndex.from_frame(masks[_NAMES]))
        same = (stored[_CONTENT].to_numpy()[rows] == masks[_CONTENT].to_numpy()).all(axis=1)
        known = (rows >= 0) & same
    else:
        known = np.zeros(len(masks), dtype=bool)
    columns: list[str]
    if known.all() and stored is not None:
        columns = [str(name) for name in stored if name not in (*_NAMES, *_CONTENT)]
        return stored[columns].iloc[rows].reset_index(drop=True)
    measured = measure(np.flatnonzero(~known))
    columns = [str(name) for name in measured]
    values = np.full((len(masks), len(columns)), np.nan)
    values[~known] = measured.to_numpy(dtype=np.float64)
    if stored is not None:
        values[known] = stored[columns].to_numpy()[rows[known]]
    table = pd.DataFrame(values, columns=columns)
    if source:
        # What is kept of another drawing under these labels stays: the store's own may be meant.
        fresh = pd.concat([masks[[*_NAMES, *_CONTENT]], table], axis=1)[rows < 0]
        write_scores(source, TOPIC, key, _dataset(
            fresh if stored is None else pd.concat([stored, fresh], ignore_index=True)), facts)
    return table


def _frame(kept: xr.Dataset) -> pd.DataFrame:
    return pd.DataFrame({str(name): array.values for name, array in kept.data_vars.items()}
                        ).astype(dict.fromkeys(_NAMES, object))


def _dataset(table: pd.DataFrame) -> xr.Dataset:
    return xr.Dataset({str(name): ("mask", table[name].to_numpy()) for name in table})
