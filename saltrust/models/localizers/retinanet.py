"""RetinaNet of torchvision, trained with its losses and run without its compiled operators.

Importing this module imports torchvision; :mod:`saltrust.models.localizers.registry` does so
only when a RetinaNet is asked for.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from saltrust.errors import UsageError, nearest
from saltrust.models.localizers.box_heatmap import LEAST_SCORE
from saltrust.models.localizers.network import BoxTargets, Detections
from saltrust.models.preprocessing import GRAY, IMAGENET
from saltrust.models.torchvision_operators import import_torchvision

_torchvision = import_torchvision()
_detection = _torchvision.models.detection
_fpn = _torchvision.ops.feature_pyramid_network

BACKBONES = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
#: The stages of a ResNet that feed the pyramid, of strides 8, 16 and 32.
_STAGES = ("layer2", "layer3", "layer4")


class _CoarsestLevels(_fpn.LastLevelP6P7):  # type: ignore[misc,name-defined]
    """The two levels above the backbone, in float32.

    Small images leave them single pixels, of which the CPU gets the weights' gradient of a
    convolution with stride 2 wrong in bfloat16: it holds whatever stood in the memory.
    """

    def forward(self, p: list[Tensor], c: list[Tensor],
                names: list[str]) -> tuple[list[Tensor], list[str]]:
        with torch.autocast(p[-1].device.type, enabled=False):
            levels, named = super().forward(
                [level.float() for level in p], [level.float() for level in c], names)
        return levels, named


class RetinaNet(_detection.RetinaNet):  # type: ignore[misc,name-defined]
    """RetinaNet (Lin et al., ICCV 2017) for findings, on images of one size.

    Parameters
    ----------
    n_outputs : int
        Number of findings.
    backbone : str
        A ResNet; ``resnet101`` as protocol A.
    image_size : int
        Images are enlarged or reduced, bilinearly, until their shorter side has so many pixels;
        0 leaves them.  608 is what the implementation does that protocol A used.
    anchor_sizes : sequence of int
        Side of the smallest anchors of the five levels, in pixels of the resized image; each
        level has three scales and three aspect ratios of it.
    channels : int
        Of the feature pyramid and of the heads.
    in_channels : {1, 3}
        One gray channel, or three, as weights trained on photographs need them.
    frozen_norm : bool
        Leave the statistics and weights of the backbone's batch normalisation as they are loaded:
        for pretrained weights and small batches.

    Notes
    -----
    torchvision's own ``forward`` is not used: it suppresses boxes by a compiled operator that
    some installs lack, rescales images to photographs' sizes, and gives losses in training mode
    only.  Its heads, anchors, matching and losses are.
    """

    def __init__(self, n_outputs: int, backbone: str = "resnet101", image_size: int = 608,
                 anchor_sizes: Sequence[int] = (32, 64, 128, 256, 512), channels: int = 256,
                 in_channels: int = 3, frozen_norm: bool = False) -> None:
        sizes = tuple((size, int(size * 2 ** (1 / 3)), int(size * 2 ** (2 / 3)))
                      for size in anchor_sizes)
        anchors = _detection.anchor_utils.AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes))
        super().__init__(_pyramid(backbone, channels, in_channels, frozen_norm), n_outputs,
                         anchor_generator=anchors)
        # Ours are prepared outside, and the declaration is kept in the card.
        self.transform = nn.Identity()
        self.preprocessing = GRAY if in_channels == 1 else IMAGENET
        self.image_size = image_size
        self.n_outputs = n_outputs

    @property
    def pretrainable(self) -> nn.Module:
        """The part that weights of a classifier can start."""
        body: nn.Module = self.backbone.body
        return body

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor, float]:
        """Raw results of all anchors.

        Returns
        -------
        logits : Tensor of float32, shape (batch, anchor, finding)
        regression : Tensor of float32, shape (batch, anchor, 4)
        anchors : Tensor of float32, shape (anchor, 4)
            x0, y0, x1, y1 in pixels of the resized image.
        scale : float
            Pixels of the resized image per pixel of ``inputs``.
        """
        scale = self.image_size / min(inputs.shape[-2:]) if self.image_size else 1.0
        if scale != 1:
            size = [round(side * scale) for side in inputs.shape[-2:]]
            inputs = functional.interpolate(inputs, size, mode="bilinear", align_corners=False)
        features = list(self.backbone(inputs).values())
        outputs = self.head(features)
        images = _detection.image_list.ImageList(inputs, [tuple(inputs.shape[-2:])])
        # In half precision, anchors would be off by half a pixel.
        anchors = self.anchor_generator(images, [level.float() for level in features])[0]
        return (outputs["cls_logits"].float(), outputs["bbox_regression"].float(), anchors,
                scale)

    def loss(self, inputs: Tensor, targets: Sequence[BoxTargets]) -> dict[str, Tensor]:
        """Focal loss of the classes and L1 loss of the boxes, as torchvision has them.

        Parameters
        ----------
        inputs : Tensor of float32, shape (batch, channel, height, width)
        targets : sequence of BoxTargets
            One per image; without boxes it is a negative.

        Returns
        -------
        dict of str to Tensor
            ``classification`` and ``box``; scalars whose sum is trained on.
        """
        logits, regression, anchors, scale = self(inputs)
        wanted = [{"boxes": target.boxes[:, [1, 0, 3, 2]].to(logits) * scale,
                   "labels": target.findings.to(logits.device)} for target in targets]
        losses = self.compute_loss(wanted, {"cls_logits": logits, "bbox_regression": regression},
                                   [anchors] * len(logits))
        return {"classification": losses["classification"], "box": losses["bbox_regression"]}

    def detect(self, inputs: Tensor) -> list[Detections]:
        """All boxes that score over the least of the heatmap, without suppression.

        Parameters
        ----------
        inputs : Tensor of float32, shape (batch, channel, height, width)
        """
        logits, regression, anchors, scale = self(inputs)
        scores = logits.sigmoid()
        detections = []
        for image in range(len(inputs)):
            anchor, finding = torch.nonzero(scores[image] > LEAST_SCORE, as_tuple=True)
            boxes = self.box_coder.decode_single(regression[image, anchor], anchors[anchor])
            detections.append(Detections(boxes[:, [1, 0, 3, 2]] / scale,
                                         scores[image, anchor, finding], finding,
                                         scores[image].amax(dim=0)))
        return detections


def retinanet(n_outputs: int, **arguments: Any) -> nn.Module:
    """Build a :class:`RetinaNet`.

    Raises
    ------
    UsageError
        If the backbone is not known or an argument is out of range.
    """
    backbone = arguments.get("backbone", "resnet101")
    if backbone not in BACKBONES:
        raise UsageError(f"backbone = {backbone!r} of a RetinaNet is not known; "
                         f"{nearest(str(backbone), BACKBONES)}")
    sizes = arguments.get("anchor_sizes", (32, 64, 128, 256, 512))
    if len(sizes) != 5 or not all(isinstance(size, int) and size > 0 for size in sizes):
        raise UsageError("anchor_sizes of a RetinaNet must be five whole numbers of pixels, one "
                         f"per level of its pyramid, not {list(sizes)}")
    if arguments.get("in_channels", 3) not in (1, 3):
        raise UsageError("in_channels of a RetinaNet must be 1 (gray) or 3, not "
                         f"{arguments['in_channels']!r}")
    size = arguments.get("image_size", 608)
    if not isinstance(size, int) or (size and size < 32):
        raise UsageError("image_size of a RetinaNet must be 0 (as the grid) or at least 32 "
                         f"pixels, not {size!r}")
    return RetinaNet(n_outputs, **arguments)


def _pyramid(name: str, channels: int, in_channels: int, frozen_norm: bool) -> nn.Module:
    norm = _torchvision.ops.misc.FrozenBatchNorm2d if frozen_norm else nn.BatchNorm2d
    body = getattr(_torchvision.models, name)(weights=None, norm_layer=norm)
    # The last stage has ``inplanes`` channels, each one before it half of those.
    widths = [body.inplanes // 4, body.inplanes // 2, body.inplanes]
    if in_channels == 1:
        body.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    layers = OrderedDict((stage, str(level)) for level, stage in enumerate(_STAGES))
    pyramid: nn.Module = _detection.backbone_utils.BackboneWithFPN(
        body, layers, widths, channels, _CoarsestLevels(channels, channels))
    return pyramid
