"""Tables of public releases, one spoiled at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from saltrust.datasets.releases.chexpert import FINDINGS, chexpert
from saltrust.datasets.releases.mimic_cxr_jpg import mimic_cxr_jpg
from saltrust.datasets.releases.nih_chestxray14 import nih_chestxray14
from saltrust.datasets.releases.padchest import padchest
from saltrust.datasets.releases.vindr_cxr import vinbigdata
from tests.fuzz.mutations import csv_files

Rows = list[list[str]]

_LABELS = ["1.0", "0.0", "-1.0", *[""] * 11]
CHEXPERT = [["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *FINDINGS],
            ["a/train/patient1/study1/view1_frontal.jpg", "Male", "61", "Frontal", "AP", *_LABELS],
            ["a/train/patient1/study1/view2_lateral.jpg", "Male", "61", "Lateral", "", *_LABELS]]
METADATA = [["dicom_id", "subject_id", "study_id", "ViewPosition", "Rows", "Columns"],
            ["a-1", "10", "50", "PA", "3056", "2544"], ["a-2", "11", "51", "LATERAL", "", ""]]
REPORTS = [["subject_id", "study_id", *FINDINGS], ["10", "50", *_LABELS], ["11", "51", *_LABELS]]
SPLIT = [["dicom_id", "study_id", "subject_id", "split"], ["a-1", "50", "10", "train"],
         ["a-2", "51", "11", "validate"]]
ENTRIES = [["Image Index", "Finding Labels", "Patient ID", "Patient Age", "Patient Gender",
            "View Position"],
           ["1_0.png", "Infiltration|Mass", "1", "058Y", "M", "PA"],
           ["1_1.png", "No Finding", "1", "58", "M", "AP"]]
BOXES = [["Image Index", "Finding Label", "Bbox [x", "y", "w", "h]", "", "", ""],
         ["1_0.png", "Infiltrate", "225.08", "547.02", "86.78", "79.19", "", "", ""]]
DRAWN = [["image_id", "class_name", "class_id", "rad_id", "x_min", "y_min", "x_max", "y_max"],
         ["a", "Cardiomegaly", "3", "R10", "10", "20", "50.5", "60"],
         ["a", "No finding", "14", "R9", "", "", "", ""]]
SIZES = [["image_id", "height", "width"], ["a", "100", "80"]]
PADCHEST = [["", "ImageID", "StudyDate_DICOM", "StudyID", "PatientID", "PatientBirth",
             "PatientSex_DICOM", "ViewPosition_DICOM", "Projection", "MethodLabel", "Labels"],
            ["0", "a.png", "20140915", "s", "p", "1930.0", "F", "PA", "PA", "Physician",
             "['normal']"],
            ["1", "b.png", "20150914", "t", "q", "1929.0", "M", "nan", "L", "RNN_model",
             "['pulmonary fibrosis', ' kyphosis']"]]


def _written(rows: Rows) -> str:
    return "\n".join(",".join(f'"{cell}"' for cell in row) for row in rows)


def _reader(open_folder: Callable[[Path], Any], spoiled: str, **others: Rows,
            ) -> Callable[[Path, bytes], None]:
    """Read a folder in which one table is spoiled and others are sound."""
    def read(folder: Path, content: bytes) -> None:
        for name, rows in others.items():
            (folder / f"{name}.csv").write_text(_written(rows))
        (folder / spoiled).write_bytes(content)
        collection = open_folder(folder)
        for image in collection.index["image"].values.tolist():
            collection.annotations(image)

    return read


def _vinbigdata(folder: Path) -> Any:
    return vinbigdata(folder, sizes=folder / "sizes.csv")


_MIMIC = "mimic-cxr-2.0.0-{}.csv"


def _mimic(folder: Path) -> Any:
    for part in ("metadata", "chexpert", "split"):
        if (sound := folder / f"{part}.csv").exists():
            sound.rename(folder / _MIMIC.format(part))
    return mimic_cxr_jpg(folder)


TARGETS = {
    "chexpert": (csv_files(CHEXPERT), _reader(chexpert, "train.csv")),
    "mimic": (csv_files(METADATA), _reader(_mimic, _MIMIC.format("metadata"), chexpert=REPORTS,
                                           split=SPLIT)),
    "mimic_labels": (csv_files(REPORTS), _reader(_mimic, _MIMIC.format("chexpert"),
                                                 metadata=METADATA, split=SPLIT)),
    "nih": (csv_files(ENTRIES), _reader(nih_chestxray14, "Data_Entry_2017.csv",
                                        BBox_List_2017=BOXES)),
    "nih_boxes": (csv_files(BOXES), _reader(nih_chestxray14, "BBox_List_2017.csv",
                                            Data_Entry_2017=ENTRIES)),
    "vinbigdata": (csv_files(DRAWN), _reader(_vinbigdata, "train.csv", sizes=SIZES)),
    "sizes": (csv_files(SIZES), _reader(_vinbigdata, "sizes.csv", train=DRAWN)),
    "padchest": (csv_files(PADCHEST), _reader(
        padchest, "PADCHEST_chest_x_ray_images_labels_160K.csv")),
}
