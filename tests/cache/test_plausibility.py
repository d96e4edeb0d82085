"""Sizes that metadata claim are refused before anything is set aside for them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zarr

from saltrust.cache.migration import migrate
from saltrust.cache.plausibility import implausible
from saltrust.cache.store import open_cubes
from saltrust.cache.verification import verify
from saltrust.errors import DataError
from saltrust.testing import simulate_cubes


@pytest.fixture(scope="module")
def unsealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plausible") / "s.zarr"
    simulate_cubes(path, patients=4, images_per_patient=2, grid=16, findings=["Edema", "Mass"],
                   seed=5, parts=[])
    shutil.rmtree(path / "checksums")
    attributes = zarr.open_group(path, mode="r+").attrs
    attributes.put({key: value for key, value in attributes.items() if key != "sealed"})
    return path


@pytest.fixture
def store(unsealed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(unsealed, tmp_path / "s.zarr"))


def edited(document: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    metadata = json.loads(document.read_text())
    edit(metadata)
    document.write_text(json.dumps(metadata))


def shape(axis: int, size: int) -> Callable[[dict[str, Any]], None]:
    return lambda metadata: metadata["shape"].__setitem__(axis, size)


def chunk(axis: int, size: int) -> Callable[[dict[str, Any]], None]:
    return lambda metadata: metadata["chunk_grid"]["configuration"]["chunk_shape"].__setitem__(
        axis, size)


@pytest.mark.parametrize(("name", "edit", "words"), [
    ("saliency/status", shape(0, 10**12), "claims 1000000000000 of image, of which 8 are named"),
    ("saliency/heatmap", shape(0, 10**9), "claims 1000000000 of image"),
    ("saliency/status", shape(1, 0), "claims 0 of finding, of which 2 are named"),
    ("image", shape(0, 10**9), "claims 1000000000 labels, not all of which are stored"),
    ("prediction/probability", chunk(0, 10**9), "more than 2 GB each"),
    ("reference/label", chunk(0, -8), "cannot make up"),
    ("saliency/heatmap", chunk(0, 0), "saliency/heatmap/zarr.json cannot be read"),
    ("reference/mask_rle", chunk(0, 0), "reference/mask_rle/zarr.json cannot be read"),
])
def test_what_cannot_be_is_refused_and_named(store: Path, name: str, words: str,
                                             edit: Callable[[dict[str, Any]], None]) -> None:
    edited(store / name / "zarr.json", edit)
    with pytest.raises(DataError) as caught:
        open_cubes(store)
    assert words in str(caught.value)
    assert any(fault.variable.startswith(name) for fault in verify(store).faults)
    with pytest.raises(DataError, match="damaged"):
        migrate(store)


def test_what_can_be_is_not_refused(store: Path) -> None:
    open_cubes(store)
    assert verify(store).faults == ()
    assert list(implausible(store, {"others/things/deep": {}, "unknown/a": {}})) == []


def test_a_lost_map_is_not_sealed_as_if_it_had_never_been(store: Path) -> None:
    (store / "saliency" / "heatmap" / "c" / "2" / "0" / "1" / "1" / "0" / "0").unlink()
    with pytest.raises(DataError, match=r"gets no checksums.*saltrust verify"):
        migrate(store)
