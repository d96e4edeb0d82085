"""A plain folder of radiographs, a class folder per finding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from saltrust.datasets.reader import reader

if TYPE_CHECKING:
    from saltrust.cache.collection import Collection
    from saltrust.study import Study


@reader("folder", "a folder of radiographs, with one class folder per finding",
        optional=("split_fractions",))
def open_folder(study: Study) -> Collection:
    """Open the folder that a study names."""
    from saltrust.datasets.folder.collection import folder
    from saltrust.datasets.splits import SPLIT_FRACTIONS

    data = study.data
    return folder(study.path(data.path), findings=data.findings, seed=study.seed,
                  split_fractions=data.split_fractions or SPLIT_FRACTIONS)
