"""The loop that every kind of model is trained by."""

from __future__ import annotations

import contextlib
import math
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from saltrust.errors import DataError
from saltrust.interrupts import delay_interrupts
from saltrust.models.checkpoint import read_card, save, sha256_of
from saltrust.printable import printable
from saltrust.reading import reason_of
from saltrust.training.precision import autocast
from saltrust.training.runs.kept_checkpoints import keep_best, remove_others
from saltrust.training.runs.resuming import STATE_FILE, write_state
from saltrust.training.runs.run import Run
from saltrust.training.runs.run_folder import remove_unfinished, write_metrics
from saltrust.training.state import TrainingState
from saltrust.training.task import BatchLoss, Task, Validation

#: Steps on a GPU after which the losses are read, and a loss that is no number is seen.
STEPS_BETWEEN_LOOKS = 16


def fit(task: Task, run: Run, *, progress: bool) -> TrainingState:
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
    TrainingState

    Raises
    ------
    DataError
        If the loss is not a finite number (the last good checkpoint stays), or a file cannot
        be written.
    """
    spec, started_with = run.spec, dict(run.card)
    state = TrainingState.start(task, run)
    if run.saved_state is not None:
        _restore(state, task, run, run.saved_state)
        _adopt_best(run)
    remove_unfinished(run.folder)
    remove_others(run.folder, state.kept)
    with (tqdm(desc=printable(run.name), unit="batch", disable=None if progress else True) as bar,
          _keep_weights_on_interrupt(task, run, state)):
        while state.epoch < spec.epochs and state.waited < spec.patience:
            batches = cut_batches(task.epoch_rows(state.order), spec.batch_size)
            if bar.total is None:
                bar.total = spec.epochs * len(batches)
                bar.initial = bar.n = bar.last_print_n = state.steps
            validations = _train_epoch(task, run, state, batches, bar)
            _end_epoch(state, validations)
            write_state(run.folder, state.snapshot(task, run, started_with))
    return state


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


def _restore(state: TrainingState, task: Task, run: Run, saved: dict[str, Any]) -> None:
    try:
        state.restore(task, run, saved)
    except Exception as error:
        raise DataError(f"{run.folder / STATE_FILE} does not fit model {run.name!r}, whose code "
                        f"may have changed since ({reason_of(error)}); restore it, or say "
                        "--overwrite to train from the beginning") from error


def _adopt_best(run: Run) -> None:
    """Take the best checkpoint as it lies on disk: it may be of the epoch that was cut off."""
    card = read_card(run.weights)
    if card is None:
        raise DataError(f"{run.weights} is gone, the best checkpoint of a run that cannot go on "
                        "without it; say --overwrite to train from the beginning")
    run.card |= {**card, "weights_sha256": sha256_of(run.weights)}


@contextlib.contextmanager
def _keep_weights_on_interrupt(task: Task, run: Run, state: TrainingState) -> Iterator[None]:
    """On Ctrl-C before the first validation, keep the weights as they are: better than none."""
    try:
        yield
    except KeyboardInterrupt:
        if "best_epoch" not in run.card and state.steps:
            run.card = save(task.network, run.weights,
                            {**run.card, "best_epoch": None, "best_step": state.steps})
        raise


class _Mean:
    """Weighted means of the loss and its parts since the last validation.

    Of a GPU, values are read together after several steps: to read one is to wait until the device
    has computed it, and leaves it without work until Python has queued more.

    Parameters
    ----------
    run : Run
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._steps = 1 if run.device.type == "cpu" else STEPS_BETWEEN_LOOKS
        self._waiting: list[tuple[list[str], Tensor, float, str]] = []
        self._sums: dict[str, float] = defaultdict(float)
        self._weight = 0.0

    def add(self, loss: BatchLoss, where: str) -> None:
        """Note the loss of a step; raises where one of the last steps was not finite."""
        # MPS has no float64.
        kind = torch.float32 if loss.value.device.type == "mps" else torch.float64
        values = torch.stack([value.detach().to(loss.value.device, kind)
                              for value in (loss.value, *loss.parts.values())])
        self._waiting.append((["loss", *loss.parts], values, loss.weight, where))
        if len(self._waiting) >= self._steps:
            self._look()

    def _look(self) -> None:
        if not self._waiting:
            return
        read = torch.stack([values for _, values, _, _ in self._waiting]).tolist()
        waiting, self._waiting = self._waiting, []
        for (names, _, weight, where), numbers in zip(waiting, read, strict=True):
            if not math.isfinite(numbers[0]):
                raise _divergence_error(self._run, where)
            for name, number in zip(names, numbers, strict=True):
                self._sums[name] += number * weight
            self._weight += weight

    def columns(self) -> dict[str, float]:
        self._look()
        return {f"train_{name}": total / (self._weight or 1.0)
                for name, total in self._sums.items()}


