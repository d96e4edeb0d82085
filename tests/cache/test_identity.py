"""A store that is replaced while somebody reads it is an error, and never a mean of two."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from click.testing import CliRunner

import saltrust
from saltrust.analysis.options import Execution, Resampling
from saltrust.analysis.scores import scan
from saltrust.cache.identity import of_one_store
from saltrust.cache.replacing import exchange
from saltrust.cache.store import open_cubes
from saltrust.cli import main
from saltrust.errors import DataError
from saltrust.testing import simulate_cubes

QUICK: dict[str, Any] = {"resampling": Resampling(resamples=10)}
WORDS = "was replaced by another store, or removed, while it was in use"

Replace = Callable[[], None]


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    for seed, name in enumerate(("one.zarr", "two.zarr")):
        simulate_cubes(folder / name, patients=6, parts=(), grid=16, seed=seed)
    return folder


@pytest.fixture
def path(studies: Path, tmp_path: Path) -> Path:
    for name in ("one.zarr", "two.zarr"):
        shutil.copytree(studies / name, tmp_path / name)
    return tmp_path / "one.zarr"


@pytest.fixture
def replace(path: Path) -> Replace:
    def exchanged() -> None:
        assert exchange(path, path.with_name("two.zarr"))

    return exchanged


def test_maps_of_two_stores_are_never_read(path: Path, replace: Replace) -> None:
    cubes = open_cubes(path)
    whole = cubes["saliency/heatmap"][:3].values
    replace()
    with pytest.raises(DataError, match=WORDS):
        cubes["saliency/heatmap"][3:].mean().compute()
    replace()
    assert np.array_equal(cubes["saliency/heatmap"][:3].values, whole, equal_nan=True)


def test_a_store_that_is_gone_is_not_read_as_fill_values(path: Path) -> None:
    cubes = open_cubes(path)
    shutil.rmtree(path)
    with pytest.raises(DataError, match=WORDS):
        cubes["saliency/heatmap"].max().compute()


def test_one_store_may_change_its_attributes(path: Path) -> None:
    cubes = open_cubes(path)
    zarr.open_group(path, mode="r+").attrs["remark"] = "seen"
    assert cubes["saliency/heatmap"][:2].notnull().any()


def test_a_replaced_store_is_seen_through_dask(path: Path, replace: Replace) -> None:
    cubes = open_cubes(path, chunks="auto")
    replace()
    with pytest.raises(DataError, match=WORDS):
        cubes["saliency/heatmap"].mean().compute()


@pytest.mark.parametrize("how", ["path", "named"])
def test_an_analysis_compares_at_its_end(path: Path, replace: Replace, how: str,
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    from saltrust.analysis.localization import analysis

    summarize = analysis.summarize

    def replaced_first(*arguments: Any, **options: Any) -> Any:
        if not path.with_name("seen").exists():
            path.with_name("seen").touch()
            replace()
        return summarize(*arguments, **options)

    # Everything has been read by then.
    monkeypatch.setattr(analysis, "summarize", replaced_first)
    with pytest.raises(DataError, match=WORDS):
        if how == "named":
            saltrust.localization(cubes=open_cubes(path).load(), **QUICK)
        else:
            saltrust.localization(path, **QUICK)


def test_what_is_no_store_is_nobodys(path: Path) -> None:
    given = of_one_store(lambda thing, **_: thing)
    for thing in (3, "no/such/place", saltrust.select(path, image=None)):
        assert given(thing) is thing


def test_workers_read_the_store_that_was_opened(path: Path, replace: Replace,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    cubes = open_cubes(path)
    count, calls = scan._scanner, []

    def replaced_first(*arguments: Any) -> Any:
        calls.append(arguments)
        replace()
        return count(*arguments)

    monkeypatch.setattr(scan, "_scanner", replaced_first)
    with pytest.raises(DataError, match=WORDS):
        saltrust.localization(cubes, execution=Execution(keep=False), **QUICK)
    assert calls


@pytest.mark.parametrize("command", [
    ("analyze", "descriptors"), ("report", "-o", "page.html"),
    ("export", "scores", "-o", "scores.csv")])
def test_commands_write_nothing_of_a_replaced_store(
        path: Path, replace: Replace, command: tuple[str, ...], tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    opened = []

    def opened_and_replaced(*arguments: Any) -> Any:
        cubes = open_cubes(*arguments)
        if not opened:
            opened.append(cubes)
            replace()
        return cubes

    monkeypatch.setattr("saltrust.cache.store.open_cubes", opened_and_replaced)
    words = [*command[:2], str(path), *command[2:]] if command[0] != "report" else [
        "report", str(path), *command[1:]]
    done = CliRunner().invoke(main, ["--quiet", *words], catch_exceptions=False)
    assert done.exit_code == 1, done.output
    assert "was replaced by another store" in done.stderr
    assert sorted(item.name for item in tmp_path.iterdir() if not item.is_dir()) == []
