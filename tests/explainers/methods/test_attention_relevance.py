"""AttnLRP: completeness, rules written out by hand, LXT on torchvision's vision transformer."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import pytest
import torch
from lxt.explicit import functional as peer
from lxt.explicit.rules import identity
from torch import Tensor, nn
from torch.nn import functional

from saltrust.errors import DataError
from saltrust.explainers.methods.attention_relevance import attnlrp
from saltrust.explainers.methods.gradient import input_x_gradient
from saltrust.models.torchvision_operators import import_torchvision

TINY = 1e-13


def _linear(part: nn.Linear, x: Tensor) -> Tensor:
    result: Tensor = peer.linear_epsilon(x, part.weight, part.bias, TINY)
    return result


def _add(a: Tensor, b: Tensor) -> Tensor:
    result: Tensor = peer.add2(a, b, False, TINY)
    return result


def _norm(part: nn.LayerNorm, x: Tensor) -> Tensor:
    result: Tensor = peer.layer_norm_grad_fn.apply(x, part.weight, part.bias, part.eps, TINY)
    return result


def relevance_by_lxt(network: Any, images: Tensor, finding: int) -> Tensor:
    """The forward pass of torchvision's transformer, written with LXT's operations."""
    images = images.clone().requires_grad_()
    side = network.patch_size
    conv = network.conv_proj
    patches = functional.unfold(images, side, stride=side).transpose(1, 2)
    x = peer.linear_epsilon(patches, conv.weight.flatten(1), conv.bias, TINY)
    x = torch.cat([network.class_token.expand(len(x), -1, -1), x], dim=1)
    x = _add(x, network.encoder.pos_embedding.expand_as(x))
    for block in network.encoder.layers:
        attention = block.self_attention
        y = _norm(block.ln_1, x)
        packed = zip(attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3),
                     strict=True)
        q, k, v = (peer.linear_epsilon(y, weight, bias, TINY).unflatten(
            2, (attention.num_heads, -1)).transpose(1, 2) for weight, bias in packed)
        # A factor, too, has to be one of LXT's operations.
        scaled = peer.mul2(q, torch.tensor(q.shape[-1] ** -0.5))
        scores = peer.matmul(scaled, k.mT, False, TINY)
        y = peer.matmul(peer.softmax(scores, -1), v, False, TINY).transpose(1, 2).flatten(2)
        x = _add(x, _linear(attention.out_proj, y))
        y = _linear(block.mlp[0], _norm(block.ln_2, x))
        x = _add(x, _linear(block.mlp[3], identity(functional.gelu, y)))
    logits = _linear(network.heads.head, _norm(network.encoder.ln, x)[:, 0])
    torch.testing.assert_close(logits, network(images))
    # What LXT hands back is relevance itself, from the logit down.
    start = torch.zeros_like(logits)
    start[:, finding] = logits[:, finding].detach()
    (relevance,) = torch.autograd.grad(logits, images, start)
    return relevance.sum(dim=1)


def test_lxt_agrees_on_torchvision_s_transformer() -> None:
    models = import_torchvision().models
    torch.manual_seed(3)
    network = models.VisionTransformer(
        image_size=24, patch_size=8, num_layers=3, num_heads=2, hidden_dim=16, mlp_dim=32,
        num_classes=2).double().eval()
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.4)
    images = torch.randn(2, 3, 24, 24, dtype=torch.float64)
    maps = attnlrp(network, images, [1, 0])
    for position, finding in enumerate([1, 0]):
        expected = relevance_by_lxt(network, images, finding)
        scale = float(expected.abs().max())
        torch.testing.assert_close(maps[:, position], expected, rtol=1e-6, atol=1e-7 * scale)
    assert maps.abs().max() > 0


class Mixing(nn.Module):
    """Everything that keeps all relevance: no biases, no embeddings, no softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4, bias=False)
        self.norm = nn.LayerNorm(8, eps=0, elementwise_affine=False)
        self.query, self.key, self.value, self.mlp, self.head = (
            nn.Linear(8, 8, bias=False) for _ in range(5))
        self.scale = nn.Parameter(torch.rand(8))

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).mT
        y = self.norm(x)
        y = (self.query(y) @ self.key(y).mT / 9) @ self.value(y)
        x = x + self.scale * y
        deviation = (x - x.mean(-1, keepdim=True)).pow(2).mean(-1, keepdim=True).sqrt()
        y = (x - x.mean(-1, keepdim=True)) / deviation
        y = functional.gelu(self.mlp(y)) * torch.sigmoid(self.query(y))
        x = functional.rms_norm(x + y, (8,), eps=0.0) + torch.einsum("bnc,bnc->bnc", x, y)
        logits: Tensor = self.head(x.mean(dim=1))
        return logits


