"""Which maps a group of the cubes holds, and reading them a few at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from saltrust.analysis.select import label_positions
from saltrust.analysis.stored.arrays import dataset_of, labels_of, read_at, values_of
from saltrust.cache.schema import FINDING_ALIASES, GROUPS, SPLITS, Status
from saltrust.errors import DataError, UsageError, nearest

Float32Array = npt.NDArray[np.float32]

#: What a map is of: a trained classifier, one with random weights, a network that localises.
TRAINED, RANDOMISED, LOCALIZER = "trained", "randomised", "localizer"


@dataclass(frozen=True)
class StoredMaps:
    """The maps of one group: ``saliency``, ``randomization`` or ``localizer``.

    Attributes
    ----------
    labels : dict of str to list of str
        Labels of every dimension before y and x, in storage order: ``image`` first, then
        ``finding``.
    status : ndarray of uint8, shape of these dimensions
    """

    heatmap: xr.DataArray
    labels: dict[str, list[str]]
    status: npt.NDArray[np.uint8]

    def read(self, images: Sequence[int], *position: int) -> Float32Array:
        """Maps of several images at one position of the other dimensions.

        Parameters
        ----------
        images : sequence of int
            Positions of the images.
        *position : int
            Positions in the further dimensions, in their order.

        Returns
        -------
        ndarray of float32, shape (len(images), y, x)
        """
        others = dict(zip(list(self.labels)[1:], position, strict=True))
        chosen = read_at(self.heatmap, ("image", "y", "x"),
                         image=np.asarray(images, dtype=np.intp), **others)
        return chosen.astype(np.float32, copy=False)

    def status_at(self, *position: int) -> npt.NDArray[np.uint8]:
        """Status of every image and finding at one position of the further dimensions."""
        index: Any = (slice(None), slice(None), *position)
        return self.status[index]


def stored_maps(cubes: xr.DataTree, group: str) -> StoredMaps | None:
    """The maps of a group; None where the cubes hold none."""
    dataset = dataset_of(cubes, group)
    if dataset is None or "heatmap" not in dataset or "status" not in dataset:
        return None
    order = GROUPS[group]["status"].dims
    status = values_of(dataset["status"], order)
    if not (status != Status.MISSING).any():
        return None
    return StoredMaps(dataset["heatmap"], {dim: labels_of(dataset, dim) for dim in order}, status)


@dataclass(frozen=True)
class Images:
    """Images and findings that an analysis was asked for.

    Attributes
    ----------
    names : list of str
        Of every image of the cubes.
    patients : list of str
        Of every image; an image without a known patient stands for its own.
    splits : list of str
        Of every image; empty where the cubes do not say.
    chosen : ndarray of int
        Positions of the images asked for.
    findings : list of str
        Every finding of the cubes.
    chosen_findings : ndarray of int
    labels : ndarray of int8, shape (image, finding), or None
    """

    names: list[str]
    patients: list[str]
    splits: list[str]
    chosen: npt.NDArray[np.intp]
    findings: list[str]
    chosen_findings: npt.NDArray[np.intp]
    labels: npt.NDArray[np.int8] | None


def select_images(cubes: xr.DataTree, split: str | None, findings: Sequence[str] | None) -> Images:
    """Find the images of a split and the findings by name.

    Raises
    ------
    UsageError
        If the split or a finding is not known.
    DataError
        If no image is in the split, or the cubes do not state splits.
    """
    root = cubes.to_dataset()
    names = labels_of(root, "image")
    splits = ([str(s) for s in values_of(root["split"], ["image"])]
              if "split" in root.variables else [])
    if split is not None and split not in SPLITS:
        raise UsageError(f"split {split!r} is not known; {nearest(split, SPLITS)}")
    if split is not None and not splits:
        raise DataError("the cubes do not state which split an image is in; leave the split out")
    chosen = np.array([i for i in range(len(names)) if split is None or splits[i] == split],
                      dtype=np.intp)
    if not len(chosen):
        raise DataError(f"no image of the cubes is in split {split!r}")
    patients = ([str(p) or name for p, name in
                 zip(values_of(root["patient"], ["image"]), names, strict=True)]
                if "patient" in root.variables else names)
    known = labels_of(root, "finding")
    labels, reference = None, dataset_of(cubes, "reference")
    if reference is not None and "label" in reference:
        labels = values_of(reference["label"], ("image", "finding")).astype(np.int8)
    return Images(names, patients, splits, chosen, known,
                  label_positions(known, findings, "finding", FINDING_ALIASES), labels)
