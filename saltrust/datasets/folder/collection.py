"""A plain folder of radiographs as a collection: one class folder per finding.

Layouts, all with PNG, JPEG or DICOM files::

    DIR/pneumonia/a.png  DIR/pneumothorax/b.png          one finding per class folder
    DIR/train/pneumonia/a.png  DIR/test/pneumonia/b.png  with given splits on top
    DIR/a.png  DIR/b.png                                 no labels; the study names findings

An image is labelled 1 for the finding of its own class folder and 0 for the others, so the
class folders should exclude each other; a folder such as ``normal`` is left out by naming the
other findings in the study, and its images then count as negative for all of them.  The name
of an image is its path below DIR without the file ending.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from saltrust.cache.collection import Annotation, Radiograph
from saltrust.cache.schema import Label
from saltrust.datasets.collection_index import (
    choose_findings,
    collection_index,
    fingerprint,
    require_unique,
)
from saltrust.datasets.files.csv_tables import SPLIT_NAMES
from saltrust.datasets.files.limits import of_file, of_image
from saltrust.datasets.files.radiograph_files import (
    RADIOGRAPH_SUFFIXES,
    read_radiograph,
    stated_patients,
)
from saltrust.datasets.splits import SPLIT_FRACTIONS, split_by_patient, warn_of_shared_patients
from saltrust.errors import DataError


@dataclass(frozen=True)
class FolderCollection:
    """Radiographs of a folder; see :class:`saltrust.cache.collection.Collection`."""

    index: xr.Dataset
    fingerprint: str
    description: dict[str, Any]
    files: Mapping[str, Path] = field(repr=False)
    has_radiographs: bool = True

    @of_image("the radiograph")
    def radiograph(self, image: str, grid: tuple[int, int]) -> Radiograph:
        """Decode one radiograph and resample it to ``grid`` = (height, width)."""
        return read_radiograph(self.files[image], grid)

    @of_image("the annotations")
    def annotations(self, image: str) -> Mapping[tuple[str, str], Annotation]:  # noqa: ARG002
        """Nothing: a folder has no annotations."""
        return {}


@dataclass(frozen=True)
class _Placed:
    """One radiograph with what its place in the folder says."""

    image: str
    path: Path
    finding: str | None
    split: str | None


@of_file("correct what the sentence names")
def folder(
    directory: str | Path,
    *,
    findings: Sequence[str] = (),
    split_fractions: Sequence[float] = SPLIT_FRACTIONS,
    seed: int = 0,
) -> FolderCollection:
    """Take a folder of radiographs as a collection.

    Parameters
    ----------
    directory : path
    findings : sequence of str
        Which class folders are findings, in this order; empty: all of them.
    split_fractions : three floats
        Train, val and test, by patient and stratified by label, unless the folder has split
        folders (``train``, ``val`` or ``valid``, ``test``).  Patients are known from DICOM
        headers; otherwise every image counts as its own patient.
    seed : int
        Of the random split.

    Returns
    -------
    FolderCollection

    Raises
    ------
    DataError
        If there is no folder or no radiograph in it, images lie both directly in it and in
        class folders, a finding has no class folder (the nearest one is named), or two files
        give one image name.
    """
    root = Path(directory)
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; give the folder that holds the radiographs")
    placed, classes = _search(root)
    require_unique([item.image for item in placed], [item.path for item in placed])
    if classes:
        chosen = choose_findings(findings, classes, root)
        labels = np.array([[int(item.finding == name) for name in chosen.values()]
                           for item in placed])
        names = list(chosen)
    elif findings:
        names = list(findings)
        labels = np.full((len(placed), len(names)), int(Label.NOT_STATED))
    else:
        raise DataError(f"{root} holds images but no class folders, so it says nothing about "
                        "findings; name those of your model under [data] findings")
    images = [item.image for item in placed]
    patients = stated_patients(images, [item.path for item in placed])
    given = [item.split for item in placed]
    if all(split is not None for split in given):
        splits = [str(split) for split in given]
        warn_of_shared_patients(patients, splits, str(root))
    else:
        splits = split_by_patient(patients, labels, split_fractions, seed)
    files = {item.image: item.path for item in placed}
    return FolderCollection(
        index=collection_index(images, names, labels, patient=patients, split=splits),
        fingerprint=fingerprint(
            {"findings": names, "labels": labels.tolist(), "splits": splits}, files),
        description={
            "kind": "folder", "source": str(root), "seed": seed, "images": len(images),
            "patients": len(set(patients)),
            "split": "given by folders" if given[0] is not None else "random by patient",
        },
        files=files,
    )


def _search(root: Path) -> tuple[list[_Placed], list[str]]:
    """All radiographs below ``root``, sorted by name, and the class folders."""
    top = _subfolders(root)
    on_split = [path for path in top if path.name.lower() in SPLIT_NAMES]
    if not on_split:
        return _search_classes(root, root, None)
    others = [path.name for path in top if path not in on_split]
    if others or _radiographs(root, recursive=False):
        raise DataError(f"{root} has split folders ({on_split[0].name}) and, beside them, "
                        f"{others[0] if others else 'images'}; move it into one of them")
    placed: list[_Placed] = []
    classes: list[str] = []
    for path in on_split:
        inside, names = _search_classes(root, path, SPLIT_NAMES[path.name.lower()])
        placed += inside
        classes += [name for name in names if name not in classes]
    if classes and any(item.finding is None for item in placed):
        raise DataError(f"{root} has class folders in some of its split folders only; sort the "
                        "images of the others into class folders too")
    return placed, sorted(classes)


def _search_classes(root: Path, parent: Path, split: str | None
                    ) -> tuple[list[_Placed], list[str]]:
    direct = _radiographs(parent, recursive=False)
    by_class = {path.name: _radiographs(path, recursive=True) for path in _subfolders(parent)}
    by_class = {name: paths for name, paths in by_class.items() if paths}
    if direct and by_class:
        raise DataError(f"{parent} holds images ({direct[0].name}) beside class folders "
                        f"({next(iter(by_class))}); move them into a class folder")
    if not direct and not by_class:
        raise DataError(f"{parent} holds no PNG, JPEG or DICOM radiographs "
                        f"({', '.join(RADIOGRAPH_SUFFIXES)}); check the path")
    placed: list[tuple[str | None, Path]] = [(None, path) for path in direct]
    placed += [(name, path) for name, paths in by_class.items() for path in paths]
    radiographs = [_Placed(path.relative_to(root).with_suffix("").as_posix(), path, name, split)
                   for name, path in placed]
    return radiographs, list(by_class)


def _subfolders(parent: Path) -> list[Path]:
    return sorted(path for path in parent.iterdir()
                  if path.is_dir() and not path.name.startswith("."))


def _radiographs(parent: Path, *, recursive: bool) -> list[Path]:
    candidates = parent.rglob("*") if recursive else parent.iterdir()
    return sorted(path for path in candidates
                  if path.suffix.lower() in RADIOGRAPH_SUFFIXES
                  and not path.name.startswith(".") and path.is_file())
