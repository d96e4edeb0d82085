"""Going on with a store after images were taken out of the data set that it was begun with."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
import zarr

from saltrust.cache.collection import (
    Annotation,
    Collection,
    Fixations,
    Radiograph,
    gaze_source,
    radiograph_files,
    with_radiograph,
)
from saltrust.cache.guarded import guarded
from saltrust.cache.schema import RadiographStatus
from saltrust.cache.store import partial_path
from saltrust.errors import DataError

TAKEN_OUT = "it was taken out of the data set after the store was begun"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ReducedCollection:
    """A data set with the images of a store, of which it lacks some.

    See :class:`saltrust.cache.collection.Collection`; made by :func:`as_begun`.

    Attributes
    ----------
    collection : Collection
        As it is now.
    index : xarray.Dataset
        As the store was begun with it.
    fingerprint : str
        Likewise.
    taken_out : frozenset of str
        Images that it lacks now.
    """

    collection: Collection = field(repr=False)
    index: xr.Dataset
    fingerprint: str
    taken_out: frozenset[str] = field(repr=False)
    present: frozenset[str] = field(repr=False)

    @property
    def description(self) -> dict[str, Any]:
        """Of the data set as it is now."""
        return self.collection.description

    @property
    def has_radiographs(self) -> bool:
        """Whether any image has one."""
        return self.collection.has_radiographs

    @property
    def files(self) -> Mapping[str, Path]:
        """Files of radiographs by image."""
        return radiograph_files(self.collection)

    def has_radiograph(self, image: str) -> bool:
        """Whether there is a radiograph of this image now."""
        return image in self.present

    def radiograph(self, image: str, grid: tuple[int, int]) -> Radiograph:
        """Decode one radiograph.

        Raises
        ------
        DataError
            If the image was taken out.
        """
        if image in self.taken_out:
            raise DataError(f"there is no radiograph of {image}: {TAKEN_OUT}; put it back")
        return self.collection.radiograph(image, grid)

    def annotations(self, image: str) -> Mapping[tuple[str, str], Annotation]:
        """All annotations of one image; none where it was taken out."""
        return {} if image in self.taken_out else self.collection.annotations(image)

    @property
    def has_gaze(self) -> bool:
        """Whether there is gaze for any image."""
        return gaze_source(self.collection) is not None

    def gaze(self, image: str, grid: tuple[int, int]) -> Mapping[str, npt.NDArray[np.float32]]:
        """Gaze heatmaps of one image by reader."""
        source = gaze_source(self.collection)
        return {} if source is None or image in self.taken_out else source.gaze(image, grid)

    def fixations(self, image: str) -> Mapping[str, Fixations]:
        """Fixations within one image by reader."""
        source = gaze_source(self.collection)
        return {} if source is None or image in self.taken_out else source.fixations(image)


def as_begun(collection: Collection, output: str | Path) -> Collection:
    """A data set with the images of the store that is to be resumed, where it lacks some of them.

    All else that the store says of the images has to be as it is now; splits that were drawn at
    random stay as they were drawn.

    Parameters
    ----------
    collection : Collection
    output : path
        Of the finished store.

    Returns
    -------
    Collection
        The very one where it lacks no image, or differs in more than that: then whoever resumes
        the store says what differs.
    """
    path = partial_path(output) if partial_path(output).is_dir() else Path(output)
    try:
        with guarded():
            root = zarr.open_group(path, mode="r")
            stored = _index(root)
    except Exception:  # noqa: BLE001 - whoever opens it to write says what is wrong with it
        return collection
    names = [str(name) for name in stored["image"].values]
    now = {str(name): at for at, name in enumerate(collection.index["image"].values)}
    taken_out = frozenset(names) - now.keys()
    if not taken_out or not now.keys() < set(names) or not _agree(collection, stored, now):
        return collection
    if root.attrs.get("complete") and not _are_left_out(root, names, taken_out):
        return collection
    _log.warning("%d images are not in the data set any more (first: %s); %s goes on without them",
                 len(taken_out), next(name for name in names if name in taken_out), path)
    stored.attrs.update(collection.index.attrs)
    present = frozenset(name for name, has in zip(now, with_radiograph(collection), strict=True)
                        if has)
    return ReducedCollection(collection, _with_sizes(stored, collection, now),
                             str(root.attrs.get("data_fingerprint", "")), taken_out, present)


def _index(root: zarr.Group) -> xr.Dataset:
    """The index of the data set that a store was begun with."""
    reference: Any = root["reference"]
    coords: dict[str, Any] = {}
    for group, dims in ((root, ("image", "finding")), (reference, ("reader",))):
        for name, array in group.arrays():
            metadata: Any = array.metadata
            of = tuple(metadata.dimension_names or ())
            if len(of) == 1 and of[0] in dims and name != "stored":
                values = np.asarray(array[:])
                coords[name] = (of, np.array(values.tolist(), dtype=np.str_)
                                if values.dtype.kind == "T" else values)
    coords.setdefault("reader", ("reader", np.array([], dtype=np.str_)))
    coords.setdefault("reader_role", ("reader", np.array([], dtype=np.str_)))
    return xr.Dataset({"label": (("image", "finding"), np.asarray(reference["label"][:]))},
                      coords=coords)


def _agree(collection: Collection, stored: xr.Dataset, now: Mapping[str, int]) -> bool:
    """Whether findings, readers and all that is known of the images that are left are the same."""
    index = collection.index
    drawn = str(collection.description.get("split", "")).startswith("random")
    of_image = {str(name) for name, values in index.coords.items() if values.dims == ("image",)}
    free = {"image", "native_height", "native_width", *(["split"] if drawn else [])}
    if {str(name) for name in stored.coords} - free != {str(name) for name in index.coords} - free:
        return False
    if any(index[name].values.astype(str).tolist() != stored[name].values.astype(str).tolist()
           for name in ("finding", "reader", "reader_role")):
        return False
    at = {str(name): row for row, name in enumerate(stored["image"].values)}
    rows = [at[name] for name in now]
    return np.array_equal(index["label"].transpose("image", "finding").values,
                          stored["label"].values[rows]) and all(
        index[name].values.astype(str).tolist() == stored[name].values[rows].astype(str).tolist()
        for name in of_image - free)


def _are_left_out(root: zarr.Group, names: list[str], images: frozenset[str]) -> bool:
    if "radiograph/status" not in root:
        return False
    array: Any = root["radiograph/status"]
    status = np.asarray(array[:])
    return all(status[at] == RadiographStatus.LEFT_OUT for at, name in enumerate(names)
               if name in images)


def _with_sizes(stored: xr.Dataset, collection: Collection, now: Mapping[str, int]) -> xr.Dataset:
    """Native sizes as the data set states them now, of images that are left."""
    sizes = {}
    for name in ("native_height", "native_width"):
        if name in collection.index:
            stated = collection.index[name].values
            sizes[name] = ("image", np.array(
                [stated[now[image]] if image in now else before for image, before in
                 zip(stored["image"].values.tolist(), stored[name].values.tolist(),
                     strict=True)], dtype=np.int32))
    return stored.drop_vars(["native_height", "native_width"], errors="ignore").assign_coords(sizes)
