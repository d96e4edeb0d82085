"""U-Nets of segmentation-models-pytorch whose bottleneck classifies.

Importing this module imports torchvision and segmentation-models-pytorch;
:mod:`saltrust.models.classifiers.registry` does so only when such a network is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from saltrust.models.localizers.unet import unet
from saltrust.models.preprocessing import IMAGENET


class EncoderUNet(nn.Module):
    """U-Net with an encoder of segmentation-models-pytorch and a classification head.

    The head is average pooling of the encoder's last feature map, dropout and one linear layer;
    the decoder ends in one channel.  With the default encoder, EfficientNet-b0, this is the
    network of protocol W (Karargyris et al. 2021, Watanabe et al. 2022).

    Parameters
    ----------
    n_outputs : int
    encoder : str
        As segmentation-models-pytorch names it.
    dropout : float
        Before the linear layer; 0.5 in the released training of Karargyris et al.
    decoder_channels : sequence of int
        Of the five blocks of the decoder, from the bottleneck up.

    Raises
    ------
    UsageError
        If segmentation-models-pytorch has no such encoder.
    """

    preprocessing = IMAGENET

    def __init__(self, n_outputs: int, encoder: str = "efficientnet-b0", dropout: float = 0.5,
                 decoder_channels: Sequence[int] = (256, 128, 64, 32, 16)) -> None:
        super().__init__()
        parts: Any = unet(1, encoder_name=encoder, in_channels=3,
                          decoder_channels=tuple(decoder_channels))
        self.encoder = parts.encoder
        self.decoder = parts.decoder
        self.segmentation_head = parts.segmentation_head
        self.classification_head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout),
            nn.Linear(int(parts.encoder.out_channels[-1]), n_outputs))

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits, shape (batch, n_outputs); height and width are multiples of 32."""
        logits: Tensor = self.classification_head(self._features(inputs)[-1])
        return logits

    def with_decoder(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`saltrust.models.classifiers.decoding.DecodingClassifier`."""
        features = self._features(inputs)
        decoded = self.segmentation_head(self.decoder(features))
        return self.classification_head(features[-1]), decoded[:, 0]

    @property
    def pretrainable(self) -> nn.Module:
        """The part that weights of a classifier can start."""
        encoder: nn.Module = self.encoder
        return encoder

    def _features(self, inputs: Tensor) -> list[Tensor]:
        stride = int(self.encoder.output_stride)
        if any(side % stride for side in inputs.shape[-2:]):
            raise ValueError(f"height and width must be multiples of {stride}")
        features: list[Tensor] = self.encoder(inputs)
        return features
