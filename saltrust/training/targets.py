"""Targets and loss where labels may be uncertain or not stated."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.nn import functional

from saltrust.cache.schema import Label
from saltrust.errors import UsageError, nearest
from saltrust.study import UNCERTAIN_POLICIES


def targets(
    labels: npt.NDArray[np.int8], uncertain: str
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Turn labels into what the loss compares with, and which of them count.

    Parameters
    ----------
    labels : ndarray of int8, shape (N, F)
        As :class:`saltrust.cache.schema.Label`.
    uncertain : {'ignore', 'zeros', 'ones'}
        Whether an uncertain label is left out, negative or positive (U-Ignore, U-Zeros and
        U-Ones of Irvin et al., AAAI 2019).  Labels that are not stated are always left out.

    Returns
    -------
    target, weight : ndarray of float32, shape (N, F)
        ``weight`` is 1 where the label counts and 0 elsewhere.

    Examples
    --------
    >>> labels = np.array([[1, 0, -1, -2]], np.int8)
    >>> [array.tolist() for array in targets(labels, "ones")]
    [[[1.0, 0.0, 1.0, 0.0]], [[1.0, 1.0, 1.0, 0.0]]]
    """
    if uncertain not in UNCERTAIN_POLICIES:
        raise UsageError(f"uncertain = {uncertain!r} is not known; "
                         f"{nearest(uncertain, UNCERTAIN_POLICIES)}")
    positive = labels == Label.POSITIVE
    counts = positive | (labels == Label.NEGATIVE)
    if uncertain != "ignore":
        counts |= labels == Label.UNCERTAIN
    if uncertain == "ones":
        positive |= labels == Label.UNCERTAIN
    return positive.astype(np.float32), counts.astype(np.float32)


def masked_loss(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Mean binary cross-entropy with logits over the labels that count.

    Parameters
    ----------
    logits, target, weight : Tensor of float32, shape (batch, F)

    Returns
    -------
    Tensor
        Scalar; 0, still with a gradient of zeros, where no label counts.
    """
    loss = functional.binary_cross_entropy_with_logits(logits, target, weight, reduction="sum")
    return loss / weight.sum().clamp(min=1)
