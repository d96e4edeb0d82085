"""Which maps a group of the cubes holds, and reading them a few at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from saltrust.analysis.stored.annotations import label_positions
from saltrust.cache.schema import FINDING_ALIASES, SPLITS, Status
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
        chosen = self.heatmap.isel({"image": np.asarray(images, dtype=np.intp), **others})
        return chosen.transpose("image", "y", "x").values.astype(np.float32, copy=False)

    def status_at(self, *position: int) -> npt.NDArray[np.uint8]:
        """Status of every image and finding at one position of the further dimensions."""
        index: Any = (slice(None), slice(None), *position)
        return self.status[index]


def stored_maps(cubes: xr.DataTree, group: str) -> StoredMaps | None:
    """The maps of a group; None where the cubes hold none."""
    if group not in cubes.children:
        return None
    dataset = cubes[group].to_dataset()
    if "heatmap" not in dataset or "status" not in dataset:
        return None
    dims = [str(dim) for dim in dataset["heatmap"].dims if dim not in {"y", "x"}]
    order = ["image", "finding", *(dim for dim in dims if dim not in {"image", "finding"})]
    status = dataset["status"].transpose(*order).values
    if not (status != Status.MISSING).any():
        return None
    labels = {dim: [str(label) for label in dataset[dim].values] for dim in order}
    return StoredMaps(dataset["heatmap"].transpose(*order, "y", "x"), labels, status)


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
    names = [str(name) for name in root["image"].values]
    splits = [str(s) for s in root["split"].values] if "split" in root.variables else []
    if split is not None and split not in SPLITS:
        raise UsageError(f"split {split!r} is not known; {nearest(split, SPLITS)}")
    if split is not None and not splits:
        raise DataError("the cubes do not state which split an image is in; leave the split out")
    chosen = np.array([i for i in range(len(names)) if split is None or splits[i] == split],
                      dtype=np.intp)
    if not len(chosen):
        raise DataError(f"no image of the cubes is in split {split!r}")
    patients = ([str(p) or name for p, name in zip(root["patient"].values, names, strict=True)]
                if "patient" in root.variables else names)
    known = [str(name) for name in root["finding"].values]
    labels = None
    if "reference" in cubes.children and "label" in cubes["reference"].data_vars:
        stored = cubes["reference"].to_dataset()["label"]
        labels = stored.transpose("image", "finding").values.astype(np.int8)
    return Images(names, patients, splits, chosen, known,
                  label_positions(known, findings, "finding", FINDING_ALIASES), labels)
