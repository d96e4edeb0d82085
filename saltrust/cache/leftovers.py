"""Folders in which kept scores are made, beside their store, and those that kills have left."""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from saltrust.cache.schema import SCORES
from saltrust.processes import Process, marked

#: What another machine was writing so long ago is not being written any more.
_SECONDS_OF_OTHERS = 24 * 3600


@contextmanager
def folder_for_scores(store: Path) -> Iterator[Path]:
    """A folder beside the store that is removed at the end, and is known to be ours if killed.

    Parameters
    ----------
    store : pathlib.Path

    Yields
    ------
    pathlib.Path

    Raises
    ------
    OSError
        Where it cannot be made.
    """
    folder = Path(tempfile.mkdtemp(prefix=f".{store.name}.{SCORES}.{Process.current().mark}.",
                                   dir=store.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep_leftovers(store: Path) -> None:
    """Remove the folders of :func:`folder_for_scores` whose process has ended.

    Parameters
    ----------
    store : pathlib.Path

    Notes
    -----
    Of earlier versions, whose folders do not name a process, none is being written to while this
    one is at work; of other machines, those of yesterday are removed.
    """
    name = re.compile(rf"\.{re.escape(store.name)}\.{SCORES}\."
                      r"(?:(\d+-\w+-[0-9a-f]{8})\.)?\w{8}")
    try:
        siblings = list(store.parent.iterdir())
    except OSError:
        return
    for folder in siblings:
        match = name.fullmatch(folder.name)
        if not match or folder.is_symlink() or not folder.is_dir():
            continue
        runs = False if match[1] is None else marked(match[1])
        if runs is None:
            runs = _age(folder) < _SECONDS_OF_OTHERS
        if not runs:
            shutil.rmtree(folder, ignore_errors=True)


def _age(folder: Path) -> float:
    try:
        return time.time() - folder.stat().st_mtime
    except OSError:
        return 0.0
