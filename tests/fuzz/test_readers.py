"""A short, seeded part of ``make fuzz``, and all that ever failed there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from saltrust.errors import DataError
from tests.fuzz import frame

#: Of each target; `make fuzz` takes 10,000.
EXAMPLES = 20

TARGETS = frame.all_targets()


@pytest.mark.parametrize("name", TARGETS)
def test_whatever_is_read_is_accepted_or_refused_in_a_sentence(name: str) -> None:
    wrong = []

    def each(value: Any) -> None:
        outcome = frame.try_value(TARGETS[name], value)
        if outcome.wrong:
            wrong.append((value, outcome.detail))

    assert frame.try_many(TARGETS[name], EXAMPLES, 0, each) > 0
    assert wrong == []


@pytest.mark.parametrize("name", sorted({name for name, _ in frame.kept_values()}))
def test_what_once_failed_does_not_fail(name: str) -> None:
    for target, value in frame.kept_values():
        if target == name:
            outcome = frame.try_value(TARGETS[name], value)
            assert not outcome.wrong, outcome.detail


def _refuses_in_passing(_folder: Path, value: int) -> None:
    if value > 10:
        raise DataError("too large; take less")


def _breaks(_folder: Path, value: int) -> None:
    if value > 10:
        raise KeyError(value)


def _asks_for_too_much(_folder: Path, _value: int) -> None:
    try:
        raise MemoryError
    except MemoryError as error:
        raise DataError("cannot be read; take another") from error


@pytest.mark.parametrize(("reader", "kinds"), [
    (_refuses_in_passing, {"accepted", "refused"}), (_breaks, {"accepted", "uncaught"}),
    (_asks_for_too_much, {"memory"})])
def test_the_frame_sees_what_is_wrong(reader: Any, kinds: set[str]) -> None:
    target = (st.integers(0, 20), reader)
    seen = set()
    frame.try_many(target, 20, 0, lambda value: seen.add(frame.try_value(target, value).kind))
    assert seen == kinds


def test_the_frame_sees_what_takes_long() -> None:
    def spins(_folder: Path, _value: int) -> None:
        while True:
            pass

    assert frame.try_value((st.just(0), spins), 0, most_seconds=0.05).kind == "late"


@pytest.mark.parametrize("value", [
    {"a": [b"\x00", 1, -2.5, None]}, "\x1b[2J", float("inf"), (1, "ü")])
def test_values_are_kept_as_text(value: Any, tmp_path: Path) -> None:
    path = frame.keep("module.target", value, tmp_path)
    assert frame.read_value(path.read_text(encoding="utf-8")) == value
