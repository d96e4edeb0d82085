"""Files that are there whole or not at all, and what is said where they cannot be written."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from saltrust.errors import DataError, SaltrustError
from saltrust.processes import Process, marked

#: Of the name of a file, with room for suffixes and for what is written beside it meanwhile.
_MOST_STEM_BYTES = 180
_FULL = (errno.ENOSPC, errno.EDQUOT)
#: Of a place that one may not write to.
_REFUSED = (errno.EACCES, errno.EROFS, errno.EPERM)


@dataclass(frozen=True)
class Advice:
    """What the reader is told to do where a file cannot be written.

    Attributes
    ----------
    after_space : str
        Once there is space again on a full disk; follows "free some space and".
    elsewhere : str
        Where the place itself is at fault.
    error : type
        Raised where the place is at fault; a full disk is always a
        :class:`~saltrust.errors.DataError`.
    """

    after_space: str = "start again"
    elsewhere: str = "check the folder"
    error: type[SaltrustError] = DataError


def writing_error(error: OSError, path: Path, advice: Advice) -> SaltrustError:
    """Put the failure to write a file into one sentence.

    Parameters
    ----------
    error : OSError
        As it came from the system.
    path : pathlib.Path
        What could not be written: a file, or the folder of several.
    advice : Advice
        The way out.

    Returns
    -------
    SaltrustError
        To be raised.

    Examples
    --------
    >>> writing_error(OSError(errno.ENOSPC, "No space left"), Path("a.csv"), Advice())
    DataError('the disk is full while writing a.csv; free some space and start again')
    >>> writing_error(OSError(errno.EROFS, "Read-only"), Path("a.csv"), Advice())
    DataError('a.csv cannot be written (Read-only); check the folder')
    """
    if error.errno in _FULL:
        return DataError(f"the disk is full while writing {path}; free some space and "
                         f"{advice.after_space}")
    return advice.error(f"{path} cannot be written ({error.strerror or error}); "
                        f"{advice.elsewhere}")


def is_about_the_place(error: OSError) -> bool:
    """Whether a disk is full or a place may not be written to, and not anything else."""
    return error.errno in _FULL or is_refused(error)


def is_refused(error: OSError) -> bool:
    """Whether a place may not be written to."""
    return error.errno in _REFUSED


@contextmanager
def whole_file(path: Path, advice: Advice = Advice()) -> Iterator[Path]:
    """Write a file so that whoever opens ``path`` finds the old content or all of the new.

    Parameters
    ----------
    path : pathlib.Path
        Its folder is made where it does not exist.
    advice : Advice
        For the sentence where it cannot be written.

    Yields
    ------
    pathlib.Path
        A temporary file of the same folder to write to.  When the block ends it reaches the
        disk and takes the place of ``path`` in one step; if the block fails it is removed and
        ``path`` is as before.

    Raises
    ------
    SaltrustError
        In place of any OSError of the block (see :func:`writing_error`).
    """
    aside: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=_aside_prefix(path), suffix=".tmp", dir=path.parent)
        aside = Path(name)
        os.close(handle)
        yield aside
        _reach_the_disk(aside)
        # mkstemp keeps the file to its owner; results are for sharing, as far as umask allows.
        umask = os.umask(0)
        os.umask(umask)
        aside.chmod(0o666 & ~umask)
        aside.replace(path)
    except OSError as error:
        raise writing_error(error, path, advice) from error
    finally:
        if aside is not None:
            # Where it cannot be removed, what went wrong before is what is to be said.
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)


@contextmanager
def whole_files(folder: Path, advice: Advice = Advice()) -> Iterator[Path]:
    """Write several files of a folder, none of which appears before all of them are made.

    Parameters
    ----------
    folder : pathlib.Path
        Made where it does not exist; files in it that are not written anew stay.
    advice : Advice
        For the sentence where they cannot be written.

    Yields
    ------
    pathlib.Path
        A temporary folder beside it to write to.  When the block ends every file below it takes
        its place below ``folder``; if the block fails nothing is changed.

    Raises
    ------
    SaltrustError
        In place of any OSError of the block (see :func:`writing_error`).
    """
    aside: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=_aside_prefix(folder), suffix=".tmp",
                                      dir=folder.parent))
        yield aside
        written = [path for path in sorted(aside.rglob("*")) if path.is_file()]
        for path in written:
            _reach_the_disk(path)
        for path in written:
            target = folder / path.relative_to(aside)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
    except OSError as error:
        raise writing_error(error, folder, advice) from error
    finally:
        if aside is not None:
            shutil.rmtree(aside, ignore_errors=True)


def write_bytes(path: Path, content: bytes, advice: Advice = Advice()) -> None:
    """Write a file whole or not at all (:func:`whole_file`).

    Parameters
    ----------
    path : pathlib.Path
    content : bytes
    advice : Advice
        For the sentence where it cannot be written.

    Raises
    ------
    SaltrustError
        If the disk is full or the place cannot be written to; ``path`` is as before.
    """
    with whole_file(path, advice) as aside:
        aside.write_bytes(content)


def write_text(path: Path, text: str, advice: Advice = Advice()) -> None:
    """Write a text in UTF-8 whole or not at all (:func:`whole_file`).

    Parameters
    ----------
    path : pathlib.Path
    text : str
    advice : Advice
        For the sentence where it cannot be written.

    Raises
    ------
    SaltrustError
        If the disk is full or the place cannot be written to; ``path`` is as before.
    """
    with whole_file(path, advice) as aside:
        # Names of files may hold halves of characters, which no text in UTF-8 has.
        aside.write_text(text, encoding="utf-8", errors="backslashreplace")


def stems(names: Iterable[str]) -> dict[str, str]:
    """Names of files, without suffixes, for names that labels of data are part of.

    Parameters
    ----------
    names : iterable of str

    Returns
    -------
    dict of str to str
        For every name letters, digits, ``_`` and ``-`` of it, no longer than a file system takes,
        and no two alike, not even where capitals do not count.

    Examples
    --------
    >>> stems(["utility_Edema", "utility_a/b", "utility_a b"])
    {'utility_Edema': 'utility_Edema', 'utility_a/b': 'utility_a-b', 'utility_a b': 'utility_a-b-2'}
    """
    result: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        plain = "".join(c if c.isalnum() or c in "_-" else "-" for c in name)
        plain = plain.encode("utf-8", "replace")[:_MOST_STEM_BYTES].decode("utf-8", "ignore")
        stem, number = plain, 1
        while stem.casefold() in taken:
            number += 1
            stem = f"{plain}-{number}"
        taken.add(stem.casefold())
        result[name] = stem
    return result


def remove_leftovers(folder: Path, pattern: str) -> None:
    """Remove what a process that was killed was writing into a folder.

    Parameters
    ----------
    folder : pathlib.Path
    pattern : str
        Names of the files that were meant, with ``*`` for any text.
    """
    for path in folder.glob(f".{pattern}.*.tmp"):
        path.unlink()


def _aside_prefix(path: Path) -> str:
    """Beginning of the name that ``path`` has while it is written, with the process that does.

    What processes that have ended were writing there is removed.
    """
    name = re.compile(rf"\.{re.escape(path.name)}\.(\d+-\w+-[0-9a-f]{{8}})\.\w{{8}}\.tmp")
    for sibling in path.parent.iterdir():
        match = name.fullmatch(sibling.name)
        if match and marked(match[1]) is False:
            if sibling.is_dir():
                shutil.rmtree(sibling, ignore_errors=True)
            else:
                sibling.unlink(missing_ok=True)
    return f".{path.name}.{Process.current().mark}."


def _reach_the_disk(path: Path) -> None:
    with path.open("r+b") as stream:
        os.fsync(stream.fileno())
