"""One batch of one classifier: explained, and as it is stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from saltrust.cache.radiographs import Decoded
from saltrust.explainers.explain import explain
from saltrust.explainers.methods.xrai.segments import SegmentStore
from saltrust.explainers.passes.context import BatchContext, PassSize
from saltrust.generate.halving import ImagesAtOnce, within_memory
from saltrust.generate.network_store import BatchResults, Floats, NetworkStore
from saltrust.generate.plan import PlannedModel, Positions
from saltrust.generate.radiographs import LoadedBatch
from saltrust.models.preprocessing import Preprocessing, to_input
from saltrust.models.transfers import begin_copies

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
    together : ImagesAtOnce
    """

    device: torch.device
    seed: int
    passes: PassSize
    precision: str = "float32"
    segments: SegmentStore = field(default_factory=SegmentStore)
    together: ImagesAtOnce = field(default_factory=ImagesAtOnce)

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
    """Run a model and its explainers on a batch, as :func:`begin_batch`, and wait for the end."""
    return begin_batch(model, loaded, resources)()


def begin_batch(model: PlannedModel, loaded: LoadedBatch,
                resources: Resources) -> Callable[[], ExplainedBatch]:
    """Give a batch to a model and its explainers; the model lies on the device already.

    A GPU is given the work and computes while the caller goes on.  Where it runs out of memory,
    images are explained in smaller parts.

    Parameters
    ----------
    model : PlannedModel
    loaded : LoadedBatch
    resources : Resources

    Returns
    -------
    callable
        Without arguments; waits for the results and returns them.

    Raises
    ------
    DataError
        If the device runs out of memory with a single image.
    """
    def begin(part: LoadedBatch) -> Callable[[], ExplainedBatch]:
        return _begin_part(model, part, resources)

    parts = within_memory(begin, loaded, resources.together, resources.device,
                          f"explaining with model {model.classifier.name!r}")
    return lambda: _joined([finish() for finish in parts], loaded.decoded)


def _begin_part(model: PlannedModel, loaded: LoadedBatch,
                resources: Resources) -> Callable[[], ExplainedBatch]:
    classifier = model.classifier
    inputs = to_input(loaded.pixels, classifier.preprocessing, resources.device)
    explanation = explain(classifier.module, inputs, classifier.output_index, model.explainers,
                          context=resources.context(loaded, classifier.preprocessing),
                          precision=resources.precision)
    logits = explanation.logits[:, list(classifier.output_index)].to(torch.float32)
    unknown = torch.full_like(logits, torch.nan)
    names = [item.name for item in model.explainers]
    copies = begin_copies([
        logits, logits.sigmoid(), *(explanation.heatmaps[name] for name in names),
        *(explanation.completeness.get(name, unknown) for name in names)])

    def finish() -> ExplainedBatch:
        of_logits, probabilities, *rest = copies()
        return ExplainedBatch({}, of_logits, probabilities, rest[:len(names)], rest[len(names):])

    return finish


def _joined(parts: Sequence[ExplainedBatch], decoded: dict[int, Decoded]) -> ExplainedBatch:
    """Parts of one batch as one, in their order."""
    if len(parts) == 1:
        return replace(parts[0], decoded=decoded)
    return ExplainedBatch(
        decoded, np.concatenate([part.logits for part in parts]),
        np.concatenate([part.probabilities for part in parts]),
        [np.concatenate(maps) for maps in zip(*(part.heatmaps for part in parts), strict=True)],
        [np.concatenate(gaps) for gaps in zip(*(part.completeness for part in parts),
                                              strict=True)])


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
