"""Planes of transformers: pytorch-grad-cam with the right reshape; layouts there and back."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from saltrust.errors import UsageError
from saltrust.explainers.methods.class_activation import eigencam, gradcam, gradcam_plus_plus
from saltrust.explainers.methods.guided import guided_backprop, guided_gradcam
from saltrust.explainers.passes.layers import feature_layer, find_layer
from saltrust.explainers.passes.layouts import Layout
from saltrust.models.torchvision_operators import import_torchvision


def _tokens(before: int, side: int) -> Callable[[Tensor], Tensor]:
    """The peer's own way to planes, for so many tokens before the patches."""
    return lambda x: x[:, before:].reshape(len(x), side, side, -1).permute(0, 3, 1, 2)


def _last(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)


class Logits(nn.Module):
    """A network of another library whose output is more than logits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images).logits
        return logits


def _timm(name: str, **arguments: Any) -> nn.Module:
    import_torchvision()
    made: nn.Module = importlib.import_module("timm").create_model(
        name, num_classes=3, **arguments)
    return made


def _torchvision() -> nn.Module:
    models = import_torchvision().models
    made: nn.Module = models.VisionTransformer(
        image_size=64, patch_size=16, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64,
        num_classes=3)
    nn.init.normal_(made.heads.head.weight)
    return made


def _hugging_face() -> nn.Module:
    library = importlib.import_module("transformers")
    return Logits(library.ViTForImageClassification(library.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        image_size=64, patch_size=16, num_labels=3)))


SMALL = {"depth": 2, "embed_dim": 32, "num_heads": 2}
SWIN = {"depths": (1, 2), "num_heads": (1, 2), "embed_dim": 16}
#: Network, size of the image, layer that is taken, the peer's reshape.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], int, str, Any]] = {
    "vit": (lambda: _timm("vit_tiny_patch16_224", img_size=64, **SMALL), 64, "blocks.1.norm1",
            _tokens(1, 4)),
    "vit of averaged patches": (
        lambda: _timm("vit_tiny_patch16_224", img_size=64, global_pool="avg", class_token=False,
                      fc_norm=False, **SMALL), 64, "blocks.1.norm1", _tokens(0, 4)),
    "deit, distilled": (lambda: _timm("deit_tiny_distilled_patch16_224", img_size=64, **SMALL), 64,
                        "blocks.1.norm1", _tokens(2, 4)),
    "vit with registers": (
        lambda: _timm("vit_little_patch16_reg4_gap_256", img_size=64, **SMALL), 64,
        "blocks.1.norm1", _tokens(4, 4)),
    "beit": (lambda: _timm("beit_base_patch16_224", img_size=64, **SMALL), 64, "blocks.1.norm1",
             _tokens(1, 4)),
    "eva02": (lambda: _timm("eva02_tiny_patch14_224", img_size=56, **SMALL), 56, "blocks.1.norm1",
              _tokens(1, 4)),
    "cait": (lambda: _timm("cait_xxs24_224", img_size=64, **SMALL), 64,
             "blocks_token_only.1.norm1", _tokens(1, 4)),
    "swin": (lambda: _timm("swin_tiny_patch4_window7_224", img_size=56, **SWIN), 56,
             "layers.1.blocks.1.norm1", _last),
    "swin v2": (lambda: _timm("swinv2_tiny_window8_256", img_size=64, **SWIN), 64,
                "layers.1.blocks.1.norm1", _last),
    "mixer": (lambda: _timm("mixer_s32_224", img_size=128), 128, "blocks.7.norm1",
              _tokens(0, 4)),
    "hiera": (lambda: _timm("hiera_tiny_224", img_size=64, embed_dim=16, stages=(1, 1, 1, 2)), 64,
              "blocks.4.norm1", _tokens(0, 2)),
    "convnext": (lambda: _timm("convnext_atto", depths=(1, 1, 1, 1), dims=(8, 8, 16, 16)), 96,
                 "norm_pre", None),
    "torchvision vit": (_torchvision, 64, "encoder.layers.encoder_layer_1.ln_1", _tokens(1, 4)),
    "hugging face vit": (_hugging_face, 64, "network.vit.layers.1.layernorm_before",
                         _tokens(1, 4)),
}


def make(name: str) -> tuple[nn.Module, Tensor, str, Any]:
    factory, size, layer, reshape = NETWORKS[name]
    torch.manual_seed(5)
    network = factory().double().eval()
    for part in network.modules():
        # Heads that begin at 0 would have no gradient; the peer adds 1e-6 to squared gradients.
        if isinstance(part, nn.Linear) and part.out_features == 3:
            nn.init.normal_(part.weight, std=1e9)
        # Norms after attention begin at 0.
        if isinstance(part, nn.LayerNorm) and bool((part.weight == 0).all()):
            nn.init.ones_(part.weight)
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(2, 3, size, size, dtype=torch.float64, generator=generator)
    return network, images, layer, reshape


@pytest.fixture(scope="module")
def peers() -> Any:
    import_torchvision()
    return importlib.import_module("pytorch_grad_cam")


def upsample(plane: Any, images: Tensor) -> Tensor:
    return functional.interpolate(torch.as_tensor(plane)[:, None].double(),
                                  size=images.shape[2:], mode="bilinear")[:, 0]


@pytest.mark.parametrize("name", NETWORKS)
def test_pytorch_grad_cam_agrees(name: str, peers: Any) -> None:
    network, images, layer, reshape = make(name)
    assert feature_layer(network, images) == layer
    target = importlib.import_module("pytorch_grad_cam.utils.model_targets").ClassifierOutputTarget
    part = network.get_submodule(layer)
    for method, peer in ((gradcam, "GradCAM"), (gradcam_plus_plus, "GradCAMPlusPlus")):
        maps = method(network, images, [0, 1, 2])
        assert maps.amax() > 0
        for finding in range(3):
            cam = getattr(peers, peer)(model=network, target_layers=[part],
                                       reshape_transform=reshape)
            cam(images, [target(finding)] * 2)
            seen = cam.activations_and_grads
            values, gradients = seen.activations[0].numpy(), seen.gradients[0].numpy()
            weights = cam.get_cam_weights(images, None, None, values, gradients)
            plane = np.maximum((weights[:, :, None, None] * values).sum(axis=1), 0)
            expected = upsample(plane, images)
            torch.testing.assert_close(maps[:, finding], expected, rtol=1e-6,
                                       atol=1e-6 * float(expected.max()))
    maps = eigencam(network, images, [2], centered=True)[:, 0]
    plane = peers.utils.svd_on_activations.get_2d_projection(values)
    for mine, other in zip(maps, upsample(plane, images), strict=True):
        torch.testing.assert_close(mine, other * torch.sign((mine * other).sum()), rtol=0,
                                   atol=3e-6 * float(other.abs().max()))


@pytest.mark.parametrize("name", ["vit", "swin", "mixer"])
def test_guided_gradcam_is_the_product(name: str) -> None:
    network, images, layer, _ = make(name)
    maps = guided_gradcam(network, images, [1])
    expected = guided_backprop(network, images, [1]) * gradcam(network, images, [1], layer=layer)
    torch.testing.assert_close(maps, expected)
    assert maps.abs().max() > 0


@pytest.mark.parametrize(("name", "layer", "kind"), [
    ("vit", "blocks.0", "tokens"), ("vit", "patch_embed.proj", "plane"),
    ("vit", "blocks.0.mlp.fc1", "tokens"), ("vit", "blocks.1.attn", "tokens"),
    ("swin", "layers.0", "channels last"), ("swin", "layers.0.blocks.0.attn.proj", "windows"),
    ("hugging face vit", "network.vit.layers.0.attention", "tokens"),
    ("hiera", "blocks.0.norm1", "unrolled"), ("torchvision vit", "encoder.dropout", "tokens"),
])
def test_any_named_layer_that_can_be_brought_to_a_plane(name: str, layer: str, kind: str) -> None:
    network, images, _, _ = make(name)
    found_layer = find_layer(network, images, layer)
    assert found_layer.layout.kind == kind
    assert gradcam(network, images, [0], layer=layer).shape == (2, 1, *images.shape[2:])


@pytest.mark.parametrize("layer", ["blocks.0.attn.attn_drop", "blocks.0.attn.q_norm"])
def test_attention_is_not_taken_for_feature_maps(layer: str) -> None:
    network, images, _, _ = make("vit")
    for block in network.blocks:
        block.attn.fused_attn = False
    with pytest.raises(UsageError, match=r"lie on no plane.*Among those that do are 'blocks"):
        gradcam(network, images, [0], layer=layer)
    # As many tokens as a square image has pixels on a side would look like a plane.
    assert feature_layer(network, images) == "blocks.1.norm1"


@pytest.mark.parametrize(("layout", "shape"), [
    (Layout("channels last", (4, 6)), (2, 4, 6, 3)),
    (Layout("tokens", (4, 6)), (2, 24, 3)),
    (Layout("tokens", (4, 6), before=5), (2, 31, 3)),
    (Layout("channels first", (4, 6), before=1), (2, 3, 25)),
    (Layout("sequence first", (4, 6), before=1), (25, 2, 3)),
    (Layout("windows", (4, 6), window=(2, 2)), (12, 4, 3)),
    (Layout("windows", (4, 6), window=(2, 2), shift=(1, 1)), (12, 4, 3)),
    (Layout("unrolled", (4, 8), folds=2), (2, 32, 3)),
])
def test_planes_go_back_to_where_they_came_from(layout: Layout, shape: tuple[int, ...]) -> None:
    values = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    plane = layout.plane(values)
    assert plane.shape == (2, 3, *layout.grid)
    torch.testing.assert_close(layout.values(plane, values), values, rtol=0, atol=0)
    changed = layout.values(torch.zeros_like(plane), values)
    assert int((changed != values).sum()) == plane.numel()


def test_windows_and_unrolled_tokens_are_those_of_their_networks() -> None:
    image = torch.arange(2 * 8 * 8).view(2, 8, 8, 1).float()
    rolled = image.roll((-2, -2), (1, 2))
    windows = rolled.view(2, 2, 4, 2, 4, 1).permute(0, 1, 3, 2, 4, 5).reshape(8, 16, 1)
    layout = Layout("windows", (8, 8), window=(4, 4), shift=(2, 2))
    np.testing.assert_array_equal(layout.plane(windows)[:, 0], image[..., 0])
    tokens = image
    for _ in range(2):
        b, h, w, _ = tokens.shape
        tokens = tokens.view(b, h // 2, 2, w // 2, 2, 1).permute(0, 2, 4, 1, 3, 5)
        tokens = tokens.flatten(0, 2)
    layout = Layout("unrolled", (8, 8), folds=2)
    np.testing.assert_array_equal(layout.plane(tokens.reshape(2, 64, 1))[:, 0], image[..., 0])


def test_a_shared_module_gives_its_last_spatial_call() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3, stride=2)
            self.act = nn.ReLU()
            self.hidden, self.head = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.act(self.second(self.act(self.first(x))))
            x = self.act(self.hidden(x.mean(dim=(2, 3))))
            logits: Tensor = self.head(x)
            return logits

    torch.manual_seed(1)
    network = Shared().eval()
    images = torch.rand(2, 1, 16, 16)
    assert feature_layer(network, images) == "act"
    maps = gradcam(network, images, [0], layer="act")
    features = network.act(network.second(network.act(network.first(images)))).detach()
    features.requires_grad_()
    logit = network.head(network.act(network.hidden(features.mean((2, 3)))))[:, 0].sum()
    weights = torch.autograd.grad(logit, features)[0].mean((2, 3), keepdim=True)
    expected = functional.interpolate((weights * features).sum(1, keepdim=True).relu(), (16, 16),
                                      mode="bilinear")
    torch.testing.assert_close(maps, expected.detach())
