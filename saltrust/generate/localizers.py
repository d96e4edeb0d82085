"""Heatmaps and scores of the networks that localise, in ``/localizer``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from saltrust.cache.collection import Collection, Radiograph
from saltrust.cache.schema import Status
from saltrust.cache.writing import StoreWriter, disk_errors
from saltrust.errors import DataError
from saltrust.generate.batch_run import run_batches
from saltrust.generate.plan import Plan, Positions
from saltrust.generate.radiographs import LoadedBatch, RadiographStore
from saltrust.generate.status import map_status
from saltrust.models.localizers.trained_localizer import Localizer
from saltrust.models.preprocessing import to_input

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LocalizedBatch:
    """Results of a batch.

    Attributes
    ----------
    decoded : dict of int to Radiograph
        Still to be stored.
    heatmaps : ndarray of float32, shape (B, f, y, x)
        Of the findings that the localizer is about.
    scores : ndarray of float32, shape (B, f)
    """

    decoded: dict[int, Radiograph]
    heatmaps: Floats
    scores: Floats


def run_localizers(plan: Plan, writer: StoreWriter, collection: Collection, *,
                   progress: bool) -> None:
    """Fill ``/localizer`` with what every localizer of the plan says of the plan's images.

    Batches that are in the store are passed over.

    Raises
    ------
    DataError
        If a radiograph cannot be decoded, the device runs out of memory, or the disk is full;
        the store can be resumed.
    """
    findings = writer.labels("finding")
    for position, localizer in enumerate(plan.localizers):
        columns = np.array([findings.index(name) for name in localizer.findings])

        def compute(_batch: Positions, loaded: LoadedBatch,
                    localizer: Localizer = localizer) -> LocalizedBatch:
            return localize_batch(localizer, loaded, plan.device)

        run_batches(plan, localizer.name, [localizer.module],
                    LocalizerStore(writer, collection, position, columns), compute,
                    progress=progress)


def localize_batch(localizer: Localizer, loaded: LoadedBatch,
                   device: torch.device) -> LocalizedBatch:
    """Run a localizer on a batch; it lies on the device already.

    Raises
    ------
    DataError
        If the device runs out of memory.
    """
    try:
        found = localizer.localize(to_input(loaded.pixels, localizer.preprocessing, device))
    except torch.cuda.OutOfMemoryError as error:
        raise DataError(
            f"{device} ran out of memory localising in {len(loaded.pixels)} images at once with "
            f"model {localizer.name!r}; lower batch_size of [generate] and start again with "
            "--overwrite") from error
    return LocalizedBatch(loaded.decoded, found.heatmaps.numpy(), found.scores.numpy())


class LocalizerStore:
    """The part of ``/localizer`` that belongs to one model.

    Parameters
    ----------
    writer : StoreWriter
    collection : Collection
    model : int
        Position of the model in the group.
    findings : ndarray of int, shape (f,)
        Positions of the findings it is about; of others it has no maps.

    Notes
    -----
    Maps are written first, then scores, then status, so that a status other than missing says
    that everything before it is in the store, whenever the job is killed.
    """

    def __init__(self, writer: StoreWriter, collection: Collection, model: int,
                 findings: Positions) -> None:
        self._writer = writer
        self._model = model
        self._findings = findings
        self._radiographs = RadiographStore(writer, collection)
        self._heatmap = writer.array("localizer/heatmap")

    def _status(self) -> npt.NDArray[np.uint8]:
        status = np.asarray(self._writer.array("localizer/status")[..., self._model])
        return status[:, self._findings]

    def counts(self) -> dict[str, int]:
        """How many maps have which status, by its name."""
        status = self._status()
        return {code.name: int((status == code).sum()) for code in Status}

    def finished(self) -> npt.NDArray[np.bool_]:
        """Whether each image of the store has all its maps of this model."""
        done = (self._status() != Status.MISSING).all(axis=1)
        return np.asarray(done & self._radiographs.stored)

    def load(self, positions: Positions) -> LoadedBatch:
        """Pixels of a batch, as :meth:`saltrust.generate.radiographs.RadiographStore.load`."""
        return self._radiographs.load(positions)

    def store(self, positions: Positions, batch: LocalizedBatch) -> None:
        """Write all results of a batch.

        Raises
        ------
        DataError
            If the disk is full; the store stays as it is, unfinished.
        """
        n_findings = self._heatmap.shape[1]
        with disk_errors(self._writer.partial):
            self._radiographs.store(batch.decoded)
            for position, maps in zip(positions.tolist(), batch.heatmaps, strict=True):
                # All findings of an image are one shard, so this is one file.
                block = np.full((n_findings, *maps.shape[1:]), np.nan, np.float32)
                block[self._findings] = maps
                self._heatmap[position, :, self._model] = block
            self._store_small("score", positions, batch.scores)
            self._store_small("status", positions, map_status(batch.heatmaps))

    def _store_small(self, name: str, positions: Positions, values: npt.NDArray[Any]) -> None:
        # Selected with a list, the model stays a dimension.
        where: Any = (positions, self._findings, np.array([self._model]))
        self._writer.array(f"localizer/{name}").set_orthogonal_selection(where, values[..., None])
