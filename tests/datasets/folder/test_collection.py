"""Plain folders as collections."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from saltrust.cache.collection import Collection
from saltrust.datasets.folder.collection import folder
from saltrust.errors import DataError

Make = Callable[..., Path]
PIXELS = np.arange(30, dtype=np.uint8).reshape(5, 6)


@pytest.fixture
def films(tmp_path: Path, save_png: Make) -> Path:
    for name in ("edema", "normal", "pneumonia"):
        for i in range(10):
            save_png(tmp_path / "films" / name / f"{i:03d}.png", PIXELS + i)
    (tmp_path / "films" / "README.txt").write_text("not an image")
    (tmp_path / "films" / "edema" / ".hidden.png").write_text("not an image either")
    return tmp_path / "films"


def test_one_finding_per_class_folder(films: Path) -> None:
    data = folder(films)
    assert isinstance(data, Collection)
    assert data.index["finding"].values.tolist() == ["edema", "normal", "pneumonia"]
    assert data.index.sizes["image"] == 30
    assert data.index["image"].values[:2].tolist() == ["edema/000", "edema/001"]
    label = data.index["label"]
    assert label.sel(image="normal/003").values.tolist() == [0, 1, 0]
    assert label.values.sum() == 30
    assert data.index["patient"].values.tolist() == data.index["image"].values.tolist()
    assert data.has_radiographs
    assert data.index.sizes["reader"] == 0
    assert data.annotations("edema/000") == {}


def test_pixels_come_from_the_image_named(films: Path) -> None:
    data = folder(films)
    radiograph = data.radiograph("pneumonia/004", (5, 6))
    np.testing.assert_array_equal(radiograph.pixels, PIXELS + 4)
    assert (radiograph.native_height, radiograph.native_width) == (5, 6)


def test_splits_are_stratified_and_seeded(films: Path) -> None:
    data = folder(films, seed=1)
    splits = data.index["split"].values.reshape(3, 10)
    for row in splits:
        assert Counter(row.tolist()) == {"train": 7, "val": 1, "test": 2}
    assert folder(films, seed=1).fingerprint == data.fingerprint
    assert folder(films, seed=2).fingerprint != data.fingerprint


def test_asking_for_some_findings_leaves_the_others_as_negatives(films: Path) -> None:
    data = folder(films, findings=["pneumonia", "edema"])
    assert data.index["finding"].values.tolist() == ["pneumonia", "edema"]
    assert data.index["label"].sel(image="normal/000").values.tolist() == [0, 0]
    with pytest.raises(DataError, match=r"pneumonja.*did you mean 'pneumonia'"):
        folder(films, findings=["pneumonja"])


def test_split_folders_are_used(tmp_path: Path, save_png: Make,
                                caplog: pytest.LogCaptureFixture) -> None:
    for split, n in (("train", 4), ("valid", 2), ("test", 3)):
        for i in range(n):
            save_png(tmp_path / split / "edema" / f"{i}.png", PIXELS)
            save_png(tmp_path / split / "none" / "deep" / f"{i}.png", PIXELS)
    data = folder(tmp_path)
    assert Counter(data.index["split"].values.tolist()) == {"train": 8, "val": 4, "test": 6}
    assert "valid/none/deep/1" in data.index["image"].values
    assert data.description["split"] == "given by folders"
    save_png(tmp_path / "stray" / "x.png", PIXELS)
    with pytest.raises(DataError, match="stray"):
        folder(tmp_path)


def test_a_patient_in_two_split_folders_is_said(tmp_path: Path, save_dicom: Make,
                                                caplog: pytest.LogCaptureFixture) -> None:
    for split in ("train", "test"):
        for i in range(2):
            save_dicom(tmp_path / split / "edema" / f"{i}.dcm", PIXELS, PatientID=f"p{i}")
    data = folder(tmp_path)
    assert data.index["patient"].values.tolist() == ["p0", "p1", "p0", "p1"]
    assert "2 patients into more than one split" in caplog.text


def test_images_without_class_folders_have_no_labels(tmp_path: Path, save_png: Make) -> None:
    for i in range(3):
        save_png(tmp_path / f"{i}.png", PIXELS)
    data = folder(tmp_path, findings=["Edema", "Pneumothorax"])
    assert (data.index["label"].values == -2).all()
    assert data.index["image"].values.tolist() == ["0", "1", "2"]
    with pytest.raises(DataError, match=r"no class folders.*findings"):
        folder(tmp_path)


def test_dicom_names_keep_their_dots(tmp_path: Path, save_dicom: Make) -> None:
    save_dicom(tmp_path / "edema" / "1.2.840.113.dcm", PIXELS, PatientID="p")
    assert folder(tmp_path).index["image"].values.tolist() == ["edema/1.2.840.113"]


def test_folders_that_cannot_be_a_study(tmp_path: Path, save_png: Make) -> None:
    with pytest.raises(DataError, match="not a folder"):
        folder(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no PNG, JPEG or DICOM"):
        folder(tmp_path / "empty")
    save_png(tmp_path / "twice" / "edema" / "a.png", PIXELS)
    save_png(tmp_path / "twice" / "edema" / "a.jpg", PIXELS)
    with pytest.raises(DataError, match=r"'edema/a'.*a\.jpg.*a\.png"):
        folder(tmp_path / "twice")
    save_png(tmp_path / "mixed" / "edema" / "a.png", PIXELS)
    save_png(tmp_path / "mixed" / "b.png", PIXELS)
    with pytest.raises(DataError, match=r"b\.png.*beside class folders"):
        folder(tmp_path / "mixed")


@pytest.mark.real_data
def test_the_real_radiographs(shared_data: Path) -> None:
    data = folder(shared_data / "radiographs", seed=0)
    assert data.index["finding"].values.tolist() == ["pneumonia", "pneumothorax"]
    assert data.index["label"].values.sum(axis=0).tolist() == [100, 100]
    assert len(set(data.index["image"].values.tolist())) == 200
    assert Counter(data.index["split"].values.tolist()) == {"train": 140, "val": 20, "test": 40}
    assert data.radiograph("pneumothorax/099", (64, 64)).native_height == 320


def test_what_is_no_radiograph_is_counted_and_named(
        tmp_path: Path, save_png: Make, caplog: pytest.LogCaptureFixture) -> None:
    save_png(tmp_path / "edema" / "a.png", PIXELS)
    save_png(tmp_path / "edema" / "b.bmp", PIXELS)
    save_png(tmp_path / "mass" / "c.TIF", PIXELS)
    (tmp_path / "mass" / "c.txt").write_text("a report")
    (tmp_path / "mass" / "volume.npy").write_bytes(b"x")
    (tmp_path / "labels.csv").write_text("a,b")
    (tmp_path / "mass" / ".DS_Store").touch()
    data = folder(tmp_path)
    assert data.index["image"].values.tolist() == ["edema/a", "edema/b", "mass/c"]
    for name in data.index["image"].values.tolist():
        np.testing.assert_array_equal(data.radiograph(name, (5, 6)).pixels, PIXELS)
    assert data.description["left_out"]["files"] == 3
    assert data.description["left_out"]["endings"] == {".csv": 1, ".txt": 1, ".npy": 1}
    assert "3 files: 1 .csv, 1 .txt, 1 .npy (first: labels.csv)" in caplog.text


def test_linked_folders_and_dicom_without_ending(tmp_path: Path, save_png: Make,
                                                 save_dicom: Make) -> None:
    save_png(tmp_path / "disk" / "b.png", PIXELS)
    root = tmp_path / "films"
    for split in ("Train", "TEST"):
        save_dicom(root / split / "mass" / "1.2.7", PIXELS, PatientID=f"patient of {split}")
    (root / "Train" / "edema").symlink_to(tmp_path / "disk")
    save_png(root / "TEST" / "edema" / "x.png", PIXELS)
    data = folder(root)
    assert data.index["image"].values.tolist() == [
        "TEST/edema/x", "TEST/mass/1.2.7", "Train/edema/b", "Train/mass/1.2.7"]
    assert data.index["split"].values.tolist() == ["test", "test", "train", "train"]


def test_a_file_that_is_linked_again_counts_once_in_its_class(
        tmp_path: Path, save_png: Make, caplog: pytest.LogCaptureFixture) -> None:
    save_png(tmp_path / "edema" / "a.png", PIXELS)
    (tmp_path / "edema" / "again.png").symlink_to(tmp_path / "edema" / "a.png")
    save_png(tmp_path / "mass" / "b.png", PIXELS)
    (tmp_path / "mass" / "a.png").symlink_to(tmp_path / "edema" / "a.png")
    data = folder(tmp_path)
    assert data.index["image"].values.tolist() == ["edema/a", "mass/a", "mass/b"]
    assert "1 files lie, by links, in several classes or splits" in caplog.text
    assert data.description["left_out"]["first"] == "edema/again.png"


@pytest.mark.parametrize("content", [["a.npy", "b.npy"], []])
def test_a_class_that_would_vanish_is_refused(tmp_path: Path, save_png: Make,
                                              content: list[str]) -> None:
    save_png(tmp_path / "edema" / "a.png", PIXELS)
    (tmp_path / "mass").mkdir()
    for name in content:
        (tmp_path / "mass" / name).write_bytes(b"x")
    held = r"2 files: 2 \.npy \(first: a\.npy\)" if content else "is empty"
    with pytest.raises(DataError, match=rf"class folder .*mass .*{held}.*would vanish"):
        folder(tmp_path)
