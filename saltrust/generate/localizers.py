"""Heatmaps and scores of the networks that localise, in ``/localizer``."""

from __future__ import annotations

import numpy as np
import torch

from saltrust.cache.writing import StoreWriter
from saltrust.generate.batch_run import run_batches
from saltrust.generate.halving import ImagesAtOnce, within_memory
from saltrust.generate.network_store import BatchResults, NetworkStore
from saltrust.generate.plan import Plan, Positions
from saltrust.generate.radiographs import LoadedBatch, RadiographStore
from saltrust.models.localizers.network import Localization
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
        together = ImagesAtOnce()
        columns = np.array([findings.index(name) for name in localizer.findings])

        def compute(_batch: Positions, loaded: LoadedBatch,
                    localizer: Localizer = localizer,
                    together: ImagesAtOnce = together) -> BatchResults:
            return localize_batch(localizer, loaded, plan.device, together)

        run_batches(plan, localizer.name, [localizer.module],
                    NetworkStore(writer, radiographs, "localizer", (position,), columns), compute,
                    progress=progress)


def localize_batch(localizer: Localizer, loaded: LoadedBatch, device: torch.device,
                   together: ImagesAtOnce) -> BatchResults:
    """Run a localizer on a batch; it lies on the device already.

    Parameters
    ----------
    localizer : Localizer
    loaded : LoadedBatch
    device : torch.device
        Where the localizer lies.
    together : ImagesAtOnce
        Lowered where the device runs out of memory.

    Raises
    ------
    DataError
        If the device runs out of memory with a single image.
    """
    def compute(part: LoadedBatch) -> Localization:
        return localizer.localize(to_input(part.pixels, localizer.preprocessing, device))

    parts = within_memory(compute, loaded, together, device,
                          f"localising with model {localizer.name!r}")
    heatmaps, scores = (np.concatenate([values.numpy() for values in of_parts]) for of_parts in (
        [part.heatmaps for part in parts], [part.scores for part in parts]))
    return BatchResults(loaded.decoded, [heatmaps], {"localizer/score": scores})
