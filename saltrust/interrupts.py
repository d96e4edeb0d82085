"""Signals that end a program, held back while something is written that belongs together."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

_SIGNALS = (int(signal.SIGINT), int(signal.SIGTERM))


@contextlib.contextmanager
def delay_interrupts() -> Iterator[None]:
    """Let Ctrl-C, and SIGTERM where a program handles it, come through only at the end.

    Outside the main thread, which alone is told of signals, and where a signal is ignored or has
    no handler, nothing changes.

    Raises
    ------
    KeyboardInterrupt
        At the end, if Ctrl-C was pressed meanwhile.
    """
    before: dict[int, Callable[..., Any]] = {}
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            handler = signal.getsignal(number)
            if callable(handler):
                before[number] = handler
    if not before:
        yield
        return
    pressed: list[tuple[int, Any]] = []
    for number in before:
        signal.signal(number, lambda number, frame: pressed.append((number, frame)))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if pressed:
        number, frame = pressed[0]
        before[number](number, frame)
