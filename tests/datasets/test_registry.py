"""Readers declare themselves: a study's data set by kind, and data sets of other people."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import saltrust
import saltrust.datasets
from saltrust.cache.collection import Collection
from saltrust.cli import main
from saltrust.datasets.registry import built_in_readers, data_kinds, find_reader, open_collection
from saltrust.errors import UsageError
from saltrust.study import DataSpec, Study

Make = Callable[..., Path]
PIXELS = np.arange(48 * 64).reshape(48, 64).astype(np.uint8)
KINDS = {"phantom", "folder", "manifest", "chexlocalize", "siim-acr", "rsna", "egd-cxr", "cubes",
         "chexpert", "mimic-cxr-jpg", "nih-chestxray14", "padchest", "vindr-cxr", "vinbigdata"}


def test_every_kind_opens_as_a_collection(listed_films: Path, film_store: Path, layout: Any,
                                          save_png: Make) -> None:
    save_png(listed_films.parent / "classes" / "edema" / "x.png", PIXELS)
    layout.segmentations({"patient1_study1_view1_frontal": {"Edema": np.eye(5, dtype=bool)}})
    assert open_collection(Study(data=DataSpec(patients=3))).description["kind"] == "phantom"
    for kind, path, n in (("manifest", "films.csv", 2), ("folder", "classes", 1),
                          ("chexlocalize", layout.root.name, 1), ("cubes", film_store.name, 2)):
        study = Study(folder=listed_films.parent, data=DataSpec(kind=kind, path=path))
        collection = open_collection(study)
        assert isinstance(collection, Collection), kind
        assert collection.description["kind"] == kind
        assert collection.index.sizes["image"] == n


def test_findings_fractions_and_seed_reach_the_data(listed_films: Path) -> None:
    study = Study(seed=3, folder=listed_films.parent, data=DataSpec(
        kind="manifest", path="films.csv", findings=("Lung Lesion",)))
    assert open_collection(study).index["finding"].values.tolist() == ["Lung Lesion"]
    listed_films.write_text("path,Edema\na.png,1\nb.png,0\n")
    study = Study(seed=3, folder=listed_films.parent, data=DataSpec(
        kind="manifest", path="films.csv", split_fractions=(0.0, 0.0, 1.0)))
    collection = open_collection(study)
    assert collection.index["split"].values.tolist() == ["test", "test"]
    assert collection.description["seed"] == 3


@pytest.mark.parametrize("kind", sorted(KINDS - {"phantom"}))
def test_missing_paths_are_wrong_usage(tmp_path: Path, kind: str) -> None:
    with pytest.raises(UsageError, match="absent"):
        open_collection(Study(folder=tmp_path, data=DataSpec(kind=kind, path="absent")))
    with pytest.raises(UsageError, match="but no path; add path"):
        open_collection(Study(folder=tmp_path, data=DataSpec(kind=kind)))


@pytest.mark.parametrize(("data", "words"), [
    (DataSpec("foldr"), "kind = 'foldr' under .data. is not known; did you mean 'folder'?"),
    (DataSpec("zzz"), "known are: siim-acr, rsna, chexlocalize, cubes, egd-cxr, folder, "),
    (DataSpec("folder", "films", images="films"),
     r"`images` under .*/study is for kind = siim-acr or rsna or egd-cxr or chexpert or .* and "
     r"means nothing for 'folder', a folder of radiographs, .*; leave it out"),
    (DataSpec("rsna", "x.csv", patients=9), "`patients` .* is for kind = phantom and .* 'rsna'"),
    (DataSpec("phantom", "films"), "`path` .* means nothing for 'phantom', synthetic"),
])
def test_wrong_kinds_and_keys_are_named(tmp_path: Path, data: DataSpec, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        open_collection(Study(folder=tmp_path / "study", data=data))


def test_every_folder_declares_what_it_takes() -> None:
    readers = built_in_readers()
    assert readers.keys() == KINDS
    for kind, reader in readers.items():
        assert find_reader(kind) is reader
        assert reader.meaning
        assert not set(reader.required) & set(reader.optional), kind


def test_looking_for_one_data_set_loads_no_other() -> None:
    code = ("import sys; from saltrust.datasets.registry import find_reader\n"
            "find_reader('manifest')\n"
            "print(*(name for name in sys.modules if name.startswith('saltrust.datasets.')"
            " and name.count('.') > 2))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          check=True)
    assert done.stdout.split() == []


READER = """
\"\"\"Radiographs of one folder, each with a finding.\"\"\"

