"""A short part of the proof of damage."""

from __future__ import annotations

from tests.faults.damage import run


def test_no_damage_goes_unseen() -> None:
    counts = run(30, 15, seed=4, parts=("radiograph",), verified=3)
    assert counts["faults"] == 0, counts
    assert sum(counts.values()) == 45
