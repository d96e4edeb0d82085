"""Classifiers with a decoder that makes a heatmap beside the logits.

Called, they are classifiers like any other, so that every explainer works on them; the decoder is
not run.  :meth:`DecodingClassifier.with_decoder` runs both.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor


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
