"""Training one classifier of a study."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from saltrust.analysis.result import plain
from saltrust.cache.collection import Collection
from saltrust.cache.schema import Label
from saltrust.errors import DataError
from saltrust.models.checkpoint import WEIGHTS_FILE, read_weights, save, write_card
from saltrust.models.device import choose_device, sensible_threads
from saltrust.models.preprocessing import Preprocessing, to_input
from saltrust.models.registry import build, check_forward, importable_from, preprocessing_of
from saltrust.models.weights import fit_pretrained, fit_weights
from saltrust.study import ModelSpec, Study, TrainSpec
from saltrust.training.augmentation import augment
from saltrust.training.evaluation import evaluate_auc, predict
from saltrust.training.images import LabelledImages, check_splits, read_images
from saltrust.training.run_folder import check_run_folder, start_run, versions, write_metrics
from saltrust.training.seeding import Seeds, derive_seeds, reproducible
from saltrust.training.targets import masked_loss, targets

_log = logging.getLogger(__name__)


def train(
    collection: Collection,
    study: Study,
    model: ModelSpec,
    *,
    device: str = "auto",
    images: LabelledImages | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Train one classifier and leave a run folder.

    Adam with a fixed learning rate and binary cross-entropy on every finding; after each epoch
    the mean validation AUC decides (at equal AUC, the lower validation loss): the best epoch's
    weights are kept, written whole at once, and training stops after ``patience`` epochs
    without a better AUC.  The best weights are then measured on the test images.

    Parameters
    ----------
    collection : Collection
        With splits by patient; images of split ``none`` are not used.
    study : Study
        Gives the grid, the seed and ``[train]``.
    model : ModelSpec
        Gives the architecture, its own seed and pretrained weights.
    device : {'auto', 'cuda', 'mps', 'cpu'}
    images : LabelledImages, optional
        What :func:`~saltrust.training.images.read_images` returned for this collection and
        grid, so that several models share one decoding.
    overwrite : bool
        Train again where a trained model lies already.
    progress : bool
        Show progress on stderr.

    Returns
    -------
    pathlib.Path
        The run folder: ``model.safetensors``, ``model.json`` (the card, with ``val_auc`` and
        ``test_auc``), ``metrics.csv`` (one row per epoch), ``config.json``,
        ``environment.json``.

    Raises
    ------
    UsageError
        If the run folder holds a trained model already, or architecture, arguments, pretrained
        weights or device are not there or do not fit.
    DataError
        If there is nothing to train on or to validate by, a patient is in two splits, a
        radiograph cannot be read, the loss is no number, or a file cannot be written.  The best
        checkpoint so far stays, as it does on Ctrl-C.
    """
    folder = study.run_folder(model)
    check_run_folder(folder, overwrite)
    where = choose_device(device)
    check_splits(collection)
    seeds = derive_seeds(study.seed, model.seed)
    with sensible_threads(), reproducible(seeds.network, where):
        findings = tuple(str(name) for name in collection.index["finding"].values)
        network, card = _start(study, model, findings)
        if images is None:
            images = read_images(collection, study.grid, progress=progress)
        _check_labels(images)
        card |= {
            "data": plain(collection.description),
            "data_fingerprint": collection.fingerprint,
            "n_images": {name: len(images.rows(name)) for name in ("train", "val", "test")},
            "device": where.type,
        }
        start_run(folder, study, where)
        run = _Run(model.name, folder, network.to(where), where, images, study.train, seeds, card)
        try:
            _fit(run, progress)
        except KeyboardInterrupt:
            _log.warning("model %r: training was interrupted; %s", model.name, run.kept())
            raise
        except torch.cuda.OutOfMemoryError:
            raise DataError(f"model {model.name!r} does not fit in the memory of the device: "
                            "lower `batch_size` under [train] or the grid") from None
        _finish(run)
    return folder


