import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saltrust.errors import UsageError
from saltrust.training.data.targets import masked_loss, targets

LABELS = np.array([[1, 0, -1, -2]], np.int8)


@pytest.mark.parametrize(("policy", "target", "weight"), [
    ("ignore", [1, 0, 0, 0], [1, 1, 0, 0]),
    ("zeros", [1, 0, 0, 0], [1, 1, 1, 0]),
    ("ones", [1, 0, 1, 0], [1, 1, 1, 0]),
])
def test_policies(policy: str, target: list[int], weight: list[int]) -> None:
    target_and_weight = targets(LABELS, policy)
    assert [array[0].tolist() for array in target_and_weight] == [target, weight]
    assert all(array.dtype == np.float32 for array in target_and_weight)


def test_an_unknown_policy() -> None:
    with pytest.raises(UsageError, match="did you mean 'ignore'"):
        targets(LABELS, "ignor")


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 10_000))
def test_the_loss_is_the_mean_over_what_counts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (5, 3))
    target, weight = rng.integers(0, 2, (2, 5, 3)).astype(np.float32)
    probability = 1 / (1 + np.exp(-logits))
    each = -np.log(np.where(target == 1, probability, 1 - probability))[weight == 1]
    loss = masked_loss(*(torch.tensor(a, dtype=torch.float32) for a in (logits, target, weight)))
    assert loss.item() == pytest.approx(each.mean() if each.size else 0.0, rel=1e-4)


def test_what_does_not_count_has_no_gradient() -> None:
    logits = torch.randn(2, 2, requires_grad=True)
    weight = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    (gradient,) = torch.autograd.grad(masked_loss(logits, torch.ones(2, 2), weight), logits)
    assert (gradient != 0).tolist() == [[True, False], [False, False]]
    (gradient,) = torch.autograd.grad(
        masked_loss(logits, torch.ones(2, 2), torch.zeros(2, 2)), logits
    )
    assert gradient.tolist() == [[0, 0], [0, 0]]
