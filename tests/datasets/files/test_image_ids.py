"""Radiographs of data sets whose images go by an id."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from saltrust.datasets.files.image_ids import find_radiographs, plain_id
from saltrust.errors import DataError, UsageError

Make = Callable[..., Path]
PIXELS = np.arange(30, dtype=np.uint8).reshape(5, 6)
IDS = ["1.2.3", "1.2.4", "1.2.5"]


def test_files_without_ending_in_linked_folders(tmp_path: Path, save_png: Make, save_dicom: Make,
                                                caplog: pytest.LogCaptureFixture) -> None:
    root = tmp_path / "images"
    save_png(root / "1.2.3.png", PIXELS)
    save_dicom(tmp_path / "disk" / "1.2.4", PIXELS)
    (root / "more").symlink_to(tmp_path / "disk")
    (root / "again").symlink_to(tmp_path / "disk")
    save_png(root / "9.9.png", PIXELS)
    (root / "readme.txt").write_text("x")
    files = find_radiographs(root, IDS)
    assert list(files) == ["1.2.3", "1.2.4"]
    assert "no radiographs of 1 of 3 images (first: 1.2.5)" in caplog.text
    assert "2 files: 1 .png, 1 .txt (first: 9.9.png)" in caplog.text
    placed = {"1.2.5": tmp_path / "elsewhere.dcm"}
    assert find_radiographs(root, IDS, placed)["1.2.5"] == tmp_path / "elsewhere.dcm"


def test_a_name_that_is_an_id_is_no_radiograph_unless_it_begins_like_one(
        tmp_path: Path, save_png: Make) -> None:
    (tmp_path / "1.2.3").write_text("a list")
    save_png(tmp_path / "1.2.4.PNG", PIXELS)
    assert list(find_radiographs(tmp_path, IDS)) == ["1.2.4"]


def test_two_files_of_one_image_are_named(tmp_path: Path, save_png: Make) -> None:
    for name in ("a/1.2.3.png", "b/1.2.3.png", "a/1.2.4.png", "b/1.2.4.jpg"):
        save_png(tmp_path / name, PIXELS)
    with pytest.raises(DataError, match=r"a/1\.2\.3\.png and .*b/1\.2\.3\.png .*and 1 more"):
        find_radiographs(tmp_path, IDS)


def test_a_folder_with_none_of_the_images(tmp_path: Path, save_png: Make) -> None:
    save_png(tmp_path / "x.png", PIXELS)
    with pytest.raises(DataError, match=r"none of the 3 images \(the first is 1\.2\.3\)"):
        find_radiographs(tmp_path, IDS)
    with pytest.raises(UsageError, match="no folder"):
        find_radiographs(tmp_path / "none", IDS)


def test_ids_keep_their_dots() -> None:
    assert [plain_id(text) for text in ("1.2.3.dcm", "1.2.3", "a.JPEG", "a.b")] == [
        "1.2.3", "1.2.3", "a", "a.b"]
