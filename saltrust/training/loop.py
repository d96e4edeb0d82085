"""The loop that every kind of model is trained by."""

from __future__ import annotations

import contextlib
import math
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from saltrust.errors import DataError
from saltrust.models.checkpoint import read_card, save, sha256_of
from saltrust.training.precision import autocast, gradient_scaler
from saltrust.training.runs.interrupts import interrupts_wait
from saltrust.training.runs.kept_checkpoints import keep_best, remove_others
from saltrust.training.runs.resuming import STATE_FILE, write_state
from saltrust.training.runs.run import Run
from saltrust.training.runs.run_folder import remove_unfinished, write_metrics
from saltrust.training.task import BatchLoss, Task, Validation


@dataclass
class Course:
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
    def start(cls, task: Task, run: Run) -> Course:
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

    def state(self, task: Task, run: Run, card: dict[str, Any]) -> dict[str, Any]:
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

    def restore(self, task: Task, run: Run, state: dict[str, Any]) -> None:
        """Go back to where a state was taken, torch's global generators included."""
        task.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.schedule:
            self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        self.order.set_state(state["order"])
        self.variation.set_state(state["variation"])
        torch.set_rng_state(state["random"])
        if run.device.type == "cuda":
            torch.cuda.set_rng_state(state["device_random"], run.device)
        for name in self._PLAIN:
            setattr(self, name, state[name])
        self.resumed = [*self.resumed, self.epoch]


def fit(task: Task, run: Run, *, progress: bool) -> Course:
    """Train until the epochs are over or patience is.

    Adam; the learning rate is fixed, or drops where the validation loss stays.  Validation
    comes at the end of each epoch, or more often: the checkpoint of the best score (of equal
    scores, the lowest loss) is written to ``run.weights``, the best of each epoch beside it if
    the study keeps them, each whole at once.  Training stops after ``patience`` epochs without
    a better score.  After each epoch a state is written from which a killed run goes on to the
    same result, on the CPU to the last bit.

    Parameters
    ----------
    task : Task
    run : Run
        Its card gets ``best_epoch``, ``best_step``, ``score``, ``train_loss``, ``val_loss`` and
        what the task says of the best checkpoint.
    progress : bool
        Show loss, score and time left on stderr.

    Returns
    -------
    Course

    Raises
    ------
    DataError
        If the loss is not a finite number (the last good checkpoint stays), or a file cannot
        be written.
    """
    spec, started_with = run.spec, dict(run.card)
    course = Course.start(task, run)
    if run.state is not None:
        _restore(course, task, run, run.state)
        _adopt_best(run)
    remove_unfinished(run.folder)
    remove_others(run.folder, course.kept)
    with (tqdm(desc=run.name, unit="batch", disable=None if progress else True) as bar,
          _weights_kept_on_interrupt(task, run, course)):
        while course.epoch < spec.epochs and course.waited < spec.patience:
            batches = cut_batches(task.epoch_rows(course.order), spec.batch_size)
            if bar.total is None:
                bar.total = spec.epochs * len(batches)
                bar.initial = bar.n = bar.last_print_n = course.steps
            validations = _epoch(task, run, course, batches, bar)
            _end_epoch(course, validations)
            write_state(run.folder, course.state(task, run, started_with))
    return course


