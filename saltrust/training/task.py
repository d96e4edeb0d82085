"""What one kind of model learns, as the training loop sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class BatchLoss:
    """The loss of one batch.

    Attributes
    ----------
    value : Tensor, scalar
        With a gradient; a mean over whatever is counted.
    weight : float
        What it counts in the mean of an epoch, e.g. the number of stated labels.
    parts : mapping of str to Tensor, scalars
        Terms of the loss, for columns ``train_<name>`` of the metrics; the same names in every
        batch.  Left on the device: to read one is to wait for it.
    """

    value: Tensor
    weight: float
    parts: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Validation:
    """What the validation images say of a network.

    Attributes
    ----------
    score : float
        Higher is better; decides which checkpoint is best and when to stop.
    loss : float
        Decides between equal scores, and when the learning rate drops.
    columns : mapping of str to (float or None)
        Further columns of the metrics; the same names every time.
    card : mapping
        Entries for the card of a checkpoint, plain JSON values without NaN.
    """

    score: float
    loss: float
    columns: Mapping[str, float | None] = field(default_factory=dict)
    card: Mapping[str, Any] = field(default_factory=dict)


class Task(Protocol):
    """What one kind of model learns: a classifier, a localizer, a guided classifier.

    Attributes
    ----------
    network : torch.nn.Module
        On its device.
    score_name : str
        What :attr:`Validation.score` is, for the progress bar: ``"val AUC"``.
    """

    @property
    def network(self) -> nn.Module: ...

    @property
    def score_name(self) -> str: ...

    def epoch_rows(self, generator: torch.Generator) -> Tensor:
        """Positions of the training images of one epoch, int64, in order, equally many each time.

        The loop cuts them into batches.
        """
        ...

    def loss(self, rows: Tensor, generator: torch.Generator) -> BatchLoss:
        """Loss of the images at ``rows``, the network in training mode.

        Called under autocast where the study asks for mixed precision: losses are better
        taken of ``logits.float()``.  Whatever is random is drawn from ``generator`` (on the
        CPU), or, as dropout, from torch's global generators.
        """
        ...

    def validate(self) -> Validation:
        """Look at the whole validation split, in evaluation mode and full precision."""
        ...

    def test(self) -> dict[str, Any]:
        """Entries for the card from the test split; the network has the best weights."""
        ...
