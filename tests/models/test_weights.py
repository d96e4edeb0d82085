"""Tensors of a file find their network: wrappers, losses beside it, precisions, diverged values."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from saltrust.errors import DataError
from saltrust.models.answer import weight_dtype
from saltrust.models.classifiers.small import PhantomNet
from saltrust.models.weights import fit_pretrained, fit_weights

PATH = Path("last.ckpt")


def network(seed: int, n_outputs: int = 2) -> nn.Module:
    torch.manual_seed(seed)
    return PhantomNet(n_outputs, width=4)


def state(seed: int, prefix: str = "") -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor.clone()
            for name, tensor in network(seed).state_dict().items()}


def same(model: nn.Module, seed: int) -> bool:
    return all(torch.equal(tensor, other) for tensor, other in
               zip(model.state_dict().values(), state(seed).values(), strict=True))


@pytest.mark.parametrize("prefix", [
    "model.", "net.module.", "model._orig_mod.", "module._orig_mod.model.", "ema_model.module."])
@pytest.mark.parametrize("beside", [
    {"criterion.pos_weight": torch.ones(2)},
    {"loss_fn.pos_weight": torch.ones(2), "val_auroc.thresholds": torch.ones(5),
     "train_metrics.acc.tp": torch.ones(1)},
    {"n_averaged": torch.tensor(3)},
    {"criterion.net.weight": torch.ones(3, 3)},
    {"projector.0.weight": torch.ones(3, 3)},
    {},
])
def test_what_lies_beside_a_wrapped_network(prefix: str, beside: dict[str, Tensor],
                                            caplog: pytest.LogCaptureFixture) -> None:
    model = network(1)
    fit_weights(model, {**beside, **state(0, prefix)}, PATH, "phantom_net")
    assert same(model, 0)
    assert all(name in caplog.text for name in beside)


def test_a_loss_beside_a_network_that_is_not_wrapped(caplog: pytest.LogCaptureFixture) -> None:
    model = network(1)
    fit_weights(model, {"criterion.pos_weight": torch.ones(2), **state(0)}, PATH, "phantom_net")
    assert same(model, 0)
    assert "left aside is what belongs to no part of the network: criterion.pos_weight" in \
        caplog.text


@pytest.mark.parametrize("extra", [
    "features.9.weight", "attention.weight", "decoder.0.weight", "classifier.1.weight"])
def test_another_body_is_still_refused(extra: str) -> None:
    for prefix in ("", "model."):
        with pytest.raises(DataError, match="left over"):
            fit_weights(network(1), {**state(0, prefix), f"{prefix}{extra}": torch.ones(3, 3),
                                     "criterion.pos_weight": torch.ones(2)}, PATH, "phantom_net")


def test_averages_beside_the_network_are_not_taken_for_it() -> None:
    model = network(1)
    fit_weights(model, {**state(5, "ema_model."), **state(0, "model.")}, PATH, "phantom_net")
    assert same(model, 0)


def test_two_networks_are_not_chosen_between() -> None:
    model = network(1)
    both = {**state(0, "student."), **state(2, "teacher.")}
    with pytest.raises(DataError, match=r"twice, under 'student\.' and 'teacher\.'"):
        fit_weights(model, both, PATH, "phantom_net")
    assert same(model, 1)
    # One network of two names is one.
    fit_weights(model, {**state(0, "model."), **state(0, "backbone.")}, PATH, "phantom_net")
    assert same(model, 0)


def test_a_prefix_that_the_network_has_and_the_file_lacks() -> None:
    model = nn.Sequential()
    model.add_module("model", network(1))
    fit_weights(model, state(0), PATH, "wrapped")
    assert same(model.get_submodule("model"), 0)


def test_wrappers_inside_the_network() -> None:
    model = network(1)
    compiled = {name.replace("features.", "features._orig_mod."): tensor
                for name, tensor in state(0, "net.").items()}
    assert any("_orig_mod" in name for name in compiled)
    fit_weights(model, compiled, PATH, "phantom_net")
    assert same(model, 0)


def test_tied_weights_may_be_in_a_file_once() -> None:
    tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    tied[1].weight = tied[0].weight
    tensors = {name: torch.rand_like(tensor) for name, tensor in tied.state_dict().items()
               if name != "1.weight"}
    fit_weights(tied, tensors, PATH, "tied")
    assert torch.equal(tied.get_parameter("1.weight"), tensors["0.weight"])


def test_tables_of_other_versions_are_neither_missing_nor_left_over() -> None:
    class Windows(nn.Module):
        def __init__(self, table: str) -> None:
            super().__init__()
            self.fc = nn.Linear(2, 2)
            self.register_buffer(table, torch.arange(3))

    source, model = Windows("attn_mask"), Windows("relative_position_index")
    fit_weights(model, source.state_dict(), PATH, "swin")
    assert torch.equal(model.get_parameter("fc.weight"), source.get_parameter("fc.weight"))


def test_other_outputs_are_said_to_be_that() -> None:
    with pytest.raises(DataError, match=r"they have 3 outputs: say which, by position, in "
                                        r"`findings` under \[models.output\]"):
        fit_weights(network(1), network(0, 3).state_dict(), PATH, "phantom_net")


# Values ----------------------------------------------------------------------------------------


class Thresholds(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 2)
        self.register_buffer("limits", torch.ones(2))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_buffers_may_hold_anything_and_weights_may_not(value: float) -> None:
    tensors = {name: tensor.clone() for name, tensor in Thresholds().state_dict().items()}
    tensors["limits"][0] = value
    model = Thresholds()
    fit_weights(model, tensors, PATH, "x")
    assert torch.equal(model.get_buffer("limits").isfinite(), torch.tensor([False, True]))
    tensors["fc.bias"][0] = value
    with pytest.raises(DataError, match=r"NaN or infinite values in 'fc\.bias'"):
        fit_weights(model, tensors, PATH, "x")


def test_training_does_not_go_on_from_broken_statistics(tmp_path: Path) -> None:
    tensors = state(0)
    tensors["features.0.1.running_mean"][0] = float("nan")
    fit_weights(network(1), tensors, PATH, "phantom_net")  # The trial pass speaks of these.
    torch.save(tensors, tmp_path / "w.pth")
    with pytest.raises(DataError, match=r"features\.0\.1\.running_mean"):
        fit_pretrained(network(1), tmp_path / "w.pth", "phantom_net")


# Precision -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_keep_their_precision(dtype: torch.dtype) -> None:
    source, model = network(0).to(dtype).eval(), network(1).eval()
    fit_weights(model, source.state_dict(), PATH, "phantom_net")
    assert weight_dtype(model) == dtype
    inputs = torch.rand(2, 1, 32, 32).to(dtype)
    with torch.no_grad():
        assert torch.equal(model(inputs), source(inputs))
        assert model(inputs).dtype == dtype


@pytest.mark.parametrize(("one", "other", "common"), [
    (torch.float16, torch.float32, torch.float32), (torch.float16, torch.bfloat16, torch.float32),
    (torch.float32, torch.float64, torch.float64)])
def test_several_types_are_held_by_one(one: torch.dtype, other: torch.dtype, common: torch.dtype,
                                       caplog: pytest.LogCaptureFixture) -> None:
    tensors = {name: tensor.to(one if k % 2 else other) if tensor.is_floating_point() else tensor
               for k, (name, tensor) in enumerate(state(0).items())}
    model = network(1)
    fit_weights(model, tensors, PATH, "phantom_net")
    assert {weight.dtype for weight in model.parameters()} == {common}
    assert "are of several types" in caplog.text
    assert all(torch.equal(weight, tensors[name].to(common))
               for name, weight in model.state_dict().items())


def test_a_network_of_two_types_keeps_them(caplog: pytest.LogCaptureFixture) -> None:
    source = Thresholds()
    source.limits = torch.ones(2, dtype=torch.float64)
    model = Thresholds()
    model.limits = torch.zeros(2, dtype=torch.float64)
    fit_weights(model, source.state_dict(), PATH, "x")
    assert (weight_dtype(model), model.get_buffer("limits").dtype) == (
        torch.float32, torch.float64)
    assert caplog.text == ""


def test_training_starts_in_the_precision_of_the_network(tmp_path: Path) -> None:
    torch.save(network(0).half().state_dict(), tmp_path / "w.pth")
    model = network(1)
    fit_pretrained(model, tmp_path / "w.pth", "phantom_net")
    assert weight_dtype(model) == torch.float32


def test_the_card_says_what_was_matched(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "w.pth"
    source: dict[str, Any] = {**{f"model.{name}": tensor for name, tensor
                                 in network(0, 5).state_dict().items()},
                              "criterion.pos_weight": torch.ones(5)}
    torch.save({"state_dict": source}, path)
    with caplog.at_level(logging.WARNING):
        recorded = fit_pretrained(network(1), path, "phantom_net")
    left = ["model.classifier.weight", "model.classifier.bias", "criterion.pos_weight"]
    assert recorded["left_over"] == left
    assert recorded["matched"] == [name for name in source if name not in left]
    assert f"{len(recorded['matched'])} tensors start the network; left over: {left[0]}" in \
        caplog.text
