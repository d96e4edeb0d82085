"""MIMIC-CXR-JPG 2 (Johnson et al. 2019): metadata, splits, and labels of each study's report."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from saltrust.cache.schema import Label
from saltrust.datasets.collection_index import choose_findings, collection_index
from saltrust.datasets.files.limits import of_file
from saltrust.datasets.releases.chexpert import BLANK, FINDINGS
from saltrust.datasets.releases.collection import (
    OPEN,
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
    view_names,
)
from saltrust.datasets.releases.radiographs import Place
from saltrust.datasets.releases.tables import find_table
from saltrust.errors import DataError

_log = logging.getLogger(__name__)

PLACE = Place(re.compile(r"files|p1\d|physionet\.org|images.*", re.IGNORECASE))

_SPLITS = {"train": "train", "validate": "val", "valid": "val", "val": "val", "test": "test"}


@of_file("correct what the sentence names")
def mimic_cxr_jpg(path: str | Path, choices: Choices | None = None, *, labeler: str = "chexpert",
                  blank: str = "negative") -> ReleaseCollection:
    """Take MIMIC-CXR-JPG as a collection.

    Parameters
    ----------
    path : path
        The folder with ``mimic-cxr-2.0.0-metadata.csv``, ``-split.csv`` (without it, a random
        split by patient) and the labels; also gzipped.
    choices : Choices, optional
    labeler : str
        Whose labels: ``chexpert`` or ``negbio``.
    blank : str
        As of :func:`saltrust.datasets.releases.chexpert.chexpert`.

    Returns
    -------
    ReleaseCollection
        Every image has the labels of its study; of studies without, none are stated.

    Raises
    ------
    DataError
        If a file is missing or lacks a column, an image or study stands twice, or a split or label
        is none; the row is named.
    """
    choices = choices or Choices()
    folder = Path(path)
    if folder.is_file():
        folder = folder.parent
    images = read_columns(_table(folder, "metadata"), ["dicom_id", "subject_id", "study_id"],
                          ["ViewPosition", "Rows", "Columns"])
    images.require_unique("dicom_id")
    reports = read_columns(_table(folder, labeler), ["study_id"], FINDINGS)
    reports.require_unique("study_id")
    chosen = choose_findings(choices.findings, [name for name in FINDINGS if name in reports.names],
                             reports.path)
    splits = find_table(folder, _pattern("split"), "split", needed=False)
    index = collection_index(
        images.text("dicom_id").tolist(), list(chosen),
        _labels(images, reports, list(chosen.values()), BLANK[blank]),
        patient=images.text("subject_id").tolist(), study=images.text("study_id").tolist(),
        view=view_names(images.text("ViewPosition")).tolist(),
        split=([OPEN] * len(images) if splits is None
               else _splits(images, read_columns(splits, ["dicom_id", "split"])).tolist()),
        native_sizes=list(zip(pixel_values(images, "Rows").tolist(),
                              pixel_values(images, "Columns").tolist(), strict=True)))
    return release_collection(
        Release(index, folder, PLACE,
                {"kind": "mimic-cxr-jpg", "source": str(folder), "labeler": labeler,
                 "blank": blank, "studies_with_labels": len(reports)}), choices)


def _pattern(part: str) -> str:
    return rf"mimic-cxr-[\d.]+-{part}\.csv"


def _table(folder: Path, part: str) -> Path:
    table = find_table(folder, _pattern(part), f"mimic-cxr-2.0.0-{part}.csv")
    assert table is not None
    return table


def _labels(images: Columns, reports: Columns, names: list[str], blank: Label,
            ) -> npt.NDArray[np.int8]:
    """Labels of the study of every image, shape (images, findings)."""
    of_studies = np.stack([label_values(reports, name, blank) for name in names], axis=1)
    at = positions(images.text("study_id"), reports.text("study_id").tolist())
    without = at < 0
    if without.all():
        raise DataError(f"{reports.path} has no label of any study of {images.path} (the first is "
                        f"{images.text('study_id').iloc[0]}); check that both are of one release")
    if without.any():
        _log.warning("%d of %d images are of studies without labels in %s (first: %s); their "
                     "labels count as not stated", without.sum(), len(at), reports.path,
                     images.text("study_id")[without].iloc[0])
    return np.where(without[:, None], np.int8(Label.NOT_STATED), of_studies[at])


def _splits(images: Columns, splits: Columns) -> npt.NDArray[np.object_]:
    """The split of every image; none of those that the table leaves out."""
    splits.require_unique("dicom_id")
    words = splits.text("split").str.lower().map(_SPLITS)
    splits.fail(words.isna(), "split", "neither train nor validate nor test; correct it")
    at = positions(images.text("dicom_id"), splits.text("dicom_id").tolist())
    without = at < 0
    if without.all():
        raise DataError(f"{splits.path} names none of the images of {images.path} (the first is "
                        f"{images.text('dicom_id').iloc[0]}); check that both are of one release")
    if without.any():
        _log.warning("%d of %d images have no split in %s (first: %s); they are in none",
                     without.sum(), len(at), splits.path,
                     images.text("dicom_id")[without].iloc[0])
    return np.where(without, "none", words.to_numpy(dtype=object)[at])
