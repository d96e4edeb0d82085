"""The two Kaggle chest challenges: RSNA boxes and SIIM-ACR masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from saltrust.datasets.reader import reader

if TYPE_CHECKING:
    from saltrust.cache.collection import Collection
    from saltrust.study import Study


@reader("siim-acr", "train-rle.csv of SIIM-ACR Pneumothorax Segmentation",
        optional=("split_fractions", "images", "splits"))
def open_siim_acr(study: Study) -> Collection:
    """Open the masks of SIIM-ACR that a study names."""
    from saltrust.datasets.challenges.collection import SPLIT_FRACTIONS
    from saltrust.datasets.challenges.siim_acr import siim_acr

    data = study.data
    return siim_acr(study.path(data.path), images=study.data_path("images"),
                    splits=study.data_path("splits"), findings=data.findings, seed=study.seed,
                    split_fractions=data.split_fractions or SPLIT_FRACTIONS)


@reader("rsna", "stage_2_train_labels.csv of RSNA Pneumonia Detection",
        optional=("split_fractions", "images", "splits", "classes"))
def open_rsna(study: Study) -> Collection:
    """Open the boxes of RSNA that a study names."""
    from saltrust.datasets.challenges.collection import SPLIT_FRACTIONS
    from saltrust.datasets.challenges.rsna import rsna

    data = study.data
    return rsna(study.path(data.path), images=study.data_path("images"),
                splits=study.data_path("splits"), classes=study.data_path("classes"),
                findings=data.findings, seed=study.seed,
                split_fractions=data.split_fractions or SPLIT_FRACTIONS)
