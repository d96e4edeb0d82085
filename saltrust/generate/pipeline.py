"""Three stages over a sequence of batches, each working while the others do."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Batch = TypeVar("Batch")
Loaded = TypeVar("Loaded")
Computed = TypeVar("Computed")


def overlap(
    batches: Iterable[Batch],
    load: Callable[[Batch], Loaded],
    compute: Callable[[Batch, Loaded], Computed],
    store: Callable[[Batch, Computed], None],
    *,
    depth: int = 2,
) -> Generator[Batch, None, None]:
    """Load ahead, compute here, store behind, all in the order of the batches.

    ``load`` and ``store`` have one thread each, so neither runs twice at once.  At most
    ``depth`` batches are loaded ahead and as many wait to be stored: memory does not grow with
    the number of batches.

    Parameters
    ----------
    batches : iterable
    load, compute, store : callable
        ``compute`` runs in the calling thread.
    depth : int
        At least 1.

    Yields
    ------
    Batch
        Each batch once it is stored.

    Raises
    ------
    Exception
        Whatever a stage raises, at the latest when its batch is due.  After it nothing more
        is stored but the batch that is being stored already.

    Examples
    --------
    >>> squares = []
    >>> done = overlap([1, 2, 3], float, lambda _, x: x * x, lambda _, y: squares.append(y))
    >>> list(done), squares
    ([1, 2, 3], [1.0, 4.0, 9.0])
    """
    waiting = iter(batches)
    loading: deque[tuple[Batch, Future[Loaded]]] = deque()
    storing: deque[tuple[Batch, Future[None]]] = deque()
    loader = ThreadPoolExecutor(1, thread_name_prefix="load")
    storer = ThreadPoolExecutor(1, thread_name_prefix="store")

    stopped = threading.Event()

    def store_unless_stopped(batch: Batch, computed: Computed) -> None:
        if stopped.is_set():
            return
        try:
            store(batch, computed)
        except BaseException:
            stopped.set()
            raise

    def load_ahead() -> None:
        for batch in waiting:
            loading.append((batch, loader.submit(load, batch)))
            if len(loading) >= depth:
                return

    try:
        load_ahead()
        while loading:
            batch, loaded = loading.popleft()
            ready = loaded.result()
            load_ahead()
            computed = compute(batch, ready)
            storing.append((batch, storer.submit(store_unless_stopped, batch, computed)))
            while len(storing) > depth or (storing and storing[0][1].done()):
                yield _finished(storing)
        while storing:
            yield _finished(storing)
    finally:
        stopped.set()
        for executor in (loader, storer):
            executor.shutdown(wait=True, cancel_futures=True)


def _finished(storing: deque[tuple[Batch, Future[None]]]) -> Batch:
    batch, stored = storing.popleft()
    stored.result()
    return batch
