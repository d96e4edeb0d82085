"""The released CheXlocalize data: images, heatmaps, annotations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from saltrust.datasets.reader import reader

if TYPE_CHECKING:
    from saltrust.cache.collection import Collection
    from saltrust.choices import OnError
    from saltrust.study import Study


@reader("chexlocalize", "a folder of the released CheXlocalize layout", tolerant=True)
def open_chexlocalize(study: Study, on_error: OnError = "stop") -> Collection:
    """Open the folder of CheXlocalize that a study names."""
    from saltrust.datasets.chexlocalize.collection import chexlocalize

    return chexlocalize(study.path(study.data.path), findings=study.data.findings,
                        on_error=on_error)
