"""A short part of `make faults`: a few kills, and pairs of writers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_kills_lose_nothing_and_leave_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.kills", "--count", "8", "--seed", "5", "--pairs", "2",
         "--only", "import", "reimport"], cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 trials, 0 faults" in done.stdout
