"""One writer at a time: a lock beside what is written, which names who holds it.

The lock is the kernel's (``flock``) and ends with its process, however that ends; the file tells
people, and the next job, who it was.  It is removed by whoever holds it, at the end.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import threading
import time
import weakref
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from saltrust.cache.store import partial_path
from saltrust.errors import UsageError
from saltrust.files import Advice, is_refused, writing_error
from saltrust.processes import Process

try:
    import fcntl
except ImportError:  # Windows has none.
    fcntl = None  # type: ignore[assignment]

_log = logging.getLogger(__name__)

#: What `flock` says on file systems that have no locks.
_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
#: Without locks: so long after writing a name, it is read again to see whose it is.
_SECONDS_TO_SETTLE = 0.05

_ADVICE = Advice("start again", "choose another output or change its permissions")


class Owner:
    """The right to write to one place, until it is released or the process ends.

    Parameters
    ----------
    lock : pathlib.Path
        File that names the owner.
    handle : int or None
        Descriptor of the locked file; None where nothing could be locked.
    facts : dict
        What the file says.
    """

    def __init__(self, lock: Path, handle: int | None, facts: dict[str, Any]) -> None:
        self.lock = lock
        self.facts = facts
        self._handle = handle
        self._pid = os.getpid()
        # Threads of one job ask and tell.
        self._busy = threading.Lock()
        # Of an owner that is forgotten, after an exception: the place is free again.
        self._closing = weakref.finalize(self, _close, handle) if handle is not None else None
        _OWNERS.add(self)

    def note(self, **facts: Any) -> None:
        """Say more in the file, such as the run."""
        self.facts |= facts
        with self._busy:
            if self._handle is not None:
                _write(self._handle, self.facts)

    def is_challenged(self) -> bool:
        """Whether somebody else's lock lies at the place, or this one is gone."""
        if self._handle is None:
            return False
        try:
            return not _is_same_file(self._handle, self.lock)
        except OSError:
            return True

    def release(self) -> None:
        """Remove the file and let others in; nothing more where that was done before."""
        with self._busy:
            handle, self._handle = self._handle, None
            if handle is None or self._pid != os.getpid():
                return
            with contextlib.suppress(OSError):
                if _is_same_file(handle, self.lock):
                    self.lock.unlink()
            if self._closing is not None:
                self._closing()

    def forget(self) -> None:
        """In a process that was forked: leave the lock to the parent."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
        if self._closing is not None:
            self._closing.detach()


_OWNERS: weakref.WeakSet[Owner] = weakref.WeakSet()


def _leave_to_parent() -> None:
    for owner in list(_OWNERS):
        owner.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)


@contextlib.contextmanager
def owned(path: str | Path) -> Iterator[Owner]:
    """Be the only writer of a store, at its name and at ``<path>.partial``, for a while.

    Parameters
    ----------
    path : path
        Where the finished store is or will be.

    Yields
    ------
    Owner

    Raises
    ------
    UsageError
        If another process is; the sentence names it.
    """
    owner = take_store(path)
    try:
        yield owner
    finally:
        owner.release()


def take_store(path: str | Path) -> Owner:
    """As :func:`owned`, until the owner is released."""
    partial = partial_path(path)
    return take(partial.with_name(partial.name + ".lock"), f"{partial}", "choose another output")


def take(lock: Path, what: str, otherwise: str) -> Owner:
    """Lock a place for this process.

    Parameters
    ----------
    lock : pathlib.Path
        File to lock; its folder exists.
    what : str
        The place, for the sentence.
    otherwise : str
        What one can do but wait.

    Returns
    -------
    Owner
        Where nobody may write a file, nobody has to be kept out: then it holds nothing.

    Raises
    ------
    UsageError
        If another process, or another thread of this one, holds the place.
    DataError
        If the disk is full.
    """
    process = Process.current()
    facts = {"host": process.host, "process": process.pid, "process_start": process.started,
             "since": datetime.now(UTC).isoformat(timespec="seconds")}
    handle = None
    try:
        while handle is None:
            handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
            state = _lock(handle)
            if state is _HELD:
                raise _refusal(_read(lock), lock, what, otherwise)
            if state is _UNKNOWN:
                _settle(handle, lock, what, otherwise, facts)
            elif not _is_same_file(handle, lock):
                # Its owner has removed it between our opening and our locking it.
                os.close(handle)
                handle = None
        _write(handle, facts)
    except OSError as error:
        if handle is not None:
            os.close(handle)
        if is_refused(error):
            return Owner(lock, None, facts)
        raise writing_error(error, lock, _ADVICE) from error
    except UsageError:
        if handle is not None:
            os.close(handle)
        raise
    return Owner(lock, handle, facts)


_LOCKED, _HELD, _UNKNOWN = "locked", "held", "unknown"


def _lock(handle: int) -> str:
    if fcntl is None:
        return _UNKNOWN
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _HELD
    except OSError as error:
        if error.errno in _WITHOUT_LOCKS:
            return _UNKNOWN
        raise
    return _LOCKED


def _settle(handle: int, lock: Path, what: str, otherwise: str, facts: dict[str, Any]) -> None:
    """Where the file system has no locks: go by what the file says, and say so."""
    before = _read(lock)
    if before and _may_run(before):
        raise _refusal(before, lock, what, otherwise)
    _write(handle, facts)
    # Of two that came at once the later has overwritten the earlier.
    time.sleep(_SECONDS_TO_SETTLE)
    now = _read(lock)
    if now != facts:
        raise _refusal(now, lock, what, otherwise)
    _log.warning("the file system of %s cannot lock files: a second writer is told from %s, and "
                 "one that starts in the same moment on another machine may not be seen", what,
                 lock)


def _may_run(facts: dict[str, Any]) -> bool:
    """Whether the process that a file names runs, or may run on another machine."""
    try:
        process = Process(str(facts["host"]), int(facts["process"]), str(facts["process_start"]))
    except (KeyError, ValueError, TypeError):
        return False
    return process.is_running() is not False


def _refusal(facts: dict[str, Any], lock: Path, what: str, otherwise: str) -> UsageError:
    if not facts:
        return UsageError(f"{what} is being written by another process; wait until it has ended, "
                          f"or {otherwise}")
    host = str(facts.get("host", "")).partition("/")[0]
    run = f", run {facts['run_id']}" if "run_id" in facts else ""
    elsewhere = ""
    if facts.get("host") != Process.current().host:
        elsewhere = f"; if nothing runs there any more, remove {lock}"
    return UsageError(f"{what} is being written by process {facts.get('process')} on {host} since "
                      f"{facts.get('since')}{run}; wait until it has ended, or {otherwise}"
                      f"{elsewhere}")


def _read(lock: Path) -> dict[str, Any]:
    try:
        facts = json.loads(lock.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _write(handle: int, facts: dict[str, Any]) -> None:
    text = json.dumps(facts).encode()
    os.lseek(handle, 0, os.SEEK_SET)
    os.write(handle, text)
    os.ftruncate(handle, len(text))


def _is_same_file(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _close(handle: int) -> None:
    with contextlib.suppress(OSError):
        os.close(handle)
