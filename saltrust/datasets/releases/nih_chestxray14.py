"""NIH ChestX-ray14 (Wang et al. 2017): labels mined from reports, and 984 boxes."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from saltrust.cache.schema import Label
from saltrust.datasets.collection_index import choose_findings, collection_index
from saltrust.datasets.files.image_ids import plain_id
from saltrust.datasets.files.limits import of_file
from saltrust.datasets.releases.boxes import BoxTable, box_corners
from saltrust.datasets.releases.collection import (
    OPEN,
    OPEN_TRAIN,
    Choices,
    Release,
    ReleaseCollection,
    release_collection,
)
from saltrust.datasets.releases.columns import (
    Columns,
    age_values,
    known_text,
    positions,
    read_columns,
    view_names,
)
from saltrust.datasets.releases.radiographs import Place
from saltrust.datasets.releases.tables import find_table, table_and_folder
from saltrust.errors import DataError, nearest
from saltrust.reading import read_text, reading

_log = logging.getLogger(__name__)

FINDINGS = ("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule",
            "Pneumonia", "Pneumothorax", "Consolidation", "Edema", "Emphysema", "Fibrosis",
            "Pleural_Thickening", "Hernia")
NORMAL = "No Finding"
#: The list of boxes has a word of its own.
_ALIASES = {"Infiltrate": "Infiltration", "Pleural Thickening": "Pleural_Thickening"}
READER = "reference"
#: Of the radiographs as released, and so of the boxes; the originals were larger.
NATIVE_SIZE = (1024, 1024)
#: ``Bbox [x,y,w,h]`` in the header is four columns.
_BOX = ("Bbox [x", "y", "w", "h]")

PLACE = Place(re.compile(r"images.*", re.IGNORECASE))


@of_file("correct what the sentence names")
def nih_chestxray14(path: str | Path, choices: Choices | None = None) -> ReleaseCollection:
    """Take NIH ChestX-ray14 as a collection.

    Parameters
    ----------
    path : path
        The folder with ``Data_Entry_2017*.csv``, or that file.  Beside it, where they are there,
        ``BBox_List_2017.csv`` and the official ``train_val_list.txt`` and ``test_list.txt``.
    choices : Choices, optional
        Of the patients of ``train_val_list.txt``, ``split_fractions`` gives the parts of train and
        val; without the lists, all three.

    Returns
    -------
    ReleaseCollection
        One reader.  An image without a box of a finding is not annotated: the radiologist drew
        some boxes only, so a missing one is no negative.

    Raises
    ------
    DataError
        If a file is missing or lacks a column, a label is not known (the nearest is named), an
        image stands twice, or a box is none; the row is named.
    """
    choices = choices or Choices()
    table, folder = table_and_folder(Path(path), r"Data_Entry_2017.*\.csv",
                                     "Data_Entry_2017*.csv")
    entries = read_columns(table, ["Image Index", "Finding Labels", "Patient ID"],
                           ["Patient Age", "Patient Gender", "View Position"])
    entries.require_unique("Image Index")
    chosen = choose_findings(choices.findings, FINDINGS, table)
    images = [plain_id(name) for name in entries.text("Image Index")]
    labels = _labels(entries)[:, [FINDINGS.index(name) for name in chosen.values()]]
    listed = find_table(folder, r"BBox_List_2017.*\.csv", "BBox_List_2017.csv", needed=False)
    boxes = None if listed is None else _boxes(listed, images, labels, chosen)
    index = collection_index(
        images, list(chosen), labels, readers={READER: "reference"} if boxes else None,
        native_sizes=[NATIVE_SIZE] * len(images), patient=entries.text("Patient ID").tolist(),
        view=view_names(entries.text("View Position")).tolist(),
        split=_splits(folder, images),
        covariates={"age": age_values(entries, "Patient Age"),
                    "sex": known_text(entries.text("Patient Gender"))})
    return release_collection(
        Release(index, folder, PLACE,
                {"kind": "nih-chestxray14", "source": str(table),
                 "boxes": 0 if boxes is None else len(boxes.frame)}, boxes), choices)


def _labels(entries: Columns) -> npt.NDArray[np.int8]:
    """Labels of all findings, shape (images, 14)."""
    def convert(text: str, row: int) -> float:
        names = [_ALIASES.get(name, name) for name in (part.strip() for part in text.split("|"))]
        for name in names:
            if name not in (*FINDINGS, NORMAL):
                raise DataError(f"{entries.path}, row {row}: the label {name!r} is not known; "
                                f"{nearest(name, (*FINDINGS, NORMAL))}")
        if NORMAL in names and len(names) > 1:
            raise DataError(f"{entries.path}, row {row}: Finding Labels is {text!r}, a finding and "
                            f"{NORMAL}; correct it")
        return float(sum(1 << FINDINGS.index(name) for name in set(names) if name != NORMAL))

    sets = entries.values("Finding Labels", convert).astype(np.int64)
    return (sets[:, None] >> np.arange(len(FINDINGS)) & 1).astype(np.int8)


def _boxes(table: Path, images: list[str], labels: npt.NDArray[np.int8],
           chosen: Mapping[str, str]) -> BoxTable:
    """Boxes of the images and findings of the study."""
    columns = read_columns(table, ["Image Index", "Finding Label", *_BOX])
    findings = columns.text("Finding Label").replace(_ALIASES)
    columns.fail(~findings.isin(FINDINGS), "Finding Label",
                 f"none of {', '.join(FINDINGS)}; correct it")
    frame = box_corners(columns, _BOX, sides=True)
    frame["image"] = [plain_id(name) for name in columns.text("Image Index")]
    names = {name: finding for finding, name in chosen.items()}
    frame["finding"] = findings.map(names)
    frame["reader"] = READER
    at = positions(frame["image"], images)
    if (at < 0).all():
        raise DataError(f"{table} has no box of any image of {images[0]} and its like; check that "
                        "it belongs to the other tables")
    if (at < 0).any():
        _log.warning("%d of %d boxes in %s are of images that the other table lacks (first: %s); "
                     "they are left out", (at < 0).sum(), len(at), table,
                     frame["image"][at < 0].iloc[0])
    frame = frame[(at >= 0) & frame["finding"].notna()]
    order = positions(frame["finding"], list(chosen))
    unlike = labels[positions(frame["image"], images), order] != Label.POSITIVE
    if unlike.any():
        _log.warning("%d boxes are of findings that their images are not labelled with (first: "
                     "%s); boxes and labels are kept as they are", unlike.sum(),
                     frame["row"][unlike].iloc[0])
    return BoxTable(frame, {}, ())


def _splits(folder: Path, images: list[str]) -> list[str]:
    """What the official lists say of every image."""
    lists = {split: find_table(folder, pattern, what, needed=False) for split, pattern, what in (
        (OPEN_TRAIN, r"train_val_list.*\.txt", "train_val_list.txt"),
        ("test", r"test_list.*\.txt", "test_list.txt"))}
    given = {split: path for split, path in lists.items() if path is not None}
    if not given:
        return [OPEN] * len(images)
    if len(given) == 1:
        raise DataError(f"{next(iter(given.values()))} is one of two lists; add the other of "
                        "train_val_list.txt and test_list.txt, or move it away to have a random "
                        "split")
    split_of: dict[str, str] = {}
    for split, path in given.items():
        with reading(f"{path} as a list of images", "fetch it again"):
            names = [plain_id(line.strip()) for line in read_text(path).splitlines()]
        for name in filter(None, names):
            if split_of.setdefault(name, split) != split:
                raise DataError(f"{path} has the image {name}, which the other list has too; "
                                "fetch both again")
    without = [name for name in images if name not in split_of]
    if len(without) == len(images):
        raise DataError(f"the lists {' and '.join(str(path) for path in given.values())} name none "
                        f"of the images (the first is {images[0]}); check that they are of this "
                        "release")
    if without:
        _log.warning("%d of %d images are in neither list beside the tables (first: %s); their "
                     "split is none", len(without), len(images), without[0])
    return [split_of.get(name, "none") for name in images]