from saltrust.datasets.reader import reader


@reader({kind!r}, "a folder of squares", optional=("split_fractions", "images"))
def open_squares(study):
    from {package}.collection import squares

    return squares(study.path(study.data.path), study.data_path("images"), study.data.findings)
"""
COLLECTION = """
from saltrust.datasets.folder.collection import folder


def squares(directory, images, findings):
    assert images is None or images.is_absolute()
    return folder(directory, findings=findings or ("Square",))
"""


def status_of(arguments: list[str]) -> object:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return ended.value.code


def write_package(place: Path, package: str, kind: str) -> None:
    """A data set as somebody would add one: a folder with a reader and a collection."""
    place.mkdir(parents=True)
    (place / "__init__.py").write_text(READER.format(kind=kind, package=package).lstrip())
    (place / "collection.py").write_text(COLLECTION)


@pytest.fixture
def studied(tmp_path: Path, save_png: Make) -> Iterator[Callable[[str], Path]]:
    """``studied(kind)``: a study file on a folder of two squares."""
    for name in ("a", "b"):
        save_png(tmp_path / "squares" / f"{name}.png", PIXELS)

    def write(kind: str) -> Path:
        path = tmp_path / "study.toml"
        path.write_text(f"grid = 16\n[data]\nkind = {kind!r}\npath = 'squares'\n")
        return path

    before = set(sys.modules)
    yield write
    for name in set(sys.modules) - before:
        if "squares" in name:
            del sys.modules[name]


def test_a_new_data_set_is_one_folder(studied: Callable[[str], Path], tmp_path: Path,
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    write_package(tmp_path / "more" / "squares_in_house", "saltrust.datasets.squares_in_house",
                  "squares")
    monkeypatch.setattr(saltrust.datasets, "__path__",
                        [*saltrust.datasets.__path__, str(tmp_path / "more")])
    output = tmp_path / "squares.zarr"
    assert status_of(["import", "study", str(studied("squares")), "-o", str(output)]) == 0
    cubes = saltrust.open_cubes(output)
    assert cubes["image"].values.tolist() == ["a", "b"]
    assert cubes["finding"].values.tolist() == ["Square"]
    assert (cubes["radiograph/stored"] == 1).all()


def test_a_data_set_of_another_package(studied: Callable[[str], Path], tmp_path: Path,
                                       monkeypatch: pytest.MonkeyPatch,
                                       capsys: pytest.CaptureFixture[str]) -> None:
    site = tmp_path / "site"
    write_package(site / "squares_abroad", "squares_abroad", "squares")
    facts = site / "squares_abroad-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: squares_abroad\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(
        "[saltrust.datasets]\nabroad = squares_abroad:open_squares\n"
        "lost = squares_abroad:no_such\nplain = squares_abroad.collection:squares\n"
        "folder = squares_abroad:open_squares\n")
    monkeypatch.syspath_prepend(site)
    assert set(data_kinds()) == {*KINDS, "abroad", "lost", "plain"}
    output = tmp_path / "abroad.zarr"
    assert status_of(["import", "study", str(studied("abroad")), "-o", str(output)]) == 0
    assert saltrust.open_cubes(output)["image"].values.tolist() == ["a", "b"]
    # What comes with the package keeps its name.
    assert find_reader("folder") is built_in_readers()["folder"]
    with pytest.raises(UsageError, match="'lost' could not be loaded from its entry point"):
        find_reader("lost")
    with pytest.raises(UsageError, match="of kind = 'plain' is no reader; declare it with"):
        find_reader("plain")
    with pytest.raises(UsageError, match=r"`patients` .* means nothing for 'abroad', a folder of"):
        open_collection(Study(data=DataSpec("abroad", "x", patients=3)))
    assert status_of(["import", "study", str(studied("abraod")), "-o", str(output)]) == 2
    assert "did you mean 'abroad'?" in capsys.readouterr().err
