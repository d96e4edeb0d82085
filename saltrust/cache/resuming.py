"""What lies where a store is to be written, and what a job may do about it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from saltrust.cache.replacing import discard
from saltrust.cache.schema import CHECKSUMS, GROUPS, ROOT, SCORES
from saltrust.cache.store import PARTIAL_SUFFIX, partial_path, root_attributes
from saltrust.errors import DataError, NothingToDo, UsageError

#: Attribute of an unfinished store that will take the place of a finished one.
OVERWRITES = "overwrites"


class Start(NamedTuple):
    """How a job starts.

    Attributes
    ----------
    goes_on : bool
        Whether with an unfinished store, which is as it should be; else nothing lies there.
    overwrites : bool
        Whether the store, once it is finished, takes the place of one that is there.
    """

    goes_on: bool
    overwrites: bool


def prepare_place(path: Path, wanted: Mapping[str, Any], *, overwrite: bool, resume: bool
                  ) -> Start:
    """Decide between beginning and going on, and remove what is not gone on with.

    Parameters
    ----------
    path : pathlib.Path
        Where the finished store will be.  The caller owns it.
    wanted : mapping
        What must agree for an unfinished store to be resumed.
    overwrite, resume : bool
        What was said.

    Returns
    -------
    Start

    Raises
    ------
    UsageError
        If something is there and neither was said, what is there is no store of cubes, or one of
        another study (what differs is named).
    NothingToDo
        If ``resume`` was said and the very store is there, finished.
    """
    partial = partial_path(path)
    _check_output(path, overwrite=overwrite, resume=resume)
    if not (partial.exists() or partial.is_symlink()):
        if resume and path.exists():
            raise _nothing_to_do(path, wanted)
        return Start(False, overwrite)
    attributes = _unfinished(partial)
    if not (overwrite or resume):
        raise UsageError(f"{partial} is left from an interrupted run; say --resume to go on "
                         "with it or --overwrite to start again")
    overwrite = overwrite or bool(attributes.get(OVERWRITES))
    if path.exists() and not overwrite:
        if not attributes:
            _remove(partial, path)
            raise _nothing_to_do(path, wanted)
        raise UsageError(f"both {path} and the unfinished {partial} are there; say --overwrite to "
                         "make the cubes anew, or move one of them away")
    if not resume or not attributes.get("laid_out"):
        _remove(partial, path)
        return Start(False, overwrite)
    require_same(attributes.get("identity", {}), wanted, partial)
    return Start(True, overwrite)


def require_same(begun: Any, wanted: Mapping[str, Any], place: Path) -> None:
    """Raise, naming what differs, unless two identities agree."""
    begun = begun if isinstance(begun, Mapping) else {}
    differing = sorted(key for key in {*begun, *wanted} if begun.get(key) != wanted.get(key))
    if differing == ["labels"] and isinstance(begun.get("labels"), Mapping):
        labels, other = begun["labels"], wanted.get("labels", {})
        differing = [f"labels of {key}" for key in sorted({*labels, *other})
                     if labels.get(key) != other.get(key)]
    if differing:
        raise UsageError(f"{place} was begun with another {', '.join(differing)}; resume with "
                         "the study it was begun with, or say --overwrite to start again")


def leftovers_of_writes(folder: Path) -> list[Path]:
    """Files that Zarr was writing aside when it was killed; it renames them when whole."""
    return list(folder.rglob(f"*{PARTIAL_SUFFIX}"))


def _check_output(path: Path, *, overwrite: bool, resume: bool) -> None:
    if not path.exists():
        return
    if not (overwrite or resume):
        raise UsageError(f"{path} exists; say --overwrite to replace it, --resume to go on with an "
                         "interrupted run, or choose another output")
    if overwrite and not _is_cubes(path):
        raise UsageError(f"{path} exists and is not a Zarr store of cubes, so --overwrite will not "
                         "remove it; choose another output")


def _nothing_to_do(path: Path, wanted: Mapping[str, Any]) -> NothingToDo:
    require_same(root_attributes(path).get("identity"), wanted, path)
    return NothingToDo(f"{path} is finished already; say --overwrite to make it anew")


def _unfinished(partial: Path) -> dict[str, Any]:
    """Attributes of an unfinished store; empty where it was killed before it had any."""
    if partial.is_symlink() or not (_is_cubes(partial) or _is_empty(partial)
                                    or _is_remainder(partial)):
        raise UsageError(f"{partial} is in the way and is not a Zarr store of cubes; move it away")
    try:
        return root_attributes(partial)
    except DataError:
        return {}


def _is_cubes(path: Path) -> bool:
    """Whether a folder is a store of ours, be its root damaged."""
    if not (path / "zarr.json").is_file():
        return False
    try:
        root_attributes(path)
    except DataError as error:
        # One of a newer schema is a store too.
        return "cube schema" in str(error) or all(
            (path / name / "zarr.json").is_file() for name in ("image", "finding", "reference"))
    return True


def _is_remainder(path: Path) -> bool:
    """Whether a folder is what is left of a store that an earlier version was removing."""
    known = {*GROUPS, SCORES, CHECKSUMS, *(variable.name for variable in ROOT.variables)}
    entries = list(path.iterdir()) if path.is_dir() else []
    return any(entry.name in known for entry in entries) and all(
        entry.name in known or (entry.is_dir() and entry.name != "zarr.json" and (
            (entry / "zarr.json").is_file()
            or {child.name for child in entry.iterdir()} == {"c"})) for entry in entries)


def _is_empty(path: Path) -> bool:
    return path.is_dir() and {*path.rglob("*")} == {*leftovers_of_writes(path)}


def _remove(partial: Path, path: Path) -> None:
    discard(partial, path, uuid.uuid4().hex)
