"""Grad-CAM on 26 models of timm beside pytorch-grad-cam; exit 1 where a line is untrue.

Run by ``make models``, which is slow and no part of CI.  Networks are untrained, of seed 0; what is
compared is the map, which depends on the layer and on how its values are brought to a plane.  The
peer is told how (``reshape_transform``) by a list that is written here by hand, from the models'
papers and code.  With a path, the table there is replaced.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from saltrust.errors import SaltrustError
from saltrust.explainers.methods.class_activation import gradcam
from saltrust.explainers.passes.layers import find_layer
from saltrust.models.torchvision_operators import import_torchvision

Reshape = Callable[[Tensor], Tensor] | None
BEGIN, END = "<!-- begin: make models -->", "<!-- end: make models -->"


def tokens(before: int, side: int) -> Reshape:
    """Tokens row by row, after so many that are no patches."""
    return lambda x: x[:, before:].reshape(len(x), side, side, -1).permute(0, 3, 1, 2)


def last(x: Tensor) -> Tensor:
    """Channels last."""
    return x.permute(0, 3, 1, 2)


#: Name, size of the image, layer, how the peer brings it to a plane.
MODELS: list[tuple[str, int, str, Reshape]] = [
    ("vit_tiny_patch16_224", 224, "blocks.11.norm1", tokens(1, 14)),
    ("deit_tiny_patch16_224", 224, "blocks.11.norm1", tokens(1, 14)),
    ("deit_tiny_distilled_patch16_224", 224, "blocks.11.norm1", tokens(2, 14)),
    ("deit3_small_patch16_224", 224, "blocks.11.norm1", tokens(1, 14)),
    ("beit_base_patch16_224", 224, "blocks.11.norm1", tokens(1, 14)),
    ("beitv2_base_patch16_224", 224, "blocks.11.norm1", tokens(1, 14)),
    ("eva02_tiny_patch14_224", 224, "blocks.11.norm1", tokens(1, 16)),
    ("vit_little_patch16_reg4_gap_256", 256, "blocks.13.norm1", tokens(4, 16)),
    ("cait_xxs24_224", 224, "blocks_token_only.1.norm1", tokens(1, 14)),
    ("xcit_nano_12_p16_224", 224, "cls_attn_blocks.1.norm1", tokens(1, 14)),
    ("swin_tiny_patch4_window7_224", 224, "layers.3.blocks.1.norm1", last),
    ("swinv2_tiny_window8_256", 256, "layers.3.blocks.1.norm1", last),
    ("hiera_tiny_224", 224, "blocks.11.norm1", tokens(0, 7)),
    ("mixer_s32_224", 224, "blocks.7.norm1", tokens(0, 7)),
    ("resmlp_12_224", 224, "blocks.11.norm1", tokens(0, 14)),
    ("pvt_v2_b0", 224, "stages.3.blocks.1.norm1", tokens(0, 7)),
    ("efficientformer_l1", 224, "stages.3.blocks.4.norm1", tokens(0, 7)),
    ("maxvit_tiny_rw_224", 224, "stages.3.blocks.1.attn_grid.norm1", last),
    ("poolformer_s12", 224, "stages", None),
    ("convnext_atto", 224, "norm_pre", None),
    ("convnextv2_atto", 224, "norm_pre", None),
    ("resnet10t", 224, "layer4", None),
    ("densenet121", 224, "features", None),
    ("efficientnet_b0", 224, "bn2", None),
    ("mobilenetv3_small_100", 224, "blocks", None),
    ("regnetx_002", 224, "final_conv", None),
]


def prepare(network: nn.Module) -> nn.Module:
    """Give what begins at 0 a value, without which nothing speaks for anything."""
    for name, weight in network.named_parameters():
        if not bool(weight.any()) and weight.ndim == (1 if "norm" in name else 2) and (
                name.endswith("weight")):
            (nn.init.ones_ if weight.ndim == 1 else nn.init.normal_)(weight)
    return network.eval()


def compare(name: str, size: int, layer: str, reshape: Reshape) -> tuple[list[str], bool]:
    """A line of the table, and whether it is as it should be."""
    torch.manual_seed(0)
    library = __import__("timm")
    network = prepare(library.create_model(name, num_classes=8))
    images = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(1))
    try:
        taken = find_layer(network, images)
        maps = gradcam(network, images, list(range(8)))[0]
    except SaltrustError as error:
        return [name, "-", str(error), "-"], False
    worst = 1.0
    for finding, mine in enumerate(maps):
        expected = peer_map(network, layer, reshape, images, finding)
        if expected.std() > 0 or mine.std() > 0:
            worst = min(worst, float(np.corrcoef(expected.ravel(), mine.numpy().ravel())[0, 1]))
    right = taken.name == layer and worst > 0.99999 and float(maps.max()) > 0
    return [name, f"`{taken.name}`", str(taken.layout), f"{worst:.6f}"], right


def peer_map(network: nn.Module, layer: str, reshape: Reshape, images: Tensor,
             finding: int) -> Any:
    """What pytorch-grad-cam shows of the layer."""
    cams = __import__("pytorch_grad_cam")
    targets = __import__("pytorch_grad_cam.utils.model_targets", fromlist=["targets"])
    cam = cams.GradCAM(model=network, target_layers=[network.get_submodule(layer)],
                       reshape_transform=reshape)
    return cam(images, [targets.ClassifierOutputTarget(finding)])[0]


def main() -> int:
    """Print the table; 1 where a line is wrong."""
    import_torchvision()
    rows, wrong = [], []
    for model in MODELS:
        row, right = compare(*model)
        rows.append("| " + " | ".join(row) + " |")
        print(rows[-1] + ("" if right else "  <- WRONG"), flush=True)
        if not right:
            wrong.append(model[0])
        gc.collect()
    table = "\n".join(["| model | layer | values | correlation |", "|---|---|---|---|", *rows])
    if len(sys.argv) > 1 and not wrong:
        page = Path(sys.argv[1])
        text = page.read_text()
        head, rest = text.split(BEGIN)
        page.write_text(f"{head}{BEGIN}\n{table}\n{END}{rest.split(END)[1]}")
    if wrong:
        print(f"not as promised: {', '.join(wrong)}")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
