"""The images, labels and annotations of an existing store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from saltrust.datasets.reader import reader

if TYPE_CHECKING:
    from saltrust.cache.collection import Collection
    from saltrust.study import Study


@reader("cubes", "a store that saltrust has written")
def open_cubes(study: Study) -> Collection:
    """Open the store that a study names."""
    from saltrust.datasets.cubes.collection import stored_cubes

    return stored_cubes(study.path(study.data.path), findings=study.data.findings)
