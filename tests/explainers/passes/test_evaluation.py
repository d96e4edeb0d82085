"""Networks run in another layout and by other operations, with the same results."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from saltrust.explainers.passes.evaluation import CheaperWayBack, evaluate
from saltrust.explainers.passes.forward import freeze, run_forward
from saltrust.models.classifiers.registry import build


def _gradients(network: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
    forward = run_forward(network, inputs)
    return forward.logits, forward.gradient(1, forward.inputs)


@pytest.mark.parametrize(("architecture", "n_images"),
                         [("densenet121", 1), ("resnet18", 3), ("efficientnet_b0", 2)])
def test_real_networks_give_the_same_numbers(architecture: str, n_images: int) -> None:
    torch.manual_seed(0)
    network = build(architecture, 2).double().eval()
    inputs = torch.rand(n_images, 3, 64, 64, dtype=torch.float64)
    leaf = inputs.clone().requires_grad_()
    logits = network(leaf)
    (gradient,) = torch.autograd.grad(logits[:, 1].sum(), leaf)
    evaluated, found_gradient = _gradients(network, inputs)
    torch.testing.assert_close(evaluated, logits, rtol=1e-9, atol=1e-12)
    least = 1e-10 * float(gradient.abs().max())
    torch.testing.assert_close(found_gradient, gradient, rtol=1e-7, atol=least)


class Operations(nn.Module):
    """Every kind of convolution and normalisation, among them what must not be replaced."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(4, 8, 1, bias=True)
        self.strided = nn.Conv2d(8, 8, 1, stride=2, bias=False)
        self.grouped = nn.Conv2d(8, 8, 1, groups=4)
        self.bordered = nn.Conv2d(8, 6, 1, padding=1)
        self.same = nn.Conv2d(6, 6, 1, padding="same")
        self.norms = nn.ModuleList([
            nn.BatchNorm2d(6), nn.BatchNorm2d(6, affine=False),
            nn.BatchNorm2d(6, track_running_stats=False)])
        self.along = nn.BatchNorm1d(6)
        self.head = nn.Linear(6, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = functional.silu(self.wide(inputs), inplace=True)
        hidden = self.same(self.bordered(self.grouped(self.strided(hidden))))
        for norm in self.norms:
            hidden = functional.relu(norm(hidden), inplace=True) + 0.1
        logits: Tensor = self.head(self.along(hidden.mean((2, 3))))
        return logits


def test_every_form_of_an_operation_gives_the_same_numbers() -> None:
    torch.manual_seed(1)
    network = Operations().double()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d | nn.BatchNorm1d) and part.running_mean is not None:
            assert part.running_var is not None
            part.running_mean.uniform_(-1, 1)
            part.running_var.uniform_(0.5, 2)
    network.eval()
    inputs = torch.rand(2, 4, 9, 7, dtype=torch.float64)
    leaf = inputs.clone().requires_grad_()
    logits = network(leaf)
    (gradient,) = torch.autograd.grad(logits[:, 1].sum(), leaf)
    evaluated, found_gradient = _gradients(network, inputs)
    torch.testing.assert_close(evaluated, logits, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found_gradient, gradient, rtol=1e-10, atol=1e-12)


def test_second_derivatives_go_through() -> None:
    torch.manual_seed(2)
    network = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Tanh(), nn.Conv2d(3, 2, 1))
    network.double().eval().requires_grad_(False)

    def run(inputs: Tensor) -> Tensor:
        with CheaperWayBack():
            result: Tensor = network(inputs)
        return result

    inputs = torch.rand(1, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(run, (inputs,))
    assert torch.autograd.gradgradcheck(run, (inputs,))


def test_weights_that_carry_a_gradient_keep_it() -> None:
    network = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3)).eval()
    inputs = torch.rand(1, 2, 4, 4, requires_grad=True)
    with CheaperWayBack():
        network(inputs).square().sum().backward()
    assert all(weight.grad is not None for weight in network.parameters())


class Viewing(nn.Module):
    """Looks at memory: possible only while channels come before rows and columns."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(144, 2)
        self.calls = 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        hidden = self.layer(inputs)
        logits: Tensor = self.head(hidden.view(len(inputs), -1))
        return logits


def test_networks_that_view_their_feature_maps_work_and_are_remembered() -> None:
    network = Viewing().eval()
    inputs = torch.rand(2, 3, 8, 8)
    expected = network(inputs)
    network.calls = 0
    for _ in range(3):
        with freeze(network), torch.no_grad():
            torch.testing.assert_close(evaluate(network, inputs), expected)
    assert network.calls == 4


def test_other_errors_of_a_network_are_its_own() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(7, 2))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        evaluate(network, torch.rand(1, 3, 8, 8))


def test_inputs_are_left_alone() -> None:
    inputs = torch.rand(2, 1, 8, 8) - 0.5
    before = inputs.clone()
    evaluate(nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(1, 2, 1)), inputs)
    assert torch.equal(inputs, before)
