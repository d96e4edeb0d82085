import hashlib
import io
import json
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from saltrust.errors import DataError, UsageError
from saltrust.models import checkpoint
from saltrust.models.checkpoint import card_path, read_card, read_weights, save, write_card
from saltrust.models.classifiers.registry import build
from saltrust.models.classifiers.small import PhantomNet
from saltrust.models.weights import fit_pretrained, fit_weights


def network(seed: int, n_outputs: int = 2) -> nn.Module:
    torch.manual_seed(seed)
    return PhantomNet(n_outputs, width=4)


def same(a: nn.Module, b: nn.Module, but: str = "-") -> bool:
    other = b.state_dict()
    return all(torch.equal(tensor, other[name]) for name, tensor in a.state_dict().items()
               if not name.startswith(but))


def test_round_trip(tmp_path: Path) -> None:
    trained, path = network(0), tmp_path / "run" / "model.safetensors"
    written = save(trained, path, {"findings": ["a", "b"], "seed": 3})
    assert written["weights_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert json.loads(card_path(path).read_text()) == written == read_card(path)
    other = network(1)
    assert not same(trained, other)
    fit_weights(other, read_weights(path), path, "x")
    assert same(trained, other)
    inputs = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(trained.eval()(inputs), other.eval()(inputs))


@pytest.mark.parametrize("wrap", [
    lambda state: state,
    lambda state: {"state_dict": state, "epoch": 3},
    lambda state: {"model_state_dict": state, "optimizer": {"lr": 0.1}},
    lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
    lambda state: {"state_dict": {f"module.model.{name}": t for name, t in state.items()}},
    lambda state: {f"_orig_mod.{name}": tensor for name, tensor in state.items()},
    lambda state: {n: t for n, t in state.items() if not n.endswith("num_batches_tracked")},
])
def test_torch_files_as_training_scripts_leave_them(tmp_path: Path, wrap: Any) -> None:
    trained, other, path = network(0), network(1), tmp_path / "weights.pth"
    torch.save(wrap(trained.state_dict()), path)
    fit_weights(other, read_weights(path), path, "x")
    assert same(trained, other)


def test_safetensors_of_a_wrapped_model(tmp_path: Path) -> None:
    trained, other, path = network(0), network(1), tmp_path / "weights.safetensors"
    state = {f"module.{n}": t.contiguous() for n, t in trained.state_dict().items()}
    safetensors.torch.save_file(state, path)
    fit_weights(other, read_weights(path), path, "x")
    assert same(trained, other)


def test_tied_weights_can_be_saved(tmp_path: Path) -> None:
    tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    tied[1].weight = tied[0].weight
    save(tied, tmp_path / "model.safetensors", {})
    read = read_weights(tmp_path / "model.safetensors")
    assert torch.equal(read["0.weight"], read["1.weight"])


def test_old_densenet_names_and_the_auxiliary_head_of_inception(tmp_path: Path) -> None:
    dense = build("densenet121", 2)
    old = {re.sub(r"(denselayer.*)(norm|conv)([12])", r"\1\2.\3", name): tensor
           for name, tensor in dense.state_dict().items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    other = build("densenet121", 2)
    fit_weights(other, old, tmp_path / "x", "densenet121")
    assert same(dense, other)
    inception = build("inception_v3", 2, init_weights=False)
    with_head = {**inception.state_dict(), "AuxLogits.fc.weight": torch.zeros(2, 768)}
    fit_weights(inception, with_head, tmp_path / "x", "inception_v3")


def test_weights_of_another_architecture(tmp_path: Path) -> None:
    model = network(0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(DataError) as error:
        fit_weights(model, build("resnet18", 2).state_dict(), tmp_path / "r.pth", "phantom_net")
    message = str(error.value)
    assert str(tmp_path / "r.pth") in message
    assert "tensors missing (features.0.0.weight, " in message
    assert "left over (conv1.weight, " in message
    assert len(message) < 500  # A summary: resnet18 has 122 tensors.
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


def test_another_number_of_outputs_is_of_another_shape() -> None:
    with pytest.raises(DataError, match=r"2 tensors of another shape \(classifier.weight, "):
        fit_weights(network(0, 2), network(0, 3).state_dict(), Path("w"), "phantom_net")


def test_weights_that_diverged() -> None:
    state = network(0).state_dict()
    state["classifier.bias"][0] = float("nan")
    with pytest.raises(DataError, match=r"NaN or infinite.*classifier\.bias"):
        fit_weights(network(1), state, Path("w"), "phantom_net")


class Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.marker), "w"))


