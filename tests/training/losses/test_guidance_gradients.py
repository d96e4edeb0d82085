"""Gradients of the losses of maps with respect to every weight, in float64.

What is checked is the function that training calls, on a small network with a decoder, by
`torch.autograd.gradcheck` (finite differences along random directions of every weight) and by
finite differences of single weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from saltrust.explainers.passes.differentiable import differentiable_map
from saltrust.models.classifiers.registry import build
from saltrust.study import GuidanceSpec
from saltrust.training.losses.guidance import cross_entropy, heat_of_signal, map_losses

Rectifier = Callable[[Tensor], Tensor]

#: A module in three places, a function, and in place: of a module, of a function, of a tensor,
#: through a view; then what is no ReLU.
RECTIFIERS: dict[str, Callable[[], Rectifier]] = {
    "module": nn.ReLU,
    "function": lambda: functional.relu,
    "module in place": lambda: nn.ReLU(inplace=True),
    "function in place": lambda: lambda x: functional.relu(x, inplace=True),
    "tensor in place": lambda: lambda x: x.relu_(),
    "view in place": lambda: _through_a_view,
    "clamp": lambda: lambda x: x.clamp(min=0),
    "leaky": lambda: nn.LeakyReLU(0.1),
    "SiLU in place": lambda: nn.SiLU(inplace=True),
    "swish written out": lambda: lambda x: x * torch.sigmoid(x),
}
LOSSES: dict[str, dict[str, Any]] = {
    "set 1": {"loss": "set1"},
    "set 2, not detached": {"loss": "set2", "detach": False},
    "set 3": {"loss": "set3", "map_weight": 0.7},
}
RULES = ("guided_backprop", "deconvnet")


def _through_a_view(x: Tensor) -> Tensor:
    x.flatten(1).relu_()
    return x


class Tiny(nn.Module):
    """Two stages up, one down again; both heads use the rectifier of the encoder."""

    def __init__(self, act: Rectifier) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.second = nn.Conv2d(3, 3, 3, padding=1)
        self.head = nn.Linear(3, 2)
        self.up = nn.Conv2d(6, 1, 3, padding=1)
        self.act = act

    def with_decoder(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        fine = self.act(self.norm(self.first(inputs)))
        coarse = self.act(self.second(functional.max_pool2d(fine, 2)))
        logits = self.head(self.act(coarse.square().mean(dim=(2, 3)) - 0.01))
        raised = functional.interpolate(coarse, fine.shape[-2:], mode="bilinear")
        return logits, self.up(torch.cat([fine, raised], dim=1))[:, 0]

    def forward(self, inputs: Tensor) -> Tensor:
        return self.with_decoder(inputs)[0]


class Loss(nn.Module):
    """A loss of maps as a function of the weights of its network."""

    def __init__(self, network: nn.Module, spec: GuidanceSpec, channels: int = 2,
                 size: int = 6) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.network, self.spec = network, spec
        self.inputs = torch.randn(3, channels, size, size, dtype=torch.float64,
                                  generator=generator)
        self.gaze = torch.rand(3, size, size, dtype=torch.float64, generator=generator)
        self.known = torch.tensor([True, False, True])
        self.positive = torch.tensor([[True, False], [False, True], [True, True]])
        self.weights = {name: value.detach().clone().requires_grad_()
                        for name, value in network.named_parameters()}

    def forward(self) -> Tensor:
        network: Any = self.network
        decoded = network.with_decoder(self.inputs)[1] if self.spec.loss != "set1" else None
        return map_losses(network, self.inputs, decoded, self.gaze, self.known, self.positive,
                          self.spec).value

    def of(self, *values: Tensor) -> Tensor:
        """The loss at other weights, in the order of ``weights``."""
        names = (f"network.{name}" for name in self.weights)
        value: Tensor = functional_call(self, dict(zip(names, values, strict=True)), ())
        return value

    def gradients(self) -> dict[str, Tensor | None]:
        gradients = torch.autograd.grad(self.of(*self.weights.values()),
                                        list(self.weights.values()), allow_unused=True)
        return dict(zip(self.weights, gradients, strict=True))


def tiny(rectifier: str, **settings: Any) -> Loss:
    torch.manual_seed(4)
    network = Tiny(RECTIFIERS[rectifier]()).double().eval()
    assert network.norm.running_mean is not None
    network.norm.running_mean.uniform_(-0.2, 0.2)
    return Loss(network, GuidanceSpec(explained="labelled", **settings))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("rectifier", RECTIFIERS)
def test_gradcheck(rectifier: str, loss: str, rule: str) -> None:
    whole = tiny(rectifier, rule=rule, **LOSSES[loss])
    assert torch.autograd.gradcheck(whole.of, tuple(whole.weights.values()), eps=1e-6, atol=1e-8,
                                    rtol=1e-4, fast_mode=True)
    reached = {name for name, item in whole.gradients().items()
               if item is not None and float(item.abs().max()) > 1e-5}
    # The bias of the head moves logits alone.
    assert reached >= {"first.weight", "norm.weight", "second.weight", "head.weight"}
    assert ("up.weight" in reached) == (loss != "set 1")
    assert "head.bias" not in reached


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("rectifier", RECTIFIERS)
def test_a_detached_target_stands_still(rectifier: str, rule: str) -> None:
    """The gradient is that of a loss whose target is a constant, and not that of the loss."""
    whole = tiny(rectifier, rule=rule, loss="set2", detach=True)
    network: Any = whole.network
    signal = differentiable_map(network, whole.inputs, lambda _: whole.positive.double(), rule)
    target = heat_of_signal(signal, whole.spec).detach()

    class Still(Loss):
        def forward(self) -> Tensor:
            return cross_entropy(network.with_decoder(whole.inputs)[1], target).mean()

    still = Still(network, whole.spec)
    assert torch.autograd.gradcheck(still.of, tuple(still.weights.values()), eps=1e-6, atol=1e-8,
                                    rtol=1e-4, fast_mode=True)
    for name, gradient in whole.gradients().items():
        expected = still.gradients()[name]
        if expected is None:
            assert gradient is None, name
        else:
            torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-14)
    # The classification head learns nothing from the decoder, and would from a moving target;
    # and finite differences, which move the target, see that something is missing.
    assert whole.gradients()["head.weight"] is None
    assert not torch.autograd.gradcheck(whole.of, tuple(whole.weights.values()), eps=1e-6,
                                        atol=1e-8, rtol=1e-4, fast_mode=True,
                                        raise_exception=False)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("settings", [
    {"loss": "set1", "smoothing": 0.1, "sign": "positive"},
    {"loss": "set1", "channels": "largest", "sign": "signed", "scaling": "minmax"},
    {"loss": "set3", "explained": "all", "map_weight": 0.3},
    {"loss": "set3", "explained": "predicted"},
    {"loss": "set3", "scaling": "none", "sign": "signed"},
    {"loss": "set2", "detach": False, "scaling": "none", "channels": "largest"}])
def test_single_weights_of_a_whole_architecture(rule: str, settings: dict[str, Any]) -> None:
    """Every option of the map, by central differences at weights of every layer."""
    torch.manual_seed(3)
    network: Any = build("phantom_unet", 2, width=2).double().eval()
    network.to(memory_format=torch.contiguous_format)
    whole = Loss(network, GuidanceSpec(rule=rule, **settings), channels=1, size=16)
    step, checked = 1e-6, 0
    for (name, gradient), weight in zip(whole.gradients().items(), network.parameters(),
                                        strict=True):
        if gradient is None:
            continue
        flat = weight.data.view(-1)
        for k in {0, len(flat) // 2}:
            kept = flat[k].item()
            flat[k] = kept + step
            above = whole().item()
            flat[k] = kept - step
            below = whole().item()
            flat[k] = kept
            assert gradient.reshape(-1)[k].item() == pytest.approx(
                (above - below) / (2 * step), rel=1e-3, abs=2e-8), name
            checked += 1
    assert checked > 20
    assert max(float(g.abs().max()) for g in whole.gradients().values() if g is not None) > 1e-3
