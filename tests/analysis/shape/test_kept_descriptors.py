"""Descriptors are measured once, kept by label and drawing, and never of a changed mask."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from saltrust.analysis.options import Execution, Scoring
from saltrust.analysis.select import select
from saltrust.analysis.shape import descriptors as module
from saltrust.analysis.shape.descriptors import descriptors
from saltrust.cache import rle
from saltrust.cache.store import open_cubes
from saltrust.testing import simulate_cubes
from tests.sealing import seal_again

NATIVE = Scoring(resolution="native")
GRID = Scoring(resolution="grid")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shapes") / "study.zarr"
    simulate_cubes(path, patients=4, grid=16, parts=())
    return path


@pytest.fixture(scope="module")
def whole(pristine: Path) -> pd.DataFrame:
    return _table(open_cubes(pristine), keep=False)


@pytest.fixture
def store(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "study.zarr"))


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with every mask that is measured."""
    masks: list[int] = []
    describe = module.describe_shape

    def watched(*args: Any, **kwargs: Any) -> Any:
        masks.append(1)
        return describe(*args, **kwargs)

    monkeypatch.setattr(module, "describe_shape", watched)
    return masks


def _table(cubes: xr.DataTree, scoring: Scoring = NATIVE, *, keep: bool = True) -> pd.DataFrame:
    return descriptors(cubes, scoring=scoring, execution=Execution(keep=keep)
                       ).tables["descriptors"]


def _drawn(table: pd.DataFrame) -> int:
    """Masks with a shape; empty ones need no measuring."""
    return int((table["area_ratio"] > 0).sum())


def _content(store: Path) -> dict[str, str]:
    return {str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted((store / "scores").rglob("*")) if path.is_file()}


def _with_box(cubes: xr.DataTree, place: dict[str, str]) -> xr.DataTree:
    """A copy in which one reader drew a box of 2 x 8 pixels."""
    size = [int(cubes[name].sel(image=place["image"]).item())
            for name in ("native_height", "native_width")]
    mask = np.zeros(size, dtype=bool)
    mask[3:5, 4:12] = True
    codes = cubes["reference/mask_rle"].copy(deep=True)
    codes.loc[place] = rle.encode(mask)
    changed = cubes.copy()
    changed["reference"] = xr.DataTree(
        cubes["reference"].to_dataset(inherit=False).assign(mask_rle=codes))
    return changed


def _first(table: pd.DataFrame) -> dict[str, str]:
    row = table[table["area_ratio"] > 0].iloc[0]
    return {name: str(row[name]) for name in ("image", "finding", "reader")}


def test_a_second_call_measures_nothing(store: Path, whole: pd.DataFrame, measured: list[int],
                                        ) -> None:
    assert not (store / "scores").exists()
    pd.testing.assert_frame_equal(_table(open_cubes(store)), whole)
    assert len(measured) == _drawn(whole) > 25
    pd.testing.assert_frame_equal(_table(open_cubes(store)), whole)
    assert len(measured) == _drawn(whole)
    pd.testing.assert_frame_equal(_table(open_cubes(store), keep=False), whole)
    assert len(measured) == 2 * _drawn(whole)


def test_definitions_and_resolutions_are_kept_apart(store: Path, measured: list[int]) -> None:
    options = (NATIVE, GRID, Scoring(resolution="native", definition="peer"))
    fresh = [_table(open_cubes(store), scoring, keep=False) for scoring in options]
    assert not fresh[0].equals(fresh[1])
    assert not fresh[0].equals(fresh[2])
    for _ in range(2):
        for scoring, expected in zip(options, fresh, strict=True):
            pd.testing.assert_frame_equal(_table(open_cubes(store), scoring), expected)
    assert len(measured) == 2 * sum(map(_drawn, fresh))


def test_a_part_adds_to_what_is_kept(store: Path, whole: pd.DataFrame, measured: list[int]
                                     ) -> None:
    cubes = open_cubes(store)
    parts = {"finding": cubes.sel(finding="Edema"), "reader": select(cubes, reader="reader-1"),
             "image": cubes.isel(image=[1, 0])}
    edema = whole[whole["finding"] == "Edema"].reset_index(drop=True)
    pd.testing.assert_frame_equal(_table(parts["finding"]), edema)
    assert len(measured) == _drawn(edema)
    for part in parts.values():
        _table(part)
    pd.testing.assert_frame_equal(_table(cubes), whole)
    assert len(measured) == _drawn(whole)
    before = _content(store)
    for part in parts.values():
        _table(part)
    assert _content(store) == before
    pd.testing.assert_frame_equal(_table(parts["finding"]), edema)
    assert len(measured) == _drawn(whole)


