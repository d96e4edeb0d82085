"""What of every map is scored and drawn: as stored, its absolute values, or its positive part.

Otsu's threshold of a map with zero in its middle often takes the wrong side of it, and its
largest value says nothing of its smallest.  Maps stay as they are stored; a reading is applied
to one map at a time, on its way to be scored or drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
import xarray as xr

from saltrust.cache.readings import READING, declared_readings
from saltrust.choices import MapChoice, MapReading, check_word, words
from saltrust.errors import DataError, nearest

Float = TypeVar("Float", bound=np.floating[Any])

#: Groups whose maps are of explainers.
_EXPLAINED = ("saliency", "randomization")


def as_read(values: npt.NDArray[Float], reading: MapReading) -> npt.NDArray[Float]:
    """What of a map is scored.

    Parameters
    ----------
    values : ndarray of float, any shape
    reading : {"raw", "absolute", "positive"}

    Returns
    -------
    ndarray
        Of the same type; ``values`` itself where they are raw.  What is not finite stays so.

    Examples
    --------
    >>> as_read(np.array([-2.0, 0.0, 1.0]), "absolute").tolist()
    [2.0, 0.0, 1.0]
    >>> as_read(np.array([-2.0, np.nan, -np.inf]), "positive").tolist()
    [0.0, nan, -inf]
    """
    if reading == "absolute":
        return np.abs(values)
    if reading == "positive":
        # A negative infinity is a fault of the map, which its positive part would hide.
        return np.where(np.isneginf(values), values, np.maximum(values, 0))
    return values


def readings_of(group: xr.Dataset, choice: MapChoice = "auto") -> dict[str, MapReading]:
    """The reading of every explainer of a group.

    Parameters
    ----------
    group : xarray.Dataset
        ``/saliency`` or ``/randomization``, or a part of it.
    choice : {"auto", "raw", "absolute", "positive"}
        ``"auto"``: as stored with the maps; where nothing is, by the explainer's name, and raw
        where it is not known.

    Returns
    -------
    dict of str to {"raw", "absolute", "positive"}
        By explainer, in the order of the group.

    Raises
    ------
    DataError
        If the group has no explainers, or holds a reading that there is not.
    """
    if "explainer" not in group.coords:
        raise DataError("the cubes have no coordinate 'explainer' any more; select from them with "
                        "labels (.sel(explainer=...)) and without drop=True")
    declared = declared_readings(group)
    if choice != "auto":
        return dict.fromkeys(declared, choice)
    for name, word in declared.items():
        if word not in words(MapReading):
            raise DataError(f"explainer {name!r} has the reading {word!r} ({READING}), which is "
                            f"not known; {nearest(word, words(MapReading))}")
    return cast("dict[str, MapReading]", declared)


def read_as(cubes: xr.DataTree, choice: MapChoice) -> xr.DataTree:
    """The cubes with one reading stated for all explainers, which whatever draws maps obeys.

    Parameters
    ----------
    cubes : xarray.DataTree
    choice : {"auto", "raw", "absolute", "positive"}
        ``"auto"`` leaves them as they are.

    Returns
    -------
    xarray.DataTree
        With the same arrays; no map is read or changed.

    Raises
    ------
    UsageError
        If the choice is not known.
    """
    if check_word(choice, MapChoice, "map") == "auto":
        return cubes
    stated = cubes.copy(deep=False)
    for name in _EXPLAINED:
        if name not in stated.children or "explainer" not in stated[name].coords:
            continue
        node = stated.children[name]
        labels = node.coords["explainer"]
        node.dataset = node.to_dataset(inherit=False).assign_coords(
            {READING: (labels.dims, np.full(labels.shape, choice, dtype=object))})
    return stated


def described(choice: MapChoice, readings: Mapping[str, MapReading],
              explainers: Iterable[str] | None = None) -> dict[str, Any]:
    """What of a reading stands in the metadata of a result.

    Parameters
    ----------
    choice : {"auto", "raw", "absolute", "positive"}
    readings : mapping of str to {"raw", "absolute", "positive"}
        By explainer.
    explainers : iterable of str, optional
        Those that have maps; all by default.

    Examples
    --------
    >>> described("auto", {"grad": "absolute", "ig": "positive"}, ["grad"])
    {'map': 'auto', 'map_readings': {'grad': 'absolute'}}
    """
    shown = set(readings if explainers is None else explainers)
    return {"map": choice,
            "map_readings": {name: word for name, word in readings.items() if name in shown}}
