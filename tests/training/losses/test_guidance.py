"""Losses of gaze-guided training: known values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from torch import Tensor

from saltrust.study import GuidanceSpec
from saltrust.training.losses.guidance import (
    MARGIN,
    cross_entropy,
    explained_logits,
    heat_of_signal,
    logit_of_heat,
    smooth,
    target_of_heat,
)


def signal(seed: int = 0, n: int = 3) -> Tensor:
    return torch.randn(n, 2, 8, 9, dtype=torch.float64,
                       generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("channels", ["sum", "largest"])
@pytest.mark.parametrize("sign", ["absolute", "positive", "signed"])
@pytest.mark.parametrize("scaling", ["max", "minmax", "none"])
def test_a_map_is_what_numpy_makes_of_the_signal(channels: str, sign: str, scaling: str) -> None:
    raw = signal().numpy()
    plane = raw.sum(axis=1)
    if channels == "largest":
        plane = np.where(np.abs(raw[:, 0]) >= np.abs(raw[:, 1]), raw[:, 0], raw[:, 1])
    plane = {"absolute": np.abs, "positive": lambda p: p.clip(0), "signed": lambda p: p}[sign](
        plane)
    low, high = plane.min((1, 2), keepdims=True), plane.max((1, 2), keepdims=True)
    expected = {"none": plane, "minmax": (plane - low) / (high - low),
                "max": (plane / high).clip(0)}[scaling]
    spec = GuidanceSpec(channels=channels, sign=sign, scaling=scaling)
    np.testing.assert_allclose(heat_of_signal(signal(), spec).numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("sigma", [0.7, 2.0])
def test_smoothing_is_that_of_scipy(sigma: float) -> None:
    plane = signal()[:, 0]
    reach = int(np.ceil(3 * sigma))
    expected = [gaussian_filter(p, sigma, mode="constant", radius=reach) for p in plane.numpy()]
    np.testing.assert_allclose(smooth(plane, sigma).numpy(), expected, atol=1e-12)


def test_a_flat_map_is_zero_and_gives_finite_gradients() -> None:
    flat = torch.zeros(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    for scaling in ("max", "minmax"):
        spec = GuidanceSpec(scaling=scaling)
        heat = heat_of_signal(flat, spec)
        assert float(heat.detach().abs().max()) == 0
        loss = cross_entropy(logit_of_heat(heat, spec), torch.ones(1, 4, 4).double()).sum()
        (gradient,) = torch.autograd.grad(loss, flat)
        assert bool(torch.isfinite(gradient).all())
        assert float(loss.detach()) == pytest.approx(-np.log(MARGIN), rel=1e-3)


@given(st.floats(0, 1), st.floats(0, 1))
@settings(deadline=None, max_examples=50)
def test_the_loss_is_the_cross_entropy_of_the_map(heat: float, gaze: float) -> None:
    spec = GuidanceSpec()
    one, seen = (torch.full((1, 2, 2), value, dtype=torch.float64) for value in (heat, gaze))
    p = MARGIN + (1 - 2 * MARGIN) * heat
    expected = -(gaze * np.log(p) + (1 - gaze) * np.log1p(-p))
    assert float(cross_entropy(logit_of_heat(one, spec), seen)) == pytest.approx(expected)


def test_which_classes_are_explained() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0], [2.0, 1.0, 0.0]])
    target = torch.tensor([[True, False, True], [False, False, False]])
    assert explained_logits(logits, target, "predicted").tolist() == [[0, 1, 0], [1, 0, 0]]
    assert explained_logits(logits, target, "labelled").tolist() == [[1, 0, 1], [1, 1, 1]]
    assert explained_logits(logits, target, "all").tolist() == [[1, 1, 1], [1, 1, 1]]


def test_only_a_detached_target_teaches_nothing() -> None:
    raw = signal().requires_grad_()
    for detach, learned in ((True, False), (False, True)):
        target = target_of_heat(heat_of_signal(raw, GuidanceSpec(detach=detach)),
                                GuidanceSpec(detach=detach))
        assert target.requires_grad is learned
        assert 0 <= float(target.detach().min()) <= float(target.detach().max()) <= 1
