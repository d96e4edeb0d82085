"""Losses of steps: read at once on a CPU, together after some steps on a GPU."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from saltrust.errors import DataError
from saltrust.training import loop
from saltrust.training.task import BatchLoss


def _run(device: str) -> Any:
    """What of a run the means look at."""
    return SimpleNamespace(device=SimpleNamespace(type=device), name="small",
                           spec=SimpleNamespace(learning_rate=0.1), kept=lambda: "nothing is kept")


def _losses(n: int) -> list[BatchLoss]:
    values = torch.rand(n, 2, generator=torch.Generator().manual_seed(0))
    return [BatchLoss(value, float(k % 3 + 1), {"part": part})
            for k, (value, part) in enumerate(values)]


@pytest.mark.parametrize("n", [1, 15, 16, 37])
def test_means_are_the_same_whenever_losses_are_read(n: int) -> None:
    means = {}
    for device in ("cpu", "cuda"):
        mean = loop._Mean(_run(device))
        for step, loss in enumerate(_losses(n), start=1):
            mean.add(loss, f"at step {step} of epoch 1")
        means[device] = mean.columns()
    assert means["cpu"] == means["cuda"]
    losses = _losses(n)
    total = sum(loss.weight for loss in losses)
    assert means["cpu"]["train_part"] == pytest.approx(
        sum(float(loss.parts["part"]) * loss.weight for loss in losses) / total)


@pytest.mark.parametrize(("device", "seen_after"), [("cpu", 3), ("cuda", 16)])
def test_a_loss_that_is_no_number_is_named_by_its_step(device: str, seen_after: int) -> None:
    mean = loop._Mean(_run(device))
    losses = _losses(40)
    losses[2] = BatchLoss(torch.tensor(torch.nan), 1.0, {"part": torch.tensor(0.0)})
    added = 0
    with pytest.raises(DataError, match="not a finite number at step 3 of epoch 1"):
        for step, loss in enumerate(losses, start=1):
            added = step
            mean.add(loss, f"at step {step} of epoch 1")
    assert added == seen_after


def test_before_a_validation_all_are_read() -> None:
    mean = loop._Mean(_run("cuda"))
    mean.add(BatchLoss(torch.tensor(torch.inf), 1.0), "at step 1 of epoch 1")
    with pytest.raises(DataError, match="step 1 of epoch 1"):
        mean.columns()
