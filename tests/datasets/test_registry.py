"""A study's data set by kind, and cubes as a data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saltrust.cache import rle
from saltrust.cache.collection import Collection
from saltrust.cache.reference import import_collection
from saltrust.datasets.manifest.collection import manifest
from saltrust.datasets.registry import open_collection
from saltrust.datasets.stored_cubes import stored_cubes
from saltrust.errors import DataError, UsageError
from saltrust.study import DataSpec, Study

Make = Callable[..., Path]
PIXELS = np.arange(48 * 64).reshape(48, 64).astype(np.uint8)


@pytest.fixture
def films(tmp_path: Path, save_png: Make) -> Path:
    for name in ("a", "b"):
        save_png(tmp_path / f"{name}.png", PIXELS)
    mask = np.zeros((48, 64), dtype=np.uint8)
    mask[10:20, 30:50] = 255
    save_png(tmp_path / "m.png", mask)
    path = tmp_path / "films.csv"
    path.write_text(
        "path,patient,split,Edema,Lung Lesion,mask:Edema,mask:Edema:expert,points:Edema:expert,"
        "boxes:Lung Lesion\n"
        "a.png,p1,train,1,0,m.png,m.png,31 12,\n"
        "b.png,p2,test,0,1,,,,5 6 7 8; 20 20 2 2\n")
    return path


@pytest.fixture
def store(films: Path) -> Path:
    return import_collection(manifest(films), films.parent / "films.zarr", grid=(24, 32))


def test_every_kind_opens_as_a_collection(films: Path, store: Path, layout: Any,
                                          save_png: Make) -> None:
    save_png(films.parent / "classes" / "edema" / "x.png", PIXELS)
    layout.segmentations({"patient1_study1_view1_frontal": {"Edema": np.eye(5, dtype=bool)}})
    for kind, path, n in (("phantom", "", None), ("manifest", "films.csv", 2),
                          ("folder", "classes", 1), ("chexlocalize", layout.root.name, 1),
                          ("cubes", store.name, 2)):
        study = Study(folder=films.parent, data=DataSpec(kind=kind, path=path, patients=3))
        found = open_collection(study)
        assert isinstance(found, Collection), kind
        assert found.description["kind"] == kind
        if n is not None:
            assert found.index.sizes["image"] == n


def test_findings_fractions_and_seed_reach_the_data(films: Path) -> None:
    study = Study(seed=3, folder=films.parent, data=DataSpec(
        kind="manifest", path="films.csv", findings=("Lung Lesion",)))
    assert open_collection(study).index["finding"].values.tolist() == ["Lung Lesion"]
    films.write_text("path,Edema\na.png,1\nb.png,0\n")
    study = Study(seed=3, folder=films.parent, data=DataSpec(
        kind="manifest", path="films.csv", split_fractions=(0.0, 0.0, 1.0)))
    found = open_collection(study)
    assert found.index["split"].values.tolist() == ["test", "test"]
    assert found.description["seed"] == 3


@pytest.mark.parametrize("kind", ["folder", "manifest", "chexlocalize", "cubes"])
def test_missing_paths_are_wrong_usage(tmp_path: Path, kind: str) -> None:
    with pytest.raises(UsageError, match="absent"):
        open_collection(Study(folder=tmp_path, data=DataSpec(kind=kind, path="absent")))
    with pytest.raises(UsageError, match="no path"):
        open_collection(Study(folder=tmp_path, data=DataSpec(kind=kind)))


def test_cubes_give_back_what_was_stored(films: Path, store: Path) -> None:
    original, found = manifest(films), stored_cubes(store)
    for name in ("image", "finding", "reader", "reader_role", "patient", "split", "native_height",
                 "native_width", "label"):
        assert found.index[name].values.tolist() == original.index[name].values.tolist(), name
    for image in ("a", "b"):
        assert found.annotations(image) == original.annotations(image)
        radiograph, expected = found.radiograph(image, (24, 32)), original.radiograph(
            image, (24, 32))
        np.testing.assert_array_equal(radiograph.pixels, expected.pixels)
        assert (radiograph.native_height, radiograph.native_width) == (48, 64)
    assert found.annotations("a")["Edema", "expert"].points == ((12.0, 31.0),)
    assert len(found.annotations("b")["Lung Lesion", "reference"].boxes) == 2


def test_cubes_are_reduced_but_never_enlarged(store: Path) -> None:
    found = stored_cubes(store)
    reduced = found.radiograph("a", (12, 16)).pixels
    assert reduced.shape == (12, 16)
    assert abs(reduced.mean() - found.radiograph("a", (24, 32)).pixels.mean()) < 2
    with pytest.raises(DataError, match=r"24 x 32 pixels.*set grid = 24"):
        found.radiograph("a", (48, 48))


def test_findings_of_cubes_are_chosen(store: Path) -> None:
    found = stored_cubes(store, findings=["Lung Lesion"])
    assert found.index["label"].values.tolist() == [[0], [1]]
    assert set(found.annotations("a")) == {("Lung Lesion", "reference")}
    empty = found.annotations("a")["Lung Lesion", "reference"].mask_rle
    assert rle.area(empty, 48, 64) == 0
    with pytest.raises(DataError, match="did you mean 'Edema'"):
        stored_cubes(store, findings=["Edma"])
    assert stored_cubes(store).fingerprint != found.fingerprint


def test_cubes_without_radiographs(films: Path) -> None:
    films.write_text("image,height,width,Edema,kaggle_rle:Edema\na,6,8,1,1 2\n")
    store = import_collection(manifest(films), films.parent / "x.zarr", grid=(6, 8))
    found = stored_cubes(store)
    assert not found.has_radiographs
    with pytest.raises(DataError, match="no radiographs"):
        found.radiograph("a", (6, 8))
    with pytest.raises(UsageError):
        stored_cubes(films.parent / "none.zarr")
