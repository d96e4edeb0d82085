"""CheXpert: patients, studies, views and labels of its tables, and what is wrong with them."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from saltrust.cache.collection import with_radiograph
from saltrust.cache.store import open_cubes
from saltrust.cli import main
from saltrust.datasets.releases.chexpert import FINDINGS, chexpert
from saltrust.datasets.releases.collection import Choices
from saltrust.errors import DataError, SaltrustError, UsageError

Make = Callable[..., Path]
HEADER = "Path,Sex,Age,Frontal/Lateral,AP/PA," + ",".join(FINDINGS)
ROOT = "CheXpert-v1.0-small"


def row(path: str, facts: str = "Female,68,Frontal,AP", **labels: str) -> str:
    cells = [labels.get(name.replace(" ", "_"), "") for name in FINDINGS]
    return ",".join([f"{ROOT}/{path}", facts, *cells])


TRAIN = (row("train/patient00001/study1/view1_frontal.jpg", Edema="1.0", Fracture="-1.0"),
         row("train/patient00001/study1/view2_lateral.jpg", "Female,68,Lateral,", Edema="1.0"),
         row("train/patient00002/study5/view1_frontal.jpg", "Unknown,0,Frontal,PA", Edema="0.0"))
VALID = (row("valid/patient64541/study1/view1_frontal.jpg", "Male,73,Frontal,LL", Edema="1"),)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    write(tmp_path / "train.csv", *TRAIN)
    write(tmp_path / "valid.csv", *VALID)
    return tmp_path


def write(path: Path, *rows: str, header: str = HEADER) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_patients_studies_views_and_splits_are_of_the_paths(release: Path) -> None:
    index = chexpert(release).index
    assert index["image"].values.tolist() == [
        "patient00001_study1_view1_frontal", "patient00001_study1_view2_lateral",
        "patient00002_study5_view1_frontal", "patient64541_study1_view1_frontal"]
    assert index["patient"].values.tolist() == ["patient00001"] * 2 + ["patient00002",
                                                                       "patient64541"]
    assert index["study"].values.tolist()[1:3] == ["patient00001_study1", "patient00002_study5"]
    assert index["view"].values.tolist() == ["frontal AP", "lateral", "frontal PA", "frontal LL"]
    assert index["split"].values.tolist() == ["train"] * 3 + ["val"]
    assert index["age"].values.tolist() == [68.0, 68.0, 0.0, 73.0]
    assert index["sex"].values.tolist() == ["Female", "Female", "", "Male"]


@pytest.mark.parametrize(("blank", "expected"), [("negative", 0), ("unstated", -2)])
def test_a_blank_label_means_what_the_study_says(release: Path, blank: str, expected: int) -> None:
    index = chexpert(release, blank=blank).index
    assert index["finding"].values.tolist() == list(FINDINGS)
    assert index["label"].sel(finding="Edema").values.tolist() == [1, 1, 0, 1]
    assert index["label"].sel(finding="Fracture").values.tolist() == [-1, *[expected] * 3]


def test_findings_are_chosen_by_name_and_alias(release: Path) -> None:
    index = chexpert(release, Choices(findings=("Airspace Opacity", "Edema"))).index
    assert index["finding"].values.tolist() == ["Airspace Opacity", "Edema"]
    with pytest.raises(DataError, match="did you mean 'Edema'"):
        chexpert(release, Choices(findings=("Oedema",)))


def test_views_are_chosen_by_their_beginning(release: Path) -> None:
    choose = {"frontal": 3, "frontal AP": 1, "lateral": 1}
    for view, images in choose.items():
        assert chexpert(release, Choices(views=(view,))).index.sizes["image"] == images
    with pytest.raises(DataError, match=r"no view 'front'.*did you mean 'frontal"):
        chexpert(release, Choices(views=("front",)))


def test_one_table_alone_and_gzipped_gives_the_same(release: Path) -> None:
    packed = release / "chexpert_train.csv.gz"
    packed.write_bytes(gzip.compress((release / "train.csv").read_bytes()))
    whole = chexpert(release).index.isel(image=slice(3))
    assert chexpert(packed).index.identical(whole)


def test_test_labels_have_no_ages_and_views(release: Path) -> None:
    write(release / "test_labels.csv",
          "test/patient64741/study1/view1_frontal.jpg" + ",0" * 14,
          header=",".join(["Path", *FINDINGS]))
    last = chexpert(release).index.isel(image=-1)
    assert (str(last["split"].values), str(last["view"].values)) == ("test", "frontal")
    assert np.isnan(float(last["age"]))


@pytest.mark.parametrize("images_under", ["", ROOT])
def test_radiographs_beside_the_tables_are_read_whatever_the_prefix(
        release: Path, save_png: Make, caplog: pytest.LogCaptureFixture, images_under: str) -> None:
    alone = chexpert(release)
    assert not alone.has_radiographs
    for line in (*TRAIN[:2], *VALID):
        path = line.split(",", 1)[0].removeprefix(f"{ROOT}/").replace(".jpg", ".png")
        save_png(release / images_under / path, np.arange(80, dtype=np.uint8).reshape(10, 8))
    save_png(release / images_under / "train/patient9/study1/view1_frontal.png",
             np.zeros((10, 8), np.uint8))
    data = chexpert(release)
    assert data.has_radiographs
    assert data.fingerprint == alone.fingerprint
    assert data.index.sizes["image"] == 4
    assert with_radiograph(data).tolist() == [True, True, False, True]
    assert data.description["radiographs"] == 3
    assert data.description["radiographs_of_no_image"] == 1
    assert "1 of 4 images" in caplog.text
    assert "patient00002_study5_view1_frontal" in caplog.text
    shown = data.radiograph("patient64541_study1_view1_frontal", (5, 4))
    assert (shown.pixels.shape, shown.native_height, shown.native_width) == ((5, 4), 10, 8)


def test_the_command_line_stores_it(release: Path, tmp_path: Path) -> None:
    study = tmp_path / "study.toml"
    study.write_text('grid = 16\n[data]\nkind = "chexpert"\npath = "."\nblank = "unstated"\n'
                     'findings = ["Edema", "Fracture"]\n')
    done = CliRunner().invoke(main, ["--quiet", "import", "study", str(study), "-o",
                                     str(tmp_path / "a.zarr")], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    cubes = open_cubes(tmp_path / "a.zarr")
    assert cubes["reference/label"].values.tolist() == [[1, -1], [1, -2], [0, -2], [1, -2]]
    assert cubes["age"].values.tolist() == [68.0, 68.0, 0.0, 73.0]
    assert cubes.attrs["data"]["blank"] == "unstated"


def bad(name: str, content: list[str], words: str, header: str = HEADER) -> object:
    return pytest.param(content, header, words, id=name)


@pytest.mark.parametrize(("rows", "header", "words"), [
    bad("path", [TRAIN[0], row("train/p/s")], "row 3: Path is .*patient"),
    bad("label", [row("train/patient1/study1/view1_frontal.jpg", Edema="2.0")],
        "row 2: Edema is '2.0'"),
    bad("twice", [TRAIN[0], TRAIN[1], TRAIN[0]], "row 2 and .*row 4.*patient00001_study1_view1"),
    bad("age", [row("train/patient1/study1/view1_frontal.jpg", "Male,old,Frontal,AP")],
        "row 2: Age is 'old'"),
    bad("plane", [row("train/patient1/study1/view1_frontal.jpg", "Male,30,Oblique,AP")],
        "row 2: Frontal/Lateral is 'Oblique'"),
    bad("split", [row("patient1/study1/view1_frontal.jpg")], "row 2: Path .*split"),
    bad("cut off", [TRAIN[0], TRAIN[1][:-8]], "row 3 has fewer cells"),
    bad("too many cells", [TRAIN[0], TRAIN[1] + ",1"], "row 3 has more cells"),
    bad("no column", [TRAIN[0]], "no column 'Sex'", HEADER.replace("Sex", "Gender")),
    bad("no label column", [TRAIN[0]], "no column 'Edema'", HEADER.replace("Edema", "Oedema")),
    bad("column twice", [TRAIN[0]], "'Edema' more than once",
        HEADER.replace("Fracture", "Edema")),
    bad("no rows", [], "no rows"),
])
def test_what_is_wrong_is_said_in_one_sentence(tmp_path: Path, rows: list[str], header: str,
                                               words: str) -> None:
    name = "labels.csv" if "split" in words else "train.csv"
    with pytest.raises(DataError, match=words) as caught:
        chexpert(write(tmp_path / name, *rows, header=header))
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_without_tables_or_with_two_of_one_is_refused(tmp_path: Path,
                                                               release: Path) -> None:
    (release / "train.csv.gz").write_bytes(b"")
    with pytest.raises(DataError, match=r"are both train\.csv"):
        chexpert(release)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match=r"neither train\.csv"):
        chexpert(empty)
    with pytest.raises(SaltrustError, match="no folder"):
        chexpert(tmp_path / "absent")


def test_images_that_are_asked_for_have_to_be_there(release: Path, save_png: Make) -> None:
    save_png(release / "other" / "a.png", np.zeros((4, 4), np.uint8))
    with pytest.raises(DataError, match=r"none of the 4 radiographs \(1 others"):
        chexpert(release, Choices(images=release / "other"))
    with pytest.raises(UsageError, match="no folder"):
        chexpert(release, Choices(images=release / "absent"))