@dataclass
class _Run:
    name: str
    folder: Path
    network: nn.Module
    device: torch.device
    images: LabelledImages
    spec: TrainSpec
    seeds: Seeds
    card: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)
    optimizer: torch.optim.Optimizer = field(init=False)
    order: torch.Generator = field(init=False)
    variation: torch.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), self.spec.learning_rate,
            weight_decay=self.spec.weight_decay,
        )
        self.order = torch.Generator().manual_seed(self.seeds.order)
        self.variation = torch.Generator().manual_seed(self.seeds.augmentation)

    @property
    def weights(self) -> Path:
        return self.folder / WEIGHTS_FILE

    @property
    def preprocessing(self) -> Preprocessing:
        return Preprocessing.from_dict(self.card["preprocessing"])

    def kept(self) -> str:
        """What of the run can be used, for a message."""
        if "best_epoch" not in self.card:
            return "no epoch was finished, so no checkpoint was written"
        return f"the best checkpoint, of epoch {self.card['best_epoch']}, is kept: {self.weights}"


def _start(
    study: Study, model: ModelSpec, findings: tuple[str, ...]
) -> tuple[nn.Module, dict[str, Any]]:
    with importable_from(study.folder):
        network = build(model.architecture, len(findings), **model.arguments)
    preprocessing = preprocessing_of(model.architecture, network)
    check_forward(model.architecture, network, preprocessing, study.grid, len(findings))
    pretrained = None
    if model.pretrained:
        pretrained = fit_pretrained(network, study.path(model.pretrained), model.architecture)
    return network, {
        "name": model.name,
        "architecture": model.architecture,
        "arguments": plain(model.arguments),
        "findings": list(findings),
        "preprocessing": preprocessing.as_dict(),
        "grid": study.grid,
        "seed": model.seed,
        "study_seed": study.seed,
        "study": study.name,
        "study_fingerprint": study.fingerprint(),
        "train": dataclasses.asdict(study.train),
        "pretrained": pretrained,
        "versions": versions(),
        "complete": False,
    }


def _check_labels(images: LabelledImages) -> None:
    """Say which findings cannot be learned or judged; refuse where none can."""
    def lacking(split: str) -> list[str]:
        labels = images.labels[images.rows(split)]
        both = [(labels == kind).any(axis=0) for kind in (Label.POSITIVE, Label.NEGATIVE)]
        return [name for name, *has in zip(images.findings, *both, strict=True) if not all(has)]

    without = lacking("val")
    if len(without) == len(images.findings):
        raise DataError("no finding has both positive and negative validation images, so nothing "
                        "can say when to stop: change the splits of the data")
    if without:
        _log.warning("left out of the mean validation AUC, for want of a positive or a negative "
                     "validation image: %s", ", ".join(without))
    unlearnable = lacking("train")
    if unlearnable:
        _log.warning("without a positive or a negative training image, so that the model cannot "
                     "learn them: %s", ", ".join(unlearnable))


def _fit(run: _Run, progress: bool) -> None:
    spec = run.spec
    n_steps = len(_batches(torch.arange(len(run.images.rows("train"))), spec.batch_size))
    best, best_auc, waited = (-math.inf, -math.inf), -math.inf, 0
    with tqdm(total=spec.epochs * n_steps, desc=run.name, unit="batch",
              disable=None if progress else True) as bar:
        for epoch in range(1, spec.epochs + 1):
            began = time.perf_counter()
            train_loss = _epoch(run, epoch, bar)
            val_loss, val_auc = _validate(run, epoch)
            run.rows.append({
                "epoch": epoch, "train_loss": train_loss, "val_loss": val_loss,
                "val_auc": val_auc["mean"],
                **{f"val_auc {name}": auc for name, auc in val_auc["findings"].items()},
                "learning_rate": spec.learning_rate,
                "seconds": round(time.perf_counter() - began, 3),
            })
            write_metrics(run.folder, run.rows)
            bar.set_postfix_str(f"epoch {epoch}, val AUC {val_auc['mean']:.3f}")
            if (val_auc["mean"], -val_loss) > best:
                best = (val_auc["mean"], -val_loss)
                run.card = save(run.network, run.weights, {
                    **run.card, "best_epoch": epoch, "train_loss": train_loss,
                    "val_loss": val_loss, "val_auc": val_auc,
                })
            waited = 0 if val_auc["mean"] > best_auc else waited + 1
            best_auc = max(best_auc, val_auc["mean"])
            if waited >= spec.patience:
                break


