"""What the pass over the pixels finds is kept, used again, and never when something changed."""

from __future__ import annotations

import json
import logging
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr

from saltrust.analysis.localization.analysis import localization
from saltrust.analysis.options import Execution, Resampling, Scoring
from saltrust.analysis.scores import scan, workers
from saltrust.analysis.scores.scored_maps import score_maps
from saltrust.analysis.scores.workers import executor
from saltrust.analysis.select import select
from saltrust.cache.inspection import describe
from saltrust.cache.reference import instance_counts, write_annotations
from saltrust.cache.schema import Status
from saltrust.cache.scores import read_scores, scores_key, write_scores
from saltrust.cache.store import open_cubes
from saltrust.cache.validation import problems
from saltrust.cache.writing import create_store
from saltrust.datasets.phantom.collection import phantom
from saltrust.errors import DataError, UsageError

#: 14 images, 10 findings, 2 explainers.
MAPS = 280


def _write(path: Path, seed: int = 0, patients: int = 12) -> Path:
    collection = phantom(patients=patients, size=64, seed=3)
    n_points, n_boxes = instance_counts(collection)
    writer = create_store(
        path, index=collection.index, grid=(32, 32), groups=("reference", "saliency"),
        n_points=n_points, n_boxes=n_boxes, models=xr.Dataset(coords={"model": ["net"]}),
        explainers=xr.Dataset(coords={"explainer": ["grad", "cam"]}),
        attributes={"identity": {"seed": seed}})
    write_annotations(writer, collection)
    generator = np.random.default_rng(seed)
    for i in range(len(collection.index["image"])):
        for e in range(2):
            shape = (len(collection.index["finding"]), 32, 32)
            maps = generator.normal(size=shape).astype(np.float32)
            writer.write("saliency/heatmap", (i, slice(None), e, 0), maps)
            writer.write("saliency/status", (i, slice(None), e, 0),
                         np.full(shape[0], Status.OK, dtype=np.uint8))
    return writer.finish()


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write(tmp_path_factory.mktemp("kept") / "study.zarr")


@pytest.fixture
def store(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "study.zarr"))


