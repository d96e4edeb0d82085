"""PadChest (Bustos et al. 2020): labels of 160,861 radiographs, by physicians and by a network."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from saltrust.cache.schema import Label
from saltrust.datasets.collection_index import choose_findings, collection_index
from saltrust.datasets.files.image_ids import plain_id
from saltrust.datasets.files.limits import of_file
from saltrust.datasets.releases.collection import (
    OPEN,
    Choices,
    Release,
    ReleaseCollection,
    release_collection,
)
from saltrust.datasets.releases.columns import (
    UNKNOWN,
    Columns,
    known_text,
    positions,
    read_columns,
    view_names,
)
from saltrust.datasets.releases.radiographs import Place
from saltrust.datasets.releases.tables import table_and_folder
from saltrust.errors import DataError
from saltrust.reading import shown

PLACE = Place(re.compile(r"\d+|images.*|padchest.*", re.IGNORECASE))

_ITEM = r"'[^'\\]*'|\"[^\"\\]*\""
_LIST = re.compile(rf"\[\s*(?:(?:{_ITEM})\s*(?:,\s*(?:{_ITEM})\s*)*)?\]")
_ITEMS = re.compile(_ITEM)
#: Labels of one image; the release has 20 at most.
_MOST_LABELS = 200
_MOST_AGE = 120


@of_file("correct what the sentence names")
def padchest(path: str | Path, choices: Choices | None = None, *, least_images: int = 1,
             ) -> ReleaseCollection:
    """Take PadChest as a collection.

    Parameters
    ----------
    path : path
        The folder with ``PADCHEST_chest_x_ray_images_labels_*.csv``, or that file; also gzipped.
    choices : Choices, optional
    least_images : int
        Labels of fewer images are left out, unless the study names its findings.

    Returns
    -------
    ReleaseCollection
        A finding is every different label, by name: positive where an image's list has it,
        negative where the list has others, not stated where the list is empty or missing.
        ``age`` is the year of the study minus that of birth.

    Raises
    ------
    DataError
        If the file is missing or lacks a column, an image stands twice, or ``Labels`` is not a
        list of texts; the row is named.
    """
    choices = choices or Choices()
    table, folder = table_and_folder(Path(path), r"PADCHEST_chest_x_ray_images_labels.*\.csv",
                                     "PADCHEST_chest_x_ray_images_labels_*.csv")
    rows = read_columns(table, ["ImageID", "PatientID", "Labels"],
                        ["StudyID", "StudyDate_DICOM", "PatientBirth", "PatientSex_DICOM",
                         "Projection", "ViewPosition_DICOM", "MethodLabel"])
    rows.require_unique("ImageID")
    names, codes, image_of_code, stated = _labels(rows)
    counts = np.bincount(codes, minlength=len(names))
    present = [name for name, count in zip(names, counts.tolist(), strict=True)
               if choices.findings or count >= least_images]
    chosen = choose_findings(choices.findings, present, table)
    if not chosen:
        raise DataError(f"{table} has no label that {least_images:,} images have; lower "
                        "least_images under [data], or name findings")
    labels = np.where(stated, np.int8(Label.NEGATIVE), np.int8(Label.NOT_STATED))
    labels = np.repeat(labels[:, None], len(chosen), axis=1)
    order = positions(names, list(chosen.values()))[codes]
    labels[image_of_code[order >= 0], order[order >= 0]] = Label.POSITIVE
    views = rows.text("Projection").where(known_text(rows.text("Projection")) != "",
                                          rows.text("ViewPosition_DICOM"))
    index = collection_index(
        [plain_id(name) for name in rows.text("ImageID")], list(chosen), labels,
        patient=rows.text("PatientID").tolist(), study=rows.text("StudyID").tolist(),
        view=view_names(views).tolist(), split=[OPEN] * len(rows),
        covariates={"age": _ages(rows), "sex": known_text(rows.text("PatientSex_DICOM")),
                    "label_source": known_text(rows.text("MethodLabel"))})
    return release_collection(
        Release(index, folder, PLACE,
                {"kind": "padchest", "source": str(table), "labels": len(names),
                 "least_images": least_images, "images_without_labels": int((~stated).sum())}),
        choices)


def _labels(rows: Columns) -> tuple[list[str], npt.NDArray[np.int64], npt.NDArray[np.int64],
                                    npt.NDArray[np.bool_]]:
    """Names of all labels, the label and the image of every mention, and which images have any."""
    lists: list[list[str]] = []

    def convert(text: str, row: int) -> float:
        lists.append(_parsed(text, rows.path, row))
        return float(len(lists) - 1)

    of_image = rows.values("Labels", convert).astype(np.int64)
    lengths = np.array([len(names) for names in lists])
    names = sorted({name for names in lists for name in names})
    place = {name: code for code, name in enumerate(names)}
    flat = np.array([place[name] for names in lists for name in names], dtype=np.int64)
    starts = np.cumsum(lengths) - lengths
    repeats = lengths[of_image]
    image_of_code = np.repeat(np.arange(len(of_image)), repeats)
    within = np.arange(int(repeats.sum())) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    return names, flat[starts[of_image][image_of_code] + within], image_of_code, repeats > 0


def _parsed(text: str, path: Path, row: int) -> list[str]:
    """The different labels of a Python list as text; blanks around and within are no label's."""
    if text.lower() in UNKNOWN:
        return []
    items = _ITEMS.findall(text)
    if not _LIST.fullmatch(text) or len(items) > _MOST_LABELS:
        raise DataError(f"{path}, row {row}: Labels is {shown(text)}, not a list such as "
                        "['normal']; correct it, or fetch the file again")
    return list(dict.fromkeys(filter(None, (" ".join(item[1:-1].split()) for item in items))))


def _ages(rows: Columns) -> npt.NDArray[np.float64]:
    """Year of the study minus year of birth; NaN where either is unknown."""
    years = [pd.to_numeric(rows.text(name).str.slice(0, 4), errors="coerce").to_numpy(dtype=float)
             for name in ("StudyDate_DICOM", "PatientBirth")]
    ages = years[0] - years[1]
    return np.where((ages >= 0) & (ages <= _MOST_AGE), ages, np.nan)
