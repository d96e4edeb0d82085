"""Other packages inside a user's own explainer, and calls inside no_grad and inference_mode."""

from __future__ import annotations

import gc
import importlib
import warnings
from typing import Any

import pytest
import torch
from captum.attr import LayerGradCam, Saliency
from torch import Tensor, nn

from saltrust.errors import DataError
from saltrust.explainers.bound import bind
from saltrust.explainers.declaration import Explainer
from saltrust.explainers.explain import explain
from saltrust.explainers.methods.class_activation import gradcam
from saltrust.explainers.methods.gradient import grad
from saltrust.explainers.registry import BUILT_IN, resolve
from saltrust.models.torchvision_operators import import_torchvision
from saltrust.study import ExplainerSpec


def stretched(maps: Tensor) -> Tensor:
    low = maps.amin((2, 3), keepdim=True)
    return (maps - low) / (maps - low).amax((2, 3), keepdim=True)


def grad_cam_of_a_peer(module: nn.Module, inputs: Tensor, outputs: Any) -> Tensor:
    import_torchvision()
    peer = importlib.import_module("pytorch_grad_cam")
    targets = importlib.import_module("pytorch_grad_cam.utils.model_targets")
    cam = peer.GradCAM(model=module, target_layers=[module.get_submodule("first")])
    maps = [torch.as_tensor(cam(inputs, [targets.ClassifierOutputTarget(k)] * len(inputs)))
            for k in outputs]
    return torch.stack(maps, dim=1)


def layer_of_captum(module: nn.Module, inputs: Tensor, outputs: Any) -> Tensor:
    peer = LayerGradCam(module, module.get_submodule("first"))
    maps = [peer.attribute(inputs, target=k, relu_attributions=True) for k in outputs]
    return nn.functional.interpolate(torch.cat(maps, 1), inputs.shape[2:], mode="bilinear")


def saliency_of_captum(module: nn.Module, inputs: Tensor, outputs: Any) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        maps = [Saliency(module).attribute(inputs, target=k, abs=False) for k in outputs]
    return torch.stack([one.sum(1) for one in maps], dim=1)


def plain_numbers(module: nn.Module, inputs: Tensor, outputs: Any) -> Tensor:
    # As may be written where nothing carries a gradient.
    share = torch.from_numpy(module(inputs).numpy()).mean()
    return share * inputs[:, :1].expand(-1, len(outputs), -1, -1)


@pytest.mark.parametrize("function", [grad_cam_of_a_peer, layer_of_captum, saliency_of_captum,
                                      plain_numbers])
def test_other_packages_can_be_used_inside_an_explainer(
    function: Any, network: nn.Module, images: Tensor
) -> None:
    network.double()
    # Far above the small numbers that the peer adds to denominators.
    network.get_submodule("head").weight.data *= 1e6
    mine = bind(Explainer("mine", function), {})
    images = images.double()
    maps = explain(network, images, [2, 0], [mine]).heatmaps["mine"]
    if function is saliency_of_captum:
        torch.testing.assert_close(maps, grad(network, images, [2, 0]))
    elif function is not plain_numbers:
        expected = gradcam(network, images, [2, 0], layer="first")
        torch.testing.assert_close(stretched(maps.double()), stretched(expected), rtol=0,
                                   atol=1e-5)
    gc.collect()
    for part in network.modules():
        assert not part._forward_hooks
        assert not part._forward_pre_hooks
    assert all(weight.requires_grad and weight.grad is None for weight in network.parameters())


def test_an_error_of_the_user_s_own_is_told_as_it_was(network: nn.Module, images: Tensor) -> None:
    def wrong(module: nn.Module, inputs: Tensor, outputs: Any) -> Tensor:
        return {}["key"] if len(inputs) > 99 else inputs.no_such_thing

    with pytest.raises(DataError, match="no_such_thing"):
        explain(network, images, [0], [bind(Explainer("mine", wrong), {})])


@pytest.mark.parametrize("name", [*BUILT_IN, "mine"])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_explaining_inside_no_grad_and_inference_mode(name: str, mode: Any) -> None:
    from tests.explainers.methods.test_attention_maps import make

    module = make()
    images = torch.rand(2, 3, 24, 24, dtype=torch.float64)
    parameters = {"min_pixels": 4} if name == "xrai" else {}
    method = (bind(Explainer("mine", saliency_of_captum), {}) if name == "mine"
              else resolve(ExplainerSpec(name, parameters)))
    if name == "guided_backprop":
        assert type(module.blocks[0].mlp[1]) is nn.GELU
    expected = explain(module, images, [0, 1], [method]).heatmaps[name]
    with mode():
        fresh = make()
        fresh = module if any(weight.is_inference() for weight in fresh.parameters()) else fresh
        maps = explain(fresh, images.clone(), [0, 1], [method]).heatmaps[name]
    torch.testing.assert_close(maps.clone(), expected)


def test_a_network_made_in_inference_mode_is_refused(images: Tensor) -> None:
    with torch.inference_mode():
        network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(504, 1))
    with pytest.raises(DataError, match=r"made under torch\.inference_mode"):
        grad(network, images, [0])
