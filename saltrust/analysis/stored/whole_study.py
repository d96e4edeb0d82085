"""The study that cubes are a selection of: images and models that they no longer hold.

Averages are of training and validation images, which a selection such as the test split lacks; the
store that it was opened from has them.
"""

from __future__ import annotations

from pathlib import Path

import xarray as xr

from saltrust.analysis.select import as_cubes
from saltrust.analysis.stored.arrays import labels_of
from saltrust.cache.store import open_cubes
from saltrust.errors import UsageError

#: Splits whose images make up an average.
FITTED_ON = ("train", "val")


def whole_study(cubes: xr.DataTree) -> xr.DataTree:
    """The store that the cubes were opened from, opened again.

    Parameters
    ----------
    cubes : xarray.DataTree

    Returns
    -------
    xarray.DataTree
        The cubes themselves where there is no such store any more, or it lacks some of their
        images.
    """
    path = cubes.attrs.get("source")
    if path is None or not Path(path).exists():
        return cubes
    study = open_cubes(path)
    return study if _images(cubes) <= _images(study) else cubes


def fitted_study(cubes: xr.DataTree, fitted_on: xr.DataTree | str | Path | None = None
                 ) -> xr.DataTree:
    """Where images of training and validation are looked for.

    Parameters
    ----------
    cubes : xarray.DataTree
        What is analysed.
    fitted_on : xarray.DataTree or path, optional
        By default the store that the cubes were opened from, where it is still there and the
        cubes are some of its images only; else the cubes themselves.

    Returns
    -------
    xarray.DataTree

    Raises
    ------
    UsageError, DataError
        As :func:`saltrust.open_cubes`, where a path was given.
    """
    if fitted_on is not None:
        return as_cubes(fitted_on)
    study = whole_study(cubes)
    return cubes if _images(cubes) == _images(study) else study


def check_grid(study: xr.DataTree, grid: tuple[int, int]) -> None:
    """Refuse a study whose maps are of another size than the cubes'.

    Parameters
    ----------
    study : xarray.DataTree
    grid : (int, int)
        Height and width.

    Raises
    ------
    UsageError
        Naming both sizes.
    """
    sizes = study["reference"].sizes
    if (sizes["y"], sizes["x"]) != grid:
        raise UsageError(f"fitted_on has a grid of {sizes['y']} x {sizes['x']} pixels, the cubes "
                         f"of {grid[0]} x {grid[1]}; name a study with the grid of the cubes")


def _images(cubes: xr.DataTree) -> set[str]:
    return set(labels_of(cubes.to_dataset(), "image"))
