"""The published U-Net: its size, its shape, its beginning, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from saltrust.errors import UsageError
from saltrust.models.contract import preprocessing_of
from saltrust.models.localizers.base_unet import BaseUNet
from saltrust.models.localizers.registry import LOCALIZERS, build_localizer, check_localizer
from saltrust.models.preprocessing import GRAY
from saltrust.models.trial import Expected
from saltrust.study import LocalizerSpec


def test_layers_are_those_of_2015() -> None:
    with torch.device("meta"):
        net = BaseUNet(2)
    convolutions = [(part.in_channels, part.out_channels, part.kernel_size[0])
                    for part in net.modules() if isinstance(part, nn.Conv2d)]
    down = [(1, 64, 3), (64, 64, 3), (64, 128, 3), (128, 128, 3), (128, 256, 3), (256, 256, 3),
            (256, 512, 3), (512, 512, 3), (512, 1024, 3), (1024, 1024, 3)]
    up = [(1024, 512, 3), (512, 512, 3), (512, 256, 3), (256, 256, 3), (256, 128, 3),
          (128, 128, 3), (128, 64, 3), (64, 64, 3)]
    assert convolutions == [*down, *up, (64, 2, 1)]
    raised = [(part.in_channels, part.out_channels, part.kernel_size, part.stride)
              for part in net.modules() if isinstance(part, nn.ConvTranspose2d)]
    assert raised == [(2 * n, n, (2, 2), (2, 2)) for n in (512, 256, 128, 64)]
    assert not any(isinstance(part, nn.BatchNorm2d) for part in net.modules())
    # 23 convolutional layers, as the paper counts them.
    assert len(convolutions) + len(raised) == 23
    weights = sum((9 if k == 3 else 1) * a * b + b for a, b, k in convolutions)
    assert sum(part.numel() for part in net.parameters()) == weights + sum(
        4 * a * b + b for a, b, _, _ in raised)


def test_every_pixel_has_a_logit_that_sees_as_far_as_published() -> None:
    torch.manual_seed(0)
    net = build_localizer("base_unet", 2, width=4).eval()
    assert preprocessing_of("base_unet", net, LOCALIZERS) == GRAY
    inputs = torch.rand(2, 1, 37, 45)
    with torch.no_grad():
        logits = net(inputs)
        assert logits.shape == (2, 2, 37, 45)
        assert logits.std() > 0.05
        padded = nn.functional.pad(inputs, (0, 3, 0, 11), mode="replicate")
        torch.testing.assert_close(logits, net(padded)[..., :37, :45])
    wide = torch.rand(1, 1, 400, 16, requires_grad=True)
    (gradient,) = torch.autograd.grad(net(wide)[0, 0, 200, 8], wide)
    (seen,) = gradient[0, 0].abs().sum(dim=1).nonzero(as_tuple=True)
    # 188 pixels by the layers alone, to which the transposed convolutions fit in blocks of 16.
    assert 180 <= int(seen.max() - seen.min()) + 1 <= 204
    assert check_localizer(net, Expected("base_unet", GRAY, (48, 40), 2)) == ()


def test_weights_begin_as_published_and_repeat_with_their_seed() -> None:
    torch.manual_seed(3)
    net = BaseUNet(1, width=16, depth=2)
    block = net.merge[0][0]
    assert float(block.weight.detach().std()) == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.03)
    assert not block.bias.any()
    torch.manual_seed(3)
    again = BaseUNet(1, width=16, depth=2)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(),
                                                 strict=True))
    # A signal neither dies nor explodes on its way.
    with torch.no_grad():
        assert 0.1 < float(net.eval()(torch.randn(4, 1, 32, 32)).std()) < 10


def test_dropout_is_of_training_alone_and_normalisation_is_an_argument() -> None:
    torch.manual_seed(0)
    net, inputs = BaseUNet(1, width=4), torch.rand(1, 1, 32, 32)
    assert not torch.equal(net.train()(inputs), net(inputs))
    assert torch.equal(net.eval()(inputs), net(inputs))
    steady = BaseUNet(1, width=4, dropout=0.0).train()
    assert torch.equal(steady(inputs), steady(inputs))
    normal = BaseUNet(1, width=4, batch_norm=True)
    assert sum(isinstance(part, nn.BatchNorm2d) for part in normal.modules()) == 18


def test_it_is_trained_as_the_paper_trained_its_own() -> None:
    assert LocalizerSpec("u", architecture="base_unet").kind == "unet"


@pytest.mark.parametrize(("arguments", "message"), [
    ({"width": 0}, "width = 0 of a base_unet must be a whole number from 1 to 512"),
    ({"depth": 2.5}, r"depth = 2.5 of a base_unet"),
    ({"depth": True}, "depth = True of a base_unet"),
    ({"dropout": 1}, "dropout = 1 of a base_unet must be at least 0 and below 1"),
    ({"wdith": 3}, "wdith"),
])
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_localizer("base_unet", 1, **arguments)
