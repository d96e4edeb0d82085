"""Maps to train through: equal to the explainers', and their losses' gradients right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from saltrust.errors import DataError, UsageError
from saltrust.explainers.methods.guided import deconvnet, guided_backprop
from saltrust.explainers.passes.differentiable import RULES, differentiable_map
from saltrust.models.classifiers.registry import build

EXPLAINERS: dict[str, Any] = {"guided_backprop": guided_backprop, "deconvnet": deconvnet}


class Smooth(nn.Module):
    """A module, a function, an operation in place and a reused module, one after another."""

    def __init__(self, act: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.down = nn.MaxPool2d(2)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.third = nn.Conv2d(4, 3, 3, padding=1)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(3, 2)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(self.act(self.norm(self.first(x))))
        x = self.act(self.second(x)) * 1.0
        x = functional.relu(self.third(x), inplace=True)
        logits: Tensor = self.head(self.drop(x.square().mean(dim=(2, 3))))
        return logits


def only(position: int) -> Callable[[Tensor], Tensor]:
    def choice(logits: Tensor) -> Tensor:
        return functional.one_hot(torch.full((len(logits),), position),
                                  logits.shape[1]).to(logits)
    return choice


def network(act: Callable[[Tensor], Tensor] = functional.relu) -> nn.Module:
    torch.manual_seed(11)
    net = Smooth(act).double()
    assert net.norm.running_mean is not None
    assert net.norm.running_var is not None
    net.norm.running_mean.uniform_(-0.1, 0.1)
    net.norm.running_var.uniform_(0.5, 1.5)
    return net


@pytest.fixture
def pictures() -> Tensor:
    return torch.randn(2, 2, 8, 6, dtype=torch.float64,
                       generator=torch.Generator().manual_seed(6))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("architecture", ["resnet18", "densenet121", "efficientnet_b0",
                                          "phantom_unet"])
def test_the_map_is_that_of_the_explainer(rule: str, architecture: str) -> None:
    torch.manual_seed(1)
    net = build(architecture, 3).double().train()
    channels = getattr(net, "preprocessing", None)
    images = torch.rand(2, channels.channels if channels else 3, 64, 64, dtype=torch.float64)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    signal = differentiable_map(net, images, only(1), rule)
    expected = EXPLAINERS[rule](net, images, [1])[:, 0]
    torch.testing.assert_close(signal.sum(dim=1), expected, rtol=1e-9, atol=1e-15)
    assert expected.abs().max() > 0
    assert all(part.training for part in net.modules())
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("act", [functional.relu, nn.ReLU(inplace=True), functional.silu,
                                 nn.SiLU(inplace=True), lambda x: x * torch.sigmoid(x),
                                 functional.gelu, lambda x: x.clamp(min=0)])
def test_the_gradient_with_respect_to_every_weight(
    rule: str, act: Callable[[Tensor], Tensor], pictures: Tensor
) -> None:
    """Finite differences of the loss of the map, at weights of every layer."""
    net = network(act)
    target = torch.rand(2, 8, 6, dtype=torch.float64,
                        generator=torch.Generator().manual_seed(2))

    # Of order 1, so that the cross-entropy is not flat in it.
    scale = EXPLAINERS[rule](net, pictures, [0]).abs().max()

    def loss() -> Tensor:
        signal = differentiable_map(net, pictures, only(0), rule)
        return functional.binary_cross_entropy_with_logits(signal.sum(dim=1) / scale, target)

    value = loss()
    names = [name for name, _ in net.named_parameters()]
    gradients = torch.autograd.grad(value, list(net.parameters()), allow_unused=True)
    # The head's bias moves the logits and no map.
    absent = [name for name, item in zip(names, gradients, strict=True) if item is None]
    assert absent == ["head.bias"]
    step = 1e-6
    for weight, gradient in zip(net.parameters(), gradients, strict=True):
        if gradient is None:
            continue
        flat = weight.data.view(-1)
        for k in range(0, len(flat), 1 + len(flat) // 12):
            kept = flat[k].item()
            flat[k] = kept + step
            above = loss().item()
            flat[k] = kept - step
            below = loss().item()
            flat[k] = kept
            assert gradient.reshape(-1)[k].item() == pytest.approx((above - below) / (2 * step),
                                                                rel=2e-4, abs=1e-9)
    assert max(float(item.abs().max()) for item in gradients if item is not None) > 1e-3


@pytest.mark.parametrize("rule", RULES)
def test_torch_gradcheck_agrees(rule: str, pictures: Tensor) -> None:
    net = network(functional.silu)
    weights = {name: value.detach().clone().requires_grad_()
               for name, value in net.named_parameters() if name in ("first.weight", "head.weight")}

    class Bound(nn.Module):
        def __init__(self, values: dict[str, Tensor]) -> None:
            super().__init__()
            self.values = values

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = functional_call(net, self.values, (x,))
            return logits

    net.eval()

    def of_weights(*values: Tensor) -> Tensor:
        bound = Bound(dict(zip(weights, values, strict=True)))
        return differentiable_map(bound, pictures, only(1), rule)

    assert torch.autograd.gradcheck(of_weights, tuple(weights.values()), atol=1e-6)


def test_the_classification_gradient_is_not_rectified(pictures: Tensor) -> None:
    """The rule is off again when the loss is taken back through the same network."""
    net = network()
    weights = list(net.parameters())
    plain = torch.autograd.grad(net.eval()(pictures).square().sum(), weights)
    signal = differentiable_map(net, pictures, only(0), "deconvnet")
    together = torch.autograd.grad(net(pictures).square().sum() + 0 * signal.sum(), weights,
                                   allow_unused=True)
    for one, two in zip(plain, together, strict=True):
        torch.testing.assert_close(two, one, rtol=1e-12, atol=0)


def test_what_cannot_be_had_is_said(pictures: Tensor) -> None:
    with pytest.raises(UsageError, match="did you mean"):
        differentiable_map(network(), pictures, only(0), "deconvnett")
    linear = nn.Sequential(nn.Conv2d(2, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(48, 2)).double()
    with pytest.raises(DataError, match="has no rectifier"):
        differentiable_map(linear, pictures, only(0), "guided_backprop")
    assert linear.training
