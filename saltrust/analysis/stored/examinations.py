"""Examinations: which images are views of one, and the probability that they have together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from saltrust.analysis.stored.arrays import dataset_of, labels_of, values_of
from saltrust.analysis.stored.contents import source
from saltrust.choices import CaseLevel
from saltrust.errors import DataError


def examinations_of(cubes: xr.DataTree) -> tuple[list[str], list[list[int]]]:
    """Name and images of every examination.

    Parameters
    ----------
    cubes : xarray.DataTree

    Returns
    -------
    names : list of str
        ``patient/study``; an image of no stated examination stands for itself.
    members : list of list of int
        Positions of its images.

    Raises
    ------
    DataError
        If the cubes do not say which examination an image belongs to.
    """
    root = cubes.to_dataset()
    if "study" not in root.variables:
        raise DataError(f"{source(cubes)} does not say which examination an image belongs to "
                        "(there is no coordinate study); take --level image")
    images = labels_of(root, "image")
    examinations, patients = (_texts(root, name, len(images)) for name in ("study", "patient"))
    members: dict[tuple[str, str], list[int]] = {}
    for i, name in enumerate(images):
        # "study1" is of one patient only.
        place = (patients[i], examinations[i]) if examinations[i] else ("", name)
        members.setdefault(place, []).append(i)
    return (["/".join(part for part in place if part) for place in members],
            list(members.values()))


def at_level(cubes: xr.DataTree, level: CaseLevel) -> xr.DataTree:
    """The cubes whose images have their own probability, or the largest of their examination.

    Parameters
    ----------
    cubes : xarray.DataTree
        Any selection; views that are not in it do not count.
    level : {"image", "study"}
        ``"image"`` leaves them as they are.

    Returns
    -------
    xarray.DataTree
        With the same maps.  An image without a probability gets none.

    Raises
    ------
    DataError
        As :func:`examinations_of`.

    References
    ----------
    A. Saporta et al. (2022), Nat. Mach. Intell. 4, 867-878: the probability of a study is the
    maximum over its views.
    """
    prediction = dataset_of(cubes, "prediction")
    if level == "image" or prediction is None or "probability" not in prediction:
        return cubes
    _, members = examinations_of(cubes)
    stored = prediction["probability"]
    values = values_of(stored, ("image", "finding", "model")).copy()
    for images in members:
        if len(images) > 1:
            of_views = values[images]
            largest = np.where(np.isnan(of_views), -np.inf, of_views).max(axis=0)
            values[images] = np.where(np.isnan(of_views), np.nan, largest)
    together = cubes.copy(deep=False)
    node = together.children["prediction"]
    present = [dim for dim in ("image", "finding", "model") if dim in stored.dims]
    shaped = xr.DataArray(values.reshape([stored.sizes[dim] for dim in present]), dims=present)
    node.dataset = node.to_dataset(inherit=False).assign(
        probability=shaped.transpose(*stored.dims).variable)
    return together


def _texts(root: xr.Dataset, name: str, n: int) -> Sequence[str]:
    if name not in root.variables:
        return [""] * n
    return [str(value) for value in values_of(root[name], ["image"])]
