"""Finished weights say so, inside and beside the file, whatever cuts the closing short."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors
import torch

from saltrust.errors import DataError, NothingToDo
from saltrust.models import checkpoint
from saltrust.models.checkpoint import card_path, read_card, read_weights
from saltrust.study import Study
from saltrust.training.runs.resuming import STATE_FILE
from saltrust.training.tasks.classifier import ClassifierTask, train

Data = Callable[..., Any]
Make = Callable[..., Study]


def run(data: Any, study: Study, **options: Any) -> Path:
    return train(data, study, study.models[0], device="cpu", progress=False, **options)


def inside(weights: Path) -> dict[str, Any]:
    with safetensors.safe_open(weights, framework="pt") as stream:
        card: dict[str, Any] = json.loads(stream.metadata()["saltrust_card"])
    return card


def beside(weights: Path) -> dict[str, Any]:
    card: dict[str, Any] = json.loads(card_path(weights).read_text())
    return card


def all_weights(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.safetensors"))


def check_finished(folder: Path) -> None:
    for weights in all_weights(folder):
        card = beside(weights)
        assert card.pop("weights_sha256") == hashlib.sha256(weights.read_bytes()).hexdigest()
        assert inside(weights) == card
        assert card["complete"] is True
    assert not (folder / STATE_FILE).exists()


def test_both_cards_agree_after_a_normal_end(squares: Data, study: Make) -> None:
    folder = run(squares(), study(keep=1))
    assert len(all_weights(folder)) == 3
    check_finished(folder)
    assert inside(folder / "model.safetensors")["test_auc"]["mean"] is not None
    # The file alone, as it is handed on, says it as well.
    card_path(folder / "model.safetensors").unlink()
    assert (read_card(folder / "model.safetensors") or {})["complete"] is True


def test_an_interrupted_run_says_false(squares: Data, study: Make,
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: ClassifierTask) -> dict[str, Any]:
        raise KeyboardInterrupt

    plan = study(keep=1)
    with monkeypatch.context() as patch:
        patch.setattr(ClassifierTask, "test", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(squares(), plan)
    folder = plan.run_folder(plan.models[0])
    for weights in all_weights(folder):
        assert inside(weights)["complete"] is beside(weights)["complete"] is False
        assert "weights_sha256" not in inside(weights)
    run(squares(), plan, resume=True)
    check_finished(folder)


@pytest.mark.parametrize("position", range(6))
def test_a_cut_anywhere_in_the_closing(squares: Data, study: Make,
                                       monkeypatch: pytest.MonkeyPatch, position: int) -> None:
    """Two kept checkpoints and the best are rewritten: six files, one after the other."""
    plan = study(keep=1)
    undisturbed = [read_weights(weights) for weights in all_weights(run(squares(), plan))]
    closing, written = [False], []
    test, place = ClassifierTask.test, Path.replace

    def closes(task: ClassifierTask) -> dict[str, Any]:
        closing[0] = True
        return test(task)

    def power(path: Path, target: Path) -> Path:
        if closing[0]:
            if len(written) == position:
                raise KeyboardInterrupt
            written.append(target)
        return place(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(ClassifierTask, "test", closes)
        patch.setattr(Path, "replace", power)
        with pytest.raises(KeyboardInterrupt):
            run(squares(), plan, overwrite=True)
    folder = plan.run_folder(plan.models[0])
    assert len(written) == position
    card = read_card(folder / "model.safetensors") or {}
    # Once the weights of the best say so, the run is complete, and only tidied up.
    if card["complete"]:
        assert position == 5
        with pytest.raises(NothingToDo):
            run(squares(), plan, resume=True)
    else:
        run(squares(), plan, resume=True)
    check_finished(folder)
    for weights, tensors in zip(all_weights(folder), undisturbed, strict=True):
        assert all(torch.equal(tensor, tensors[name])
                   for name, tensor in read_weights(weights).items())


def test_a_full_disk_at_the_end(squares: Data, study: Make, monkeypatch: pytest.MonkeyPatch
                                ) -> None:
    plan = study()
    with monkeypatch.context() as patch:
        test = ClassifierTask.test

        def fills(task: ClassifierTask) -> dict[str, Any]:
            def full(*_: Any) -> None:
                raise DataError("the disk is full")

            patch.setattr(checkpoint, "write_bytes", full)
            return test(task)

        patch.setattr(ClassifierTask, "test", fills)
        with pytest.raises(DataError, match="disk is full"):
            run(squares(), plan)
    weights = plan.run_folder(plan.models[0]) / "model.safetensors"
    assert (read_card(weights) or {})["complete"] is False
    run(squares(), plan, resume=True)
    check_finished(weights.parent)
