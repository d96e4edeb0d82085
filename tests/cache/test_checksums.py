"""A finished store knows what it is made of: nothing of it changes, or is lost, unseen."""

from __future__ import annotations

import json
import logging
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

from saltrust.cache import guarded
from saltrust.cache.checksums import chunk_tails, read_seal, tail_of
from saltrust.cache.guarded import describe_chunk, open_stored
from saltrust.cache.store import open_cubes, root_attributes
from saltrust.cache.verification import verify
from saltrust.errors import DataError, SaltrustError, UsageError
from saltrust.testing import simulate_cubes

HEATMAP = "saliency/heatmap/c/2/0/1/1/0/0"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sealed") / "s.zarr"
    simulate_cubes(path, patients=4, images_per_patient=2, grid=16, findings=["Edema", "Mass"],
                   seed=3, parts=["radiograph"])
    return path


@pytest.fixture
def store(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "s.zarr"))


def everything(path: Path) -> dict[str, np.ndarray]:
    """All values of a store, read as a user would."""
    cubes = open_cubes(path)
    return {f"{node.path}/{name}": np.asarray(array.values)
            for node in cubes.subtree for name, array in node.to_dataset().variables.items()}


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(one[name], other[name], equal_nan=one[name].dtype.kind == "f")
        for name in one)


def test_every_array_ends_in_a_checksum(whole: Path) -> None:
    for document in whole.rglob("zarr.json"):
        metadata = json.loads(document.read_text())
        if metadata["node_type"] != "array":
            continue
        codecs = metadata["codecs"]
        if codecs[0]["name"] == "sharding_indexed":
            inner = codecs[0]["configuration"]
            assert inner["index_codecs"][-1]["name"] == "crc32c"
            codecs = inner["codecs"]
        assert codecs[-1]["name"] == "crc32c", document


def test_a_whole_store_is_read_as_before(whole: Path) -> None:
    assert same(everything(whole), everything(whole))
    assert read_seal(whole, root_attributes(whole)) is not None
    plain = xr.open_datatree(whole, engine="zarr", consolidated=False)
    np.testing.assert_array_equal(plain["saliency/heatmap"].values,
                                  open_cubes(whole)["saliency/heatmap"].values)


def test_a_flipped_bit_changes_nothing_or_is_said(whole: Path, store: Path) -> None:
    generator = np.random.default_rng(0)
    files = sorted(path for path in store.rglob("*") if path.is_file())
    expected, refusals = everything(whole), 0
    for path in generator.choice(np.array(files, dtype=object), 25):
        before = path.read_bytes()
        content = bytearray(before)
        content[generator.integers(len(content))] ^= 1 << generator.integers(8)
        path.write_bytes(content)
        try:
            seen = everything(store)
        except SaltrustError as error:
            assert str(store) in str(error)
            refusals += 1
        else:
            assert same(seen, expected), path
        path.write_bytes(before)
    assert refusals >= 22


@pytest.mark.parametrize(("lose", "word"), [
    (lambda s: (s / HEATMAP).unlink(), "-001-frontal-0, explainer guided_backprop, model"),
    (lambda s: (s / HEATMAP).write_bytes(b""), "saliency/heatmap"),
    (lambda s: (s / HEATMAP).write_bytes((s / HEATMAP).read_bytes()[:-9]), "is damaged"),
    (lambda s: shutil.copy(s / HEATMAP.replace("c/2", "c/3"), s / HEATMAP), "not what was written"),
    (lambda s: shutil.rmtree(s / "saliency" / "status"), "saliency/status"),
    (lambda s: shutil.rmtree(s / "reference"), "reference"),
    (lambda s: (s / "reference" / "zarr.json").unlink(), "reference/zarr.json is lost"),
    (lambda s: (s / "reference" / "label" / "c" / "0" / "0").unlink(), "reference/label"),
    (lambda s: shutil.rmtree(s / "checksums"), "checksums"),
    (lambda s: shutil.rmtree(s / "checksums" / "saliency" / "heatmap"), "checksums"),
    (lambda s: shutil.rmtree(s / "reference" / "mask" / "c"), "reference/mask"),
])
def test_what_is_lost_is_named(store: Path, lose: Callable[[Path], object], word: str) -> None:
    lose(store)
    with pytest.raises(DataError) as caught:
        everything(store)
    assert word in str(caught.value)
    assert "saltrust verify" in str(caught.value)