def cut_batches(rows: Tensor, batch_size: int) -> list[Tensor]:
    """Split into batches; a last one of a single image joins the one before it.

    Batch normalisation cannot take one image where nothing is left of its height and width.

    Examples
    --------
    >>> [len(batch) for batch in cut_batches(torch.arange(9), 4)]
    [4, 5]
    """
    batches = list(torch.split(rows, batch_size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        last = batches.pop()
        batches[-1] = torch.cat([batches[-1], last])
    return batches


def _restore(course: Course, task: Task, run: Run, state: dict[str, Any]) -> None:
    try:
        course.restore(task, run, state)
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{run.folder / STATE_FILE} does not fit model {run.name!r}, whose code "
                        f"may have changed since ({reason}); restore it, or say --overwrite to "
                        "train from the beginning") from error


def _adopt_best(run: Run) -> None:
    """Take the best checkpoint as it lies on disk: it may be of the epoch that was cut off."""
    card = read_card(run.weights)
    if card is None:
        raise DataError(f"{run.weights} is gone, the best checkpoint of a run that cannot go on "
                        "without it; say --overwrite to train from the beginning")
    run.card |= {**card, "weights_sha256": sha256_of(run.weights)}


@contextlib.contextmanager
def _weights_kept_on_interrupt(task: Task, run: Run, course: Course) -> Iterator[None]:
    """On Ctrl-C before the first validation, keep the weights as they are: better than none."""
    try:
        yield
    except KeyboardInterrupt:
        if "best_epoch" not in run.card and course.steps:
            run.card = save(task.network, run.weights,
                            {**run.card, "best_epoch": None, "best_step": course.steps})
        raise


class _Mean:
    """Weighted means of the loss and its parts since the last validation."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = defaultdict(float)
        self._weight = 0.0

    def add(self, value: float, loss: BatchLoss) -> None:
        for name, part in {"loss": value, **loss.parts}.items():
            self._sums[name] += part * loss.weight
        self._weight += loss.weight

    def columns(self) -> dict[str, float]:
        return {f"train_{name}": total / (self._weight or 1.0)
                for name, total in self._sums.items()}


def _epoch(task: Task, run: Run, course: Course, batches: list[Tensor],
           bar: Any) -> list[Validation]:
    count = run.spec.validations_per_epoch
    validate_after = {math.ceil(k * len(batches) / count) for k in range(1, count + 1)}
    epoch, validations = course.epoch + 1, []
    mean, began = _Mean(), time.perf_counter()
    task.network.train()
    for step, rows in enumerate(batches, start=1):
        loss = _step(task, run, course, rows, f"at step {step} of epoch {epoch}")
        mean.add(*loss)
        course.steps += 1
        bar.update()
        if step in validate_after:
            found = _validate(task, run, f"after step {step} of epoch {epoch}"
                              if step < len(batches) else f"after epoch {epoch}")
            validations.append(found)
            row = {
                "epoch": epoch, "step": course.steps, **mean.columns(), "val_loss": found.loss,
                **found.columns, "learning_rate": course.optimizer.param_groups[0]["lr"],
                "seconds": round(time.perf_counter() - began, 3),
            }
            course.rows = [*course.rows, row]
            bar.set_postfix_str(f"epoch {epoch}, loss {row['train_loss']:.3f}, "
                                f"{task.score_name} {found.score:.3f}")
            with interrupts_wait():
                write_metrics(run.folder, course.rows)
                _keep(task, run, course, found, row, (len(batches), step))
            mean, began = _Mean(), time.perf_counter()
            task.network.train()
    return validations


def _step(task: Task, run: Run, course: Course, rows: Tensor,
          where: str) -> tuple[float, BatchLoss]:
    with autocast(run.spec.precision, run.device):
        loss = task.loss(rows, course.variation)
    value = loss.value.item()
    if not math.isfinite(value):
        raise _diverged(run, where)
    course.optimizer.zero_grad(set_to_none=True)
    course.scaler.scale(loss.value).backward()  # type: ignore[no-untyped-call]
    course.scaler.step(course.optimizer)
    course.scaler.update()
    return value, loss


def _validate(task: Task, run: Run, where: str) -> Validation:
    found = task.validate()
    if not (math.isfinite(found.loss) and math.isfinite(found.score)):
        raise _diverged(run, f"on the validation images {where}")
    return found


def _keep(task: Task, run: Run, course: Course, found: Validation, row: dict[str, Any],
          position: tuple[int, int]) -> None:
    """Write the network as the best, and as one of the best of its epoch, if it is."""
    facts = {"train_loss": row["train_loss"], "val_loss": found.loss, "score": found.score,
             **found.card}
    if run.spec.keep:
        n_batches, step = position
        name = (f"epoch{row['epoch']:0{len(str(run.spec.epochs))}d}"
                f"-step{step:0{len(str(n_batches))}d}.safetensors")
        candidate = {"file": name, "epoch": row["epoch"], "step": row["step"],
                     "score": found.score, "loss": found.loss}
        card = {**run.card, **facts, "epoch": row["epoch"], "step": row["step"]}
        for of_the_best in ("best_epoch", "best_step", "weights_sha256"):
            card.pop(of_the_best, None)
        course.kept = keep_best(task.network, run.folder, course.kept, candidate,
                                run.spec.keep, card)
    best = (run.card.get("score", -math.inf), -run.card.get("val_loss", math.inf))
    if (found.score, -found.loss) > best:
        run.card = save(task.network, run.weights, {
            **run.card, "best_epoch": row["epoch"], "best_step": row["step"], **facts})


def _end_epoch(course: Course, validations: list[Validation]) -> None:
    course.epoch += 1
    score = max(found.score for found in validations)
    course.waited = 0 if score > course.best_score else course.waited + 1
    course.best_score = max(course.best_score, score)
    if course.schedule:
        course.schedule.step(min(found.loss for found in validations))


def _diverged(run: Run, where: str) -> DataError:
    return DataError(f"model {run.name!r}: the loss is not a finite number {where}; lower "
                     f"`learning_rate` under [train] (now {run.spec.learning_rate:g}); "
                     f"{run.kept()}")
