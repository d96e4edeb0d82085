"""One shared pass, the layer it is taken from, and a network left as it was found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from saltrust.errors import DataError, UsageError
from saltrust.explainers.explain import explain
from saltrust.explainers.methods.class_activation import gradcam
from saltrust.explainers.methods.gradient import grad
from saltrust.explainers.passes.forward import freeze, run_forward
from saltrust.explainers.passes.layers import feature_layer
from saltrust.explainers.registry import resolve
from saltrust.models.classifiers.registry import build
from saltrust.study import ExplainerSpec

METHODS = [resolve(ExplainerSpec(name)) for name in ("grad", "gradcam")]


def _state(network: nn.Module) -> list[Any]:
    parts = [
        (name, part.training, len(part._forward_hooks), len(part._forward_pre_hooks),
         len(part._backward_hooks), len(part._backward_pre_hooks))
        for name, part in network.named_modules()
    ]
    weights = [(name, weight.requires_grad, weight.grad is None, weight._version)
               for name, weight in network.named_parameters()]
    buffers = [(name, value.clone().tolist()) for name, value in network.named_buffers()]
    return [parts, weights, buffers]


@contextmanager
def _unchanged(network: nn.Module) -> Iterator[None]:
    network.train()
    network.get_submodule("block").eval()
    next(network.parameters()).requires_grad_(False)
    before = _state(network)
    yield
    assert _state(network) == before


def test_the_network_is_left_as_it_was_found(network: nn.Module, images: Tensor) -> None:
    with _unchanged(network):
        explain(network, images, [0, 1], METHODS)
        gradcam(network, images, [0])
        feature_layer(network, images)


def test_the_network_is_explained_in_evaluation_mode(network: nn.Module, images: Tensor) -> None:
    expected = explain(network.eval(), images, [0], METHODS)
    explanation = explain(network.train(), images, [0], METHODS)
    for name, maps in expected.heatmaps.items():
        torch.testing.assert_close(explanation.heatmaps[name], maps, rtol=0, atol=0)


def test_an_exception_leaves_nothing_behind(network: nn.Module, images: Tensor) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    handle = network.get_submodule("head").register_forward_hook(fail)
    with _unchanged(network):
        for method in (
            lambda: grad(network, images, [0]),
            lambda: run_forward(network, images, layers=("block", "first")),
            lambda: feature_layer(network, images),
            lambda: explain(network, images, [0], METHODS),
        ):
            with pytest.raises(ZeroDivisionError):
                method()
    handle.remove()


def test_a_layer_that_fails_leaves_no_hook_on_the_one_before(
    network: nn.Module, images: Tensor
) -> None:
    with _unchanged(network), pytest.raises(AttributeError):
        run_forward(network, images, layers=("block", "no_such_layer"))


def test_weights_carry_no_gradient(network: nn.Module, images: Tensor) -> None:
    forward = run_forward(network, images, layers=("block",))
    nodes: list[Any] = [forward.logits.grad_fn]
    leaves = []
    while nodes:
        node = nodes.pop()
        if hasattr(node, "variable"):
            leaves.append(node.variable)
        nodes += [following for following, _ in getattr(node, "next_functions", ()) if following]
    assert leaves
    assert all(leaf is forward.inputs for leaf in leaves)
    assert all(weight.grad is None for weight in network.parameters())


def test_all_findings_and_methods_share_one_forward_pass(
    network: nn.Module, images: Tensor
) -> None:
    fitted = [method.fit(network, images[:1]) for method in METHODS]
    calls: list[int] = []
    network.register_forward_hook(lambda *_: calls.append(1))
    explain(network, images, [0, 1, 2, 3], fitted)
    assert len(calls) == 1


def test_without_input_gradients_the_graph_starts_at_the_layer(
    network: nn.Module, images: Tensor
) -> None:
    forward = run_forward(network, images, to_inputs=False, layers=("block",))
    assert forward.features["block"].is_leaf
    assert not forward.inputs.requires_grad
    shared = run_forward(network, images, to_inputs=True, layers=("block",))
    torch.testing.assert_close(
        forward.gradient(1, forward.features["block"]),
        shared.gradient(1, shared.features["block"]),
    )


def test_a_pass_that_needs_no_gradient_keeps_no_graph(network: nn.Module, images: Tensor) -> None:
    assert not run_forward(network, images, to_inputs=False).logits.requires_grad


def test_methods_run_their_own_pass_where_the_shared_one_does_not_serve(
    network: nn.Module, images: Tensor
) -> None:
    forward = run_forward(network, images, to_inputs=False)
    torch.testing.assert_close(
        grad(network, images, [1], forward=forward), grad(network, images, [1]))
    torch.testing.assert_close(
        gradcam(network, images, [1], layer="first", forward=forward),
        gradcam(network, images, [1], layer="first"))


def test_features_are_what_the_layer_returned_not_what_was_made_of_them_in_place(
    network: nn.Module, images: Tensor
) -> None:
    forward = run_forward(network, images, layers=("block",))
    assert (forward.features["block"] < 0).any()
    # And the rectifier after it still counts: no gradient where the feature is negative.
    gradient = forward.gradient(0, forward.features["block"])
    assert (gradient[forward.features["block"] < 0] == 0).all()
    assert gradient.abs().max() > 0


@pytest.mark.parametrize(
    ("architecture", "layer"),
    [("densenet121", "features"), ("resnet18", "layer4"), ("efficientnet_b0", "features"),
     ("inception_v3", "Mixed_7c"), ("phantom_net", "features")],
)
def test_the_last_spatial_layer_of_known_architectures(architecture: str, layer: str) -> None:
    network = build(architecture, 2)
    channels = 1 if architecture == "phantom_net" else 3
    size = 139 if architecture == "inception_v3" else 64
    assert feature_layer(network, torch.rand(1, channels, size, size)) == layer


def test_pooling_at_the_end_of_a_container_is_passed_over() -> None:
    """As in VGG16, whose papers take the maps before the last pooling."""
    network = nn.Sequential()
    network.features = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.Conv2d(2, 2, 3), nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
    )
    network.avgpool = nn.AdaptiveAvgPool2d(2)
    network.classifier = nn.Sequential(nn.Flatten(), nn.Linear(8, 1))
    assert feature_layer(network, torch.rand(1, 1, 12, 12)) == "features.3"


def test_a_branch_that_no_logit_depends_on_is_passed_over() -> None:
    class Branched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk, self.side = nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3)
            self.head = nn.Linear(2, 1)

        def forward(self, inputs: Tensor) -> Tensor:
            features = self.trunk(inputs)
            self.side(features)
            logits: Tensor = self.head(functional.relu(features).mean(dim=(2, 3)))
            return logits

    assert feature_layer(Branched(), torch.rand(1, 1, 8, 8)) == "trunk"


def test_maps_of_one_position_are_not_spatial(network: nn.Module) -> None:
    assert feature_layer(build("resnet18", 1), torch.rand(1, 3, 32, 32)) == "layer3"


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("blok", "has no layer 'blok'; did you mean 'block'?"),
        ("block.7", "did you mean 'block.[01]'?"),
        ("head", "layer 'head' of SmallNetwork returns no spatial feature maps"),
        ("zzz", "leave `layer` out"),
        ("", "no submodule that returns spatial feature maps"),
    ],
)
def test_a_wrong_layer_is_refused(
    network: nn.Module, images: Tensor, layer: str, message: str
) -> None:
    if not layer:
        network = nn.Sequential(nn.Flatten(), nn.Linear(960, 2))
    with pytest.raises(UsageError, match=message.replace("?", r"\?")):
        gradcam(network, images, [0], layer=layer)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (lambda x: (x,), "returned a tuple"),
        (lambda x: x, r"returned a tensor of shape \(3, 3, 16, 20\)"),
        (lambda x: x.sum(dim=(1, 2, 3)), r"shape \(3,\)"),
        (lambda x: x.mean(dim=(1, 3)).T, r"shape \(16, 3\)"),
        (lambda x: x.mean(dim=(2, 3)).argmax(dim=1, keepdim=True), "returned a Tensor"),
    ],
)
def test_what_is_not_logits_is_refused(images: Tensor, output: Any, message: str) -> None:
    class Wrong(nn.Module):
        def forward(self, inputs: Tensor) -> Any:
            return output(inputs)

    with pytest.raises(DataError, match=message):
        run_forward(Wrong(), images)


def test_a_network_that_detaches_is_refused(images: Tensor) -> None:
    class Detached(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return inputs.detach().mean(dim=(2, 3))

    with pytest.raises(DataError, match="carry no gradient"):
        grad(Detached(), images, [0])


def test_a_logit_that_does_not_depend_on_the_image_has_a_gradient_of_zero(
    images: Tensor,
) -> None:
    class Constant(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return torch.stack([inputs.sum(dim=(1, 2, 3)), torch.zeros(len(inputs))], dim=1)

    maps = grad(Constant(), images, [0, 1])
    assert (maps[:, 0] == 3).all()
    assert (maps[:, 1] == 0).all()


def test_frozen_restores_after_an_exception(network: nn.Module) -> None:
    with _unchanged(network), pytest.raises(KeyError), freeze(network):
        assert not any(part.training for part in network.modules())
        assert not any(weight.requires_grad for weight in network.parameters())
        raise KeyError
