"""The maps themselves: closed forms, finite differences, captum."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from captum.attr import LayerAttribution, LayerGradCam, Saliency
from torch import Tensor, nn

from saltrust.explainers.explain import explain
from saltrust.explainers.methods.class_activation import gradcam
from saltrust.explainers.methods.gradient import grad
from saltrust.explainers.passes.layers import feature_layer
from saltrust.explainers.registry import resolve
from saltrust.models.classifiers.registry import build
from saltrust.study import ExplainerSpec


class Linear(nn.Module):
    """Logits that are a known linear form of the pixels."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.einsum("bcyx,fcyx->bf", inputs, self.weights)


def test_the_gradient_of_a_linear_form_is_its_weights_summed_over_channels() -> None:
    weights = torch.randn(5, 3, 4, 6)
    maps = grad(Linear(weights), torch.rand(2, 3, 4, 6), [4, 1])
    expected = weights[[4, 1]].sum(dim=1).expand(2, -1, -1, -1)
    torch.testing.assert_close(maps, expected)
    assert (maps < 0).any()


def test_the_gradient_equals_finite_differences_along_the_gray_axis(network: nn.Module) -> None:
    network = network.double().eval()
    gray = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    maps = grad(network, gray.expand(-1, 3, -1, -1), [0, 2])
    step = 1e-6
    for y, x in [(0, 0), (3, 5), (7, 7), (4, 1)]:
        shift = torch.zeros_like(gray)
        shift[:, :, y, x] = step
        with torch.no_grad():
            up = network((gray + shift).expand(-1, 3, -1, -1))
            down = network((gray - shift).expand(-1, 3, -1, -1))
        torch.testing.assert_close(
            maps[:, :, y, x], ((up - down) / (2 * step))[:, [0, 2]], rtol=1e-6, atol=1e-9
        )


def test_images_of_a_batch_are_explained_each_on_its_own(
    network: nn.Module, images: Tensor
) -> None:
    for method in (grad, gradcam):
        together = method(network.double(), images.double(), [0, 1, 2, 3])
        alone = torch.cat(
            [method(network, image[None].double(), [0, 1, 2, 3]) for image in images]
        )
        torch.testing.assert_close(together, alone, rtol=1e-10, atol=1e-14)


def test_gradcam_by_hand() -> None:
    """Two feature maps, mean pooling: weights are head / positions."""
    network = nn.Sequential(
        nn.Conv2d(1, 2, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(2, 2, bias=False),
    )
    network.load_state_dict({
        "0.weight": torch.tensor([1.0, -2.0]).view(2, 1, 1, 1),
        "3.weight": torch.tensor([[3.0, 1.0], [1.0, 1.0]]),
    })
    images = torch.tensor([[-1.0, 0.0, 1.0, 2.0]]).view(1, 1, 2, 2)
    maps = gradcam(network, images, [0, 1])
    # 3 A - 2 A = A and A - 2 A = -A, over four positions, rectified.
    expected = torch.tensor([[[0, 0, 1, 2]], [[1, 0, 0, 0]]]).view(1, 2, 2, 2) / 4
    torch.testing.assert_close(maps, expected)


def test_gradcam_is_upsampled_bilinearly_with_half_pixel_centers() -> None:
    network = nn.Sequential(
        nn.AvgPool2d(2), nn.Conv2d(1, 1, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    network.load_state_dict({"1.weight": torch.ones(1, 1, 1, 1)})
    images = torch.tensor([0.0, 8.0]).repeat_interleave(2).repeat(2, 1).view(1, 1, 2, 4)
    maps = gradcam(network, images, [0])
    # Weight 1 / 2 positions; columns at -1/4, 1/4, 3/4, 5/4 between the two, edges held.
    torch.testing.assert_close(maps[0, 0, 0], torch.tensor([0.0, 1.0, 3.0, 4.0]))


@pytest.mark.parametrize(
    ("architecture", "size", "channels", "layer"),
    [
        ("densenet121", 64, 3, "features"),
        ("resnet18", 64, 3, "layer4"),
        ("phantom_net", 48, 1, "features"),
        (None, 20, 3, "block"),
    ],
)
def test_captum_agrees(
    make_network: Callable[..., nn.Module], architecture: str | None, size: int, channels: int,
    layer: str,
) -> None:
    torch.manual_seed(5)
    network = build(architecture, 3) if architecture else make_network(findings=3)
    network = network.double().eval()
    images = torch.rand(2, channels, size, size, dtype=torch.float64)
    methods = [resolve(ExplainerSpec(name)) for name in ("grad", "gradcam")]
    explanation = explain(network, images, [2, 0], methods)
    assert feature_layer(network, images[:1]) == layer
    torch.testing.assert_close(explanation.logits, network(images).detach())
    for position, finding in enumerate([2, 0]):
        saliency = _captum_gradient(network, images, finding)
        torch.testing.assert_close(
            explanation.heatmaps["grad"][:, position], saliency, rtol=1e-9, atol=1e-15
        )
        maps = _captum_gradcam(network, network.get_submodule(layer), images, finding)
        torch.testing.assert_close(
            explanation.heatmaps["gradcam"][:, position], maps, rtol=1e-9, atol=1e-15
        )
        assert saliency.abs().max() > 0
    assert explanation.heatmaps["gradcam"].max() > 0


def test_captum_agrees_on_a_chosen_layer(network: nn.Module, images: Tensor) -> None:
    network = network.double().eval()
    images = images.double()
    maps = gradcam(network, images, [1], layer="first")
    expected = _captum_gradcam(network, network.get_submodule("first"), images, 1)
    torch.testing.assert_close(maps[:, 0], expected, rtol=1e-9, atol=1e-15)
    assert not torch.equal(maps, gradcam(network, images, [1]))


def _captum_gradient(network: nn.Module, images: Tensor, finding: int) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        attribution: Tensor = Saliency(network).attribute(
            images.clone().requires_grad_(), target=finding, abs=False)
    return attribution.detach().sum(dim=1)


def _captum_gradcam(network: nn.Module, layer: nn.Module, images: Tensor, finding: int) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        maps = LayerGradCam(network, layer).attribute(
            images.clone().requires_grad_(), target=finding, relu_attributions=True)
        size = tuple(images.shape[2:])
        maps = LayerAttribution.interpolate(maps, size, interpolate_mode="bilinear")
    return maps.detach()[:, 0]
