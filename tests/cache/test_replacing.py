"""Killed before any step of replacing a store, one of two whole stores is there, and jobs go on."""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import saltrust
from saltrust.cache import replacing
from saltrust.cache.reference import import_collection
from saltrust.cache.replacing import exchange
from saltrust.cache.store import partial_path
from saltrust.cache.writing import create_store
from saltrust.errors import DataError, NothingToDo, UsageError


class Killed(BaseException):
    """Nothing of the job runs after it."""


def write(squares: Any, path: Path, shade: int, **options: Any) -> Path:
    """A whole store whose radiographs are of one shade; shades make no difference to its study."""
    with create_store(path, index=squares.index, grid=(20, 30), n_points=2,
                      groups=("reference", "radiograph"), identity={"data": "squares"},
                      **options) as writer:
        writer.write("radiograph/pixels", slice(None), shade)
        return writer.finish()


def shade_of(path: Path) -> int:
    values = np.unique(saltrust.open_cubes(path)["radiograph/pixels"].values)
    assert len(values) == 1
    return int(values[0])


def kill_before(step: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let the job end before that call that changes a name; returns which calls there were."""
    calls: list[str] = []

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            calls.append(name)
            if len(calls) >= step:
                raise Killed
            return function(*arguments, **options)

        return wrapped

    for name in ("rename", "replace", "unlink", "rmdir"):
        monkeypatch.setattr(os, name, counted(name, getattr(os, name)))
    struck = replacing._renameat2()
    if struck is not None:
        rename = counted("rename", struck)
        monkeypatch.setattr(replacing, "_renameat2", lambda: rename)
    return calls


def is_killed(squares: Any, path: Path, step: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Overwrite until that step; what the job held is free, as of a process that has ended."""
    with monkeypatch.context() as patch:
        kill_before(step, patch)
        try:
            write(squares, path, 2, overwrite=True)
        except Killed as error:
            # Zarr's loop may keep it, and with its traceback the writer, which holds the lock.
            links: BaseException | None = error
            while links is not None:
                links, last = links.__context__, links
                last.with_traceback(None).__context__ = None
        else:
            return False
    # A turn of the loop lets go of what it did last.
    zarr.open_group(path.parents[1] / "base.zarr", mode="r")
    gc.collect()
    return True


@pytest.mark.parametrize("exchanges", [True, False])
def test_killed_before_any_step_of_an_overwrite(
        squares: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchanges: bool) -> None:
    if not exchanges:
        monkeypatch.setattr(replacing, "_renameat2", lambda: None)
    base = write(squares, tmp_path / "base.zarr", 1)
    with monkeypatch.context() as patch:
        calls = kill_before(10**6, patch)
        shutil.copytree(base, tmp_path / "all" / "s.zarr")
        write(squares, tmp_path / "all" / "s.zarr", 2, overwrite=True)
    # Zarr replaces files; folders are renamed by us alone, and then the old one is removed.
    renames = [step for step, name in enumerate(calls, start=1) if name == "rename"]
    assert len(renames) >= 3
    steps = {1, 9, *renames, *(step + 1 for step in renames), renames[-1] + 20, len(calls) - 1,
             len(calls)}
    for step in sorted(steps):
        path = tmp_path / f"at-{step}" / "s.zarr"
        shutil.copytree(base, path)
        assert is_killed(squares, path, step, monkeypatch)
        gc.collect()
        if exchanges or path.exists():
            assert shade_of(path) in {1, 2}, step
        else:
            with pytest.raises(UsageError, match="--resume"):
                saltrust.open_cubes(path)
        for next_job in ("resume", "overwrite")[step % 2:]:
            with contextlib.suppress(NothingToDo):
                write(squares, path, 2, **{next_job: True})
            # Where nothing had been begun, --resume is told that the study's cubes are there.
            assert shade_of(path) == 2 or step == 1, (step, next_job)
            assert [item.name for item in path.parent.iterdir()] == ["s.zarr"], (step, next_job)


def test_resume_goes_on_with_what_is_to_overwrite(squares: Any, tmp_path: Path) -> None:
    path = write(squares, tmp_path / "s.zarr", 1)
    with create_store(path, index=squares.index, grid=(20, 30), n_points=2, overwrite=True,
                      groups=("reference", "radiograph"), identity={"data": "other"}) as writer:
        writer.write("radiograph/pixels", slice(None), 7)
    assert shade_of(path) == 1
    with create_store(path, index=squares.index, grid=(20, 30), n_points=2, resume=True,
                      groups=("reference", "radiograph"), identity={"data": "other"}) as writer:
        writer.finish()
    assert shade_of(path) == 7
    attributes = saltrust.open_cubes(path).attrs
    assert "overwrites" not in attributes
    assert [item.name for item in tmp_path.iterdir()] == ["s.zarr"]


def test_a_store_that_nobody_said_to_overwrite_stays(squares: Any, tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    with pytest.raises(KeyboardInterrupt), \
            create_store(path, index=squares.index, grid=(20, 30), groups=("reference",)):
        raise KeyboardInterrupt
    write(squares, tmp_path / "other.zarr", 3).rename(path)
    with pytest.raises(UsageError, match=r"both .*s\.zarr and the unfinished"):
        create_store(path, index=squares.index, grid=(20, 30), groups=("reference",), resume=True)
    assert shade_of(path) == 3


def test_names_that_users_choose_are_theirs(squares: Any, tmp_path: Path) -> None:
    path = write(squares, tmp_path / "s.zarr", 1)
    kept = [write(squares, tmp_path / name, 9) for name in
            ("s.zarr.old", ".s.zarr.old", ".s.zarr.new", ".s.zarr.backup.old")]
    write(squares, path, 2, overwrite=True)
    assert [shade_of(other) for other in kept] == [9] * 4
    assert shade_of(path) == 2


@pytest.mark.parametrize("where", ["s.zarr", "s.zarr.partial"])
def test_only_cubes_are_removed(squares: Any, tmp_path: Path, where: str) -> None:
    zarr.open_group(tmp_path / where, mode="w").create_array("thesis", data=np.arange(5))
    with pytest.raises(UsageError, match="is not a Zarr store of cubes"):
        write(squares, tmp_path / "s.zarr", 1, overwrite=True)
    assert zarr.open_group(tmp_path / where, mode="r")["thesis"][:].sum() == 10


def test_a_link_is_not_followed(squares: Any, tmp_path: Path) -> None:
    target = write(squares, tmp_path / "precious.zarr", 5)
    (tmp_path / "s.zarr.partial").symlink_to(target)
    with pytest.raises(UsageError, match="in the way"):
        write(squares, tmp_path / "s.zarr", 1, overwrite=True)
    assert shade_of(target) == 5


@pytest.mark.parametrize("lost", ["zarr.json", "image/zarr.json"])
def test_what_an_earlier_version_left_half_removed_is_no_obstacle(
        squares: Any, tmp_path: Path, lost: str) -> None:
    path = tmp_path / "s.zarr"
    with create_store(path, index=squares.index, grid=(20, 30), groups=("reference",)) as writer:
        (writer.partial / lost).unlink()
        shutil.rmtree(writer.partial / "finding")
    (partial_path(path) / "zarr.json").unlink(missing_ok=True)
    write(squares, path, 4, overwrite=True)
    assert shade_of(path) == 4


def test_a_damaged_root_can_be_overwritten(squares: Any, tmp_path: Path) -> None:
    path = write(squares, tmp_path / "s.zarr", 1)
    (path / "zarr.json").write_text("{" + (path / "zarr.json").read_text())
    write(squares, path, 2, overwrite=True)
    assert shade_of(path) == 2


def test_leftovers_of_scores_are_swept_unless_somebody_writes_them(squares: Any, tmp_path: Path
                                                                   ) -> None:
    from saltrust.processes import Process

    path = tmp_path / "s.zarr"
    dead = Process(Process.current().host, 2**22 + 1, "1").mark
    for name in (f".s.zarr.scores.{dead}.abcdefgh", ".s.zarr.scores.abcdefgh"):
        (tmp_path / name / "key").mkdir(parents=True)
    kept = [f".s.zarr.scores.{Process.current().mark}.abcdefgh", ".s.zarr.scores.of my own",
            f".s.zarr.scores.{dead[:-8]}00000000.abcdefgh"]
    for name in kept:
        (tmp_path / name).mkdir()
    write(squares, path, 1)
    assert sorted(item.name for item in tmp_path.iterdir()) == sorted(["s.zarr", *kept])


def test_a_name_without_room_is_refused_at_once(squares: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="too long for a store"):
        import_collection(squares, tmp_path / ("s" * 240), grid=(20, 30))
    assert not list(tmp_path.iterdir())
    assert shade_of(write(squares, tmp_path / ("s" * 230), 1)) == 1


def test_an_exchange_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    with pytest.raises(OSError, match="one") as caught:
        exchange(tmp_path / "one", tmp_path / "two")
    assert caught.value.errno == errno.ENOENT


def test_a_disk_that_fills_while_a_store_takes_its_place(
        squares: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(squares, tmp_path / "s.zarr", 1)
    from zarr.core.attributes import Attributes

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Attributes, "put", full)
        with pytest.raises(DataError, match=r"disk is full.*--resume"):
            write(squares, path, 2, overwrite=True)
    assert shade_of(path) == 1
    write(squares, path, 2, resume=True)
    assert shade_of(path) == 2
    assert json.loads((path / "zarr.json").read_text())["attributes"]["complete"]
    assert [item.name for item in tmp_path.iterdir()] == ["s.zarr"]
