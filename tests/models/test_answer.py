import copy
from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, logit, softmax
from torch import Tensor, nn

from saltrust.errors import DataError
from saltrust.explainers.explain import explain
from saltrust.explainers.registry import resolve
from saltrust.models.answer import (
    Answer,
    answer_with_logits,
    describe_output,
    select_output,
    softmax_logits,
)
from saltrust.study import ExplainerSpec

INPUTS = torch.rand(4, 1, 12, 12, generator=torch.Generator().manual_seed(3))


def network(n_outputs: int = 3, *tail: nn.Module) -> nn.Sequential:
    torch.manual_seed(5)
    return nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(6, n_outputs), *tail).eval()


class Returning(nn.Module):
    """A network whose output is put into something."""

    def __init__(self, wrap: Any, n_outputs: int = 3) -> None:
        super().__init__()
        self.body = network(n_outputs)
        self.wrap = wrap

    def forward(self, inputs: Tensor) -> Any:
        return self.wrap(self.body(inputs))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-30, 30), min_size=2, max_size=6))
def test_the_sigmoid_of_a_softmax_logit_is_the_softmax(scores: list[float]) -> None:
    values = torch.tensor([scores], dtype=torch.float64)
    logits = softmax_logits(values)
    np.testing.assert_allclose(torch.sigmoid(logits).numpy()[0], softmax(scores), rtol=1e-9)
    others = [np.log(np.exp(np.delete(scores, k)).sum()) for k in range(len(scores))]
    np.testing.assert_allclose(logits.numpy()[0], np.array(scores) - others, atol=1e-9)


def test_a_softmax_of_one_class_is_refused() -> None:
    with pytest.raises(DataError, match="at least two classes"):
        softmax_logits(torch.zeros(2, 1))


def test_logits_stay_as_they_are_to_the_bit() -> None:
    plain, answering = network(), network()
    answer_with_logits(answering, Answer())
    assert torch.equal(plain(INPUTS), answering(INPUTS))


