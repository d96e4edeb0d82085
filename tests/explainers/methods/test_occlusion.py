"""Occlusion: closed forms and captum."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import Occlusion
from torch import Tensor, nn

from saltrust.errors import UsageError
from saltrust.explainers.methods.occlusion import occlusion
from saltrust.explainers.passes.context import BatchContext, PassSize
from saltrust.explainers.passes.forward import run_forward


class Linear(nn.Module):
    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.einsum("bcyx,fcyx->bf", inputs, self.weights)


def test_of_a_linear_logit_it_is_the_mean_over_windows_of_what_they_cover() -> None:
    height, width, window, stride = 11, 14, 4, 3
    weights = torch.randn(2, 3, height, width, dtype=torch.float64)
    images = torch.rand(2, 3, height, width, dtype=torch.float64)
    context = BatchContext(("a", "b"), torch.full((1, 3, 1, 1), -1.0),
                           torch.full((1, 3, 1, 1), 2.0))
    maps = occlusion(Linear(weights), images, [1, 0], window=window, stride=stride,
                     fill="gray", context=context).numpy()
    for image in range(2):
        for position, finding in enumerate([1, 0]):
            shares = (weights[finding] * (images[image] - 0.5)).sum(dim=0).numpy()
            total, count = np.zeros((height, width)), np.zeros((height, width))
            # Starts 0, 3, 6, 9 down and 0, ..., 12 across: the last windows are cut.
            for y in (0, 3, 6, 9):
                for x in (0, 3, 6, 9, 12):
                    if y - 3 + window >= height or x - 3 + window >= width:
                        continue
                    total[y:y + window, x:x + window] += shares[y:y + window, x:x + window].sum()
                    count[y:y + window, x:x + window] += 1
            np.testing.assert_allclose(maps[image, position], total / count, atol=1e-12)


@pytest.mark.parametrize(("window", "stride"), [(8, 4), (5, 5), (7, 3), (16, 16), (3, 1), (40, 9)])
def test_captum_agrees(network: nn.Module, images: Tensor, window: int, stride: int) -> None:
    network, images = network.double().eval(), images.double()
    context = BatchContext(("a", "b", "c"), torch.full((1, 3, 1, 1), 0.0),
                           torch.full((1, 3, 1, 1), 0.8))
    maps = occlusion(network, images, [3, 1], window=window, stride=stride, context=context)
    height, width = images.shape[2:]
    size = (3, min(window, height), min(window, width))
    steps = (3, min(stride, size[1]), min(stride, size[2]))
    for position, finding in enumerate([3, 1]):
        expected = Occlusion(network).attribute(
            images, sliding_window_shapes=size, strides=steps, baselines=0.4, target=finding)
        # captum adds up in float32, and repeats the map over the channels covered together.
        torch.testing.assert_close(maps[:, position].float(), expected[:, 0].detach(),
                                   rtol=1e-5, atol=1e-6 * float(maps.abs().max()))
    assert maps.abs().max() > 0


def test_all_findings_share_passes_of_bounded_size(network: nn.Module, images: Tensor) -> None:
    sizes: list[int] = []

    def listen(_module: nn.Module, args: Any, _output: Any) -> None:
        sizes.append(len(args[0]))
        assert not torch.is_grad_enabled()

    context = BatchContext.of(images)
    expected = occlusion(network, images, [0, 1, 2, 3], window=6, stride=5, context=context)
    small = BatchContext(context.images, context.black, context.white, passes=PassSize(4))
    forward = run_forward(network, images)
    handle = network.register_forward_hook(listen)
    maps = occlusion(network, images, [0, 1, 2, 3], window=6, stride=5, context=small,
                     forward=forward)
    handle.remove()
    # 3 x 4 windows for each of three images.
    assert sizes == [4] * 9
    torch.testing.assert_close(maps, expected, rtol=1e-4, atol=1e-6)


def test_a_pass_that_does_not_fit_is_halved(network: nn.Module, images: Tensor) -> None:
    network = network.double().eval()
    images = images.double()
    expected = occlusion(network, images, [0], window=6, stride=5)

    def check(_module: nn.Module, args: Any) -> None:
        if len(args[0]) > 3:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    handle = network.register_forward_pre_hook(check)
    context = BatchContext.of(images)
    maps = occlusion(network, images, [0], window=6, stride=5, context=context)
    handle.remove()
    assert context.passes.rows == 2
    torch.testing.assert_close(maps, expected)


def test_a_stride_that_leaves_gaps_is_refused(network: nn.Module, images: Tensor) -> None:
    with pytest.raises(UsageError, match="a stride of 9 leaves pixels between windows of 8"):
        occlusion(network, images, [0], window=8, stride=9)
