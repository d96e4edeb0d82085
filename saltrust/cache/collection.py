"""What a data set must offer so that its images can be trained on, explained and stored.

A *collection* knows all its labels at once and hands out pixels and annotations one
image at a time, so that a study never has to fit in memory.  ``saltrust.datasets``
implements it; ``training``, ``generate`` and :mod:`saltrust.cache.reference` consume it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import xarray as xr


@dataclass(frozen=True)
class Radiograph:
    """One decoded radiograph.

    Attributes
    ----------
    pixels : ndarray of uint8, shape (height, width)
        Gray values resampled to the grid asked for; 255 is white (MONOCHROME1 inverted).
    native_height, native_width : int
        Size as acquired, in pixels.
    doubt : str
        Why the gray values may not be those acquired, in one clause; empty where nothing says so.
    """

    pixels: npt.NDArray[np.uint8]
    native_height: int
    native_width: int
    doubt: str = ""


@dataclass(frozen=True)
class Annotation:
    """What one reader drew of one finding in one image, all at native size.

    Attributes
    ----------
    mask_rle : str
        ``counts`` of the compressed COCO run-length code (:mod:`saltrust.cache.rle`), at the
        native size of the image.  An empty mask is a valid code, not an empty string.
    n_polygons : int
        Contours the reader drew; -1 when unknown.
    points : tuple of (float, float)
        Most representative points as (row, column) in native pixels.
    boxes : tuple of (float, float, float, float)
        y0, x0, y1, x1 in native pixels, the far edges exclusive.
    """

    mask_rle: str
    n_polygons: int = -1
    points: tuple[tuple[float, float], ...] = ()
    boxes: tuple[tuple[float, float, float, float], ...] = ()


@dataclass(frozen=True)
class Fixations:
    """Where one reader looked in one image, in the order of looking.

    Attributes
    ----------
    y, x : ndarray of float64, shape (n,)
        Row and column in native pixels; whole numbers are pixel centres, so that the image
        reaches from -0.5 to its height or width less 0.5.  All lie within the image.
    duration : ndarray of float64, shape (n,)
        Seconds; NaN where unknown.
    """

    y: npt.NDArray[np.float64]
    x: npt.NDArray[np.float64]
    duration: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.y)


@runtime_checkable
class Collection(Protocol):
    """A data set: all labels now, pixels and annotations on request.

    Attributes
    ----------
    index : xarray.Dataset
        Coordinates ``image`` (str), ``finding`` (str), ``reader`` (str, may have length 0),
        ``reader_role(reader)``, optionally ``patient``, ``study``, ``view``, ``split``,
        ``native_height``, ``native_width`` on ``image``, where any further coordinate is a
        covariate (numbers, NaN unknown, or text, blank unknown); attributes ``n_points`` and
        ``n_boxes``, the longest lists of any annotation, where they are known, and
        ``n_fixations``, the most fixations of any image and reader (0 unless stated); variable
        ``label(image, finding)`` int8 (:class:`saltrust.cache.schema.Label`).  Image names are
        unique.
    fingerprint : str
        SHA-256 over what determines the data; recorded as provenance.
    description : dict
        Plain JSON values: kind, source, seed, counts, anything worth recording.
    has_radiographs : bool
        False for collections of annotations only.
    """

    # Properties, so that a frozen dataclass is one.
    @property
    def index(self) -> xr.Dataset: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def description(self) -> dict[str, Any]: ...
    @property
    def has_radiographs(self) -> bool: ...

    def radiograph(self, image: str, grid: tuple[int, int]) -> Radiograph:
        """Decode one radiograph and resample it to ``grid`` = (height, width).

        Raises
        ------
        DataError
            If the file is missing, truncated or holds no pixels; the message names it.
        """
        ...

    def annotations(self, image: str) -> Mapping[tuple[str, str], Annotation]:
        """All annotations of one image, keyed by (finding, reader).

        A pair that is absent was not annotated; an annotated negative has an empty mask.
        """
        ...


@runtime_checkable
class FileSource(Protocol):
    """What a collection offers beside, whose radiographs are files.

    Attributes
    ----------
    files : mapping of str to pathlib.Path
        By image; images without a file have no radiograph, and get neither maps nor predictions.
    """

    @property
    def files(self) -> Mapping[str, Path]: ...


@runtime_checkable
class PartialSource(Protocol):
    """What a collection offers beside, of whose images some may have no radiograph."""

    def has_radiograph(self, image: str) -> bool:
        """Whether there is a radiograph of this image."""
        ...


def radiograph_files(collection: Collection) -> Mapping[str, Path]:
    """Files of the radiographs by image; empty where radiographs are no files."""
    files = collection.files if isinstance(collection, FileSource) else {}
    # The name is so common that another's data set may mean something else by it.
    return files if isinstance(files, Mapping) else {}


def with_radiograph(collection: Collection) -> npt.NDArray[np.bool_]:
    """Whether there is a radiograph of each image, shape (image,)."""
    names = [str(name) for name in collection.index["image"].values]
    if not collection.has_radiographs:
        return np.zeros(len(names), dtype=bool)
    if isinstance(collection, PartialSource):
        return np.array([collection.has_radiograph(name) for name in names], dtype=bool)
    files = radiograph_files(collection)
    if files:
        return np.array([name in files for name in names], dtype=bool)
    return np.ones(len(names), dtype=bool)


@runtime_checkable
class GazeSource(Protocol):
    """What a collection offers beside, whose readers' eyes were followed.

    Ask :func:`gaze_source`, since a collection may have the methods and no gaze.

    Attributes
    ----------
    has_gaze : bool
        Whether there is gaze for any image at all.
    """

    @property
    def has_gaze(self) -> bool: ...

    def gaze(self, image: str, grid: tuple[int, int]) -> Mapping[str, npt.NDArray[np.float32]]:
        """Static gaze heatmaps of one image by reader, each of shape ``grid``, maximum 1.

        A reader whose gaze was not recorded, or never fell on the image, is absent: no gaze is
        not a map of zeros.
        """
        ...

    def fixations(self, image: str) -> Mapping[str, Fixations]:
        """Fixations within one image by reader; empty where only heatmaps are known."""
        ...


def gaze_source(collection: Collection) -> GazeSource | None:
    """The collection as a source of gaze; None where it has none."""
    if isinstance(collection, GazeSource) and collection.has_gaze:
        return collection
    return None
