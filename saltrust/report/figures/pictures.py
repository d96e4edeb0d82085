"""What the cubes hold of one image, by labels: radiograph, map, masks and points of readers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from saltrust.analysis.stored.arrays import dataset_of, labels_of
from saltrust.analysis.stored.maps import require_finite
from saltrust.analysis.stored.readings import as_read, readings_of
from saltrust.cache.rle import decode
from saltrust.cache.schema import Status
from saltrust.errors import UsageError, nearest
from saltrust.report.figures.overlay import Contour, Kind, Point


@dataclass(frozen=True)
class Heatmap:
    """A stored map, as it is read (:mod:`saltrust.analysis.stored.readings`).

    Attributes
    ----------
    values : ndarray of float32, shape (y, x)
    status : Status
        Of what is read: flat too where a map has nothing of what is.
    """

    values: npt.NDArray[np.float32]
    status: Status


def at_labels(array: xr.DataArray, **labels: str) -> xr.DataArray:
    """A variable at labels, some of which may have been selected before.

    Parameters
    ----------
    array : xarray.DataArray
    **labels : str
        By dimension; one that the variable never had is passed over.

    Raises
    ------
    UsageError
        If there is no such label; the nearest is named.
    """
    for dim, label in labels.items():
        if dim not in array.coords:
            continue
        known = labels_of(array, dim)
        if label not in known:
            raise UsageError(f"the cubes have no {dim} {label!r}; {nearest(label, known)}")
        if dim in array.dims:
            array = array.isel({dim: known.index(label)})
    return array


def radiograph(cubes: xr.DataTree, image: str) -> npt.NDArray[np.uint8] | None:
    """Pixels of one image on the grid; None where none are stored.

    Parameters
    ----------
    cubes : xarray.DataTree
    image : str
    """
    dataset = dataset_of(cubes, "radiograph")
    if dataset is None or "pixels" not in dataset:
        return None
    values = at_labels(dataset["pixels"], image=image).transpose("y", "x").values
    return np.asarray(values, dtype=np.uint8) if values.any() else None


def native_size(cubes: xr.DataTree, image: str) -> tuple[int, int] | None:
    """Height and width of the radiograph as acquired; None where unknown.

    Parameters
    ----------
    cubes : xarray.DataTree
    image : str
    """
    root = cubes.to_dataset()
    names = ("native_height", "native_width")
    if not set(names) <= set(root.variables):
        return None
    height, width = (int(at_labels(root[name], image=image)) for name in names)
    return (height, width) if height > 0 and width > 0 else None


def picture_size(cubes: xr.DataTree, image: str, grid: tuple[int, int]) -> tuple[float, float]:
    """Height and width with the aspect as acquired, the longer side that of the grid.

    Parameters
    ----------
    cubes : xarray.DataTree
    image : str
    grid : (int, int)
    """
    native = native_size(cubes, image)
    if native is None:
        return float(grid[0]), float(grid[1])
    factor = max(grid) / max(native)
    return native[0] * factor, native[1] * factor


def stored_map(cubes: xr.DataTree, group: str, **labels: str) -> Heatmap | None:
    """One map of a group; None where the cubes do not hold it.

    Parameters
    ----------
    cubes : xarray.DataTree
    group : {"saliency", "localizer"}
    **labels : str
        By dimension: ``image, finding, explainer, model``; of localizers no explainer.

    Returns
    -------
    Heatmap or None
        Read as the cubes state (:func:`saltrust.analysis.stored.readings.read_as` states it
        anew).

    Raises
    ------
    UsageError
        If a label is not known.
    """
    dataset = dataset_of(cubes, group)
    if dataset is None or "heatmap" not in dataset:
        return None
    status = Status(int(at_labels(dataset["status"], **labels)))
    if status is Status.MISSING:
        return None
    values = at_labels(dataset["heatmap"], **labels).transpose("y", "x").values
    if status is Status.OK:
        require_finite(values, **labels)
    if group == "saliency":
        values = as_read(values, readings_of(dataset)[labels["explainer"]])
        if status is Status.OK and not values.max() > values.min():
            status = Status.FLAT
    return Heatmap(values, status)


def reader_kinds(reference: xr.Dataset) -> dict[str, Kind]:
    """Which readers are the reference, and which are experts to compare with.

    Parameters
    ----------
    reference : xarray.Dataset
        Group ``/reference``.
    """
    if "reader" not in reference.coords:
        return {}
    names = labels_of(reference, "reader")
    if "reader_role" not in reference.coords:
        return dict.fromkeys(names, "reference")
    roles = np.atleast_1d(reference.coords["reader_role"].values)
    return {name: "expert" if str(role) == "benchmark" else "reference"
            for name, role in zip(names, roles, strict=True)}


def reader_contours(cubes: xr.DataTree, image: str, finding: str,
                    readers: Sequence[str] | None = None) -> list[Contour]:
    """Masks that readers drew; empty ones are left out.

    Parameters
    ----------
    cubes : xarray.DataTree
    image, finding : str
    readers : sequence of str, optional
        Only these.

    Returns
    -------
    list of Contour
        On the grid where masks are stored there, else at native size.
    """
    reference = dataset_of(cubes, "reference")
    if reference is None:
        return []
    kinds = reader_kinds(reference)
    for name in readers or ():
        if name not in kinds:
            raise UsageError(f"the cubes have no reader {name!r}; {nearest(name, kinds)}")
    contours = []
    for reader, kind in kinds.items():
        if readers is not None and reader not in readers:
            continue
        mask = _mask(cubes, reference, {"image": image, "finding": finding, "reader": reader})
        if mask is not None and mask.any():
            contours.append(Contour(mask, reader, kind))
    return contours


def _mask(cubes: xr.DataTree, reference: xr.Dataset, labels: dict[str, str]
          ) -> npt.NDArray[np.bool_] | None:
    """The mask of one image, finding and reader, on the grid where it is stored there."""
    if "annotated" in reference and not bool(at_labels(reference["annotated"], **labels)):
        return None
    if "mask" in reference:
        stored: Any = at_labels(reference["mask"], **labels).transpose("y", "x").values
        return np.asarray(stored, dtype=bool)
    native = native_size(cubes, labels["image"])
    code = (str(at_labels(reference["mask_rle"], **labels).values) if "mask_rle" in reference
            else "")
    return decode(code, *native) if code and native is not None else None


def expert_points(cubes: xr.DataTree, image: str, finding: str, size: tuple[float, float]
                  ) -> list[Point]:
    """Points that experts marked, in the coordinates of a picture.

    Parameters
    ----------
    cubes : xarray.DataTree
    image, finding : str
    size : (float, float)
        Height and width of the picture.

    Returns
    -------
    list of Point
        Empty where the native size is unknown.
    """
    native, reference = native_size(cubes, image), dataset_of(cubes, "reference")
    if native is None or reference is None or not {"point_y", "point_x"} <= set(reference):
        return []
    points = []
    for reader, kind in reader_kinds(reference).items():
        if kind != "expert":
            continue
        pairs = np.column_stack([
            np.ravel(at_labels(reference[name], image=image, finding=finding,
                               reader=reader).values) for name in ("point_y", "point_x")])
        # A point stands for the pixel it lies in, as it does for scoring.
        centers = np.floor(pairs[np.isfinite(pairs).all(axis=1)]) + 0.5
        points += [Point(float(y) * size[0] / native[0], float(x) * size[1] / native[1], reader,
                         kind) for y, x in centers]
    return points


def peak(heatmap: Heatmap, size: tuple[float, float], label: str) -> Point:
    """Where a map is largest, in the coordinates of a picture.

    Parameters
    ----------
    heatmap : Heatmap
    size : (float, float)
        Height and width of the picture.
    label : str
    """
    y, x = np.unravel_index(int(np.argmax(heatmap.values)), heatmap.values.shape)
    height, width = heatmap.values.shape
    return Point((float(y) + 0.5) * size[0] / height, (float(x) + 0.5) * size[1] / width, label,
                 "predicted")
