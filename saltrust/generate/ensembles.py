"""Ensembles: the mean prediction and the mean heatmap of several models, as one model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from saltrust.generate.batches import (
    ExplainedBatch,
    Resources,
    explain_batch,
    read_explained,
)
from saltrust.generate.network_store import Floats, NetworkStore
from saltrust.generate.plan import PlannedEnsemble, Positions
from saltrust.generate.radiographs import LoadedBatch


def explain_ensemble(ensemble: PlannedEnsemble, stores: Sequence[NetworkStore | None],
                     positions: Positions, loaded: LoadedBatch,
                     resources: Resources) -> ExplainedBatch:
    """Average what the members of an ensemble say of a batch.

    Parameters
    ----------
    ensemble : PlannedEnsemble
    stores : sequence of NetworkStore or None
        Per member, where its finished results are; None where it is computed here, on the
        device, where its module lies already.
    positions : ndarray of int, shape (B,)
        Of the batch in the store.
    loaded : LoadedBatch
    resources : Resources

    Returns
    -------
    ExplainedBatch
        As :func:`mean_batch` of the members.

    Raises
    ------
    DataError
        If the device runs out of memory.
    """
    def results() -> Iterator[ExplainedBatch]:
        for member, store in zip(ensemble.members, stores, strict=True):
            yield (explain_batch(member, loaded, resources) if store is None
                   else read_explained(store, positions))

    return mean_batch(results(), loaded)


def mean_batch(members: Iterator[ExplainedBatch], loaded: LoadedBatch) -> ExplainedBatch:
    r"""Mean of the results of models on one batch, one at a time in memory.

    The probability is the mean of the members' probabilities, as protocol S averages its
    checkpoints; the logit is that of the mean, :math:`\ln \bar p - \ln(1 - \bar p)`, so that
    logit and probability belong together.  Heatmaps are averaged raw, pixel by pixel, and so
    is completeness, which then speaks of the mean of the members' logits.  A pixel that is not
    finite in one member is not finite in the mean.

    Parameters
    ----------
    members : iterator of ExplainedBatch
        At least one.
    loaded : LoadedBatch
        Its decoded radiographs are still to be stored.

    Returns
    -------
    ExplainedBatch
        float32; sums are in float64.
    """
    count = 0
    sums: list[npt.NDArray[np.float64]] = []
    for batch in members:
        logits = batch.logits.astype(np.float64)
        values = [expit(logits), expit(-logits), *batch.heatmaps, *batch.completeness]
        if not sums:
            sums = [np.zeros(item.shape) for item in values]
        # Opposite infinities have no mean, and status will say so.
        with np.errstate(invalid="ignore"):
            for total, item in zip(sums, values, strict=True):
                np.add(total, item, out=total)
        count += 1
    positive, negative, *maps = sums
    with np.errstate(divide="ignore"):
        logit = np.log(positive) - np.log(negative)
    means: list[Floats] = [(total / count).astype(np.float32) for total in (positive, *maps)]
    n = len(maps) // 2
    return ExplainedBatch(loaded.decoded, np.asarray(logit, dtype=np.float32), means[0],
                          means[1:1 + n], means[1 + n:])
