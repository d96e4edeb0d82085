"""The maps of a study that were selected, with what the pass over their pixels found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from saltrust.analysis.scores.pixel_pass import MapKey, PassCounts, PassOptions, run_pass
from saltrust.analysis.scores.selection import EXPERT
from saltrust.analysis.select import label_positions
from saltrust.analysis.stored.annotations import Annotations
from saltrust.cache.schema import Label, Status
from saltrust.choices import Definition

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scan:
    """How maps are passed over: what one needs to know besides which.

    Attributes
    ----------
    keep : bool
        Read and write ``/scores`` of the store
        (:func:`saltrust.analysis.scores.pixel_pass.run_pass`).
    workers : int
    scheduler : str or None
    progress : bool
    """

    keep: bool = False
    workers: int = 1
    scheduler: str | None = None
    progress: bool = False


@dataclass(frozen=True)
class CountedMaps:
    """Maps in the order image, finding, explainer, model, and what was found of each.

    Attributes
    ----------
    image, finding : ndarray of int, shape (maps,)
        Positions in the annotations that they were selected with.
    order : ndarray of int, shape (maps, 2)
        Positions of explainer and model among those of the cubes.
    explainer, model : ndarray of str, shape (maps,)
    references : list of int
        Reference readers, as positions in the annotations.
    area_reference : ndarray of float64, shape (maps, readers)
        Pixels of the reference mask; NaN where the reader did not annotate.
    probability : ndarray of float64, shape (maps,)
        Predicted; NaN where it is not stored.
    missing : int
        Maps that images with maps do not have.
    counts : PassCounts
    """

    image: npt.NDArray[np.intp]
    finding: npt.NDArray[np.intp]
    order: npt.NDArray[np.intp]
    explainer: npt.NDArray[np.object_]
    model: npt.NDArray[np.object_]
    references: list[int]
    area_reference: FloatArray
    probability: FloatArray
    missing: int
    counts: PassCounts
    _columns: list[int]

    def of_readers(self, name: str) -> npt.NDArray[np.int64]:
        """A field of the pass per map and reference reader, shape (maps, readers, ...)."""
        return self.counts.found[name][:, self._columns].astype(np.int64)

    def histograms(self, maps: npt.NDArray[np.intp], readers: npt.NDArray[np.intp]
                   ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Histograms of some maps, and of their parts inside the mask of a reference reader.

        Parameters
        ----------
        maps, readers : ndarray of int, shape (n,)
            Positions of the maps, and among ``references``.

        Returns
        -------
        total, inside : ndarray of int32, shape (n, bins)
        """
        columns = np.asarray(self._columns, dtype=np.intp)[readers]
        return self.counts.found["total"][maps], self.counts.found["inside"][maps, columns]

    @property
    def usable(self) -> npt.NDArray[np.bool_]:
        """Whether a map is neither flat nor has values that are not finite."""
        return np.asarray(self.counts.found["outcome"] == Status.OK)

    def above(self, threshold: float) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Pixels strictly above a threshold on 0..1, and those inside each reference mask.

        Returns
        -------
        area : ndarray of int64, shape (maps,)
        shared : ndarray of int64, shape (maps, readers)
        """
        start = self.counts.levels.bin_above(threshold)
        total = self.counts.found["total"][:, start:].sum(axis=1, dtype=np.int64)
        inside = self.counts.found["inside"][:, self._columns, start:]
        return total, inside.sum(axis=2, dtype=np.int64)

    def otsu(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """As :meth:`above`, of the segmentation by each map's own threshold."""
        return self.counts.found["area"].astype(np.int64), self.of_readers("shared")


