"""Folders that take each other's place, so that a kill at any moment leaves one of them whole.

What is on its way has a hidden name beside the store, ``.<store>.<run>.<kind>``, with the run that
put it there: never one that a user would choose, and known again after a kill.

``new``
    The finished store of the run, about to take the place of an old one; once they were
    exchanged, the old one.  Which of them it is, its ``run_id`` says.
``old``
    The old one, where the file system cannot exchange two names.
``discarded``
    What is being removed.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from saltrust.cache.store import partial_path, root_attributes
from saltrust.errors import DataError, UsageError

#: Hexadecimal digits of the run in names.
_DIGITS = 12
#: Most bytes of a name, on the file systems in use.
_LONGEST_NAME = 255

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
#: What the kernel says where a file system cannot exchange names.
_CANNOT = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM)


def check_name(path: Path) -> None:
    """Refuse what cannot be a store, and a name that leaves no room for what is on its way.

    Raises
    ------
    UsageError
    """
    if not path.name or path.is_symlink():
        raise UsageError(f"{path} cannot be a store; give the name of a folder to create")
    spare = _LONGEST_NAME - len(os.fsencode(aside(path, "0" * _DIGITS, "discarded").name))
    if spare < 0:
        raise UsageError(f"the name {path.name[:40]}... is {-spare} bytes too long for a store; "
                         "choose a shorter one")


def aside(path: Path, run: str, kind: str) -> Path:
    """Where something of a run lies on its way to or from ``path``."""
    return path.with_name(f".{path.name}.{run[:_DIGITS]}.{kind}")


def replace_store(new: Path, path: Path, run: str) -> None:
    """Put a finished store that :func:`aside` names ``new`` in the place of another.

    Parameters
    ----------
    new, path : pathlib.Path
    run : str
        The new store's.
    """
    if exchange(new, path):
        discard(new, path, run)
        return
    old = aside(path, run, "old")
    path.rename(old)
    new.rename(path)
    discard(old, path, run)


def discard(folder: Path, path: Path, run: str) -> None:
    """Remove a folder, which has no name of a store any more when its files begin to go."""
    doomed = aside(path, run, "discarded")
    if doomed.exists():
        shutil.rmtree(doomed)
    folder.rename(doomed)
    shutil.rmtree(doomed)


def recover(path: Path) -> None:
    """Bring to an end what jobs that were killed had on its way; the caller owns the store.

    Parameters
    ----------
    path : pathlib.Path
        Of the store.  A finished one that had not taken its place takes it; an unfinished one is
        at ``<path>.partial`` again; an old one that had left its place goes back, unless a new
        one is there; the rest is removed.
    """
    on_the_way = _asides(path)
    for folder, run in on_the_way["new"]:
        attributes = _attributes(folder)
        if str(attributes.get("run_id", "")).startswith(run):
            if not attributes.get("complete"):
                folder.rename(partial_path(path))
            elif path.exists():
                replace_store(folder, path, run)
            else:
                folder.rename(path)
        elif path.exists():
            discard(folder, path, run)
    for folder, run in on_the_way["old"]:
        if path.exists():
            discard(folder, path, run)
        else:
            folder.rename(path)
    for folder, _ in on_the_way["discarded"]:
        shutil.rmtree(folder)


def exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False where the system or the file system cannot.

    Raises
    ------
    OSError
        If one of them is not there, or the folder may not be written to.
    """
    rename = _renameat2()
    if rename is None:
        return False
    if rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _CANNOT:
        return False
    raise OSError(number, os.strerror(number), str(one), None, str(other))


@functools.cache
def _renameat2() -> Callable[..., int] | None:
    try:
        function: Any = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):  # Linux alone has it.
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p,
                         ctypes.c_uint)
    return function


def _asides(path: Path) -> dict[str, list[tuple[Path, str]]]:
    """Folders on their way, and their runs, by kind."""
    name = re.compile(rf"\.{re.escape(path.name)}\.([0-9a-f]{{{_DIGITS}}})\.(new|old|discarded)")
    folders: dict[str, list[tuple[Path, str]]] = {"new": [], "old": [], "discarded": []}
    try:
        siblings = sorted(path.parent.iterdir())
    except OSError:
        return folders
    for folder in siblings:
        match = name.fullmatch(folder.name)
        if match and folder.is_dir() and not folder.is_symlink():
            folders[match[2]].append((folder, match[1]))
    return folders


def _attributes(folder: Path) -> dict[str, Any]:
    try:
        return root_attributes(folder)
    except (DataError, UsageError):
        return {}
