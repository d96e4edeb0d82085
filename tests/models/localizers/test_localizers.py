"""Networks that localise: heatmaps from boxes and pixels, losses, and what is refused."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from torch import Tensor, nn

from saltrust.errors import UsageError
from saltrust.models.contract import preprocessing_of
from saltrust.models.localizers.box_heatmap import best_box_heatmap
from saltrust.models.localizers.network import (
    BoxTargets,
    Detections,
    Detector,
    localize,
    mean_of_non_zero,
)
from saltrust.models.localizers.registry import LOCALIZERS, build_localizer, check_localizer
from saltrust.models.preprocessing import GRAY, IMAGENET
from saltrust.models.torchvision_operators import import_torchvision
from saltrust.models.trial import Expected

GRID = (12, 15)
RETINANET = {"backbone": "resnet18", "channels": 16, "image_size": 0, "in_channels": 1,
             "anchor_sizes": [8, 16, 32, 64, 128]}
UNET = {"encoder_name": "resnet18", "encoder_depth": 3, "decoder_channels": [16, 8, 8]}


@st.composite
def boxes_and_scores(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    n = draw(st.integers(0, 12))
    corners = draw(npst.arrays(np.float64, (n, 2, 2), elements=st.floats(-4, 18)))
    scores = draw(npst.arrays(np.float64, n, elements=st.floats(0, 1), unique=True))
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1), scores


def by_definition(boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Every pixel asks every box whether it holds its centre."""
    y, x = (np.arange(size) + 0.5 for size in GRID)
    heatmap = np.zeros(GRID, np.float32)
    for (y0, x0, y1, x1), score in zip(boxes, scores, strict=True):
        inside = np.outer((y >= y0) & (y < y1), (x >= x0) & (x < x1))
        if score > 0.01:
            heatmap[inside] = np.maximum(heatmap[inside], np.float32(score))
    return heatmap


def greedy_suppression(boxes: np.ndarray, scores: np.ndarray, iou: float = 0.5) -> list[int]:
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept: list[int] = []
    for k in np.argsort(-scores):
        low = np.maximum(boxes[kept, :2], boxes[k, :2])
        high = np.minimum(boxes[kept, 2:], boxes[k, 2:])
        overlap = np.clip(high - low, 0, None).prod(axis=1)
        with np.errstate(invalid="ignore"):
            if not (overlap / (area[kept] + area[k] - overlap) > iou).any():
                kept.append(int(k))
    return kept


@settings(deadline=None, max_examples=50)
@given(boxes_and_scores())
def test_every_pixel_has_the_score_of_the_best_box(detected: tuple[np.ndarray, np.ndarray]) -> None:
    np.testing.assert_array_equal(best_box_heatmap(*detected, GRID), by_definition(*detected))


@settings(deadline=None, max_examples=50)
@given(boxes_and_scores())
def test_suppression_would_only_take_the_fringe_of_worse_boxes(
        detected: tuple[np.ndarray, np.ndarray]) -> None:
    """Whoever suppresses boxes first has the same maximum, and the same pixels of kept boxes."""
    boxes, scores = detected
    kept = greedy_suppression(boxes, scores)
    suppressed = best_box_heatmap(boxes[kept], scores[kept], GRID)
    whole = best_box_heatmap(boxes, scores, GRID)
    assert (suppressed <= whole).all()
    best_survives = np.isin(whole, scores[kept].astype(np.float32))
    np.testing.assert_array_equal(suppressed[best_survives], whole[best_survives])
    best = boxes[[np.argmax(scores)]] if len(scores) else boxes
    if best_box_heatmap(best, np.ones(len(best)), GRID).any():
        assert suppressed.max() == whole.max()


def test_score_is_the_mean_of_what_is_not_rounded_away() -> None:
    maps = torch.tensor([[[0.2, 0.4], [0.0019, 0.0]], [[0.001, 0.0], [0.0, 0.0]],
                         [[1.0, 1.0], [1.0, 1.0]]])
    expected = torch.tensor([(51 + 102) / 2 / 255, 0.0, 1.0])
    torch.testing.assert_close(mean_of_non_zero(maps), expected)


