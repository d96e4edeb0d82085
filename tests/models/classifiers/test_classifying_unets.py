"""Classifiers with a decoder: one network, two outputs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from saltrust.errors import UsageError
from saltrust.models.classifiers.decoding import DecodingClassifier
from saltrust.models.classifiers.registry import build
from saltrust.models.contract import preprocessing_of
from saltrust.models.preprocessing import to_input
from saltrust.models.stages import natural_stages
from saltrust.models.trial import Expected, try_network

NAMES = ["efficientnet_unet", "phantom_unet"]


@pytest.mark.parametrize("name", NAMES)
def test_both_outputs_come_from_one_pass(name: str) -> None:
    torch.manual_seed(0)
    network = build(name, 3).eval()
    assert isinstance(network, DecodingClassifier)
    pixels = torch.randint(0, 256, (2, 64, 96), dtype=torch.uint8)
    inputs = to_input(pixels, preprocessing_of(name, network))
    logits, decoded = network.with_decoder(inputs)
    torch.testing.assert_close(logits, network(inputs), rtol=1e-6, atol=1e-6)
    assert decoded.shape == (2, 64, 96)
    # The decoder sees what is in the image, and where.
    assert decoded.std() > 0


@pytest.mark.parametrize("name", NAMES)
def test_the_decoder_shares_the_encoder_and_not_the_head(name: str) -> None:
    network = build(name, 2)
    assert isinstance(network, DecodingClassifier)
    inputs = torch.randn(2, preprocessing_of(name, network).channels, 64, 64)
    _, decoded = network.with_decoder(inputs)
    decoded.sum().backward()
    moved = {part for part, weight in network.named_parameters() if weight.grad is not None
             and bool(weight.grad.abs().sum() > 0)}
    encoder = "encoder." if name == "efficientnet_unet" else "features."
    head = "classification_head." if name == "efficientnet_unet" else "classifier."
    assert any(part.startswith(encoder) for part in moved)
    assert not any(part.startswith(head) for part in moved)


@pytest.mark.parametrize("name", NAMES)
def test_randomization_reaches_every_weight(name: str) -> None:
    network = build(name, 2)
    stages = natural_stages(network, torch.zeros(1, preprocessing_of(name, network).channels,
                                                 64, 64))
    entries = [entry for stage in stages for entry in stage.entries]
    assert sorted(entries) == sorted(network.state_dict())


def test_the_encoder_is_efficientnet_b0() -> None:
    network = build("efficientnet_unet", 3)
    peer = build("efficientnet_b0", 3)
    kernels = [[tuple(part.weight.shape) for part in net.modules() if isinstance(part, nn.Conv2d)]
               for net in (network.get_submodule("encoder"), peer)]
    # All 81 convolutions of the published network, in its order, the last being of its own head.
    assert kernels[0] == kernels[1]
    other = build("efficientnet_unet", 3, encoder="resnet18")
    assert isinstance(other, DecodingClassifier)


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(UsageError, match="did you mean"):
        build("efficientnet_unet", 3, encoder="efficientnet-bO")
    network = build("efficientnet_unet", 3)
    with pytest.raises(UsageError, match="multiples of 32"):
        try_network(network, Expected(
            "efficientnet_unet", preprocessing_of("efficientnet_unet", network), (100, 100), 3))
