"""Public releases of chest radiographs, read from their tables as they come.

CheXpert, MIMIC-CXR-JPG, NIH ChestX-ray14, VinDr-CXR (also as VinBigData on Kaggle) and PadChest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from saltrust.datasets.reader import reader

if TYPE_CHECKING:
    from saltrust.cache.collection import Collection
    from saltrust.study import Study

_COMMON = ("images", "splits", "split_fractions", "views")


@reader("chexpert", "the folder of CheXpert with train.csv and valid.csv, or one of them",
        optional=("images", "splits", "views", "blank"))
def open_chexpert(study: Study) -> Collection:
    """Open the CheXpert that a study names."""
    from saltrust.datasets.releases.chexpert import chexpert
    from saltrust.datasets.releases.collection import Choices

    return chexpert(study.path(study.data.path), Choices.of_study(study), blank=study.data.blank)


@reader("mimic-cxr-jpg", "the folder of MIMIC-CXR-JPG with mimic-cxr-2.0.0-metadata.csv",
        optional=(*_COMMON, "blank", "labeler"))
def open_mimic_cxr_jpg(study: Study) -> Collection:
    """Open the MIMIC-CXR-JPG that a study names."""
    from saltrust.datasets.releases.collection import Choices
    from saltrust.datasets.releases.mimic_cxr_jpg import mimic_cxr_jpg

    data = study.data
    return mimic_cxr_jpg(study.path(data.path), Choices.of_study(study), labeler=data.labeler,
                         blank=data.blank)


@reader("nih-chestxray14", "the folder of NIH ChestX-ray14 with Data_Entry_2017.csv, or that file",
        optional=_COMMON)
def open_nih_chestxray14(study: Study) -> Collection:
    """Open the NIH ChestX-ray14 that a study names."""
    from saltrust.datasets.releases.collection import Choices
    from saltrust.datasets.releases.nih_chestxray14 import nih_chestxray14

    return nih_chestxray14(study.path(study.data.path), Choices.of_study(study))


@reader("padchest", "the folder of PadChest with PADCHEST_chest_x_ray_images_labels.csv, or that "
                    "file", optional=(*_COMMON, "least_images"))
def open_padchest(study: Study) -> Collection:
    """Open the PadChest that a study names."""
    from saltrust.datasets.releases.collection import Choices
    from saltrust.datasets.releases.padchest import padchest

    return padchest(study.path(study.data.path), Choices.of_study(study),
                    least_images=study.data.least_images)


@reader("vindr-cxr", "the folder of VinDr-CXR with annotations_train.csv, or that file",
        optional=("images", "splits", "split_fractions", "votes", "sizes"))
def open_vindr_cxr(study: Study) -> Collection:
    """Open the VinDr-CXR of PhysioNet that a study names."""
    from saltrust.datasets.releases.collection import Choices
    from saltrust.datasets.releases.vindr_cxr import vindr_cxr

    return vindr_cxr(study.path(study.data.path), Choices.of_study(study), votes=study.data.votes,
                     sizes=study.data_path("sizes"))


@reader("vinbigdata", "the folder of VinBigData with train.csv, or that file",
        optional=("images", "splits", "split_fractions", "votes", "sizes"))
def open_vinbigdata(study: Study) -> Collection:
    """Open the VinBigData of Kaggle that a study names."""
    from saltrust.datasets.releases.collection import Choices
    from saltrust.datasets.releases.vindr_cxr import vinbigdata

    return vinbigdata(study.path(study.data.path), Choices.of_study(study),
                      votes=study.data.votes, sizes=study.data_path("sizes"))
