"""VinDr-CXR (Nguyen et al. 2022), as on PhysioNet and as VinBigData on Kaggle.

Seventeen radiologists drew boxes, three in each training image; five agreed on each test image.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

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
    label_values,
    pixel_values,
    positions,
    read_columns,
)
from saltrust.datasets.releases.radiographs import Place
from saltrust.datasets.releases.tables import find_table, table_and_folder
from saltrust.errors import DataError, nearest

_log = logging.getLogger(__name__)

NORMAL = "No finding"
#: Who stands for the readers who agreed on the test images.
CONSENSUS = "consensus"
#: Said of the whole radiograph: nobody drew them.
GLOBAL = frozenset({"COPD", "Lung tumor", "Pneumonia", "Tuberculosis", "Other disease",
                    "Other diseases", NORMAL})
_CORNERS = ("x_min", "y_min", "x_max", "y_max")
#: Columns that may say height and width of what was annotated; the third are Kaggle's.
_SIZES = (("height", "width"), ("Rows", "Columns"), ("dim0", "dim1"))

PLACE = Place(re.compile(r"train|test|images.*", re.IGNORECASE))


@dataclass(frozen=True)
class _Part:
    """The tables of the training or of the test images.

    ``seen`` has a row for every finding that a reader saw in an image, whether drawn or not.
    """

    split: str
    readings: pd.DataFrame
    seen: pd.DataFrame
    boxes: pd.DataFrame
    findings: list[str]


@of_file("correct what the sentence names")
def vindr_cxr(path: str | Path, choices: Choices | None = None, *, votes: str = "majority",
              sizes: Path | None = None) -> ReleaseCollection:
    """Take VinDr-CXR as PhysioNet has it as a collection.

    Parameters
    ----------
    path : path
        The folder with ``annotations_train.csv``, and where they are there
        ``image_labels_train.csv`` and both of ``test``; or ``annotations_train.csv`` itself.
    choices : Choices, optional
        ``split_fractions`` gives the parts of train and val of the training images.
    votes : str
        Whose word makes a label positive: that of the ``majority`` of an image's readers, as the
        paper counts (half of them: uncertain), or of ``any``.
    sizes : pathlib.Path, optional
        CSV with ``image_id``, ``height`` and ``width`` (or ``dim0`` and ``dim1``) of what was
        annotated, where the radiographs are not at hand, or smaller copies of them.

    Returns
    -------
    ReleaseCollection
        Readers R1 to R17, and ``consensus`` of the test images.  Who read an image and drew
        nothing of a finding has an empty annotation of it; the others have none.  Without
        radiographs and sizes, labels alone.

    Raises
    ------
    DataError
        If a file is missing or lacks a column, a reader saw a finding where nothing is to be
        found, or a box is none; the row is named.
    """
    source = Path(path)
    folder = source.parent if source.is_file() else source
    parts = []
    for split, word in ((OPEN_TRAIN, "train"), ("test", "test")):
        drawn = find_table(folder, rf"annotations_{word}\.csv", f"annotations_{word}.csv",
                           needed=split == OPEN_TRAIN and not source.is_file())
        if source.is_file():
            drawn = source if (word == "test") == ("test" in source.name) else None
        if drawn is not None:
            parts.append(_part(drawn, split, find_table(
                folder, rf"image_labels_{word}\.csv", f"image_labels_{word}.csv", needed=False)))
    return _collection(parts, folder, choices or Choices(), votes, sizes,
                       {"kind": "vindr-cxr", "source": str(source)})


@of_file("correct what the sentence names")
def vinbigdata(path: str | Path, choices: Choices | None = None, *, votes: str = "majority",
               sizes: Path | None = None) -> ReleaseCollection:
    """Take VinBigData as Kaggle has it as a collection.

    Parameters
    ----------
    path : path
        The folder with ``train.csv``, or that file; also gzipped.
    choices, votes, sizes
        As of :func:`vindr_cxr`; the split is random, as nothing is known of the test images.

    Returns
    -------
    ReleaseCollection

    Raises
    ------
    DataError
        As :func:`vindr_cxr`.
    """
    table, folder = table_and_folder(Path(path), r"train\.csv", "train.csv")
    return _collection([_part(table, OPEN, None)], folder, choices or Choices(), votes, sizes,
                       {"kind": "vinbigdata", "source": str(table)})


def _part(drawn: Path, split: str, labels: Path | None) -> _Part:
    columns = read_columns(drawn, ["image_id", "class_name", *_CORNERS], ["rad_id", "class_id"])
    frame = _readings(columns)
    frame["finding"] = columns.text("class_name")
    columns.fail(frame["finding"] == "", "class_name", f"neither a finding nor {NORMAL}; name it")
    normal = frame["finding"] == NORMAL
    saw = pd.MultiIndex.from_frame(frame.loc[~normal, ["image", "reader"]])
    columns.fail(normal & pd.MultiIndex.from_frame(frame[["image", "reader"]]).isin(saw),
                 "class_name", "of a reader who has another row with a finding of this image; "
                               "leave one of them out")
    local = ~frame["finding"].isin(GLOBAL)
    where = Columns(columns.path, columns.names, columns.frame[local])
    boxes = box_corners(where, _CORNERS, sides=False).join(frame[["image", "reader", "finding"]])
    seen = frame.loc[~normal, ["image", "reader", "finding"]]
    order = columns.text("class_id") if "class_id" in columns.names else frame["finding"]
    named = frame.assign(order=pd.to_numeric(order, errors="coerce"))[~normal]
    findings = list(named.sort_values(["order", "finding"])["finding"].unique())
    readings = frame[["image", "reader"]]
    if labels is not None:
        of_labels, seen_in_images, findings = _image_labels(labels, findings)
        readings = pd.concat([readings, of_labels])
        seen = pd.concat([seen, seen_in_images])
    return _Part(split, readings.drop_duplicates(), seen.drop_duplicates(), boxes, findings)


def _readings(columns: Columns) -> pd.DataFrame:
    """Image and reader of every row."""
    columns.fail(columns.text("image_id") == "", "image_id",
                 "but every row is of an image; name it")
    readers = columns.text("rad_id")
    if "rad_id" not in columns.names:
        readers = readers.replace("", CONSENSUS)
    columns.fail(readers == "", "rad_id", "but every row is by a reader; name one")
    return pd.DataFrame({"image": columns.text("image_id").map(plain_id), "reader": readers})


def _image_labels(table: Path, drawn: Sequence[str],
                  ) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Readings, findings seen and all findings of ``image_labels_*.csv``."""
    names = read_columns(table, ["image_id"]).names
    findings = [name for name in names if name not in {"image_id", "rad_id", NORMAL, ""}
                and not name.startswith("Unnamed")]
    columns = read_columns(table, ["image_id", *findings], ["rad_id"])
    for name in drawn:
        if name not in findings:
            raise DataError(f"{table} has no column {name!r}, of which boxes were drawn; "
                            f"{nearest(name, findings)}")
    readings = _readings(columns)
    again = readings.duplicated()
    columns.fail(again, "image_id", "whose reader has another row; leave one of them out")
    seen = [readings[label_values(columns, name, Label.NEGATIVE) == Label.POSITIVE]
            .assign(finding=name) for name in findings]
    return readings, pd.concat(seen), findings


