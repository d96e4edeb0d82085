"""Grad-CAM++ and Eigen-CAM: pytorch-grad-cam, singular values, closed forms."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from saltrust.explainers.explain import explain
from saltrust.explainers.methods.class_activation import eigencam, gradcam, gradcam_plus_plus
from saltrust.explainers.passes.forward import run_forward
from saltrust.explainers.registry import resolve
from saltrust.models.classifiers.registry import build
from saltrust.models.torchvision_operators import import_torchvision
from saltrust.study import ExplainerSpec


@pytest.fixture(scope="module")
def peers() -> Any:
    # pytorch-grad-cam imports torchvision, which may lack its compiled operators.
    import_torchvision()
    return importlib.import_module("pytorch_grad_cam")


def peer_map(peer: Any, network: nn.Module, layer: str, images: Tensor, finding: int) -> Tensor:
    """What pytorch-grad-cam computes before it stretches each map to [0, 1]."""
    forward = run_forward(network, images, layers=(layer,))
    features = forward.features[layer]
    gradient = forward.gradient(finding, features)
    weights = peer.get_cam_weights(None, images, None, None, features.detach().numpy(),
                                   gradient.numpy())
    maps = torch.as_tensor((weights[:, :, None, None] * features.detach().numpy()).sum(axis=1))
    return upsample(maps.relu(), images)


def upsample(maps: Tensor, images: Tensor) -> Tensor:
    return functional.interpolate(maps[:, None], size=images.shape[2:], mode="bilinear")[:, 0]


@pytest.mark.parametrize(("method", "peer"), [
    (gradcam, "GradCAM"), (gradcam_plus_plus, "GradCAMPlusPlus")])
@pytest.mark.parametrize(("architecture", "layer"), [
    (None, "act"), ("resnet18", "layer4"), ("phantom_net", "features")])
def test_pytorch_grad_cam_agrees(
    peers: Any, make_network: Callable[..., nn.Module], method: Any, peer: str,
    architecture: str | None, layer: str,
) -> None:
    torch.manual_seed(5)
    network = build(architecture, 3) if architecture else make_network(findings=3)
    network = network.double().eval()
    head = [part for part in network.modules() if isinstance(part, nn.Linear)][-1]
    # The peer adds 1e-6 to a denominator of squared gradients, which must be far above.
    head.weight.data *= 1e8
    channels = 1 if architecture == "phantom_net" else 3
    images = torch.rand(2, channels, 64, 48, dtype=torch.float64)
    maps = method(network, images, [2, 0], layer=layer)
    for position, finding in enumerate([2, 0]):
        expected = peer_map(getattr(peers, peer), network, layer, images, finding)
        torch.testing.assert_close(maps[:, position], expected, rtol=1e-5,
                                   atol=1e-6 * float(expected.max()))
    assert maps.max() > 0


def test_gradcam_plus_plus_by_hand() -> None:
    """Constant gradients g: a = 1 / (2 + g S), so that w = positions * g * a where g > 0."""
    network = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.AdaptiveAvgPool2d(1),
                            nn.Flatten(), nn.Linear(2, 2, bias=False))
    network.load_state_dict({
        "0.weight": torch.tensor([1.0, 2.0]).view(2, 1, 1, 1),
        "3.weight": torch.tensor([[4.0, -8.0], [4.0, 8.0]]),
    })
    images = torch.tensor([[0.0, 1.0, 2.0, 3.0]]).view(1, 1, 2, 2)
    maps = gradcam_plus_plus(network, images, [0, 1])
    # Sums of the feature maps: 6 and 12; gradients 1 and, for the second logit, 2.
    first = 4 * 1 / (2 + 6)
    second = 4 * 2 / (2 + 2 * 12)
    torch.testing.assert_close(maps[0, 0], images[0, 0] * first)
    torch.testing.assert_close(maps[0, 1], images[0, 0] * (first + 2 * second))


@pytest.mark.parametrize("layer", ["first", "block", "act"])
def test_eigencam_is_the_first_singular_vector(
    network: nn.Module, images: Tensor, layer: str
) -> None:
    network, images = network.double().eval(), images.double()
    maps = eigencam(network, images, [0, 3], layer=layer)
    features = run_forward(network, images, layers=(layer,)).features[layer].detach().numpy()
    for image in range(3):
        flat = features[image].reshape(features.shape[1], -1).T
        left, values, _ = np.linalg.svd(flat, full_matrices=False)
        component = left[:, 0] * values[0]
        component = component * np.sign(component @ flat.sum(axis=1))
        expected = upsample(torch.as_tensor(component).view(1, *features.shape[2:]), images)
        for finding in range(2):
            torch.testing.assert_close(maps[image, finding], expected[0], rtol=1e-7, atol=1e-9)


def test_eigencam_of_more_positions_than_channels_and_fewer() -> None:
    for channels in (3, 200):
        torch.manual_seed(channels)
        network = nn.Sequential(nn.Conv2d(1, channels, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                                nn.Linear(channels, 1)).double()
        images = torch.rand(1, 1, 10, 12, dtype=torch.float64)
        maps = eigencam(network, images, [0], layer="0")
        flat = network[0](images)[0].flatten(1).T.detach()
        # No other direction explains more of the sum of squares.
        explained = torch.linalg.svdvals(flat)[0]
        small = functional.interpolate(maps, (8, 10), mode="bilinear")
        assert small.norm() < explained * 1.3
        assert (maps.sum() > 0) == (flat.sum() > 0)


@pytest.mark.parametrize("architecture", ["resnet18", "densenet121"])
def test_pytorch_grad_cam_agrees_on_the_centered_component(
    peers: Any, architecture: str
) -> None:
    torch.manual_seed(5)
    network = build(architecture, 2).double().eval()
    images = torch.rand(2, 3, 96, 96, dtype=torch.float64)
    layer = {"resnet18": "layer4", "densenet121": "features"}[architecture]
    maps = eigencam(network, images, [0], centered=True)
    features = run_forward(network, images, layers=(layer,)).features[layer].detach().numpy()
    projection = peers.utils.svd_on_activations.get_2d_projection(features)
    expected = upsample(torch.as_tensor(projection).double(), images)
    for image_map, other in zip(maps[:, 0], expected, strict=True):
        turned = other * torch.sign((image_map * other).sum())
        torch.testing.assert_close(image_map, turned, rtol=1e-4,
                                   atol=1e-4 * float(image_map.abs().max()))


def test_rectified_features_give_an_eigencam_without_negative_values(
    network: nn.Module, images: Tensor
) -> None:
    maps = eigencam(network.eval(), images, [0], layer="act")
    assert maps.min() > -1e-6
    assert maps.max() > 0.01


def test_all_share_the_feature_maps_of_one_pass(network: nn.Module, images: Tensor) -> None:
    calls: list[int] = []
    names = ["gradcam", "gradcam_plus_plus", "eigencam"]
    fitted = [resolve(ExplainerSpec(name)).fit(network, images[:1]) for name in names]
    handle = network.register_forward_hook(lambda *_: calls.append(1))
    explanation = explain(network, images, [1, 2], fitted)
    handle.remove()
    assert len(calls) == 1
    for name, method in zip(names, (gradcam, gradcam_plus_plus, eigencam), strict=True):
        torch.testing.assert_close(explanation.heatmaps[name],
                                   method(network, images, [1, 2], layer="block"))
