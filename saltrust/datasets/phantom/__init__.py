"""Synthetic chest radiographs with known truth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from saltrust.datasets.reader import reader

if TYPE_CHECKING:
    from saltrust.cache.collection import Collection
    from saltrust.study import Study


@reader("phantom", "synthetic radiographs with known truth", required=(),
        optional=("split_fractions", "patients", "size", "gaze", "sigma", "weight"))
def open_phantom(study: Study) -> Collection:
    """Make the phantoms that a study describes."""
    from saltrust.cache.gaze_maps import DEFAULT_SIGMA, GazeSmoothing
    from saltrust.datasets.phantom.collection import phantom
    from saltrust.datasets.splits import SPLIT_FRACTIONS

    data = study.data
    smoothing = GazeSmoothing(data.sigma or DEFAULT_SIGMA, data.weight)
    return phantom(patients=data.patients, size=data.size, seed=study.seed,
                   findings=data.findings,
                   split_fractions=data.split_fractions or SPLIT_FRACTIONS,
                   gaze=smoothing if data.gaze else None)
