"""Training one gaze-guided classifier of a study (protocol W)."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from saltrust.cache.collection import Collection
from saltrust.cache.schema import Label
from saltrust.errors import DataError, UsageError
from saltrust.explainers.passes.differentiable import differentiable_map
from saltrust.models.classifiers.decoding import DECODER_LOSSES, DecodingClassifier
from saltrust.models.eval_mode import eval_mode
from saltrust.models.preprocessing import Preprocessing, to_input
from saltrust.models.transfers import to_device
from saltrust.study import GuidanceSpec, ModelSpec, Study
from saltrust.training.data.augmentation import draw_variation, move_maps, vary
from saltrust.training.data.gaze_targets import GazeTargets, check_gaze, read_gaze
from saltrust.training.data.images import LabeledImages, read_images
from saltrust.training.data.targets import label_loss
from saltrust.training.losses.guidance import (
    MARGIN,
    NEEDS_GAZE,
    NEEDS_MAP,
    MapLosses,
    map_losses,
)
from saltrust.training.runs.resuming import note_images
from saltrust.training.runs.run import Run
from saltrust.training.session import train_entry
from saltrust.training.task import BatchLoss, Validation
from saltrust.training.tasks.classifier import (
    ClassifierTask,
    check_labels,
    selected_columns,
    start_network,
)

_log = logging.getLogger(__name__)

#: Options of ``[models.guidance]`` that say what the map is.
MAP_SETTINGS = ("rule", "explained", "channels", "sign", "smoothing", "scaling")

_EXPLAINED = {"predicted": "the class of the highest logit",
              "labelled": "the sum of the logits of the classes labelled positive, of all where "
                          "an image has none",
              "all": "the sum of the logits of all classes"}
_CHANNELS = {"sum": "summed", "largest": "the value of largest magnitude"}
_SIGN = {"absolute": "magnitude", "positive": "positive part", "signed": "signed"}
_SCALING = {"max": "divided by the maximum of the image's map",
            "minmax": "from the minimum to the maximum of the image's map",
            "none": "not scaled: the map is taken for logits"}


def train_guided(
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
    """Train one classifier with the loss of its ``guidance`` and leave a run folder.

    It goes as in :func:`saltrust.training.tasks.classifier.train`, with the losses of
    :mod:`saltrust.training.losses.guidance`: the metrics have every part of the loss, the card says
    what the map is and how many images have gaze.  An image without gaze adds its classification
    loss and nothing else.

    Parameters
    ----------
    collection : Collection
        With splits by patient and gaze.
    study : Study
        Gives the grid, the seed and ``[train]``.
    model : ModelSpec
        Gives architecture, guidance, its own seed, settings and pretrained weights.
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

    Raises
    ------
    UsageError
        As there; or if the network has no decoder and the loss needs one, or the data set has no
        such reader.
    DataError
        As there; or if the data set has no gaze, or none of a training image, or the network
        has no rectifier on which the rule of the map could act.
    """
    def begin(run: Run) -> Any:
        spec = model.guidance
        findings = tuple(str(name) for name in collection.index["finding"].values)
        selected = selected_columns(findings, run.spec.selection_findings)
        if spec.loss in NEEDS_GAZE:
            check_gaze(collection, spec.reader)
        if run.spec.uncertain == "three-class" and spec.loss in NEEDS_MAP:
            raise UsageError(f"model {model.name!r}: loss {spec.loss!r} explains one logit per "
                             "finding, and uncertain = \"three-class\" has three; choose another "
                             "policy for uncertain labels")
        network, facts = start_network(study, model, findings, run.spec.uncertain)
        preprocessing = Preprocessing.from_dict(facts["preprocessing"])
        check_guidance(model, network, preprocessing, study.size)
        run.card |= facts | {"guidance": describe(spec)}

        def make_task() -> GuidedTask:
            read = (images() if images is not None
                    else read_images(collection, study.size, progress=progress))
            note_images(read, run)
            check_labels(read, selected)
            gaze = None
            if spec.loss in NEEDS_GAZE:
                gaze = read_gaze(collection, read, spec.reader, progress=progress)
                _warn_of_missing(run.name, read, gaze)
            return GuidedTask(run.name, network.to(run.device), run.device, read, run.spec,
                              preprocessing, selected, guidance=spec, gaze=gaze)

        return make_task

    return train_entry(collection, study, model, begin, device=device, overwrite=overwrite,
                       resume=resume, progress=progress)


def describe(spec: GuidanceSpec) -> dict[str, Any]:
    """What of a guidance acts under its loss, for the card; under ``map``, in words."""
    acts = ["loss"]
    if spec.loss != "classification":
        acts.append("classification_weight")
    if spec.loss == "set3":
        acts.append("map_weight")
    if spec.loss in NEEDS_MAP:
        acts += MAP_SETTINGS
    if spec.loss == "set2":
        acts.append("detach")
    content: dict[str, Any] = {name: getattr(spec, name) for name in acts}
    if spec.loss in NEEDS_GAZE:
        content["reader"] = spec.reader or "mean over readers"
    if spec.loss in NEEDS_MAP:
        content["map"] = {
            "rule": f"{spec.rule}, at every rectifier of the network in evaluation mode",
            "explained": _EXPLAINED[spec.explained],
            "channels": _CHANNELS[spec.channels],
            "values": _SIGN[spec.sign],
            "smoothing": (f"Gaussian, sigma {spec.smoothing:g} of the grid" if spec.smoothing
                          else "none"),
            "scaling": _SCALING[spec.scaling],
            "in the loss": _describe_use_in_loss(spec),
            **({"detached": spec.detach} if spec.loss == "set2" else {}),
        }
    return content


def _describe_use_in_loss(spec: GuidanceSpec) -> str:
    if spec.loss == "set2":
        return "by its sigmoid, as a target" if spec.scaling == "none" else "as a target in [0, 1]"
    return ("as logits" if spec.scaling == "none"
            else f"by its logit, kept {MARGIN:g} from 0 and 1")


def check_guidance(model: ModelSpec, network: nn.Module, preprocessing: Preprocessing,
                   size: tuple[int, int]) -> None:
    """Try decoder and map of a network on one black image, to learn at once what does not fit.

    Parameters
    ----------
    model : ModelSpec
        Its ``guidance`` says what is needed of the network.
    network : torch.nn.Module
    preprocessing : Preprocessing
    size : (int, int)
        Height and width of the images, in pixels.

    Raises
    ------
    UsageError
        If the loss needs a decoder and the network has none, or one of another shape.
    DataError
        If the rule of the map finds no rectifier.
    """
    spec = model.guidance
    black = to_input(torch.zeros(1, *size, dtype=torch.uint8), preprocessing)
    if spec.loss in DECODER_LOSSES:
        if model.output.kind not in ("", "logits"):
            raise UsageError(f"model {model.name!r}: loss {spec.loss!r} of [models.guidance] takes "
                             "logits from `with_decoder`; leave `kind` of [models.output] out")
        if not isinstance(network, DecodingClassifier):
            raise UsageError(
                f"model {model.name!r}: loss {spec.loss!r} of [models.guidance] needs a decoder, "
                f"and architecture {model.architecture!r} has none; take efficientnet_unet or "
                "phantom_unet, give your network the method `with_decoder`, or loss = \"set1\"")
        with eval_mode(network), torch.no_grad():
            _, decoded = network.with_decoder(black)
        if tuple(decoded.shape) != (1, *size):
            raise UsageError(f"model {model.name!r}: the decoder must return (batch, {size[0]}, "
                             f"{size[1]}) at this grid, not {tuple(decoded.shape)} for one image")
    if spec.loss in NEEDS_MAP:
        try:
            differentiable_map(network, black, torch.ones_like, spec.rule)
        except DataError as error:
            raise DataError(f"model {model.name!r}: {error}") from None


def _warn_of_missing(name: str, images: LabeledImages, gaze: GazeTargets) -> None:
    total = len(images.rows("train"))
    without = total - gaze.counts(images)["train"]
    if without:
        _log.warning("model %r: %d of %d training images have no gaze and are learned from for "
                     "classification only", name, without, total)


@dataclass
class GuidedTask(ClassifierTask):
    """Findings as labelled and maps as looked at: see :class:`saltrust.training.task.Task`."""

    guidance: GuidanceSpec = dataclasses.field(kw_only=True)
    gaze: GazeTargets | None = dataclasses.field(kw_only=True)

    def loss(self, rows: Tensor, generator: torch.Generator) -> BatchLoss:
        """Weighted sum of the classification loss and the losses of maps."""
        at = self._rows[rows.numpy()]
        pixels = to_device(torch.from_numpy(self.images.pixels[at]), self.device)
        seen = self._gaze_of(at)
        if self.spec.augment:
            drawn = draw_variation(len(pixels), generator, self.device)
            pixels = vary(pixels, drawn.shift, drawn.angle, drawn.contrast)
            # What comes in from beyond the border was not looked at.
            seen = None if seen is None else move_maps(seen, drawn.shift, drawn.angle)
        inputs = to_input(pixels, self.preprocessing, self.device)
        logits, decoded = self._outputs(inputs)
        classified, count = label_loss(logits.float(), self.images.labels[at],
                                       self.spec.uncertain)
        value, parts = classified, {"loss_classification": classified.detach()}
        if self.guidance.loss != "classification":
            with torch.autocast(self.device.type, enabled=False):
                guided = self._losses_of_maps(inputs, decoded, seen, at)
            share = self.guidance.classification_weight
            value = share * classified + (1 - share) * guided.value
            parts |= {f"loss_{name}": part.detach() for name, part in guided.named.items()}
        return BatchLoss(value, count, parts)

    def validate(self) -> Validation:
        """Score: mean AUC of the selected findings; the loss is that of training."""
        validation = super().validate()
        if self.gaze is not None:
            validation = dataclasses.replace(validation, card={
                **validation.card, "images_with_gaze": self.gaze.counts(self.images)})
        if self.guidance.loss == "classification" or not np.isfinite(validation.loss):
            return validation
        sums: dict[str, float] = {}
        rows = self.images.rows("val")
        with eval_mode(self.network):
            for start in range(0, len(rows), self.spec.batch_size):
                at = rows[start:start + self.spec.batch_size]
                part = self._validation_losses(at)
                for name, value in {"guidance": part.value, **part.named}.items():
                    sums[name] = sums.get(name, 0.0) + value.item() * len(at) / len(rows)
        share = self.guidance.classification_weight
        columns = {"val_loss_classification": validation.loss,
                   **{f"val_loss_{name}": value for name, value in sums.items()
                      if name != "guidance"}}
        return dataclasses.replace(
            validation, loss=share * validation.loss + (1 - share) * sums["guidance"],
            columns={**validation.columns, **columns})

    def _validation_losses(self, at: npt.NDArray[np.intp]) -> MapLosses:
        inputs = to_input(self.images.pixels[at], self.preprocessing, self.device)
        with torch.no_grad():
            _, decoded = self._outputs(inputs)
        return self._losses_of_maps(inputs, decoded, self._gaze_of(at), at)

    def _gaze_of(self, at: npt.NDArray[np.intp]) -> Tensor | None:
        return None if self.gaze is None else to_device(
            torch.from_numpy(self.gaze.of(at)), self.device)

    def _outputs(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        try:
            if self.guidance.loss in DECODER_LOSSES:
                assert isinstance(self.network, DecodingClassifier)
                logits, decoded = self.network.with_decoder(inputs)
                return logits, decoded.float()
            return self.network(inputs), None
        except ValueError as error:  # Batch normalisation of a single value.
            raise self.size_error(len(inputs), error) from error

    def _losses_of_maps(self, inputs: Tensor, decoded: Tensor | None, seen: Tensor | None,
                        at: npt.NDArray[np.intp]) -> MapLosses:
        def of_images(values: npt.NDArray[np.bool_]) -> Tensor:
            return to_device(torch.from_numpy(values), inputs.device)

        return map_losses(
            self.network, inputs, decoded, seen,
            None if self.gaze is None else of_images(self.gaze.known[at]),
            of_images(self.images.labels[at] == Label.POSITIVE), self.guidance)