def explained(module: nn.Module, output: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Logit, gradient and integrated gradients of one output."""
    methods = [resolve(ExplainerSpec(name)) for name in ("grad", "ig", "gradcam")]
    result = explain(module, INPUTS, [output], methods)
    return result.logits[:, output], result.heatmaps["grad"], result.heatmaps["ig"]


@pytest.mark.parametrize("tail", [nn.Sigmoid(), nn.Softmax(dim=1), nn.Softmax(dim=-1)])
def test_probabilities_are_explained_by_what_went_into_them(tail: nn.Module) -> None:
    answering, raw = network(3, tail), network(3)
    answer_with_logits(answering, Answer("probabilities"))
    answer_with_logits(raw, Answer("logits" if isinstance(tail, nn.Sigmoid) else "softmax"))
    for left, right in zip(explained(answering), explained(raw), strict=True):
        assert torch.equal(left, right)


class HandWritten(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return 1 / (1 + torch.exp(-values))


def test_probabilities_of_operations_that_are_not_known_are_inverted() -> None:
    answering, raw = network(3, HandWritten()), network(3)
    answer_with_logits(answering, Answer("probabilities"))
    expected = logit(torch.sigmoid(raw(INPUTS)).double().detach().numpy())
    np.testing.assert_allclose(answering(INPUTS).detach().numpy(), expected, rtol=1e-4, atol=1e-6)
    for left, right in zip(explained(answering), explained(raw), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-6)


# Far below 0, a sigmoid that is written out has no gradient of its own.
@pytest.mark.parametrize(("tail", "bias"), [(nn.Sigmoid(), -200.0), (nn.Sigmoid(), 200.0),
                                            (HandWritten(), 200.0)])
def test_certainty_is_a_large_number(tail: nn.Module, bias: float) -> None:
    answering = network(2, tail)
    answering[4].bias.data.fill_(bias)
    answer_with_logits(answering, Answer("probabilities"))
    logits, gradient, _ = explained(answering)
    assert torch.isfinite(logits).all() and torch.isfinite(gradient).all()
    assert ((logits.sign() == np.sign(bias)) & (logits.abs() > 16)).all()


def test_log_probabilities_are_scores_of_a_softmax() -> None:
    answering, raw = network(3, nn.LogSoftmax(1)), network(3)
    answer_with_logits(answering, Answer("softmax"))
    expected = log_softmax(raw(INPUTS).detach().double().numpy(), axis=1)
    np.testing.assert_allclose(torch.sigmoid(answering(INPUTS)).detach().numpy(),
                               np.exp(expected), rtol=1e-5)


Pair = namedtuple("Pair", "logits aux")


@dataclass
class Output:
    loss: Tensor | None
    logits: Tensor


@pytest.mark.parametrize(("wrap", "select"), [
    (lambda z: {"logits": z, "features": z[:, :, None, None]}, None),
    (lambda z: {"features": z[:, :, None, None], "mine": z}, None),
    (lambda z: {"a": -z, "mine": z}, "mine"),
    (lambda z: (z, -z), None),
    (lambda z: (z[:, :, None, None].expand(-1, -1, 2, 2), z), None),
    (lambda z: (-z, z), 1),
    (lambda z: [-z, z], -1),
    (lambda z: Pair(z, -z), None),
    (lambda z: Pair(-z, z), "aux"),
    (lambda z: Output(None, z), None),
    (lambda z: Output(z.sum(), z), "logits"),
    (lambda z: z[:, :, None, None], None),
])
def test_the_output_is_taken_out_of_what_is_returned(wrap: Any, select: str | int | None) -> None:
    module = Returning(wrap)
    expected = module.body(INPUTS)
    answer_with_logits(module, Answer(select=select))
    assert torch.equal(module(INPUTS), expected)


def test_a_row_of_single_outputs_becomes_a_column() -> None:
    module = Returning(lambda z: z[:, 0], 1)
    answer_with_logits(module, Answer())
    assert module(INPUTS).shape == (4, 1)


@pytest.mark.parametrize(("wrap", "answer", "words"), [
    (lambda z: {"a": z}, Answer(select="b"), r"a dict of 'a' \(4, 3\), of which select = 'b'"),
    (lambda z: (z,), Answer(select=2), "select = 2 is none"),
    (lambda z: z, Answer(select="x"), "select = 'x' is none"),
    (lambda z: z.sum(), Answer(), r"shape \(\) for 4 images"),
    (lambda z: z.long(), Answer(), "torch.int64"),
    (lambda z: z[:2], Answer(), r"shape \(2, 3\) for 4 images"),
    (lambda _z: "text", Answer(), "a str"),
    (lambda _z: {}, Answer(), "an empty dict"),
    (lambda z: z[:, :, None].expand(-1, -1, 5), Answer(), r"\(4, 3, 5\)"),
])
def test_what_is_no_row_of_numbers_is_refused(wrap: Any, answer: Answer, words: str) -> None:
    module = Returning(wrap)
    answer_with_logits(module, answer)
    with pytest.raises(DataError, match=words):
        module(INPUTS)


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.bfloat16])
def test_weights_compute_in_their_own_type(kind: torch.dtype) -> None:
    module = network().to(kind)
    expected = module(INPUTS.to(kind)).float()
    answer_with_logits(module, Answer())
    logits = module(INPUTS)
    assert logits.dtype == torch.float32
    assert torch.equal(logits, expected)
    _, gradient, _ = explained(module)
    assert gradient.dtype == torch.float32


def test_copies_answer_for_themselves() -> None:
    module = network(2, nn.Sigmoid())
    answer_with_logits(module, Answer("probabilities"))
    twin = copy.deepcopy(module)
    twin[4].bias.data += 1
    torch.testing.assert_close(twin(INPUTS), module(INPUTS) + 1)


class Failing(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        torch.sigmoid(inputs.flatten(1))
        raise KeyError("mine")


def test_a_network_that_fails_leaves_nothing_behind() -> None:
    module = Failing()
    answer_with_logits(module, Answer("probabilities"))
    for _ in range(2):
        with pytest.raises(KeyError, match="mine"):
            module(INPUTS)
    fresh = network(2, nn.Sigmoid())
    answer_with_logits(fresh, Answer("probabilities"))
    assert torch.equal(fresh(INPUTS), network(2)(INPUTS))


def test_columns_choose_for_training() -> None:
    module = network(3)
    expected = module(INPUTS)[:, [2, 0]]
    answer_with_logits(module, Answer(columns=(2, 0)))
    assert torch.equal(module(INPUTS), expected)


def test_attention_is_not_taken_for_the_output() -> None:
    class Attending(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            weights = torch.softmax(inputs[:, 0], dim=-1)
            return torch.sigmoid((weights @ inputs[:, 0]).flatten(1)[:, :2])

    module = Attending()
    expected = torch.logit(module(INPUTS))
    answer_with_logits(module, Answer("probabilities"))
    torch.testing.assert_close(module(INPUTS), expected)


def test_outputs_are_described() -> None:
    assert select_output(INPUTS) is INPUTS
    assert describe_output(Output(None, torch.zeros(2, 3))) == (
        "a Output of 'loss' NoneType, 'logits' (2, 3)")
