"""Variables of cubes with every dimension they were stored with, whatever was selected of them.

xarray drops a dimension of which one label was selected (``cubes.sel(finding="Edema")``) and keeps
the label as a scalar coordinate.  Here it is a dimension of length one again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from saltrust.errors import DataError


def dataset_of(cubes: xr.DataTree, group: str) -> xr.Dataset | None:
    """A group of the cubes with the labels it shares with the root; None where it is absent."""
    return group_of(cubes, group) if group in cubes.children else None


def group_of(cubes: xr.DataTree, group: str) -> xr.Dataset:
    """A group of the cubes with the labels it shares with the root.

    A single label that was selected (``cubes.sel(finding="Edema")``) is left at the root only.
    """
    dataset = cubes[group].to_dataset()
    return dataset.assign_coords({dim: cubes.coords[dim] for dim in ("image", "finding")
                                  if dim not in dataset.coords and dim in cubes.coords})


def labels_of(dataset: xr.Dataset | xr.DataArray, dim: str) -> list[str]:
    """Labels along a dimension; one where a single one was selected.

    Raises
    ------
    DataError
        If there is neither a dimension nor a label left of it.
    """
    if dim not in dataset.coords:
        raise DataError(f"the cubes have no coordinate {dim!r} any more; select from them with "
                        f"labels (.sel({dim}=...)) and without drop=True")
    return [str(label) for label in np.atleast_1d(dataset.coords[dim].values)]


def whole(array: xr.DataArray, dims: Sequence[str]) -> xr.DataArray:
    """A small variable with all its dimensions, in this order.

    Parameters
    ----------
    array : xarray.DataArray
        Read into memory where a dimension has to be put back: not for maps.
    dims : sequence of str

    Raises
    ------
    DataError
        As :func:`labels_of`.
    """
    for dim in dims:
        if dim not in array.dims:
            labels_of(array, dim)
            array = array.expand_dims(dim)
    return array.transpose(*dims)


def values_of(array: xr.DataArray, dims: Sequence[str]) -> npt.NDArray[Any]:
    """Values of :func:`whole`."""
    return whole(array, dims).values


def texts_of(array: xr.DataArray, dims: Sequence[str]) -> list[str]:
    """A small variable of one dimension as text; what is not known is empty.

    Parameters
    ----------
    array : xarray.DataArray
    dims : sequence of str
        The one dimension.
    """
    return ["" if value is None or value != value else str(value)  # noqa: PLR0124 - NaN
            for value in values_of(array, dims).astype(object)]


def read_at(array: xr.DataArray, dims: Sequence[str], **positions: Any) -> npt.NDArray[Any]:
    """Read a part of a large variable.

    Parameters
    ----------
    array : xarray.DataArray
    dims : sequence of str
        Dimensions of what is returned, of those that are not read at a single position.
    **positions : int, slice or sequence of int
        By dimension.  Of a dimension that is gone since one label of it was selected, the
        position is 0 or takes all.

    Returns
    -------
    ndarray
    """
    part = array.isel({dim: at for dim, at in positions.items() if dim in array.dims})
    wanted = [dim for dim in dims
              if not isinstance(positions.get(dim), int | np.integer)]
    for dim in wanted:
        if dim not in part.dims:
            part = part.expand_dims(dim)
    return part.transpose(*wanted).values
