"""The images, labels and annotations of an existing store as a collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from saltrust.cache.collection import Annotation, Fixations, Radiograph
from saltrust.cache.store import open_cubes
from saltrust.cache.validation import covariate_names
from saltrust.datasets.collection_index import choose_findings, collection_index, fingerprint
from saltrust.datasets.files.radiograph_files import resample
from saltrust.datasets.gaze_maps import resample_heatmap
from saltrust.errors import DataError

_ANNOTATION_VARIABLES = ("annotated", "mask_rle", "n_polygons", "point_y", "point_x", "box")


@dataclass(frozen=True, eq=False)
class StoredCollection:
    """See :class:`saltrust.cache.collection.Collection`; made by :func:`stored_cubes`."""

    index: xr.Dataset
    fingerprint: str
    description: dict[str, Any]
    has_radiographs: bool
    path: Path
    present: frozenset[str] = field(repr=False)
    cubes: xr.DataTree = field(repr=False)

    def radiograph(self, image: str, grid: tuple[int, int]) -> Radiograph:
        """Grid pixels of one image, reduced to ``grid`` where that is smaller.

        Raises
        ------
        DataError
            If the store has no pixels of the image, or ``grid`` is larger than the store's:
            what was reduced cannot be had back.
        """
        if not self.has_radiographs:
            raise DataError(f"{self.path} holds no radiographs; give the data set it was made of")
        group = self.cubes["radiograph"].to_dataset()
        position = self._position(image)
        if "stored" in group and not int(group["stored"][position]):
            raise DataError(f"{self.path} holds no radiograph of {image}; give the data set it "
                            "was made of")
        stored = (group.sizes["y"], group.sizes["x"])
        self._check_grid("radiographs", stored, grid)
        pixels = np.asarray(group["pixels"][position].values, dtype=np.uint8)
        return Radiograph(resample(pixels, grid), *self._native_size(position, stored))

    def has_radiograph(self, image: str) -> bool:
        """Whether the store has pixels of an image."""
        return image in self.present

    def annotations(self, image: str) -> Mapping[tuple[str, str], Annotation]:
        """All annotations of one image, keyed by (finding, reader)."""
        drawn: dict[tuple[str, str], Annotation] = {}
        if not self.index.sizes["reader"]:
            return drawn
        group = self.cubes["reference"].to_dataset().isel(image=self._position(image))
        names = [name for name in _ANNOTATION_VARIABLES if name in group]
        arrays = {name: group[name].transpose("finding", "reader", ...).values for name in names}
        at = {str(name): i for i, name in enumerate(group["finding"].values)}
        for finding, name in self.description["findings"].items():
            for j, reader in enumerate(self.index["reader"].values.tolist()):
                if arrays["annotated"][at[name], j]:
                    drawn[finding, reader] = _annotation(
                        {key: values[at[name], j] for key, values in arrays.items()})
        return drawn

    @property
    def has_gaze(self) -> bool:
        """Whether the store has a place for gaze."""
        return "gaze_recorded" in self.cubes["reference"].data_vars

    def gaze(self, image: str, grid: tuple[int, int]) -> Mapping[str, npt.NDArray[np.float32]]:
        """Gaze heatmaps of one image by reader, reduced to ``grid`` where that is smaller.

        Raises
        ------
        DataError
            If ``grid`` is larger than the store's.
        """
        if not self.has_gaze:
            return {}
        group = self.cubes["reference"].to_dataset().isel(image=self._position(image))
        self._check_grid("gaze", (group.sizes["y"], group.sizes["x"]), grid)
        return {reader: resample_heatmap(group["gaze"][j].values, grid)
                for j, reader in enumerate(_texts(group["reader"]))
                if bool(group["gaze_recorded"][j])}

    def fixations(self, image: str) -> Mapping[str, Fixations]:
        """Fixations within one image by reader."""
        if "fixation_y" not in self.cubes["reference"].data_vars:
            return {}
        group = self.cubes["reference"].to_dataset().isel(image=self._position(image))
        names = ("fixation_y", "fixation_x", "fixation_duration")
        y, x, duration = (group[name].values.astype(np.float64) for name in names)
        of_reader = {}
        for j, reader in enumerate(_texts(group["reader"])):
            placed = np.isfinite(y[j]) & np.isfinite(x[j])
            if placed.any():
                of_reader[reader] = Fixations(y[j][placed], x[j][placed], duration[j][placed])
        return of_reader

    def _check_grid(self, what: str, stored: tuple[int, int], grid: tuple[int, int]) -> None:
        if grid[0] > stored[0] or grid[1] > stored[1]:
            raise DataError(f"{self.path} holds {what} of {stored[0]} x {stored[1]} pixels, "
                            f"fewer than the {grid[0]} x {grid[1]} of the study; set grid = "
                            f"{min(stored)} or give the data set the store was made of")

    def _position(self, image: str) -> int:
        return int(np.flatnonzero(self.index["image"].values == image)[0])

    def _native_size(self, position: int, stored: tuple[int, int]) -> tuple[int, int]:
        if "native_height" not in self.index.coords:
            return stored
        size = (int(self.index["native_height"][position]),
                int(self.index["native_width"][position]))
        return size if min(size) > 0 else stored


def stored_cubes(path: str | Path, *, findings: Sequence[str] = ()) -> StoredCollection:
    """Take the images, labels and annotations of an existing store as a collection.

    Parameters
    ----------
    path : path
        A finished store, e.g. of ``saltrust import``.
    findings : sequence of str
        Which of its findings, in this order; empty: all.

    Raises
    ------
    UsageError
        If there is no store at ``path``.
    DataError
        If it is no finished store, or lacks a finding (the nearest one is named).
    """
    cubes = open_cubes(path)
    root = cubes.to_dataset()
    present = [str(name) for name in root["finding"].values]
    chosen = choose_findings(findings, present, Path(path))
    reference = cubes["reference"].to_dataset() if "reference" in cubes.children else None
    if reference is None:
        raise DataError(f"{path} holds no labels (it has no group reference); give the data set "
                        "it was made of")
    readers = {}
    if "annotated" in reference and "mask_rle" in reference:
        readers = dict(zip(_texts(reference["reader"]), _texts(reference["reader_role"]),
                           strict=True))
    sizes = None
    if "native_height" in root.coords and "native_width" in root.coords:
        sizes = list(zip(root["native_height"].values.tolist(),
                         root["native_width"].values.tolist(), strict=True))
    labels = reference["label"].sel(finding=list(chosen.values())).transpose("image", "finding")
    of_image = {name: _texts(root[name]) if name in root.coords else None
                for name in ("patient", "study", "view", "split")}
    index = collection_index(_texts(root["image"]), list(chosen), labels.values,
                             readers=readers, native_sizes=sizes,
                             covariates={name: root[name].values
                                         for name in covariate_names(root)}, **of_image)
    index.attrs["n_fixations"] = reference.sizes.get("fixation", 0)
    return StoredCollection(
        index=index,
        fingerprint=fingerprint({
            "store": cubes.attrs.get("data_fingerprint") or cubes.attrs.get("identity"),
            "findings": list(chosen)}),
        description={"kind": "cubes", "source": str(path), "images": root.sizes["image"],
                     "findings": chosen, "data": cubes.attrs.get("data")},
        has_radiographs="radiograph" in cubes.children, path=Path(path),
        present=_present(cubes), cubes=cubes)


def _present(cubes: xr.DataTree) -> frozenset[str]:
    """Images whose pixels are stored."""
    if "radiograph" not in cubes.children:
        return frozenset()
    group = cubes["radiograph"].to_dataset()
    names = np.asarray(_texts(group["image"]))
    return frozenset((names[group["stored"].values.astype(bool)] if "stored" in group
                      else names).tolist())


def _annotation(drawn: Mapping[str, Any]) -> Annotation:
    """One annotation from what the variables hold of it; NaN pads lists."""
    points: tuple[tuple[float, float], ...] = ()
    if "point_y" in drawn:
        pairs = np.stack([drawn["point_y"], drawn["point_x"]], axis=-1)
        points = tuple((float(y), float(x)) for y, x in pairs[np.isfinite(pairs).all(axis=-1)])
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    if "box" in drawn:
        corners = drawn["box"][np.isfinite(drawn["box"]).all(axis=-1)]
        boxes = tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in corners)
    return Annotation(str(drawn["mask_rle"]), int(drawn.get("n_polygons", -1)), points, boxes)


def _texts(array: xr.DataArray) -> list[str]:
    return [str(value) for value in array.values]
