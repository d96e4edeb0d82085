"""A plain folder of radiographs as a collection: one class folder per finding.

Layouts, all with PNG, JPEG, BMP, TIFF or DICOM files, DICOM also without a file ending::

    DIR/pneumonia/a.png  DIR/pneumothorax/b.png          one finding per class folder
    DIR/train/pneumonia/a.png  DIR/test/pneumonia/b.png  with given splits on top
    DIR/a.png  DIR/b.png                                 no labels; the study names findings

An image is labelled 1 for the finding of its own class folder and 0 for the others, so the
class folders should exclude each other; a folder such as ``normal`` is left out by naming the
other findings in the study, and its images then count as negative for all of them.  The name
of an image is its path below DIR without the file ending.

Links to files and folders are followed.  Files that are no radiographs are left out, counted and
named in the log and in the description; a class folder of which nothing would be left is refused.
"""

from __future__ import annotations

import logging
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
from saltrust.datasets.files.image_search import (
    counted,
    described,
    files_below,
    files_in,
    image_name,
    is_radiograph_file,
    subfolders,
    without_doubles,
)
from saltrust.datasets.files.limits import of_file, of_image
from saltrust.datasets.files.radiograph_files import (
    RADIOGRAPH_SUFFIXES,
    read_radiograph,
    stated_patients,
)
from saltrust.datasets.splits import SPLIT_FRACTIONS, split_by_patient, warn_of_shared_patients
from saltrust.errors import DataError

_log = logging.getLogger(__name__)


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


@dataclass(frozen=True)
class _Contents:
    """What a folder holds: radiographs by name, class folders, and files that are left out."""

    placed: list[_Placed]
    classes: list[str]
    left_out: list[Path]


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
        class folders, a class folder has no radiograph, a finding has no class folder (the
        nearest one is named), or two files give one image name.
    """
    root = Path(directory)
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; give the folder that holds the radiographs")
    contents = _search(root)
    placed, classes = contents.placed, contents.classes
    require_unique([item.image for item in placed], [item.path for item in placed])
    if contents.left_out:
        _log.warning("%s: left out, as they are no radiographs or links to the same again, %s",
                     root, counted(contents.left_out, root))
    _warn_of_doubles(root, [item.path for item in placed])
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
            {"findings": names, "labels": labels.tolist(), "splits": splits}),
        description={
            "kind": "folder", "source": str(root), "seed": seed, "images": len(images),
            "patients": len(set(patients)),
            "split": "given by folders" if given[0] is not None else "random by patient",
            **({"left_out": described(contents.left_out, root)} if contents.left_out else {}),
        },
        files=files,
    )


def _warn_of_doubles(root: Path, paths: Sequence[Path]) -> None:
    """Say that links put one file into several classes or splits."""
    _, doubles = without_doubles(paths)
    if doubles:
        _log.warning("%s: %d files lie, by links, in several classes or splits (first: %s) and "
                     "count as an image of their own in each", root, len(doubles),
                     doubles[0].relative_to(root))


def _search(root: Path) -> _Contents:
    """All radiographs below ``root``, sorted by name, and the class folders."""
    top = subfolders(root)
    on_split = [path for path in top if path.name.lower() in SPLIT_NAMES]
    if not on_split:
        return _search_classes(root, root, None)
    others = [path.name for path in top if path not in on_split]
    beside = [path for path in files_in(root) if is_radiograph_file(path)]
    if others or beside:
        raise DataError(f"{root} has split folders ({on_split[0].name}) and, beside them, "
                        f"{others[0] if others else 'images'}; move it into one of them")
    placed: list[_Placed] = []
    classes: list[str] = []
    left_out = files_in(root)
    for path in on_split:
        inside = _search_classes(root, path, SPLIT_NAMES[path.name.lower()])
        placed += inside.placed
        left_out += inside.left_out
        classes += [name for name in inside.classes if name not in classes]
    if classes and any(item.finding is None for item in placed):
        raise DataError(f"{root} has class folders in some of its split folders only; sort the "
                        "images of the others into class folders too")
    return _Contents(placed, sorted(classes), left_out)


def _search_classes(root: Path, parent: Path, split: str | None) -> _Contents:
    """Radiographs of one split, or of all: directly in a folder, or in its class folders."""
    direct, left_out = _radiographs(files_in(parent))
    by_class: dict[str, list[Path]] = {}
    for path in subfolders(parent):
        files = list(files_below(path))
        by_class[path.name], others = _radiographs(files)
        left_out += others
        if not by_class[path.name]:
            held = f"holds {counted(files, path)}" if files else "is empty"
            raise DataError(f"the class folder {path} {held}, and no radiograph "
                            f"({', '.join(RADIOGRAPH_SUFFIXES)}, or DICOM without an ending), so "
                            "that the class would vanish; put its radiographs there, or move the "
                            "folder away")
    if direct and by_class:
        raise DataError(f"{parent} holds images ({direct[0].name}) beside class folders "
                        f"({next(iter(by_class))}); move them into a class folder")
    if not direct and not by_class:
        held = f"; it holds {counted(left_out, parent)}" if left_out else ""
        raise DataError(f"{parent} holds no PNG, JPEG or DICOM radiographs "
                        f"({', '.join(RADIOGRAPH_SUFFIXES)}){held}; check the path")
    placed: list[tuple[str | None, Path]] = [(None, path) for path in direct]
    placed += [(name, path) for name, paths in by_class.items() for path in paths]
    radiographs = [_Placed(image_name(path.relative_to(root)), path, name, split)
                   for name, path in placed]
    return _Contents(radiographs, list(by_class), left_out)


def _radiographs(files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Which of the files are radiographs, each once, and which are left out."""
    images = sorted(path for path in files if is_radiograph_file(path))
    kept, doubles = without_doubles(images)
    taken = set(images)
    return kept, [path for path in files if path not in taken] + doubles
