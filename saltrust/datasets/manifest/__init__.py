"""Radiographs, labels and annotations listed in a CSV."""

from __future__ import annotations

from typing import TYPE_CHECKING

from saltrust.datasets.reader import reader

if TYPE_CHECKING:
    from saltrust.cache.collection import Collection
    from saltrust.choices import OnError
    from saltrust.study import Study


@reader("manifest", "a CSV with one row per radiograph",
        optional=("split_fractions", "covariates"), tolerant=True)
def open_manifest(study: Study, on_error: OnError = "stop") -> Collection:
    """Open the manifest that a study names."""
    from saltrust.datasets.manifest.collection import manifest
    from saltrust.datasets.splits import SPLIT_FRACTIONS

    data = study.data
    return manifest(study.path(data.path), findings=data.findings, covariates=data.covariates,
                    seed=study.seed, split_fractions=data.split_fractions or SPLIT_FRACTIONS,
                    on_error=on_error)
