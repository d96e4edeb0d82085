"""Gaze over time: one heatmap for each of equal parts of the reading of an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from saltrust.analysis.select import as_cubes
from saltrust.analysis.stored.arrays import (
    dataset_of,
    group_of,
    labels_of,
    read_at,
    values_of,
)
from saltrust.analysis.stored.contents import source
from saltrust.cache.collection import Fixations
from saltrust.cache.gaze_maps import DEFAULT_SIGMA, GazeSmoothing, period, window_heatmaps
from saltrust.cache.identity import of_one_store
from saltrust.errors import DataError, UsageError, nearest

#: Of what is returned at once.
MOST_BYTES = 2 * 2**30
#: A reading of half a minute has about a hundred fixations.
MOST_FRAMES = 1000

_WHERE = ("fixation_y", "fixation_x")
_ONSET = "fixation_onset"


@of_one_store
def temporal_gaze(cubes: xr.DataTree | str | Path, *, frames: int = 8, reader: str | None = None,
                  sigma: str | None = None, weight: str | None = None) -> xr.DataArray:
    """Gaze heatmaps over time.

    The time from the first fixation on an image to the end of the last is divided into equal
    windows; a fixation counts in each by the part of it that lies there.  Heatmaps of one image
    are on one scale: their sum over time is the static heatmap, with maximum 1.

    Parameters
    ----------
    cubes : xarray.DataTree or path
        With fixations and their onsets in ``/reference``; any selection (:func:`saltrust.select`).
    frames : int
        Number of windows.
    reader : str, optional
        Whose gaze; the first reader with an onset on any image by default.
    sigma : str, optional
        Of the Gaussian around a fixation, like ``"150px"`` or ``"5%"``; by default that of the
        static heatmaps where the cubes say it, else 5% of the longer side.
    weight : {"duration", "count"}, optional
        What a fixation counts; by default as in the static heatmaps, else its duration.

    Returns
    -------
    xarray.DataArray
        Of float32 and dimensions ``image, time, y, x``, 0 where nobody looked in that window and
        NaN on images without gaze, onsets or native size.  Coordinates: ``time``, the middle of
        each window as a share of the reading, ``start`` and ``end`` of each window on ``image,
        time`` in seconds since the recording began, and ``reader``.

    Raises
    ------
    UsageError
        If the reader is not known or an option is not valid.
    DataError
        If there are no fixations or no onsets, or the result would take gigabytes.

    Examples
    --------
    >>> import saltrust
    >>> made = temporal_gaze(saltrust.simulate_cubes(grid=8, parts=("gaze",)), frames=4)
    >>> made.dims, made.time.values.tolist()
    (('image', 'time', 'y', 'x'), [0.125, 0.375, 0.625, 0.875])
    """
    tree = as_cubes(cubes)
    if isinstance(frames, bool) or not isinstance(frames, int) or not 1 <= frames <= MOST_FRAMES:
        raise UsageError(f"gaze is divided into 1 to {MOST_FRAMES:,} frames, not {frames!r}")
    smoothing = stored_smoothing(tree, sigma, weight)
    looks = _looks(tree, reader)
    images = list(looks.of_image)
    size = 4 * frames * len(images) * looks.grid[0] * looks.grid[1]
    if size > MOST_BYTES:
        raise DataError(f"temporal heatmaps of {len(images):,} images in {frames} frames on a "
                        f"grid of {looks.grid[0]} x {looks.grid[1]} take {size:,} bytes, more "
                        f"than the {MOST_BYTES:,} that are set aside; select fewer images")
    values = np.full((len(images), frames, *looks.grid), np.nan, dtype=np.float32)
    edges = np.full((len(images), frames + 1), np.nan)
    for k, fixations in enumerate(looks.of_image.values()):
        time = None if fixations is None else period(fixations)
        if fixations is None or time is None:
            continue
        edges[k] = np.linspace(*time, frames + 1)
        made = window_heatmaps(fixations, looks.sizes[images[k]], looks.grid, smoothing, edges[k])
        if made is not None:
            values[k] = made
    return xr.DataArray(
        values, dims=("image", "time", "y", "x"), name="temporal_gaze",
        coords={"image": images, "reader": looks.reader,
                "time": ("time", (np.arange(frames) + 0.5) / frames,
                         {"long_name": "Middle of the window as a share of the reading"}),
                "start": (("image", "time"), edges[:, :-1], {"units": "s"}),
                "end": (("image", "time"), edges[:, 1:], {"units": "s"})},
        attrs={"long_name": "Gaze over time; the sum over time has maximum 1",
               "sigma": smoothing.sigma, "weight": smoothing.weight})


def stored_smoothing(cubes: xr.DataTree, sigma: str | None = None, weight: str | None = None
                     ) -> GazeSmoothing:
    """How fixations became the static heatmaps, as far as the cubes say, or as is asked for.

    Parameters
    ----------
    cubes : xarray.DataTree
    sigma, weight : str, optional
        Of :class:`saltrust.cache.gaze_maps.GazeSmoothing`.

    Raises
    ------
    UsageError
        If either is not valid.
    """
    data: Any = cubes.attrs.get("data")
    stated: Any = None
    # Cubes that were made of cubes say what those were made of.
    while isinstance(data, Mapping) and not isinstance(stated, Mapping):
        stated, data = data.get("gaze"), data.get("data")
    stated = stated if isinstance(stated, Mapping) else {}
    return GazeSmoothing(sigma or str(stated.get("sigma", DEFAULT_SIGMA)),
                         weight or str(stated.get("weight", "duration")))


@dataclass(frozen=True)
class _Looks:
    """Fixations of one reader by image, None where there are none that can be placed."""

    reader: str
    of_image: dict[str, Fixations | None]
    sizes: dict[str, tuple[int, int]]
    grid: tuple[int, int]


def timed_images(cubes: xr.DataTree, reader: str | None = None
                 ) -> tuple[str, npt.NDArray[np.bool_]]:
    """A reader, and on which images it is known when one of that reader's fixations began.

    Parameters
    ----------
    cubes : xarray.DataTree
    reader : str, optional
        By default the first with an onset on any image.

    Returns
    -------
    reader : str
    timed : ndarray of bool, shape (image,)

    Raises
    ------
    UsageError
        If the reader is not known.
    DataError
        If there are no fixations, or no onsets of them.
    """
    reference = dataset_of(cubes, "reference")
    if reference is None or not set(_WHERE) <= set(reference):
        raise DataError(f"{source(cubes)} holds no fixations (/reference/fixation_y is absent), "
                        "and ready-made heatmaps have no time; import a data set with fixations, "
                        "such as `saltrust import egd-cxr`")
    readers = labels_of(reference, "reader")
    if reader is not None and reader not in readers:
        raise UsageError(f"the cubes have no reader {reader!r}; {nearest(reader, readers)}")
    if _ONSET in reference:
        known = np.isfinite(values_of(reference[_ONSET], ("image", "reader", "fixation"))
                            ).any(axis=-1)
        for r, name in enumerate(readers):
            if known[:, r].any() and reader in (None, name):
                return name, known[:, r]
    raise DataError(f"{source(cubes)} does not say when any fixation "
                    f"{'' if reader is None else f'of {reader} '}began "
                    "(/reference/fixation_onset); import the data set again, from a table with "
                    "onsets (FPOGS), or select other images")


def _looks(cubes: xr.DataTree, reader: str | None) -> _Looks:
    reader, _ = timed_images(cubes, reader)
    reference = group_of(cubes, "reference")
    images = labels_of(cubes.to_dataset(), "image")
    r = labels_of(reference, "reader").index(reader)
    sizes = _sizes(cubes, images)
    arrays = [read_at(reference[name], ("image", "fixation"), reader=r).astype(np.float64)
              for name in (*_WHERE, "fixation_duration", _ONSET)]
    of_image: dict[str, Fixations | None] = {}
    for k, name in enumerate(images):
        y, x, duration, onset = (array[k] for array in arrays)
        placed = np.isfinite(y) & np.isfinite(x)
        of_image[name] = (Fixations(y[placed], x[placed], duration[placed], onset[placed])
                          if placed.any() and name in sizes else None)
    return _Looks(reader, of_image, sizes, _grid(reference))


def _sizes(cubes: xr.DataTree, images: list[str]) -> dict[str, tuple[int, int]]:
    """Native height and width of the images of which they are known."""
    root, names = cubes.to_dataset(), ("native_height", "native_width")
    if not set(names) <= set(root.variables):
        return {}
    stored: list[npt.NDArray[np.int64]] = [
        values_of(root[name], ["image"]).astype(np.int64) for name in names]
    return {image: (int(height), int(width)) for image, height, width
            in zip(images, *stored, strict=True) if min(height, width) > 0}


def _grid(reference: xr.Dataset) -> tuple[int, int]:
    return reference.sizes["y"], reference.sizes["x"]
