"""What users bring along, and what they are told of it."""

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from saltrust.errors import UsageError
from saltrust.models.answer import Answer
from saltrust.models.preprocessing import GRAY, IMAGENET, Preprocessing
from saltrust.models.trial import Expected, Trial, probe_images, try_network


def network(channels: int = 1, n_outputs: int = 2, *tail: nn.Module) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
                         nn.Flatten(), nn.Linear(4, n_outputs), *tail)


def attempt(module: nn.Module, n_outputs: int = 2, size: tuple[int, int] = (24, 20),
            preprocessing: Preprocessing = GRAY, *, stochastic: bool = False,
            **answer: Any) -> Trial:
    return try_network(module, Expected("net:make", preprocessing, size, n_outputs,
                                        Answer(**answer), stochastic))


class Calling(nn.Module):
    def __init__(self, function: Any, body: nn.Module | None = None) -> None:
        super().__init__()
        self.body = body or network()
        self.function = function

    def forward(self, inputs: Tensor) -> Any:
        return self.function(self.body, inputs)


def test_a_plain_network_passes_without_a_word() -> None:
    assert attempt(network()) == Trial(Answer())


def test_probes_are_three_different_images_of_the_whole_range() -> None:
    images = probe_images((31, 47))
    assert images.shape == (3, 31, 47) and images.dtype == np.uint8
    assert all(image.min() < 64 and image.max() > 180 for image in images)
    assert np.array_equal(images, probe_images((31, 47)))


@pytest.mark.parametrize("kind", ["logits", "softmax"])
@pytest.mark.parametrize("tail", [
    nn.Sigmoid(), nn.Softmax(dim=1), Calling(lambda _b, z: 1 / (1 + torch.exp(-z))),
    Calling(lambda _b, z: functional.softmax(z, dim=-1)), Calling(lambda _b, z: z.sigmoid()),
    Calling(lambda _b, z: torch.sigmoid_(z.clone())), Calling(lambda _b, z: z.sigmoid()[:, :]),
])
def test_probabilities_where_scores_are_stated_are_warned_of(tail: nn.Module, kind: str) -> None:
    (warning,) = attempt(network(1, 2, tail), kind=kind).warnings
    assert 'set kind = "probabilities" under [models.output]' in warning


def test_one_probability_is_warned_of_too() -> None:
    assert attempt(network(1, 1, nn.Sigmoid()), 1).warnings
    assert attempt(Calling(lambda body, x: torch.sigmoid(body(x))[:, 0], network(1, 1)), 1).warnings


def test_logs_of_probabilities_are_warned_of() -> None:
    (warning,) = attempt(network(1, 3, nn.LogSoftmax(1)), 3).warnings
    assert 'set kind = "softmax"' in warning


def test_logits_that_lie_between_0_and_1_are_none() -> None:
    module = network(1, 1)
    module[4].bias.data.fill_(0.5)
    module[4].weight.data *= 0.05
    assert attempt(module, 1).warnings == ()


def test_scores_where_probabilities_are_stated_are_refused() -> None:
    with pytest.raises(UsageError, match=r"no probabilities .* set kind = \"logits\""):
        attempt(network(), kind="probabilities")
    assert attempt(network(1, 2, nn.Softmax(1)), kind="probabilities").warnings == ()


class AlwaysDropping(nn.Dropout):
    def train(self, _mode: bool = True) -> "AlwaysDropping":
        self.training = True
        return self


@pytest.mark.parametrize(("module", "cause"), [
    (Calling(lambda body, x: body(functional.dropout(x, 0.01))), "functional.dropout"),
    (Calling(lambda body, x: body(x + 1e-3 * torch.randn_like(x))), "draws random numbers"),
    (network(1, 2, AlwaysDropping(0.5)), "'5' drops values"),
    (nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, track_running_stats=False),
                   *network()[1:]), "batch normalization '1' has no running statistics"),
    (Calling(lambda body, x: body(x - x.mean())), "computes over the batch"),
    (Calling(lambda body, x: body(x).softmax(0)), "computes over the batch"),
])
def test_what_answers_by_chance_or_by_company_is_refused(module: nn.Module, cause: str) -> None:
    with pytest.raises(UsageError, match=cause) as caught:
        attempt(module)
    assert "set stochastic = true under [[models]]" in str(caught.value)
    attempt(module, stochastic=True)


