"""Heatmaps and scores of the networks that localise, in ``/localizer``."""

from __future__ import annotations

import numpy as np
import torch

from saltrust.cache.writing import StoreWriter
from saltrust.errors import DataError
from saltrust.generate.batch_run import run_batches
from saltrust.generate.network_store import BatchResults, NetworkStore
from saltrust.generate.plan import Plan, Positions
from saltrust.generate.radiographs import LoadedBatch, RadiographStore
from saltrust.models.localizers.trained_localizer import Localizer
from saltrust.models.preprocessing import to_input


def run_localizers(plan: Plan, writer: StoreWriter, radiographs: RadiographStore, *,
                   progress: bool) -> None:
    """Fill ``/localizer`` with what every localizer of the plan says of the plan's images.

    Batches that are in the store are passed over.

    Parameters
    ----------
    plan : Plan
    writer : StoreWriter
    radiographs : RadiographStore
        Of the same store.
    progress : bool

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
                    localizer: Localizer = localizer) -> BatchResults:
            return localize_batch(localizer, loaded, plan.device)

        run_batches(plan, localizer.name, [localizer.module],
                    NetworkStore(writer, radiographs, "localizer", (position,), columns), compute,
                    progress=progress)


def localize_batch(localizer: Localizer, loaded: LoadedBatch,
                   device: torch.device) -> BatchResults:
    """Run a localizer on a batch; it lies on the device already.

    Parameters
    ----------
    localizer : Localizer
    loaded : LoadedBatch
    device : torch.device
        Where the localizer lies.

    Raises
    ------
    DataError
        If the device runs out of memory.
    """
    try:
        localized = localizer.localize(to_input(loaded.pixels, localizer.preprocessing, device))
    except torch.cuda.OutOfMemoryError as error:
        raise DataError(
            f"{device} ran out of memory localising in {len(loaded.pixels)} images at once with "
            f"model {localizer.name!r}; lower batch_size of [generate] and start again with "
            "--overwrite") from error
    return BatchResults(loaded.decoded, [localized.heatmaps.numpy()],
                        {"localizer/score": localized.scores.numpy()})
