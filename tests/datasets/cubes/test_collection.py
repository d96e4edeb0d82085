"""Cubes as a data set: what was stored is given back, and never made larger."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from saltrust.cache import rle
from saltrust.cache.collection import with_radiograph
from saltrust.cache.reference import import_collection
from saltrust.datasets.cubes.collection import stored_cubes
from saltrust.datasets.manifest.collection import manifest
from saltrust.errors import DataError, UsageError


def test_cubes_give_back_what_was_stored(listed_films: Path, film_store: Path) -> None:
    original, data = manifest(listed_films), stored_cubes(film_store)
    for name in ("image", "finding", "reader", "reader_role", "patient", "split", "native_height",
                 "native_width", "label"):
        assert data.index[name].values.tolist() == original.index[name].values.tolist(), name
    for image in ("a", "b"):
        assert data.annotations(image) == original.annotations(image)
        radiograph, expected = data.radiograph(image, (24, 32)), original.radiograph(
            image, (24, 32))
        np.testing.assert_array_equal(radiograph.pixels, expected.pixels)
        assert (radiograph.native_height, radiograph.native_width) == (48, 64)
    assert data.annotations("a")["Edema", "expert"].points == ((12.0, 31.0),)
    assert len(data.annotations("b")["Lung Lesion", "reference"].boxes) == 2


def test_cubes_are_reduced_but_never_enlarged(film_store: Path) -> None:
    data = stored_cubes(film_store)
    reduced = data.radiograph("a", (12, 16)).pixels
    assert reduced.shape == (12, 16)
    assert abs(reduced.mean() - data.radiograph("a", (24, 32)).pixels.mean()) < 2
    with pytest.raises(DataError, match=r"24 x 32 pixels.*set grid = 24"):
        data.radiograph("a", (48, 48))


def test_findings_of_cubes_are_chosen(film_store: Path) -> None:
    data = stored_cubes(film_store, findings=["Lung Lesion"])
    assert data.index["label"].values.tolist() == [[0], [1]]
    assert set(data.annotations("a")) == {("Lung Lesion", "reference")}
    empty = data.annotations("a")["Lung Lesion", "reference"].mask_rle
    assert rle.area(empty, 48, 64) == 0
    with pytest.raises(DataError, match="did you mean 'Edema'"):
        stored_cubes(film_store, findings=["Edma"])
    assert stored_cubes(film_store).fingerprint != data.fingerprint


def test_cubes_without_radiographs(listed_films: Path) -> None:
    listed_films.write_text("image,height,width,Edema,kaggle_rle:Edema\na,6,8,1,1 2\n")
    store = import_collection(manifest(listed_films), listed_films.parent / "x.zarr",
                              grid=(6, 8))
    data = stored_cubes(store)
    assert not data.has_radiographs
    with pytest.raises(DataError, match="no radiographs"):
        data.radiograph("a", (6, 8))
    with pytest.raises(UsageError):
        stored_cubes(listed_films.parent / "none.zarr")


def test_cubes_of_which_a_radiograph_was_left_out(listed_films: Path) -> None:
    listed_films.write_text("path,Edema\na.png,1\nb.png,1\n")
    place = listed_films.parent / "a.png"
    whole = place.read_bytes()
    place.write_bytes(whole[:60])
    store = import_collection(manifest(listed_films, on_error="skip"),
                              listed_films.parent / "x.zarr", grid=(24, 32), on_error="skip")
    data = stored_cubes(store)
    assert with_radiograph(data).tolist() == [False, True]
    with pytest.raises(DataError, match="no radiograph of a"):
        data.radiograph("a", (24, 32))
    before = [data.radiograph_digest(image) for image in ("a", "b")]
    place.write_bytes(whole)
    import_collection(manifest(listed_films), store, grid=(24, 32), resume=True)
    mended = stored_cubes(store)
    assert with_radiograph(mended).all()
    assert before[0] == "" != mended.radiograph_digest("a")
    assert before[1] == mended.radiograph_digest("b")
