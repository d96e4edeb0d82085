"""Which process wrote a file, and whether it is still running."""

from __future__ import annotations

import functools
import hashlib
import os
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A process of this or of another machine, told from a later one with the same number.

    Attributes
    ----------
    host : str
    pid : int
    started : str
        When, as the system counts it; empty where it does not say.
    """

    host: str
    pid: int
    started: str

    @classmethod
    def current(cls) -> Process:
        """The process that asks."""
        pid = os.getpid()
        return cls(_host(), pid, _started(pid))

    def is_running(self) -> bool | None:
        """Whether it is; None of a process of another machine."""
        if self.host != _host():
            return None
        if self.pid <= 0:
            return False
        try:
            os.kill(self.pid, 0)
        except PermissionError:
            pass  # It is somebody else's.
        except (OSError, OverflowError):
            return False
        now = _started(self.pid)
        return now != _ZOMBIE and (not self.started or not now or now == self.started)

    @property
    def mark(self) -> str:
        """A short text for names of files, which :func:`marked` reads."""
        return f"{self.pid}-{self.started or 0}-{_short(self.host)}"


def marked(text: str) -> bool | None:
    """Whether the process of a mark is running.

    Parameters
    ----------
    text : str
        :attr:`Process.mark` of some process.

    Returns
    -------
    bool or None
        None where this cannot be known: it is of another machine, or no mark.

    Examples
    --------
    >>> marked(Process.current().mark)
    True
    >>> marked("of-nobody") is None
    True
    """
    try:
        pid, started, host = text.split("-")
        process = Process(_host(), int(pid), "" if started == "0" else started)
    except ValueError:
        return None
    return process.is_running() if host == _short(_host()) else None


#: State of a process that has ended and that its parent has not asked for.
_ZOMBIE = "ended"


def _started(pid: int) -> str:
    """Start of a process in ticks since the machine was started; empty where it is not known."""
    try:
        # What is in parentheses is the name of the program, with spaces and parentheses.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="latin-1").rpartition(")")[2].split()
    except OSError:
        return ""
    if len(fields) < 20:
        return ""
    return _ZOMBIE if fields[0] in "ZX" else fields[19]


@functools.cache
def _host() -> str:
    """Name of this machine, with a few digits that change when it is started again."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        boot = ""
    return f"{socket.gethostname()}/{boot[:8]}" if boot else socket.gethostname()


def _short(host: str) -> str:
    return hashlib.sha256(host.encode()).hexdigest()[:8]
