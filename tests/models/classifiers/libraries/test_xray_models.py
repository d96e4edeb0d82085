"""Published networks of torchxrayvision: logits, whatever operating points their files hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from saltrust.models.checkpoint import read_weights
from saltrust.models.classifiers.libraries.registry import library_factory, published_findings
from saltrust.models.classifiers.registry import build
from saltrust.models.weights import fit_weights

library_factory("torchxrayvision:DenseNet")  # Imports the library, whose torchvision needs a guard.

import torchxrayvision as xrv  # noqa: E402

SMALL: dict[str, Any] = {"block_config": (1, 1, 1, 1), "growth_rate": 4, "num_init_features": 8}


def published(path: Path, name: str) -> xrv.models.DenseNet:
    """A file as of the library's network after its own weights were loaded: with thresholds."""
    torch.manual_seed(0)
    network = xrv.models.DenseNet(**SMALL)
    network.op_threshs = torch.tensor(xrv.models.model_urls[name]["op_threshs"])
    torch.save(network.state_dict(), path)
    return network.eval()


@pytest.mark.parametrize("name", ["densenet121-res224-all", "densenet121-res224-nih",
                                  "densenet121-res224-chex"])
def test_logits_are_those_before_the_thresholds(tmp_path: Path, name: str) -> None:
    path = tmp_path / "weights.pt"
    source = published(path, name)
    tensors = read_weights(path)
    assert tensors["op_threshs"].shape == (18,)
    network = build("torchxrayvision:DenseNet", 18, **SMALL).eval()
    fit_weights(network, tensors, path, "x")
    inputs = 1024 * (2 * torch.rand(2, 1, 64, 64) - 1)
    with torch.no_grad():
        calibrated = source(inputs)
        source.op_threshs = None
        assert torch.equal(network(inputs), source(inputs))
        assert not torch.equal(calibrated, source(inputs))


@pytest.mark.parametrize("name", ["densenet121-res224-all", "densenet121-res224-nih",
                                  "densenet121-res224-rsna", "densenet121-res224-pc"])
@pytest.mark.parametrize("architecture", ["DenseNet", None])
def test_what_published_weights_predict(tmp_path: Path, name: str, architecture: str | None
                                        ) -> None:
    path = tmp_path / "weights.pt"
    published(path, name)
    findings = published_findings(f"torchxrayvision:{architecture or name}", read_weights(path))
    assert findings == xrv.models.model_urls[name]["labels"]


def test_weights_for_other_findings_say_nothing() -> None:
    network = build("torchxrayvision:DenseNet", 3, **SMALL)
    assert published_findings("torchxrayvision:DenseNet", network.state_dict()) is None
    assert published_findings("timm:resnet18", network.state_dict()) is None
    assert published_findings("densenet121", network.state_dict()) is None


def test_published_resnets() -> None:
    """Their files are of torchvision's network with one channel; so is what the library wraps."""
    source = build("torchxrayvision:resnet50-res512-all", 18, width_per_group=4)
    wrapped = {f"model.{name}": tensor for name, tensor in source.state_dict().items()}
    wrapped["op_threshs"] = torch.full((18,), torch.nan)
    network = build("torchxrayvision:ResNet", 18, width_per_group=4)
    fit_weights(network, wrapped, Path("w"), "x")
    assert torch.equal(network.get_parameter("conv1.weight"), source.get_parameter("conv1.weight"))
    assert source.get_parameter("conv1.weight").shape[1] == 1
    assert published_findings("torchxrayvision:resnet50-res512-all", wrapped) == \
        xrv.datasets.default_pathologies
