"""Processes are told from later ones with their number."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys

import pytest

from saltrust.processes import Process, marked


def test_this_process_runs() -> None:
    process = Process.current()
    assert process.pid == os.getpid()
    assert process.is_running() is True
    assert marked(process.mark) is True


def test_a_process_that_ended_does_not_whoever_has_its_number() -> None:
    done = subprocess.Popen([sys.executable, "-c", ""])
    assert dataclasses.replace(Process.current(), pid=done.pid, started="").is_running() in {
        True, False}  # It may be just ending.
    os.waitid(os.P_PID, done.pid, os.WEXITED | os.WNOWAIT)
    # Nobody has asked for its status yet.
    assert dataclasses.replace(Process.current(), pid=done.pid, started="").is_running() is False
    done.wait()
    assert dataclasses.replace(Process.current(), pid=done.pid).is_running() is False
    assert dataclasses.replace(Process.current(), started="1").is_running() is False
    assert dataclasses.replace(Process.current(), pid=2**40).is_running() is False
    assert dataclasses.replace(Process.current(), pid=0).is_running() is False


def test_of_other_machines_nothing_is_known() -> None:
    process = dataclasses.replace(Process.current(), host="node-7")
    assert process.is_running() is None
    assert marked(process.mark) is None


@pytest.mark.parametrize("text", ["", "abc", "1-2", "x-1-00000000", "1-2-3-4"])
def test_what_is_no_mark_says_nothing(text: str) -> None:
    assert marked(text) is None
