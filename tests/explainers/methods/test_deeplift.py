"""DeepLIFT: captum where it is right, completeness where it is not."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from captum.attr import DeepLift
from torch import Tensor, nn
from torch.nn import functional

from saltrust.errors import DataError
from saltrust.explainers.explain import explain
from saltrust.explainers.methods.deeplift import deeplift
from saltrust.explainers.passes.context import BatchContext, PassSize
from saltrust.explainers.registry import resolve
from saltrust.models.classifiers.registry import build
from saltrust.study import ExplainerSpec


def captum(network: nn.Module, images: Tensor, finding: int) -> Tensor:
    baseline = images.amin((2, 3), keepdim=True).expand_as(images).clone()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        attribution: Tensor = DeepLift(network).attribute(images, baseline, target=finding)
    return attribution.detach().sum(dim=1)


def gap(network: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """By how much the maps miss the change of the logits, and that change."""
    explanation = explain(network, images, [0, 1], [resolve(ExplainerSpec("deeplift"))])
    with torch.no_grad():
        low = images.amin((2, 3), keepdim=True).expand_as(images)
        change = (network(images) - network(low))[:, :2]
    return explanation.completeness["deeplift"], change


@pytest.mark.parametrize("make", [nn.ReLU, nn.Sigmoid, nn.Tanh, nn.ELU, nn.LeakyReLU, nn.Softplus])
def test_captum_agrees_where_each_nonlinearity_is_a_module(
    make: Callable[[], nn.Module], images: Tensor
) -> None:
    torch.manual_seed(6)
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3), make(), nn.AvgPool2d(2), nn.Conv2d(6, 5, 3), make(), nn.Flatten(),
        nn.Linear(5 * 5 * 7, 4), make(), nn.Linear(4, 3)).double()
    images = images.double()
    maps = deeplift(network, images, [2, 0])
    for position, finding in enumerate([2, 0]):
        torch.testing.assert_close(maps[:, position], captum(network, images, finding),
                                   rtol=1e-6, atol=1e-10)
    missed, change = gap(network, images)
    assert missed.abs().max() < 1e-10 * change.abs().max()


def test_the_rescale_rule_by_hand() -> None:
    """y = relu(x1 - 3) + relu(x2) at (5, 2) from (0, 0): 2 over 5, and 2 over 2."""

    class Two(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            shift = torch.tensor([3.0, 0.0]).view(1, 1, 1, 2)
            return torch.relu(x - shift).sum(dim=(1, 2, 3))[:, None] * 1.0

    inputs = torch.tensor([5.0, 2.0]).view(1, 1, 1, 2)
    context = BatchContext(("a",), torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1))
    maps = deeplift(Two(), inputs, [0], context=context)
    torch.testing.assert_close(maps.flatten(), torch.tensor([2.0, 2.0]))
    # Of the first, the gradient would make 5 in 1 step.
    inputs = torch.tensor([2.0, -1.0]).view(1, 1, 1, 2)
    assert deeplift(Two(), inputs, [0], context=context).abs().max() == 0


def test_max_pooling_by_hand() -> None:
    """Gains go to the new maximum, losses to the old one."""
    network = nn.Sequential(nn.MaxPool2d((1, 2)), nn.Flatten(), nn.Linear(2, 1, bias=False))
    network.load_state_dict({"2.weight": torch.ones(1, 2)})

    class Shifted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return network(x + torch.tensor([1.0, 0.0, 4.0, 0.0]).view(1, 1, 1, 4))

    context = BatchContext(("a",), torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1))
    # (1, 0) -> (1, 3): gain of 2 at the second; (4, 0) -> (1, 2): loss of 2 at the third.
    inputs = torch.tensor([0.0, 3.0, -3.0, 2.0]).view(1, 1, 1, 4)
    maps = deeplift(Shifted(), inputs, [0], context=context)
    torch.testing.assert_close(maps.flatten(), torch.tensor([0.0, 2.0, -2.0, 0.0]))


@pytest.mark.parametrize("form", [
    functional.relu, torch.relu, Tensor.relu, torch.relu_, Tensor.relu_, nn.ReLU(inplace=True),
    lambda x: functional.relu(x, inplace=True), lambda x: x.clamp_min(0),
    lambda x: x.clamp_(min=0), lambda x: x.flatten(1).relu_().view_as(x)])
def test_every_form_of_a_rectifier_follows_the_rule(
    form: Callable[[Tensor], Tensor], images: Tensor
) -> None:
    torch.manual_seed(6)
    first, second = nn.Conv2d(3, 6, 3).double(), nn.Conv2d(6, 2, 3).double()

    class Network(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return form(second(form(first(x) * 1.0)) * 1.0).mean(dim=(2, 3))

    peer = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.AdaptiveAvgPool2d(1),
                         nn.Flatten())
    images = images.double()
    torch.testing.assert_close(deeplift(Network(), images, [1])[:, 0], captum(peer, images, 1),
                               rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize(("architecture", "size"), [
    ("densenet121", 64), ("inception_v3", 75), ("resnet18", 64), ("efficientnet_b0", 64),
    ("phantom_net", 48)])
def test_maps_of_real_architectures_are_complete(architecture: str, size: int) -> None:
    torch.manual_seed(3)
    network = build(architecture, 2).double()
    images = torch.rand(2, 1 if architecture == "phantom_net" else 3, size, size,
                        dtype=torch.float64)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 1.0
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    # With statistics of its own, even an untrained network answers to its input.
    network(torch.rand(8, *images.shape[1:], dtype=torch.float64))
    missed, change = gap(network.eval(), images)
    assert change.abs().max() > 1e-3
    assert missed.abs().max() < 1e-6 * change.abs().max()


def test_squares_and_powers_are_complete(network: nn.Module, images: Tensor) -> None:
    missed, change = gap(network.double().eval(), images.double())
    assert missed.abs().max() < 1e-9 * change.abs().max()


def test_what_is_not_known_is_reported_as_missing(images: Tensor) -> None:
    class Softmax(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x.mean(dim=2) * 20).softmax(dim=2)[..., :2].sum(dim=1)

    missed, change = gap(Softmax(), images.double())
    assert missed.abs().max() > 0.01 * change.abs().max()


def test_a_compiled_network_is_refused(images: Tensor) -> None:
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.trace(network, images)
    with pytest.raises(DataError, match=r"was compiled by torch\.jit"):
        deeplift(scripted, images, [0])


def test_a_pass_may_be_small_and_leaves_nothing_behind(network: nn.Module, images: Tensor) -> None:
    network, images = network.double().eval(), images.double()
    sizes: list[int] = []
    handle = network.register_forward_hook(lambda _m, args, _o: sizes.append(len(args[0])))
    context = BatchContext.of(images)
    whole = deeplift(network, images, [0, 2], context=context)
    assert sizes == [6]
    sizes.clear()
    small = BatchContext(context.images, context.black, context.white, passes=PassSize(3))
    torch.testing.assert_close(deeplift(network, images, [0, 2], context=small), whole,
                               rtol=1e-10, atol=1e-14)
    assert sizes == [2, 2, 2]
    handle.remove()

    def fail(_module: nn.Module, _args: Any) -> None:
        raise RuntimeError("half way")

    handle = network.get_submodule("down").register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="half way"):
        deeplift(network, images, [0])
    handle.remove()
    # Outside, a rectifier has its own derivative again.
    x = torch.tensor([[-1.0], [2.0]], requires_grad=True)
    (slope,) = torch.autograd.grad(functional.relu(x).sum(), x)
    torch.testing.assert_close(slope, torch.tensor([[0.0], [1.0]]))
