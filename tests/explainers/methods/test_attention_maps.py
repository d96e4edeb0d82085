"""Attention rollout and transformer attribution: written out by hand, whatever attention is."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from saltrust.errors import DataError
from saltrust.explainers.explain import explain
from saltrust.explainers.methods.attention_maps import attention_rollout, chefer
from saltrust.explainers.registry import resolve
from saltrust.models.classifiers.registry import build
from saltrust.models.torchvision_operators import import_torchvision
from saltrust.study import ExplainerSpec

SIZE, PATCH, WIDTH, HEADS, LAYERS = 24, 8, 16, 4, 3
PLACES = (SIZE // PATCH) ** 2


def _by_hand(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return ((q @ k.mT * q.shape[-1] ** -0.5).softmax(-1)) @ v


def _flat(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Images and heads as one dimension, as older networks have it."""
    flat = [part.flatten(0, 1) for part in (q, k, v)]
    weights = torch.softmax(torch.bmm(flat[0] * q.shape[-1] ** -0.5, flat[1].mT), dim=-1)
    return torch.bmm(functional.dropout(weights, 0.5, training=False), flat[2]).view_as(q)


FORMS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "fused": functional.scaled_dot_product_attention, "by hand": _by_hand, "flat": _flat}


class Block(nn.Module):
    def __init__(self, form: str) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.form = form
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 32), nn.GELU(), nn.Linear(32, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        if self.form == "module":
            y = self.attention(y, y, y, need_weights=False)[0]
        else:
            q, k, v = heads_of(self.attention, y)
            y = FORMS[self.form](q, k, v).transpose(1, 2).flatten(2)
            y = self.attention.out_proj(y)
        x = x + y
        return x + self.mlp(self.norm2(x))


def heads_of(attention: nn.MultiheadAttention, tokens: Tensor) -> list[Tensor]:
    packed = functional.linear(tokens, attention.in_proj_weight, attention.in_proj_bias)
    return [part.unflatten(2, (HEADS, -1)).transpose(1, 2) for part in packed.chunk(3, dim=-1)]


class Transformer(nn.Module):
    """A vision transformer with some tokens before the patches, read from the first or all."""

    def __init__(self, form: str = "module", extra: int = 1, pool: str = "class") -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.extra = nn.Parameter(torch.randn(1, extra, WIDTH))
        self.places = nn.Parameter(torch.randn(1, PLACES, WIDTH) * 0.1)
        self.blocks = nn.ModuleList([Block(form) for _ in range(LAYERS)])
        self.norm, self.head, self.pool = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 2), pool

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).mT + self.places
        x = torch.cat([self.extra.expand(len(x), -1, -1), x], dim=1)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        n = self.extra.shape[1]
        read = {"class": x[:, 0], "two": x[:, :2].mean(1), "patches": x[:, n:].mean(1)}
        logits: Tensor = self.head(read[self.pool])
        return logits


def make(form: str = "module", extra: int = 1, pool: str = "class") -> Transformer:
    torch.manual_seed(6)
    network = Transformer(form, extra, pool).double().eval()
    with torch.no_grad():
        for block in network.blocks:
            block.attention.in_proj_weight.mul_(3)
    return network


def attention_of(network: Transformer, images: Tensor) -> tuple[list[Tensor], Tensor]:
    """Weights of every layer, as leaves of the rest of the network, and the logits."""
    n = network.extra.shape[1]
    x = network.patches(images).flatten(2).mT + network.places
    x = torch.cat([network.extra.expand(len(x), -1, -1), x], dim=1)
    weights = []
    for block in network.blocks:
        q, k, v = heads_of(block.attention, block.norm1(x))
        weight = torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, dim=-1)
        weights.append(weight)
        x = x + block.attention.out_proj((weight @ v).transpose(1, 2).flatten(2))
        x = x + block.mlp(block.norm2(x))
    x = network.norm(x)
    read = {"class": x[:, 0], "two": x[:, :2].mean(1), "patches": x[:, n:].mean(1)}
    return weights, network.head(read[network.pool])


