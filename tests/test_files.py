"""Files are there whole or not at all, and failures are sentences with a way out."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from saltrust.errors import DataError, SaltrustError, UsageError
from saltrust.files import (
    Advice,
    remove_leftovers,
    stems,
    whole_file,
    whole_files,
    write_bytes,
    write_text,
)
from saltrust.processes import Process


def test_writes_and_replaces_and_makes_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.json"
    write_bytes(path, b"one")
    write_bytes(path, b"two")
    assert path.read_bytes() == b"two"
    write_text(path, "drei: ä\n")
    assert path.read_bytes() == "drei: ä\n".encode()
    with whole_file(path) as aside:
        aside.write_text("four")
        assert path.read_text(encoding="utf-8") == "drei: ä\n"
    assert path.read_text() == "four"
    assert [file.name for file in path.parent.iterdir()] == ["b.json"]


def test_others_may_read_it_as_far_as_umask_allows(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_bytes(tmp_path / "x", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640


@pytest.mark.parametrize(("owner", "function", "code", "words"), [
    (os, "fsync", errno.ENOSPC, "free some space and start again"),
    (os, "fsync", errno.EDQUOT, "free some space and start again"),
    (os, "fsync", errno.EIO, "check the folder"),
    (Path, "replace", errno.EACCES, "check the folder"),
])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: object, function: str, code: int,
    words: str,
) -> None:
    path = tmp_path / "weights"
    write_bytes(path, b"old")

    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(owner, function, fail)
    with pytest.raises(DataError, match=f"{path}.*{words}"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_ctrl_c_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(tmp_path / "x", b"new")
    with pytest.raises(KeyboardInterrupt), whole_files(tmp_path / "folder") as aside:
        (aside / "y").write_text("new")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        write_bytes(tmp_path / "file" / "x", b"")
    with (pytest.raises(DataError, match="cannot be written"),
          whole_files(tmp_path / "file" / "folder")):
        pass


@pytest.mark.parametrize(("code", "error", "sentence"), [
    (errno.ENOSPC, DataError, "the disk is full while writing {}; free some space and repeat it"),
    (errno.EROFS, UsageError, "{} cannot be written (broken); go elsewhere"),
])
def test_advice_decides_error_and_way_out(tmp_path: Path, code: int, error: type[SaltrustError],
                                          sentence: str) -> None:
    path = tmp_path / "x.csv"
    with (pytest.raises(SaltrustError) as raised,
          whole_file(path, Advice("repeat it", "go elsewhere", UsageError))):
        raise OSError(code, "broken")
    assert type(raised.value) is error
    assert str(raised.value) == sentence.format(path)


def test_several_files_appear_together(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "results"
    write_text(folder / "kept.txt", "kept")
    write_text(folder / "tables" / "a.csv", "old")
    with whole_files(folder) as aside:
        (aside / "tables").mkdir()
        (aside / "tables" / "a.csv").write_text("new")
        (aside / "b.md").write_text("b")
        assert not (folder / "b.md").exists()
    assert {path.relative_to(folder).as_posix(): path.read_text()
            for path in folder.rglob("*") if path.is_file()} == {
        "kept.txt": "kept", "tables/a.csv": "new", "b.md": "b"}
    assert list(folder.parent.iterdir()) == [folder]


def test_of_several_files_none_appears_where_one_fails(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    write_text(folder / "a.csv", "old")
    with pytest.raises(ZeroDivisionError), whole_files(folder) as aside:
        (aside / "a.csv").write_text("new")
        raise ZeroDivisionError
    assert (folder / "a.csv").read_text() == "old"
    assert list(tmp_path.iterdir()) == [folder]


def test_leftovers_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    for name in (".a.json.x1y2.tmp", ".epoch3.safetensors.z.tmp", ".b.json.x.tmp", "a.json"):
        (tmp_path / name).write_text("")
    remove_leftovers(tmp_path, "a.json")
    remove_leftovers(tmp_path, "epoch*")
    remove_leftovers(tmp_path / "absent", "a.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".b.json.x.tmp", "a.json"]


def test_what_a_dead_process_was_writing_is_swept(tmp_path: Path) -> None:
    here = Process.current()
    dead = Process(here.host, 2**22 + 1, "1").mark
    (tmp_path / f".page.html.{dead}.abcdefgh.tmp").write_text("half a p")
    (tmp_path / f".page.html.{dead}.12345678.tmp").mkdir()
    (tmp_path / f".page.html.{dead}.12345678.tmp" / "file").write_text("half a f")
    kept = [f".page.html.{here.mark}.abcdefgh.tmp", ".page.html.backup.tmp",
            f".other.html.{dead}.abcdefgh.tmp"]
    for name in kept:
        (tmp_path / name).write_text("of somebody")
    write_text(tmp_path / "page.html", "a page")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["page.html", *kept])


def test_what_went_wrong_is_said_though_the_leftover_cannot_be_removed(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(code: int) -> Callable[..., None]:
        def raise_it(*_: object, **__: object) -> None:
            raise OSError(code, os.strerror(code))
        return raise_it

    monkeypatch.setattr(os, "fsync", fail(errno.ENOSPC))
    monkeypatch.setattr(Path, "unlink", fail(errno.EROFS))
    with pytest.raises(DataError, match="the disk is full while writing"):
        write_text(tmp_path / "a.html", "page")


def test_names_of_files_made_of_labels_never_collide(tmp_path: Path) -> None:
    names = ["a/b", "a b", "A-B", "..", "x" * 5000, "x" * 5001, "\u80f8" * 300, "a\0b", "", "con"]
    made = stems(names)
    assert len({stem.casefold() for stem in made.values()}) == len(names)
    for stem in made.values():
        (tmp_path / f"{stem}.png").write_bytes(b"")
    assert len(list(tmp_path.iterdir())) == len(names)


def test_halves_of_characters_are_written_out(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "a\udcffb")
    assert (tmp_path / "a.txt").read_text() == "a\\udcffb"
