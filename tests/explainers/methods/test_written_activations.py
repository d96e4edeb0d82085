"""Activations that a network writes out in several operations follow the rule of their module."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from saltrust.explainers.methods.attention_relevance import attnlrp
from saltrust.explainers.methods.deeplift import deeplift
from saltrust.explainers.methods.guided import deconvnet, guided_backprop
from saltrust.explainers.passes.differentiable import differentiable_map

METHODS = (guided_backprop, deconvnet, deeplift, attnlrp)


def _masked(x: Tensor) -> Tensor:
    return x.masked_fill(x < 0, 0.0)


def _gelu_tanh(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))


class _QuickGELU(nn.Module):
    """What `x * sigmoid(1.702 x)` is as one function, for the rules to see."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.silu(1.702 * x) / 1.702


WRITTEN: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "mask": (lambda x: x * (x > 0), functional.relu),
    "mask of floats": (lambda x: (x > 0).to(x.dtype) * x, functional.relu),
    "half the sum": (lambda x: (x + x.abs()) / 2, functional.relu),
    "where": (lambda x: torch.where(x > 0, x, torch.zeros_like(x)), functional.relu),
    "where a number": (lambda x: torch.where(x > 0, x, 0.0), functional.relu),
    "masked fill": (_masked, functional.relu),
    "leaky where": (lambda x: torch.where(x >= 0, x, 0.1 * x),
                    lambda x: functional.leaky_relu(x, 0.1)),
    "leaky maximum": (lambda x: torch.maximum(x, 0.1 * x),
                      lambda x: functional.leaky_relu(x, 0.1)),
    "hardswish": (lambda x: x * functional.relu6(x + 3) / 6, functional.hardswish),
    "hardswish of a clamp": (lambda x: x * torch.clamp(x + 3, 0, 6) / 6, functional.hardswish),
    "hardswish of a gate": (lambda x: x * functional.hardsigmoid(x), functional.hardswish),
    "swish by division": (lambda x: x / (1 + torch.exp(-x)), functional.silu),
    "quick gelu": (lambda x: x * torch.sigmoid(1.702 * x), _QuickGELU()),
    "gelu": (lambda x: x * 0.5 * (1 + torch.erf(x / math.sqrt(2))), functional.gelu),
    "gelu by tanh": (_gelu_tanh, lambda x: functional.gelu(x, approximate="tanh")),
    "mish": (lambda x: x * torch.tanh(functional.softplus(x)), functional.mish),
    "elu": (lambda x: torch.where(x > 0, x, torch.exp(x) - 1), functional.elu),
}


class Stack(nn.Module):
    def __init__(self, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.convs = nn.ModuleList(
            [nn.Conv2d(2, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 4, 3)])
        self.head = nn.Linear(4, 3)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = self.activation(3 * conv(x))
        logits: Tensor = self.head(x.mean(dim=(2, 3)))
        return logits


@pytest.fixture
def pictures() -> Tensor:
    return torch.randn(2, 2, 9, 8, dtype=torch.float64,
                       generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
@pytest.mark.parametrize("form", WRITTEN)
def test_written_activations_follow_the_rule_of_their_module(
    form: str, method: Any, pictures: Tensor
) -> None:
    written, known = WRITTEN[form]
    network, peer = Stack(written).double(), Stack(known).double()
    torch.testing.assert_close(network(pictures), peer(pictures))
    maps, expected = method(network, pictures, [2, 0]), method(peer, pictures, [2, 0])
    scale = float(expected.abs().max())
    # Quotients of differences lose half of the digits where an image is near its baseline.
    torch.testing.assert_close(maps, expected, rtol=1e-6, atol=1e-7 * scale)


class Odd(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, signal: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return signal * (x > 0)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
def test_functions_of_the_network_s_own_are_warned_of_once(
    method: Any, pictures: Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    network = Stack(lambda x: functional.relu(Odd.apply(x))).double()
    with caplog.at_level(logging.WARNING):
        method(network, pictures, [0])
        method(network, pictures, [0])
    (message,) = [record.getMessage() for record in caplog.records]
    assert "'Odd'" in message
    assert "plain gradient" in message


def test_training_through_the_map_warns_of_what_the_rule_does_not_reach(
    pictures: Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    network = Stack(lambda x: functional.relu(x * (x > 0))).double()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            differentiable_map(network, pictures, torch.ones_like, "guided_backprop")
    (message,) = [record.getMessage() for record in caplog.records]
    assert "written out in several operations" in message


def test_assignment_to_a_mask_is_warned_of(
    pictures: Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    def assign(x: Tensor) -> Tensor:
        x = x.clone()
        x[x < 0] = 0
        return x * (x > -1)

    with caplog.at_level(logging.WARNING):
        guided_backprop(Stack(lambda x: functional.relu(assign(x))).double(), pictures, [0])
    assert "x[mask]" in caplog.text


def test_squares_and_gates_of_something_else_are_no_rectifiers(pictures: Tensor) -> None:
    gate = nn.Conv2d(6, 6, 1).double()

    def gated(x: Tensor) -> Tensor:
        x = functional.relu(x)
        return x * x + (x * torch.sigmoid(gate(x)) if x.shape[1] == 6 else 0)

    class Named(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x = functional.relu(x)
            more = x * torch.sigmoid(gate(x)) if x.shape[1] == 6 else 0
            return x.square() + more

    for method in (guided_backprop, deconvnet):
        maps = method(Stack(gated).double(), pictures, [0])
        torch.testing.assert_close(maps, method(Stack(Named()).double(), pictures, [0]))
