"""PadChest: lists of labels as text, projections, ages from two years."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saltrust.datasets.releases.collection import Choices
from saltrust.datasets.releases.padchest import padchest
from saltrust.errors import DataError

Make = Callable[..., Path]

HEADER = (",ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,"
          "ViewPosition_DICOM,Projection,Report,MethodLabel,Labels,Localizations")
NAME = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"


def row(image: str, labels: str, facts: str = "20140915,s1,p1,1930.0,F,POSTEROANTERIOR,PA") -> str:
    return f'0,{image},0,{facts},"sin hallazg, normal .",Physician,"{labels}",[]'


ROWS = (row("a_1.png", "['pleural effusion', ' cardiomegaly']"),
        row("b_2.png", "['normal']", "20100101,s2,p2,2010.0,M,nan,L"),
        row("c_3.png", "['']", "20100101,s3,p3,0,O,AP,nan"),
        row("d_4.png", "nan", "20100101,s3,p3,nan,nan,nan,AP_horizontal"),
        row("e_5.png", "['cardiomegaly']", "20100101,s5,p2,2010.0,M,nan,COSTAL"))


def write(folder: Path, *rows: str, header: str = HEADER) -> Path:
    (folder / NAME).write_text("\n".join([header, *rows]) + "\n")
    return folder


def test_labels_views_and_ages(tmp_path: Path) -> None:
    index = padchest(write(tmp_path, *ROWS)).index
    assert index["image"].values.tolist() == ["a_1", "b_2", "c_3", "d_4", "e_5"]
    assert index["finding"].values.tolist() == ["cardiomegaly", "normal", "pleural effusion"]
    assert index["label"].values.tolist() == [[1, 0, 1], [0, 1, 0], [-2] * 3, [-2] * 3, [1, 0, 0]]
    assert index["patient"].values.tolist() == ["p1", "p2", "p3", "p3", "p2"]
    assert index["study"].values.tolist() == ["s1", "s2", "s3", "s3", "s5"]
    assert index["view"].values.tolist() == ["frontal PA", "lateral", "frontal AP",
                                             "frontal AP horizontal", "costal"]
    np.testing.assert_equal(index["age"].values, [84.0, 0.0, np.nan, np.nan, 0.0])
    assert index["sex"].values.tolist() == ["F", "M", "O", "", "M"]
    splits = index["split"].values
    assert splits[1] == splits[4]
    assert splits[2] == splits[3]


def test_rare_labels_are_left_out_unless_they_are_named(tmp_path: Path) -> None:
    folder = write(tmp_path, *ROWS)
    assert padchest(folder, least_images=2).index["finding"].values.tolist() == ["cardiomegaly"]
    named = padchest(folder, Choices(findings=("normal",), views=("frontal",)), least_images=2)
    assert named.index["label"].values.tolist() == [[0], [-2], [-2]]
    with pytest.raises(DataError, match="no label that 3 images have"):
        padchest(folder, least_images=3)


def test_radiographs_lie_in_numbered_folders(tmp_path: Path, save_png: Make) -> None:
    write(tmp_path, *ROWS)
    save_png(tmp_path / "0" / "b_2.png", np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000)
    data = padchest(tmp_path / NAME)
    assert list(data.files) == ["b_2"]
    assert data.radiograph("b_2", (8, 8)).pixels.max() == 255


@pytest.mark.parametrize("text", [
    "['normal'", "normal", "['normal', ]", "['nor'mal']", "[['normal']]", "['a' 'b']", "['a',,'b']",
    "__import__('os')", "['a'] + ['b']", "[" * 3000, "['" + "a" * 50_000, r"['\x41']",
    "[" + "'a'," * 300 + "'a']"])
def test_a_damaged_list_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match=r"row 3: Labels is .*not a list") as caught:
        padchest(write(tmp_path, ROWS[0], row("b.png", text)))
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(("rows", "header", "words"), [
    ([ROWS[0], ROWS[0]], HEADER, "rows 2 and 3: ImageID"),
    ([ROWS[0]], HEADER.replace("PatientID", "Patient"), "no column 'PatientID'"),
    ([ROWS[2]], HEADER, "no label that 1 images have"),
    ([ROWS[0], ROWS[1].replace('"sin hallazg, normal ."', "sin hallazg, normal .")], HEADER,
     "row 3 has more cells"),
])
def test_what_is_wrong_is_said(tmp_path: Path, rows: list[str], header: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        padchest(write(tmp_path, *rows, header=header))


WORD = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="'\\\"\0\r\n",
                                      exclude_categories=["C"]), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(lists=st.lists(st.lists(WORD, max_size=4), min_size=1, max_size=6))
def test_what_a_list_holds_is_what_is_positive(
        tmp_path_factory: pytest.TempPathFactory, lists: list[list[str]]) -> None:
    folder = tmp_path_factory.mktemp("padchest")
    texts = ["[" + ", ".join(f"'{name}'" for name in names) + "]" for names in lists]
    write(folder, *(row(f"{k}.png", text) for k, text in enumerate(texts)),
          row("last.png", "['a known one']"))
    index = padchest(folder).index
    for k, names in enumerate(lists):
        expected = {plain for name in names
                    if (plain := " ".join(unicodedata.normalize("NFC", name).split()))}
        positive = index["label"].values[k] == 1
        assert set(index["finding"].values[positive].tolist()) == expected
        assert (index["label"].values[k] == -2).all() == (not expected)


def test_a_file_of_splits_is_in_the_place_of_the_random_one(tmp_path: Path) -> None:
    (tmp_path / "splits.csv").write_text("image,Split\na_1.png,test\nb_2,val\n")
    data = padchest(write(tmp_path, *ROWS), Choices(splits=tmp_path / "splits.csv"))
    assert data.index["split"].values.tolist() == ["test", "val", "none", "none", "none"]
