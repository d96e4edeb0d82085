"""CheXpert v1.0 (Irvin et al. 2019): ``train.csv``, ``valid.csv`` and test labels."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from saltrust.cache.schema import Label
from saltrust.datasets.collection_index import choose_findings, collection_index
from saltrust.datasets.files.limits import of_file
from saltrust.datasets.releases.collection import (
    Choices,
    Release,
    ReleaseCollection,
    release_collection,
)
from saltrust.datasets.releases.columns import (
    Columns,
    age_values,
    known_text,
    label_values,
    read_columns,
)
from saltrust.datasets.releases.radiographs import Place
from saltrust.datasets.releases.tables import find_table
from saltrust.errors import DataError, nearest

_log = logging.getLogger(__name__)

#: In the order of the release; MIMIC-CXR-JPG has the same.
FINDINGS = ("No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity",
            "Lung Lesion", "Edema", "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax",
            "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices")
#: What a blank label may mean, by the word of ``blank`` under ``[data]``.
BLANK = {"negative": Label.NEGATIVE, "unstated": Label.NOT_STATED}

#: Of the image; the released test labels have none of them.
_FACTS = ("Sex", "Age", "Frontal/Lateral", "AP/PA")
_SPLITS = {"train": "train", "valid": "val", "val": "val", "test": "test"}
_PATH = r"(?:^|/)(?:(train|valid|val|test)/)?(patient[^/]+)/(study[^/]+)/(view[^/]+)\.\w+$"
_PLANES = ("frontal", "lateral", "")


def _image_of_file(stem: str) -> str:
    return "_".join(stem.replace("\\", "/").split("/")[-3:])


PLACE = Place(re.compile(r"train|valid|val|test|CheXpert.*", re.IGNORECASE), _image_of_file)


@of_file("correct what the sentence names")
def chexpert(path: str | Path, choices: Choices | None = None, *, blank: str = "negative",
             ) -> ReleaseCollection:
    """Take CheXpert as a collection.

    Parameters
    ----------
    path : path
        The folder with ``train.csv`` and ``valid.csv`` (also ``test.csv``, ``val_labels.csv`` or
        ``test_labels.csv`` without ages and views; all also gzipped), or one such file.
    choices : Choices, optional
    blank : str
        What a blank label counts as: ``negative`` or ``unstated``.  Uncertain ones (-1) are kept
        as uncertain; ``uncertain`` under ``[train]`` says what training makes of them.

    Returns
    -------
    ReleaseCollection
        Patient and study are those of the path; ``valid`` is the split ``val``.

    Raises
    ------
    DataError
        If a file is missing or lacks a column, or a path, label, age or view is none; the row is
        named.
    """
    choices = choices or Choices()
    root = Path(path)
    tables = _tables(root)
    folder = root if root.is_dir() else root.parent
    parts = [(table, _read(table, choices)) for table in tables]
    present = [name for name in FINDINGS if all(name in part.names for _, part in parts)]
    chosen = choose_findings(choices.findings, present, parts[0][0])
    frame = pd.concat([_images(part) for _, part in parts], ignore_index=True)
    _require_unique(frame)
    labels = np.hstack([np.concatenate([label_values(part, name, BLANK[blank])
                                        for _, part in parts])[:, None]
                        for name in chosen.values()])
    ages = np.concatenate([age_values(part, "Age") for _, part in parts])
    if (ages == 0).any():
        _log.warning("%d images of %s state the age 0, where all others are of adults; the cubes "
                     "say 0 too", (ages == 0).sum(), folder)
    index = collection_index(
        frame["image"].tolist(), list(chosen), labels, patient=frame["patient"].tolist(),
        study=frame["study"].tolist(), view=frame["view"].tolist(),
        split=frame["split"].tolist(),
        covariates={"age": ages, "sex": frame["sex"].to_numpy(dtype=object)})
    return release_collection(
        Release(index, folder, PLACE, _description(root, parts, blank)), choices)


def _description(root: Path, parts: list[tuple[Path, Columns]], blank: str) -> dict[str, Any]:
    return {"kind": "chexpert", "source": str(root), "blank": blank,
            "rows": {table.name: len(part) for table, part in parts}}


def _tables(root: Path) -> list[Path]:
    if root.is_file():
        return [root]
    named = [find_table(root, pattern, what, needed=False) for pattern, what in (
        (r"train\.csv", "train.csv"), (r"valid\.csv|val(_labels)?\.csv", "valid.csv"),
        (r"test(_labels)?\.csv", "test.csv"))]
    tables = [table for table in named if table is not None]
    if not tables:
        raise DataError(f"{root} has neither train.csv nor valid.csv nor test.csv; give the folder "
                        "of CheXpert that has them as path under [data]")
    return tables


def _read(table: Path, choices: Choices) -> Columns:
    columns = read_columns(table, ["Path"], [*_FACTS, *FINDINGS])
    facts = [name for name in _FACTS if name in columns.names]
    absent = [name for name in (*(_FACTS if facts else ()),
                                *(() if choices.findings else FINDINGS))
              if name not in columns.names]
    if absent:
        raise DataError(f"{table} has no column {absent[0]!r}; "
                        f"{nearest(absent[0], filter(None, columns.names))}")
    return columns


def _images(columns: Columns) -> pd.DataFrame:
    """Image, patient, study, view, split and sex of every row."""
    paths = columns.text("Path").str.replace("\\", "/", regex=False)
    parts = paths.str.extract(_PATH).fillna("")
    columns.fail(parts[1] == "", "Path", "not like .../patient00001/study1/view1_frontal.jpg, "
                                         "which says patient and study; correct it")
    stated = re.match(r"train|valid|val|test", columns.path.name)
    splits = parts[0].map(_SPLITS).fillna(_SPLITS[stated[0]] if stated else "")
    columns.fail(splits == "", "Path", "which does not say its split, nor does the file's name; "
                                       "name the file train.csv, valid.csv or test.csv")
    return pd.DataFrame({
        "image": parts[1] + "_" + parts[2] + "_" + parts[3], "patient": parts[1],
        "study": parts[1] + "_" + parts[2], "view": _views(columns, parts[3]), "split": splits,
        "sex": known_text(columns.text("Sex")),
        "row": [f"{columns.path} row {row}" for row in columns.frame.index]})


def _views(columns: Columns, stems: pd.Series[str]) -> pd.Series[str]:
    planes = columns.text("Frontal/Lateral").str.lower()
    columns.fail(~planes.isin(_PLANES), "Frontal/Lateral",
                 "neither Frontal nor Lateral; correct it")
    of_name = stems.str.extract(r"_(frontal|lateral)$")[0].fillna("")
    planes = planes.where(planes != "", of_name)
    views: pd.Series[str] = (planes + " " + known_text(columns.text("AP/PA"))).str.strip()
    return views


def _require_unique(frame: pd.DataFrame) -> None:
    again = np.flatnonzero(frame["image"].duplicated())
    if len(again):
        image = frame["image"].iloc[again[0]]
        first, second = frame["row"][frame["image"] == image].iloc[:2]
        raise DataError(f"{first} and {second} are of one image, {image} ({len(again):,} rows "
                        "repeat others); leave one of them out")
