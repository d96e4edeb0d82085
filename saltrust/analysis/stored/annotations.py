"""Reading what people drew out of the cubes, at native size or on the grid, image by image."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from saltrust.analysis.pixels.run_masks import RunMask, mask_of_pixels, mask_of_runs
from saltrust.analysis.pixels.scoring import MaskPixels
from saltrust.analysis.stored.arrays import (
    dataset_of,
    labels_of,
    read_at,
    texts_of,
    values_of,
)
from saltrust.cache import rle
from saltrust.cache.layout import CODES_PER_CHUNK
from saltrust.choices import Resolution, check_word
from saltrust.errors import DataError

_PER_READER = ("image", "finding", "reader")
#: Masks held as runs, a few kilobytes each, so that memory does not grow with the study.
_RUNS_HELD = 16384


@dataclass
class Annotations:
    """The annotations of some images and findings of a study.

    Labels and flags are held for all images; pixels of masks are read one image at a time and
    dropped when another image is asked for, and of runs some thousand masks are held, so that
    memory does not grow with the study.

    Attributes
    ----------
    images, findings, readers : list of str
        Labels of what was selected, in the order of the cubes.
    roles : list of str
        ``reference`` or ``benchmark`` for each reader.
    patients : list of (str or None)
        For each image.
    resolution : {"native", "grid"}
    annotated : ndarray of bool, shape (image, finding, reader)
    labels : ndarray of int8, shape (image, finding)
    n_polygons : ndarray of int64, shape (image, finding, reader)
        -1 where unknown.
    points : ndarray of float64, shape (image, finding, reader, instance, 2)
        Row and column in native pixels, NaN-padded.
    native_sizes : ndarray of int64, shape (image, 2)
        Height and width, 0 where unknown.
    grid : (int, int) or None
        Height and width of the grid masks, where there are any.
    """

    images: list[str]
    findings: list[str]
    readers: list[str]
    roles: list[str]
    patients: list[str | None]
    resolution: Resolution
    annotated: npt.NDArray[np.bool_]
    labels: npt.NDArray[np.int8]
    n_polygons: npt.NDArray[np.int64]
    points: npt.NDArray[np.float64]
    native_sizes: npt.NDArray[np.int64]
    grid: tuple[int, int] | None
    _reference: xr.Dataset
    _held: dict[str, Any] = field(default_factory=dict)

    @property
    def references(self) -> list[str]:
        """Names of all readers with the role reference."""
        return [name for name, role in zip(self.readers, self.roles, strict=True)
                if role == "reference"]

    @property
    def drawn(self) -> tuple[str, xr.DataArray]:
        """Name and values of the variable that the masks are read from, as lazy as it is."""
        name = "mask_rle" if self.resolution == "native" else "mask"
        return name, self._reference[name]

    @property
    def stated(self) -> dict[str, npt.NDArray[Any]]:
        """What else the cubes say of each reader's mask, by variable of ``/reference``.

        Each of shape (image, finding, reader, ...); only what is stored.
        """
        points = {name: self.points[..., axis] for axis, name in enumerate(("point_y", "point_x"))}
        every = {"annotated": self.annotated, "n_polygons": self.n_polygons, **points}
        return {name: values for name, values in every.items() if name in self._reference}

    def readers_with(self, role: str) -> list[int]:
        """Positions of the readers of a role that annotated anything that was selected."""
        return [r for r, name in enumerate(self.roles)
                if name == role and self.annotated[:, :, r].any()]

    def size(self, image: int) -> tuple[int, int]:
        """Height and width at which an image is scored.

        Raises
        ------
        DataError
            If its native size is asked for and unknown.
        """
        if self.resolution == "native":
            height, width = self.native_sizes[image].tolist()
            if height <= 0 or width <= 0:
                raise DataError(f"the native size of image {self.images[image]!r} is unknown; "
                                "use --resolution grid")
            return height, width
        if self.grid is None:
            raise DataError("the cubes have no reference/mask on the grid; use --resolution "
                            "native")
        return self.grid

    def pixels(self, image: int, finding: int, reader: int) -> MaskPixels:
        """The mask that a reader drew; empty where the reader drew nothing.

        Raises
        ------
        DataError
            If its run-length code is damaged or does not fit the image.
        """
        key = (finding, reader)
        masks = self._of_image(image)
        if key not in masks:
            masks[key] = self._read(image, finding, reader)
        return masks[key]

    def runs(self, image: int, finding: int, reader: int) -> RunMask:
        """The mask that a reader drew, as runs: at native size it is never decoded.

        Raises
        ------
        DataError
            If its run-length code is damaged or does not fit the image.
        """
        held: dict[tuple[int, int, int], RunMask] = self._held.setdefault("runs", {})
        key = image, finding, reader
        if key not in held:
            if len(held) >= _RUNS_HELD:
                held.clear()
            held[key] = self._read_runs(image, finding, reader)
        return held[key]

    def _read_runs(self, image: int, finding: int, reader: int) -> RunMask:
        if self.resolution == "grid":
            return mask_of_pixels(self._grid_masks(image)[finding, reader])
        height, width = self.size(image)
        counts = str(self._codes(image)[finding, reader])
        try:
            return mask_of_runs(rle.checked_run_lengths(counts, height, width), height, width)
        except DataError as error:
            raise self._damaged(image, finding, reader, error) from None

    def digest(self, image: int, finding: int, reader: int) -> int:
        """A number that tells this mask from others; -1 where the reader did not annotate."""
        return int(self.digests[image, finding, reader])

    @cached_property
    def digests(self) -> npt.NDArray[np.int64]:
        """The digests of all masks, shape (image, finding, reader)."""
        digests = np.full(self.annotated.shape, -1, dtype=np.int64)
        for image, finding, reader in np.argwhere(self.annotated).tolist():
            masks = self._grid_masks if self.resolution == "grid" else self._codes
            digests[image, finding, reader] = self.digest_of(image, masks(image)[finding, reader])
            if self.resolution == "grid":
                # The pixels are at hand, and are dropped with the next image.
                self.runs(image, finding, reader)
        return digests

    def digest_of(self, image: int, drawn: Any) -> int:
        """The digest of a mask of an image, from its code or its pixels on the grid."""
        if self.resolution == "grid":
            return zlib.crc32(np.packbits(drawn).tobytes())
        return zlib.crc32(f"{self.size(image)} {drawn}".encode())

    def point_pixels(self, image: int, finding: int, reader: int) -> list[tuple[int, int]]:
        """Pixels of the most representative points at the resolution of the masks."""
        points = self.points[image, finding, reader]
        points = np.floor(points[~np.isnan(points).any(axis=1)])
        if self.resolution == "grid" and len(points):
            native = self.native_sizes[image]
            if (native <= 0).any():
                raise DataError(f"image {self.images[image]!r} has points in native pixels but "
                                "its native size is unknown; state it and generate again")
            points = np.floor((points + 0.5) * np.array(self.size(image)) / native)
        return [(int(row), int(column)) for row, column in points]

    def _of_image(self, image: int) -> dict[tuple[int, int], MaskPixels]:
        if self._held.get("image") != image:
            self._held["image"], self._held["masks"] = image, {}
        return self._held["masks"]

    def _read(self, image: int, finding: int, reader: int) -> MaskPixels:
        if self.resolution == "grid":
            mask = self._grid_masks(image)[finding, reader]
        else:
            height, width = self.size(image)
            counts = str(self._codes(image)[finding, reader])
            try:
                if not rle.area(counts, height, width):
                    return MaskPixels(0, None)
                mask = np.ascontiguousarray(rle.decode(counts, height, width))
            except DataError as error:
                raise self._damaged(image, finding, reader, error) from None
        area = int(np.count_nonzero(mask))
        return MaskPixels(area, mask if area else None)

    def _damaged(self, image: int, finding: int, reader: int, error: DataError) -> DataError:
        return DataError(f"reference/mask_rle of {self.images[image]}, {self.findings[finding]}, "
                         f"reader {self.readers[reader]}: {error}")

    def _grid_masks(self, image: int) -> npt.NDArray[np.bool_]:
        if self._held.get("grid image") != image:
            self._held["grid image"] = image
            self._held["grid masks"] = read_at(
                self._reference["mask"], ("finding", "reader", "y", "x"),
                image=image)
        return self._held["grid masks"]

    def _codes(self, image: int) -> npt.NDArray[Any]:
        # A chunk of the store at a time, since less is not read any faster.
        block = image // CODES_PER_CHUNK
        if self._held.get("block") != block:
            self._held["block"] = block
            self._held["codes"] = read_at(
                self._reference["mask_rle"], ("image", "finding", "reader"),
                image=slice(block * CODES_PER_CHUNK, (block + 1) * CODES_PER_CHUNK))
        return self._held["codes"][image - block * CODES_PER_CHUNK]


def read_annotations(cubes: xr.DataTree, *, resolution: Resolution | None = None,
                     mapped: npt.NDArray[np.bool_] | None = None) -> Annotations:
    """Prepare the annotations of a study for reading.

    Parameters
    ----------
    cubes : xarray.DataTree
        The tree that :func:`saltrust.open_cubes` gives.
    resolution : {"native", "grid"}, optional
        By default native where native masks are stored and the native size of every image
        that is annotated or ``mapped`` is known.
    mapped : ndarray of bool, shape (image,), optional
        Which images of the cubes have something to be brought to the size of the masks.

    Returns
    -------
    Annotations

    Raises
    ------
    DataError
        If the cubes hold no reference masks, or none at the resolution asked for.
    UsageError
        If the resolution is not known.
    """
    root = cubes.to_dataset()
    reference = _reference(dataset_of(cubes, "reference"))
    native_sizes = _native_sizes(root)
    images, findings, readers = (labels_of(reference, dim) for dim in _PER_READER)
    flags = values_of(reference["annotated"], _PER_READER)
    polygons = (values_of(reference["n_polygons"], _PER_READER)
                if "n_polygons" in reference else np.full(flags.shape, -1))
    needed = flags.any(axis=(1, 2))
    if mapped is not None:
        needed |= mapped
    labels = values_of(reference["label"], _PER_READER[:2])
    return Annotations(
        images=images, findings=findings, readers=readers,
        roles=([str(role) for role in values_of(reference["reader_role"], ["reader"])]
               if "reader_role" in reference.variables else ["reference"] * len(readers)),
        patients=_patients(root, len(images)),
        resolution=_resolution(reference, resolution, native_sizes[needed]),
        annotated=flags.astype(bool), labels=labels.astype(np.int8),
        n_polygons=polygons.astype(np.int64), points=_points(reference, flags.shape),
        native_sizes=native_sizes,
        grid=((reference.sizes["y"], reference.sizes["x"]) if "mask" in reference else None),
        _reference=reference)


def _reference(reference: xr.Dataset | None) -> xr.Dataset:
    way_out = ("give the data set masks (native RLE, PNG or boxes; `saltrust import` for "
               "CheXlocalize) and generate the cubes again")
    if reference is None:
        raise DataError(f"the cubes hold no reference masks (there is no group reference); "
                        f"{way_out}")
    if ("reader" not in reference.coords or not reference.coords["reader"].size
            or not {"mask", "mask_rle"} & set(reference.variables)):
        raise DataError(f"the cubes hold no reference masks (reference names no reader); {way_out}")
    if "annotated" not in reference:
        raise DataError("the cubes do not say which masks were drawn (reference/annotated is "
                        "missing), and a missing annotation is not a negative; write it")
    if not reference["annotated"].values.any():
        raise DataError(f"the cubes hold no reference masks (no reader annotated any image); "
                        f"{way_out}")
    return reference


def _native_sizes(root: xr.Dataset) -> npt.NDArray[np.int64]:
    sizes = np.zeros((len(labels_of(root, "image")), 2), dtype=np.int64)
    for column, name in enumerate(("native_height", "native_width")):
        if name in root.variables:
            sizes[:, column] = values_of(root[name], ["image"])
    return sizes


def _patients(root: xr.Dataset, images: int) -> list[str | None]:
    if "patient" not in root.variables:
        return [None] * images
    return [name or None for name in texts_of(root["patient"], ["image"])]


def _resolution(reference: xr.Dataset, resolution: Resolution | None,
                native_sizes: npt.NDArray[np.int64]) -> Resolution:
    if resolution is not None:
        check_word(resolution, Resolution, "resolution")
    native, grid = "mask_rle" in reference, "mask" in reference
    if resolution == "native" and not native:
        raise DataError("the cubes have no masks at native size (reference/mask_rle is missing); "
                        "use --resolution grid")
    if resolution == "grid" and not grid:
        raise DataError("the cubes have no masks on the grid (reference/mask is missing); use "
                        "--resolution native")
    if resolution is not None:
        return resolution
    return "native" if native and (not grid or bool((native_sizes > 0).all())) else "grid"


def _points(reference: xr.Dataset, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    if not {"point_y", "point_x"} <= set(reference.variables):
        return np.full((*shape, 0, 2), np.nan)
    return np.stack([
        values_of(reference[name], (*_PER_READER, "instance"))
        for name in ("point_y", "point_x")], axis=-1).astype(np.float64)
