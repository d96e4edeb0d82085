"""Small classifiers for phantoms, demonstrations and tests."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from saltrust.models.preprocessing import GRAY


class PhantomNet(nn.Module):
    """A convolutional network that two CPU cores train in half a minute.

    A stem that halves the image, then three residual stages, the first two of which halve it
    again, so that the last feature map is an eighth of the image: fine enough for a class
    activation map of a small lesion.  Features are pooled by log-sum-exp over positions
    (Pinheiro and Collobert, CVPR 2015, equation 6), between the mean and the maximum: a small
    lesion is not drowned by the many positions without one, and a large heart is not reduced
    to one.  One linear layer makes the logits.

    Parameters
    ----------
    n_outputs : int
    width : int
        Channels of the first stage; the others have two and four times as many.
    sharpness : float
        Of the pooling: 0 would be the mean, infinity the maximum.

    Notes
    -----
    ``features`` yields the last spatial feature map, shape (batch, 4 * width, H / 8, W / 8),
    non-negative; ``classifier`` holds the class weights.
    """

    preprocessing = GRAY

    def __init__(self, n_outputs: int, width: int = 16, sharpness: float = 1.0) -> None:
        super().__init__()
        self.sharpness = sharpness
        self.features = nn.Sequential(
            _convolution(1, width, stride=2),
            nn.ReLU(),
            _Residual(width, width, stride=2),
            _Residual(width, 2 * width, stride=2),
            _Residual(2 * width, 4 * width, stride=1),
        )
        self.classifier = nn.Linear(4 * width, n_outputs)
        # A third faster on CPUs than the other layout of the same numbers.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits, shape (batch, n_outputs), of inputs of shape (batch, 1, H, W)."""
        return self.classify(self.features(inputs))

    def classify(self, features: Tensor) -> Tensor:
        """Logits, shape (batch, n_outputs), of what ``features`` yields."""
        positions = features.shape[-2] * features.shape[-1]
        pooled = torch.logsumexp(self.sharpness * features, dim=(-2, -1))
        pooled = (pooled - math.log(positions)) / self.sharpness
        logits: Tensor = self.classifier(pooled)
        return logits


class PhantomUNet(PhantomNet):
    """:class:`PhantomNet` with a decoder, for phantoms and tests.

    Three steps up, each the sum of what comes from below and of a convolution of the feature
    map of that size, bring the bottleneck (an eighth of the image) back to its size.

    Parameters
    ----------
    n_outputs, width, sharpness
        As of the classifier.
    """

    preprocessing = GRAY

    def __init__(self, n_outputs: int, width: int = 16, sharpness: float = 1.0) -> None:
        super().__init__(n_outputs, width, sharpness)
        # The halved image, and the stages that halve it again.
        self.lateral = nn.ModuleList(nn.Conv2d(channels, width, 1)
                                     for channels in (width, width, 4 * width))
        self.smooth = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False),
                          nn.BatchNorm2d(width), nn.ReLU()) for _ in self.lateral)
        self.segmentation_head = nn.Conv2d(width, 1, 3, padding=1)

    def with_decoder(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`saltrust.models.classifiers.decoding.DecodingClassifier`."""
        levels = []
        features = inputs
        for part in self.features:
            features = part(features)
            levels.append(features)
        finer = levels[1], levels[2], levels[4]
        below: Tensor | None = None
        for level, lateral, smooth in zip(reversed(finer), reversed(self.lateral),
                                          reversed(self.smooth), strict=True):
            merged = lateral(level)
            if below is not None:
                merged = merged + _resize(below, merged.shape[-2:])
            below = smooth(merged)
        assert below is not None
        decoded = self.segmentation_head(_resize(below, inputs.shape[-2:]))
        return self.classify(features), decoded[:, 0]


class _Residual(nn.Module):
    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _convolution(n_in, n_out, stride), nn.ReLU(), _convolution(n_out, n_out, 1)
        )
        self.skip = nn.Sequential(
            nn.AvgPool2d(stride) if stride > 1 else nn.Identity(),
            nn.Conv2d(n_in, n_out, 1, bias=False),
            nn.BatchNorm2d(n_out),
        )
        self.relu = nn.ReLU()

    def forward(self, inputs: Tensor) -> Tensor:
        result: Tensor = self.relu(self.body(inputs) + self.skip(inputs))
        return result


def _convolution(n_in: int, n_out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False), nn.BatchNorm2d(n_out)
    )


def _resize(features: Tensor, size: torch.Size) -> Tensor:
    return functional.interpolate(features, tuple(size), mode="bilinear", align_corners=False)
