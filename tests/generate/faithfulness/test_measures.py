"""Infidelity and sensitivity against captum called by hand, on a network whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.metrics import infidelity, sensitivity_max
from torch import Tensor

from saltrust.cache.schema import Status
from saltrust.generate.faithfulness import measures
from saltrust.generate.faithfulness.measures import (
    Explained,
    infidelity_of,
    sensitivity_of,
)

WEIGHTS = torch.linspace(-1, 1, 36).reshape(6, 6)


def linear(planes: Tensor) -> Tensor:
    return torch.stack([(planes * WEIGHTS).sum(dim=(1, 2)),
                        (planes ** 2 * WEIGHTS).sum(dim=(1, 2))], dim=1)


@pytest.fixture
def gray() -> Tensor:
    return 0.2 + 0.6 * torch.rand(6, 6, generator=torch.Generator().manual_seed(2))


def explained(gray: Tensor, maps: list[list[Tensor]]) -> Explained:
    values = np.stack([np.stack([plane.numpy() for plane in row]) for row in maps])
    return Explained(gray, values, np.full(values.shape[:2], int(Status.OK), np.uint8), "a", 5)


def test_slopes_and_contributions_of_a_linear_network_are_faithful(gray: Tensor) -> None:
    contributions, slopes = WEIGHTS * gray, 7 * WEIGHTS
    wrong = torch.rand(6, 6, generator=torch.Generator().manual_seed(0))
    of_maps = infidelity_of(explained(gray, [[slopes, contributions, wrong]] * 2), linear,
                            (False, True, False))
    # At its best scale an exact map misses nothing.
    assert (of_maps[0, :2] < 1e-8).all()
    assert of_maps[0, 2] > 1e-3
    assert of_maps[1, 0] > 10 * of_maps[0, 0]


def test_infidelity_is_that_of_captum_with_the_same_noise(gray: Tensor) -> None:
    item = explained(gray, [[torch.rand(6, 6, generator=torch.Generator().manual_seed(1))]] * 2)
    got = infidelity_of(item, linear, (False,))
    noise = measures.NOISE * torch.from_numpy(measures.stream(5, "a", 4).standard_normal(
        (measures.SAMPLES, 1, 6, 6), dtype=np.float32))
    for finding in range(2):
        expected = infidelity(lambda inputs, at=finding: linear(inputs[:, 0])[:, at],
                              lambda inputs: (noise, inputs - noise), gray[None, None],
                              torch.from_numpy(item.maps[finding, 0])[None, None],
                              n_perturb_samples=measures.SAMPLES, normalize=True)
        np.testing.assert_allclose(got[finding, 0], expected.numpy()[0], rtol=1e-5)


def test_sensitivity_is_that_of_captum_and_zero_where_maps_do_not_move(gray: Tensor) -> None:
    def explain(planes: Tensor) -> Tensor:
        every = torch.stack([planes ** 2 * WEIGHTS, WEIGHTS.expand(len(planes), -1, -1)], dim=1)
        return torch.stack([every, 2 * every], dim=1)

    item = explained(gray, [[WEIGHTS, WEIGHTS]] * 2)
    got = sensitivity_of(item, explain)
    assert (got[:, 1] == 0).all()
    noise = measures.RADIUS * torch.from_numpy(measures.stream(5, "a", 5).uniform(
        -1, 1, (measures.SAMPLES, 1, 6, 6)).astype(np.float32))
    expected = sensitivity_max(lambda inputs: inputs[0] ** 2 * WEIGHTS
                               if isinstance(inputs, tuple) else inputs ** 2 * WEIGHTS,
                               gray[None, None], perturb_func=lambda inputs: inputs + noise,
                               n_perturb_samples=measures.SAMPLES)
    np.testing.assert_allclose(got[0, 0], expected.numpy()[0], rtol=1e-5)


def test_only_usable_maps_are_measured(gray: Tensor) -> None:
    item = explained(gray, [[WEIGHTS, WEIGHTS]] * 2)
    item.status[0] = [Status.FLAT, Status.NONFINITE]
    assert np.isnan(infidelity_of(item, linear, (False, False))).tolist() == [
        [True, True], [False, False]]
