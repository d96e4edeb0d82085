"""Eye Gaze Data for Chest X-rays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from saltrust.datasets.reader import reader

if TYPE_CHECKING:
    from saltrust.cache.collection import Collection
    from saltrust.choices import OnError
    from saltrust.study import Study


@reader("egd-cxr", "a folder with master_sheet.csv and fixations.csv of Eye Gaze Data for Chest "
        "X-rays",
        optional=("split_fractions", "sigma", "weight", "images", "heatmaps", "splits"),
        tolerant=True)
def open_egd_cxr(study: Study, on_error: OnError = "stop") -> Collection:
    """Open the Eye Gaze Data that a study names."""
    from saltrust.datasets.egd_cxr.collection import SIGMA, SPLIT_FRACTIONS, egd_cxr
    from saltrust.datasets.gaze_maps import GazeSmoothing

    data = study.data
    return egd_cxr(study.path(data.path), findings=data.findings, seed=study.seed,
                   images=study.data_path("images"), heatmaps=study.data_path("heatmaps"),
                   splits=study.data_path("splits"),
                   split_fractions=data.split_fractions or SPLIT_FRACTIONS,
                   smoothing=GazeSmoothing(data.sigma or SIGMA, data.weight), on_error=on_error)
