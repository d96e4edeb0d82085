"""Stages of randomization: every tensor once, from the top down, nothing trained left."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from saltrust.errors import UsageError
from saltrust.models.classifiers.registry import ARCHITECTURES, build
from saltrust.models.contract import preprocessing_of
from saltrust.models.preprocessing import to_input
from saltrust.models.random_weights import randomize_weights
from saltrust.models.stages import Stage, choose_stages, natural_stages

INCEPTION = ["fc", "Mixed_7c", "Mixed_7b", "Mixed_7a", "Mixed_6e", "Mixed_6d", "Mixed_6c",
             "Mixed_6b", "Mixed_6a", "Mixed_5d", "Mixed_5c", "Mixed_5b", "Conv2d_4a_3x3",
             "Conv2d_3b_1x1", "Conv2d_2b_3x3", "Conv2d_2a_3x3", "Conv2d_1a_3x3"]
EXPECTED = {
    "inception_v3": INCEPTION,
    "densenet121": ["classifier", "features.denseblock4", "features.transition3",
                    "features.denseblock3", "features.transition2", "features.denseblock2",
                    "features.transition1", "features.denseblock1", "features.conv0"],
    "resnet18": ["fc", "layer4", "layer3", "layer2", "layer1", "conv1"],
    "resnet50": ["fc", "layer4", "layer3", "layer2", "layer1", "conv1"],
    "resnet152": ["fc", "layer4", "layer3", "layer2", "layer1", "conv1"],
    "efficientnet_b0": ["classifier", *(f"features.{i}" for i in range(8, -1, -1))],
    "phantom_net": ["classifier", "features.4", "features.3", "features.2", "features.0"],
    # The decoder, which the outputs do not pass through, becomes random with the last stage.
    "efficientnet_unet": ["classification_head",
                          *(f"encoder._blocks.{i}" for i in range(15, -1, -1)),
                          "encoder._conv_stem"],
    "phantom_unet": ["classifier", "features.4", "features.3", "features.2", "features.0"],
}


def black(architecture: str, module: nn.Module) -> Tensor:
    return to_input(torch.zeros(1, 64, 64, dtype=torch.uint8),
                    preprocessing_of(architecture, module))


def trained(architecture: str) -> nn.Module:
    """As if trained: no tensor holds what construction gives, so that what stays is seen."""
    torch.manual_seed(0)
    module = build(architecture, 3).eval()
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            tensor.add_(3 if name.endswith("num_batches_tracked") else 0.37)
    return module.requires_grad_(False)


@pytest.fixture(scope="module")
def densenet() -> nn.Module:
    return trained("densenet121")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_tensor_is_in_exactly_one_stage_from_the_top_down(architecture: str) -> None:
    module = build(architecture, 3)
    modes = [part.training for part in module.modules()]
    stages = natural_stages(module, black(architecture, module))
    assert [stage.name for stage in stages] == EXPECTED[architecture]
    entries = [entry for stage in stages for entry in stage.entries]
    assert sorted(entries) == sorted(module.state_dict())
    assert [part.training for part in module.modules()] == modes
    assert not any(part._forward_hooks for part in module.modules())


def test_stages_of_inception_go_by_the_paper_s_names() -> None:
    stages = [Stage(name, (name,)) for name in INCEPTION]
    chosen = choose_stages(stages, ["mixed10", "logits", "Mixed_6e", "mixed0"], "it")
    assert [stop[-1].name for stop in chosen] == ["fc", "Mixed_7c", "Mixed_6e", "Mixed_5b",
                                                  "Conv2d_1a_3x3"]
    assert len(choose_stages(stages, ["stem"], "it")) == 1
    assert choose_stages(stages, ["mixed7"], "it") == choose_stages(stages, ["Mixed_6e"], "it")
    with pytest.raises(UsageError, match=r"no stage 'mixed11'.*did you mean 'mixed1"):
        choose_stages(stages, ["mixed11"], "it")
    with pytest.raises(UsageError, match="no stage 'mixed10'"):
        choose_stages([Stage("fc", ("fc",)), Stage("layer4", ("layer4",))], ["mixed10"], "it")


@pytest.mark.parametrize("architecture", ["inception_v3", "densenet121", "efficientnet_b0",
                                          "resnet18"])
def test_the_last_network_keeps_nothing_trained(architecture: str) -> None:
    module = trained(architecture)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    fresh = randomize_weights(module, natural_stages(module, black(architecture, module)), seed=1)
    norms = {name for name, part in module.named_modules()
             if isinstance(part, nn.BatchNorm2d)}
    for name, tensor in fresh.state_dict().items():
        owner, _, attribute = name.rpartition(".")
        if owner in norms:
            expected = 1.0 if attribute in {"weight", "running_var"} else 0.0
            assert torch.equal(tensor, torch.full_like(tensor, expected)), name
        elif attribute == "bias":
            assert not tensor.any(), name
        else:
            assert not (tensor == before[name]).any(), name
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert not any(weight.requires_grad for weight in fresh.parameters())


def test_a_stage_leaves_what_lies_below(densenet: nn.Module) -> None:
    stages = natural_stages(densenet, black("densenet121", densenet))
    before = densenet.state_dict()
    above: dict[str, Tensor] = {}
    for stop in choose_stages(stages, (), "it"):
        state = randomize_weights(densenet, stop, seed=4).state_dict()
        random = {entry for stage in stop for entry in stage.entries}
        changed = {name for name in state if not torch.equal(state[name], before[name])}
        assert changed == random
        # Cumulative: what was random a stage before has the same values still.
        assert all(torch.equal(state[name], tensor) for name, tensor in above.items())
        above = {name: state[name] for name in random}
    assert above.keys() == before.keys()


def test_weights_are_truncated_normal_of_he_variance(densenet: nn.Module) -> None:
    stages = natural_stages(densenet, black("densenet121", densenet))
    weight = randomize_weights(densenet, stages, seed=2).get_parameter(
        "features.denseblock4.denselayer16.conv1.weight")
    std = math.sqrt(2 / weight.shape[1])
    assert weight.std().item() == pytest.approx(std, rel=0.01)
    assert abs(weight.mean().item()) < 5 * std / math.sqrt(weight.numel())
    # Cut at two standard deviations of the normal before the cut.
    assert weight.abs().max().item() == pytest.approx(2 * std / 0.8796256610, rel=0.001)
    # Normal within: 68.27 of 95.45 percent lie within one of these deviations.
    inside = (weight.abs() < std / 0.8796256610).double().mean().item()
    assert inside == pytest.approx(0.6826895 / 0.9544997, abs=0.005)


@pytest.mark.parametrize("architecture", ["inception_v3", "resnet50", "efficientnet_b0"])
def test_random_networks_neither_overflow_nor_die(architecture: str) -> None:
    module = build(architecture, 3).eval()
    fresh = randomize_weights(module, natural_stages(module, black(architecture, module)), seed=5)
    inputs = torch.randn(2, 3, 80, 80, generator=torch.Generator().manual_seed(0))
    inputs.requires_grad_()
    logits = fresh(inputs)
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), inputs)
    assert torch.isfinite(logits).all()
    assert not torch.equal(logits[0], logits[1])
    assert torch.isfinite(gradient).all()
    assert gradient.any()


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**31), other=st.integers(0, 2**31),
       names=st.sampled_from([("a", "a"), ("a", "b")]))
def test_seeds_and_names_alone_decide(seed: int, other: int, names: tuple[str, str]) -> None:
    layer = nn.Linear(5, 4)
    stage = [Stage("", ("weight", "bias"))]
    first = randomize_weights(layer, stage, seed, names[0]).state_dict()["weight"]
    torch.manual_seed(other)
    second = randomize_weights(layer, stage, other, names[1]).state_dict()["weight"]
    assert torch.equal(first, second) == (seed == other and names[0] == names[1])
    again = randomize_weights(layer, stage, seed, names[0]).state_dict()["weight"]
    assert torch.equal(first, again)


class HeadFirst(nn.Module):
    """Defined in another order than used, with a token, a list that is no layer, a spare head."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 2)
        self.spare = nn.Linear(6, 7)
        self.token = nn.Parameter(torch.ones(6))
        self.register_buffer("scale", torch.tensor([2.0, 3.0]))
        self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(6, 6), nn.ReLU()) for _ in range(3)])
        self.norm = nn.LayerNorm(6)
        self.stem = nn.Conv2d(1, 6, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        values = self.stem(inputs).mean(dim=(2, 3)) + self.token
        for block in self.blocks:
            values = block(values)
        logits: Tensor = self.head(self.norm(values)) * self.scale
        return logits


def test_the_forward_pass_gives_the_order() -> None:
    network = HeadFirst()
    stages = natural_stages(network, torch.zeros(1, 1, 8, 8))
    assert [stage.name for stage in stages] == ["head", "blocks.2", "blocks.1", "blocks.0", "stem"]
    assert stages[1].entries == ("blocks.2.0.weight", "blocks.2.0.bias", "norm.weight",
                                 "norm.bias")
    assert set(stages[-1].entries) == {"token", "scale", "spare.weight", "spare.bias",
                                       "stem.weight", "stem.bias"}
    fresh = randomize_weights(network, stages, seed=0)
    assert fresh.get_buffer("scale").tolist() == [2.0, 3.0]
    assert not (fresh.get_parameter("token") == 1).any()


def test_stops_are_cumulative_and_end_with_the_whole_network() -> None:
    stages = [Stage(name, (f"{name}.weight",)) for name in "abcd"]
    stops = choose_stages(stages, ("c", "a"), "it")
    assert [[stage.name for stage in stop] for stop in stops] == [
        ["a"], ["a", "b", "c"], ["a", "b", "c", "d"]]
    assert len(choose_stages(stages, (), "it")) == 4
    message = "model 'x' has no stage 'Mixed_7' of randomization; did you mean 'Mixed_7c'"
    with pytest.raises(UsageError, match=message):
        choose_stages([dataclasses.replace(stages[0], name="Mixed_7c")], ("Mixed_7",), "model 'x'")


def test_a_network_without_parameters_is_refused() -> None:
    with pytest.raises(UsageError, match="ReLU has no parameters"):
        natural_stages(nn.ReLU(), torch.zeros(1, 1, 8, 8))