def _collection(parts: Sequence[_Part], folder: Path, choices: Choices, votes: str,
                sizes: Path | None, description: Mapping[str, Any]) -> ReleaseCollection:
    readings = pd.concat([part.readings for part in parts], ignore_index=True)
    split_of: dict[str, str] = {}
    for part in parts:
        for image in part.readings["image"].unique():
            if split_of.setdefault(image, part.split) != part.split:
                raise DataError(f"the image {image} of {folder} is among the training and the test "
                                "images; leave it out of one of the tables")
    images = list(split_of)
    present = list(dict.fromkeys(name for part in parts for name in part.findings))
    chosen = choose_findings(choices.findings, present, folder)
    if not chosen:
        raise DataError(f"no reader of {folder} saw any finding; check that the table is whole")
    seen = pd.concat([part.seen for part in parts], ignore_index=True)
    labels = _labels(images, readings, seen, list(chosen.values()), votes)
    known = None if sizes is None else _known_sizes(sizes, images)
    readers = sorted(readings["reader"].unique(), key=lambda name: (len(name), name))
    index = collection_index(
        images, list(chosen), labels, readers=dict.fromkeys(readers, "reference"),
        native_sizes=known, patient=images, split=list(split_of.values()))
    boxes = pd.concat([part.boxes for part in parts], ignore_index=True)
    boxes["finding"] = boxes["finding"].map({name: finding for finding, name in chosen.items()})
    order = {name: place for place, name in enumerate(readers)}
    table = BoxTable(boxes[boxes["finding"].notna()],
                     {str(image): tuple(sorted(names, key=order.__getitem__))
                      for image, names in readings.groupby("image", sort=False)["reader"]},
                     tuple(finding for finding, name in chosen.items() if name not in GLOBAL))
    return release_collection(
        Release(index, folder, PLACE,
                {**description, "votes": votes, "boxes": len(boxes), "readings": len(readings),
                 "sizes": None if sizes is None else str(sizes)},
                table, size_of_files=known is None), choices)


def _labels(images: list[str], readings: pd.DataFrame, seen: pd.DataFrame, names: list[str],
            votes: str) -> npt.NDArray[np.int8]:
    """Labels by vote of the readers of each image, shape (images, findings)."""
    readers = np.bincount(positions(readings["image"], images), minlength=len(images))[:, None]
    counts = np.zeros((len(images), len(names)), dtype=np.int64)
    seen = seen[seen["finding"].isin(names)]
    np.add.at(counts, (positions(seen["image"], images), positions(seen["finding"], names)), 1)
    if votes == "any":
        return (counts > 0).astype(np.int8)
    return np.where(2 * counts == readers, np.int8(Label.UNCERTAIN),
                    (2 * counts > readers).astype(np.int8))


def _known_sizes(table: Path, images: list[str]) -> list[tuple[int, int]]:
    """Height and width of every image, from a table of sizes."""
    columns = read_columns(table, ["image_id"], [name for pair in _SIZES for name in pair])
    pair = next((pair for pair in _SIZES if set(pair) <= set(columns.names)), None)
    if pair is None:
        raise DataError(f"{table} has no columns height and width; "
                        f"{nearest('height', filter(None, columns.names))}")
    columns.require_unique("image_id")
    sizes = np.stack([pixel_values(columns, name) for name in pair], axis=1)
    at = positions(images, [plain_id(name) for name in columns.text("image_id")])
    without = (at < 0) | (sizes[at] == 0).any(axis=1)
    if without.any():
        raise DataError(f"{table} lacks the sizes of {without.sum():,} of {len(images):,} images "
                        f"(first: {images[int(np.flatnonzero(without)[0])]}); complete it")
    return [(height, width) for height, width in sizes[at].tolist()]