@pytest.mark.parametrize("changed_first", [True, False])
def test_a_changed_mask_is_measured_anew_and_not_kept(
        store: Path, whole: pd.DataFrame, measured: list[int], *, changed_first: bool) -> None:
    cubes = open_cubes(store)
    place = _first(whole)
    changed = _with_box(cubes, place)
    if not changed_first:
        _table(cubes)
        before = _content(store)
        measured.clear()
    here = (whole[list(place)] == pd.Series(place)).all(axis=1)
    for _ in range(2):
        table = _table(changed)
        row = table[here].iloc[0]
        # A box of 2 x 8 pixels.
        assert (row["n_instances"], row["elongation"], row["irrectangularity"]) == (1, 4, 0)
        pd.testing.assert_frame_equal(table[~here], whole[~here])
    if changed_first:
        assert len(measured) == _drawn(whole) + 1
    else:
        assert len(measured) == 2
        assert _content(store) == before
    measured.clear()
    pd.testing.assert_frame_equal(_table(open_cubes(store)), whole)
    # The store's mask is measured once, if it was not before, and kept from then on.
    assert len(measured) == int(changed_first)
    pd.testing.assert_frame_equal(_table(open_cubes(store)), whole)
    assert len(measured) == int(changed_first)


def test_other_labels_neither_take_nor_leave_anything(store: Path, whole: pd.DataFrame,
                                                      measured: list[int]) -> None:
    cubes = open_cubes(store)
    names = [str(name) for name in cubes["image"].values]
    renamed, turned = (
        cubes.map_over_datasets(lambda part, labels=labels: part.assign_coords(image=labels))
        for labels in ([f"new {name}" for name in names], names[::-1]))
    expected = {"renamed": whole.assign(image="new " + whole["image"]),
                "turned": whole.assign(image=whole["image"].map(dict(zip(names, names[::-1],
                                                                         strict=True))))}
    for tree, table in ((renamed, expected["renamed"]), (turned, expected["turned"])):
        pd.testing.assert_frame_equal(_table(tree).astype({"image": object}),
                                      table.astype({"image": object}))
    measured.clear()
    _table(open_cubes(store))
    pd.testing.assert_frame_equal(_table(turned).astype({"image": object}),
                                  expected["turned"].astype({"image": object}))
    pd.testing.assert_frame_equal(_table(open_cubes(store)), whole)
    assert not any("new " in path.read_bytes().decode("latin-1")
                   for path in (store / "scores").rglob("*") if path.is_file())


def test_another_number_of_polygons_is_another_mask(store: Path, whole: pd.DataFrame) -> None:
    cubes = open_cubes(store)
    peer = Scoring(resolution="native", definition="peer")
    as_stored = _table(cubes, peer)
    place = _first(whole)
    polygons = cubes["reference/n_polygons"].copy(deep=True)
    polygons.loc[place] = 7
    changed = cubes.copy()
    changed["reference"] = xr.DataTree(
        cubes["reference"].to_dataset(inherit=False).assign(n_polygons=polygons))
    before = _content(store)
    here = (whole[list(place)] == pd.Series(place)).all(axis=1)
    assert _table(changed, peer).loc[here, "n_instances"].tolist() == [7]
    assert _content(store) == before
    pd.testing.assert_frame_equal(_table(open_cubes(store), peer), as_stored)


def test_cubes_whose_store_is_gone_are_measured(store: Path, whole: pd.DataFrame) -> None:
    cubes = open_cubes(store).load()
    shutil.rmtree(store)
    pd.testing.assert_frame_equal(_table(cubes), whole)
    assert not store.exists()


def test_masks_that_only_memory_holds_are_not_kept(store: Path, whole: pd.DataFrame) -> None:
    drawn = open_cubes(store)["reference"].to_dataset(inherit=False).load()
    shutil.rmtree(store / "reference")
    seal_again(store)
    bare = open_cubes(store)
    bare["reference"] = xr.DataTree(drawn)
    pd.testing.assert_frame_equal(_table(bare), whole)
    assert not (store / "scores").exists()


def test_properties_stand_beside_kept_descriptors(store: Path, whole: pd.DataFrame,
                                                  measured: list[int]) -> None:
    def pixels(mask: np.ndarray) -> float:
        return float(mask.sum())

    _table(open_cubes(store))
    measured.clear()
    table = descriptors(store, scoring=NATIVE, properties=[pixels]).tables["descriptors"]
    assert not measured
    pd.testing.assert_frame_equal(table.drop(columns="pixels"), whole)
    sizes = open_cubes(store).to_dataset()
    area = dict(zip(sizes["image"].values.tolist(), (
        sizes["native_height"] * sizes["native_width"]).values.tolist(), strict=True))
    expected = table["area_ratio"] * table["image"].map(area)
    drawn = table["area_ratio"] > 0
    np.testing.assert_allclose(table.loc[drawn, "pixels"], expected[drawn])
    assert table.loc[~drawn, "pixels"].isna().all()
