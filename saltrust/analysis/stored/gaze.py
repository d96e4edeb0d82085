"""Where people looked, as the cubes hold it: heatmaps, fixated pixels, averages over images."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from saltrust.analysis.pixels.gaze_agreement import fixated_pixels, is_informative
from saltrust.analysis.stored.arrays import dataset_of, labels_of, read_at, values_of
from saltrust.analysis.stored.contents import source
from saltrust.analysis.stored.images import images_of
from saltrust.analysis.stored.whole_study import FITTED_ON, check_grid
from saltrust.errors import DataError

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_FIXATIONS = ("fixation_y", "fixation_x")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReaderGaze:
    """The gaze of one reader in one study.

    Attributes
    ----------
    patients : dict of str to str
        Patient of every image with gaze, in the order of the study.
    grid : (int, int)
        Height and width.
    """

    patients: dict[str, str]
    grid: tuple[int, int]
    _reference: xr.Dataset
    _reader: int
    _places: dict[str, int]
    _sizes: npt.NDArray[np.int64]
    _source: str

    def heatmaps(self, images: Sequence[str]) -> FloatArray:
        """Gaze heatmaps of several images, shape (n, y, x).

        Raises
        ------
        DataError
            If a heatmap that should be there is flat, negative or not finite.
        """
        read = self._read("gaze", images, "y", "x").astype(np.float64)
        for image, heatmap in zip(images, read, strict=True):
            if not is_informative(heatmap) or heatmap.min() < 0:
                raise DataError(f"the gaze on {image} in {self._source} is flat, negative or not "
                                "finite, though it was recorded; import the data set again")
        return read

    def fixated(self, images: Sequence[str]) -> BoolArray:
        """Pixels of the grid that hold a fixation, of several images, shape (n, y, x)."""
        y, x = (self._read(name, images, "fixation") for name in _FIXATIONS)
        sizes = self._sizes[[self._places[image] for image in images]]
        return np.stack([fixated_pixels(y[k], x[k], (int(height), int(width)), self.grid)
                         for k, (height, width) in enumerate(sizes)])

    def has_fixations(self) -> bool:
        """Whether every image with gaze has a fixation and a size to place it with."""
        places = [self._places[image] for image in self.patients]
        if not set(_FIXATIONS) <= set(self._reference) or not (self._sizes[places] > 0).all():
            return False
        rows = self._read(_FIXATIONS[0], list(self.patients), "fixation")
        return bool(np.isfinite(rows).any(axis=1).all())

    def _read(self, name: str, images: Sequence[str], *dims: str) -> npt.NDArray[np.float32]:
        places = np.array([self._places[image] for image in images], dtype=np.intp)
        return read_at(self._reference[name], ("image", *dims), image=places,
                       reader=self._reader)


@dataclass(frozen=True)
class RecordedGaze:
    """Gaze of one reader on the analysed images, and the average gaze.

    Attributes
    ----------
    reader : str
    patients : dict of str to str
        Patient of every analysed image with gaze.
    averaged : dict of str to str
        Images that the average gaze is of, with their patients: those of training and
        validation, where none of them is analysed, else the analysed ones.
    threshold : float or None
        Share of its maximum above which a heatmap counts as fixated; None where fixations are
        stored and say it.
    grid : (int, int)
        Height and width.
    """

    reader: str
    patients: dict[str, str]
    averaged: dict[str, str]
    threshold: float | None
    grid: tuple[int, int]
    _analyzed: ReaderGaze
    _fitted: ReaderGaze
    #: Sum of the averaged heatmaps, and on how many analysed images each pixel was fixated.
    _total: FloatArray
    _fixated_total: npt.NDArray[np.int64]

    @property
    def average_is_independent(self) -> bool:
        """Whether the average gaze is of other images than those it is compared on."""
        return not set(self.averaged) & set(self.patients)

    def read(self, images: Sequence[str]) -> tuple[FloatArray, BoolArray]:
        """Heatmaps and fixated pixels of several analysed images, each of shape (n, y, x).

        Raises
        ------
        DataError
            If a heatmap that should be there is flat, negative or not finite.
        """
        return _with_fixated(self._analyzed, images, self.threshold)

    def elsewhere(self, patient: str) -> npt.NDArray[np.int64]:
        """On how many analysed images of other patients each pixel was fixated."""
        of_patient = [image for image, name in self.patients.items() if name == patient]
        return self._fixated_total - self.read(of_patient)[1].sum(axis=0)

    def average(self, patient: str) -> FloatArray | None:
        """Mean heatmap over ``averaged``, without images of this patient; None without any."""
        of_patient = [image for image, name in self.averaged.items() if name == patient]
        n = len(self.averaged) - len(of_patient)
        if not n:
            return None
        rest = self._total - (self._fitted.heatmaps(of_patient).sum(axis=0) if of_patient else 0.0)
        # A sum of positive numbers less some of them: rounding must not leave negative rests.
        mean: FloatArray = np.maximum(rest, 0.0) / n
        return mean


def recorded_gaze(cubes: xr.DataTree, study: xr.DataTree, *, threshold: float = 0.5
                  ) -> RecordedGaze:
    """Gaze of the first reader who looked at any image.

    Parameters
    ----------
    cubes : xarray.DataTree
        What is analysed.
    study : xarray.DataTree
        Where images of training and validation are looked for
        (:func:`saltrust.analysis.stored.whole_study.fitted_study`).
    threshold : float
        Of :class:`RecordedGaze`, where not every image has fixations stored.

    Raises
    ------
    DataError
        If the cubes hold no gaze on any image.
    """
    reference = dataset_of(cubes, "reference")
    if reference is None or not {"gaze", "gaze_recorded"} <= set(reference.variables):
        raise DataError(f"{source(cubes)} holds no gaze (/reference/gaze is absent); import a data "
                        "set with gaze, such as `saltrust import egd-cxr`, or say gaze = true "
                        "under [data] for phantoms")
    recorded = values_of(reference["gaze_recorded"], ("image", "reader"))
    readers = [name for r, name in enumerate(labels_of(reference, "reader"))
               if recorded[:, r].any()]
    if not readers:
        raise DataError(f"{source(cubes)} holds no gaze on any selected image; select another "
                        "split")
    if len(readers) > 1:
        _log.warning("%d readers have gaze (%s); %s is used", len(readers), ", ".join(readers),
                     readers[0])
    analyzed = _gaze_of(cubes, reference, readers[0])
    fitted, averaged = _averaged(study, analyzed, readers[0])
    share = None if analyzed.has_fixations() else threshold
    fixated_total = np.zeros(analyzed.grid, dtype=np.int64)
    for image in analyzed.patients:
        fixated_total += _with_fixated(analyzed, [image], share)[1][0]
    total = np.zeros(analyzed.grid)
    for image in averaged:
        total += fitted.heatmaps([image])[0]
    return RecordedGaze(readers[0], analyzed.patients, averaged, share, analyzed.grid, analyzed,
                        fitted, total, fixated_total)


def _gaze_of(cubes: xr.DataTree, reference: xr.Dataset, reader: str) -> ReaderGaze:
    images, r = images_of(cubes), labels_of(reference, "reader").index(reader)
    recorded = values_of(reference["gaze_recorded"], ("image", "reader"))[:, r].astype(bool)
    return ReaderGaze(
        {image: patient for image, patient, has_gaze in
         zip(images.names, images.patients, recorded, strict=True) if has_gaze},
        (reference.sizes["y"], reference.sizes["x"]), reference, r,
        {image: k for k, image in enumerate(images.names)}, _native_sizes(cubes), source(cubes))


def _averaged(study: xr.DataTree, analyzed: ReaderGaze, reader: str
              ) -> tuple[ReaderGaze, dict[str, str]]:
    """Training and validation images with gaze, where none is analysed; else the analysed."""
    reference, images = dataset_of(study, "reference"), images_of(study)
    if (not images.splits or reference is None or "gaze_recorded" not in reference
            or reader not in labels_of(reference, "reader")):
        return analyzed, analyzed.patients
    fitted = _gaze_of(study, reference, reader)
    in_split = {name for name, split in zip(images.names, images.splits, strict=True)
                if split in FITTED_ON}
    averaged = {image: patient for image, patient in fitted.patients.items() if image in in_split}
    if not averaged or set(averaged) & set(analyzed.patients):
        return analyzed, analyzed.patients
    check_grid(study, analyzed.grid)
    return fitted, averaged


def _with_fixated(gaze: ReaderGaze, images: Sequence[str], threshold: float | None
                  ) -> tuple[FloatArray, BoolArray]:
    """Heatmaps, and what counts as fixated."""
    heatmaps = gaze.heatmaps(images)
    if threshold is None:
        return heatmaps, gaze.fixated(images)
    top = heatmaps.max(axis=(1, 2), keepdims=True)
    return heatmaps, heatmaps >= threshold * top


def _native_sizes(cubes: xr.DataTree) -> npt.NDArray[np.int64]:
    """Height and width of every image, 0 where unknown."""
    root, names = cubes.to_dataset(), ("native_height", "native_width")
    if not set(names) <= set(root.variables):
        return np.zeros((len(labels_of(root, "image")), 2), dtype=np.int64)
    return np.column_stack([values_of(root[name], ["image"]) for name in names]).astype(np.int64)
