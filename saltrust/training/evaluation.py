"""What a model says of many images, and how well that ranks them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from saltrust.analysis.inference.auc import roc_auc
from saltrust.cache.schema import Label
from saltrust.models.eval_mode import eval_mode
from saltrust.models.preprocessing import Preprocessing, to_input


def predict(
    model: nn.Module,
    pixels: npt.NDArray[np.uint8],
    preprocessing: Preprocessing,
    device: torch.device,
    batch_size: int,
) -> npt.NDArray[np.float32]:
    """Logits of many images, in evaluation mode.

    Parameters
    ----------
    model : torch.nn.Module
        On ``device``; its training mode is put back afterwards.
    pixels : ndarray of uint8, shape (N, H, W)
    preprocessing : Preprocessing
    device : torch.device
    batch_size : int

    Returns
    -------
    ndarray of float32, shape (N, F)
    """
    with eval_mode(model), torch.inference_mode():
        parts = [
            model(to_input(pixels[start : start + batch_size], preprocessing, device))
            for start in range(0, len(pixels), batch_size)
        ]
    logits: npt.NDArray[np.float32] = torch.cat(parts).cpu().numpy().astype(np.float32)
    return logits


def evaluate_auc(
    logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int8], findings: Sequence[str]
) -> dict[str, Any]:
    """Area under the ROC curve of every finding.

    Only positive and negative labels are ranked; uncertain and not stated ones are left out,
    whatever training made of them.

    Parameters
    ----------
    logits : ndarray, shape (N, F)
    labels : ndarray of int8, shape (N, F)
    findings : sequence of str
        F names.

    Returns
    -------
    dict
        ``mean`` over the findings that have both positives and negatives (None where none
        has); ``findings``: name to AUC or None; ``n_positive`` and ``n_negative``: name to
        count.
    """
    result: dict[str, Any] = {"mean": None, "findings": {}, "n_positive": {}, "n_negative": {}}
    for column, finding in enumerate(findings):
        positive = labels[:, column] == Label.POSITIVE
        negative = labels[:, column] == Label.NEGATIVE
        result["n_positive"][finding] = int(positive.sum())
        result["n_negative"][finding] = int(negative.sum())
        auc = None
        if positive.any() and negative.any():
            stated = positive | negative
            auc = float(roc_auc(positive[stated], logits[stated, column]))
        result["findings"][finding] = auc
    known = [auc for auc in result["findings"].values() if auc is not None]
    if known:
        result["mean"] = float(np.mean(known))
    return result
