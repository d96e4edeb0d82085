"""What is wrong is named, repaired so that only it is made again, and old stores get checksums."""

from __future__ import annotations

import io
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from saltrust.cache.checksums import seal
from saltrust.cache.guarded import guarded
from saltrust.cache.migration import migrate
from saltrust.cache.reference import import_collection
from saltrust.cache.repair import repair
from saltrust.cache.scores import read_scores, write_scores
from saltrust.cache.store import open_cubes, partial_path
from saltrust.cache.verification import verify
from saltrust.errors import DataError, NothingToDo, UsageError
from saltrust.testing import simulate_cubes

SCHEMA1 = Path(__file__).parents[1] / "reference" / "schema1.zarr.zip"
MAP = "saliency/heatmap/c/2/0/1/1/0/0"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("verified") / "s.zarr"
    simulate_cubes(path, patients=4, images_per_patient=2, grid=16, findings=["Edema", "Mass"],
                   seed=3, parts=["radiograph"])
    return path


@pytest.fixture
def store(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "s.zarr"))


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)


def values(path: Path) -> dict[str, Any]:
    return {name: np.asarray(array[...]) for name, array in
            zarr.open_group(path, mode="r").members(max_depth=None)
            if isinstance(array, zarr.Array) and not name.startswith("checksums")}


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)


def test_a_whole_store_has_no_fault(whole: Path) -> None:
    seen = verify(whole)
    assert seen.faults == ()
    assert seen.sealed
    assert seen.chunks > 50


@pytest.mark.parametrize(("damage", "words"), [
    (lambda s: (s / MAP).unlink(), ["saltrust", "lost", "-001-frontal-0", "guided_backprop"]),
    (lambda s: flip(s / MAP, 50), ["finding Edema", "guided_backprop", "densenet-2"]),
    (lambda s: flip(s / MAP, -2), ["saliency/heatmap", "not what was written"]),
    (lambda s: flip(s / "saliency/status/c/0/0/0/0", 5), ["saliency/status"]),
    (lambda s: flip(s / "reference/label/zarr.json", 15), ["reference/label/zarr.json"]),
    (lambda s: flip(s / "image/c/0", 15), ["image"]),
    (lambda s: (s / "zarr.json").write_text("{"), ["zarr.json"]),
    (lambda s: shutil.rmtree(s / "checksums"), ["checksums"]),
    (lambda s: shutil.rmtree(s / "prediction"), ["prediction/probability/zarr.json"]),
    (lambda s: flip(s / "radiograph/pixels/c/3/0/0", 30), ["radiograph/pixels", "image"]),
])
def test_what_is_damaged_is_named(store: Path, damage: Callable[[Path], object],
                                  words: list[str]) -> None:
    damage(store)
    seen = verify(store)
    text = f"saltrust {store} " + "\n".join(map(str, seen.faults))
    assert seen.faults
    for word in words:
        assert word in text


@pytest.mark.parametrize(("status", "value", "words"), [
    (1, np.nan, "status ok"), (2, 7.5, ""), (3, 1.0, "status nonfinite")])
def test_a_status_that_its_map_contradicts(store: Path, status: int, value: float, words: str
                                           ) -> None:
    root = zarr.open_group(store, mode="r+")
    root["saliency/status"][0, 0, 0, 0] = status
    root["saliency/heatmap"][0, 0, 0, 0] = value
    root.attrs.put(seal(store, dict(root.attrs)))
    text = "\n".join(map(str, verify(store).faults))
    assert words in text
    assert bool(text) == bool(words)


@pytest.mark.parametrize("place", [
    "saliency/status/c", "reference/mask_rle/c/0", "saliency/heatmap/c/3", "checksums", "saliency"])
def test_what_may_not_be_read_is_no_damage(store: Path, monkeypatch: pytest.MonkeyPatch,
                                           place: str) -> None:
    """A folder that may not be entered: neither listed nor anything in it looked at."""
    closed = str(store / place)

    def guard(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *arguments: Any, **options: Any) -> Any:
            if not isinstance(path, int) and f"{path}/".startswith(f"{closed}/"):
                raise PermissionError(13, "Permission denied", str(path))
            return function(path, *arguments, **options)
        return call

    for name in ("scandir", "stat", "listdir"):
        monkeypatch.setattr(os, name, guard(getattr(os, name)))
    monkeypatch.setattr(io, "open", guard(io.open))
    with pytest.raises(DataError, match=r"Permission denied.*allow reading it") as caught:
        verify(store)
    assert "damaged" not in str(caught.value)


def test_what_contradicts_itself_is_named(store: Path) -> None:
    document = store / "saliency" / "status" / "zarr.json"
    document.write_text(document.read_text().replace('"shape": [\n    8,\n    2',
                                                     '"shape": [\n    8,\n    0'))
    assert {fault.variable for fault in verify(store).faults} >= {"saliency/status"}


