"""Cubes as a data set: what was stored is given back, and never made larger."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from saltrust.cache import rle
from saltrust.cache.reference import import_collection
from saltrust.datasets.cubes.collection import stored_cubes
from saltrust.datasets.manifest.collection import manifest
from saltrust.errors import DataError, UsageError


def test_cubes_give_back_what_was_stored(listed_films: Path, film_store: Path) -> None:
    original, found = manifest(listed_films), stored_cubes(film_store)
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


def test_cubes_are_reduced_but_never_enlarged(film_store: Path) -> None:
    found = stored_cubes(film_store)
    reduced = found.radiograph("a", (12, 16)).pixels
    assert reduced.shape == (12, 16)
    assert abs(reduced.mean() - found.radiograph("a", (24, 32)).pixels.mean()) < 2
    with pytest.raises(DataError, match=r"24 x 32 pixels.*set grid = 24"):
        found.radiograph("a", (48, 48))


def test_findings_of_cubes_are_chosen(film_store: Path) -> None:
    found = stored_cubes(film_store, findings=["Lung Lesion"])
    assert found.index["label"].values.tolist() == [[0], [1]]
    assert set(found.annotations("a")) == {("Lung Lesion", "reference")}
    empty = found.annotations("a")["Lung Lesion", "reference"].mask_rle
    assert rle.area(empty, 48, 64) == 0
    with pytest.raises(DataError, match="did you mean 'Edema'"):
        stored_cubes(film_store, findings=["Edma"])
    assert stored_cubes(film_store).fingerprint != found.fingerprint


def test_cubes_without_radiographs(listed_films: Path) -> None:
    listed_films.write_text("image,height,width,Edema,kaggle_rle:Edema\na,6,8,1,1 2\n")
    store = import_collection(manifest(listed_films), listed_films.parent / "x.zarr",
                              grid=(6, 8))
    found = stored_cubes(store)
    assert not found.has_radiographs
    with pytest.raises(DataError, match="no radiographs"):
        found.radiograph("a", (6, 8))
    with pytest.raises(UsageError):
        stored_cubes(listed_films.parent / "none.zarr")
