"""VinDr-CXR and VinBigData: three readers of seventeen in each image, votes, sizes."""

from __future__ import annotations

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
from saltrust.datasets.releases.vindr_cxr import vinbigdata, vindr_cxr
from saltrust.errors import DataError

Make = Callable[..., Path]

KAGGLE = """image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max
a,Cardiomegaly,3,R10,10,20,50,60
a,Cardiomegaly,3,R9,12,22,52,62
a,Cardiomegaly,3,R9,70,0,81.5,5
a,Aortic enlargement,0,R9,5,5,9,9
a,No finding,14,R2,,,,
b,No finding,14,R1,,,,
b,No finding,14,R2,,,,
b,No finding,14,R17,,,,
c,Aortic enlargement,0,R1,0,0,4,4
c,No finding,14,R2,,,,
"""
SIZES = "image_id,dim0,dim1\nb,100,80\na,100,80\nc,50,60\n"


@pytest.fixture
def kaggle(tmp_path: Path) -> Path:
    (tmp_path / "train.csv").write_text(KAGGLE)
    (tmp_path / "sizes.csv").write_text(SIZES)
    return tmp_path


def test_three_readers_of_an_image_are_annotated_and_the_others_are_not(
        kaggle: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = vinbigdata(kaggle, sizes=kaggle / "sizes.csv")
    assert data.index["reader"].values.tolist() == ["R1", "R2", "R9", "R10", "R17"]
    assert data.index["finding"].values.tolist() == ["Aortic enlargement", "Cardiomegaly"]
    assert set(data.index["reader_role"].values.tolist()) == {"reference"}
    drawn = data.annotations("a")
    assert set(drawn) == {(finding, reader) for reader in ("R2", "R9", "R10")
                          for finding in ("Aortic enlargement", "Cardiomegaly")}
    assert drawn["Cardiomegaly", "R9"].boxes == ((22.0, 12.0, 62.0, 52.0), (0.0, 70.0, 5.0, 80.0))
    areas = {pair: rle.area(one.mask_rle, 100, 80) for pair, one in drawn.items()}
    assert areas["Cardiomegaly", "R9"] == 40 * 40 + 10 * 5
    assert areas["Aortic enlargement", "R10"] == areas["Cardiomegaly", "R2"] == 0
    assert all(not one.boxes for one in data.annotations("b").values())
    assert {reader for _, reader in data.annotations("b")} == {"R1", "R2", "R17"}
    assert data.index.attrs["n_boxes"] == 2
    assert "have boxes that reach outside the image, by 1.5 pixels" in caplog.text


@pytest.mark.parametrize(("votes", "expected"), [
    ("majority", [[0, 1], [0, 0], [-1, 0]]), ("any", [[1, 1], [0, 0], [1, 0]])])
def test_labels_are_votes(kaggle: Path, votes: str, expected: list[list[int]]) -> None:
    assert vinbigdata(kaggle, votes=votes).index["label"].values.tolist() == expected


def test_without_sizes_labels_are_taken_alone(kaggle: Path,
                                              caplog: pytest.LogCaptureFixture) -> None:
    data = vinbigdata(kaggle)
    assert data.index.sizes["reader"] == 0
    assert data.annotations("a") == {}
    assert "neither radiographs nor a table of their sizes" in caplog.text


def test_sizes_are_of_the_radiographs_or_those_are_smaller_copies(kaggle: Path, save_dicom: Make,
                                                                  save_png: Make) -> None:
    for name in "ab":
        (kaggle / "train").mkdir(exist_ok=True)
        save_dicom(kaggle / "train" / f"{name}.dicom",
                   np.arange(8000, dtype=np.uint16).reshape(100, 80))
    data = vinbigdata(kaggle)
    assert sorted(data.files) == ["a", "b"]
    assert data.index["native_width"].values.tolist() == [80, 80, 0]
    assert data.annotations("c") == {}
    copies = kaggle / "small"
    save_png(copies / "a.png", np.arange(80, dtype=np.uint8).reshape(10, 8))
    small = vinbigdata(kaggle, Choices(images=copies), sizes=kaggle / "sizes.csv")
    assert small.radiograph("a", (5, 4)).native_height == 100
    assert small.annotations("a") == data.annotations("a")
    with pytest.raises(DataError, match="wholly outside"):
        vinbigdata(kaggle, Choices(images=copies))


def test_the_store_has_who_read_what(kaggle: Path, tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text('grid = 20\n[data]\nkind = "vinbigdata"\npath = "."\n'
                                         'sizes = "sizes.csv"\nvotes = "any"\n')
    done = CliRunner().invoke(main, ["--quiet", "import", "study", str(tmp_path / "study.toml"),
                                     "-o", str(tmp_path / "a.zarr")], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    cubes = open_cubes(tmp_path / "a.zarr")
    assert problems(cubes) == []
    annotated = cubes["reference/annotated"]
    assert annotated.sum("reader").values.tolist() == [[3, 3], [3, 3], [2, 2]]
    assert annotated.sel(image="a", finding="Cardiomegaly").values.tolist() == [
        False, True, True, True, False]
    masks = cubes["reference/mask"].any(("y", "x"))
    assert int(masks.sum()) == 4


ANNOTATIONS = KAGGLE.replace(",class_id", "").replace(",3,", ",").replace(",0,R", ",R").replace(
    ",14,", ",")
LABELS = """image_id,rad_id,Aortic enlargement,Cardiomegaly,COPD,No finding
a,R10,0,1,1,0
a,R9,1,1,1,0
a,R2,0,0,0,1
b,R1,0,0,0,1
b,R2,0,0,0,1
b,R17,0,0,0,1
c,R1,1,0,0,0
c,R2,0,0,0,1
"""


@pytest.fixture
def physionet(tmp_path: Path) -> Path:
    (tmp_path / "annotations_train.csv").write_text(ANNOTATIONS)
    (tmp_path / "image_labels_train.csv").write_text(LABELS)
    (tmp_path / "annotations_test.csv").write_text(
        "image_id,class_name,x_min,y_min,x_max,y_max\nd,Cardiomegaly,1,2,3,4\n")
    (tmp_path / "image_labels_test.csv").write_text(
        "image_id,Aortic enlargement,Cardiomegaly,COPD,No finding\nd,0,1,1,0\ne,0,0,0,1\n")
    (tmp_path / "sizes.csv").write_text(f"{SIZES}d,9,9\ne,9,9\n")
    return tmp_path


def test_both_parts_with_labels_of_the_whole_image(physionet: Path) -> None:
    data = vindr_cxr(physionet, Choices(split_fractions=(1.0, 0.0, 0.0)),
                     sizes=physionet / "sizes.csv")
    assert data.index["finding"].values.tolist() == ["Aortic enlargement", "Cardiomegaly", "COPD"]
    assert data.index["label"].values.tolist() == [[0, 1, 1], [0, 0, 0], [-1, 0, 0], [0, 1, 1],
                                                   [0, 0, 0]]
    assert data.index["split"].values.tolist() == ["train"] * 3 + ["test"] * 2
    assert set(data.annotations("d")) == {("Aortic enlargement", "consensus"),
                                          ("Cardiomegaly", "consensus")}
    assert rle.area(data.annotations("d")["Cardiomegaly", "consensus"].mask_rle, 9, 9) == 4
    assert len(data.annotations("e")) == 2
    assert len(data.annotations("a")) == 6
    alone = vindr_cxr(physionet / "annotations_train.csv", Choices(findings=("Cardiomegaly",)),
                      sizes=physionet / "sizes.csv")
    assert alone.index.sizes == {"image": 3, "finding": 1, "reader": 5}


@pytest.mark.parametrize(("old", "new", "words"), [
    ("a,No finding,14,R2", "a,No finding,14,R9", "row 6: class_name is 'No finding'"),
    ("10,20,50,60", ",,,", "row 2: x_min is ''"),
    ("10,20,50,60", "10,20,10,60", "row 2: x_max is '10', so the box has no width"),
    ("10,20,50,60", "10,20,1e9,60", "row 2: x_max"),
    ("10,20,50,60", "110,20,150,60", "1 box lies wholly outside.*row 2"),
    ("rad_id", "reader", "rad_id is '', but every row is by a reader"),
    ("Cardiomegaly,3,R9,12", ",3,R9,12", "row 3: class_name is ''"),
])
def test_what_is_wrong_is_said(kaggle: Path, old: str, new: str, words: str) -> None:
    if old == "rad_id":
        text = KAGGLE.replace("b,No finding,14,R1,", "b,No finding,14,,")
    else:
        text = KAGGLE.replace(old, new)
    (kaggle / "train.csv").write_text(text)
    with pytest.raises(DataError, match=words):
        vinbigdata(kaggle, sizes=kaggle / "sizes.csv")


@pytest.mark.parametrize(("text", "words"), [
    (SIZES.replace("b,100,80\n", ""), "lacks the sizes of 1 of 3 images.*first: b"),
    (SIZES.replace("dim0", "tall"), "no columns height and width"),
    (SIZES.replace("b,", "a,"), "rows 2 and 3: image_id"),
    (SIZES.replace("100", "1e2"), "row 2: dim0 is '1e2'"),
])
def test_sizes_have_to_be_whole(kaggle: Path, text: str, words: str) -> None:
    (kaggle / "sizes.csv").write_text(text)
    with pytest.raises(DataError, match=words):
        vinbigdata(kaggle, sizes=kaggle / "sizes.csv")


def test_an_image_of_both_parts_is_refused(physionet: Path) -> None:
    path = physionet / "annotations_test.csv"
    path.write_text(path.read_text().replace("d,Card", "a,Card"))
    with pytest.raises(DataError, match=r"a of .* is among the training and the test"):
        vindr_cxr(physionet)
