"""NIH ChestX-ray14: joined labels, boxes of few images, and the official lists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from saltrust.cache import rle
from saltrust.cache.store import open_cubes
from saltrust.cache.validation import problems
from saltrust.cli import main
from saltrust.datasets.releases.collection import Choices
from saltrust.datasets.releases.nih_chestxray14 import nih_chestxray14
from saltrust.errors import DataError

Make = Callable[..., Path]

ENTRIES = """Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,\
View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],
00000001_000.png,Infiltration|Mass,0,1,058Y,M,PA,2682,2749,0.143,0.143,
00000001_001.png,No Finding,1,1,58,M,AP,2894,2729,0.143,0.143,
00000002_000.png,Pleural_Thickening,0,2,411,F,PA,2500,2048,0.171,0.171,
00000003_000.png,Mass,0,3,000D,,PA,2500,2048,0.171,0.171,
"""
BOXES = """Image Index,Finding Label,Bbox [x,y,w,h],,,
00000001_000.png,Infiltrate,225.5,547.25,86.5,79.5,,,
00000001_000.png,Mass,10,20,30,40,,,
00000003_000.png,Mass,1000,0,40,1030,,,
00000003_000.png,Mass,1000,0,40,1030,,,
"""


@pytest.fixture
def release(tmp_path: Path) -> Path:
    (tmp_path / "Data_Entry_2017_v2020.csv").write_text(ENTRIES)
    (tmp_path / "BBox_List_2017.csv").write_text(BOXES)
    return tmp_path


def test_labels_ages_and_views(release: Path, caplog: pytest.LogCaptureFixture) -> None:
    index = nih_chestxray14(release).index
    assert index["image"].values.tolist() == ["00000001_000", "00000001_001", "00000002_000",
                                              "00000003_000"]
    assert index["finding"].size == 14
    positive = index["label"].values.astype(bool)
    names = [index["finding"].values[row].tolist() for row in positive]
    assert names == [["Infiltration", "Mass"], [], ["Pleural_Thickening"], ["Mass"]]
    assert index["patient"].values.tolist() == ["1", "1", "2", "3"]
    assert index["view"].values.tolist()[:2] == ["frontal PA", "frontal AP"]
    np.testing.assert_equal(index["age"].values, [58.0, 58.0, np.nan, 0.0])
    assert index["sex"].values.tolist() == ["M", "M", "F", ""]
    assert "1 images" in caplog.text
    assert "411" in caplog.text


def test_an_image_without_a_box_of_a_finding_is_not_annotated(
        release: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = nih_chestxray14(release)
    first = data.annotations("00000001_000")
    assert set(first) == {("Infiltration", "reference"), ("Mass", "reference")}
    assert first["Infiltration", "reference"].boxes == ((547.25, 225.5, 626.75, 312.0),)
    mask = rle.decode(first["Mass", "reference"].mask_rle, 1024, 1024)
    assert mask.sum() == 30 * 40
    assert mask[20:60, 10:40].all()
    assert data.annotations("00000001_001") == data.annotations("00000002_000") == {}
    (last,) = data.annotations("00000003_000").values()
    assert last.boxes == ((0.0, 1000.0, 1024.0, 1024.0),)
    assert data.index.attrs["n_boxes"] == 1
    assert data.description["images_with_clipped_boxes"] == 1
    assert data.description["repeated_boxes"] == 1
    assert "boxes that reach outside the image, by 16 pixels at most" in caplog.text


def test_only_boxes_of_the_findings_that_are_asked_for(release: Path) -> None:
    data = nih_chestxray14(release, Choices(findings=("Mass",)))
    assert set(data.annotations("00000001_000")) == {("Mass", "reference")}


def test_the_store_holds_boxes_and_is_sound(release: Path, save_png: Make,
                                            tmp_path: Path) -> None:
    for image in ("00000001_000", "00000002_000"):
        save_png(release / f"images_00{image[7]}" / "images" / f"{image}.png",
                 np.arange(64, dtype=np.uint8).reshape(8, 8))
    (tmp_path / "study.toml").write_text('grid = 32\n[data]\nkind = "nih-chestxray14"\npath = "."'
                                         '\nfindings = ["Mass", "Hernia"]\n')
    done = CliRunner().invoke(main, ["--quiet", "import", "study", str(tmp_path / "study.toml"),
                                     "-o", str(tmp_path / "a.zarr")], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    cubes = open_cubes(tmp_path / "a.zarr")
    assert problems(cubes) == []
    assert cubes["radiograph/stored"].values.tolist() == [1, 0, 1, 0]
    assert cubes["reference/annotated"].values[..., 0].tolist() == [
        [True, False], [False, False], [False, False], [True, False]]
    assert cubes["reference/box"].values[0, 0, 0].tolist() == [[20.0, 10.0, 60.0, 40.0]]
    # A smaller copy of a radiograph is as large as what was annotated.
    assert cubes["native_height"].values.tolist() == [1024] * 4


def test_a_cropped_copy_is_refused(release: Path, save_png: Make) -> None:
    save_png(release / "images" / "00000001_000.png", np.arange(48, dtype=np.uint8).reshape(6, 8))
    with pytest.raises(DataError, match=r"6 x 8 pixels.*1024 x 1024, another shape"):
        nih_chestxray14(release).radiograph("00000001_000", (4, 4))


def test_the_official_lists_give_test_and_leave_validation_to_be_drawn(tmp_path: Path) -> None:
    names = [f"{patient:08d}_{image:03d}.png" for patient in range(40) for image in range(2)]
    rows = [f"{name},No Finding,0,{int(name[:8])},50,M,PA" for name in names]
    header = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender"
    (tmp_path / "Data_Entry_2017.csv").write_text("\n".join([f"{header},View Position", *rows]))
    (tmp_path / "train_val_list.txt").write_text("\n".join(names[:60]) + "\n")
    (tmp_path / "test_list.txt").write_text("\n".join(names[60:78]))
    index = nih_chestxray14(tmp_path, Choices(split_fractions=(0.8, 0.2, 0.0))).index
    splits = index["split"].values.reshape(40, 2)
    assert (splits[:, 0] == splits[:, 1]).all()
    assert Counter(splits[:, 0].tolist()) == {"train": 24, "val": 6, "test": 9, "none": 1}
    assert splits[39, 0] == "none"
    (tmp_path / "test_list.txt").unlink()
    with pytest.raises(DataError, match="one of two lists"):
        nih_chestxray14(tmp_path)


@pytest.mark.parametrize(("table", "old", "new", "words"), [
    ("entries", "Mass,0,3", "Masss,0,3", "row 5: the label 'Masss'.*did you mean 'Mass'"),
    ("entries", "No Finding", "No Finding|Edema", "row 3.*a finding and No Finding"),
    ("entries", "00000003_000", "00000001_000", "rows 2 and 5: Image Index"),
    ("entries", "Patient ID", "Patient", "no column 'Patient ID'"),
    ("boxes", "Bbox [x", "Bbox [left", r"no column 'Bbox \[x'"),
    ("boxes", "20,30", "20,-30", "row 3: w is '-30'"),
    ("boxes", "547.25", "abc", "row 2: y is 'abc'"),
    ("boxes", "Infiltrate", "Infiltrates", "row 2: Finding Label is 'Infiltrates'"),
    ("boxes", "225.5", "2025.5", "1 box lies wholly outside.*row 2"),
])
def test_what_is_wrong_is_said(release: Path, table: str, old: str, new: str, words: str) -> None:
    name = "Data_Entry_2017_v2020.csv" if table == "entries" else "BBox_List_2017.csv"
    text = ENTRIES if table == "entries" else BOXES
    (release / name).write_text(text.replace(old, new))
    with pytest.raises(DataError, match=words):
        nih_chestxray14(release)


def test_boxes_of_other_images_are_counted_or_refused(release: Path,
                                                      caplog: pytest.LogCaptureFixture) -> None:
    path = release / "BBox_List_2017.csv"
    path.write_text(BOXES.replace("00000001_000.png,Mass", "00000009_000.png,Mass"))
    assert len(nih_chestxray14(release).annotations("00000001_000")) == 1
    assert "1 of 4 boxes" in caplog.text
    path.write_text(BOXES.replace("png", "jpg").replace("0000000", "0000007"))
    with pytest.raises(DataError, match="no box of any image"):
        nih_chestxray14(release)
