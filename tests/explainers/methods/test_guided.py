"""Guided backpropagation and deconvnet: every form of rectifier, captum, finite rules."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from captum.attr import Deconvolution, GuidedBackprop, GuidedGradCam
from torch import Tensor, nn
from torch.nn import functional

from saltrust.errors import DataError
from saltrust.explainers.explain import explain
from saltrust.explainers.methods.gradient import grad
from saltrust.explainers.methods.guided import deconvnet, guided_backprop, guided_gradcam
from saltrust.explainers.passes.forward import run_forward
from saltrust.explainers.passes.rectifiers import rectifier_nodes
from saltrust.explainers.registry import resolve
from saltrust.models.classifiers.registry import build
from saltrust.study import ExplainerSpec


class _OwnReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, signal: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return signal * (x > 0)


def _through_a_slice(x: Tensor) -> Tensor:
    functional.relu(x[:, 0:], inplace=True)
    return x


RECTIFIERS: dict[str, Callable[[Tensor], Tensor]] = {
    "module": nn.ReLU(),
    "in-place module": nn.ReLU(inplace=True),
    "functional": functional.relu,
    "functional in place": lambda x: functional.relu(x, inplace=True),
    "torch.relu": torch.relu,
    "torch.relu_": torch.relu_,
    "Tensor.relu": Tensor.relu,
    "Tensor.relu_": Tensor.relu_,
    "clamp_min": lambda x: x.clamp_min(0),
    "clamp_min_": lambda x: x.clamp_min_(0.0),
    "clamp": lambda x: x.clamp(min=0),
    "clamp of a tensor": lambda x: torch.clamp(x, min=torch.zeros(())),
    "maximum": lambda x: torch.maximum(x, torch.zeros((), dtype=x.dtype)),
    "threshold": nn.Threshold(0.0, 0.0),
    "on a view": lambda x: x.flatten(1).relu_().view_as(x),
    "through a slice": _through_a_slice,
    "wide hardtanh": nn.Hardtanh(0.0, 1e9),
    "relu6": lambda x: functional.relu6(x / 1e6) * 1e6,
    "own function": _OwnReLU.apply,
}


class Stack(nn.Module):
    """Three convolutions; every rectifier is made by `rectify`, applied outside the modules."""

    def __init__(self, rectify: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.convs = nn.ModuleList(
            [nn.Conv2d(2, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 4, 3)])
        self.head = nn.Linear(4, 3)
        self.rectify = rectify

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = self.rectify(conv(x) * 1.0)
        logits: Tensor = self.head(x.mean(dim=(2, 3)))
        return logits


def by_hand(network: Stack, images: Tensor, finding: int, rule: str) -> Tensor:
    """The rule written out with transposed convolutions, without autograd."""
    before = []
    x = images
    for conv in network.convs:
        x = conv(x)
        before.append(x)
        x = x.clamp(min=0)
    positions = x.shape[2] * x.shape[3]
    signal = (network.head.weight[finding] / positions).view(1, -1, 1, 1).expand_as(x)
    for conv, was in zip(reversed(network.convs), reversed(before), strict=True):
        signal = signal.clamp(min=0)
        if rule == "guided":
            signal = signal * (was > 0)
        signal = functional.conv_transpose2d(signal, conv.weight, padding=conv.padding)
    return signal.sum(dim=1).detach()


@pytest.fixture
def pictures() -> Tensor:
    return torch.randn(3, 2, 9, 8, dtype=torch.float64,
                       generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("form", RECTIFIERS)
def test_the_rules_act_on_every_form_of_rectifier(form: str, pictures: Tensor) -> None:
    network = Stack(RECTIFIERS[form]).double()
    plain = grad(network, pictures, [2, 0])
    for method, rule in ((guided_backprop, "guided"), (deconvnet, "deconvolution")):
        maps = method(network, pictures, [2, 0])
        for position, finding in enumerate([2, 0]):
            expected = by_hand(network, pictures, finding, rule)
            torch.testing.assert_close(maps[:, position], expected, rtol=1e-10, atol=1e-14)
            assert not torch.allclose(maps[:, position], plain[:, position], rtol=0.05)


def test_deconvnet_uses_the_switches_of_max_pooling(pictures: Tensor) -> None:
    network = nn.Sequential(nn.Conv2d(2, 3, 1), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(),
                            nn.Linear(48, 1)).double()
    maps = deconvnet(network, pictures, [0])
    pooled, where = functional.max_pool2d(network[0](pictures), 2, return_indices=True)
    signal = network[4].weight.view(1, 3, 4, 4).clamp(min=0).expand_as(pooled)
    signal = functional.max_unpool2d(signal, where, 2, output_size=[9, 8])
    expected = functional.conv_transpose2d(signal, network[0].weight).sum(dim=1)
    torch.testing.assert_close(maps[:, 0], expected.detach())


@pytest.mark.parametrize(("method", "peer"), [
    (guided_backprop, GuidedBackprop), (deconvnet, Deconvolution)])
@pytest.mark.parametrize("architecture", ["resnet18", "densenet121", "inception_v3"])
def test_captum_agrees_once_every_rectifier_is_a_module(
    method: Any, peer: Any, architecture: str
) -> None:
    torch.manual_seed(5)
    network = build(architecture, 2).double().eval()
    images = torch.rand(1, 3, 75, 75, dtype=torch.float64)
    maps = method(network, images, [1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        modular = modules_for_functions(network)
        expected = peer(modular).attribute(images.clone().requires_grad_(), target=1)
    torch.testing.assert_close(network(images), modular(images))
    torch.testing.assert_close(maps[:, 0], expected.sum(dim=1).detach(), rtol=1e-7, atol=1e-12)
    assert maps.abs().max() > 0


def modules_for_functions(network: nn.Module) -> nn.Module:
    """A copy in which each rectifier is a module of its own, as captum needs it."""
    network = copy.deepcopy(network)
    if type(network).__name__ == "_InceptionV3":
        # Ours asks for the size of the image, which is not known while tracing.
        network.__class__ = type(network).__bases__[0]
    traced = torch.fx.symbolic_trace(network)
    for number, node in enumerate(list(traced.graph.nodes)):
        is_module = (node.op == "call_module"
                     and isinstance(traced.get_submodule(node.target), nn.ReLU))
        if is_module or node.target in (functional.relu, torch.relu, torch.relu_, "relu_"):
            name = f"rectifier_{number}"
            traced.add_module(name, nn.ReLU())
            with traced.graph.inserting_after(node):
                new = traced.graph.call_module(name, (node.args[0],))
            node.replace_all_uses_with(new)
            traced.graph.erase_node(node)
    traced.recompile()
    return traced.eval()


def test_captum_agrees_on_guided_gradcam(pictures: Tensor) -> None:
    torch.manual_seed(4)
    network = nn.Sequential(
        nn.Conv2d(2, 5, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(5, 6, 3, padding=1),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)).double()
    maps = guided_gradcam(network, pictures, [2, 1], layer="3")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = GuidedGradCam(network, network[3])
        for position, finding in enumerate([2, 1]):
            expected = peer.attribute(pictures.clone().requires_grad_(), target=finding,
                                      interpolate_mode="bilinear")
            torch.testing.assert_close(
                maps[:, position], expected.sum(dim=1).detach(), rtol=1e-9, atol=1e-15)
    assert (maps != 0).any()


@pytest.mark.parametrize("swish", [
    nn.SiLU(), nn.SiLU(inplace=True), functional.silu, lambda x: x * torch.sigmoid(x),
    lambda x: torch.sigmoid(x) * x])
def test_the_rule_for_swish(swish: Callable[[Tensor], Tensor], pictures: Tensor) -> None:
    network = Stack(swish).double()
    maps = guided_backprop(network, pictures, [1])
    upward = deconvnet(network, pictures, [1])
    before = []
    x = pictures
    for conv in network.convs:
        x = conv(x)
        before.append(x)
        x = x * x.sigmoid()
    positions = x.shape[2] * x.shape[3]
    signal = (network.head.weight[1] / positions).view(1, -1, 1, 1).expand_as(x)
    alone = signal
    for conv, was in zip(reversed(network.convs), reversed(before), strict=True):
        gate = was.sigmoid()
        signal = signal.clamp(min=0) * (gate + was * gate * (1 - gate))
        signal = functional.conv_transpose2d(signal, conv.weight, padding=conv.padding)
        alone = functional.conv_transpose2d(alone.clamp(min=0), conv.weight, padding=conv.padding)
    torch.testing.assert_close(maps[:, 0], signal.sum(dim=1).detach(), rtol=1e-9, atol=1e-14)
    torch.testing.assert_close(upward[:, 0], alone.sum(dim=1).detach(), rtol=1e-9, atol=1e-14)


def test_gates_are_not_taken_for_rectifiers() -> None:
    network = build("efficientnet_b0", 2).eval()
    n_modules = sum(isinstance(part, nn.SiLU) for part in network.modules())
    logits = run_forward(network, torch.rand(1, 3, 64, 64)).logits
    # Squeeze-and-excitation gates multiply by the sigmoid of something else.
    assert len(rectifier_nodes(logits)) == n_modules


@pytest.mark.parametrize(("architecture", "n_calls"), [
    # 1 + 58 layers x 2 + 3 transitions + the function after the last block.
    ("densenet121", 1 + 58 * 2 + 3 + 1), ("inception_v3", 94), ("resnet152", 151)])
def test_all_rectifiers_of_real_architectures_are_found(architecture: str, n_calls: int) -> None:
    network = build(architecture, 2).eval()
    logits = run_forward(network, torch.rand(1, 3, 80, 80)).logits
    assert len(rectifier_nodes(logits)) == n_calls


@pytest.mark.parametrize("name", ["guided_backprop", "deconvnet", "guided_gradcam"])
def test_a_network_without_rectifiers_is_refused(name: str) -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(72, 2))
    with pytest.raises(DataError, match="has no rectifier"):
        explain(network, torch.rand(1, 1, 8, 8), [0], [resolve(ExplainerSpec(name))])


def test_a_shifted_clamp_is_no_rectifier(pictures: Tensor) -> None:
    with pytest.raises(DataError, match="has no rectifier"):
        guided_backprop(Stack(lambda x: x.clamp(-0.5, 0.5)).double(), pictures, [0])


def test_hidden_rectifiers_are_refused(pictures: Tensor) -> None:
    class Hidden(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clamp(min=0)

        @staticmethod
        def backward(ctx: Any, signal: Tensor) -> Tensor:
            return signal

    hidden = type("CompiledFunction", (Hidden,), {})
    network = Stack(lambda x: hidden.apply(x).relu()).double()
    with pytest.raises(DataError, match=r"before torch\.compile"):
        guided_backprop(network, pictures, [0])


def test_nothing_is_left_behind_even_by_an_exception(
    network: nn.Module, images: Tensor
) -> None:
    forward = run_forward(network, images)
    plain = grad(network, images, [0, 1], forward=forward)
    guided_backprop(network, images, [0, 1], forward=forward)
    torch.testing.assert_close(grad(network, images, [0, 1], forward=forward), plain,
                               rtol=0, atol=0)

    # The second finding fails while the hooks are on.
    with pytest.raises(IndexError):
        deconvnet(network, images, [0, 99], forward=forward)
    torch.testing.assert_close(grad(network, images, [0, 1], forward=forward), plain,
                               rtol=0, atol=0)
    for part in network.modules():
        assert not part._forward_hooks
        assert not part._backward_hooks
        assert not part._forward_pre_hooks
        assert not part._backward_pre_hooks


def test_all_share_one_forward_pass(network: nn.Module, images: Tensor) -> None:
    calls = []
    handle = network.register_forward_hook(lambda *_: calls.append(1))
    names = ["grad", "gradcam", "guided_backprop", "guided_gradcam", "deconvnet"]
    fitted = [resolve(ExplainerSpec(name)).fit(network, images[:1]) for name in names]
    calls.clear()
    explanation = explain(network, images, [0, 3], fitted)
    handle.remove()
    assert len(calls) == 1
    torch.testing.assert_close(
        explanation.heatmaps["guided_gradcam"],
        explanation.heatmaps["guided_backprop"] * explanation.heatmaps["gradcam"], rtol=0, atol=0)
    # What is shared is shared by those of one rule alone.
    for name in ("guided_backprop", "deconvnet"):
        alone = explain(network, images, [0, 3], [resolve(ExplainerSpec(name)).fit(
            network, images[:1])])
        torch.testing.assert_close(explanation.heatmaps[name], alone.heatmaps[name], rtol=0,
                                   atol=0)
    assert not torch.allclose(explanation.heatmaps["guided_backprop"],
                              explanation.heatmaps["deconvnet"])
