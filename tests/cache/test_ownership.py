"""One writer at a time: the second is told who the first is, and a dead one is no obstacle."""

from __future__ import annotations

import errno
import gc
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import saltrust
from saltrust.cache import ownership
from saltrust.cache.ownership import owned, take_store
from saltrust.cache.reference import import_collection
from saltrust.cache.writing import StoreWriter, create_store
from saltrust.errors import DataError, UsageError
from saltrust.processes import Process

#: Holds a lock as another job would, without the second that importing saltrust takes.
_OTHER = """
import fcntl, json, sys, time
stream = open(sys.argv[1], "a+")
fcntl.flock(stream, fcntl.LOCK_EX)
stream.write(sys.argv[2]); stream.flush()
print("held", flush=True)
time.sleep(60)
"""


@contextmanager
def another_owner(lock: Path) -> Iterator[subprocess.Popen[str]]:
    facts = {"host": "node-7", "process": 4711, "since": "2026-01-01T00:00:00+00:00",
             "run_id": "8f3e"}
    other = subprocess.Popen([sys.executable, "-c", _OTHER, str(lock), json.dumps(facts)],
                             stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        yield other
    finally:
        other.kill()
        other.communicate()


def begin(squares: Any, path: Path, **options: Any) -> StoreWriter:
    return create_store(path, index=squares.index, grid=(20, 30), groups=("reference",),
                        n_points=2, identity={"data": "squares"}, **options)


@pytest.mark.parametrize("options", [{}, {"resume": True}, {"overwrite": True}])
def test_a_second_writer_is_told_who_the_first_is(squares: Any, tmp_path: Path,
                                                  options: dict[str, bool]) -> None:
    path = tmp_path / "s.zarr"
    begin(squares, path).owner.release()
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    lock = tmp_path / "s.zarr.partial.lock"
    with another_owner(lock) as other:
        with pytest.raises(UsageError, match=(
                r"s\.zarr\.partial is being written by process 4711 on node-7 since 2026.*run 8f3e"
                r".*wait until it has ended, or choose another output")):
            begin(squares, path, **options)
        assert {file: file.read_bytes() for file in before} == before
        other.send_signal(signal.SIGKILL)
        other.wait()
        # What it held is free; its file is there and names a dead one.
        with begin(squares, path, **(options or {"resume": True})) as writer:
            assert json.loads(lock.read_text())["process"] == os.getpid()
            writer.finish()
    assert [item.name for item in tmp_path.iterdir()] == ["s.zarr"]


def test_a_thread_of_the_same_process_is_another_writer(squares: Any, tmp_path: Path) -> None:
    with begin(squares, tmp_path / "s.zarr"), \
            pytest.raises(UsageError, match=f"process {os.getpid()} on"):
        begin(squares, tmp_path / "s.zarr", overwrite=True)


def test_an_exception_frees_the_place(squares: Any, tmp_path: Path) -> None:
    def fail() -> None:
        with begin(squares, tmp_path / "s.zarr"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as stopped:
        fail()
    assert str(tmp_path / "s.zarr.partial") in stopped.value.__notes__[0]
    assert not (tmp_path / "s.zarr.partial.lock").exists()
    writer = begin(squares, tmp_path / "s.zarr", resume=True)
    del writer
    gc.collect()  # Nobody released it: whoever is forgotten holds nothing either.
    with owned(tmp_path / "s.zarr"):
        pass


def test_what_cannot_be_begun_leaves_no_lock(squares: Any, tmp_path: Path) -> None:
    path = import_collection(squares, tmp_path / "s.zarr", grid=(20, 30))
    with pytest.raises(UsageError, match="--overwrite"):
        import_collection(squares, path, grid=(20, 30))
    assert [item.name for item in tmp_path.iterdir()] == ["s.zarr"]


def test_a_child_inherits_nothing(tmp_path: Path) -> None:
    owner = take_store(tmp_path / "s.zarr")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.read(reading, 1)
        owner.release()
        os._exit(0)
    assert owner.lock.exists()
    owner.release()
    with owned(tmp_path / "s.zarr") as next_owner:
        os.close(writing)
        os.waitpid(child, 0)
        assert not next_owner.is_challenged()
        assert next_owner.lock.exists()
    os.close(reading)


def test_a_lock_removed_while_it_was_being_taken_is_taken_anew(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, tries = ownership._lock, []

    def removed_first(handle: int) -> str:
        if not tries:
            (tmp_path / "s.zarr.partial.lock").unlink()
        tries.append(handle)
        return lock(handle)

    monkeypatch.setattr(ownership, "_lock", removed_first)
    with owned(tmp_path / "s.zarr") as owner:
        assert len(tries) == 2
        assert not owner.is_challenged()


class TestWithoutLocks:
    """File systems where `flock` fails: what the file says counts."""

    @pytest.fixture(autouse=True)
    def unsupported(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def flock(_handle: int, _operation: int) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(ownership.fcntl, "flock", flock)

    def facts(self, **changes: Any) -> str:
        process = Process.current()
        return json.dumps({"host": process.host, "process": process.pid, "since": "today",
                           "process_start": process.started, **changes})

    def test_it_is_said_and_goes_on(self, squares: Any, tmp_path: Path,
                                    caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING):
            path = import_collection(squares, tmp_path / "s.zarr", grid=(20, 30))
        assert "cannot lock files" in caplog.text
        assert [item.name for item in tmp_path.iterdir()] == [path.name]

    @pytest.mark.parametrize(("changes", "words"), [
        ({}, "process {here} on"),
        ({"host": "node-7/12345678", "process": 1}, "process 1 on node-7.*if nothing runs there")])
    def test_who_lives_or_may_live_is_not_disturbed(self, tmp_path: Path, words: str,
                                                    changes: dict[str, Any]) -> None:
        (tmp_path / "s.zarr.partial.lock").write_text(self.facts(**changes))
        with pytest.raises(UsageError, match=words.format(here=os.getpid())):
            take_store(tmp_path / "s.zarr")

    @pytest.mark.parametrize("content", [
        '{"process_start": "1"}', '{"process": 0, "process_start": 1}', "", "[1", "{}"])
    def test_who_is_dead_or_unknown_is_followed(self, tmp_path: Path, content: str) -> None:
        text = self.facts(**json.loads(content)) if content.startswith('{"') else content
        (tmp_path / "s.zarr.partial.lock").write_text(text)
        with owned(tmp_path / "s.zarr"):
            pass
        assert not list(tmp_path.iterdir())


def test_where_nobody_may_write_nobody_is_kept_out(tmp_path: Path,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(ownership.os, "open", refuse)
        owner = take_store(tmp_path / "s.zarr")
    assert not owner.is_challenged()
    owner.release()


def test_a_full_disk_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ownership.os, "write", full)
    with pytest.raises(DataError, match="the disk is full"):
        take_store(tmp_path / "s.zarr")


def test_a_store_that_another_run_has_begun_anew_is_not_written_to(squares: Any,
                                                                   tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    with begin(squares, path) as first:
        first.owner.lock.unlink()  # As somebody might who takes it for a leftover.
        first.write("reference/label", 0, 1)
        with begin(squares, path, overwrite=True) as second:
            for write in (lambda: first.write("reference/label", 0, 1), first.finish):
                with pytest.raises(DataError, match="not the store of this run any more"):
                    write()
            assert (second.array("reference/label")[0] != 1).all()
            second.finish()
    run = saltrust.open_cubes(path).attrs["run_id"]
    assert run != first.attributes["run_id"]


def test_a_store_that_is_gone_is_not_finished(squares: Any, tmp_path: Path) -> None:
    with begin(squares, tmp_path / "s.zarr") as writer:
        shutil.rmtree(writer.partial)
        with pytest.raises(DataError, match="not the store of this run any more"):
            writer.finish()
    assert not list(tmp_path.iterdir())


def test_a_run_keeps_its_id_when_it_is_resumed(squares: Any, tmp_path: Path) -> None:
    with begin(squares, tmp_path / "s.zarr") as writer:
        run = writer.attributes["run_id"]
    with begin(squares, tmp_path / "s.zarr", resume=True) as writer:
        assert writer.attributes["run_id"] == run
        del writer.root.attrs["run_id"]  # As of an earlier version.
    with begin(squares, tmp_path / "s.zarr", resume=True) as writer:
        assert len(writer.attributes["run_id"]) == len(run)