def test_unet_of_any_size_agrees_with_the_library_where_it_can() -> None:
    torch.manual_seed(0)
    net = build_localizer("unet", 2, **UNET).eval()
    import segmentation_models_pytorch as smp  # After torchvision's operators are declared.

    inputs = torch.rand(1, 1, 40, 48)
    with torch.no_grad():
        assert torch.equal(net(inputs), smp.Unet.forward(net, inputs))
        odd = net(inputs[..., :37, :45])
        assert odd.shape == (1, 2, 37, 45)
        padded = torch.nn.functional.pad(inputs[..., :37, :45], (0, 3, 0, 3), mode="replicate")
        torch.testing.assert_close(odd, smp.Unet.forward(net, padded)[..., :37, :45])
        localization = localize(net, inputs)
    torch.testing.assert_close(localization.heatmaps, torch.sigmoid(net(inputs)).detach())
    torch.testing.assert_close(localization.scores, mean_of_non_zero(localization.heatmaps))
    assert preprocessing_of("unet", net, LOCALIZERS) == GRAY


def test_unet_with_three_channels_takes_imagenet_input() -> None:
    net = build_localizer("unet", 1, in_channels=3, **UNET)
    assert preprocessing_of("unet", net, LOCALIZERS) == IMAGENET


@pytest.fixture(scope="module")
def retinanet() -> nn.Module:
    torch.manual_seed(1)
    net = build_localizer("retinanet", 2, **RETINANET).eval()
    with torch.no_grad():  # Scores between nothing and everything, boxes away from anchors.
        for head in (net.head.classification_head.cls_logits,  # type: ignore[union-attr]
                     net.head.regression_head.bbox_reg):  # type: ignore[union-attr]
            nn.init.normal_(head.weight, std=0.3)  # type: ignore[arg-type]
    return net


def library_twin(net: Any, size: int) -> Any:
    """torchvision's own network, forward pass included, around the same weights."""
    detection = import_torchvision().models.detection
    twin = detection.RetinaNet(net.backbone, net.n_outputs, anchor_generator=net.anchor_generator,
                               head=net.head, min_size=size, max_size=size, image_mean=[0.0],
                               image_std=[1.0], score_thresh=0.01, topk_candidates=10**6,
                               detections_per_img=10**6)
    return twin.eval()


TARGETS = [BoxTargets(torch.tensor([[4.0, 8.0, 30.0, 40.0], [10.0, 2.0, 20.0, 12.0]]),
                      torch.tensor([1, 0])),
           BoxTargets(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))]


def test_losses_are_those_of_the_library(retinanet: Any) -> None:
    inputs = torch.randn(2, 1, 64, 64)
    losses = retinanet.loss(inputs, TARGETS)
    twin = library_twin(retinanet, 64)
    twin.training = True  # Itself only: the batch normalisations stay as they are.
    wanted = [{"boxes": target.boxes[:, [1, 0, 3, 2]], "labels": target.findings}
              for target in TARGETS]
    expected = twin(list(inputs), wanted)
    assert sorted(losses) == ["box", "classification"]
    torch.testing.assert_close(losses["classification"], expected["classification"])
    torch.testing.assert_close(losses["box"], expected["bbox_regression"])
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in retinanet.head.parameters())