def known_areas(annotations: Annotations, references: Sequence[int]) -> FloatArray:
    """Areas of the reference masks; 0 where the label says negative, NaN where nobody said.

    Returns
    -------
    ndarray of float64, shape (images, findings, readers)
    """
    shape = (*annotations.labels.shape, len(references))
    areas = np.full(shape, np.nan)
    # Nothing to draw was stated with the label.
    areas[annotations.labels == Label.NEGATIVE] = 0
    for k, reader in enumerate(references):
        for image, finding in np.argwhere(annotations.annotated[:, :, reader]).tolist():
            areas[image, finding, k] = annotations.runs(image, finding, reader).area
    return areas


def counted_maps(cubes: xr.DataTree, annotations: Annotations, references: Sequence[int],
                 areas: FloatArray, *, definition: Definition,
                 thresholds: Sequence[float] = (), explainers: Sequence[str] | None = None,
                 models: Sequence[str] | None = None, scan: Scan | None = None,
                 ) -> CountedMaps | None:
    """Select maps and pass over them.

    Parameters
    ----------
    cubes : xarray.DataTree
    annotations : Annotations
        Of the selected images and findings.
    references : sequence of int
        Reference readers, as positions in the annotations.
    areas : ndarray, shape (images, findings, readers)
        Of :func:`known_areas`.
    definition : {"default", "peer"}
    thresholds : sequence of float
        On 0..1, at which the maps will be cut.
    explainers, models : sequence of str, optional
        Only these; all by default.
    scan : Scan, optional

    Returns
    -------
    CountedMaps or None
        None where no map of the selection is stored.

    Raises
    ------
    UsageError
        If a name is not known.
    """
    if "saliency" not in cubes.children or "heatmap" not in cubes["saliency"].data_vars:
        return None
    saliency = cubes["saliency"].to_dataset()
    names = {dim: [str(name) for name in saliency[dim].values] for dim in ("explainer", "model")}
    if explainers is not None:
        explainers = [explainers] if isinstance(explainers, str) else explainers
        explainers = [name for name in explainers if name != EXPERT]
    chosen = {"image": annotations.image_positions, "finding": annotations.finding_positions,
              "explainer": label_positions(names["explainer"], explainers, "explainer"),
              "model": label_positions(names["model"], models, "model")}
    status = saliency["status"].transpose(*chosen).isel(chosen).values
    stored = status != Status.MISSING
    if not stored.any():
        return None
    scan = scan or Scan()
    at = np.argwhere(stored)
    wanted: list[MapKey] = list(zip(
        *(chosen[dim][at[:, axis]].tolist() for axis, dim in enumerate(chosen)), strict=True))
    options = PassOptions(annotations.resolution, definition, tuple(thresholds))
    counts = run_pass(cubes, wanted, options, keep=scan.keep, workers=scan.workers,
                      scheduler=scan.scheduler, progress=scan.progress)
    places = np.array(wanted, dtype=np.intp)
    labels = {dim: np.array(names[dim], dtype=object)[places[:, axis]]
              for axis, dim in ((2, "explainer"), (3, "model"))}
    return CountedMaps(
        at[:, 0], at[:, 1], places[:, 2:], labels["explainer"], labels["model"],
        list(references), areas[at[:, 0], at[:, 1]],
        _probabilities(cubes, places, names["model"]),
        int((~stored[stored.any(axis=(1, 2, 3))]).sum()), counts,
        [counts.readers.index(annotations.readers[reader]) for reader in references])


def _probabilities(cubes: xr.DataTree, places: npt.NDArray[np.intp], models: Sequence[str]
                   ) -> FloatArray:
    """Predicted probability of the model of each map; NaN where there is none."""
    found = np.full(len(places), np.nan)
    if "prediction" not in cubes.children or "probability" not in cubes["prediction"].data_vars:
        return found
    stored = cubes["prediction"].to_dataset()["probability"].transpose("image", "finding", "model")
    values = stored.values
    predicted = [str(name) for name in stored["model"].values]
    column = np.array([predicted.index(name) if name in predicted else -1 for name in models])
    known = column[places[:, 3]] >= 0
    place = places[known]
    found[known] = values[place[:, 0], place[:, 1], column[place[:, 3]]]
    return found