def upsampled(rows: Tensor) -> Tensor:
    plane = rows.view(len(rows), 1, SIZE // PATCH, SIZE // PATCH)
    return functional.interpolate(plane, size=(SIZE, SIZE), mode="bilinear")[:, 0]


def expected_rows(relevance: Tensor, network: Transformer) -> Tensor:
    n = network.extra.shape[1]
    rows = {"class": relevance[:, :1], "two": relevance[:, :2], "patches": relevance[:, n:]}
    return rows[network.pool].mean(dim=1)[:, n:]


@pytest.fixture
def pictures() -> Tensor:
    return torch.randn(2, 3, SIZE, SIZE, dtype=torch.float64,
                       generator=torch.Generator().manual_seed(2))


CASES = [("module", 1, "class"), ("fused", 1, "class"), ("by hand", 5, "class"),
         ("flat", 2, "two"), ("fused", 0, "patches"), ("module", 1, "patches")]


@pytest.mark.parametrize(("form", "extra", "pool"), CASES)
def test_rollout_is_the_product_over_layers(
    form: str, extra: int, pool: str, pictures: Tensor
) -> None:
    network = make(form, extra, pool)
    maps = attention_rollout(network, pictures, [1, 0])
    weights, _ = attention_of(network, pictures)
    one = torch.eye(weights[0].shape[-1], dtype=torch.float64)
    product = one
    for weight in weights:
        product = (weight.mean(dim=1) + one) / 2 @ product
    torch.testing.assert_close(product.sum(dim=2), torch.ones_like(product[:, 0]))
    expected = upsampled(expected_rows(product, network)).detach()
    for finding in range(2):
        torch.testing.assert_close(maps[:, finding], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("form", "extra", "pool"), CASES)
def test_chefer_adds_attention_that_speaks_for_the_finding(
    form: str, extra: int, pool: str, pictures: Tensor
) -> None:
    network = make(form, extra, pool)
    maps = chefer(network, pictures, [1, 0])
    weights, logits = attention_of(network, pictures)
    for position, finding in enumerate([1, 0]):
        gradients = torch.autograd.grad(logits[:, finding].sum(), weights, retain_graph=True)
        relevance = torch.eye(weights[0].shape[-1], dtype=torch.float64).expand(2, -1, -1)
        for weight, gradient in zip(weights, gradients, strict=True):
            relevance = relevance + (gradient * weight).clamp(min=0).mean(dim=1) @ relevance
        expected = upsampled(expected_rows(relevance, network)).detach()
        torch.testing.assert_close(maps[:, position], expected, rtol=1e-9, atol=1e-12)
    assert not torch.allclose(maps[:, 0], maps[:, 1])


@pytest.fixture(scope="module")
def timm() -> Any:
    import_torchvision()
    return importlib.import_module("timm")


def test_attention_of_a_published_transformer(timm: Any) -> None:
    torch.manual_seed(1)
    network = timm.create_model("vit_tiny_patch16_224", img_size=48, num_classes=2, depth=2,
                                embed_dim=24, num_heads=2).eval()
    images = torch.rand(2, 3, 48, 48)
    kept = []
    for block in network.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(lambda *call: kept.append(call[2].detach()))
    network(images)
    one = torch.eye(10)
    first, last = ((weight.mean(dim=1) + one) / 2 for weight in kept)
    expected = functional.interpolate((last @ first)[:, 0, 1:].view(2, 1, 3, 3), size=(48, 48),
                                      mode="bilinear")
    for fused in (False, True):
        for block in network.blocks:
            block.attn.fused_attn = fused
        torch.testing.assert_close(attention_rollout(network, images, [0]), expected)


@pytest.mark.parametrize("method", [attention_rollout, chefer])
def test_networks_without_attention_among_all_patches_are_refused(
    method: Any, timm: Any
) -> None:
    with pytest.raises(DataError, match="no attention"):
        method(build("resnet18", 1), torch.rand(1, 3, 64, 64), [0])
    swin = timm.create_model("swin_tiny_patch4_window7_224", img_size=56, num_classes=1,
                             depths=(1, 1), num_heads=(1, 1), embed_dim=8)
    with pytest.raises(DataError, match="not among all patches"):
        method(swin, torch.rand(1, 3, 56, 56), [0])
    cait = timm.create_model("cait_xxs24_224", img_size=48, num_classes=1, depth=1, embed_dim=16,
                             num_heads=2)
    with pytest.raises(DataError, match="not among all patches"):
        method(cait, torch.rand(1, 3, 48, 48), [0])


def test_a_mask_and_a_module_of_tokens_first(pictures: Tensor) -> None:
    """torch's own encoder, whose shortcut passes its submodules by."""

    class Encoder(nn.Module):
        def __init__(self, first: bool) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, WIDTH, PATCH, PATCH)
            layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 32, batch_first=first)
            self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.head, self.first = nn.Linear(WIDTH, 1), first

        def forward(self, images: Tensor) -> Tensor:
            x = self.patches(images).flatten(2).mT
            mask = torch.zeros(PLACES, PLACES, dtype=torch.bool)
            mask[:, 4] = True
            x = self.encoder(x if self.first else x.transpose(0, 1), mask=mask)
            logits: Tensor = self.head(x.mean(1 if self.first else 0))
            return logits

    maps = []
    for first in (True, False):
        torch.manual_seed(2)
        network = Encoder(first).double().eval()
        maps.append(explain(network, pictures, [0], [
            resolve(ExplainerSpec(name)) for name in ("attention_rollout", "gradcam", "chefer")
        ]).heatmaps)
    for name, values in maps[0].items():
        torch.testing.assert_close(values, maps[1][name])
        assert values.std() > 0
    # Nobody attends to the place in the middle.
    place = maps[0]["attention_rollout"][:, 0, 8:16, 8:16].mean()
    assert place < maps[0]["attention_rollout"].mean()
