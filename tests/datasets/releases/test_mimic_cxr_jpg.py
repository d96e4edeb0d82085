"""MIMIC-CXR-JPG: images, splits and labels of studies joined from three tables."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from saltrust.datasets.releases.chexpert import FINDINGS
from saltrust.datasets.releases.collection import Choices
from saltrust.datasets.releases.mimic_cxr_jpg import mimic_cxr_jpg
from saltrust.errors import DataError

Make = Callable[..., Path]

METADATA = """dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,\
Rows,Columns
a1-b2,10000032,50414267,CHEST (PA AND LAT),PA,3056,2544
a1-b3,10000032,50414267,CHEST (PA AND LAT),LATERAL,3056,2544
c1-d2,10000764,57375967,,AP,2000,2500
e1-f2,10000898,50771383,,,,
"""
SPLIT = """dicom_id,study_id,subject_id,split
e1-f2,50771383,10000898,test
a1-b2,50414267,10000032,train
a1-b3,50414267,10000032,train
c1-d2,57375967,10000764,validate
"""
LABELS = f"""subject_id,study_id,{",".join(sorted(FINDINGS))}
10000764,57375967,1.0,,-1.0,,,,,,,,,,,0.0
10000032,50414267,,0.0,,,,,,,1.0,,,,,
"""
PREFIX = "mimic-cxr-2.0.0"


@pytest.fixture
def release(tmp_path: Path) -> Path:
    (tmp_path / f"{PREFIX}-metadata.csv").write_text(METADATA)
    (tmp_path / f"{PREFIX}-split.csv.gz").write_bytes(gzip.compress(SPLIT.encode()))
    (tmp_path / f"{PREFIX}-chexpert.csv.gz").write_bytes(gzip.compress(LABELS.encode()))
    (tmp_path / f"{PREFIX}-negbio.csv").write_text(LABELS.replace("1.0,,-1.0", "0.0,,-1.0"))
    return tmp_path


def test_labels_of_studies_reach_their_images(release: Path,
                                              caplog: pytest.LogCaptureFixture) -> None:
    index = mimic_cxr_jpg(release).index
    assert index["image"].values.tolist() == ["a1-b2", "a1-b3", "c1-d2", "e1-f2"]
    assert index["patient"].values.tolist() == ["10000032"] * 2 + ["10000764", "10000898"]
    assert index["study"].values.tolist()[1:3] == ["50414267", "57375967"]
    assert index["view"].values.tolist() == ["frontal PA", "lateral", "frontal AP", ""]
    assert index["split"].values.tolist() == ["train", "train", "val", "test"]
    assert index["native_height"].values.tolist() == [3056, 3056, 2000, 0]
    label = index["label"]
    assert label.sel(finding="Atelectasis").values.tolist() == [0, 0, 1, -2]
    assert label.sel(finding="Consolidation").values.tolist() == [0, 0, -1, -2]
    assert label.sel(finding="No Finding").values.tolist() == [1, 1, 0, -2]
    assert "1 of 4 images are of studies without labels" in caplog.text


def test_the_labeler_and_blank_are_chosen(release: Path) -> None:
    index = mimic_cxr_jpg(release, labeler="negbio", blank="unstated").index
    assert index["label"].sel(finding="Atelectasis").values.tolist() == [-2, -2, 0, -2]


def test_radiographs_lie_in_the_folders_of_the_release(release: Path, save_png: Make) -> None:
    for folder, name in (("p10000032/s50414267", "a1-b2"), ("p10000764/s57375967", "c1-d2")):
        save_png(release / "files/p10" / folder / f"{name}.png",
                 np.arange(48, dtype=np.uint8).reshape(6, 8))
    data = mimic_cxr_jpg(release)
    assert sorted(data.files) == ["a1-b2", "c1-d2"]
    assert data.radiograph("c1-d2", (6, 8)).pixels[0, 1] == 1


def test_a_random_split_keeps_patients_together_where_there_is_none(release: Path) -> None:
    (release / f"{PREFIX}-split.csv.gz").unlink()
    splits = mimic_cxr_jpg(release, Choices(split_fractions=(0.5, 0.25, 0.25))).index["split"]
    assert splits.values[0] == splits.values[1]
    assert set(splits.values.tolist()) <= {"train", "val", "test"}


@pytest.mark.parametrize(("part", "old", "new", "words"), [
    ("metadata", "c1-d2", "a1-b2", "rows 2 and 4: dicom_id is 'a1-b2'"),
    ("metadata", "2000", "20oo", "row 4: Rows is '20oo'"),
    ("metadata", "study_id", "studyid", "no column 'study_id'; did you mean 'studyid'"),
    ("negbio", "-1.0", "3.0", "row 2: Consolidation is '3.0'"),
    ("negbio", "50414267", "57375967", "rows 2 and 3: study_id"),
    ("split", "validate", "hold-out", "row 5: split is 'hold-out'"),
])
def test_what_is_wrong_is_said(release: Path, part: str, old: str, new: str, words: str) -> None:
    if part == "split":
        (release / f"{PREFIX}-split.csv.gz").unlink()
    text = {"metadata": METADATA, "split": SPLIT, "negbio": LABELS}[part]
    (release / f"{PREFIX}-{part}.csv").write_text(text.replace(old, new))
    with pytest.raises(DataError, match=words):
        mimic_cxr_jpg(release, labeler="negbio")


def test_tables_of_different_releases_and_missing_ones_are_refused(release: Path) -> None:
    (release / f"{PREFIX}-chexpert.csv.gz").write_bytes(
        gzip.compress(LABELS.replace("5", "6").encode()))
    with pytest.raises(DataError, match="no label of any study"):
        mimic_cxr_jpg(release)
    (release / f"{PREFIX}-chexpert.csv.gz").unlink()
    with pytest.raises(DataError, match=r"no mimic-cxr-2\.0\.0-chexpert\.csv"):
        mimic_cxr_jpg(release)
