"""What the data sets of the two Kaggle chest challenges share: one finding, one reader, splits.

The annotations lie in a CSV, the radiographs (optional) below any folder as ID.dcm, ID.png or
ID.jpg, and a split file, where there is one, names images with or without such an ending.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from saltrust.cache.collection import Annotation, Radiograph
from saltrust.datasets.collection_index import choose_findings, collection_index, fingerprint
from saltrust.datasets.files.image_ids import find_radiographs, read_splits
from saltrust.datasets.files.limits import of_image
from saltrust.datasets.files.radiograph_files import read_radiograph
from saltrust.datasets.splits import split_by_patient
from saltrust.errors import DataError

#: Both challenges annotated radiographs of this height and width.
NATIVE_SIZE = (1024, 1024)
READER = "reference"
#: Of the images, as Arun et al. 2021 (81 %, 9 %, 10 % of 10,675).
SPLIT_FRACTIONS = (0.81, 0.09, 0.10)


@dataclass(frozen=True, eq=False)
class ChallengeCollection:
    """See :class:`saltrust.cache.collection.Collection`."""

    index: xr.Dataset
    fingerprint: str
    description: dict[str, Any]
    has_radiographs: bool
    drawn: Mapping[str, Annotation] = field(repr=False)
    files: Mapping[str, Path] = field(repr=False)

    @of_image("the radiograph")
    def radiograph(self, image: str, grid: tuple[int, int]) -> Radiograph:
        """Decode one radiograph and resample it to ``grid`` = (height, width)."""
        if image not in self.files:
            raise DataError(f"there is no radiograph of {image}; give the folder of images")
        radiograph = read_radiograph(self.files[image], grid)
        size = (radiograph.native_height, radiograph.native_width)
        if size != NATIVE_SIZE:
            raise DataError(f"{self.files[image]} has {size[0]} x {size[1]} pixels, but the masks "
                            f"are of {NATIVE_SIZE[0]} x {NATIVE_SIZE[1]}; give the originals")
        return radiograph

    @of_image("the annotations")
    def annotations(self, image: str) -> Mapping[tuple[str, str], Annotation]:
        """The one annotation of an image, keyed by (finding, reader)."""
        finding = str(self.index["finding"].values[0])
        return {(finding, READER): self.drawn[image]}


def challenge_collection(
    labels: Mapping[str, int],
    drawn: Mapping[str, Annotation],
    *,
    finding: str,
    description: Mapping[str, Any],
    splits: str | Path | None,
    images: str | Path | None,
    findings: Sequence[str] = (),
    split_fractions: Sequence[float] = (),
    seed: int = 0,
) -> ChallengeCollection:
    """Join labels and annotations with splits and radiographs.

    Parameters
    ----------
    labels, drawn : mapping
        Label and annotation of every image, in the order of the store.
    finding : str
    description : mapping
        What to record of the source.
    splits : path or None
        CSV with a column of ids and a column ``Split``; images that it leaves out get the split
        ``none``, as all images do without it and without ``split_fractions``.
    images : path or None
        Folder of radiographs; images without one are counted in the log, and get no maps.
    findings : sequence of str
        What the study asks for: the one finding, or nothing.
    split_fractions : three floats or none
        Train, val and test of a random split, stratified by label, where ``splits`` gives none.
    seed : int
        Of the random split.

    Raises
    ------
    UsageError
        If the folder does not exist.
    DataError
        If a finding is asked for that is not the challenge's, no id of the split file is known,
        or no image has a radiograph.
    """
    names = list(labels)
    choose_findings(findings, [finding], Path(description["source"]))
    unknown = 0
    split_of: dict[str, str] = {}
    if splits is not None:
        split_of, unknown = read_splits(splits, names)
    elif split_fractions:
        of_images = np.array([[labels[name]] for name in names])
        split_of = dict(zip(names, split_by_patient(names, of_images, split_fractions, seed),
                            strict=True))
    files = find_radiographs(images, names) if images is not None else {}
    index = collection_index(
        names, [finding], np.array([labels[name] for name in names]), readers={READER: "reference"},
        native_sizes=[NATIVE_SIZE] * len(names), patient=names,
        split=[split_of.get(name, "none") for name in names])
    return ChallengeCollection(
        index=index,
        fingerprint=fingerprint(
            {"labels": dict(labels), "drawn": [vars(drawn[name]) for name in names],
             "split": split_of, "finding": finding}),
        description={**description, "images": len(names), "positive": sum(labels.values()),
                     **({"radiographs": len(files)} if images is not None else {}),
                     "splits": str(splits) if splits is not None else None,
                     **({"seed": seed} if split_of and splits is None else {}),
                     "split_ids_unknown": unknown,
                     "images_without_split": sum(name not in split_of for name in names)},
        has_radiographs=bool(files), drawn=drawn, files=files)
