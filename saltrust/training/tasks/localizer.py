"""Training one localizer of a study."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from saltrust.analysis.pixels.precision_recall import curve_areas
from saltrust.cache.collection import Collection
from saltrust.errors import DataError
from saltrust.models.checkpoint import WEIGHTS_FILE, read_card
from saltrust.models.contract import settle_input
from saltrust.models.eval_mode import eval_mode
from saltrust.models.localizers.network import Detector, image_scores, localize
from saltrust.models.localizers.registry import (
    LOCALIZERS,
    build_localizer,
    check_localizer,
)
from saltrust.models.localizers.trained_localizer import localized_findings
from saltrust.models.preprocessing import Preprocessing, to_input
from saltrust.models.torchvision_operators import import_torchvision
from saltrust.models.transfers import to_device
from saltrust.models.trial import Expected
from saltrust.models.user_code import importable_from
from saltrust.models.weights import fit_pretrained_encoder
from saltrust.study import LocalizerSpec, Study
from saltrust.training.data.annotated_images import (
    AnnotatedImages,
    read_annotations,
    reference_readers,
)
from saltrust.training.data.images import check_splits, read_images
from saltrust.training.data.localizer_data import Batch, LocalizerData, select_data, warn_of_data
from saltrust.training.evaluation import evaluate_auc
from saltrust.training.loop import cut_batches
from saltrust.training.runs.resuming import note_images
from saltrust.training.runs.run import Run
from saltrust.training.session import train_entry
from saltrust.training.task import BatchLoss, Validation
from saltrust.training_settings import TrainSpec

# segmentation-models-pytorch imports torchvision, whose operators must be declared by then.
import_torchvision()

from segmentation_models_pytorch import losses  # noqa: E402

#: Stands for pixels of which nothing is known.
UNKNOWN = -1
_FOCAL = losses.FocalLoss("binary", gamma=2.0, ignore_index=UNKNOWN)
_DICE = losses.DiceLoss("multilabel", from_logits=True, ignore_index=UNKNOWN)

_log = logging.getLogger(__name__)


def train_localizer(
    collection: Collection,
    study: Study,
    localizer: LocalizerSpec,
    *,
    device: str = "auto",
    annotated: Callable[[], AnnotatedImages] | None = None,
    overwrite: bool = False,
    resume: bool = False,
    progress: bool = True,
) -> Path:
    """Train one localizer and leave a run folder.

    A network that returns logits per pixel learns the reference masks by focal and Dice loss; a
    detector learns the boxes by its own loss.  The loss on the validation images decides which
    checkpoint is best, when to stop, and when the learning rate drops.  The best weights are
    then measured on the test images.

    Parameters
    ----------
    collection : Collection
        With splits by patient and reference annotations.
    study : Study
        Gives the grid, the seed and ``[train]``.
    localizer : LocalizerSpec
        Gives architecture, findings, its own seed, settings and pretrained weights.
    device : {'auto', 'cuda', 'mps', 'cpu'}
    annotated : callable, optional
        Returns what :func:`~saltrust.training.data.annotated_images.read_annotations` does for this
        collection and grid, so that several localizers share one reading.
    overwrite, resume : bool
        Train again where a trained network lies; go on with a run that was interrupted.
    progress : bool
        Show progress on stderr.

    Returns
    -------
    pathlib.Path
        The run folder, as :func:`saltrust.training.tasks.classifier.train` leaves it.  The card
        says
        ``kind`` "localizer" and, for validation and test images, the AUC of the image-level
        score; for test images also the mean average precision of the pixels of positives.

    Raises
    ------
    NothingToDo
        If ``resume`` was said and the network is trained already.
    UsageError
        If the run folder holds a run already, or architecture, arguments, findings, pretrained
        weights or device are not there or do not fit.
    DataError
        If there are no reference annotations, a finding has none among the training images, a
        box leaves its image, or as for classifiers.
    """
    def begin(run: Run) -> Callable[[], LocalizerTask]:
        findings = localized_findings(localizer, [
            str(name) for name in collection.index["finding"].values])
        reference_readers(collection)
        network, facts = _start(study, localizer, findings)
        run.card |= facts

        def make_task() -> LocalizerTask:
            drawn = annotated() if annotated else read_annotations(
                collection, read_images(collection, study.size, progress=progress),
                progress=progress)
            note_images(drawn.images, run)
            data = select_data(drawn, findings, complete=isinstance(network, Detector),
                               name=localizer.name)
            warn_of_data(data, localizer.name)
            run.card["n_used"] = {name: len(data.rows(name)) for name in ("train", "val", "test")}
            return LocalizerTask(run.name, network.to(run.device), run.device, data, run.spec,
                                 Preprocessing.from_dict(run.card["preprocessing"]))

        return make_task

    return train_entry(collection, study, localizer, begin, device=device, overwrite=overwrite,
                       resume=resume, progress=progress)


def check_localizers(collection: Collection, study: Study, localizers: Sequence[LocalizerSpec],
                     annotated: Callable[[], AnnotatedImages], *,
                     overwrite: bool = False) -> None:
    """Find out whether localizers can be trained, before hours are spent on other models.

    Parameters
    ----------
    collection : Collection
    study : Study
    localizers : sequence of LocalizerSpec
        Of the study's.
    annotated : callable
        Returns what :func:`~saltrust.training.data.annotated_images.read_annotations` does for this
        collection and grid.
    overwrite : bool
        Whether those that are trained already are to be trained again.

    Raises
    ------
    UsageError, DataError
        As :func:`train_localizer` would, of architecture, findings, pretrained weights and
        annotations.
    """
    known = [str(name) for name in collection.index["finding"].values]
    waiting = [spec for spec in localizers
               if overwrite or not _is_trained(study.run_folder(spec))]
    if waiting:
        check_splits(collection)
        reference_readers(collection)
    started = []
    with torch.random.fork_rng(devices=[]):
        for spec in waiting:
            findings = localized_findings(spec, known)
            network, _ = _start(study, spec, findings)
            started.append((spec.name, findings, isinstance(network, Detector)))
    for name, findings, complete in started:
        select_data(annotated(), findings, complete=complete, name=name)


@dataclass
class LocalizerTask:
    """Masks or boxes, from radiographs: see :class:`saltrust.training.task.Task`."""

    name: str
    network: nn.Module
    device: torch.device
    data: LocalizerData
    spec: TrainSpec
    preprocessing: Preprocessing
    score_name: str = field(default="minus val loss", init=False)

    def __post_init__(self) -> None:
        self._rows = self.data.rows("train")
        self._weights = torch.from_numpy(self.data.sampling_weights(self._rows))

    def epoch_rows(self, generator: torch.Generator) -> Tensor:
        """All training images, shuffled; or as many, drawn so that classes come alike."""
        if self.spec.balanced:
            return torch.multinomial(self._weights, len(self._rows), replacement=True,
                                     generator=generator)
        return torch.randperm(len(self._rows), generator=generator)

    def loss(self, rows: Tensor, generator: torch.Generator) -> BatchLoss:
        """Sum of the parts of the loss, which the metrics name."""
        batch = self.data.batch(self._rows[rows.numpy()],
                                generator if self.spec.augment else None)
        try:
            parts = self._losses(batch, self._inputs(batch))
        except ValueError as error:  # Batch normalisation of a single value.
            raise DataError(f"localizer {self.name!r} cannot be trained on batches of {len(rows)} "
                            f"at a grid of {batch.pixels.shape[-1]}: {error}") from error
        return BatchLoss(_sum(parts), len(rows),
                         {name: part.detach() for name, part in parts.items()})

    def validate(self) -> Validation:
        """Score: minus the loss, in batches as in training."""
        rows = self.data.rows("val")
        parts, scores = [], []
        with eval_mode(self.network), torch.no_grad():
            for chosen in cut_batches(torch.from_numpy(rows), self.spec.batch_size):
                batch = self.data.batch(chosen.numpy())
                inputs = self._inputs(batch)
                parts.append((len(chosen), self._losses(batch, inputs)))
                scores.append(image_scores(self.network, inputs))
        totals: dict[str, float] = defaultdict(float)
        for n, of_batch in parts:
            for name, part in of_batch.items():
                totals[name] += part.item() * n / len(rows)
        loss = sum(totals.values())
        auc = self._auc(rows, torch.cat(scores).cpu().numpy())
        return Validation(
            -loss, loss,
            {**{f"val_{name}": total for name, total in totals.items()}, "val_auc": auc["mean"],
             **{f"val_auc {name}": value for name, value in auc["findings"].items()}},
            {"val_auc": auc})

    def test(self) -> dict[str, Any]:
        """AUC of the image-level score, and average precision within images."""
        rows = self.data.annotated.images.rows("test")
        if not len(rows):
            _log.warning("localizer %r: there are no test images, so its card has no test AUC",
                         self.name)
            return {"test_auc": None, "test_average_precision": None}
        scores, precision = [], defaultdict(list)
        with eval_mode(self.network), torch.no_grad():
            for chosen in torch.split(torch.from_numpy(rows), self.spec.batch_size):
                batch = self.data.batch(chosen.numpy())
                localization = localize(self.network, self._inputs(batch))
                scores.append(localization.scores)
                for image, column in np.argwhere(self.data.positive[chosen.numpy()]):
                    areas = curve_areas(localization.heatmaps[image, column].numpy(),
                                        batch.masks[image, column].numpy())
                    precision[self.data.findings[column]].append(areas.average_precision)
        return {
            "test_auc": self._auc(rows, torch.cat(scores).numpy()),
            "test_average_precision": {
                name: float(np.mean(precision[name])) if name in precision else None
                for name in self.data.findings},
        }

    def _inputs(self, batch: Batch) -> Tensor:
        return to_input(batch.pixels, self.preprocessing, self.device)

    def _losses(self, batch: Batch, inputs: Tensor) -> dict[str, Tensor]:
        if isinstance(self.network, Detector):
            return self.network.loss(inputs, batch.boxes)
        return segmentation_loss(self.network(inputs), to_device(batch.masks, self.device),
                                 to_device(batch.known, self.device))

    def _auc(self, rows: npt.NDArray[np.intp], scores: npt.NDArray[np.float32]
             ) -> dict[str, Any]:
        labels = self.data.annotated.images.labels[rows][:, self.data.columns]
        return evaluate_auc(scores, labels, self.data.findings)


def segmentation_loss(logits: Tensor, masks: Tensor, known: Tensor) -> dict[str, Tensor]:
    """Focal loss and Dice loss of segmentation-models-pytorch; their sum is trained on.

    The focal loss (gamma 2, no class weights) is a mean over all known pixels, the Dice loss a
    mean over findings of that of the whole batch, 0 where no mask of the batch has a pixel.

    Parameters
    ----------
    logits : Tensor of float, shape (batch, finding, H, W)
    masks : Tensor of bool, shape (batch, finding, H, W)
    known : Tensor of bool, shape (batch, finding)
        Where masks mean something, at least once in the batch.

    Returns
    -------
    dict of str to Tensor
        ``focal`` and ``dice``, scalars.
    """
    logits = logits.float()  # Sums over pixels overflow in half precision.
    target = masks.to(logits.dtype).masked_fill(~known[..., None, None], UNKNOWN)
    return {"focal": _FOCAL(logits, target), "dice": _DICE(logits, target)}


def _is_trained(folder: Path) -> bool:
    weights = folder / WEIGHTS_FILE
    try:
        card = read_card(weights) if weights.exists() else None
    except DataError:
        return True  # What the folder holds is nothing to train over without a word.
    return card is not None and card.get("complete") is True


def _sum(parts: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(parts.values())).sum()


def _start(study: Study, localizer: LocalizerSpec, findings: tuple[str, ...]
           ) -> tuple[nn.Module, dict[str, Any]]:
    with importable_from(study.folder):
        network = build_localizer(localizer.architecture, len(findings), **localizer.arguments)
    preprocessing, assumed = settle_input(localizer.architecture, network, LOCALIZERS,
                                          stated=localizer.input)
    for words in assumed:
        _log.warning("localizer %r: %s", localizer.name, words)
    check_localizer(network, Expected(localizer.architecture, preprocessing, study.size,
                                      len(findings)))
    pretrained = None
    if localizer.pretrained:
        pretrained = fit_pretrained_encoder(network, study.path(localizer.pretrained),
                                            localizer.architecture)
    return network, {
        "kind": "localizer",
        "architecture": localizer.architecture,
        "arguments": dict(localizer.arguments),
        "findings": list(findings),
        "preprocessing": preprocessing.as_dict(),
        "pretrained": pretrained,
        "localizes_by": "boxes" if isinstance(network, Detector) else "pixels",
        "loss": ("the network's own, of boxes" if isinstance(network, Detector)
                 else "focal (gamma 2) + Dice"),
        "decides": "validation loss",
        "image_score": ("score of the best box" if isinstance(network, Detector) else
                        "mean of the non-zero pixels of the map, times 255 and rounded, over 255"),
    }