def test_relevance_adds_up_to_the_logit_where_nothing_absorbs_it() -> None:
    torch.manual_seed(4)
    network = Mixing().double()
    images = torch.randn(3, 3, 12, 12, dtype=torch.float64)
    maps = attnlrp(network, images, [0, 5])
    torch.testing.assert_close(maps.sum(dim=(2, 3)), network(images)[:, [0, 5]].detach(),
                               rtol=1e-8, atol=1e-10)


def test_what_biases_absorb_is_their_share() -> None:
    """One layer by hand: R = x W z / z, the bias keeps its own part of the logit."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 1)).double()
    images = torch.randn(2, 1, 2, 2, dtype=torch.float64)
    maps = attnlrp(network, images, [0])
    missing = network(images)[:, 0] - maps.sum(dim=(1, 2, 3))
    torch.testing.assert_close(missing, network[1].bias.expand(2).detach())


def test_the_softmax_rule_by_hand() -> None:
    class Softmax(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            weights = torch.softmax(images.flatten(1), dim=-1)
            return torch.stack([weights[:, 1], weights.sum(dim=1)], dim=1)

    images = torch.randn(2, 1, 2, 2, dtype=torch.float64)
    maps = attnlrp(Softmax(), images, [0])[:, 0]
    x = images[:, 0]
    weights = torch.softmax(x.flatten(1), dim=-1)
    relevance = torch.zeros_like(weights)
    relevance[:, 1] = weights[:, 1]
    expected = x.flatten(1) * (relevance - weights * relevance.sum(1, keepdim=True))
    torch.testing.assert_close(maps.flatten(1), expected)


def test_of_rectifiers_alone_it_is_input_times_gradient(network: nn.Module, images: Tensor
                                                        ) -> None:
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
                          nn.Conv2d(4, 4, 3), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1),
                          nn.Flatten(), nn.Linear(4, 2)).eval()
    torch.testing.assert_close(attnlrp(plain, images, [0, 1]),
                               input_x_gradient(plain, images, [0, 1]), rtol=1e-4, atol=1e-7)


def test_compiled_networks_are_refused(images: Tensor) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(nn.Sequential(nn.Flatten(), nn.Linear(960, 2)), images)
    with pytest.raises(DataError, match=r"compiled by torch\.jit, which hides .* from attnlrp"):
        attnlrp(traced, images, [0])


def test_published_transformers_have_maps() -> None:
    import_torchvision()
    timm = importlib.import_module("timm")
    for name in ("swin_tiny_patch4_window7_224", "vit_tiny_patch16_224"):
        small = ({"depths": (1, 1), "num_heads": (1, 2), "embed_dim": 8} if "swin" in name
                 else {"depth": 1, "embed_dim": 16, "num_heads": 2})
        module = timm.create_model(name, img_size=56, num_classes=2, **small, **(
            {} if "swin" in name else {"patch_size": 8})).eval()
        maps = attnlrp(module, torch.rand(1, 3, 56, 56), [0, 1])
        assert torch.isfinite(maps).all()
        assert (maps.std(dim=(2, 3)) > 0).all()
