"""Ctrl-C at the worst moment."""

import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from saltrust.files import write_bytes
from saltrust.interrupts import delay_interrupts
from saltrust.models import checkpoint
from saltrust.models.checkpoint import read_card, sha256_of
from saltrust.training.task import Validation
from saltrust.training.tasks.classifier import ClassifierTask, train


@pytest.fixture(autouse=True)
def heeded() -> Iterator[None]:
    """What a shell starts in the background ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_it_comes_through_at_the_end() -> None:
    done = []
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), delay_interrupts():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        done.append("written")
    assert done == ["written"]
    assert signal.getsignal(signal.SIGINT) is before
    with delay_interrupts():
        pass


def test_an_error_is_not_hidden_and_the_handler_comes_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(OSError, match="disk full"), delay_interrupts():
        signal.raise_signal(signal.SIGINT)
        raise OSError("disk full")
    assert signal.getsignal(signal.SIGINT) is before


def test_what_is_ignored_stays_ignored_and_threads_are_left_alone() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with delay_interrupts():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    failed: list[BaseException] = []

    def work() -> None:
        try:
            with delay_interrupts():
                pass
        except ValueError as error:  # "signal only works in main thread"
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not failed


def test_a_checkpoint_and_its_card_are_never_of_two_epochs(
    squares: Callable[..., Any], study: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = study(epochs=3, patience=3)
    written: list[Path] = []

    def pressed_while_writing(path: Path, content: bytes) -> None:
        write_bytes(path, content)
        if path.suffix == ".safetensors":
            written.append(path)
            if len(written) == 2:  # Epoch 2 is better: its weights are there, its card is not.
                signal.raise_signal(signal.SIGINT)

    improving = iter([0.6, 0.7, 0.8])
    monkeypatch.setattr(ClassifierTask, "validate", lambda _: Validation(next(improving), 1.0))
    monkeypatch.setattr(checkpoint, "write_bytes", pressed_while_writing)
    with pytest.raises(KeyboardInterrupt):
        train(squares(), plan, plan.models[0], device="cpu", progress=False)
    weights = plan.run_folder(plan.models[0]) / "model.safetensors"
    card = read_card(weights) or {}
    assert card["best_epoch"] == 2
    assert card["weights_sha256"] == sha256_of(weights)