def _train_epoch(task: Task, run: Run, state: TrainingState, batches: list[Tensor],
                 bar: Any) -> list[Validation]:
    count = run.spec.validations_per_epoch
    validate_after = {math.ceil(k * len(batches) / count) for k in range(1, count + 1)}
    epoch, validations = state.epoch + 1, []
    mean, began = _Mean(run), time.perf_counter()
    task.network.train()
    for step, rows in enumerate(batches, start=1):
        _train_step(task, run, state, rows, mean, f"at step {step} of epoch {epoch}")
        state.steps += 1
        bar.update()
        if step in validate_after:
            validation = _validate(task, run, f"after step {step} of epoch {epoch}"
                                   if step < len(batches) else f"after epoch {epoch}")
            validations.append(validation)
            row = {
                "epoch": epoch, "step": state.steps, **mean.columns(), "val_loss": validation.loss,
                **validation.columns, "learning_rate": state.optimizer.param_groups[0]["lr"],
                "seconds": round(time.perf_counter() - began, 3),
            }
            state.rows = [*state.rows, row]
            bar.set_postfix_str(f"epoch {epoch}, loss {row['train_loss']:.3f}, "
                                f"{task.score_name} {validation.score:.3f}")
            with delay_interrupts():
                write_metrics(run.folder, state.rows)
                _keep(task, run, state, validation, row, (len(batches), step))
            mean, began = _Mean(run), time.perf_counter()
            task.network.train()
    return validations


def _train_step(task: Task, run: Run, state: TrainingState, rows: Tensor, mean: _Mean,
                where: str) -> None:
    with autocast(run.spec.precision, run.device):
        loss = task.loss(rows, state.variation)
    mean.add(loss, where)
    state.optimizer.zero_grad(set_to_none=True)
    state.scaler.scale(loss.value).backward()  # type: ignore[no-untyped-call]
    state.scaler.step(state.optimizer)
    state.scaler.update()


def _validate(task: Task, run: Run, where: str) -> Validation:
    validation = task.validate()
    if not (math.isfinite(validation.loss) and math.isfinite(validation.score)):
        raise _divergence_error(run, f"on the validation images {where}")
    return validation


def _keep(task: Task, run: Run, state: TrainingState, validation: Validation, row: dict[str, Any],
          position: tuple[int, int]) -> None:
    """Write the network as the best, and as one of the best of its epoch, if it is."""
    facts = {"train_loss": row["train_loss"], "val_loss": validation.loss,
             "score": validation.score, **validation.card}
    if run.spec.keep:
        n_batches, step = position
        name = (f"epoch{row['epoch']:0{len(str(run.spec.epochs))}d}"
                f"-step{step:0{len(str(n_batches))}d}.safetensors")
        candidate = {"file": name, "epoch": row["epoch"], "step": row["step"],
                     "score": validation.score, "loss": validation.loss}
        card = {**run.card, **facts, "epoch": row["epoch"], "step": row["step"]}
        for of_the_best in ("best_epoch", "best_step", "weights_sha256"):
            card.pop(of_the_best, None)
        state.kept = keep_best(task.network, run.folder, state.kept, candidate,
                               run.spec.keep, card)
    best = (run.card.get("score", -math.inf), -run.card.get("val_loss", math.inf))
    if (validation.score, -validation.loss) > best:
        run.card = save(task.network, run.weights, {
            **run.card, "best_epoch": row["epoch"], "best_step": row["step"], **facts})


def _end_epoch(state: TrainingState, validations: list[Validation]) -> None:
    state.epoch += 1
    score = max(validation.score for validation in validations)
    state.waited = 0 if score > state.best_score else state.waited + 1
    state.best_score = max(state.best_score, score)
    if state.schedule:
        state.schedule.step(min(validation.loss for validation in validations))


def _divergence_error(run: Run, where: str) -> DataError:
    return DataError(f"model {run.name!r}: the loss is not a finite number {where}; lower "
                     f"`learning_rate` under [train] (now {run.spec.learning_rate:g}); "
                     f"{run.kept()}")
