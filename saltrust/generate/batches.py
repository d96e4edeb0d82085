"""One batch of one model: loaded from the data set, explained, stored."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from saltrust.cache.collection import Collection, Radiograph
from saltrust.cache.schema import Status
from saltrust.cache.writing import StoreWriter, disk_errors
from saltrust.errors import DataError
from saltrust.explainers.explain import explain
from saltrust.explainers.methods.xrai.segments import SegmentStore
from saltrust.explainers.passes.context import BatchContext, PassSize
from saltrust.generate.plan import PlannedModel, Positions
from saltrust.generate.radiographs import LoadedBatch, RadiographStore
from saltrust.generate.status import map_status
from saltrust.models.preprocessing import Preprocessing, to_input

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Resources:
    """What all batches of a job share, whatever the model.

    Attributes
    ----------
    device : torch.device
    seed : int
        Of the noise that explainers add.
    passes : PassSize
    precision : str
        In which heatmaps are computed.
    segments : SegmentStore
    """

    device: torch.device
    seed: int
    passes: PassSize
    precision: str = "float32"
    segments: SegmentStore = field(default_factory=SegmentStore)

    def context(self, loaded: LoadedBatch, preprocessing: Preprocessing) -> BatchContext:
        """What explainers may know of a batch."""
        ends = to_input(np.array([[[0, 255]]], np.uint8), preprocessing, self.device)
        return BatchContext(loaded.images, ends[..., :1], ends[..., 1:], self.seed,
                            loaded.pixels, self.passes, self.segments)


@dataclass(frozen=True)
class ExplainedBatch:
    """Results of a batch.

    Attributes
    ----------
    decoded : dict of int to Radiograph
        Still to be stored.
    logits, probabilities : ndarray of float32, shape (B, finding)
    heatmaps : list of ndarray of float32, shape (B, finding, y, x)
        One per explainer, in the order of the cubes.
    completeness : list of ndarray of float32, shape (B, finding)
        Likewise; NaN where the explainer's maps promise no sum.
    """

    decoded: dict[int, Radiograph]
    logits: Floats
    probabilities: Floats
    heatmaps: list[Floats]
    completeness: list[Floats]


def explain_batch(model: PlannedModel, loaded: LoadedBatch,
                  resources: Resources) -> ExplainedBatch:
    """Run a model and its explainers on a batch; the model lies on the device already.

    Raises
    ------
    DataError
        If the device runs out of memory.
    """
    classifier = model.classifier
    try:
        inputs = to_input(loaded.pixels, classifier.preprocessing, resources.device)
        found = explain(classifier.module, inputs, classifier.output_index, model.explainers,
                        context=resources.context(loaded, classifier.preprocessing),
                        precision=resources.precision)
        logits = found.logits[:, list(classifier.output_index)].to(torch.float32)
        heatmaps = [_to_numpy(found.heatmaps[item.name]) for item in model.explainers]
        unknown = torch.full_like(logits, torch.nan)
        completeness = [_to_numpy(found.completeness.get(item.name, unknown))
                        for item in model.explainers]
        return ExplainedBatch(loaded.decoded, _to_numpy(logits), _to_numpy(logits.sigmoid()),
                              heatmaps, completeness)
    except torch.cuda.OutOfMemoryError as error:
        raise DataError(
            f"{resources.device} ran out of memory explaining {len(loaded.pixels)} images at once "
            f"with model {classifier.name!r}; lower batch_size of [generate] and start again with "
            "--overwrite"
        ) from error


def _to_numpy(values: torch.Tensor) -> Floats:
    array: Floats = values.to("cpu", torch.float32).numpy()
    return array


class ModelStore:
    """The part of a store that belongs to one model: what is done, what is next.

    Parameters
    ----------
    writer : StoreWriter
    collection : Collection
        Where radiographs come from that are not in the store yet.
    model : int
        Position of the model in the cubes.
    n_explainers : int

    Notes
    -----
    Maps are written first, then predictions, then status, so that a status other than missing
    says that everything before it is in the store, whenever the job is killed.
    """

    def __init__(self, writer: StoreWriter, collection: Collection, model: int,
                 n_explainers: int) -> None:
        self._writer = writer
        self._model = model
        self._radiographs = RadiographStore(writer, collection)
        self._heatmap = writer.array("saliency/heatmap") if n_explainers else None

    def counts(self) -> dict[str, int]:
        """How many maps of the model have which status, by its name."""
        if self._heatmap is None:
            return {}
        status = np.asarray(self._writer.array("saliency/status")[..., self._model])
        return {code.name: int((status == code).sum()) for code in Status}

    def finished(self) -> npt.NDArray[np.bool_]:
        """Whether each image of the store has all its results of this model."""
        if self._heatmap is not None:
            status = np.asarray(self._writer.array("saliency/status")[..., self._model])
            done = (status != Status.MISSING).all(axis=(1, 2))
        else:
            probability = np.asarray(
                self._writer.array("prediction/probability")[..., self._model])
            done = np.isfinite(probability).all(axis=1)
        return np.asarray(done & self._radiographs.stored)

    def load(self, positions: Positions) -> LoadedBatch:
        """Pixels of a batch, as :meth:`saltrust.generate.radiographs.RadiographStore.load`."""
        return self._radiographs.load(positions)

    def read(self, positions: Positions) -> ExplainedBatch:
        """Results of a batch that is in the store already."""
        def of_images(name: str) -> npt.NDArray[Any]:
            where: Any = (positions, *[slice(None)] * (self._writer.array(name).ndim - 2),
                          np.array([self._model]))
            values = self._writer.array(name).get_orthogonal_selection(where)
            return np.asarray(values)[..., 0]

        heatmaps: list[Floats] = []
        completeness: list[Floats] = []
        if self._heatmap is not None:
            gaps = of_images("saliency/completeness")
            for explainer in range(self._heatmap.shape[2]):
                heatmaps.append(np.stack([
                    np.asarray(self._heatmap[position, :, explainer, self._model])
                    for position in positions.tolist()]))
                completeness.append(gaps[..., explainer])
        return ExplainedBatch({}, of_images("prediction/logit"),
                              of_images("prediction/probability"), heatmaps, completeness)

    def store(self, positions: Positions, batch: ExplainedBatch) -> None:
        """Write all results of a batch.

        Raises
        ------
        DataError
            If the disk is full; the store stays as it is, unfinished.
        """
        with disk_errors(self._writer.partial):
            self._radiographs.store(batch.decoded)
            if self._heatmap is not None:
                for explainer, maps in enumerate(batch.heatmaps):
                    for position, block in zip(positions.tolist(), maps, strict=True):
                        # All findings of an image are one shard, so this is one file.
                        self._heatmap[position, :, explainer, self._model] = block
            self._store_small("prediction/logit", positions, batch.logits)
            self._store_small("prediction/probability", positions, batch.probabilities)
            if self._heatmap is not None:
                status = np.stack([map_status(maps) for maps in batch.heatmaps], axis=-1)
                completeness = np.stack(batch.completeness, axis=-1)
                self._store_small("saliency/completeness", positions, completeness)
                self._store_small("saliency/status", positions, status)

    def _store_small(self, name: str, positions: Positions, values: npt.NDArray[Any]) -> None:
        # Selected with a list, the model stays a dimension.
        where: Any = (positions, *[slice(None)] * (values.ndim - 1), np.array([self._model]))
        self._writer.array(name).set_orthogonal_selection(where, values[..., None])
