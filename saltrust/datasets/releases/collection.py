"""What the releases share: a table says which images there are, and some of them are on disk."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from saltrust.cache.collection import Annotation, Radiograph
from saltrust.datasets.collection_index import fingerprint
from saltrust.datasets.files.image_ids import read_splits
from saltrust.datasets.files.limits import of_image
from saltrust.datasets.files.radiograph_files import native_size, read_radiograph
from saltrust.datasets.releases.boxes import BoxTable, Drawings
from saltrust.datasets.releases.radiographs import Place, find_files
from saltrust.datasets.splits import SPLIT_FRACTIONS, split_by_patient, warn_of_shared_patients
from saltrust.errors import DataError, nearest
from saltrust.study import Study

_log = logging.getLogger(__name__)

#: Split of images of which the release says nothing, and of those from which it leaves it to
#: others to draw the validation set.
OPEN, OPEN_TRAIN = "", "train or val"
#: Of height to width, between a copy of a radiograph and the one that was annotated.
_MOST_DISTORTION = 0.02


@dataclass(frozen=True)
class Choices:
    """What a study asks of a release, whichever it is.

    Attributes
    ----------
    findings : tuple of str
        Empty: all.
    views : tuple of str
        Projections that are kept, such as ``frontal``, which takes in ``frontal AP``; empty: all.
    images : pathlib.Path or None
        Folder of the radiographs; None: beside the tables, where there are any.
    splits : pathlib.Path or None
        CSV of image ids and splits, in the place of the release's.
    split_fractions : tuple of float
        Of a random split by patient, where neither says.
    seed : int
        Of that split.
    """

    findings: tuple[str, ...] = ()
    views: tuple[str, ...] = ()
    images: Path | None = None
    splits: Path | None = None
    split_fractions: tuple[float, ...] = SPLIT_FRACTIONS
    seed: int = 0

    @classmethod
    def of_study(cls, study: Study) -> Choices:
        """Those of a study file."""
        data = study.data
        return cls(data.findings, data.views, study.data_path("images"),
                   study.data_path("splits"), data.split_fractions or SPLIT_FRACTIONS, study.seed)


@dataclass(frozen=True, eq=False)
class ReleaseCollection:
    """See :class:`saltrust.cache.collection.Collection`; made by :func:`release_collection`."""

    index: xr.Dataset
    fingerprint: str
    description: dict[str, Any]
    has_radiographs: bool
    files: Mapping[str, Path] = field(repr=False)
    drawings: Drawings | None = field(repr=False)
    sizes: Mapping[str, tuple[int, int]] = field(repr=False)

    @of_image("the radiograph")
    def radiograph(self, image: str, grid: tuple[int, int]) -> Radiograph:
        """Decode one radiograph and resample it to ``grid`` = (height, width).

        Where something was drawn the native size is that of what was annotated, of which the
        file may be a smaller copy.
        """
        if image not in self.files:
            raise DataError(f"there is no radiograph of {image}; give the folder of images")
        radiograph = read_radiograph(self.files[image], grid)
        size = self.sizes.get(image)
        if size is None:
            return radiograph
        shape = radiograph.native_height / radiograph.native_width * size[1] / size[0]
        if abs(shape - 1) > _MOST_DISTORTION:
            raise DataError(f"{self.files[image]} has {radiograph.native_height} x "
                            f"{radiograph.native_width} pixels, but what was annotated has "
                            f"{size[0]} x {size[1]}, another shape; give radiographs that are "
                            "neither cropped nor squeezed")
        return dataclasses.replace(radiograph, native_height=size[0], native_width=size[1])

    @of_image("the annotations")
    def annotations(self, image: str) -> Mapping[tuple[str, str], Annotation]:
        """What was drawn in an image, keyed by (finding, reader)."""
        if self.drawings is None or image not in self.sizes:
            return {}
        return self.drawings.annotations(image, self.sizes[image])


@dataclass(frozen=True)
class Release:
    """A release as its tables have it.

    Attributes
    ----------
    index : xarray.Dataset
        As :func:`saltrust.datasets.collection_index.collection_index` makes it; ``split`` may be
        :data:`OPEN` or :data:`OPEN_TRAIN`.
    folder : pathlib.Path
        Of the tables.
    place : Place
        Where its radiographs lie.
    description : mapping
        What to record of the source.
    boxes : BoxTable or None
    size_of_files : bool
        Whether the native size of what was drawn on is that of the files.
    """

    index: xr.Dataset
    folder: Path
    place: Place
    description: Mapping[str, Any]
    boxes: BoxTable | None = None
    size_of_files: bool = False


def release_collection(release: Release, choices: Choices) -> ReleaseCollection:
    """Complete the splits, choose views, and look which images are on disk.

    Parameters
    ----------
    release : Release
    choices : Choices

    Returns
    -------
    ReleaseCollection
        Without radiographs where none lie beside the tables and none were asked for; else the log
        says how many images are not on disk: they have labels, and get no maps.

    Raises
    ------
    UsageError
        If the folder of the radiographs does not exist.
    DataError
        If a view is none of the release's, no id of a split file is known, or none of the
        radiographs asked for is there.
    """
    index = release.index
    index = index.assign_coords(split=("image", _complete_splits(index, choices, release)))
    listed = index.sizes["image"]
    index = index.isel(image=_of_views(index, choices.views, release.folder))
    images = index["image"].values.tolist()
    on_disk = find_files(images, release.place, beside=release.folder, images=choices.images)
    paths = {image: Path(on_disk.paths[image]) for image in images
             if image in on_disk.paths}
    if paths and len(paths) < len(images):
        _log.warning("%d of %d images of %s have no radiograph on disk (first: %s); they get no "
                     "maps", len(images) - len(paths), len(images), release.folder,
                     next(image for image in images if image not in paths))
    sizes, drawings, counts = _drawn(index, paths, release)
    # What is on disk is no part of it, so that a study goes on when more has been fetched.
    digest = _digest(index)
    if release.size_of_files and sizes:
        of_images = np.array([sizes.get(image, (0, 0)) for image in images], dtype=np.int32)
        index = index.assign_coords(native_height=("image", of_images[:, 0]),
                                    native_width=("image", of_images[:, 1]))
    if drawings is None:
        index = index.isel(reader=slice(0))
    boxes = release.boxes if drawings else None
    index.attrs.update(n_points=0, n_boxes=boxes.most_boxes if boxes else 0)
    patients, splits = index["patient"].values.tolist(), index["split"].values.tolist()
    return ReleaseCollection(
        index=index,
        fingerprint=fingerprint({"index": digest, "boxes": boxes.content() if boxes else None}),
        description={
            **release.description, **counts, "images": index.sizes["image"],
            "images_listed": listed, "patients": len(set(patients)),
            "views": list(choices.views), "seed": choices.seed,
            **({"radiographs": len(paths), "radiographs_of_no_image": on_disk.others}
               if paths else {}),
            "splits": str(choices.splits) if choices.splits else None,
            "patients_in_several_splits": warn_of_shared_patients(patients, splits,
                                                                  str(release.folder))},
        has_radiographs=bool(paths), files=paths, drawings=drawings, sizes=sizes)


def _complete_splits(index: xr.Dataset, choices: Choices, release: Release) -> list[str]:
    """The release's splits, those of a file in their place, or random ones where neither says."""
    images = index["image"].values.tolist()
    if choices.splits is not None:
        split_of, _ = read_splits(choices.splits, images)
        return [split_of.get(image, "none") for image in images]
    splits = index["split"].values.astype(object)
    train, val, _ = choices.split_fractions
    for kind, fractions in ((OPEN, choices.split_fractions),
                            (OPEN_TRAIN, (train / ((train + val) or 1), val / ((train + val) or 1),
                                          0.0))):
        at = np.flatnonzero(splits == kind)
        if not len(at):
            continue
        if not any(fractions):
            raise DataError(f"{release.folder} leaves it open which of its training images are for "
                            "validation; give split_fractions with parts for train and val")
        part = index.isel(image=at)
        splits[at] = split_by_patient(part["patient"].values.tolist(), part["label"].values,
                                      fractions, choices.seed)
    return [str(split) for split in splits]


