"""Radiographs of a release: links, loops, doubles, folders that are none of the release."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from saltrust.datasets.releases.radiographs import Place, find_files
from saltrust.errors import DataError

Make = Callable[..., Path]
PLACE = Place(re.compile("images.*"))
PIXELS = np.zeros((4, 4), np.uint8)


def test_folders_of_the_release_are_looked_through_and_others_are_not(tmp_path: Path,
                                                                      save_png: Make) -> None:
    for place in ("images_1/a.png", "images_2/deep/b.PNG", "c.png", "thumbs/d.png",
                  "images_1/.hidden/e.png", "images_1/__MACOSX/f.png", "images_1/other.png"):
        save_png(tmp_path / place, PIXELS)
    (tmp_path / "images_1" / "g.txt").write_text("g")
    files = find_files("abcdefg", PLACE, beside=tmp_path, images=None)
    assert sorted(files.paths) == ["a", "b", "c"]
    assert files.others == 1
    everywhere = find_files("abcdefg", PLACE, beside=tmp_path / "absent", images=tmp_path)
    assert sorted(everywhere.paths) == ["a", "b", "c", "d"]


def test_links_are_followed_and_loops_end(tmp_path: Path, save_png: Make) -> None:
    save_png(tmp_path / "elsewhere" / "a.png", PIXELS)
    save_png(tmp_path / "elsewhere" / "other.png", PIXELS)
    (tmp_path / "release").mkdir()
    (tmp_path / "release" / "images").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(tmp_path / "release")
    (tmp_path / "release" / "broken").symlink_to(tmp_path / "absent")
    files = find_files(["a"], PLACE, beside=tmp_path, images=tmp_path / "release")
    assert Path(files.paths["a"]).samefile(tmp_path / "elsewhere" / "a.png")
    # Every round of a loop would count it again.
    assert files.others == 1


def test_one_file_by_two_ways_is_one(tmp_path: Path, save_png: Make) -> None:
    save_png(tmp_path / "images" / "a.png", PIXELS)
    (tmp_path / "images_again").symlink_to(tmp_path / "images")
    assert list(find_files(["a"], PLACE, beside=tmp_path, images=None).paths) == ["a"]


def test_two_files_of_one_image_are_refused(tmp_path: Path, save_png: Make) -> None:
    save_png(tmp_path / "images" / "a.png", PIXELS)
    save_png(tmp_path / "images" / "deep" / "a.jpg", PIXELS)
    with pytest.raises(DataError, match=r"a\.(png|jpg) and .* are of one image, a;"):
        find_files(["a"], PLACE, beside=tmp_path, images=None)
