"""Which maps a group of the cubes holds, and reading them by their labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from saltrust.analysis.stored.arrays import dataset_of, labels_of, read_at, values_of
from saltrust.cache.schema import GROUPS, Status
from saltrust.errors import DataError

Float32Array = npt.NDArray[np.float32]

#: What a map is of: a trained classifier, one with random weights, a network that localizes.
TRAINED, RANDOMIZED, LOCALIZER = "trained", "randomised", "localizer"


def require_finite(values: npt.NDArray[np.floating[Any]], **labels: str) -> None:
    """Refuse a map whose status says that it is usable where a pixel is not a number.

    Parameters
    ----------
    values : ndarray of float, shape (y, x)
    **labels : str
        Of the map, by dimension.

    Raises
    ------
    DataError
        Naming the map.
    """
    # A sum of float32 in float64 is finite just where all are.
    if not np.isfinite(values.sum(dtype=np.float64)):
        named = ", ".join(f"{dim} {label!r}" for dim, label in labels.items() if label)
        raise DataError(f"the map of {named} has status ok and pixels that are missing or not "
                        "finite; `saltrust verify` on its store tells what else is wrong, and "
                        "with --repair `saltrust generate --resume` computes it again")


@dataclass(frozen=True)
class StoredMaps:
    """The maps of one group: ``saliency``, ``randomization`` or ``localizer``.

    Attributes
    ----------
    heatmap : xarray.DataArray
        Read from the store when asked for.
    labels : dict of str to list of str
        Labels of every dimension before y and x, in storage order: ``image`` first, then
        ``finding``.
    status : ndarray of uint8, shape of these dimensions
    """

    heatmap: xr.DataArray
    labels: dict[str, list[str]]
    status: npt.NDArray[np.uint8]

    def series(self, **labels: str) -> MapSeries:
        """Maps of all images and findings with one label of every further dimension.

        Parameters
        ----------
        **labels : str
            By name of the dimension: ``explainer``, ``model``, ``replicate``, ``stage``, as far as
            the group has them.
        """
        return MapSeries(self, labels)

    @cached_property
    def places(self) -> dict[str, dict[str, int]]:
        """Position of every label, by dimension."""
        return {dim: {label: k for k, label in enumerate(names)}
                for dim, names in self.labels.items()}


@dataclass(frozen=True)
class MapSeries:
    """Maps of one explainer and model, or of one localizer: one an image and finding at most.

    Attributes
    ----------
    maps : StoredMaps
    labels : dict of str to str
        Of every dimension but ``image`` and ``finding``.
    """

    maps: StoredMaps
    labels: dict[str, str]

    def status(self, image: str, finding: str) -> Status:
        """Whether there is a map, and whether it says anything."""
        places = self.maps.places
        return Status(self.maps.status[(places["image"][image], places["finding"][finding],
                                        *self._further())])

    def statuses(self, finding: str) -> npt.NDArray[np.uint8]:
        """Status of every image, in the order of the cubes."""
        return self._all()[:, self.maps.places["finding"][finding]]

    def count(self) -> int:
        """How many maps there are, of all images and findings, usable or not."""
        return int((self._all() != Status.MISSING).sum())

    def shares_an_image_with(self, other: MapSeries) -> bool:
        """Whether any image and finding has a map in both."""
        return bool(((self._all() != Status.MISSING) & (other._all() != Status.MISSING)).any())

    def read(self, images: Sequence[str], finding: str) -> Float32Array:
        """Maps of several images.

        Parameters
        ----------
        images : sequence of str
        finding : str

        Returns
        -------
        ndarray of float32, shape (len(images), y, x)

        Raises
        ------
        DataError
            If a map has status ok and pixels that are not finite.
        """
        places = self.maps.places
        further = dict(zip(list(self.maps.labels)[2:], self._further(), strict=True))
        read = read_at(self.maps.heatmap, ("image", "y", "x"),
                       image=np.array([places["image"][name] for name in images], dtype=np.intp),
                       finding=places["finding"][finding], **further)
        for image, values in zip(images, read, strict=True):
            if self.status(image, finding) == Status.OK:
                require_finite(values, image=image, finding=finding, **self.labels)
        return read.astype(np.float32, copy=False)

    def _further(self) -> tuple[int, ...]:
        return tuple(self.maps.places[dim][self.labels[dim]]
                     for dim in list(self.maps.labels)[2:])

    def _all(self) -> npt.NDArray[np.uint8]:
        """Status of every image and finding."""
        index: Any = (..., *self._further())
        return self.maps.status[index]


def stored_maps(cubes: xr.DataTree, group: str) -> StoredMaps | None:
    """The maps of a group; None where the cubes hold none.

    Parameters
    ----------
    cubes : xarray.DataTree
    group : {"saliency", "randomization", "localizer"}
    """
    dataset = dataset_of(cubes, group)
    if dataset is None or "heatmap" not in dataset or "status" not in dataset:
        return None
    order = GROUPS[group]["status"].dims
    status = values_of(dataset["status"], order)
    if not (status != Status.MISSING).any():
        return None
    return StoredMaps(dataset["heatmap"], {dim: labels_of(dataset, dim) for dim in order}, status)
