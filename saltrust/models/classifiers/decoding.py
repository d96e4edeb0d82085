"""Classifiers with a decoder that makes a heatmap beside the logits.

Called, they are classifiers like any other, so that every explainer works on them; the decoder is
not run.  :meth:`DecodingClassifier.with_decoder` runs both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from saltrust.models.classifiers.trained_classifier import Classifier
from saltrust.models.localizers.network import Localization
from saltrust.models.localizers.trained_localizer import Localizer

#: Losses of ``[models.guidance]`` that train the decoder.
DECODER_LOSSES = ("decoder", "set2", "set3")


@runtime_checkable
class DecodingClassifier(Protocol):
    """A classifier with a decoder; a network of the study's own needs no more than this."""

    def with_decoder(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Both outputs of inputs of shape (batch, C, H, W).

        Returns
        -------
        logits : Tensor, shape (batch, n_outputs)
            What calling the network returns.
        decoded : Tensor, shape (batch, H, W)
            Logit per pixel; its sigmoid is the heatmap.
        """
        ...


@dataclass(frozen=True)
class DecoderLocalizer(Localizer):
    """The decoder of a classifier, beside the networks that localise.

    It makes one heatmap of an image, whatever the finding, and scores no image.
    """

    @torch.no_grad()
    def localize(self, inputs: Tensor) -> Localization:
        """The sigmoid of what the decoder returns, for every finding; scores are NaN."""
        network: Any = self.module
        _, decoded = network.with_decoder(inputs)
        heatmaps = torch.sigmoid(decoded.float()).cpu()[:, None]
        n_findings = len(self.findings)
        return Localization(heatmaps.expand(-1, n_findings, -1, -1).contiguous(),
                            torch.full((len(inputs), n_findings), torch.nan))


def trained_decoder(classifier: Classifier) -> DecoderLocalizer | None:
    """The decoder of a classifier that was trained with one, by its card; else None."""
    loss = classifier.card.get("guidance", {}).get("loss")
    if loss not in DECODER_LOSSES or not isinstance(classifier.module, DecodingClassifier):
        return None
    return DecoderLocalizer(**vars(classifier))