def test_boxes_are_those_of_the_library_before_suppression(
        retinanet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def keep_all(boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float) -> Tensor:
        return scores.argsort(descending=True)

    boxes_module = import_torchvision().ops.boxes
    monkeypatch.setattr(boxes_module, "batched_nms", keep_all)
    inputs = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        expected = library_twin(retinanet, 64)(list(inputs))
        detections = retinanet.detect(inputs)
    for detected, other in zip(detections, expected, strict=True):
        assert len(detected.scores) == len(other["scores"]) > 100
        torch.testing.assert_close(detected.scores.sort(descending=True).values, other["scores"])
        for finding in range(2):  # Boxes of equal scores have no order, their maps have none.
            maps = [best_box_heatmap(boxes[labels == finding].numpy(),
                                     scores[labels == finding].numpy(), (64, 64))
                    for boxes, labels, scores in (
                        (detected.boxes, detected.findings, detected.scores),
                        (other["boxes"][:, [1, 0, 3, 2]], other["labels"], other["scores"]))]
            assert np.unique(maps[0]).size > 20
            np.testing.assert_allclose(*maps, rtol=1e-6)
        torch.testing.assert_close(detected.best[other["labels"][0]], other["scores"][0])


def test_heatmap_of_a_detector_is_painted_from_its_boxes(retinanet: Any) -> None:
    inputs = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        localization, boxes = localize(retinanet, inputs), retinanet.detect(inputs)[0]
    for finding in range(2):
        of_finding = boxes.findings == finding
        expected = best_box_heatmap(boxes.boxes[of_finding].numpy(),
                                    boxes.scores[of_finding].numpy(), (64, 64))
        np.testing.assert_array_equal(localization.heatmaps[0, finding].numpy(), expected)
        assert localization.scores[0, finding] == boxes.scores[of_finding].max()


def test_resized_images_give_boxes_in_pixels_of_the_grid() -> None:
    torch.manual_seed(2)
    large = build_localizer("retinanet", 1, **{**RETINANET, "image_size": 96}).eval()
    torch.manual_seed(2)
    plain = build_localizer("retinanet", 1, **RETINANET).eval()
    small = torch.randn(1, 1, 48, 48)
    enlarged = torch.nn.functional.interpolate(small, (96, 96), mode="bilinear")
    with torch.no_grad():
        detected, expected = large.detect(small)[0], plain.detect(enlarged)[0]  # type: ignore[operator]
    torch.testing.assert_close(detected.boxes, expected.boxes / 2)
    torch.testing.assert_close(detected.scores, expected.scores)
    target = [BoxTargets(TARGETS[0].boxes, torch.zeros(2, dtype=torch.int64))]
    doubled = [BoxTargets(2 * target[0].boxes, target[0].findings)]
    losses = large.loss(small, target)  # type: ignore[operator]
    other = plain.loss(enlarged, doubled)  # type: ignore[operator]
    torch.testing.assert_close(losses["box"], other["box"])


class OneBox(nn.Module):
    """A detector of somebody's own: one box for everybody."""

    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        self.n_outputs = n_outputs

    def loss(self, inputs: Tensor, targets: list[BoxTargets]) -> dict[str, Tensor]:
        return {"none": inputs.sum()}

    def detect(self, inputs: Tensor) -> list[Detections]:
        best = torch.full((self.n_outputs,), 0.25)
        return [Detections(torch.tensor([[1.0, 1.0, 3.0, 3.0]]), torch.tensor([0.25]),
                           torch.tensor([0]), best) for _ in inputs]


def test_a_detector_of_ones_own() -> None:
    net = OneBox(1)
    assert isinstance(net, Detector)
    check_localizer(net, Expected("own", IMAGENET, (6, 6), 1))
    localization = localize(net, torch.zeros(2, 3, 6, 6))
    assert localization.heatmaps.sum() == 2 * 4 * 0.25
    assert localization.scores.tolist() == [[0.25], [0.25]]


@pytest.mark.parametrize(("architecture", "arguments", "message"), [
    ("unett", {}, "did you mean 'unet'"),
    ("densenet121", {}, "classifies; a localizer is one of unet, base_unet, retinanet"),
    ("unet", {"encoder_name": "resnet81"}, "did you mean 'resnet18'"),
    ("unet", {"in_channels": 2}, "in_channels of a U-Net must be 1"),
    ("unet", {"encoder_name": "resnet18", "encoder_depth": 9}, "does not take the arguments"),
    ("unet", {"encoder_weights": "imagenet"}, "does not take the argument 'encoder_weights'"),
    ("unet", {"encoder": "resnet18"}, "did you mean 'encoder_"),
    ("retinanet", {"backbone": "vgg"}, "backbone = 'vgg' of a RetinaNet is not known"),
    ("retinanet", {"anchor_sizes": [8, 16]}, "five whole numbers"),
    ("retinanet", {"image_size": 3}, "at least 32"),
    ("retinanet", {"in_channels": 4}, "in_channels of a RetinaNet must be 1"),
    ("retinanet", {"colour": 1}, "does not take the arguments"),
])
def test_what_cannot_be_built(architecture: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_localizer(architecture, 1, **arguments)


@pytest.mark.parametrize(("make", "message"), [
    (nn.Flatten, r"logits of shape \(batch, 1, 8, 8\)"),
    (lambda: nn.Linear(3, 1), "cannot localise in 3-channel images of 8 x 8"),
])
def test_what_does_not_localize(make: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_localizer(make(), Expected("own", IMAGENET, (8, 8), 1))


def test_importing_the_library_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build_localizer("unet", 1, **UNET)


def test_coarsest_levels_of_small_images_have_gradients_in_half_precision() -> None:
    torch.manual_seed(1)
    # Statistics of a batch of single pixels would be too rough to compare by.
    network = build_localizer("retinanet", 2, **RETINANET).eval()
    level = network.get_parameter("backbone.fpn.extra_blocks.p6.weight")
    inputs = torch.randn(4, 1, 32, 32)

    def gradient(half: bool) -> Tensor:
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            levels = network.backbone(inputs).values()
        torch.stack([values.float().square().sum() for values in levels]).sum().backward()
        assert level.grad is not None
        return level.grad.clone()

    expected = gradient(half=False)
    for _ in range(10):
        # What the memory holds must not matter.
        for size in (100, 1000, level.numel()):
            torch.full((size,), float("nan"))
        assert (gradient(half=True) - expected).norm() < 0.1 * expected.norm()
