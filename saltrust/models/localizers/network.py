"""What networks that localise have in common: a heatmap and a score per image and finding.

There are two kinds.  A *segmenter* returns logits per pixel, shape (batch, finding, H, W).  A
*detector* finds boxes: it has the methods of :class:`Detector`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from saltrust.models.localizers.box_heatmap import best_box_heatmap


@dataclass(frozen=True)
class BoxTargets:
    """Boxes that a detector should find in one image.

    Attributes
    ----------
    boxes : Tensor of float32, shape (n, 4)
        y0, x0, y1, x1 in pixels of the input, the far edges exclusive.
    findings : Tensor of int64, shape (n,)
        Positions of their findings.
    """

    boxes: Tensor
    findings: Tensor


@dataclass(frozen=True)
class Detections:
    """Boxes that a detector found in one image, none suppressed.

    Attributes
    ----------
    boxes : Tensor of float32, shape (n, 4)
        y0, x0, y1, x1 in pixels of the input.
    scores : Tensor of float32, shape (n,)
        In [0, 1].
    findings : Tensor of int64, shape (n,)
    best : Tensor of float32, shape (finding,)
        Score of the best box of each finding, however low.
    """

    boxes: Tensor
    scores: Tensor
    findings: Tensor
    best: Tensor


@runtime_checkable
class Detector(Protocol):
    """A network that finds boxes."""

    def loss(self, inputs: Tensor, targets: Sequence[BoxTargets]) -> dict[str, Tensor]:
        """Parts of the loss, scalars; their sum is trained on.  In training or evaluation."""
        ...

    def detect(self, inputs: Tensor) -> list[Detections]:
        """Boxes of every image."""
        ...


@dataclass(frozen=True)
class Localization:
    """What a network says of a batch.

    Attributes
    ----------
    heatmaps : Tensor of float32, shape (batch, finding, H, W)
        In [0, 1], on the CPU.
    scores : Tensor of float32, shape (batch, finding)
        Of the whole image, in [0, 1], on the CPU.
    """

    heatmaps: Tensor
    scores: Tensor


@torch.no_grad()
def localize(module: nn.Module, inputs: Tensor) -> Localization:
    """Heatmaps and image-level scores of a batch.

    A segmenter's heatmap is the sigmoid of its output, its score :func:`mean_of_non_zero`.  A
    detector's heatmap gives every pixel the score of the best box over 0.01 that covers it
    (:func:`saltrust.models.localizers.box_heatmap.best_box_heatmap`), and its score is that of its
    best box.

    Parameters
    ----------
    module : torch.nn.Module
        In evaluation mode.
    inputs : Tensor of float32, shape (batch, channel, H, W)
        Preprocessed, on the module's device.
    """
    if isinstance(module, Detector):
        return _from_boxes(module.detect(inputs), (inputs.shape[-2], inputs.shape[-1]))
    heatmaps = torch.sigmoid(module(inputs).float()).cpu()
    return Localization(heatmaps, mean_of_non_zero(heatmaps))


@torch.no_grad()
def image_scores(module: nn.Module, inputs: Tensor) -> Tensor:
    """The scores of :func:`localize` alone, shape (batch, finding), on the device."""
    if isinstance(module, Detector):
        return torch.stack([detections.best for detections in module.detect(inputs)])
    return mean_of_non_zero(torch.sigmoid(module(inputs).float()))


def mean_of_non_zero(heatmaps: Tensor) -> Tensor:
    """Mean of the pixels that do not vanish when a map is stored as bytes.

    Protocol A takes the mean of the non-zero values of a U-Net's map as the model's score of the
    image, 0 where there are none.  No sigmoid is ever zero: what the paper calls so are the
    pixels that are zero once the map is multiplied by 255 and rounded.

    Parameters
    ----------
    heatmaps : Tensor of float32, shape (..., H, W)
        In [0, 1].

    Returns
    -------
    Tensor of float32, shape (...)
        In [0, 1]: the mean of the rounded values over 255.

    Examples
    --------
    >>> mean_of_non_zero(torch.tensor([[[1.0, 0.5], [0.001, 0.0]], [[0.001] * 2] * 2]))
    tensor([0.7510, 0.0000])
    """
    levels = round_heatmaps(heatmaps)
    return levels.sum(dim=(-2, -1)) / (255 * (levels > 0).sum(dim=(-2, -1)).clamp(min=1))


def round_heatmaps(heatmaps: Tensor) -> Tensor:
    """Maps in [0, 1] times 255, rounded, as protocol A stores those of its U-Net."""
    return torch.round(255 * heatmaps)


def _from_boxes(detections: Sequence[Detections], grid: tuple[int, int]) -> Localization:
    scores = torch.stack([item.best for item in detections]).cpu()
    heatmaps = np.empty((*scores.shape, *grid), np.float32)
    for image, item in enumerate(detections):
        boxes, values, findings = (tensor.cpu().numpy() for tensor in
                                   (item.boxes, item.scores, item.findings))
        for finding in range(scores.shape[1]):
            of_finding = findings == finding
            heatmaps[image, finding] = best_box_heatmap(boxes[of_finding], values[of_finding], grid)
    return Localization(torch.from_numpy(heatmaps), scores)
