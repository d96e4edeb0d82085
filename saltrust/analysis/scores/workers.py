"""Who passes over the pixels: processes of this machine, or the workers of a Dask scheduler."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

import zarr

from saltrust.errors import UsageError

_SECONDS_TO_CONNECT = 10


@contextmanager
def executor(workers: int, scheduler: str | None) -> Iterator[Executor]:
    """Start processes, or connect to a scheduler, for as long as the context lasts.

    Parameters
    ----------
    workers : int
        Processes.
    scheduler : str, optional
        Address of a Dask scheduler in their place.

    Yields
    ------
    concurrent.futures.Executor

    Raises
    ------
    UsageError
        If ``workers`` is below 1, a process dies, or the scheduler or its workers are lost.
    """
    if scheduler is None:
        with _processes(workers) as pool:
            yield pool
    else:
        with _cluster(scheduler) as pool:
            yield pool


@contextmanager
def _processes(workers: int) -> Iterator[Executor]:
    if workers < 1:
        raise UsageError(f"workers = {workers} must be at least 1")
    earlier = set(multiprocessing.active_children())
    # Forked processes would inherit the threads and locks of the Zarr reader.
    pool = _Workers(workers, multiprocessing.get_context("spawn"), initializer=_begin)
    try:
        with pool:
            try:
                yield pool
            except BaseException:
                # Nobody waits for what is still to be done.
                pool.shutdown(wait=False, cancel_futures=True)
                for worker in set(multiprocessing.active_children()) - earlier:
                    worker.kill()
                raise
    except BrokenExecutor:
        raise UsageError(
            f"one of {workers} worker processes died: where memory ran out use fewer workers, and "
            "let a script call saltrust under `if __name__ == \"__main__\":`") from None


class _Workers(ProcessPoolExecutor):
    """Processes that leave signals to their parent, which ends them."""

    def submit(self, *arguments: Any, **options: Any) -> Future[Any]:
        if not hasattr(signal, "pthread_sigmask"):  # Windows sends its processes none.
            return super().submit(*arguments, **options)
        # What is blocked here is so in the process that this may start, from its beginning:
        # Ctrl-C and `timeout` signal the whole group, and each would print its traceback.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            return super().submit(*arguments, **options)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin() -> None:
    """What a worker does first."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # The processes already share out the cores; threads below them would contend for them.
    zarr.config.set({"threading.max_workers": 1, "async.concurrency": 1})


def _end_with_parent() -> None:
    """End this process when its parent has ended, in whatever way; else it would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _cluster(scheduler: str) -> Iterator[Executor]:
    try:
        import distributed
    except ImportError:
        raise UsageError("--scheduler needs dask.distributed, which is not installed; install "
                         "saltrust[dask], or use --workers") from None
    try:
        connect: Any = distributed.Client
        client = connect(scheduler, timeout=_SECONDS_TO_CONNECT)
    except (OSError, ValueError, TimeoutError) as error:
        raise UsageError(f"the Dask scheduler at {scheduler} cannot be reached ({error}); check "
                         "its address, or use --workers") from None
    with client:
        try:
            yield client.get_executor()
        except distributed.KilledWorker as error:
            raise UsageError(f"workers of the Dask scheduler at {scheduler} died ({error}); give "
                             "them more memory, or use --workers") from None
