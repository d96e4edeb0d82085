"""Runs that are cut short, in every way, and go on."""

import csv
import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from saltrust.datasets.registry import open_collection
from saltrust.errors import DataError, NothingToDo, UsageError
from saltrust.models.checkpoint import read_card, read_weights
from saltrust.models.classifiers.trained_classifier import load_classifier
from saltrust.study import Study
from saltrust.study_file import read_study
from saltrust.training.runs.resuming import STATE_FILE
from saltrust.training.task import BatchLoss, Validation
from saltrust.training.tasks.classifier import ClassifierTask, train

Data = Callable[..., Any]
Make = Callable[..., Study]

# A network with dropout, which draws from torch's global generator, and which ends its own
# process as the kernel would, in the middle of a chosen batch.
MORTAL = """
import os, pathlib, signal
import torch
from saltrust.models.classifiers.small import PhantomNet

class Net(PhantomNet):
    calls = 0

    def __init__(self, n_outputs, width=4):
        super().__init__(n_outputs, width)
        self.dropout = torch.nn.Dropout2d(0.3)

    def forward(self, inputs):
        self.calls += self.training
        armed = pathlib.Path(__file__).with_name("armed")
        if armed.exists() and self.calls == int(armed.read_text()):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(self.dropout(inputs + 0.1))
"""

STUDY: dict[str, Any] = {
    "name": "mortal",
    "data": {"patients": 30, "size": 32, "split_fractions": [0.6, 0.2, 0.2]},
    "train": {"epochs": 3, "batch_size": 5, "learning_rate": 0.02, "plateau_factor": 0.5,
              "plateau_patience": 0, "validations_per_epoch": 2, "keep": 1, "augment": True},
}