def test_kept_scores_have_digests_of_their_own(store: Path) -> None:
    from xarray import Dataset

    write_scores(store, "masks", "0" * 16, Dataset({"a": ("x", np.arange(9.0))}), {})
    assert not verify(store).faults
    flip(store / "scores" / "masks" / ("0" * 16) / "a" / "c" / "0", -3)
    (fault,) = verify(store).faults
    assert "kept scores" in str(fault)
    assert repair(store, [fault]) == store
    assert not verify(store).faults
    assert read_scores(store, "masks", "0" * 16) is None


def test_damaged_scores_are_computed_again_however_they_are_read(store: Path) -> None:
    from xarray import Dataset

    write_scores(store, "masks", "0" * 16, Dataset({"a": ("x", np.arange(9.0))}), {})
    flip(store / "scores" / "masks" / ("0" * 16) / "a" / "c" / "0", -3)
    assert read_scores(store, "masks", "0" * 16) is None
    with guarded():
        assert read_scores(store, "masks", "0" * 16) is None


@pytest.mark.parametrize("group", ["scores", "scores/masks"])
@pytest.mark.parametrize("content", ["{", "[]", None])
def test_groups_of_kept_scores_are_looked_at(store: Path, group: str, content: str | None) -> None:
    from xarray import Dataset

    write_scores(store, "masks", "0" * 16, Dataset({"a": ("x", np.arange(9.0))}), {})
    document = store / group / "zarr.json"
    document.unlink() if content is None else document.write_text(content)
    faults = verify(store).faults
    assert [fault.variable for fault in faults] == [group]
    assert repair(store, faults) == store
    assert not verify(store).faults


def test_repaired_and_resumed_the_bits_are_those_from_before(squares: Any, tmp_path: Path) -> None:
    path = import_collection(squares, tmp_path / "s.zarr", grid=(20, 30))
    before = values(path)
    flip(path / "radiograph" / "pixels" / "c" / "3" / "0" / "0", 20)
    flip(path / "reference" / "mask_rle" / "c" / "0" / "0" / "0", 30)
    (path / "reference" / "mask" / "c" / "2" / "0" / "0" / "0" / "0").unlink()
    faults = verify(path).faults
    partial = repair(path, faults)
    assert partial == partial_path(path)
    assert not path.exists()
    assert np.asarray(zarr.open_array(partial, path="radiograph/stored")[:]).tolist() == [
        1, 1, 1, 0, 1]
    import_collection(squares, path, grid=(20, 30), resume=True)
    assert_same(values(path), before)
    assert verify(path).faults == ()


def test_native_sizes_are_repaired(squares: Any, tmp_path: Path) -> None:
    path = import_collection(squares, tmp_path / "s.zarr", grid=(20, 30))
    before = values(path)
    flip(path / "native_width" / "c" / "0", 5)
    repair(path, verify(path).faults)
    import_collection(squares, path, grid=(20, 30), resume=True)
    assert_same(values(path), before)


def test_maps_that_are_repaired_are_missing_and_no_others(store: Path) -> None:
    flip(store / MAP, 50)
    faults = verify(store).faults
    status = np.asarray(zarr.open_array(store, path="saliency/status")[...])
    partial = repair(store, faults)
    after = np.asarray(zarr.open_array(partial, path="saliency/status")[...])
    assert (after[2, :, 1, 1] == 0).all()
    after[2, :, 1, 1] = status[2, :, 1, 1]
    np.testing.assert_array_equal(after, status)
    with pytest.raises(UsageError, match="--resume"):
        open_cubes(store)


def test_what_no_resuming_writes_again_is_not_repaired(store: Path) -> None:
    flip(store / "finding" / "c" / "0", 15)
    with pytest.raises(DataError, match=r"finding is written when a store is laid out"):
        repair(store, verify(store).faults)
    assert store.exists()


def test_an_older_store_gets_checksums_and_keeps_all_else(tmp_path: Path) -> None:
    with zipfile.ZipFile(SCHEMA1) as packed:
        packed.extractall(tmp_path / "schema1.zarr")
    path = tmp_path / "schema1.zarr"
    before, attributes = values(path), dict(zarr.open_group(path, mode="r").attrs)
    assert not verify(path).sealed
    assert migrate(path) == path
    assert_same(values(path), before)
    after = dict(zarr.open_group(path, mode="r").attrs)
    assert {name: after[name] for name in attributes if name != "saltrust_schema"} == {
        name: value for name, value in attributes.items() if name != "saltrust_schema"}
    seen = verify(path)
    assert seen.sealed
    assert seen.faults == ()
    assert [item.name for item in tmp_path.iterdir()] == [path.name]
    with pytest.raises(NothingToDo, match="checksums already"):
        migrate(path)


def test_a_damaged_store_is_not_migrated(whole: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(whole, tmp_path / "s.zarr"))
    shutil.rmtree(path / "checksums")
    attributes = zarr.open_group(path, mode="r+").attrs
    attributes.put({key: value for key, value in attributes.items() if key != "sealed"})
    flip(path / MAP, 50)
    with pytest.raises(DataError, match="saliency/heatmap"):
        migrate(path)
    assert [item.name for item in tmp_path.iterdir()] == ["s.zarr"]
