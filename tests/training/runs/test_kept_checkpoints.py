"""Several checkpoints of one run, and which of them are the best."""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saltrust.errors import DataError, UsageError
from saltrust.models.checkpoint import read_card, read_weights
from saltrust.models.classifiers.trained_classifier import load_classifier
from saltrust.study import EnsembleSpec, ModelSpec, Study
from saltrust.training.runs.kept_checkpoints import keep_best
from saltrust.training.task import Validation
from saltrust.training.tasks.classifier import ClassifierTask, balanced_order, train

Data = Callable[..., Any]
Make = Callable[..., Study]


def run(data: Any, study: Study, model: ModelSpec | None = None, **options: Any) -> Path:
    return train(data, study, model or study.models[0], device="cpu", progress=False, **options)


def card_of(weights: Path) -> dict[str, Any]:
    card = read_card(weights)
    assert card is not None
    return card


def test_the_best_of_each_epoch_are_kept(
    squares: Data, study: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """48 images in batches of 8: six steps an epoch, validated after each second one."""
    outcomes = iter([(0.5, 1.0), (0.7, 1.0), (0.6, 1.0),   # Epoch 1: the second and third.
                     (0.6, 1.0), (0.6, 0.5), (0.6, 1.0)])  # Epoch 2: lower loss, then earlier.
    seen: dict[tuple[int, int], dict[str, torch.Tensor]] = {}

    def scripted(task: ClassifierTask) -> Validation:
        k = len(seen)
        seen[1 + k // 3, 2 * (1 + k % 3)] = {
            name: tensor.clone() for name, tensor in task.network.state_dict().items()}
        return Validation(*next(outcomes))

    monkeypatch.setattr(ClassifierTask, "validate", scripted)
    folder = run(squares(train=48), study(validations_per_epoch=3, keep=2))
    expected = {"epoch1-step4": (1, 4), "epoch1-step6": (1, 6), "epoch2-step2": (2, 2),
                "epoch2-step4": (2, 4)}
    files = {path.name for path in (folder / "checkpoints").iterdir()}
    assert files == {name + end for name in expected for end in (".safetensors", ".json")}
    for name, (epoch, step) in expected.items():
        weights = read_weights(folder / "checkpoints" / f"{name}.safetensors")
        assert all(torch.equal(weights[key], seen[epoch, step][key]) for key in weights)
        card = card_of(folder / "checkpoints" / f"{name}.safetensors")
        assert (card["epoch"], card["step"]) == (epoch, step + 6 * (epoch - 1))
        assert card["complete"] is True
        assert "best_epoch" not in card
    best = card_of(folder / "model.safetensors")
    assert (best["best_epoch"], best["best_step"]) == (1, 4)
    assert [item["file"] for item in best["kept"]] == [f"{name}.safetensors" for name in expected]
    with (folder / "metrics.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["epoch"], row["step"]) for row in rows] == [
        ("1", "2"), ("1", "4"), ("1", "6"), ("2", "8"), ("2", "10"), ("2", "12")]


def test_a_score_in_the_middle_of_an_epoch_counts_for_patience(
    squares: Data, study: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = iter([(0.6, 1.0), (0.1, 1.0), (0.7, 1.0), (0.1, 1.0), (0.6, 1.0), (0.7, 1.0)])
    monkeypatch.setattr(ClassifierTask, "validate", lambda _: Validation(*next(outcomes)))
    folder = run(squares(), study(epochs=9, validations_per_epoch=2, patience=1))
    card = card_of(folder / "model.safetensors")
    assert (card["best_epoch"], card["epochs_run"]) == (2, 3)


def test_more_validations_than_steps(squares: Data, study: Make) -> None:
    folder = run(squares(), study(epochs=1, validations_per_epoch=50, keep=50))
    assert len(list((folder / "checkpoints").glob("*.safetensors"))) == 3


def test_without_keep_there_is_one_checkpoint(squares: Data, study: Make) -> None:
    folder = run(squares(), study(validations_per_epoch=2))
    assert [path.name for path in folder.rglob("*.safetensors")] == ["model.safetensors"]


def test_training_anew_removes_what_was_kept(squares: Data, study: Make) -> None:
    data, plan = squares(), study(epochs=2, keep=1)
    folder = run(data, plan)
    (folder / "checkpoints" / "notes.txt").write_text("mine")
    run(data, replace(plan, train=replace(plan.train, keep=0)), overwrite=True)
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["notes.txt"]


def test_kept_checkpoints_are_an_ensemble(squares: Data, study: Make) -> None:
    plan = replace(study(epochs=2, validations_per_epoch=3, keep=2), ensembles=(EnsembleSpec(
        "thirty", architecture="phantom_net", checkpoints=("runs/small/checkpoints/*.safetensors",)
    ),))
    run(squares(), plan)
    members = plan.members(plan.ensembles[0])
    assert [member.name for member in members] == [f"thirty/{k}" for k in range(1, 5)]
    hashes = {load_classifier(member, plan, ["Left Square"]).checkpoint_sha256
              for member in members}
    assert len(hashes) == 4


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.3]), st.sampled_from([1.0, 2.0])),
                min_size=1, max_size=8), st.integers(1, 4))
