"""Targets and loss where labels may be uncertain or not stated."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from saltrust.cache.schema import Label
from saltrust.errors import UsageError, nearest
from saltrust.models.classifiers.three_class import CLASSES
from saltrust.models.transfers import to_device

#: Policies of networks with one output per finding.
BINARY_POLICIES = ("ignore", "zeros", "ones")


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
        ``'three-class'`` has targets of another kind (:func:`class_targets`).

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
    if uncertain not in BINARY_POLICIES:
        raise UsageError(f"uncertain = {uncertain!r} does not go with one output per finding; "
                         f"{nearest(uncertain, BINARY_POLICIES)}")
    positive = labels == Label.POSITIVE
    counts = positive | (labels == Label.NEGATIVE)
    if uncertain != "ignore":
        counts |= labels == Label.UNCERTAIN
    if uncertain == "ones":
        positive |= labels == Label.UNCERTAIN
    return positive.astype(np.float32), counts.astype(np.float32)


def class_targets(
    labels: npt.NDArray[np.int8],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Classes of labels, uncertain being one of its own (U-MultiClass of Irvin et al. 2019).

    Parameters
    ----------
    labels : ndarray of int8, shape (N, F)

    Returns
    -------
    classes : ndarray of int64, shape (N, F)
        Positions in :data:`saltrust.models.classifiers.three_class.CLASSES`.
    weight : ndarray of float32, shape (N, F)
        1 where a label is stated and 0 elsewhere.

    Examples
    --------
    >>> [array.tolist() for array in class_targets(np.array([[1, 0, -1, -2]], np.int8))]
    [[[1, 0, 2, 0]], [[1.0, 1.0, 1.0, 0.0]]]
    """
    classes = np.zeros(labels.shape, np.int64)
    classes[labels == Label.POSITIVE] = CLASSES.index("positive")
    classes[labels == Label.UNCERTAIN] = CLASSES.index("uncertain")
    return classes, (labels != Label.NOT_STATED).astype(np.float32)


def label_loss(outputs: Tensor, labels: npt.NDArray[np.int8],
               uncertain: str) -> tuple[Tensor, float]:
    """Loss of a network's outputs against labels, by policy.

    Parameters
    ----------
    outputs : Tensor of float32, shape (batch, F), or (batch, 3 F) for ``'three-class'``
    labels : ndarray of int8, shape (batch, F)
    uncertain : str
        One of :data:`saltrust.study.UNCERTAIN_POLICIES`.

    Returns
    -------
    value : Tensor
        Scalar: mean cross-entropy over the labels that count, of two classes or of three.
    count : float
        How many do.
    """
    if uncertain != "three-class":
        stated = targets(labels, uncertain)
        target, weight = (to_device(torch.from_numpy(array), outputs.device) for array in stated)
        return masked_loss(outputs, target, weight), float(stated[1].sum())
    stated_classes = class_targets(labels)
    classes, counts = (to_device(torch.from_numpy(array), outputs.device).flatten()
                       for array in stated_classes)
    loss = functional.cross_entropy(outputs.reshape(-1, len(CLASSES)), classes, reduction="none")
    return (loss * counts).sum() / counts.sum().clamp(min=1), float(stated_classes[1].sum())


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