def _of_views(index: xr.Dataset, asked: Sequence[str], folder: Path) -> npt.NDArray[np.bool_]:
    kept = np.full(index.sizes["image"], not asked)
    if asked:
        present, codes = np.unique(index["view"].values, return_inverse=True)
        for view in asked:
            fitting = np.array([one == view or one.startswith(f"{view} ") for one in present])
            if not fitting.any():
                raise DataError(f"{folder} has no view {view!r}, which views under [data] names; "
                                f"{nearest(view, [one for one in present.tolist() if one])}")
            kept |= fitting[codes]
    return kept


def _drawn(index: xr.Dataset, files: Mapping[str, Path], release: Release,
           ) -> tuple[dict[str, tuple[int, int]], Drawings | None, dict[str, int]]:
    """Native sizes of what was drawn on, what was drawn in images of known size, and counts."""
    if release.boxes is None:
        return {}, None, {}
    if not release.size_of_files:
        known = dict(zip(index["image"].values.tolist(),
                         zip(index["native_height"].values.tolist(),
                             index["native_width"].values.tolist(), strict=True), strict=True))
    elif files:
        known = {image: native_size(path) for image, path in files.items()}
    else:
        _log.warning("%s has boxes in pixels but neither radiographs nor a table of their sizes, "
                     "so labels are taken alone; give images or sizes under [data]",
                     release.folder)
        return {}, None, {}
    return known, *release.boxes.within(known, release.folder)


def _digest(index: xr.Dataset) -> str:
    """SHA-256 over labels and all that is known of the images."""
    digest = hashlib.sha256(index["label"].values.tobytes())
    for name in sorted(map(str, index.coords)):
        digest.update(f"\0{name}\0".encode())
        digest.update("\0".join(map(str, index[name].values.tolist())).encode())
    return digest.hexdigest()
