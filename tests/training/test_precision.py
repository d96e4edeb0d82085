"""Mixed precision, as far as a CPU can show it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from saltrust.errors import UsageError
from saltrust.models.checkpoint import read_card, read_weights
from saltrust.study import Study
from saltrust.training.precision import (
    allow_tensor_cores,
    autocast,
    check_precision,
    gradient_scaler,
)
from saltrust.training.tasks.classifier import ClassifierTask, train

Data = Callable[..., Any]
Make = Callable[..., Study]
CPU = torch.device("cpu")


def test_bf16_trains_in_half_and_keeps_whole_weights(
    squares: Data, study: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, plan = squares(train=96, val=24, test=40), study(epochs=6, precision="bf16")
    seen: dict[bool, set[torch.dtype]] = {True: set(), False: set()}
    task = ClassifierTask.__post_init__

    def watched(self: ClassifierTask) -> None:
        task(self)
        # The last layer: what the network hands on are logits in float32.
        *_, last = self.network.children()
        last.register_forward_hook(
            lambda part, _inputs, output: seen[part.training].add(output.dtype))

    monkeypatch.setattr(ClassifierTask, "__post_init__", watched)
    folder = train(data, plan, plan.models[0], device="cpu", progress=False)
    # Validation is of the network as it will be used.
    assert seen == {True: {torch.bfloat16}, False: {torch.float32}}
    assert {tensor.dtype for name, tensor in read_weights(folder / "model.safetensors").items()
            if "num_batches" not in name} == {torch.float32}
    card = read_card(folder / "model.safetensors") or {}
    assert card["train"]["precision"] == "bf16"
    assert card["test_auc"]["mean"] > 0.9


def test_bf16_is_near_float32_and_is_not_it(squares: Data, study: Make) -> None:
    losses = []
    for precision in ("float32", "bf16"):
        plan = study(epochs=1, precision=precision, learning_rate=1e-4)
        folder = train(squares(), plan, plan.models[0], device="cpu", overwrite=True,
                       progress=False)
        losses.append((read_card(folder / "model.safetensors") or {})["train_loss"])
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


@pytest.mark.parametrize("precision", ["tf32", "float16"])
def test_precisions_of_cuda_are_refused_elsewhere(
    squares: Data, study: Make, precision: str
) -> None:
    data, plan = squares(), study(precision=precision)
    with pytest.raises(UsageError, match=f"'{precision}' does not train on cpu; take one of "
                                         "float32, bf16"):
        train(data, plan, plan.models[0], device="cpu", progress=False)
    assert data.decoded == []
    assert not plan.run_folder(plan.models[0]).exists()


def test_what_each_precision_turns_on() -> None:
    assert gradient_scaler("bf16", CPU).is_enabled() is False
    with autocast("bf16", CPU):
        assert torch.is_autocast_enabled("cpu")
    with autocast("float32", CPU):
        assert not torch.is_autocast_enabled("cpu")
    check_precision("float32", torch.device("mps"))
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    for precision, expected in (("tf32", True), ("float32", False), ("bf16", False)):
        with allow_tensor_cores(precision):
            assert (matmul.allow_tf32, cudnn.allow_tf32) == (expected, expected)
        assert (matmul.allow_tf32, cudnn.allow_tf32) == before
