"""Checking that a store holds what the schema declares; all that is wrong is said at once."""

from __future__ import annotations

import numpy as np
import xarray as xr

from saltrust.cache.schema import GROUPS, LABELLED_DIMS, ROOT, SCORES, Group, Variable
from saltrust.errors import DataError


def problems(cubes: xr.DataTree) -> list[str]:
    """List everything in which the cubes depart from the schema.

    Maps are checked for name, dimensions, dtype and size; every smaller variable also for its
    range, its codes and its allowed texts.

    Returns
    -------
    list of str
        One sentence each; empty when the store is valid.
    """
    found = _group_problems(cubes.to_dataset(inherit=False), ROOT)
    for name, node in cubes.children.items():
        if name == SCORES:
            continue
        if name not in GROUPS:
            found.append(f"the group /{name} is not declared in the schema")
            continue
        dataset = node.to_dataset(inherit=True)
        found += _group_problems(dataset, GROUPS[name])
    return found


def validate(cubes: xr.DataTree) -> None:
    """Raise if the cubes depart from the schema.

    Raises
    ------
    DataError
        Naming the store and every problem.
    """
    found = problems(cubes)
    if found:
        source = cubes.attrs.get("source", "the cubes")
        raise DataError(f"{source} does not follow the cube schema: " + "; ".join(found))


def _group_problems(dataset: xr.Dataset, group: Group) -> list[str]:
    prefix = "/" if group is ROOT else f"/{group.name}/"
    found = [f"{prefix}{variable.name} is missing"
             for variable in group.variables
             if variable.required and variable.name not in dataset.variables]
    for name in dataset.variables:
        label = f"{prefix}{name}"
        if str(name) in group:
            found += _variable_problems(dataset[name], group[str(name)], label)
        elif not (str(name) in ROOT and group is not ROOT):
            found.append(f"{label} is not declared in the schema")
    return found


def _variable_problems(array: xr.DataArray, declared: Variable, label: str) -> list[str]:
    found = []
    if array.dims != declared.dims:
        found.append(f"{label} has the dimensions ({', '.join(map(str, array.dims))}) instead of "
                     f"({', '.join(declared.dims)})")
        return found
    if declared.dtype == "string":
        if array.dtype.kind not in "TUO":
            found.append(f"{label} has dtype {array.dtype} instead of text")
            return found
    elif array.dtype != np.dtype(declared.dtype):
        found.append(f"{label} has dtype {array.dtype} instead of {declared.dtype}")
        return found
    if declared.is_map:
        return found
    values = array.values
    if declared.name in LABELLED_DIMS and len(set(values.tolist())) != len(values):
        found.append(f"{label} holds the same label more than once")
    if declared.choices:
        wrong = sorted({str(value) for value in values.tolist()} - {*declared.choices, ""})
        if wrong:
            found.append(f"{label} holds {wrong[0]!r}; allowed are {', '.join(declared.choices)}")
    if declared.valid_range is not None and values.size:
        low, high = declared.valid_range
        finite = values[np.isfinite(values)]
        if finite.size and (finite.min() < low or finite.max() > high):
            found.append(f"{label} holds values outside {low:g} to {high:g}")
    return found
