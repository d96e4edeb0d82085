"""RSNA Pneumonia Detection (Kaggle 2018): bounding boxes around lung opacities."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from saltrust.cache import rle
from saltrust.cache.collection import Annotation
from saltrust.cache.reference import import_collection
from saltrust.cache.schema import Label
from saltrust.choices import OnError
from saltrust.datasets.challenges.collection import (
    NATIVE_SIZE,
    ChallengeCollection,
    challenge_collection,
)
from saltrust.datasets.files.annotation_codes import boxes_mask
from saltrust.datasets.files.boxes import Box, BoxTally, box_of
from saltrust.datasets.files.csv_tables import CsvTable, parse_label, read_csv
from saltrust.datasets.files.limits import MOST_INSTANCES, of_file
from saltrust.errors import DataError, nearest

FINDING = "Pneumonia"
_SIDES = ("x", "y", "width", "height")

#: What the detailed class file calls images that are neither normal nor pneumonia.
DROPPED_CLASS = "No Lung Opacity / Not Normal"
_CLASSES = ("Normal", "Lung Opacity", DROPPED_CLASS)


@of_file("correct what the sentence names")
def rsna(labels_csv: str | Path, *, splits: str | Path | None = None,
         classes: str | Path | None = None, images: str | Path | None = None,
         **choices: Any) -> ChallengeCollection:
    """Take the boxes of RSNA Pneumonia Detection as a collection.

    Parameters
    ----------
    labels_csv : path
        ``stage_2_train_labels.csv``: ``patientId, x, y, width, height, Target``, one row per
        box, in pixels of 1024 x 1024.  Boxes that overshoot the image are clipped and counted,
        repeated ones count once.
    splits : path, optional
        CSV with a column of ids and a column ``Split``; images that it leaves out, and all
        images without it, get the split ``none``.
    classes : path, optional
        ``stage_2_detailed_class_info.csv`` (``patientId, class``); images of the class
        ``No Lung Opacity / Not Normal`` are then left out, as protocol A does.
    images : path, optional
        Folder with ID.dcm or ID.png of every image; without it, annotations alone.
    **choices
        ``findings``, ``split_fractions`` and ``seed`` of
        :func:`saltrust.datasets.challenges.collection.challenge_collection`.

    Raises
    ------
    DataError
        If a file is missing, a row is not valid (it is named), a box lies wholly outside the
        image, or an image is both positive and negative.
    """
    table = read_csv(labels_csv)
    for column in ("patientId", *_SIDES, "Target"):
        table.require(column)
    labels, boxes, tally = _labels_and_boxes(table)
    counts = tally.report(table.path)
    dropped = _dropped(classes, labels) if classes is not None else set()
    kept = {image: label for image, label in labels.items() if image not in dropped}
    if not kept:
        raise DataError(f"{classes} leaves none of the {len(labels)} images; check the file")
    nothing = _annotation(())
    drawn = {image: _annotation(boxes[image]) if image in boxes else nothing for image in kept}
    return challenge_collection(
        kept, drawn, finding=FINDING,
        splits=splits, images=images, **choices,
        description={"kind": "rsna", "source": str(table.path), "rows": len(table.numbers),
                     "classes": str(classes) if classes is not None else None,
                     "images_dropped_by_class": len(dropped),
                     **counts})


def import_rsna(
    labels_csv: str | Path,
    output: str | Path,
    *,
    splits: str | Path | None = None,
    classes: str | Path | None = None,
    images: str | Path | None = None,
    size: int = 320,
    overwrite: bool = False,
    resume: bool = False,
    on_error: OnError = "stop",
    progress: bool = False,
) -> Path:
    """Turn the boxes of RSNA Pneumonia Detection, and its radiographs, into cubes.

    Parameters
    ----------
    labels_csv, splits, classes, images
        As in :func:`rsna`.
    output : path
        Store to write: the boxes, and their union as a mask on the grid and at native size.
    size : int
        Height and width of the grid in pixels.
    overwrite, resume, progress : bool
    on_error : {'stop', 'skip'}
        As in :func:`saltrust.cache.reference.import_collection`.

    Returns
    -------
    pathlib.Path
        The finished store.
    """
    return import_collection(rsna(labels_csv, splits=splits, classes=classes, images=images),
                             output, grid=(size, size), overwrite=overwrite, resume=resume,
                             on_error=on_error, progress=progress)


def _labels_and_boxes(table: CsvTable) -> tuple[dict[str, int], dict[str, tuple[Box, ...]],
                                                BoxTally]:
    """Label and boxes of every image, and what was done to the boxes."""
    labels: dict[str, int] = {}
    boxes: dict[str, list[tuple[str, Box]]] = defaultdict(list)
    for number, row in table.rows():
        image = row["patientId"]
        label = parse_label(row["Target"], table.path, number, "Target")
        if label not in {Label.POSITIVE, Label.NEGATIVE}:
            raise DataError(f"{table.path}, row {number}: Target is {row['Target']!r}, not 0 or 1")
        if labels.setdefault(image, label) != label:
            raise DataError(f"{table.path}, row {number}: {image} is both positive and negative; "
                            "correct one of its rows")
        if label == Label.NEGATIVE:
            continue
        where = f"row {number}, x, y, width, height " + ", ".join(row[name] for name in _SIDES)
        boxes[image].append((where, _box(row, f"{table.path}, row {number}")))
        if len(boxes[image]) > MOST_INSTANCES:
            raise DataError(f"{table.path}, row {number}: {image} has more than {MOST_INSTANCES} "
                            "boxes; leave out those that are no boxes")
    tally = BoxTally()
    return labels, {image: tally.within(listed, image, NATIVE_SIZE)
                    for image, listed in boxes.items()}, tally


def _box(row: dict[str, str], where: str) -> Box:
    """One box as it stands, which may reach outside the image."""
    try:
        x, y, width, height = (float(row[name]) for name in _SIDES)
    except ValueError:
        x = y = width = height = float("nan")
    box = box_of(x, y, width, height)
    if box is None:
        raise DataError(f"{where}: x, y, width, height are {row['x']!r}, {row['y']!r}, "
                        f"{row['width']!r}, {row['height']!r}, which is no box; correct them")
    return box


def _annotation(boxes: tuple[Box, ...]) -> Annotation:
    return Annotation(rle.encode(boxes_mask(boxes, *NATIVE_SIZE)), n_polygons=len(boxes),
                      boxes=boxes)


def _dropped(classes: str | Path, labels: dict[str, int]) -> set[str]:
    """Images that the detailed class file calls neither normal nor pneumonia."""
    table = read_csv(classes)
    for column in ("patientId", "class"):
        table.require(column)
    dropped = set()
    for number, row in table.rows():
        if row["class"] not in _CLASSES:
            raise DataError(f"{table.path}, row {number}: the class {row['class']!r} is not known; "
                            f"{nearest(row['class'], _CLASSES)}")
        if row["class"] == DROPPED_CLASS and row["patientId"] in labels:
            dropped.add(row["patientId"])
    return dropped
