"""Ctrl-C and SIGTERM: one sentence with the way to go on, and the status of the signal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from saltrust.cache.writing import StoreWriter
from saltrust.cli import main
from saltrust.cli.signals import Interrupted, interruptible
from saltrust.testing import simulate_cubes

STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}


def invoke(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    monkeypatch.setattr(sys, "argv", ["saltrust", *arguments])
    return CliRunner().invoke(main, list(arguments), catch_exceptions=False)


@pytest.mark.parametrize("number", STATUS)
@pytest.mark.parametrize("word", ["--overwrite", "--resume", ""])
def test_an_import_says_how_to_go_on(write_study: Callable[..., Path], tmp_path: Path, number: int,
                                     word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    study, path = write_study(), tmp_path / "a study.zarr"
    write, calls = StoreWriter.write, []

    def struck(writer: StoreWriter, *arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 5:
            os.kill(os.getpid(), number)
        write(writer, *arguments)

    command = ["import", "study", str(study), "-o", str(path)]
    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        patch.setattr(StoreWriter, "write", struck)
        done = invoke(monkeypatch, *command, *filter(None, [word]))
    assert done.exit_code == STATUS[signal.Signals(number)]
    assert done.stderr.splitlines()[-1] == (
        f"Error: interrupted: what is finished stays in {path}.partial; go on with "
        f"`saltrust import study {study} -o '{path}' --resume`")
    assert done.stderr.count("Error") == 1
    left = {item.name for item in tmp_path.iterdir()}
    assert left == {"a study.zarr.partial", "study.toml"}
    assert signal.getsignal(number) is before
    assert invoke(monkeypatch, *command, "--resume").exit_code == 0
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a study.zarr", "study.toml"]


def test_an_analysis_says_that_it_is_to_be_repeated(tmp_path: Path,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    cubes = tmp_path / "study.zarr"
    simulate_cubes(cubes, patients=6, parts=(), grid=16)

    def struck(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("saltrust.analysis.scores.scan._blocks", struck)
    done = invoke(monkeypatch, "analyze", "localization", str(cubes), "--no-keep")
    assert (done.exit_code, done.stdout) == (143, "")
    assert done.stderr.splitlines()[-1] == (
        "Error: interrupted before it was done; repeat the command, which uses what was kept of "
        "the maps")


def test_an_interrupt_that_went_nowhere_comes_again() -> None:
    class Swallows:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)

    with pytest.raises(Interrupted) as stopped, interruptible():
        swallowing = Swallows()
        del swallowing
        time.sleep(5)
    assert stopped.value.exit_code == 143


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with interruptible():
            os.kill(os.getpid(), signal.SIGTERM)
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_second_signal_ends_what_takes_too_long() -> None:
    code = ("import os, signal, time\n"
            "from saltrust.cli.signals import interruptible\n"
            "with interruptible():\n"
            "    try:\n"
            "        os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)\n"
            "    finally:\n"
            "        os.kill(os.getpid(), signal.SIGINT); time.sleep(9)\n")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "")


def test_the_program_ends_quietly_before_it_has_begun() -> None:
    code = ("import os, signal, sys\n"
            "import saltrust.__main__ as program\n"
            "class Strikes:\n"
            "    def find_spec(self, name, path=None, target=None):\n"
            "        if name == 'saltrust.cli':\n"
            "            os.kill(os.getpid(), signal.SIGINT)\n"
            "sys.meta_path.insert(0, Strikes())\n"
            "program.run()\n")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "")
