"""Networks through `torch.compile` on the device; last, as it takes longest."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from saltrust.explainers.explain import explain
from saltrust.explainers.passes.compiled import compiling, try_compiled
from saltrust.explainers.registry import resolve
from saltrust.study import ExplainerSpec

pytestmark = pytest.mark.cuda

#: The largest difference of maps as a part of their largest value.
LARGEST_DIFFERENCE = 2e-3


def test_a_compiled_network_gives_the_same_maps(device: torch.device) -> None:
    torch.manual_seed(5)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(inplace=True),
        nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, 2)).eval().to(device)
    images = torch.rand(3, 3, 24, 24).to(device)
    methods = [resolve(ExplainerSpec("ig", {"steps": 4})), resolve(ExplainerSpec("gradcam")),
               resolve(ExplainerSpec("guided_backprop"))]
    expected = explain(network, images, range(2), methods)
    with compiling(True):
        try_compiled(network, images, 0, "small")
        explained = explain(network, images, range(2), methods)
    for name, maps in explained.heatmaps.items():
        largest = expected.heatmaps[name].abs().amax()
        assert (maps - expected.heatmaps[name]).abs().amax() <= LARGEST_DIFFERENCE * largest
