"""One network, or several that are averaged, on all batches of a job."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from torch import nn
from tqdm import tqdm

from saltrust.generate.pipeline import overlap
from saltrust.generate.plan import Plan, Positions
from saltrust.generate.radiographs import LoadedBatch

_log = logging.getLogger(__name__)

Results = TypeVar("Results")
_Stored_contra = TypeVar("_Stored_contra", contravariant=True)


class BatchStore(Protocol[_Stored_contra]):
    """A part of a store that is filled by batches, such as a ``NetworkStore``."""

    def finished(self) -> npt.NDArray[np.bool_]:
        """Whether each image of the store has all it is to have."""

    def counts(self) -> dict[str, int]:
        """How many maps have which status, by its name."""

    def load(self, positions: npt.NDArray[Any], /) -> LoadedBatch:
        """Pixels of a batch."""

    def store(self, positions: npt.NDArray[Any], results: _Stored_contra, /) -> None:
        """Write what was computed of a batch."""


def run_batches(plan: Plan, name: str, modules: Sequence[nn.Module],
                store: BatchStore[Results],
                compute: Callable[[Positions, LoadedBatch], Results | Callable[[], Results]], *,
                progress: bool) -> None:
    """Load, compute and store every batch that is not finished.

    Parameters
    ----------
    plan : Plan
    name : str
        Of the model, for the bar and for warnings.
    modules : sequence of torch.nn.Module
        They lie on the plan's device while this lasts.
    store : BatchStore
    compute : callable
        From the positions and pixels of a batch to what ``store`` takes, or to a function that
        waits for it: called by the thread that stores, while the next batch is begun.
    progress : bool

    Raises
    ------
    DataError
        If a radiograph cannot be decoded, the device runs out of memory, or the disk is full.
    """
    finished = store.finished()
    batches = [batch for batch in plan.batches() if not finished[batch].all()]
    for module in modules:
        module.to(plan.device)

    def keep(batch: Positions, computed: Results | Callable[[], Results]) -> None:
        store.store(batch, computed() if callable(computed) else computed)

    bar = tqdm(
        desc=name,
        unit="image",
        total=len(plan.images),
        initial=len(plan.images) - sum(map(len, batches)),
        disable=None if progress else True,
    )
    try:
        with bar, closing(overlap(batches, store.load, compute, keep)) as stored:
            for batch in stored:
                bar.update(len(batch))
    finally:
        for module in modules:
            module.to("cpu")
    _warn_of_useless_maps(name, store.counts())


def _warn_of_useless_maps(model: str, counts: dict[str, int]) -> None:
    useless = {"flat": counts.get("FLAT", 0), "not finite": counts.get("NONFINITE", 0)}
    counted = [f"{count} {what}" for what, count in useless.items() if count]
    if counted:
        computed = sum(counts.values()) - counts["MISSING"]
        _log.warning("model %r: of %d heatmaps %s; their status says so", model, computed,
                     " and ".join(counted))
