"""The stage that fills ``/faithfulness``, once all maps of trained models are stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from saltrust.cache.schema import GROUPS, Status
from saltrust.cache.writing import StoreWriter
from saltrust.errors import DataError
from saltrust.explainers.explain import explain
from saltrust.explainers.passes.context import BatchContext
from saltrust.generate.batch_run import run_batches
from saltrust.generate.batches import Resources
from saltrust.generate.faithfulness.curves import image_curves
from saltrust.generate.faithfulness.measures import Explained, infidelity_of, sensitivity_of
from saltrust.generate.faithfulness.perturbation import Subject
from saltrust.generate.faithfulness.plan import FaithfulnessPlan
from saltrust.generate.faithfulness.prediction import Predictor
from saltrust.generate.network_store import NetworkStore
from saltrust.generate.plan import Plan, PlannedModel, Positions
from saltrust.generate.radiographs import LoadedBatch, RadiographStore

#: Of one image: values by name of the variable.
Values = dict[str, npt.NDArray[Any]]
#: Where variables have the dimension of models.
_MODEL_AXIS = {variable.name: variable.dims.index("model")
               for variable in GROUPS["faithfulness"].variables if "model" in variable.dims}


@dataclass(frozen=True)
class CurveStore:
    """The part of ``/faithfulness`` that belongs to one model.

    Attributes
    ----------
    writer : StoreWriter
    radiographs : RadiographStore
        Of the same store.
    model : int
        Its position in the store.
    asked : ndarray of bool, shape (image, finding)
    """

    writer: StoreWriter
    radiographs: RadiographStore
    model: int
    asked: npt.NDArray[np.bool_]

    def finished(self) -> npt.NDArray[np.bool_]:
        """Whether each image of the store has all that is asked of it, or can have none."""
        status = np.asarray(self.writer.array("faithfulness/status")[..., self.model])
        done = (status != Status.MISSING).all(axis=2) | ~self.asked
        whole = done.all(axis=1) & (self.radiographs.stored | ~self.asked.any(axis=1))
        return np.asarray(whole | self.radiographs.left_out)

    def counts(self) -> dict[str, int]:
        """Nothing: what became of the maps was said when they were made."""
        return {}

    def load(self, positions: Positions) -> LoadedBatch:
        """Pixels of a batch, as :meth:`saltrust.generate.radiographs.RadiographStore.load`."""
        return self.radiographs.load(positions)

    def store(self, positions: Positions, results: dict[int, Values]) -> None:
        """Write what was computed of images of a batch; status last.

        Raises
        ------
        DataError
            If the disk is full; the store stays as it is, unfinished.
        """
        with self.writer.writing():
            present = [position for position in positions.tolist() if position in results]
            # All of a batch at once: a chunk holds many images.
            for name in results[present[0]] if present else ():
                array = self.writer.array(f"faithfulness/{name}")
                values = np.stack([results[position][name] for position in present])
                at = [np.array(present), *map(np.arange, array.shape[1:])]
                if name in _MODEL_AXIS:
                    axis = _MODEL_AXIS[name]
                    at[axis] = np.array([self.model])
                    values = np.expand_dims(values, axis)
                array.set_orthogonal_selection(tuple(at), values)


def run_faithfulness(plan: Plan, writer: StoreWriter, radiographs: RadiographStore,
                     resources: Resources, *, progress: bool) -> None:
    """Fill ``/faithfulness`` from the maps in the store; images that are in it are passed over.

    What is computed of an image depends on nothing but the image, its maps and the seed.

    Parameters
    ----------
    plan : Plan
    writer : StoreWriter
    radiographs : RadiographStore
        Of the same store, all of the plan's images in it that can be read.
    resources : Resources
    progress : bool

    Raises
    ------
    DataError
        If the device runs out of memory, or the disk is full; the store can be resumed.
    """
    wanted = plan.faithfulness
    if wanted is None:
        return
    stored: list[tuple[str, tuple[PlannedModel, ...]]] = [
        *((model.classifier.name, (model,)) for model in plan.models),
        *((ensemble.name, ensemble.members) for ensemble in plan.ensembles)]
    for position, (name, members) in enumerate(stored):
        store = CurveStore(writer, radiographs, position, wanted.asked)
        stage = _Stage(wanted, Predictor(members, resources),
                       NetworkStore(writer, radiographs, "saliency", (position,)), store)
        run_batches(plan, f"faithfulness of {name}",
                    [member.classifier.module for member in members], store, stage.compute,
                    progress=progress)


@dataclass(frozen=True)
class _Stage:
    """What is computed of the batches of one model."""

    plan: FaithfulnessPlan
    predictor: Predictor
    maps: NetworkStore
    store: CurveStore

    def compute(self, positions: Positions, loaded: LoadedBatch) -> dict[int, Values]:
        """Values of the images of a batch that lack them."""
        finished = self.store.finished()
        rows = [row for row, position in enumerate(positions.tolist())
                if not finished[position] and row not in loaded.absent]
        status = np.asarray(self.store.writer.array("saliency/status")[..., self.maps.at[0]])
        results = {}
        for row in rows:
            position = int(positions[row])
            # One image at a time: the maps of a batch are as much as all that made them.
            maps = np.stack(self.maps.read(positions[row:row + 1], []).heatmaps, axis=2)[0]
            results[position] = self._of_image(loaded, row, maps, np.where(
                self.plan.asked[position, :, None], status[position], np.uint8(Status.MISSING)))
        return results

    def _of_image(self, loaded: LoadedBatch, row: int, maps: npt.NDArray[np.float32],
                  status: npt.NDArray[np.uint8]) -> Values:
        image = loaded.images[row]
        subject = Subject.of(loaded.pixels[row], image, self.plan, self.predictor.resources.device)
        curves = image_curves(lambda planes: self.predictor.logits(planes).sigmoid(), subject,
                              maps, status, image, self.plan)
        values: Values = {"curve": curves.curve, "removed": curves.removed,
                          "random": curves.random}
        explained = Explained(subject.gray, maps, status, image, self.plan.seed)
        if "infidelity" in self.plan.spec.metrics:
            evidence = tuple(item.reading == "positive"
                             for item in self.predictor.members[0].explainers)
            values["infidelity"] = infidelity_of(explained, self.predictor.logits, evidence)
        if "sensitivity" in self.plan.spec.metrics:
            values["sensitivity"] = sensitivity_of(explained, lambda planes: _explain_again(
                self.predictor, planes, image))
        lost = ~np.isfinite(curves.curve).all(axis=(2, 3))
        known = status != Status.MISSING
        return {**values, "status": np.where(
            known & lost, np.uint8(Status.NONFINITE), status).astype(np.uint8)}


def _explain_again(predictor: Predictor, planes: Tensor, image: str) -> Tensor:
    """Maps of one changed radiograph, (1, finding, explainer, y, x), the mean over members."""
    total: list[Tensor] = []
    resources = predictor.resources
    for member in predictor.members:
        black, white = (predictor.inputs(member, torch.full_like(planes[:, :1, :1], level))
                        for level in (0.0, 1.0))
        context = BatchContext((image,), black, white, resources.seed, passes=resources.passes)
        classifier = member.classifier
        try:
            explanation = explain(classifier.module, predictor.inputs(member, planes),
                                  classifier.output_index, member.explainers, context=context,
                                  precision=resources.precision)
        except torch.cuda.OutOfMemoryError as error:
            raise DataError(f"{resources.device} ran out of memory explaining one image with model "
                            f"{classifier.name!r}; take another device") from error
        total.append(torch.stack([explanation.heatmaps[item.name].detach()
                                  for item in member.explainers], dim=2))
    return _mean(total)


def _mean(maps: Sequence[Tensor]) -> Tensor:
    return maps[0] if len(maps) == 1 else torch.stack(list(maps)).mean(dim=0)