@settings(deadline=None, max_examples=40)
def test_what_is_kept_is_what_sorting_all_would_keep(
    tmp_path_factory: pytest.TempPathFactory, outcomes: list[tuple[float, float]], limit: int
) -> None:
    folder = tmp_path_factory.mktemp("kept")
    network = torch.nn.Linear(1, 1)
    kept: list[dict[str, Any]] = []
    for step, (score, loss) in enumerate(outcomes):
        candidate = {"file": f"{step}.safetensors", "epoch": 1, "step": step, "score": score,
                     "loss": loss}
        kept = keep_best(network, folder, kept, candidate, limit, {"findings": ["a"]})
    ranked = sorted(range(len(outcomes)), key=lambda k: (-outcomes[k][0], outcomes[k][1], k))
    assert [item["step"] for item in kept] == sorted(ranked[:limit])
    assert {path.stem for path in (folder / "checkpoints").glob("*.safetensors")} == {
        str(step) for step in ranked[:limit]}


# Which findings decide -----------------------------------------------------------------------


def test_chosen_findings_decide(
    squares: Data, study: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logits by hand: the left square is ranked perfectly at first, the right one at last."""
    data = squares(val=12)
    labels = data.index["label"].values[data.index["split"].values == "val"].astype(np.float32)
    perfect = 2 * labels - 1
    outputs = iter([perfect * [1, -1], perfect * [-1, 1]])

    def predicted(task: ClassifierTask, split: str) -> tuple[Any, Any]:
        rows = task.images.rows(split)
        if split == "test":
            return rows, np.zeros((len(rows), 2), np.float32)
        return rows, next(outputs).astype(np.float32)

    monkeypatch.setattr(ClassifierTask, "_predict", predicted)
    folder = run(data, study(epochs=2, selection_findings=("Right Square",)))
    card = card_of(folder / "model.safetensors")
    assert (card["best_epoch"], card["score"]) == (2, 1.0)
    assert card["val_auc"]["findings"] == {"Left Square": 0.0, "Right Square": 1.0}
    with (folder / "metrics.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["val_auc"], row["val_auc_selected"]) for row in rows] == [
        ("0.5", "0.0"), ("0.5", "1.0")]


def test_chosen_findings_that_cannot_decide(squares: Data, study: Make) -> None:
    data = squares()
    with pytest.raises(UsageError, match=r"'Right Sqare'.*did you mean 'Right Square'"):
        run(data, study(selection_findings=("Right Sqare",)))
    assert data.decoded == []
    labels = data.index["label"].values.copy()
    labels[data.index["split"].values == "val", 1] = 0
    data.set("label", labels)
    with pytest.raises(DataError, match="no finding of selection_findings has both positive"):
        run(data, study(selection_findings=("Right Square",)))


# Balanced sampling ---------------------------------------------------------------------------


@given(st.lists(st.booleans(), min_size=2, max_size=60), st.integers(0, 2**31))
@settings(deadline=None, max_examples=50)
def test_half_of_an_epoch_is_positive(positive: list[bool], seed: int) -> None:
    mask = torch.tensor(positive)
    if mask.all() or not mask.any():
        with pytest.raises(DataError, match="negative" if mask.all() else "positive"):
            balanced_order(mask, torch.Generator().manual_seed(seed))
        return
    order = balanced_order(mask, torch.Generator().manual_seed(seed))
    assert len(order) == len(mask)
    assert int(mask[order].sum()) == len(mask) // 2
    times = torch.bincount(order, minlength=len(mask))
    for kind in (mask, ~mask):  # Nobody is seen again before all others of the kind were seen.
        assert int(times[kind].max() - times[kind].min()) <= 1


def test_a_balanced_epoch_shows_as_many_with_a_finding(
    squares: Data, study: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = squares(train=24)
    labels = data.index["label"].values.copy()
    labels[6:24] = 0  # A quarter of the training images, at most, has a finding.
    data.set("label", labels)
    shown: list[int] = []
    loss = ClassifierTask.loss

    def watched(task: ClassifierTask, rows: torch.Tensor, generator: torch.Generator) -> Any:
        shown.extend(rows.tolist())
        return loss(task, rows, generator)

    monkeypatch.setattr(ClassifierTask, "loss", watched)
    run(data, study(epochs=1, balanced=True))
    assert int(labels[shown].any(axis=1).sum()) == 12