def _scores(cubes: xr.DataTree, *, keep: bool = False, scheduler: str | None = None,
            **scoring: Any) -> pd.DataFrame:
    execution = Execution(keep=keep, scheduler=scheduler)
    # Of one reading, so that one scan is kept; several are the subject of test_readings.
    return score_maps(cubes, Scoring(**{"map": "raw", **scoring}), execution).table


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with every map that is passed over."""
    maps: list[int] = []
    count = scan.count_map

    def watched(*args: Any, **kwargs: Any) -> Any:
        maps.append(1)
        return count(*args, **kwargs)

    monkeypatch.setattr(scan, "count_map", watched)
    return maps


def _kept(store: Path) -> list[Path]:
    return sorted((store / "scores" / "localization").glob("[!z]*"))


def test_the_pixels_are_passed_over_once(store: Path, counted: list[int]) -> None:
    fresh = _scores(open_cubes(store))
    assert len(counted) == MAPS
    assert not (store / "scores").exists()
    first = _scores(open_cubes(store), keep=True)
    assert len(counted) == 2 * MAPS
    again = _scores(open_cubes(store), keep=True)
    assert len(counted) == 2 * MAPS
    pd.testing.assert_frame_equal(fresh, first)
    pd.testing.assert_frame_equal(fresh, again)


def test_what_is_kept_does_not_depend_on_the_selection(store: Path, counted: list[int]) -> None:
    whole = _scores(open_cubes(store))
    counted.clear()
    chosen = select(open_cubes(store), finding=["Cardiomegaly"], explainer="cam")
    one = _scores(chosen, keep=True)
    assert len(counted) == MAPS // 20
    # The rest is added; another slice, cut-off or standard threshold asks for nothing new.
    two = _scores(open_cubes(store), keep=True)
    assert len(counted) == MAPS
    pd.testing.assert_frame_equal(two, whole)
    mine = whole[(whole["finding"] == "Cardiomegaly")
                 & whole["explainer"].isin(["cam", "expert"])]
    pd.testing.assert_frame_equal(one, mine.reset_index(drop=True))
    _scores(select(open_cubes(store), split="test"), keep=True, slice="all", threshold=0.35)
    assert len(counted) == MAPS
    assert len(_kept(store)) == 1


def test_another_definition_or_threshold_is_kept_apart(store: Path, counted: list[int]) -> None:
    _scores(open_cubes(store), keep=True)
    for options in ({"definition": "peer"}, {"resolution": "grid"}, {"threshold": 0.333}):
        before = len(counted)
        expected = _scores(open_cubes(store), **options)
        scores = _scores(open_cubes(store), keep=True, **options)
        assert len(counted) == before + 2 * MAPS
        pd.testing.assert_frame_equal(scores, expected)
    assert len(_kept(store)) == 4


def test_a_store_generated_again_never_meets_old_scores(tmp_path: Path) -> None:
    path = tmp_path / "study.zarr"
    _write(path, seed=0)
    old = _scores(open_cubes(path), keep=True)
    kept = shutil.copytree(path / "scores", tmp_path / "scores")
    shutil.rmtree(path)
    _write(path, seed=1)
    # Even if someone carries them over.
    shutil.copytree(kept, path / "scores")
    new = _scores(open_cubes(path), keep=True)
    pd.testing.assert_frame_equal(new, _scores(open_cubes(path)))
    assert not new["iou"].equals(old["iou"])


def test_a_store_with_scores_is_still_valid_and_opens(store: Path) -> None:
    _scores(open_cubes(store), keep=True)
    cubes = open_cubes(store)
    assert problems(cubes) == []
    assert describe(cubes)["problems"] == []
    assert set(cubes.children) == {"reference", "saliency"}
    assert describe(cubes)["groups"]["scores"]["topics"] == ["localization", "masks",
                                                                "readers"]
    # Kept scores have dimensions of their own, which no selection has to know.
    assert cubes.sel(finding="Edema", reader="expert-1").children.keys() == cubes.children.keys()
    (place,) = _kept(store)
    group = read_scores(store, "localization", place.name)
    assert group is not None
    assert set(group["explainer"].values) == {"grad", "cam"}
    assert (group["total"].sum("level") == 64 * 64).all()


def test_a_read_only_store_is_analyzed_with_a_warning(store: Path, counted: list[int],
                                                caplog: pytest.LogCaptureFixture,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    # Root may write anywhere, so the system's answer is given in its place.
    monkeypatch.setattr("saltrust.cache.scores.os.access", lambda *_: False)
    with caplog.at_level(logging.WARNING):
        scores = _scores(open_cubes(store), keep=True)
    assert "is read-only" in caplog.text
    assert "not kept" in caplog.text
    assert not (store / "scores").exists()
    pd.testing.assert_frame_equal(scores, _scores(open_cubes(store)))


def test_a_full_disk_leaves_nothing_behind(store: Path, caplog: pytest.LogCaptureFixture,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("saltrust.cache.scores._write", full)
    with caplog.at_level(logging.WARNING):
        _scores(open_cubes(store), keep=True)
    assert "No space left" in caplog.text
    assert sorted(path.name for path in store.parent.iterdir()) == ["study.zarr"]


def _delete_a_chunk(kept: Path) -> None:
    # What Zarr reads as zeros, without a word.
    (kept / "total" / "c" / "0" / "0").unlink()


def _garble_a_chunk(kept: Path) -> None:
    (kept / "total" / "c" / "0" / "0").write_bytes(b"\x00nonsense")


@pytest.mark.parametrize("damage", [
    lambda kept: (kept / "threshold" / "zarr.json").write_text("{"),
    # Zarr warns of folders without metadata wherever it meets them.
    pytest.param(lambda kept: (kept / "threshold" / "zarr.json").unlink(),
                 marks=pytest.mark.filterwarnings("ignore:.*not recognized as a component")),
    lambda kept: (kept / "zarr.json").write_text("[]"),
    _delete_a_chunk, _garble_a_chunk], ids=[
    "variable", "variable gone", "group", "chunk gone", "chunk"])
def test_damaged_scores_are_computed_again(store: Path, counted: list[int], damage: Any,
                                           caplog: pytest.LogCaptureFixture) -> None:
    expected = _scores(open_cubes(store), keep=True)
    (kept,) = _kept(store)
    damage(kept)
    counted.clear()
    with caplog.at_level(logging.WARNING):
        scores = _scores(open_cubes(store), keep=True)
    assert "computed again" in caplog.text
    assert len(counted) == MAPS
    pd.testing.assert_frame_equal(scores, expected)
    caplog.clear()
    counted.clear()
    with caplog.at_level(logging.WARNING):
        pd.testing.assert_frame_equal(_scores(open_cubes(store), keep=True), expected)
    assert not counted
    assert not caplog.text


@pytest.mark.parametrize("group", ["scores", "scores/localization"])
def test_cubes_open_beside_a_damaged_group_of_scores(store: Path, counted: list[int], group: str,
                                                     caplog: pytest.LogCaptureFixture) -> None:
    expected = _scores(open_cubes(store), keep=True)
    (store / group / "zarr.json").write_text("nonsense")
    with caplog.at_level(logging.WARNING):
        cubes = open_cubes(store)
    assert set(cubes.children) == {"reference", "saliency"}
    counted.clear()
    # What is kept below lies where it lay, and keeping something new mends the groups above it.
    pd.testing.assert_frame_equal(_scores(cubes, keep=True), expected)
    assert not counted
    assert not caplog.text
    _scores(cubes, keep=True, threshold=0.123)
    metadata = json.loads((store / group / "zarr.json").read_text())
    assert metadata["node_type"] == "group"


def test_damage_elsewhere_is_still_an_error(store: Path) -> None:
    _scores(open_cubes(store), keep=True)
    (store / "reference" / "label" / "zarr.json").write_text("{")
    with pytest.raises(DataError, match=r"reference/label/zarr\.json is not what was written"):
        open_cubes(store)


def test_cubes_in_memory_are_never_kept(store: Path, counted: list[int]) -> None:
    cubes = open_cubes(store)
    del cubes.attrs["source"]
    _scores(cubes, keep=True)
    assert not (store / "scores").exists()


def test_workers_change_nothing(store: Path) -> None:
    few = Resampling(resamples=50)
    alone = localization(open_cubes(store), resampling=few, execution=Execution(keep=False))
    many = localization(open_cubes(store), resampling=few,
                        execution=Execution(workers=2, keep=False))
    assert alone.to_dict() == many.to_dict()
    cubes = open_cubes(store)
    del cubes.attrs["source"]
    with pytest.raises(UsageError, match="need maps as they lie in a store"):
        localization(cubes, execution=Execution(workers=2))


def test_a_worker_that_dies_is_named() -> None:
    with pytest.raises(UsageError, match=r"one of 2 worker processes died.*__main__"), \
            executor(2, None) as pool:
        list(pool.map(os._exit, [3]))


def test_the_numpy_pass_gives_the_same_scores(store: Path,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    for definition in ("default", "peer"):
        fast = _scores(open_cubes(store), definition=definition)
        with monkeypatch.context() as patch:
            for module in ("levels", "upsampling"):
                patch.setattr(f"saltrust.analysis.pixels.{module}.compiled", lambda: False)
            slow = _scores(open_cubes(store), definition=definition)
        pd.testing.assert_frame_equal(fast, slow)


def test_scores_round_trip(tmp_path: Path) -> None:
    zarr.open_group(tmp_path / "s.zarr", mode="w")
    made_from = {"definition": "peer"}
    key = scores_key({"finished": "now"}, made_from)
    scores = xr.Dataset({"name": ("map", np.array(["a", "bé"], dtype=object)),
                        "value": (("map", "level"), np.arange(6, dtype=np.int32).reshape(2, 3))})
    assert read_scores(tmp_path / "s.zarr", "topic", key) is None
    for _ in range(2):
        assert write_scores(tmp_path / "s.zarr", "topic", key, scores, made_from)
        back = read_scores(tmp_path / "s.zarr", "topic", key)
        assert back is not None
        assert back["name"].values.tolist() == ["a", "bé"]
        assert back["value"].dtype == np.int32
        assert (back["value"].values == scores["value"].values).all()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.zarr"]
    with pytest.raises(DataError, match="not a Zarr store"):
        write_scores(tmp_path / "none.zarr", "topic", key, scores, made_from)


# Sockets and threads of the cluster are closed by finalisers of its own.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning",
                            "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_dask_scheduler_changes_nothing(store: Path) -> None:
    from distributed import LocalCluster

    # The absolute values of grad, the other explainer as it is stored.
    alone = _scores(open_cubes(store), map="auto")
    with LocalCluster(n_workers=1, threads_per_worker=2, processes=False,
                      dashboard_address=None) as cluster:
        scores = _scores(open_cubes(store), scheduler=cluster.scheduler_address, map="auto")
    pd.testing.assert_frame_equal(scores, alone)


@pytest.mark.filterwarnings("ignore::ResourceWarning",
                            "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_scheduler_that_is_not_there_is_named(store: Path,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_SECONDS_TO_CONNECT", 1)
    with pytest.raises(UsageError, match=r"tcp://127.0.0.1:9 cannot be reached"):
        _scores(open_cubes(store), scheduler="tcp://127.0.0.1:9")


@pytest.mark.parametrize("exchanges", [True, False])
def test_analyses_that_keep_scores_at_once_all_end_well(
        pristine: Path, tmp_path: Path, exchanges: bool, caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch) -> None:
    if not exchanges:
        monkeypatch.setattr("saltrust.cache.scores.exchange", lambda *_: False)
    path = tmp_path / "study.zarr"
    shutil.copytree(pristine, path)
    frames = [xr.Dataset({"area": ("map", np.full(5, float(number)))}) for number in range(4)]
    wanted = [frame["area"].values.tolist() for frame in frames]
    with caplog.at_level(logging.WARNING), ThreadPoolExecutor(4) as pool:
        kept = list(pool.map(lambda frame: [write_scores(path, "masks", "0" * 16, frame, {})
                                            for _ in range(6)], frames))
    assert kept == [[True] * 6] * 4
    assert caplog.text == ""
    last = read_scores(path, "masks", "0" * 16)
    assert last is not None
    assert last["area"].values.tolist() in wanted
    assert [item.name for item in tmp_path.iterdir()] == ["study.zarr"]
