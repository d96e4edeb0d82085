"""Commands in forked processes that are struck by a signal, at a moment or before a write.

The parent has imported everything and reads and writes no store: a fork costs milliseconds, and
no thread or lock of the parent matters.
"""

from __future__ import annotations

import builtins
import importlib
import io
import itertools
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from saltrust import __main__ as program
from saltrust.cache import replacing

_OF_IMPORTS = ("saltrust.cli", "saltrust.datasets.registry", "saltrust.study_file",
               "saltrust.datasets.phantom.collection", "saltrust.cache.reference")
#: The last is what a process that may not read the interpreter's folder would look for there.
_OF_ALL = ("saltrust.generate.job", "saltrust.training.tasks.classifier",
           "saltrust.analysis.protocols.study", "saltrust.report.page.page", "email.policy")
#: Longest that a command of the harness may take.
_SECONDS = 120


def prepare(*, models: bool) -> None:
    """Import what commands need, before the first fork; models need torch."""
    for name in _OF_IMPORTS:
        importlib.import_module(name)
    # What xarray imports with its first data set is imported once.
    xr.Dataset(coords={"image": ["one"]})
    if not models:
        return
    import torch

    from saltrust.models.torchvision_operators import import_torchvision

    torch.set_num_threads(1)
    import_torchvision()
    for name in _OF_ALL:
        importlib.import_module(name)


@dataclass(frozen=True)
class Fault:
    """A signal that strikes a command.

    Attributes
    ----------
    number : int
        Of the signal.
    before_write : int, optional
        Before which call that changes a folder or opens a file to write, counted from 1.
    after : float, optional
        After how many seconds, in its place.
    """

    number: int
    before_write: int | None = None
    after: float | None = None

    def __str__(self) -> str:
        when = (f"after {self.after:.3f} s" if self.after is not None else
                f"before write {self.before_write}")
        return f"{signal.Signals(self.number).name} {when}"


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit status (negative: by a signal), what it said, how long it took."""

    status: int
    text: str
    seconds: float
    writes: int


class Running:
    """A command in a process group of its own."""

    def __init__(self, arguments: Sequence[str], folder: Path, fault: Fault | None = None,
                 slowly: float = 0.0, user: int | None = None) -> None:
        self._user = user
        self._folder = folder
        self._log = folder.with_name(folder.name + f".{time.monotonic_ns()}.log")
        self._log.touch()
        ready, self._ready = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self._become(arguments, fault, slowly)
        os.close(self._ready)
        # Signals before it is the program would say nothing of it.
        os.read(ready, 1)
        os.close(ready)
        self._began = time.monotonic()
        if fault is not None and fault.after is not None:
            self._strike(fault)

    def _strike(self, fault: Fault) -> None:
        while time.monotonic() - self._began < (fault.after or 0):
            if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                return
            time.sleep(0.002)
        os.kill(self.pid, fault.number)

    def _become(self, arguments: Sequence[str], fault: Fault | None, slowly: float) -> None:
        status, counter = 1, itertools.count(1)
        count = 0

        def strike() -> None:
            nonlocal count
            count = next(counter)
            if slowly:
                time.sleep(slowly)
            if fault is not None and fault.before_write == count:
                os.kill(os.getpid(), fault.number)

        try:
            os.setsid()
            os.chdir(self._folder)
            log = os.open(self._log, os.O_CREAT | os.O_WRONLY)
            os.dup2(log, 1)
            os.dup2(log, 2)
            sys.argv = ["saltrust", *arguments]
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, program.end)
            os.close(self._ready)
            if self._user is not None and os.geteuid() == 0:
                os.setuid(self._user)
            count_writes(strike)
            program.run()
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        except BaseException:  # noqa: BLE001 - as the interpreter would
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os.write(2, f"\nwrites: {count}\n".encode())
            os._exit(status)

    def wait(self) -> Ended:
        """Until the command has ended; one that does not is a fault of its own."""
        until = time.monotonic() + _SECONDS
        while True:
            pid, state = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > until:
                os.killpg(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                return Ended(1, "Traceback: it never ended", _SECONDS, 0)
            time.sleep(0.002)
        seconds = time.monotonic() - self._began
        text, _, writes = self._log.read_text(errors="replace").rpartition("\nwrites: ")
        if not writes.strip().isdigit():
            text, writes = text + writes, "0"
        self._log.unlink()
        return Ended(os.waitstatus_to_exitcode(state), text, seconds, int(writes))

    def survivors(self) -> list[int]:
        """Processes of the command that live a while after it has ended."""
        until = time.monotonic() + 5
        while (alive := [pid for pid in _processes() if _session(pid) == self.pid]):
            if time.monotonic() > until:
                break
            time.sleep(0.05)
        return alive


def call(arguments: Sequence[str], folder: Path, fault: Fault | None = None, *,
         user: int | None = None) -> Ended:
    """Run a command to its end, or to the fault's; as root, as another user."""
    return Running(arguments, folder, fault, user=user).wait()


def count_writes(strike: Callable[[], None]) -> None:
    """Call ``strike`` before every call that changes a folder or opens a file to write."""
    def before(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            strike()
            return function(*arguments, **options)

        return wrapped

    for name in ("rename", "replace", "unlink", "remove", "rmdir", "mkdir"):
        setattr(os, name, before(getattr(os, name)))
    open_file, open_number = io.open, os.open

    def opened(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if set(mode) & set("wax+"):
            strike()
        return open_file(file, mode, *arguments, **options)

    def opened_number(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        if flags & os.O_CREAT:
            strike()
        return open_number(path, flags, *arguments, **options)

    io.open = builtins.open = opened  # type: ignore[assignment]
    os.open = opened_number  # type: ignore[assignment]
    exchange = replacing._renameat2()
    if exchange is not None:
        struck = before(exchange)
        replacing._renameat2 = lambda: struck  # type: ignore[assignment]


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _session(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[3])