def test_a_shard_of_another_map_is_seen_though_its_index_is_the_same(store: Path) -> None:
    by_index: dict[bytes, list[Path]] = {}
    for path in sorted((store / "saliency" / "heatmap" / "c").rglob("*")):
        if path.is_file():
            by_index.setdefault(path.read_bytes()[-36:], []).append(path)
    one, other = next(paths for paths in by_index.values() if len(paths) > 1)[:2]
    assert one.read_bytes() != other.read_bytes()
    cubes = open_cubes(store)
    shutil.copy(other, one)
    image, _, explainer, model = map(int, one.relative_to(
        store / "saliency" / "heatmap" / "c").parts[:4])
    maps = cubes["saliency/heatmap"].isel(image=image, explainer=explainer, model=model)
    for part in (maps, maps.isel(finding=0), maps.isel(finding=1)):
        with pytest.raises(DataError, match="not what was written"):
            part.copy().load()
    cubes["saliency/heatmap"].isel(image=image, explainer=explainer, model=1 - model).load()
    assert {fault.place for fault in verify(store).faults} == {
        (image, 0, explainer, model, 0, 0)}


def test_the_root_attributes_are_sealed_too(store: Path) -> None:
    document = json.loads((store / "zarr.json").read_text())
    document["attributes"]["seeds"]["study"] = 4
    (store / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match="root attributes or its checksums"):
        open_cubes(store)
    del document["attributes"]["sealed"]
    (store / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match="root attributes or its checksums"):
        open_cubes(store)


def test_a_permission_is_no_damage(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cubes = open_cubes(store)
    get = guarded.WatchedStore.get

    async def refused(self, key, prototype=None, byte_range=None):
        if key == HEATMAP:
            raise PermissionError(13, "Permission denied", key)
        return await get(self, key, prototype, byte_range)

    monkeypatch.setattr(guarded.WatchedStore, "get", refused)
    with pytest.raises(DataError, match=r"Permission denied.*allow reading it") as caught:
        cubes["saliency/heatmap"].isel(image=2).load()
    assert "damaged" not in str(caught.value)
    assert "patient-001-frontal-0" in str(caught.value)
    cubes["saliency/heatmap"].isel(image=1).load()


@pytest.mark.parametrize("error", [
    RuntimeError("error during blosc decompression: -1"), MemoryError(), ValueError("crc"),
    UnicodeDecodeError("utf-8", b"", 0, 1, "invalid"), KeyError("nothing"), OSError(5, "I/O")])
def test_whatever_a_codec_raises_is_a_sentence(store: Path, monkeypatch: pytest.MonkeyPatch,
                                               error: Exception) -> None:
    cubes = open_cubes(store)

    async def failing(self, chunk_bytes_and_specs):
        raise error

    monkeypatch.setattr(guarded.GuardedPipeline, "decode_batch", failing)
    with pytest.raises(DataError, match=r"radiograph/pixels, image patient-000-"):
        cubes["radiograph/pixels"].isel(image=1).load()


def test_under_dask_and_in_another_process_too(store: Path) -> None:
    cubes, copied = open_cubes(store, chunks="auto"), pickle.loads(
        pickle.dumps(open_cubes(store)))
    (store / HEATMAP).unlink()
    for tree in (cubes, copied):
        with pytest.raises(DataError, match="image patient-001-frontal-0"):
            tree["saliency/heatmap"].sum().compute()


def test_small_variables_of_a_store_without_its_cubes(store: Path) -> None:
    assert open_stored(store, "reference/annotated")[:].any()
    with pytest.raises(DataError, match="reference/nothing cannot be opened"):
        open_stored(store, "reference/nothing")


def test_stores_without_checksums_open_and_say_so(store: Path, caplog) -> None:
    shutil.rmtree(store / "checksums")
    attributes = zarr.open_group(store, mode="r+").attrs
    attributes.put({key: value for key, value in attributes.items() if key != "sealed"})
    with caplog.at_level(logging.WARNING):
        cubes = open_cubes(store)
    (message,) = [record.getMessage() for record in caplog.records]
    assert "saltrust migrate" in message
    (store / "saliency" / "heatmap" / "c" / "0" / "0" / "0" / "0" / "0" / "0").write_bytes(b"xx")
    with pytest.raises(DataError, match="image patient-000-frontal-0"):
        cubes["saliency/heatmap"].load()


def test_names_of_chunks_and_ends_of_files(whole: Path, tmp_path: Path) -> None:
    assert describe_chunk(whole, "prediction/probability/c/0/0/0") == "prediction/probability"
    assert describe_chunk(whole, "nothing/c/1") == "nothing (1)"
    (tmp_path / "c" / "1").mkdir(parents=True)
    (tmp_path / "c" / "1" / "0").write_bytes(b"abcd")
    (tmp_path / "c" / "1" / "0.partial").write_bytes(b"efgh")
    assert chunk_tails(tmp_path, (2, 1)).tolist() == [[[0]], [[tail_of(b"abcd")]]]


def test_an_unfinished_store_is_not_sealed(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no cubes"):
        open_cubes(tmp_path / "none.zarr")
    assert "checksums" not in open_cubes(whole).children
