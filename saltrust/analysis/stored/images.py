"""The images of the cubes: their names, patients, splits and labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from saltrust.analysis.stored.arrays import dataset_of, labels_of, texts_of, values_of
from saltrust.cache.schema import Label
from saltrust.errors import DataError


@dataclass(frozen=True)
class StudyImages:
    """What is known of every image of the cubes.

    Attributes
    ----------
    names : list of str
    patients : list of str
        An image without a known patient stands for its own.
    splits : list of str
        Empty where the cubes do not say.
    findings : list of str
    labels : ndarray of int8, shape (image, finding), or None
        :class:`saltrust.cache.schema.Label`; None where the cubes hold none.
    """

    names: list[str]
    patients: list[str]
    splits: list[str]
    findings: list[str]
    labels: npt.NDArray[np.int8] | None

    def labels_of(self, finding: str) -> npt.NDArray[np.int8]:
        """Label of every image.

        Raises
        ------
        DataError
            If the cubes hold no labels.
        """
        if self.labels is None:
            raise DataError("the cubes hold no labels (/reference/label is absent), so positive "
                            "images are not known; take all images")
        return self.labels[:, self.findings.index(finding)]

    def positive(self, finding: str) -> npt.NDArray[np.bool_]:
        """Which images show the finding; as :meth:`labels_of`."""
        return self.labels_of(finding) == Label.POSITIVE


def images_of(cubes: xr.DataTree) -> StudyImages:
    """What the cubes say of their images.

    Parameters
    ----------
    cubes : xarray.DataTree
    """
    root = cubes.to_dataset()
    names = labels_of(root, "image")
    splits = ([str(name) for name in values_of(root["split"], ["image"])]
              if "split" in root.variables else [])
    patients = ([patient or name for patient, name in
                 zip(texts_of(root["patient"], ["image"]), names, strict=True)]
                if "patient" in root.variables else names)
    labels, reference = None, dataset_of(cubes, "reference")
    if reference is not None and "label" in reference:
        labels = values_of(reference["label"], ("image", "finding")).astype(np.int8)
    return StudyImages(names, patients, splits, labels_of(root, "finding"), labels)