def test_a_torch_file_that_runs_code_is_not_run(tmp_path: Path) -> None:
    path, marker = tmp_path / "evil.pth", tmp_path / "marker"
    torch.save({"state_dict": {"w": torch.zeros(1)}, "x": Payload(marker)}, path)
    with pytest.raises(DataError, match=f"{path}.*run code"):
        read_weights(path)
    path.write_bytes(pickle.dumps(Payload(marker)))
    with pytest.raises(DataError, match=str(path)):
        read_weights(path)
    assert not marker.exists()


def _saved(content: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


@pytest.mark.parametrize(("name", "content"), [
    ("a.safetensors", b""),
    ("a.safetensors", b"garbage garbage"),
    ("a.safetensors", safetensors.torch.save({"w": torch.zeros(100)})[:-50]),
    ("a.pth", b""),
    ("a.pth", b"garbage"),
    ("a.pth", _saved({"w": torch.zeros(1000)})[:-500]),
    ("a.pth", _saved([1, 2])),
    ("a.pth", _saved({"epoch": 3})),
    ("a.pth", _saved({})),
])
def test_files_that_hold_no_weights(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=str(path)) as error:
        read_weights(path)
    assert "\n" not in str(error.value)
    assert "run code" not in str(error.value)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="do not exist"):
        read_weights(Path("nowhere.pth"))


def test_a_full_disk_keeps_the_weights_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.safetensors"
    first = save(network(0), path, {"best_epoch": 1})

    def full(*_: object) -> None:
        raise DataError("disk full")

    monkeypatch.setattr(checkpoint, "write_bytes", full)
    with pytest.raises(DataError):
        save(network(1), path, {"best_epoch": 2})
    assert read_card(path) == first
    other = network(1)
    fit_weights(other, read_weights(path), path, "x")
    assert same(other, network(0))


def test_a_power_cut_between_weights_and_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.safetensors"
    save(network(0), path, {"best_epoch": 1})

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "write_card", cut)
    with pytest.raises(KeyboardInterrupt):
        save(network(1), path, {"best_epoch": 2})
    card = read_card(path)
    assert card is not None
    assert card["best_epoch"] == 2  # The card inside the new weights, not the old one beside.


def test_a_card_of_other_weights(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(network(0).state_dict(), path)
    assert read_card(path) is None
    write_card(path, {"findings": ["a"], "weights_sha256": "0" * 64})
    with pytest.raises(DataError, match="other weights"):
        read_card(path)
    write_card(path, {"findings": ["a"]})
    assert read_card(path) == {"findings": ["a"]}


@pytest.mark.parametrize("text", ["", "{", "[1]", "\udcff"])
def test_a_card_that_cannot_be_read(tmp_path: Path, text: str) -> None:
    path = tmp_path / "weights.pth"
    torch.save(network(0).state_dict(), path)
    card_path(path).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=r"weights\.json"):
        read_card(path)


def test_a_card_may_not_hold_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        save(network(0), tmp_path / "model.safetensors", {"val_loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_pretrained_weights_for_other_findings(tmp_path: Path) -> None:
    path = tmp_path / "imagenet.pth"
    source, model, fresh = network(0, 5), network(1, 2), network(1, 2)
    torch.save(source.state_dict(), path)
    recorded = fit_pretrained(model, path, "phantom_net")
    assert recorded["head"] == "new"
    assert recorded["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert same(model, source, but="classifier")
    assert torch.equal(model.get_parameter("classifier.weight"),
                       fresh.get_parameter("classifier.weight"))
    assert fit_pretrained(network(1, 5), path, "phantom_net")["head"] == "loaded"


def test_pretrained_with_a_deeper_head_or_none(tmp_path: Path) -> None:
    path, source = tmp_path / "w.pth", network(0)
    body = {n: t for n, t in source.state_dict().items() if not n.startswith("classifier")}
    for head in ({}, {"classifier.1.weight": torch.zeros(9, 3)}):
        torch.save({**body, **head}, path)
        model = network(1)
        assert fit_pretrained(model, path, "phantom_net")["head"] == "new"
        assert same(model, source, but="classifier")


def test_pretrained_of_another_body_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(build("resnet18", 2).state_dict(), path)
    with pytest.raises(DataError, match="not of architecture 'phantom_net'"):
        fit_pretrained(network(0), path, "phantom_net")
    torch.save({"classifier.weight": torch.zeros(2, 16)}, path)
    with pytest.raises(DataError, match="missing"):
        fit_pretrained(network(0), path, "phantom_net")
