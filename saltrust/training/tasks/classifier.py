"""Training one classifier of a study."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from saltrust.cache.collection import Collection
from saltrust.cache.schema import Label
from saltrust.errors import DataError, UsageError, nearest
from saltrust.models.answer import answer_with_logits
from saltrust.models.classifiers.libraries.registry import located
from saltrust.models.classifiers.registry import ARCHITECTURES, build
from saltrust.models.classifiers.three_class import CLASSES, contrast
from saltrust.models.contract import settle_input, settle_output
from saltrust.models.output_names import output_index
from saltrust.models.preprocessing import Preprocessing, to_input
from saltrust.models.transfers import to_device
from saltrust.models.trial import Expected, try_network
from saltrust.models.user_code import importable_from
from saltrust.models.weights import fit_pretrained_encoder
from saltrust.study import ModelSpec, Study
from saltrust.training.data.augmentation import augment
from saltrust.training.data.images import LabeledImages, read_images
from saltrust.training.data.targets import label_loss
from saltrust.training.evaluation import evaluate_auc, predict
from saltrust.training.runs.resuming import note_images
from saltrust.training.runs.run import Run
from saltrust.training.session import train_entry
from saltrust.training.task import BatchLoss, Validation
from saltrust.training_settings import TrainSpec

_log = logging.getLogger(__name__)


def train(
    collection: Collection,
    study: Study,
    model: ModelSpec,
    *,
    device: str = "auto",
    images: Callable[[], LabeledImages] | None = None,
    overwrite: bool = False,
    resume: bool = False,
    progress: bool = True,
) -> Path:
    """Train one classifier and leave a run folder.

    Binary cross-entropy on every finding, or that of three classes if uncertain is to be one
    (:mod:`saltrust.models.classifiers.three_class`); the mean validation AUC, of all findings or of
    those the study chooses, decides which checkpoint is best and when to stop
    (:func:`saltrust.training.loop.fit`).  The best weights are then measured on the test
    images.

    Parameters
    ----------
    collection : Collection
        With splits by patient; images of split ``none`` are not used.
    study : Study
        Gives the grid, the seed and ``[train]``.
    model : ModelSpec
        Gives the architecture, its own seed, settings and pretrained weights.
    device : {'auto', 'cuda', 'mps', 'cpu'}
    images : callable, optional
        Returns what :func:`~saltrust.training.data.images.read_images` returned for this collection
        and grid, so that several models share one decoding.
    overwrite : bool
        Train again where a trained model lies already.
    resume : bool
        Go on with a run that was interrupted.
    progress : bool
        Show progress on stderr.

    Returns
    -------
    pathlib.Path
        The run folder: ``model.safetensors``, ``model.json`` (the card, with ``val_auc`` and
        ``test_auc``), ``metrics.csv`` (one row per validation), ``config.json``,
        ``environment.json``, and ``checkpoints`` if the study keeps several.

    Raises
    ------
    NothingToDo
        If ``resume`` was said and the model is trained already.
    UsageError
        If the run folder holds a run already, or architecture, arguments, pretrained weights,
        findings or device are not there or do not fit.
    DataError
        If there is nothing to train on or to validate by, a patient is in two splits, a
        radiograph cannot be read, the loss is no number, or a file cannot be written.  The best
        checkpoint so far stays, as it does on Ctrl-C.
    """
    def begin(run: Run) -> Any:
        findings = tuple(str(name) for name in collection.index["finding"].values)
        selected = selected_columns(findings, run.spec.selection_findings)
        network, facts = start_network(study, model, findings, run.spec.uncertain)
        run.card |= facts

        def make_task() -> ClassifierTask:
            read = (images() if images is not None
                    else read_images(collection, study.size, progress=progress))
            note_images(read, run)
            check_labels(read, selected)
            return ClassifierTask(run.name, network.to(run.device), run.device, read, run.spec,
                                  Preprocessing.from_dict(run.card["preprocessing"]), selected)

        return make_task

    return train_entry(collection, study, model, begin, device=device, overwrite=overwrite,
                       resume=resume, progress=progress)


@dataclass
class ClassifierTask:
    """Findings as labelled, from radiographs: see :class:`saltrust.training.task.Task`.

    Attributes
    ----------
    selected : ndarray of int, shape (S,)
        Columns of the findings whose mean AUC is the score.
    """

    name: str
    network: nn.Module
    device: torch.device
    images: LabeledImages
    spec: TrainSpec
    preprocessing: Preprocessing
    selected: npt.NDArray[np.intp]
    score_name: str = field(default="val AUC", init=False)

    def __post_init__(self) -> None:
        self._rows = self.images.rows("train")

    def epoch_rows(self, generator: torch.Generator) -> Tensor:
        """All training images, shuffled; or as many, half of them with a finding."""
        if not self.spec.balanced:
            return torch.randperm(len(self._rows), generator=generator)
        positive = (self.images.labels[self._rows] == Label.POSITIVE).any(axis=1)
        return balanced_order(torch.from_numpy(positive), generator)

    def loss(self, rows: Tensor, generator: torch.Generator) -> BatchLoss:
        """Cross-entropy over the labels that count."""
        images = self._rows[rows.numpy()]
        pixels = torch.from_numpy(self.images.pixels[images])
        if self.spec.augment:
            pixels = augment(to_device(pixels, self.device), generator)
        try:
            outputs = self.network(to_input(pixels, self.preprocessing, self.device))
        except ValueError as error:  # Batch normalisation of a single value.
            raise self.size_error(len(rows), error) from error
        return BatchLoss(*label_loss(outputs.float(), self.images.labels[images],
                                     self.spec.uncertain))

    def size_error(self, n: int, error: ValueError) -> DataError:
        """What to say when batch normalisation has a single value to go by."""
        return DataError(f"model {self.name!r} cannot be trained on batches of {n} at a grid of "
                         f"{self.images.pixels.shape[-1]}: {error}")

    def validate(self) -> Validation:
        """Score: mean AUC of the selected findings that have one."""
        rows, outputs = self._predict("val")
        labels = self.images.labels[rows]
        loss = float(label_loss(torch.from_numpy(outputs), labels, self.spec.uncertain)[0])
        if not np.isfinite(outputs).all():
            return Validation(float("nan"), float("nan"))
        auc = evaluate_auc(self._logits(outputs), labels, self.images.findings)
        of_all: dict[str, float | None] = auc["findings"]
        chosen = [of_all[self.images.findings[column]] for column in self.selected]
        score = float(np.mean([value for value in chosen if value is not None]))
        columns = {"val_auc": auc["mean"],
                   **({"val_auc_selected": score} if len(chosen) < len(of_all) else {}),
                   **{f"val_auc {name}": value for name, value in of_all.items()}}
        return Validation(score, loss, columns, {"val_auc": auc})

    def test(self) -> dict[str, Any]:
        """AUC on the test images."""
        rows, outputs = self._predict("test")
        if not len(rows):
            _log.warning("model %r: there are no test images, so its card has no test AUC",
                         self.name)
            return {"test_auc": None}
        return {"test_auc": evaluate_auc(self._logits(outputs), self.images.labels[rows],
                                         self.images.findings)}

    def _logits(self, outputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        if self.spec.uncertain != "three-class":
            return outputs
        logits: npt.NDArray[np.float32] = contrast(torch.from_numpy(outputs)).numpy()
        return logits

    def _predict(self, split: str) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]:
        rows = self.images.rows(split)
        if not len(rows):
            return rows, np.empty((0, len(self.images.findings)), np.float32)
        return rows, predict(self.network, self.images.pixels[rows], self.preprocessing,
                             self.device, self.spec.batch_size)


def selected_columns(findings: tuple[str, ...], names: tuple[str, ...]) -> npt.NDArray[np.intp]:
    for name in names:
        if name not in findings:
            raise UsageError(f"selection_findings names {name!r}, which the data set does not "
                             f"have; {nearest(name, findings)}; state selection_findings under "
                             "[train], [] for all")
    return np.array([column for column, name in enumerate(findings)
                     if not names or name in names], dtype=np.intp)


def start_network(
    study: Study, model: ModelSpec, findings: tuple[str, ...], uncertain: str
) -> tuple[nn.Module, dict[str, Any]]:
    """Build the network of a model, on the CPU, and start it from what the study says.

    Parameters
    ----------
    study : Study
    model : ModelSpec
    findings : tuple of str
        What it is to predict.
    uncertain : str
        The policy for uncertain labels; "three-class" gives three outputs per finding.

    Returns
    -------
    torch.nn.Module, dict
        The network, and what its card says of it.

    Raises
    ------
    UsageError, DataError
        If architecture, arguments or pretrained weights are not there or do not fit.
    """
    three_class = uncertain == "three-class"
    _, outputs = settle_output(None, findings, stated=model.output)
    n_outputs = len(outputs) * (len(CLASSES) if three_class else 1)
    with importable_from(study.folder):
        network = build(located(model.architecture, study.folder), n_outputs, **model.arguments)
    preprocessing, assumed = settle_input(model.architecture, network, ARCHITECTURES,
                                          stated=model.input)
    answer, outputs = settle_output(network, findings, stated=model.output)
    if three_class and (answer.kind != "logits" or outputs != findings):
        raise UsageError(f"model {model.name!r}: uncertain = \"three-class\" makes three outputs "
                         "of each finding, and [models.output] or the network states something "
                         "else; choose another policy for uncertain labels")
    trial = try_network(network, Expected(
        model.architecture, preprocessing, study.size,
        n_outputs if outputs == findings else len(outputs), answer, model.stochastic))
    for words in (*assumed, *trial.assumed, *trial.warnings):
        _log.warning("model %r: %s", model.name, words)
    answer_with_logits(network, trial.answer if outputs == findings else replace(
        trial.answer, columns=output_index(outputs, findings, f"model {model.name!r}")))
    pretrained = None
    if model.pretrained:
        pretrained = fit_pretrained_encoder(network, study.path(model.pretrained),
                                            model.architecture)
    return network, {
        "architecture": model.architecture,
        "arguments": dict(model.arguments),
        "findings": list(outputs),
        **({"output": {"kind": answer.kind, **({} if answer.select is None
                                               else {"select": answer.select})}}
           if (answer.kind, answer.select) != ("logits", None) else {}),
        **({"classes": list(CLASSES),
            "logit": "output of positive minus output of negative; its sigmoid is the softmax "
                     "over the two, uncertain left out"} if three_class else {}),
        "preprocessing": preprocessing.as_dict(),
        "pretrained": pretrained,
    }


def check_labels(images: LabeledImages, selected: npt.NDArray[np.intp]) -> None:
    """Say which findings cannot be learned or judged; refuse where none of the selected can."""
    def lacking(split: str) -> list[str]:
        labels = images.labels[images.rows(split)]
        both = [(labels == kind).any(axis=0) for kind in (Label.POSITIVE, Label.NEGATIVE)]
        return [name for name, *has in zip(images.findings, *both, strict=True) if not all(has)]

    without = lacking("val")
    if all(images.findings[column] in without for column in selected):
        chosen = "" if len(selected) == len(images.findings) else " of selection_findings"
        raise DataError(f"no finding{chosen} has both positive and negative validation images, so "
                        "nothing can say when to stop: change the splits of the data")
    if without:
        _log.warning("left out of the mean validation AUC, for want of a positive or a negative "
                     "validation image: %s", ", ".join(without))
    unlearnable = lacking("train")
    if unlearnable:
        _log.warning("without a positive or a negative training image, so that the model cannot "
                     "learn them: %s", ", ".join(unlearnable))


def balanced_order(positive: Tensor, generator: torch.Generator) -> Tensor:
    """An epoch in which half of the images are positive, whatever their share is.

    Each class is gone through in random order; one that is over is begun again in another
    order, so that no image comes twice before all others of its class have come once.

    Parameters
    ----------
    positive : Tensor of bool, shape (N,)
    generator : torch.Generator

    Returns
    -------
    Tensor of int64, shape (N,)
        Positions; N // 2 of them are positive.

    Raises
    ------
    DataError
        If there is no positive or no negative image.

    Examples
    --------
    >>> positive = torch.tensor([True, False, False, False, False, False])
    >>> order = balanced_order(positive, torch.Generator().manual_seed(0))
    >>> int((order == 0).sum()), order[positive[order].logical_not()].unique().numel()
    (3, 3)
    """
    n = len(positive)
    parts = []
    for wanted, members in ((n // 2, positive.nonzero()[:, 0]),
                            (n - n // 2, positive.logical_not().nonzero()[:, 0])):
        if not len(members):
            kind = "negative" if bool(positive.any()) else "positive"
            raise DataError(f"balanced = true needs positive and negative training images, and "
                            f"there is no {kind} one; leave it out")
        rounds = -(-wanted // len(members))
        orders = [members[torch.randperm(len(members), generator=generator)]
                  for _ in range(rounds)]
        parts.append(torch.cat(orders)[:wanted])
    both = torch.cat(parts)
    return both[torch.randperm(n, generator=generator)]
