"""The U-Net as it was published, which protocol A trained as "base U-Net", from torch alone."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from saltrust.errors import UsageError
from saltrust.models.preprocessing import GRAY

#: Of ``depth`` and ``width``: what memory allows long before.
_MOST = {"depth": 8, "width": 512}


class BaseUNet(nn.Module):
    """U-Net of Ronneberger et al. (2015): 64 to 1024 channels, four poolings, no normalisation.

    Pairs of 3 x 3 convolutions with ReLU, 2 x 2 max poolings, dropout at the end of the
    contracting path, 2 x 2 transposed convolutions, concatenation with the contracting path, and
    a 1 x 1 convolution.  Convolutions are padded, where those of 2015 shrank the image and cropped
    what they concatenate, so that there is a logit for each pixel.

    Parameters
    ----------
    n_outputs : int
        Channels of the output, one per finding.
    width : int
        Channels of the first level; each further one has twice as many.
    depth : int
        Number of poolings.
    batch_norm : bool
        Whether every convolution is followed by batch normalisation, which later ones have.
    dropout : float
        Share that is dropped in training, at the end of the contracting path.

    Notes
    -----
    ``forward`` turns inputs of shape (batch, 1, H, W) into logits per pixel, shape (batch,
    n_outputs, H, W).  Borders are repeated up to the next multiple of 2 ** depth and cut off
    again.  Weights begin normal with variance 2 / fan-in, biases at 0.

    References
    ----------
    O. Ronneberger, P. Fischer and T. Brox (2015), MICCAI, LNCS 9351, 234-241.
    N. Arun et al. (2021), Radiol. Artif. Intell. 3(6), e200267, which says no more of the network.
    """

    preprocessing = GRAY

    def __init__(self, n_outputs: int, width: int = 64, depth: int = 4, *,
                 batch_norm: bool = False, dropout: float = 0.5) -> None:
        super().__init__()
        for name, value in (("width", width), ("depth", depth)):
            if not isinstance(value, int) or isinstance(value, bool) or not (
                    1 <= value <= _MOST[name]):
                raise UsageError(f"{name} = {value!r} of a base_unet must be a whole number from "
                                 f"1 to {_MOST[name]}")
        if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not (
                0 <= dropout < 1):
            raise UsageError(f"dropout = {dropout!r} of a base_unet must be at least 0 and below 1")
        widths = [width * 2**level for level in range(depth + 1)]
        self.stride = 2**depth
        self.down = nn.ModuleList(_pair(n_in, n_out, batch_norm=batch_norm)
                                  for n_in, n_out in pairwise([1, *widths]))
        self.dropout = nn.Dropout(dropout)
        upwards = list(pairwise(widths[::-1]))
        self.up = nn.ModuleList(nn.ConvTranspose2d(n_in, n_out, 2, stride=2)
                                for n_in, n_out in upwards)
        self.merge = nn.ModuleList(_pair(n_in, n_out, batch_norm=batch_norm)
                                   for n_in, n_out in upwards)
        self.head = nn.Conv2d(width, n_outputs, 1)
        for part in self.modules():
            if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
                # A pixel of a 2 x 2 transposed convolution with stride 2 has one of its taps.
                taps = 1 if isinstance(part, nn.ConvTranspose2d) else math.prod(part.kernel_size)
                nn.init.normal_(part.weight, std=math.sqrt(2 / (part.in_channels * taps)))
                if part.bias is not None:
                    nn.init.zeros_(part.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits per pixel."""
        height, width = inputs.shape[-2:]
        padding = (0, -width % self.stride, 0, -height % self.stride)
        features = functional.pad(inputs, padding, mode="replicate") if any(padding) else inputs
        levels: list[Tensor] = []
        for position, level in enumerate(self.down):
            features = level(features if not position else functional.max_pool2d(features, 2))
            if position >= len(self.down) - 2:
                # As released: after the last two levels of the contracting path.
                features = self.dropout(features)
            levels.append(features)
        for beside, up, merge in zip(reversed(levels[:-1]), self.up, self.merge, strict=True):
            features = merge(torch.cat([beside, up(features)], dim=1))
        logits: Tensor = self.head(features)
        return logits[..., :height, :width]


def _pair(n_in: int, n_out: int, *, batch_norm: bool) -> nn.Sequential:
    """Two 3 x 3 convolutions, each with ReLU."""
    layers: list[nn.Module] = []
    for channels in (n_in, n_out):
        layers.append(nn.Conv2d(channels, n_out, 3, padding=1, bias=not batch_norm))
        if batch_norm:
            layers.append(nn.BatchNorm2d(n_out))
        layers.append(nn.ReLU())
    return nn.Sequential(*layers)
