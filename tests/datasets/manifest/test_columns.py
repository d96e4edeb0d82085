"""Columns of manifests that other programs wrote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saltrust.cache import rle
from saltrust.datasets.manifest.collection import ManifestCollection, manifest
from saltrust.errors import DataError

Make = Callable[..., Path]
SHAPE = (40, 50)


@pytest.fixture
def films(tmp_path: Path, save_png: Make) -> Path:
    for name in "abc":
        save_png(tmp_path / f"{name}.png", np.eye(*SHAPE, dtype=np.uint8) * 200)
    return tmp_path


def read(folder: Path, *lines: str, **options: Any) -> ManifestCollection:
    (folder / "m.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return manifest(folder / "m.csv", **options)


@pytest.mark.parametrize("name", ["Path", "PATH", " path ", "filename", "file_name", "File",
                                  "image_path", "Image Path", "filepath", "Image", "image_id",
                                  "Image Index"])
def test_the_path_by_other_names(name: str, films: Path) -> None:
    data = read(films, f"{name},Edema", "a.png,1", "b.png,0")
    assert data.has_radiographs
    assert data.index["image"].values.tolist() == ["a", "b"]
    assert data.index["finding"].values.tolist() == ["Edema"]


def test_what_is_read_as_what_is_said_and_recorded(films: Path,
                                                   caplog: pytest.LogCaptureFixture) -> None:
    data = read(films, "filename,PatientID,StudyID,View Position,Split,Edema",
                "a.png,p,s1,PA,train,1", "b.png,p,s2,AP,train,0", "c.png,q,s3,,test,1")
    assert data.index["patient"].values.tolist() == ["p", "p", "q"]
    assert data.index["study"].values.tolist() == ["s1", "s2", "s3"]
    assert data.index["view"].values.tolist() == ["PA", "AP", ""]
    assert data.index["split"].values.tolist() == ["train", "train", "test"]
    assert data.description["columns_read_as"] == {
        "path": "filename", "patient": "PatientID", "study": "StudyID", "view": "View Position",
        "split": "Split"}
    assert "'filename' as path, 'PatientID' as patient" in caplog.text
    assert "'Split'" not in caplog.text


def test_our_names_win_and_doubles_are_said(films: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = read(films, "path,file_name,patient,Edema", "a.png,x.png,p,1", "b.png,y.png,p,0")
    assert data.index["finding"].values.tolist() == ["Edema"]
    assert "left out: 'file_name'" in caplog.text
    with pytest.raises(DataError, match="both 'path' and 'Path', which can be read as path"):
        read(films, "path,Path,Edema", "a.png,b.png,1")


def test_names_that_a_study_claims_are_what_it_says(films: Path) -> None:
    data = read(films, "path,View Position,Edema", "a.png,PA,1", covariates=["View Position"])
    assert data.index["View Position"].values.tolist() == ["PA"]
    assert "view" not in data.index.coords


def test_names_of_images_are_no_paths_where_nothing_lies(tmp_path: Path,
                                                         caplog: pytest.LogCaptureFixture) -> None:
    data = read(tmp_path, "image,Edema", "a.png,1", "b.png,0")
    assert not data.has_radiographs
    assert data.index["image"].values.tolist() == ["a.png", "b.png"]
    assert "there is no" in caplog.text


def test_an_index_and_notes_of_a_study_that_names_its_findings(
        films: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = read(films, "Unnamed: 0,path,note: free text,Site,Edema", "0,a.png,see: x,A,1",
                findings=["Edema"])
    assert data.index["finding"].values.tolist() == ["Edema"]
    assert "'Unnamed: 0' is an index" in caplog.text
    # What may be a slip is still one.
    with pytest.raises(DataError, match="'msk:Edema' is of an unknown kind; did you mean 'mask'"):
        read(films, "path,Edema,msk:Edema", "a.png,1,none", findings=["Edema"])
    with pytest.raises(DataError, match="'note: free text' is of an unknown kind"):
        read(films, "path,note: free text,Edema", "a.png,see: x,1")


@pytest.mark.parametrize(("cells", "labels"), [
    (("True", "False"), [1, 0]), (("1.0", "-1.0"), [1, -1]), (("nan", "NA"), [-2, -2]),
    (("null", "None"), [-2, -2]), (('"1,0"', "TRUE"), [1, 1]), (("\u22121", "+1"), [-1, 1]),
])
def test_labels_as_programs_write_them(cells: tuple[str, str], labels: list[int], films: Path,
                                       ) -> None:
    data = read(films, "path,Edema", f"a.png,{cells[0]}", f"b.png,{cells[1]}")
    assert data.index["label"].values.ravel().tolist() == labels


def test_sizes_of_floats_and_blanks(films: Path) -> None:
    data = read(films, "path,height,width,Edema", "a.png,40.0,50.0,1", "b.png,nan,,0")
    assert data.index["native_width"].values.tolist() == [50, 50]
    for height in ("40.5", "-40", "0", "1e1", "nan"):
        with pytest.raises(DataError, match=r"row 2: .*must be whole numbers"):
            read(films, "image,height,width,Edema", f"x,{height},50,1")


def test_patients_that_are_nobody(films: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = read(films, "path,patient,Edema", "a.png,ANONYMOUS,1", "b.png,ANONYMOUS,0", "c.png,p,0")
    assert data.index["patient"].values.tolist() == ["a", "b", "p"]
    assert "m.csv: the patient of 2 of 3 images is not known ('ANONYMOUS')" in caplog.text


def test_boxes_are_cut_counted_and_taken_once(films: Path,
                                              caplog: pytest.LogCaptureFixture) -> None:
    data = read(films, "path,Edema,Boxes : Edema", "a.png,1,-3 5 20 20; 1 1 5 5; 1 1 5 5",
                "b.png,1,40 30 20 20", "c.png,1,nan")
    assert data.description["images_with_clipped_boxes"] == 2
    assert data.description["repeated_boxes"] == 1
    drawn = data.annotations("a")["Edema", "reference"]
    assert drawn.boxes == ((5.0, 0.0, 25.0, 17.0), (1.0, 1.0, 6.0, 6.0))
    assert drawn.n_polygons == 2
    assert rle.area(drawn.mask_rle, *SHAPE) == 20 * 17 + 25 - 5
    assert data.annotations("c") == {}
    assert "2 images of" in caplog.text
    assert "by 10 pixels at most (first: a)" in caplog.text
    with pytest.raises(DataError, match=r"2 boxes lie wholly outside the image \(first: row 2, "
                                        r"boxes:Edema, 50 0 4 4 \(x y width height\)\)"):
        read(films, "path,Edema,boxes:Edema", "a.png,1,50 0 4 4", "b.png,1,0 -9 4 4; 1 1 2 2")


def test_codes_are_looked_at_before_anything_is_stored(films: Path) -> None:
    relative = " ".join(["405 15", *["25 15"] * 19])
    with pytest.raises(DataError, match=r"m\.csv, row 3, kaggle_rle:Edema: .*siim_rle:FINDING"):
        read(films, "path,Edema,kaggle_rle:Edema", "a.png,1,1 2", f"b.png,1,{relative}")
    data = read(films, "path,Edema,siim_rle:Edema", f"b.png,1,{relative}")
    assert rle.area(data.annotations("b")["Edema", "reference"].mask_rle, *SHAPE) == 300


def test_a_radiograph_is_no_mask(films: Path, save_png: Make) -> None:
    ramp = 2 * np.add.outer(np.arange(40), np.arange(50))
    save_png(films / "film.png", ramp.astype(np.uint8))
    data = read(films, "path,Edema,mask:Edema", "a.png,1,film.png")
    with pytest.raises(DataError, match=r"row 2, mask:Edema: .*film\.png has .*radiograph"):
        data.annotations("a")
