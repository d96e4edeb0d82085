"""One batch of one classifier: explained, and as it is stored."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from saltrust.cache.radiographs import Decoded
from saltrust.errors import DataError
from saltrust.explainers.explain import explain
from saltrust.explainers.methods.xrai.segments import SegmentStore
from saltrust.explainers.passes.context import BatchContext, PassSize
from saltrust.generate.network_store import BatchResults, Floats, NetworkStore
from saltrust.generate.plan import PlannedModel, Positions
from saltrust.generate.radiographs import LoadedBatch
from saltrust.models.preprocessing import Preprocessing, to_input

LOGIT = "prediction/logit"
PROBABILITY = "prediction/probability"
COMPLETENESS = "saliency/completeness"


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
    decoded : dict of int to Decoded
        Still to be stored.
    logits, probabilities : ndarray of float32, shape (B, finding)
    heatmaps : list of ndarray of float32, shape (B, finding, y, x)
        One per explainer, in the order of the cubes.
    completeness : list of ndarray of float32, shape (B, finding)
        Likewise; NaN where the explainer's maps promise no sum.
    """

    decoded: dict[int, Decoded]
    logits: Floats
    probabilities: Floats
    heatmaps: list[Floats]
    completeness: list[Floats]

    def results(self) -> BatchResults:
        """What of it is stored."""
        values = {LOGIT: self.logits, PROBABILITY: self.probabilities}
        if self.heatmaps:
            values[COMPLETENESS] = np.stack(self.completeness, axis=-1)
        return BatchResults(self.decoded, self.heatmaps, values)


def explain_batch(model: PlannedModel, loaded: LoadedBatch,
                  resources: Resources) -> ExplainedBatch:
    """Run a model and its explainers on a batch; the model lies on the device already.

    Parameters
    ----------
    model : PlannedModel
    loaded : LoadedBatch
    resources : Resources

    Raises
    ------
    DataError
        If the device runs out of memory.
    """
    classifier = model.classifier
    try:
        inputs = to_input(loaded.pixels, classifier.preprocessing, resources.device)
        explanation = explain(classifier.module, inputs, classifier.output_index, model.explainers,
                              context=resources.context(loaded, classifier.preprocessing),
                              precision=resources.precision)
        logits = explanation.logits[:, list(classifier.output_index)].to(torch.float32)
        heatmaps = [_to_numpy(explanation.heatmaps[item.name]) for item in model.explainers]
        unknown = torch.full_like(logits, torch.nan)
        completeness = [_to_numpy(explanation.completeness.get(item.name, unknown))
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


def read_explained(store: NetworkStore, positions: Positions) -> ExplainedBatch:
    """Results of a batch that a classifier has left in the store.

    Parameters
    ----------
    store : NetworkStore
        Of the group ``saliency``.
    positions : ndarray of int, shape (B,)
    """
    names = [LOGIT, PROBABILITY, *([COMPLETENESS] if store.has_maps else [])]
    stored = store.read(positions, names)
    completeness = [stored.values[COMPLETENESS][..., explainer]
                    for explainer in range(len(stored.heatmaps))]
    return ExplainedBatch({}, stored.values[LOGIT], stored.values[PROBABILITY],
                          list(stored.heatmaps), completeness)