def _epoch(run: _Run, epoch: int, bar: Any) -> float:
    rows = run.images.rows("train")
    target, weight = map(torch.from_numpy, targets(run.images.labels[rows], run.spec.uncertain))
    preprocessing = run.preprocessing
    run.network.train()
    total, count = 0.0, 0.0
    shuffled = torch.randperm(len(rows), generator=run.order)
    for step, batch in enumerate(_batches(shuffled, run.spec.batch_size), start=1):
        pixels = torch.from_numpy(run.images.pixels[rows[batch.numpy()]])
        if run.spec.augment:
            pixels = augment(pixels.to(run.device), run.variation)
        try:
            logits = run.network(to_input(pixels, preprocessing, run.device))
        except ValueError as error:  # Batch normalisation of a single value.
            raise DataError(f"model {run.name!r} cannot be trained on batches of {len(batch)} at "
                            f"a grid of {run.card['grid']}: {error}") from error
        loss = masked_loss(logits, target[batch].to(run.device), weight[batch].to(run.device))
        value = loss.item()
        if not math.isfinite(value):
            raise _diverged(run, f"at step {step} of epoch {epoch}")
        run.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        run.optimizer.step()
        counted = float(weight[batch].sum())
        total, count = total + value * counted, count + counted
        bar.update()
    return total / max(count, 1.0)


def _validate(run: _Run, epoch: int) -> tuple[float, dict[str, Any]]:
    rows = run.images.rows("val")
    labels = run.images.labels[rows]
    logits = predict(run.network, run.images.pixels[rows], run.preprocessing, run.device,
                     run.spec.batch_size)
    target, weight = map(torch.from_numpy, targets(labels, run.spec.uncertain))
    loss = float(masked_loss(torch.from_numpy(logits), target, weight))
    if not math.isfinite(loss):
        raise _diverged(run, f"on the validation images after epoch {epoch}")
    return loss, evaluate_auc(logits, labels, run.images.findings)


def _diverged(run: _Run, where: str) -> DataError:
    return DataError(f"model {run.name!r}: the loss is not a finite number {where}; lower "
                     f"`learning_rate` under [train] (now {run.spec.learning_rate:g}); "
                     f"{run.kept()}")


def _finish(run: _Run) -> None:
    """Measure the checkpoint, as it lies on disk, on the test images and close its card."""
    fit_weights(run.network, read_weights(run.weights), run.weights, run.card["architecture"])
    rows = run.images.rows("test")
    test_auc = None
    if len(rows):
        logits = predict(run.network, run.images.pixels[rows], run.preprocessing, run.device,
                         run.spec.batch_size)
        test_auc = evaluate_auc(logits, run.images.labels[rows], run.images.findings)
    else:
        _log.warning("model %r: there are no test images, so its card has no test AUC", run.name)
    epochs = len(run.rows)
    run.card |= {
        "epochs_run": epochs,
        "stopped_early": epochs < run.spec.epochs,
        "test_auc": test_auc,
        "complete": True,
    }
    write_card(run.weights, run.card)


def _batches(rows: Tensor, batch_size: int) -> list[Tensor]:
    """Split into batches; a last one of a single image joins the one before it.

    Batch normalisation cannot take one image where nothing is left of its height and width.
    """
    batches = list(torch.split(rows, batch_size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        last = batches.pop()
        batches[-1] = torch.cat([batches[-1], last])
    return batches
