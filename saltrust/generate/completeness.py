"""Whether maps add up to what their explainer promises."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from saltrust.generate.batches import ExplainedBatch

#: What part of the change of the logits maps may miss before it is worth a warning.
TOLERATED = 0.1


class CompletenessCheck:
    """Adds up, over a job's batches, by how much maps miss the change of their logit.

    Parameters
    ----------
    explainers : sequence of str
        In the order of the batches' heatmaps.
    """

    def __init__(self, explainers: Sequence[str]) -> None:
        self._explainers = tuple(explainers)
        self._gap = np.zeros(len(self._explainers))
        self._change = np.zeros(len(self._explainers))

    def add(self, batch: ExplainedBatch) -> None:
        """Take a batch into account; maps that are not finite are left out."""
        for position, (maps, gap) in enumerate(
                zip(batch.heatmaps, batch.completeness, strict=True)):
            usable = np.isfinite(gap)
            total = maps[usable].sum(axis=(-2, -1), dtype=np.float64)
            self._gap[position] += np.abs(gap[usable]).sum()
            self._change[position] += np.abs(total - gap[usable]).sum()

    def missed(self) -> dict[str, float]:
        """Of explainers that miss more than is tolerated: the sum of gaps over that of changes."""
        with np.errstate(divide="ignore", invalid="ignore"):
            parts = self._gap / self._change
        return {name: float(part) for name, part in zip(self._explainers, parts, strict=True)
                if np.isfinite(part) and part > TOLERATED}
