"""What is measured of drawings, kept in ``/scores`` of the store so that it is measured once.

A row is known by its labels and by digests of what was drawn: a mask that was changed in memory,
or in the store, is measured anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from saltrust.cache.scores import ScoreStore

Values = dict[str, npt.NDArray[Any]]
Measure = Callable[[npt.NDArray[np.intp]], Values]


@dataclass(frozen=True)
class Topic:
    """What is kept, under which name, and what it is made from.

    Attributes
    ----------
    name : str
        Of the group under ``/scores``.
    version : int
        Raised when the same drawing would have other values.
    labels : tuple of str
        Columns that name a row.
    content : tuple of str
        Columns of digests, which tell whether a kept row is of the same drawing.
    """

    name: str
    version: int
    labels: tuple[str, ...]
    content: tuple[str, ...]


def keep_rows(store: ScoreStore | None, topic: Topic, rows: pd.DataFrame,
              made_from: Mapping[str, Any], measure: Measure) -> Values:
    """Values of rows: those kept where they are of the same drawing, the others measured.

    Parameters
    ----------
    store : ScoreStore or None
        None: nothing is looked up or kept.
    topic : Topic
    rows : pandas.DataFrame
        The columns of the topic, one row per drawing.
    made_from : mapping
        What values depend on besides the drawing, as JSON values.
    measure : callable
        Positions among the rows to values, one array of shape (positions, ...) per name.

    Returns
    -------
    dict of str to ndarray
        One array of shape (rows, ...) per name.
    """
    facts = {"version": topic.version, **made_from}
    kept = store.read(topic.name, facts) if store is not None else None
    place, same = _places(kept, rows, topic)
    if kept is not None and same.all():
        return {name: values[place] for name, values in _values(kept, topic).items()}
    values = measure(np.flatnonzero(~same))
    if kept is not None:
        stored = _values(kept, topic)
        values = {name: _merged(stored[name][place[same]], part, same)
                  for name, part in values.items()}
    if store is not None:
        # What is kept of another drawing under these labels stays: the store's own may be meant.
        fresh = place < 0
        parts = {**{name: rows[name].to_numpy()[fresh] for name in (*topic.labels,
                                                                    *topic.content)},
                 **{name: part[fresh] for name, part in values.items()}}
        store.write(topic.name, facts, _dataset(parts, kept))
    return values


def _places(kept: xr.Dataset | None, rows: pd.DataFrame, topic: Topic
            ) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Place of every row among the kept ones, -1 for none, and whether the drawing is the same."""
    if kept is None:
        return np.full(len(rows), -1), np.zeros(len(rows), dtype=bool)
    index = pd.MultiIndex.from_arrays([kept[name].values.astype(object)
                                       for name in topic.labels])
    place = index.get_indexer(pd.MultiIndex.from_frame(rows[list(topic.labels)]))
    same = place >= 0
    for name in topic.content:
        same &= kept[name].values[place] == rows[name].to_numpy()
    return place, same


def _values(kept: xr.Dataset, topic: Topic) -> Values:
    return {str(name): array.values for name, array in kept.data_vars.items()
            if name not in (*topic.labels, *topic.content)}


def _merged(stored: npt.NDArray[Any], measured: npt.NDArray[Any], same: npt.NDArray[np.bool_]
            ) -> npt.NDArray[Any]:
    merged = np.empty((len(same), *measured.shape[1:]), dtype=measured.dtype)
    merged[same], merged[~same] = stored, measured
    return merged


def _dataset(parts: Mapping[str, npt.NDArray[Any]], kept: xr.Dataset | None) -> xr.Dataset:
    """What was kept, and after it what is new."""
    def dims(array: npt.NDArray[Any], name: str) -> Sequence[str]:
        return ("row", *(f"{name}_{axis}" for axis in range(1, array.ndim)))

    return xr.Dataset({name: (dims(part, name), part if kept is None else np.concatenate(
        [kept[name].values.astype(part.dtype), part])) for name, part in parts.items()})