def tensors_equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def weights(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    return {str(path.relative_to(folder)): read_weights(path)
            for path in sorted(folder.rglob("*.safetensors"))}


def metrics(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        del row["seconds"]
    return rows


@pytest.mark.parametrize("batch", [3, 8])
def test_a_killed_run_ends_with_the_weights_of_an_undisturbed_one(
    tmp_path: Path, write_study: Callable[..., Path], batch: int
) -> None:
    """Four batches an epoch, validated after two: killed in epoch 1 and in epoch 2."""
    module = f"mortal_{batch}"  # Python imports a module of one name once.
    (tmp_path / f"{module}.py").write_text(MORTAL)
    path = write_study(**STUDY, models=[{"name": "net", "architecture": f"{module}:Net"}])
    study = read_study(path)
    net = study.models[0]
    collection = open_collection(study)
    folder = study.run_folder(net)

    (tmp_path / "armed").write_text(str(batch))
    command = [sys.executable, "-c", "from saltrust.cli import main; main()", "-q", "train",
               str(path), "--device", "cpu"]
    killed = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"},
                            capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (tmp_path / "armed").unlink()
    assert (folder / STATE_FILE).exists() is (batch > 4)
    # A checkpoint of the epoch that was cut off, and what the kernel left of a write.
    assert len(list((folder / "checkpoints").glob("*.safetensors"))) == (2 if batch == 8 else 1)
    (folder / f".{STATE_FILE}.abc.tmp").write_bytes(b"of the killed process")

    train(collection, study, net, device="cpu", resume=True, progress=False)
    undisturbed = replace(study, runs="others")
    other = train(collection, undisturbed, net, device="cpu", progress=False)

    mine, theirs = weights(folder), weights(other)
    assert mine.keys() == theirs.keys()
    assert len(mine) == 4  # The best, and one of each epoch.
    assert all(tensors_equal(mine[name], theirs[name]) for name in mine)
    assert metrics(folder) == metrics(other)
    assert len(metrics(folder)) == 6
    cards = [read_card(run / "model.safetensors") or {} for run in (folder, other)]
    assert cards[0]["resumed_after_epochs"] == ([1] if batch > 4 else [])
    for name in ("best_epoch", "best_step", "val_auc", "test_auc", "kept", "epochs_run"):
        assert cards[0][name] == cards[1][name], name
    assert {item.name for item in folder.iterdir()} == {item.name for item in other.iterdir()}


def cut_short(data: Any, study: Study, monkeypatch: pytest.MonkeyPatch, step: int) -> Path:
    """Train, with Ctrl-C before the step of that number."""
    loss, steps = ClassifierTask.loss, iter(range(1, 1000))

    def interrupted(task: ClassifierTask, *batch: Any) -> BatchLoss:
        if next(steps) == step:
            raise KeyboardInterrupt
        return loss(task, *batch)

    with monkeypatch.context() as patch:
        patch.setattr(ClassifierTask, "loss", interrupted)
        with pytest.raises(KeyboardInterrupt) as stopped:
            train(data, study, study.models[0], device="cpu", progress=False)
    assert "training of model 'small' stopped" in stopped.value.__notes__[0]
    return study.run_folder(study.models[0])


def resume(data: Any, study: Study) -> Path:
    return train(data, study, study.models[0], device="cpu", resume=True, progress=False)


def script(monkeypatch: pytest.MonkeyPatch, outcomes: list[tuple[float, float]]) -> None:
    """Let validation give these scores and losses, one after the other."""
    following = iter(outcomes)
    monkeypatch.setattr(ClassifierTask, "validate", lambda _: Validation(*next(following)))


def test_the_learning_rate_goes_on_falling(
    squares: Data, study: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, plan = squares(), study(epochs=7, patience=7, plateau_factor=0.1, plateau_patience=1,
                                  learning_rate=0.3)
    script(monkeypatch, [(0.5, loss) for loss in (1.0, 0.9, 0.9, 0.95, 0.8, 0.9, 0.9)])
    folder = cut_short(data, plan, monkeypatch, step=10)  # Of epoch 4: one of two bad ones over.
    resume(data, plan)
    rates = [float(row["learning_rate"]) for row in metrics(folder)]
    assert rates == pytest.approx([0.3, 0.3, 0.3, 0.3, 0.03, 0.03, 0.03])


def test_patience_goes_on_where_it_was(
    squares: Data, study: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = study(epochs=9, patience=3)
    script(monkeypatch, [(score, 1.0) for score in (0.5, 0.6, 0.6, 0.5, 0.6, 0.9)])
    folder = cut_short(squares(), plan, monkeypatch, step=11)  # Of epoch 4.
    resume(squares(), plan)
    card = read_card(folder / "model.safetensors") or {}
    assert (card["best_epoch"], card["epochs_run"], card["stopped_early"]) == (2, 5, True)


@pytest.mark.parametrize(("change", "words"), [
    (lambda plan, data: replace(plan, train=replace(plan.train, learning_rate=0.02)),
     r"train\.learning_rate was 0\.01 and is 0\.02"),
    (lambda plan, data: replace(plan, seed=4), "study_seed was 0 and is 4"),
    (lambda plan, data: replace(plan, models=(replace(plan.models[0], arguments={}),)),
     r"arguments\.width was 8 and is null"),
    (lambda plan, data: setattr(data, "fingerprint", "other") or plan,
     'data_fingerprint was "squares" and is "other"'),
    (lambda plan, data: data.set("label", 1 - data.index["label"].values) or plan,
     "labels_sha256 differs"),
])
def test_another_run_is_not_gone_on_with(
    squares: Data, study: Make, monkeypatch: pytest.MonkeyPatch, change: Any, words: str
) -> None:
    data, plan = squares(), study(epochs=3)
    folder = cut_short(data, plan, monkeypatch, step=5)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    other = change(plan, data)
    with pytest.raises(UsageError, match=words) as error:
        resume(data, other)
    assert "--overwrite" in str(error.value)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_what_does_not_matter_may_change(
    squares: Data, study: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, plan = squares(), study(epochs=2)
    cut_short(data, plan, monkeypatch, step=5)
    resume(data, replace(plan, name="renamed", explainers=()))


def test_a_finished_run_says_so(squares: Data, study: Make) -> None:
    data, plan = squares(), study(epochs=1)
    folder = resume(data, plan)  # Nothing to go on from: from the beginning.
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(NothingToDo, match="trained already"):
        resume(data, plan)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    with pytest.raises(UsageError, match=r"train\.epochs was 1 and is 2"):
        resume(data, replace(plan, train=replace(plan.train, epochs=2)))


def test_a_run_killed_after_its_last_epoch_is_only_closed(
    squares: Data, study: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, plan = squares(), study(epochs=2)

    def killed(_: ClassifierTask) -> dict[str, Any]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ClassifierTask, "test", killed)
        with pytest.raises(KeyboardInterrupt):
            train(data, plan, plan.models[0], device="cpu", progress=False)
    folder = plan.run_folder(plan.models[0])
    before = weights(folder)
    with monkeypatch.context() as patch:
        patch.setattr(ClassifierTask, "loss", None)  # No step is taken.
        resume(data, plan)
    assert tensors_equal(before["model.safetensors"], weights(folder)["model.safetensors"])
    card = read_card(folder / "model.safetensors") or {}
    assert card["complete"] is True
    assert card["test_auc"]["mean"] is not None


@pytest.mark.parametrize("content", [b"", b"no state", None])
def test_a_damaged_state_is_refused(
    squares: Data, study: Make, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    data, plan = squares(), study(epochs=2)
    folder = cut_short(data, plan, monkeypatch, step=5)
    state = folder / STATE_FILE
    state.write_bytes(state.read_bytes()[:-500] if content is None else content)
    with pytest.raises(DataError, match=r"resume\.pt.*--overwrite"):
        resume(data, plan)


def test_a_run_without_its_best_checkpoint_is_refused(
    squares: Data, study: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, plan = squares(), study(epochs=2)
    folder = cut_short(data, plan, monkeypatch, step=5)
    (folder / "model.safetensors").unlink()
    (folder / "model.json").unlink()
    with pytest.raises(DataError, match=r"model\.safetensors is gone.*--overwrite"):
        resume(data, plan)


@pytest.mark.parametrize("name", ["model.safetensors", "checkpoints"])
def test_a_damaged_checkpoint_is_named(
    squares: Data, study: Make, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    data, plan = squares(), study(epochs=3, keep=1)
    folder = cut_short(data, plan, monkeypatch, step=8)
    file = next((folder / name).glob("*.safetensors")) if name == "checkpoints" else folder / name
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DataError, match=rf"{file.name} cannot be read.*--overwrite"):
        resume(data, plan)


def test_a_kept_checkpoint_that_is_gone_is_named(
    squares: Data, study: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, plan = squares(), study(epochs=3, keep=1)
    folder = cut_short(data, plan, monkeypatch, step=8)
    gone = sorted((folder / "checkpoints").glob("*.safetensors"))[0]
    gone.unlink()
    with pytest.raises(DataError, match=rf"{gone.name} or its card is gone"):
        resume(data, plan)


def test_a_state_of_something_else_is_refused(
    squares: Data, study: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, plan = squares(), study(epochs=2)
    folder = cut_short(data, plan, monkeypatch, step=5)
    state = torch.load(folder / STATE_FILE, weights_only=True)
    torch.save({"state_dict": state["network"]}, folder / STATE_FILE)
    with pytest.raises(DataError, match="holds no state of a training run"):
        resume(data, plan)
    # The code of the network has another layer than when the run began.
    name = next(iter(state["network"]))
    state["network"]["renamed"] = state["network"].pop(name)
    torch.save(state, folder / STATE_FILE)
    with pytest.raises(DataError, match=r"does not fit model 'small'.*--overwrite"):
        resume(data, plan)


def test_ctrl_c_leaves_a_checkpoint_even_in_the_first_epoch(
    squares: Data, study: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, plan = squares(), study(epochs=2)
    cut_short(data, plan, monkeypatch, step=3)
    load_classifier(plan.models[0], plan, ["Left Square"])
    folder = resume(data, plan)
    assert (read_card(folder / "model.safetensors") or {})["epochs_run"] == 2


def test_other_versions_are_said(
    squares: Data, study: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    data, plan = squares(), study(epochs=2)
    folder = cut_short(data, plan, monkeypatch, step=5)
    state = torch.load(folder / STATE_FILE, weights_only=True)
    state["card"]["versions"]["torch"] = "1.0"
    torch.save(state, folder / STATE_FILE)
    resume(data, plan)
    assert "started with other versions of torch" in caplog.text


def test_the_settings_of_the_card_are_those_of_the_model(squares: Data, study: Make) -> None:
    plan = study(epochs=1)
    model = replace(plan.models[0], train={"learning_rate": 0.5, "selection_findings":
                                           ["Left Square"]})
    card = read_card(train(squares(), plan, model, device="cpu", progress=False)
                     / "model.safetensors") or {}
    expected = dataclasses.asdict(plan.training_of(model))
    assert card["train"] == {**expected, "selection_findings": ["Left Square"]}
    assert card["train"]["learning_rate"] == 0.5
    assert card["val_auc"]["findings"]["Left Square"] == card["score"]


def test_a_radiograph_that_was_replaced_does_not_end_a_run_but_is_said(
    squares: Data, study: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings = study(epochs=2)
    # Three batches an epoch.
    folder = cut_short(squares(), settings, monkeypatch, step=5)
    data = squares()
    data.pixels[3] = 255 - data.pixels[3]
    resume(data, settings)
    assert "radiographs have changed, or others are left out, since epoch 1" in caplog.text
    card = read_card(folder / "model.safetensors")
    assert card is not None
    assert card["images_changed_after_epochs"] == [1]
    assert card["images_left_out"] == []
