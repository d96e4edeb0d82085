"""Loading ahead, computing, storing behind."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from saltrust.cache.schema import Status
from saltrust.generate.network_store import map_status
from saltrust.generate.pipeline import overlap


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(), max_size=12), st.integers(1, 4))
def test_everything_passes_once_and_in_order(batches: list[int], depth: int) -> None:
    stored: list[tuple[int, int]] = []
    done = list(overlap(batches, lambda x: x + 1, lambda _, x: x * 2,
                        lambda batch, x: stored.append((batch, x)), depth=depth))
    assert done == batches
    assert stored == [(x, (x + 1) * 2) for x in batches]


def test_the_stages_overlap() -> None:
    """Load, compute and store of three neighbours wait for each other: only together they go."""
    meeting = threading.Barrier(3, timeout=10)

    def meet(batch: int, first: int, last: int) -> None:
        if first <= batch <= last:
            meeting.wait()

    # While batch k is computed, k + 1 is loaded and k - 1 stored.
    done = overlap(range(6), lambda b: meet(b, 2, 5), lambda b, _: meet(b, 1, 4),
                   lambda b, _: meet(b, 0, 3), depth=1)
    assert list(done) == list(range(6))


def test_memory_does_not_grow_with_the_number_of_batches() -> None:
    alive: set[int] = set()
    most = 0

    def load(batch: int) -> int:
        nonlocal most
        alive.add(batch)
        most = max(most, len(alive))
        return batch

    def store(batch: int, _: int) -> None:
        time.sleep(0.002)
        alive.discard(batch)

    list(overlap(range(60), load, lambda _, x: x, store, depth=2))
    assert most <= 7


@pytest.mark.parametrize("stage", ["load", "compute", "store"])
def test_an_error_in_any_stage_comes_through_and_stops_the_rest(stage: str) -> None:
    stored: list[int] = []

    def work(name: str, batch: int) -> int:
        if name == stage and batch == 5:
            raise KeyError(stage)
        return batch

    def store(batch: int, _: int) -> None:
        work("store", batch)
        stored.append(batch)

    done = []
    threads = threading.active_count()
    stages = overlap(range(100), lambda batch: work("load", batch),
                     lambda batch, _: work("compute", batch), store, depth=2)
    with pytest.raises(KeyError, match=stage):
        for batch in stages:
            done.append(batch)  # noqa: PERF402 - what was done before the error counts
    assert done == list(range(len(done)))
    # Nothing is stored twice, out of order, or after what failed.
    assert stored == list(range(len(stored)))
    assert len(done) <= len(stored) <= 5
    assert threading.active_count() == threads


def test_a_consumer_that_leaves_stops_the_threads() -> None:
    threads = threading.active_count()
    stages = overlap(range(100), float, lambda _, x: x, lambda _b, _x: None)
    assert next(stages) == 0
    stages.close()
    assert threading.active_count() == threads


@settings(deadline=None, max_examples=50)
@given(hnp.arrays(np.float32, (2, 3, 2, 2), elements=st.sampled_from(
    [0.0, 1.0, -1.0, 1e-40, float("nan"), float("inf"), -float("inf")])))
def test_status_by_definition(maps: np.ndarray) -> None:
    status = map_status(maps)
    assert status.dtype == np.uint8
    for at in np.ndindex(2, 3):
        values = maps[at].ravel().tolist()
        if not all(np.isfinite(values)):
            expected = Status.NONFINITE
        elif len(set(values)) == 1:
            expected = Status.FLAT
        else:
            expected = Status.OK
        assert status[at] == expected
