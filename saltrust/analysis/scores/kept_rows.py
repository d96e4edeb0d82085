"""What is measured of drawings, kept in ``/scores`` of the store so that it is measured once.

A row is known by its labels and by digests of what was drawn: a mask that was changed in memory is
measured anew, and is not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from saltrust.analysis.stored.annotations import Annotations
from saltrust.analysis.stored.origin import store_positions
from saltrust.cache.schema import GROUPS
from saltrust.cache.scores import ScoreStore

IntArray = npt.NDArray[np.intp]
Values = dict[str, npt.NDArray[Any]]
Measure = Callable[[IntArray], Values]


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
        Columns that name a row: of the image, of the finding, and of one reader or several.
    content : callable
        Annotations and positions in them, one row of image, finding and readers per drawing, to
        columns of digests, which tell whether a kept row is of the same drawing.
    """

    name: str
    version: int
    labels: tuple[str, ...]
    content: Callable[[Annotations, IntArray], Values]


def keep_rows(store: ScoreStore | None, topic: Topic, annotations: Annotations, at: IntArray,
              made_from: Mapping[str, Any], measure: Measure) -> Values:
    """Values of rows: those kept where they are of the same drawing, the others measured.

    Parameters
    ----------
    store : ScoreStore or None
        None: nothing is looked up or kept.
    topic : Topic
    annotations : Annotations
    at : ndarray of int, shape (n, len(topic.labels))
        Positions in the annotations of the image, the finding and the readers of each drawing.
    made_from : mapping
        What values depend on besides the drawing and its resolution, as JSON values.
    measure : callable
        Some of these rows of positions to values, one array of shape (rows, ...) per name.

    Returns
    -------
    dict of str to ndarray
        One array of shape (n, ...) per name.
    """
    facts = {"version": topic.version, "resolution": annotations.resolution, **made_from}
    kept = store.read(topic.name, facts) if store is not None else None
    labels = dict(zip(topic.labels, _names(annotations, at), strict=True))
    content = topic.content(annotations, at)
    place, same = _places(kept, labels, content)
    if kept is not None and same.all():
        return {name: values[place] for name, values in _values(kept, labels, content).items()}
    values = measure(at[~same])
    if kept is not None:
        stored = _values(kept, labels, content)
        values = {name: _merged(stored[name][place[same]], part, same)
                  for name, part in values.items()}
    if store is not None and store.keep:
        fresh = place < 0
        fresh[fresh] = _of_store(store, annotations, at[fresh])
        if fresh.any():
            parts = {name: part[fresh] for name, part in {**labels, **content, **values}.items()}
            store.write(topic.name, facts, _dataset(parts, kept))
    return values


def _names(annotations: Annotations, at: IntArray) -> list[npt.NDArray[Any]]:
    """Labels at these positions, by column."""
    kinds = (annotations.images, annotations.findings, annotations.readers, annotations.readers)
    return [np.array(kind, dtype=object)[column] for kind, column in zip(kinds, at.T, strict=False)]


def _of_store(store: ScoreStore, annotations: Annotations, at: IntArray) -> npt.NDArray[np.bool_]:
    """Whether the store itself holds each drawing under these labels; only such are kept in it."""
    name, masks = annotations.drawn
    if not len(at) or not store.holds("reference", name):
        return np.zeros(len(at), dtype=bool)
    dims = GROUPS["reference"][name].dims[:3]
    labels = store.labels("reference", dims)
    # Image and finding, then one reader or several.
    axes = (*dims[:2], *[dims[2]] * (at.shape[1] - 2))
    places = np.column_stack([pd.Index(labels[dim]).get_indexer(pd.Index(names))
                              for dim, names in zip(axes, _names(annotations, at), strict=True)])
    held = np.asarray((places >= 0).all(axis=1))
    positions = store_positions(masks, store, f"reference/{name}", GROUPS["reference"][name].dims)
    # What is said of a mask is in memory, where anybody may have changed it.
    for variable, values in annotations.stated.items():
        stored = store.values("reference", variable)
        for axis in range(2, at.shape[1]):
            held &= stored is not None and _equal(
                stored[places[:, 0], places[:, 1], places[:, axis]],
                values[at[:, 0], at[:, 1], at[:, axis]])
    for axis in range(2, at.shape[1]):
        of_reader = np.ix_(np.arange(len(at)), np.array([0, 1, axis]))
        if positions is not None:
            held &= np.logical_and.reduce([
                positions[dim][column] == place for dim, column, place in
                zip(dims, at[of_reader].T, places[of_reader].T, strict=True)])
        else:
            held[held] = _drawn_alike(store, annotations, at[of_reader][held],
                                      places[of_reader][held])
    return held


def _drawn_alike(store: ScoreStore, annotations: Annotations, at: IntArray, places: IntArray
                 ) -> npt.NDArray[np.bool_]:
    """Whether the store holds the same drawing, for masks that are in memory altogether."""
    name, _ = annotations.drawn
    alike = np.zeros(len(at), dtype=bool)
    for image in np.unique(places[:, 0]):
        rows = np.flatnonzero(places[:, 0] == image)
        masks = store.values("reference", name, int(image))
        alike[rows] = masks is not None and [
            annotations.digest_of(at[row, 0], masks[places[row, 1], places[row, 2]])
            == annotations.digests[tuple(at[row])] for row in rows]
    return alike


def _equal(one: npt.NDArray[Any], two: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Whether rows are equal, NaN to NaN."""
    same = one == two
    if one.dtype.kind == "f":
        same |= np.isnan(one) & np.isnan(two)
    return np.asarray(same.reshape(len(one), -1).all(axis=1))


def _places(kept: xr.Dataset | None, labels: Values, content: Values
            ) -> tuple[IntArray, npt.NDArray[np.bool_]]:
    """Place of every row among the kept ones, -1 for none, and whether the drawing is the same."""
    n = len(next(iter(labels.values())))
    if kept is None:
        return np.full(n, -1), np.zeros(n, dtype=bool)
    index = pd.MultiIndex.from_arrays([kept[name].values.astype(object) for name in labels])
    place = index.get_indexer(pd.MultiIndex.from_arrays(list(labels.values())))
    same = place >= 0
    for name, part in content.items():
        same &= kept[name].values[place] == part
    return place, same


def _values(kept: xr.Dataset, labels: Values, content: Values) -> Values:
    return {str(name): array.values for name, array in kept.data_vars.items()
            if name not in labels and name not in content}


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