def test_a_faint_dropout_under_a_large_bias_is_seen() -> None:
    module = Calling(lambda body, x: body(functional.dropout(x, 0.01)))
    module.body[4].bias.data.fill_(100.0)
    with pytest.raises(UsageError, match="differently each time"):
        attempt(module)


class NeedsAge(nn.Module):
    def forward(self, inputs: Tensor, age: Tensor) -> Tensor:
        return inputs.mean((2, 3)) + age


class OfSize(nn.Module):
    def __init__(self, size: int, channels: int = 1) -> None:
        super().__init__()
        self.flat = nn.Linear(channels * size * size, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.flat(inputs.flatten(1))


def mixed() -> nn.Module:
    module = network()
    module[0].half()
    return module


@pytest.mark.parametrize(("module", "words"), [
    (network(3), "takes 3 channels; state channels = 3"),
    (network(2), "takes 2 channels; state channels = 2"),
    (mixed(), "partly float16 and float32"),
    (NeedsAge(), "needs age besides the image"),
    (OfSize(64), "set grid = 64"),
    (OfSize(224), "set grid = 224"),
    (OfSize(224, 3), "state channels = 3 under .* grid = 224"),
    (Calling(lambda _b, x: {}["mine"]), r"KeyError: 'mine' \(test_trial.py, line \d+, in"),
    (Calling(lambda body, x: body(x[:1]) if len(x) == 1 else x[9]), "single images only"),
])
def test_the_cause_of_a_refusal_is_named(module: nn.Module, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        attempt(module)


def test_torchscript_is_refused_by_name() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's own of torch.jit
        module = torch.jit.trace(network(), torch.zeros(1, 1, 24, 20))
    with pytest.raises(UsageError, match="TorchScript"):
        attempt(module)


@pytest.mark.parametrize(("n_outputs", "module", "words"), [
    (2, network(1, 3), r"must return 2 outputs per image, shape \(batch, 2\), not 3"),
    (2, Calling(lambda _b, x: x), r"a tensor of shape \(3, 1, 24, 20\) for 3 images"),
    (2, Calling(lambda body, x: body(x).sum()), r"shape \(\)"),
])
def test_what_comes_back_is_held_to_what_is_wanted(n_outputs: int, module: nn.Module,
                                                   words: str) -> None:
    with pytest.raises(UsageError, match=words):
        attempt(module, n_outputs)


def test_a_buffer_that_is_not_finite_and_counts_is_named() -> None:
    module = nn.Sequential(nn.BatchNorm2d(1), *network())
    module[0].running_mean.fill_(float("nan"))
    (warning,) = attempt(module).warnings
    assert "buffer '0.running_mean' holds NaN" in warning
    module[0].running_mean.zero_()
    module.register_buffer("op_threshs", torch.tensor([float("nan")]))
    assert attempt(module).warnings == ()


def test_what_is_not_finite_is_said() -> None:
    (warning,) = attempt(Calling(lambda body, x: body(x) / 0)).warnings
    assert "NaN or infinite values for a plain image" in warning


def test_what_is_assumed_of_several_outputs_is_said() -> None:
    trial = attempt(Calling(lambda body, x: {"features": x, "head": body(x)}))
    assert "taken to be 'head'" in trial.assumed[0]
    assert attempt(Calling(lambda body, x: {"features": x, "head": body(x)}),
                   select="head").assumed == ()


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.bfloat16])
def test_weights_of_other_types_are_tried_in_their_own(kind: torch.dtype) -> None:
    assert attempt(network().to(kind)).warnings == ()


def test_an_imagenet_network_of_full_size_passes() -> None:
    from saltrust.models.classifiers.registry import build

    torch.manual_seed(0)
    attempt(build("resnet18", 3), 3, (64, 48), IMAGENET)
