"""A short part of the proof of repairs."""

from __future__ import annotations

from pathlib import Path

from tests.faults.repairs import run


def test_what_is_repaired_and_resumed_is_as_before(tmp_path: Path) -> None:
    counts = run(1, tmp_path, kinds=["predictions"],
                 only=["prediction/logit", "native_height", "reference/label", "patient"])
    assert counts == {"as before": 3, "refused": 1}
