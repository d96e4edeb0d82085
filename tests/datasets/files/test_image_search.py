"""Which files below a folder are radiographs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.data import get_testdata_file

from saltrust.datasets.files.image_search import (
    counted,
    files_below,
    image_name,
    is_radiograph_file,
    subfolders,
    without_doubles,
)

Make = Callable[..., Path]
PIXELS = np.arange(30, dtype=np.uint8).reshape(5, 6)


def test_links_are_followed_and_loops_are_not(tmp_path: Path, save_png: Make) -> None:
    save_png(tmp_path / "elsewhere" / "deep" / "b.png", PIXELS)
    root = tmp_path / "films"
    save_png(root / "a.png", PIXELS)
    (root / "inner").mkdir()
    (root / "inner" / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "inner" / "back").symlink_to(root)
    (root / "c.png").symlink_to(tmp_path / "elsewhere" / "deep" / "b.png")
    (root / "lost.png").symlink_to(tmp_path / "none.png")
    names = [path.relative_to(root).as_posix() for path in files_below(root)]
    assert names == ["a.png", "c.png", "lost.png", "inner/linked/deep/b.png"]
    assert not is_radiograph_file(root / "lost.png")
    kept, doubles = without_doubles([root / "c.png", root / "inner/linked/deep/b.png"])
    assert (len(kept), len(doubles)) == (1, 1)
    (root / "hard.png").hardlink_to(root / "a.png")
    assert without_doubles([root / "a.png", root / "hard.png"])[1] == []


def test_what_systems_leave_is_passed_over(tmp_path: Path, save_png: Make) -> None:
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._a.png"):
        (tmp_path / name).write_bytes(b"x")
    save_png(tmp_path / "__MACOSX" / "a.png", PIXELS)
    save_png(tmp_path / "A.PNG", PIXELS)
    assert [path.name for path in files_below(tmp_path)] == ["A.PNG"]
    assert subfolders(tmp_path) == []


def test_dicom_without_an_ending_is_known_by_its_content(tmp_path: Path, save_png: Make,
                                                         save_dicom: Make) -> None:
    assert is_radiograph_file(save_dicom(tmp_path / "IM0001", PIXELS))
    assert is_radiograph_file(save_dicom(tmp_path / "1.2.840.113.7", PIXELS))
    whole = save_dicom(tmp_path / "IM0002", PIXELS).read_bytes()
    (tmp_path / "cut").write_bytes(whole[:140])
    # Damaged, not of another kind: whoever decodes it says so.
    assert is_radiograph_file(tmp_path / "cut")
    assert is_radiograph_file(save_png(tmp_path / "a.png", PIXELS).rename(tmp_path / "picture"))
    (tmp_path / "notes").write_text("x" * 200)
    (tmp_path / "empty").touch()
    (tmp_path / "folder.png").mkdir()
    report = Path(str(get_testdata_file("reportsi.dcm"))).read_bytes()
    (tmp_path / "SR0001").write_bytes(report)
    directory = Path(str(get_testdata_file("DICOMDIR"))).read_bytes()
    (tmp_path / "DICOMDIR").write_bytes(directory)
    (tmp_path / "INDEX").write_bytes(directory)
    for name in ("notes", "empty", "folder.png", "SR0001", "DICOMDIR", "INDEX", "none"):
        assert not is_radiograph_file(tmp_path / name), name


@pytest.mark.parametrize(("path", "name"), [
    ("a/b.png", "a/b"), ("b.TIFF", "b"), ("1.2.840", "1.2.840"), ("1.2.840.dcm", "1.2.840"),
    ("a.txt", "a.txt")])
def test_names_lose_endings_of_radiographs_only(path: str, name: str) -> None:
    assert image_name(Path(path)) == name


def test_endings_are_counted(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.txt", "b.npy", "c.TXT")]
    assert counted(paths, tmp_path) == "3 files: 2 .txt, 1 .npy (first: a.txt)"
