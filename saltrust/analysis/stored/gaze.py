"""Where people looked, as the cubes hold it: heatmaps, fixated pixels, averages over images."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from saltrust.analysis.pixels.gaze_agreement import fixated_pixels, is_informative
from saltrust.analysis.stored.average_mask import FITTED_ON
from saltrust.analysis.stored.contents import one_of, source
from saltrust.analysis.stored.maps import Images
from saltrust.errors import DataError, UsageError

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RecordedGaze:
    """Gaze of one reader on the selected images.

    Attributes
    ----------
    reader : str
    images : ndarray of int
        Positions in the cubes of the selected images with gaze.
    averaged : ndarray of int
        Images that the average gaze is of: those of training and validation, where none of them
        is selected, else the selected ones.
    patients : dict of int to str
        Patient of each of them all.
    threshold : float or None
        Share of its maximum above which a heatmap counts as fixated; None where fixations are
        stored and say it.
    total : ndarray of float64, shape (y, x)
        Sum of the heatmaps of ``averaged``.
    fixated_total : ndarray of int64, shape (y, x)
        On how many of ``images`` each pixel was fixated.
    """

    reader: str
    images: npt.NDArray[np.intp]
    averaged: npt.NDArray[np.intp]
    patients: dict[int, str]
    threshold: float | None
    total: FloatArray
    fixated_total: npt.NDArray[np.int64]
    _reference: xr.Dataset
    _sizes: npt.NDArray[np.int64]
    _source: str

    @property
    def average_is_independent(self) -> bool:
        """Whether the average gaze is of other images than those it is compared on."""
        return not set(self.averaged.tolist()) & set(self.images.tolist())

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width."""
        return self._reference.sizes["y"], self._reference.sizes["x"]

    def read(self, images: Sequence[int]) -> tuple[FloatArray, BoolArray]:
        """Heatmaps and fixated pixels of several images, each of shape (n, y, x).

        Raises
        ------
        DataError
            If a heatmap that should be there is flat, negative or not finite.
        """
        chosen = self._reference.isel(image=list(images))
        heatmaps = chosen["gaze"].transpose("image", "y", "x").values.astype(np.float64)
        for image, heatmap in zip(images, heatmaps, strict=True):
            if not is_informative(heatmap) or heatmap.min() < 0:
                name = str(self._reference["image"].values[image])
                raise DataError(f"the gaze on {name} in {self._source} is flat, negative or not "
                                "finite, though it was recorded; import the data set again")
        if self.threshold is not None:
            top = heatmaps.max(axis=(1, 2), keepdims=True)
            return heatmaps, heatmaps >= self.threshold * top
        y, x = (chosen[name].transpose("image", "fixation").values
                for name in ("fixation_y", "fixation_x"))
        return heatmaps, np.stack([
            fixated_pixels(y[k], x[k], (int(self._sizes[i, 0]), int(self._sizes[i, 1])), self.grid)
            for k, i in enumerate(images)])

    def elsewhere(self, patient: str) -> npt.NDArray[np.int64]:
        """On how many selected images of other patients each pixel was fixated."""
        own = [i for i in self.images.tolist() if self.patients[i] == patient]
        return self.fixated_total - self.read(own)[1].sum(axis=0)

    def average(self, patient: str) -> FloatArray | None:
        """Mean heatmap over ``averaged``, without images of this patient; None without any."""
        own = [i for i in self.averaged.tolist() if self.patients[i] == patient]
        n = len(self.averaged) - len(own)
        if not n:
            return None
        rest = self.total - (self.read(own)[0].sum(axis=0) if own else 0.0)
        # A sum of positive numbers less some of them: rounding must not leave negative rests.
        mean: FloatArray = np.maximum(rest, 0.0) / n
        return mean


def recorded_gaze(cubes: xr.DataTree, images: Images, *, reader: str | None = None,
                  threshold: float = 0.5) -> RecordedGaze:
    """Find the gaze on the selected images.

    Parameters
    ----------
    cubes : xarray.DataTree
    images : Images
    reader : str, optional
        Whose; the first reader with gaze where none is named.
    threshold : float
        Of :class:`RecordedGaze`, where not every image has fixations stored; above 0, at most 1.

    Raises
    ------
    UsageError
        If the reader is not known or the threshold out of range.
    DataError
        If the cubes hold no gaze on any selected image.
    """
    if not 0 < threshold <= 1:
        raise UsageError(f"gaze threshold {threshold} must lie above 0 and be at most 1, such as "
                         "0.5")
    reference = cubes["reference"].to_dataset() if "reference" in cubes.children else xr.Dataset()
    if "gaze" not in reference or "gaze_recorded" not in reference:
        raise DataError(f"{source(cubes)} holds no gaze (/reference/gaze is absent); import a data "
                        "set with gaze, such as `saltrust import egd-cxr`, or say gaze = true "
                        "under [data] for phantoms")
    recorded = reference["gaze_recorded"].transpose("image", "reader").values
    names = [str(name) for name in reference["reader"].values]
    there = [name for k, name in enumerate(names) if recorded[images.chosen, k].any()]
    if not there:
        raise DataError(f"{source(cubes)} holds no gaze on any selected image; select another "
                        "split")
    if reader is not None:
        one_of(reader, there, "reader with gaze")
    elif len(there) > 1:
        _log.warning("%d readers have gaze (%s); %s is used", len(there), ", ".join(there),
                     there[0])
    chosen = reader or there[0]
    at = names.index(chosen)
    positions = images.chosen[recorded[images.chosen, at]]
    averaged = _averaged(images, np.flatnonzero(recorded[:, at]), positions)
    of_reader = reference.isel(reader=at)
    sizes = _native_sizes(cubes, len(images.names))
    known = _has_fixations(of_reader, positions, sizes)
    empty = np.zeros((reference.sizes["y"], reference.sizes["x"]))
    found = RecordedGaze(chosen, positions, averaged,
                         {i: images.patients[i] for i in {*positions.tolist(), *averaged.tolist()}},
                         None if known else threshold, empty.copy(), empty.astype(np.int64),
                         of_reader, sizes, source(cubes))
    for i in positions.tolist():
        found.fixated_total[...] += found.read([i])[1][0]
    for i in averaged.tolist():
        found.total[...] += found.read([i])[0][0]
    return found


def _averaged(images: Images, recorded: npt.NDArray[np.intp], selected: npt.NDArray[np.intp],
              ) -> npt.NDArray[np.intp]:
    """Training and validation images with gaze, where none is selected; else the selected."""
    if not images.splits:
        return selected
    fitted = np.array([i for i in recorded.tolist() if images.splits[i] in FITTED_ON],
                      dtype=np.intp)
    return selected if not len(fitted) or np.isin(fitted, selected).any() else fitted


def _native_sizes(cubes: xr.DataTree, n: int) -> npt.NDArray[np.int64]:
    root = cubes.to_dataset()
    names = ("native_height", "native_width")
    if not set(names) <= set(root.variables):
        return np.zeros((n, 2), dtype=np.int64)
    return np.column_stack([root[name].values for name in names]).astype(np.int64)


def _has_fixations(reference: xr.Dataset, images: npt.NDArray[np.intp],
                   sizes: npt.NDArray[np.int64]) -> bool:
    """Whether every image has a fixation and a size to place it with."""
    if "fixation_y" not in reference or not (sizes[images] > 0).all():
        return False
    rows = reference["fixation_y"].isel(image=images).transpose("image", "fixation").values
    return bool(np.isfinite(rows).any(axis=1).all())
