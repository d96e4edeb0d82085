"""One training run: what it is of, where it lies, how far it got."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from saltrust.models.checkpoint import WEIGHTS_FILE
from saltrust.training.runs.seeding import Seeds
from saltrust.training_settings import TrainSpec


@dataclass
class Run:
    """What the training loop is told of a run, and the card it fills.

    Attributes
    ----------
    name : str
        Of the model, for messages.
    folder : pathlib.Path
        Run folder.
    spec : TrainSpec
        As settled for this model, by :meth:`saltrust.study.Study.training_of`.
    seeds : Seeds
    device : torch.device
    card : dict
        Plain JSON values.  What it holds when training starts is all that the result follows
        from: two runs that start with equal cards are the same run.
    saved_state : dict or None
        What :func:`saltrust.training.runs.resuming.read_state` found, to go on from.
    """

    name: str
    folder: Path
    spec: TrainSpec
    seeds: Seeds
    device: torch.device
    card: dict[str, Any] = field(default_factory=dict)
    saved_state: dict[str, Any] | None = None

    @property
    def weights(self) -> Path:
        """The best checkpoint."""
        return self.folder / WEIGHTS_FILE

    def kept(self) -> str:
        """What of the run can be used, for a message."""
        if "best_epoch" not in self.card:
            return "no epoch was finished, so no checkpoint was written"
        if self.card["best_epoch"] is None:
            return (f"the weights after {self.card['best_step']} steps, which nothing has "
                    f"validated, are kept: {self.weights}")
        return f"the best checkpoint, of epoch {self.card['best_epoch']}, is kept: {self.weights}"
