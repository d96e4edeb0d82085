"""EfficientNets in every published layout start the encoder of protocol W, to the last bit.

The encoder of segmentation-models-pytorch pads strided convolutions on one side and divides by a
deviation that is a little larger; set to what torchvision and timm do, it returns their features.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from saltrust.errors import DataError
from saltrust.models.classifiers.classifying_unets import EncoderUNet
from saltrust.models.classifiers.registry import build
from saltrust.models.localizers.registry import build_localizer
from saltrust.models.tensor_names import common_layout
from saltrust.models.torchvision_operators import import_torchvision
from saltrust.models.weights import fit_pretrained_encoder, fit_weights

models = import_torchvision().models

import segmentation_models_pytorch as smp  # noqa: E402
import timm  # noqa: E402

Features = Callable[[Tensor], Tensor]


@functools.cache
def published(layout: str) -> tuple[nn.Module, Features]:
    """A network with random weights and statistics, and its last feature map before the head."""
    torch.manual_seed(0)
    if layout == "torchvision":
        net: Any = models.efficientnet_b0(weights=None, num_classes=7)
        features: Features = net.features[:-1]
    elif layout == "timm":
        net = timm.create_model("efficientnet_b0", num_classes=7)

        def features(inputs: Tensor) -> Tensor:
            result: Tensor = net.blocks(net.bn1(net.conv_stem(inputs)))
            return result
    else:
        unet = smp.Unet("efficientnet-b0", encoder_weights=None, classes=2)
        net = unet if layout == "smp U-Net" else unet.encoder

        def features(inputs: Tensor) -> Tensor:
            result: Tensor = unet.encoder.eval()(inputs)[-1]
            return result
    for name, buffer in net.named_buffers():
        if name.endswith("running_mean"):
            buffer.uniform_(-0.2, 0.2)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return net.eval(), features


def pad_as_others(encoder: nn.Module) -> None:
    for part in encoder.modules():
        if hasattr(part, "static_padding"):
            part.static_padding = nn.Identity()
            part.padding = tuple(side // 2 for side in part.kernel_size)  # type: ignore[union-attr]
        elif isinstance(part, nn.BatchNorm2d):
            part.eps = 1e-5


LAYOUTS = {
    "torchvision": ["classifier.1.weight", "classifier.1.bias"],
    "timm": ["classifier.weight", "classifier.bias"],
    "smp encoder": [],
    "smp U-Net": None,  # A decoder and a head of masks.
}


@pytest.mark.parametrize(("layout", "wrap"), [*((layout, "") for layout in LAYOUTS),
                                              ("timm", "module.model.")])
def test_the_encoder_of_protocol_w(tmp_path: Path, layout: str, wrap: str,
                                   caplog: pytest.LogCaptureFixture) -> None:
    net, features = published(layout)
    path = tmp_path / "efficientnet.pth"
    torch.save({f"{wrap}{name}": tensor for name, tensor in net.state_dict().items()}, path)
    ours = EncoderUNet(3).eval()
    head = ours.classification_head[-1].weight.clone()
    recorded = fit_pretrained_encoder(ours, path, "efficientnet_unet")
    assert recorded["head"] == "new"
    assert torch.equal(ours.classification_head[-1].weight, head)
    of_encoder = [name for name in net.state_dict()
                  if layout != "smp U-Net" or name.startswith("encoder.")]
    left = LAYOUTS[layout]
    if left is not None:
        assert recorded["left_over"] == [f"{wrap}{name}" for name in left]
        assert recorded["matched"] == [f"{wrap}{name}" for name in of_encoder if name not in left]
    else:
        assert recorded["matched"] == [f"{wrap}{name}" for name in of_encoder]
        assert all(name.startswith((f"{wrap}decoder.", f"{wrap}segmentation_head."))
                   for name in recorded["left_over"])
    assert f"{len(recorded['matched'])} tensors start the network" in caplog.text
    if layout in {"torchvision", "timm"}:
        pad_as_others(ours.encoder)
    inputs = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(ours.encoder(inputs)[-1], features(inputs))


@pytest.mark.parametrize(("layout", "architecture", "stem"), [
    ("timm", "efficientnet_b0", "features.0.0.weight"),
    ("smp U-Net", "efficientnet_b0", "features.0.0.weight"),
    ("torchvision", "timm:efficientnet_b0", "conv_stem.weight"),
    ("torchvision", "unet", "encoder._conv_stem.weight")])
def test_layouts_start_networks_of_other_layouts(tmp_path: Path, layout: str, architecture: str,
                                                 stem: str) -> None:
    net, _ = published(layout)
    path = tmp_path / "efficientnet.pth"
    torch.save(net.state_dict(), path)
    network = (build_localizer("unet", 2, encoder_name="efficientnet-b0", in_channels=3)
               if architecture == "unet" else build(architecture, 4))
    assert fit_pretrained_encoder(network, path, architecture)["head"] == "new"
    assert torch.equal(network.get_parameter(stem), next(iter(net.state_dict().values())))


def test_finished_weights_of_another_layout_load_too() -> None:
    net, _ = published("timm")
    ours = build("efficientnet_b0", 7).eval()
    fit_weights(ours, net.state_dict(), Path("w"), "efficientnet_b0")
    inputs = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(inputs), net(inputs), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("architecture", "words"), [
    ("efficientnet_b1", "not of architecture 'efficientnet_unet'"),
    ("mobilenet_v2", "missing")])
def test_another_network_is_refused(tmp_path: Path, architecture: str, words: str) -> None:
    path = tmp_path / "other.pth"
    torch.save(build(f"torchvision:{architecture}", 2).state_dict(), path)
    with pytest.raises(DataError, match=words):
        fit_pretrained_encoder(EncoderUNet(2), path, "efficientnet_unet")


def test_a_deeper_network_does_not_start_a_shallow_encoder(tmp_path: Path) -> None:
    path = tmp_path / "resnet101.pth"
    torch.save(build("torchvision:resnet101", 2).state_dict(), path)
    unet = build_localizer("unet", 2, encoder_name="resnet50", in_channels=3)
    with pytest.raises(DataError, match=r"left over|missing"):
        fit_pretrained_encoder(unet, path, "unet")


def test_its_own_weights_start_all_of_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source, ours = EncoderUNet(5), EncoderUNet(2)
    path = tmp_path / "unet.pth"
    torch.save(source.state_dict(), path)
    recorded = fit_pretrained_encoder(ours, path, "efficientnet_unet")
    assert recorded["left_over"] == ["classification_head.3.weight", "classification_head.3.bias"]
    assert torch.equal(ours.segmentation_head[0].weight, source.segmentation_head[0].weight)
    assert torch.equal(ours.encoder._conv_stem.weight, source.encoder._conv_stem.weight)


@pytest.mark.parametrize("name", ["efficientnet_b3", "mobilenet_v3_small", "convnext_tiny",
                                  "efficientnet_v2_s", "mnasnet0_5"])
def test_translated_names_are_as_many(name: str) -> None:
    with torch.device("meta"):
        state = models.get_model(name, weights=None).state_dict()
    layout = common_layout(state)
    assert len({layout.get(key, key) for key in state}) == len(state)
    assert bool(layout) is (name == "efficientnet_b3")
