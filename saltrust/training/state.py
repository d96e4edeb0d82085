"""How far a training run has come: what its next step depends on, to the last bit."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch

from saltrust.training.precision import gradient_scaler
from saltrust.training.runs.run import Run
from saltrust.training.task import Task


@dataclass
class TrainingState:
    """How far a run has come, and everything that its next step depends on.

    Attributes
    ----------
    epoch, steps : int
        Epochs finished and steps of the optimizer taken.
    waited : int
        Epochs since ``best_score`` was reached.
    rows : list of dict
        Of the metrics.
    kept : list of dict
        Checkpoints beside the best, as :func:`~saltrust.training.runs.kept_checkpoints.keep_best`
        lists them.
    """

    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.ReduceLROnPlateau | None
    scaler: torch.amp.GradScaler
    order: torch.Generator
    variation: torch.Generator
    epoch: int = 0
    steps: int = 0
    waited: int = 0
    best_score: float = -math.inf
    rows: list[dict[str, Any]] = field(default_factory=list)
    kept: list[dict[str, Any]] = field(default_factory=list)
    resumed: list[int] = field(default_factory=list)

    @classmethod
    def start(cls, task: Task, run: Run) -> TrainingState:
        """Adam from its beginning."""
        spec = run.spec
        optimizer = torch.optim.Adam(task.network.parameters(), spec.learning_rate,
                                     weight_decay=spec.weight_decay)
        schedule = None
        if spec.plateau_factor < 1:
            schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimizer, "min", factor=spec.plateau_factor, patience=spec.plateau_patience,
                threshold=0.0)
        return cls(optimizer, schedule, gradient_scaler(spec.precision, run.device),
                   torch.Generator().manual_seed(run.seeds.order),
                   torch.Generator().manual_seed(run.seeds.augmentation))

    _PLAIN = ("epoch", "steps", "waited", "best_score", "rows", "kept", "resumed")

    def snapshot(self, task: Task, run: Run, card: dict[str, Any]) -> dict[str, Any]:
        """All of it, for :func:`saltrust.training.runs.resuming.write_state`."""
        return {
            "card": card,
            "threads": torch.get_num_threads(),
            "network": task.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict() if self.schedule else None,
            "scaler": self.scaler.state_dict(),
            "order": self.order.get_state(),
            "variation": self.variation.get_state(),
            "random": torch.get_rng_state(),
            "device_random": (torch.cuda.get_rng_state(run.device)
                              if run.device.type == "cuda" else None),
            **{name: getattr(self, name) for name in self._PLAIN},
        }

    def restore(self, task: Task, run: Run, saved: dict[str, Any]) -> None:
        """Go back to where a snapshot was taken, torch's global generators included."""
        task.network.load_state_dict(saved["network"])
        self.optimizer.load_state_dict(saved["optimizer"])
        if self.schedule:
            self.schedule.load_state_dict(saved["schedule"])
        self.scaler.load_state_dict(saved["scaler"])
        self.order.set_state(saved["order"])
        self.variation.set_state(saved["variation"])
        torch.set_rng_state(saved["random"])
        if run.device.type == "cuda":
            torch.cuda.set_rng_state(saved["device_random"], run.device)
        for name in self._PLAIN:
            setattr(self, name, saved[name])
        self.resumed = [*self.resumed, self.epoch]
