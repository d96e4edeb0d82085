"""Workers end with their parent, and leave signals to it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from saltrust.analysis.scores.workers import executor

#: Starts two workers, says who they are, and waits to be killed.
_PARENT = """
import os, time
from saltrust.analysis.scores.workers import executor
if __name__ == "__main__":
    with executor(2, None) as pool:
        futures = [pool.submit(os.getpid) for _ in range(2)]
        waiting = [pool.submit(time.sleep, 60) for _ in range(2)]
        print(*{future.result() for future in futures}, flush=True)
        time.sleep(60)
"""


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _wait_until_gone(pids: list[int]) -> list[int]:
    until = time.monotonic() + 20
    while (alive := [pid for pid in pids if _lives(pid)]) and time.monotonic() < until:
        time.sleep(0.02)
    return alive


def test_a_killed_parent_takes_its_workers_with_it(tmp_path: Path) -> None:
    program = tmp_path / "parent.py"
    program.write_text(_PARENT)
    parent = subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, text=True,
                              env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert parent.stdout is not None
    workers = [int(pid) for pid in parent.stdout.readline().split()]
    assert workers
    assert [pid for pid in workers if not _lives(pid)] == []
    for pid in workers:
        os.kill(pid, signal.SIGINT)  # As Ctrl-C does to the whole group.
        os.kill(pid, signal.SIGTERM)
    parent.kill()
    # Not until its output ends, which workers that live on would hold open.
    parent.wait()
    parent.stdout.close()
    alive = _wait_until_gone(workers)
    for pid in alive:
        os.kill(pid, signal.SIGKILL)
    assert alive == []


def test_an_interrupt_does_not_wait_for_what_is_left_to_do() -> None:
    began = []

    def interrupted() -> None:
        with executor(1, None) as pool:
            pool.submit(os.getpid).result()
            for _ in range(3):
                pool.submit(time.sleep, 30)
            began.extend(child.pid for child in multiprocessing.active_children())
            raise KeyboardInterrupt

    before = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert began
    assert _wait_until_gone(began) == []
    # Three times thirty seconds of work lay there.
    assert time.monotonic() - before < 30
