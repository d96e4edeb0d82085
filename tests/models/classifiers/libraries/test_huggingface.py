"""Folders of transformers: configuration, input, names of classes, and weights of any version."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from saltrust.errors import DataError, UsageError
from saltrust.models.answer import weight_dtype
from saltrust.models.checkpoint import read_weights
from saltrust.models.classifiers.libraries.registry import library_factory, published_findings
from saltrust.models.classifiers.registry import build
from saltrust.models.contract import preprocessing_of
from saltrust.models.preprocessing import Preprocessing
from saltrust.models.weights import fit_pretrained, fit_weights

library_factory("hf:any")  # Imports the library, whose torchvision needs a guard.

import transformers  # noqa: E402

Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def make(processor: dict[str, Any] | None = None, **config: Any) -> Path:
        """A tiny ViT as ``save_pretrained`` leaves it."""
        torch.manual_seed(0)
        settings = {"num_channels": 1, "num_labels": 2, **config}
        network = transformers.ViTForImageClassification(transformers.ViTConfig(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
            image_size=32, patch_size=8, **settings))
        nn.init.normal_(network.classifier.bias)
        (tmp_path / "config.json").write_text(json.dumps(
            {**network.config.to_diff_dict(), "architectures": ["ViTForImageClassification"]}))
        # Names as every released file has them, and later versions of the library do not.
        old = {_old_name(name): tensor for name, tensor in network.state_dict().items()}
        safetensors.torch.save_file(old, tmp_path / "model.safetensors", {"format": "pt"})
        torch.save(network.state_dict(), tmp_path / "now.pth")
        if processor is not None:
            (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
        return tmp_path

    return make


def _old_name(name: str) -> str:
    for new, old in (("vit.layers.", "vit.encoder.layer."), ("o_proj", "output.dense"),
                     ("mlp.fc1", "intermediate.dense"), ("mlp.fc2", "output.dense")):
        name = name.replace(new, old)
    for part in ("query", "key", "value"):
        name = name.replace(f"attention.{part[0]}_proj", f"attention.attention.{part}")
    return name


def logits(network: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        result: torch.Tensor = network(inputs).logits
    return result


@pytest.mark.parametrize("file", ["model.safetensors", "now.pth"])
@pytest.mark.parametrize("prefix", ["", "net."])
def test_weights_of_the_folder(save: Save, file: str, prefix: str) -> None:
    folder = save()
    source = transformers.ViTForImageClassification.from_pretrained(folder).eval()
    torch.manual_seed(1)
    network = build(f"hf:{folder}", 2).eval()
    inputs = torch.randn(2, 1, 32, 32)
    assert not torch.equal(logits(network, inputs), logits(source, inputs))
    tensors = {f"{prefix}{name}": tensor for name, tensor in read_weights(folder / file).items()}
    fit_weights(network, tensors, folder / file, "vit")
    assert torch.equal(logits(network, inputs), logits(source, inputs))
    assert logits(copy.deepcopy(network), inputs).shape == (2, 2)


def test_half_weights_stay_half(save: Save) -> None:
    folder = save()
    half = {name: tensor.half() for name, tensor in
            read_weights(folder / "model.safetensors").items()}
    network = build(f"hf:{folder}", 2)
    fit_weights(network, half, folder / "model.safetensors", "vit")
    assert weight_dtype(network) == torch.float16


def test_a_start_for_other_findings(save: Save) -> None:
    folder = save()
    network = build(f"hf:{folder}", 5)
    recorded = fit_pretrained(network, folder / "model.safetensors", "vit")
    assert recorded["head"] == "new"
    assert recorded["left_over"] == ["classifier.bias", "classifier.weight"] or set(
        recorded["left_over"]) == {"classifier.bias", "classifier.weight"}


def test_missing_tensors_are_not_drawn_at_random(save: Save) -> None:
    folder = save()
    tensors = read_weights(folder / "model.safetensors")
    del tensors["vit.encoder.layer.1.intermediate.dense.bias"]
    with pytest.raises(DataError, match=r"1 tensors missing \(vit\.layers\.1\.mlp\.fc1\.bias"):
        fit_weights(build(f"hf:{folder}", 2), tensors, folder, "vit")


NAMED = {"id2label": {0: "Normal", 1: "Pneumonia"}, "label2id": {"Normal": 0, "Pneumonia": 1}}


@pytest.mark.parametrize(("config", "n_outputs", "output"), [
    ({}, 2, {"select": "logits", "kind": "softmax"}),
    (NAMED, 2, {"select": "logits", "kind": "softmax", "findings": ["Normal", "Pneumonia"]}),
    (NAMED, 3, {"select": "logits", "kind": "softmax"}),
    ({**NAMED, "problem_type": "multi_label_classification"}, 2,
     {"select": "logits", "kind": "logits", "findings": ["Normal", "Pneumonia"]}),
    ({"num_labels": 1}, 1, {"select": "logits", "kind": "logits"}),
])
def test_what_the_outputs_are(save: Save, config: dict[str, Any], n_outputs: int,
                              output: dict[str, Any]) -> None:
    folder = save(**{key: value for key, value in config.items() if key != "num_labels"},
                  **({"num_labels": config["num_labels"]} if "num_labels" in config else {}))
    network = build(f"hf:{folder}", n_outputs)
    assert network.output == output
    assert published_findings(f"hf:{folder}", {}) == (
        ["Normal", "Pneumonia"] if "id2label" in config else None)


@pytest.mark.parametrize(("processor", "channels", "contract"), [
    ({"image_mean": [0.4], "image_std": [0.2], "rescale_factor": 1 / 255}, 1,
     Preprocessing((0.4,), (0.2,), 1)),
    ({"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}, 1,
     Preprocessing((0.5,), (0.5,), 1)),
    ({"image_mean": [0.1, 0.2, 0.3], "image_std": [1, 2, 3], "do_rescale": False}, 3,
     Preprocessing((0.1, 0.2, 0.3), (1.0, 2.0, 3.0), 3, (0.0, 255.0))),
    ({"do_normalize": False, "image_mean": [0.5], "image_std": [0.5]}, 1,
     Preprocessing((0.0,), (1.0,), 1)),
    ({"image_mean": [0.0], "image_std": [1.0], "rescale_factor": 1 / 127.5,
      "rescale_offset": True}, 1, Preprocessing((0.0,), (1.0,), 1, (-1.0, 1.0))),
    (None, 3, Preprocessing((0.5,) * 3, (0.5,) * 3, 3)),
])
def test_what_the_input_is(save: Save, processor: dict[str, Any] | None, channels: int,
                           contract: Preprocessing) -> None:
    folder = save(processor, num_channels=channels)
    assert preprocessing_of("hf", build(f"hf:{folder}", 2)) == contract


def test_files_that_do_not_fit(save: Save) -> None:
    folder = save({"image_mean": [0.1, 0.2, 0.3], "image_std": [1, 1, 1]})
    with pytest.raises(DataError, match=r"preprocessor_config\.json.*3 channels.*1"):
        build(f"hf:{folder}", 2)
    (folder / "preprocessor_config.json").write_text("{")
    with pytest.raises(DataError, match=r"preprocessor_config\.json cannot be read"):
        build(f"hf:{folder}", 2)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UsageError, match="'bert' is no image classifier"):
        build(f"hf:{folder}", 2)
    for content in ("{", '{"model_type": "nothing"}',
                    '{"model_type": "mine", "auto_map": {"AutoConfig": "evil.Config"}}'):
        (folder / "config.json").write_text(content)
        (folder / "evil.py").write_text("raise SystemExit('run')")
        with pytest.raises(DataError, match=r"config\.json is no configuration"):
            build(f"hf:{folder}", 2)
