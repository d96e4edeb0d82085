"""Ctrl-C and SIGTERM, handled alike: one sentence, and an exit status that says which it was."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import click

#: Handled where they are not ignored, as `nohup` and shells in the background ask.
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
#: Until an interrupt that was swallowed by code of no consequence is raised again.
_SECONDS_UNTIL_AGAIN = 0.05


class Interrupted(KeyboardInterrupt):
    """A signal that asks the program to end.

    Parameters
    ----------
    number : int
        The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = 128 + number


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Raise :class:`Interrupted` for the first signal; a second ends the program on the spot.

    Where this is not the main thread, which alone is told of signals, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    raised = False

    def interrupt(number: int, _frame: Any) -> None:
        nonlocal raised
        if raised:
            # What is being tidied up takes too long for somebody; the store can be resumed anyhow.
            os._exit(128 + number)
        raised = True
        raise Interrupted(number)

    def raise_again(lost: Any) -> None:
        # Raised in a destructor or a callback, an exception is printed and goes nowhere.
        nonlocal raised
        if isinstance(lost.exc_value, Interrupted):
            raised = False
            number = lost.exc_value.exit_code - 128
            again = threading.Timer(_SECONDS_UNTIL_AGAIN, os.kill, (os.getpid(), number))
            again.daemon = True
            again.start()
        else:
            hook(lost)

    hook, sys.unraisablehook = sys.unraisablehook, raise_again
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    handled = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    try:
        for number in handled:
            signal.signal(number, interrupt)
        yield
    finally:
        for number in handled:
            signal.signal(number, before[number])
        sys.unraisablehook = hook


@contextlib.contextmanager
def goes_on_when_repeated(kept: str) -> Iterator[None]:
    """Have an interrupt within say that the very command goes on with what is there.

    Parameters
    ----------
    kept : str
        What is left, where a job within does not say it itself.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        if not getattr(error, "__notes__", []):
            error.add_note(kept)
        vars(error)["repeat"] = True
        raise


def sentence(error: KeyboardInterrupt, ctx: click.Context, arguments: Sequence[str]) -> str:
    """What the reader is told: what is left, and the command that goes on.

    Parameters
    ----------
    error : KeyboardInterrupt
        Its notes say what a job has left that can be gone on with.
    ctx : click.Context
        Of the program.
    arguments : sequence of str
        Of its command line.
    """
    notes: list[str] = getattr(error, "__notes__", [])
    options = {option for parameter in _command(ctx, arguments).params
               for option in parameter.opts}
    if not notes:
        kept = ", which uses what was kept of the maps" if "--keep" in options else ""
        return f"interrupted before it was done; repeat the command{kept}"
    if getattr(error, "repeat", False):
        again = shlex.join(["saltrust", *arguments])
        return f"interrupted: {'; '.join(notes)}; go on with `{again}`"
    given = [word for word in arguments if word not in ("--overwrite", "--resume")]
    word = "--resume" if "--resume" in options else "--overwrite"
    return f"interrupted: {'; '.join(notes)}; go on with `{shlex.join(['saltrust', *given, word])}`"


def _command(ctx: click.Context, arguments: Sequence[str]) -> click.Command:
    """The command that the arguments name, below the groups on the way."""
    command = ctx.command
    for word in arguments:
        if isinstance(command, click.Group) and word in command.commands:
            command = command.commands[word]
    return command
