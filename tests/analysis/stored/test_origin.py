"""Whether a variable is still the store's own, and which part of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from saltrust.analysis.stored.origin import store_positions
from saltrust.cache.schema import GROUPS
from saltrust.cache.scores import ScoreStore
from saltrust.cache.store import open_cubes
from saltrust.testing import simulate_cubes

NAME = "saliency/heatmap"
DIMS = GROUPS["saliency"]["heatmap"].dims


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("origin") / "study.zarr"
    simulate_cubes(path, patients=4, grid=16, parts=())
    return path


def _of(store: Path) -> ScoreStore:
    return ScoreStore(store, {}, keep=True)


def _positions(array: xr.DataArray, store: Path) -> dict[str, list[int]] | None:
    positions = store_positions(array, _of(store), NAME, DIMS)
    return None if positions is None else {dim: at.tolist() for dim, at in positions.items()}


@pytest.fixture
def heatmap(store: Path) -> xr.DataArray:
    return open_cubes(store)[NAME]


def _every(heatmap: xr.DataArray) -> dict[str, list[int]]:
    return {dim: list(range(heatmap.sizes[dim])) for dim in DIMS}


SELECTED: dict[str, tuple[Callable[[xr.DataArray], xr.DataArray], dict[str, Any]]] = {
    "itself": (lambda a: a, {}),
    "copy": (lambda a: a.copy(deep=False), {}),
    "deep copy": (lambda a: a.copy(deep=True), {}),
    "list": (lambda a: a.isel(image=[2, 0]), {"image": [2, 0]}),
    "one of a list": (lambda a: a.isel(image=[3]), {"image": [3]}),
    "slice": (lambda a: a.isel(image=slice(1, 4, 2)), {"image": [1, 3]}),
    "reversed": (lambda a: a.isel(finding=slice(None, None, -1)), {"finding": [2, 1, 0]}),
    "scalar": (lambda a: a.isel(image=-1), {"image": [7]}),
    "labels": (lambda a: a.sel(finding=["Edema"]), {"finding": [1]}),
    "label": (lambda a: a.sel(finding="Edema", explainer="grad"),
              {"finding": [1], "explainer": [2]}),
    "twice": (lambda a: a.isel(image=[3, 1, 0]).isel(image=slice(1, None)).sel(model="densenet-2"),
              {"image": [1, 0], "model": [1]}),
    "two lists": (lambda a: a.isel(image=[1, 2], model=[2, 0]), {"image": [1, 2], "model": [2, 0]}),
    "a window": (lambda a: a.isel(y=slice(2, 5)), {"y": [2, 3, 4]}),
    "renamed labels": (lambda a: a.assign_coords(finding=list("abc")), {}),
    "a boolean mask": (lambda a: a.isel(image=np.arange(8) % 3 == 0),
                       {"image": [0, 3, 6]}),
}


@pytest.mark.parametrize("how", SELECTED)
def test_positions_follow_a_selection(heatmap: xr.DataArray, store: Path, how: str) -> None:
    take, expected = SELECTED[how]
    assert heatmap.dims == DIMS
    assert heatmap["finding"].values.tolist()[1] == "Edema"
    assert _positions(take(heatmap), store) == {**_every(heatmap), **expected}


def test_positions_of_a_sub_tree(store: Path) -> None:
    tree = open_cubes(store).sel(finding=["Pneumothorax", "Edema"]).isel(image=1)
    positions = _positions(tree["saliency"].to_dataset()["heatmap"], store)
    assert positions is not None
    assert (positions["finding"], positions["image"]) == ([2, 1], [1])


def _written_to(array: xr.DataArray) -> xr.DataArray:
    array[{"image": 0}] = 0.0
    return array


COMPUTED: dict[str, Callable[[xr.DataArray], xr.DataArray]] = {
    "negated": lambda a: -a,
    "by one": lambda a: a * 1,
    "where": lambda a: a.where(a > 0),
    "loaded": lambda a: a.load(),
    "computed": lambda a: a.compute(),
    "written to": lambda a: _written_to(a.copy(deep=True)),
    "written to as it is": _written_to,
    "assigned": lambda a: a.copy(data=np.zeros(a.shape, dtype=np.float32)),
    "another type": lambda a: a.astype("float64"),
    "joined": lambda a: xr.concat([a.isel(image=[0]), a.isel(image=[1])], "image"),
    "dask": lambda a: a.chunk({"image": 1}),
}


@pytest.mark.parametrize("how", COMPUTED)
def test_what_was_computed_has_no_positions(heatmap: xr.DataArray, store: Path, how: str) -> None:
    if how == "dask":
        pytest.importorskip("dask")
    assert _positions(COMPUTED[how](heatmap), store) is None


def test_another_array_or_store_has_no_positions(heatmap: xr.DataArray, store: Path,
                                                 tmp_path: Path) -> None:
    other = Path(shutil.copytree(store, tmp_path / "copy.zarr"))
    assert _positions(heatmap, other) is None
    assert _positions(open_cubes(other)[NAME], other) == _every(heatmap)
    status = open_cubes(store)["saliency/status"]
    assert store_positions(status, _of(store), NAME, status.dims) is None
    assert store_positions(heatmap, _of(store), "randomization/heatmap", DIMS) is None
    # Whatever a transposed lazy array is, its positions must not be mistaken.
    turned = store_positions(heatmap.transpose("finding", "image", ...), _of(store), NAME,
                             DIMS)
    assert turned is None or {dim: at.tolist() for dim, at in turned.items()} == _every(heatmap)


def test_the_store_is_known_under_any_name_of_its_folder(store: Path, tmp_path: Path,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    link = tmp_path / "link.zarr"
    link.symlink_to(store)
    heatmap = open_cubes(link)[NAME]
    assert _positions(heatmap, store) == _positions(heatmap, link) == _every(heatmap)
    monkeypatch.chdir(store.parent)
    relative = open_cubes(store.name)[NAME]
    assert store_positions(relative, _of(Path(store.name)), NAME, DIMS) is not None
    assert _positions(relative, store) == _every(heatmap)
