"""Checking that a store holds what the schema declares; all that is wrong is said at once."""

from __future__ import annotations

import logging

import numpy as np
import xarray as xr

from saltrust.cache.schema import (
    GROUPS,
    LABELED_DIMS,
    ROOT,
    SCORES,
    Group,
    Variable,
)
from saltrust.errors import DataError

_log = logging.getLogger(__name__)


def problems(cubes: xr.DataTree) -> list[str]:
    """List everything in which the cubes depart from the schema.

    Maps are checked for name, dimensions, dtype and size; every smaller variable also for its
    range, its codes and its allowed texts.  What the schema does not know is no fault; see
    :func:`unknown_contents`.

    Parameters
    ----------
    cubes : xarray.DataTree
        As :func:`saltrust.open_cubes` gives.

    Returns
    -------
    list of str
        One sentence each; empty when the store is valid.
    """
    return [problem for group, dataset in _known_groups(cubes)
            for problem in _group_problems(dataset, group)]


def unknown_contents(cubes: xr.DataTree) -> list[str]:
    """List groups and variables that the schema does not know, as of a later version.

    Parameters
    ----------
    cubes : xarray.DataTree
        As :func:`saltrust.open_cubes` gives.

    Returns
    -------
    list of str
        One sentence each.  Analyses pass over what is named here.
    """
    labels = [f"the group /{name}" for name in cubes.children if name not in (*GROUPS, SCORES)]
    covariates = covariate_names(cubes)
    for group, dataset in _known_groups(cubes):
        labels += [f"{_prefix(group)}{name}" for name in dataset.variables
                   if str(name) not in group and str(name) not in ROOT
                   and str(name) not in covariates]
    return [f"{label} is not known to this version of saltrust and is passed over"
            for label in labels]


def validate(cubes: xr.DataTree) -> None:
    """Raise if the cubes depart from the schema; warn of what the schema does not know.

    Parameters
    ----------
    cubes : xarray.DataTree
        As :func:`saltrust.open_cubes` gives.

    Raises
    ------
    DataError
        Naming the store and every problem.
    """
    source = cubes.attrs.get("source", "the cubes")
    faults = problems(cubes)
    if faults:
        raise DataError(f"{source} does not follow the cube schema: " + "; ".join(faults))
    for sentence in unknown_contents(cubes):
        _log.warning("%s: %s", source, sentence)


def _known_groups(cubes: xr.DataTree) -> list[tuple[Group, xr.Dataset]]:
    return [(ROOT, cubes.to_dataset(inherit=False)),
            *((GROUPS[name], node.to_dataset(inherit=True))
              for name, node in cubes.children.items() if name in GROUPS)]


def covariate_names(cubes: xr.DataTree | xr.Dataset) -> list[str]:
    """Covariates of the images: further coordinates of theirs, number or text.

    Parameters
    ----------
    cubes : xarray.DataTree or xarray.Dataset
        Cubes, or their root alone.

    Returns
    -------
    list of str
        Sorted.
    """
    return sorted(str(name) for name, coordinate in cubes.coords.items()
                  if coordinate.dims == ("image",) and str(name) not in ROOT
                  and coordinate.dtype.kind in "OTUfiu")


def _prefix(group: Group) -> str:
    return "/" if group is ROOT else f"/{group.name}/"


def _group_problems(dataset: xr.Dataset, group: Group) -> list[str]:
    prefix = _prefix(group)
    faults = [f"{prefix}{variable.name} is missing"
              for variable in group.variables
              if variable.required and variable.name not in dataset.variables]
    for name in dataset.variables:
        if str(name) in group:
            faults += _variable_problems(dataset[name], group[str(name)], f"{prefix}{name}")
    return faults


def _variable_problems(array: xr.DataArray, declared: Variable, label: str) -> list[str]:
    faults = []
    if array.dims != declared.dims:
        faults.append(f"{label} has the dimensions ({', '.join(map(str, array.dims))}) instead of "
                     f"({', '.join(declared.dims)})")
        return faults
    if declared.dtype == "string":
        if array.dtype.kind not in "TUO":
            faults.append(f"{label} has dtype {array.dtype} instead of text")
            return faults
    elif array.dtype != np.dtype(declared.dtype):
        faults.append(f"{label} has dtype {array.dtype} instead of {declared.dtype}")
        return faults
    if declared.is_map:
        return faults
    values = array.values
    if declared.name in LABELED_DIMS and len(set(values.tolist())) != len(values):
        faults.append(f"{label} holds the same label more than once")
    if declared.choices:
        wrong = sorted({str(value) for value in values.tolist()} - {*declared.choices, ""})
        if wrong:
            faults.append(f"{label} holds {wrong[0]!r}; allowed are {', '.join(declared.choices)}")
    if declared.valid_range is not None and values.size:
        low, high = declared.valid_range
        finite = values[np.isfinite(values)]
        if finite.size and (finite.min() < low or finite.max() > high):
            faults.append(f"{label} holds values outside {low:g} to {high:g}")
    return faults
