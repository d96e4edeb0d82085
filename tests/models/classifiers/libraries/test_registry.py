"""Architectures by the names of other libraries: tiny, random, with the input they state."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from saltrust.errors import UsageError
from saltrust.models.classifiers.libraries.registry import LIBRARIES, located
from saltrust.models.classifiers.registry import build
from saltrust.models.contract import preprocessing_of
from saltrust.models.localizers.registry import build_localizer
from saltrust.models.preprocessing import Preprocessing

HALF, IMAGENET = ((0.5,) * 3, (0.5,) * 3), ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize(("architecture", "arguments", "size", "contract"), [
    ("timm:test_convnext", {}, 64, Preprocessing(*HALF, 3)),
    ("timm:test_vit", {"img_size": 64, "in_chans": 1}, 64, Preprocessing((0.5,), (0.5,), 1)),
    ("timm:resnet10t", {"in_chans": 1}, 64,
     Preprocessing(((0.485 + 0.456 + 0.406) / 3,), ((0.229 + 0.224 + 0.225) / 3,), 1)),
    ("torchvision:mobilenet_v3_small", {}, 64, Preprocessing(*IMAGENET, 3)),
    ("torchvision:googlenet", {"init_weights": False}, 64, Preprocessing(*HALF, 3)),
    ("monai:DenseNet", {"init_features": 4, "growth_rate": 2, "block_config": [1, 1]}, 32,
     Preprocessing((0.0,), (1.0,), 1)),
    ("monai:resnet10", {"in_channels": 3, "widen_factor": 0.1}, 32,
     Preprocessing((0.0,) * 3, (1.0,) * 3, 3)),
    ("torchxrayvision:DenseNet", {"block_config": [1, 1, 1, 1], "growth_rate": 4}, 64,
     Preprocessing((0.0,), (1.0,), 1, (-1024.0, 1024.0))),
    ("torchxrayvision:ResNet", {"width_per_group": 4}, 64,
     Preprocessing((0.0,), (1.0,), 1, (-1024.0, 1024.0))),
])
def test_logits_and_the_stated_input(architecture: str, arguments: dict[str, Any], size: int,
                                     contract: Preprocessing) -> None:
    torch.manual_seed(0)
    network = build(architecture, 3, **arguments).eval()
    preprocessing = preprocessing_of(architecture, network)
    assert (preprocessing.channels, preprocessing.input_range) == (contract.channels,
                                                                   contract.input_range)
    assert preprocessing.mean == pytest.approx(contract.mean)
    assert preprocessing.std == pytest.approx(contract.std)
    with torch.no_grad():
        logits = network(torch.randn(2, contract.channels, size, size))
    assert logits.shape == (2, 3)


def test_weights_are_drawn_from_the_seed() -> None:
    states = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        states.append(build("torchxrayvision:DenseNet", 2, block_config=[1], growth_rate=2)
                      .state_dict()["features.conv0.weight"])
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


@pytest.mark.parametrize(("architecture", "words"), [
    ("timm:convnext_ato", r"timm has no classifier 'convnext_ato'; did you mean 'convnext_atto'"),
    ("timm:resnet18.nothing", "no classifier"), ("timm:hf-hub:timm/x", "no classifier"),
    ("timm:", "no classifier"),
    ("torchvision:resnet81", "did you mean 'resnet18'"),
    ("torchvision:fcn_resnet50", "torchvision has no classifier"),
    ("monai:Densenet11", "did you mean 'DenseNet121'"), ("monai:UNETR", "no classifier"),
    ("torchxrayvision:DenseNet121", "did you mean 'DenseNet'"),
    ("hf:nowhere", r"must name a folder with config\.json"),
])
def test_unknown_names(architecture: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as error:
        build(architecture, 2)
    assert len(str(error.value)) < 400  # Not a library's whole list.


@pytest.mark.parametrize(("architecture", "arguments", "words"), [
    ("timm:test_vit", {"pretrained": True}, "'pretrained': give weights as a local file"),
    ("timm:test_vit", {"num_classes": 5}, "'num_classes': there is one output per finding"),
    ("timm:test_vit", {"width": 5}, "does not take the arguments"),
    ("torchvision:resnet18", {"weights": "DEFAULT"}, "'weights': give weights as a local file"),
    ("torchvision:resnet18", {"replace_stride_with_dilation": [1]}, "cannot be built with"),
    ("torchxrayvision:DenseNet", {"op_threshs": [0.5]}, "leave logits as they are"),
    ("torchxrayvision:DenseNet", {"apply_sigmoid": True}, "leave logits as they are"),
    ("torchxrayvision:DenseNet", {"weights": "densenet121-res224-all"}, "local file"),
    ("monai:DenseNet121", {"spatial_dims": 3}, "spatial_dims must be 2"),
    ("monai:DenseNet121", {"pretrained": True}, "local file"),
])
def test_arguments_that_are_not_taken(architecture: str, arguments: dict[str, Any],
                                      words: str) -> None:
    with pytest.raises(UsageError, match=words):
        build(architecture, 2, **arguments)


@pytest.mark.parametrize("library", ["timm", "monai", "torchxrayvision", "hf"])
def test_a_library_that_is_not_installed(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package = LIBRARIES[library].package
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec",
                        lambda name, *rest: None if name == package else find(name, *rest))
    monkeypatch.delitem(sys.modules, package, raising=False)
    with pytest.raises(UsageError, match=rf"needs {package}, which is not installed: install the "
                                         rf"extra, `pip install saltrust\[{library}\]`"):
        build(f"{library}:anything", 2)


def test_classifiers_of_libraries_do_not_localize() -> None:
    with pytest.raises(UsageError, match="classifies; a localizer is one of unet"):
        build_localizer("timm:resnet18", 2)


def test_only_folders_are_looked_for_beside_the_study() -> None:
    folder = Path("/study")
    assert located("hf:/nets/vit", folder) == "hf:/nets/vit"
    assert located("hf:~/vit", folder) == f"hf:{Path('~/vit').expanduser()}"
    assert located("mynet:Net", folder) == "mynet:Net"
