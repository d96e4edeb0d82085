"""The program: ``saltrust``, and ``python -m saltrust`` where its script is not on the path."""

from __future__ import annotations

import os
import signal
from typing import Any


def run() -> None:
    """Call the command line; before it begins and after it has ended, signals end the program."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # Who ignores a signal, as `nohup` does, goes on to.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end)
    from saltrust.cli import main

    main(prog_name="saltrust")


def end(number: int, _frame: Any) -> None:
    """End the program on the spot, with the status that says which signal it was."""
    os._exit(128 + number)


if __name__ == "__main__":
    run()
