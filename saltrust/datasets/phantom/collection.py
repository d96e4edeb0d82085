"""The phantom data set: synthetic frontal chest radiographs with known truth.

Three hundred patients by default, ten findings, a reference reader who knows the truth and two
experts whose errors depend on shape in a known way.  It needs no download, is exactly
reproducible from its seed, and gives every analysis a known answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from PIL import Image

from saltrust.cache.collection import Annotation, Fixations, Radiograph
from saltrust.cache.gaze_maps import GazeSmoothing, fixation_heatmap
from saltrust.cache.schema import CHEXLOCALIZE_FINDINGS
from saltrust.datasets.collection_index import collection_index, fingerprint
from saltrust.datasets.phantom.gaze import MOST_FIXATIONS, look
from saltrust.datasets.phantom.patients import ImageRecord, draw_records
from saltrust.datasets.phantom.readers import (
    BUILT_IN_EFFECTS,
    EXPERTS,
    REFERENCE,
    read_all,
)
from saltrust.datasets.phantom.scene import Scene, render
from saltrust.datasets.splits import SPLIT_FRACTIONS, split_by_patient
from saltrust.errors import DataError, UsageError, nearest

#: Raised whenever the same seed would give other images, labels or masks.
GENERATOR_VERSION = 1


@dataclass(frozen=True, eq=False)
class PhantomCollection:
    """Phantom radiographs as a :class:`saltrust.cache.collection.Collection`.

    Made by :func:`phantom`.  Labels and splits are known at once; an image is rendered when it
    is asked for, from random numbers of its own, and the last one is kept.

    A label is positive exactly where the truth has a mask, negative exactly where it has none.
    An uncertain label says neither: about half of them are drawn, faintly.
    """

    index: xr.Dataset
    fingerprint: str
    description: dict[str, Any]
    size: int
    seed: int
    smoothing: GazeSmoothing | None = None
    has_radiographs: bool = True
    _records: dict[str, ImageRecord] = field(default_factory=dict, repr=False)
    _last: dict[str, Scene] = field(default_factory=dict, repr=False)

    def scene(self, image: str) -> Scene:
        """Pixels at native size and the true masks of all ten findings of one image.

        Raises
        ------
        DataError
            If the collection has no such image.
        """
        scene = self._last.get(image)
        if scene is not None:
            return scene
        record = self._record(image)
        patient, study, number = record.numbers
        strong = [name for name, strength in record.drawn.items() if strength == 1]
        faint = [name for name, strength in record.drawn.items() if strength < 1]
        scene = render(strong, faint=faint, view=record.view, size=self.size, seed=self.seed,
                       patient=patient, study=study, image=number)
        self._last.clear()
        self._last[image] = scene
        return scene

    def radiograph(self, image: str, grid: tuple[int, int]) -> Radiograph:
        """Render one radiograph and resample it to ``grid`` = (height, width)."""
        pixels = self.scene(image).pixels
        if tuple(grid) != pixels.shape:
            height, width = grid
            resized = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
            return Radiograph(np.array(resized), self.size, self.size)
        return Radiograph(pixels.copy(), self.size, self.size)

    def annotations(self, image: str) -> Mapping[tuple[str, str], Annotation]:
        """Annotations of all findings by all readers, keyed by (finding, reader)."""
        scene = self.scene(image)
        masks = {str(name): scene.masks[str(name)] for name in self.index["finding"].values}
        return read_all(masks, scene.anatomy, (self.seed, *self._record(image).numbers))

    @property
    def has_gaze(self) -> bool:
        """Whether gaze is simulated."""
        return self.smoothing is not None

    def fixations(self, image: str) -> Mapping[str, Fixations]:
        """Simulated fixations of the reference reader (:mod:`saltrust.datasets.phantom.gaze`)."""
        if self.smoothing is None:
            return {}
        scene = self.scene(image)
        return {REFERENCE: look(scene.masks, scene.anatomy,
                                (self.seed, *self._record(image).numbers))}

    def gaze(self, image: str, grid: tuple[int, int]) -> Mapping[str, npt.NDArray[np.float32]]:
        """Gaze heatmap of the reference reader, maximum 1."""
        of_reader = {}
        for reader, fixations in self.fixations(image).items():
            assert self.smoothing is not None
            heatmap = fixation_heatmap(fixations, (self.size, self.size), grid, self.smoothing)
            if heatmap is not None:
                of_reader[reader] = heatmap
        return of_reader

    def _record(self, image: str) -> ImageRecord:
        try:
            return self._records[image]
        except KeyError:
            raise DataError(f"the phantom has no image {image!r}: "
                            f"{nearest(image, list(self._records)[:2000])}") from None


def phantom(*, patients: int = 300, size: int = 128, seed: int = 0,
            findings: Sequence[str] | None = None,
            split_fractions: Sequence[float] = SPLIT_FRACTIONS,
            gaze: GazeSmoothing | None = None) -> PhantomCollection:
    """Make a phantom data set; nothing is rendered yet.

    Parameters
    ----------
    patients : int
        Number of patients; each has one to four images.
    size : int
        Height and width of the radiographs in pixels, at least 32.
    seed : int
        Not negative; the same seed gives the same data set.
    findings : sequence of str, optional
        Which of the ten findings to list, in this order; all by default.  The images are the
        same whatever is listed.
    split_fractions : sequence of three floats
        Shares of patients for training, validation and test; they add up to 1.
    gaze : GazeSmoothing, optional
        Simulate where the reference reader looks, and make heatmaps of it so.  Images, labels
        and masks are the same with and without.

    Returns
    -------
    PhantomCollection

    Raises
    ------
    UsageError
        If an argument is out of range or a finding unknown or listed twice.

    Examples
    --------
    >>> data = phantom(patients=5, size=64, findings=["Edema", "Pneumothorax"])
    >>> data.index.sizes["finding"], data.index["reader"].values.tolist()
    (2, ['reference', 'expert-1', 'expert-2'])
    >>> data.radiograph("phantom-0003_study1_view1_frontal", (32, 32)).pixels.shape
    (32, 32)
    """
    names = tuple(findings) if findings else CHEXLOCALIZE_FINDINGS
    fractions = _checked(patients, size, seed, names, split_fractions)
    parameters = {"kind": "phantom", "generator_version": GENERATOR_VERSION,
                  "patients": patients, "size": size, "seed": seed, "findings": list(names),
                  "split_fractions": list(fractions)}
    if gaze is not None:
        parameters["gaze"] = {"simulated": True, "sigma": gaze.sigma, "weight": gaze.weight}
    records = draw_records(patients, seed)
    labels = np.array([record.labels for record in records])
    whose = [record.patient for record in records]
    index = collection_index(
        [record.name for record in records], names,
        labels[:, [CHEXLOCALIZE_FINDINGS.index(name) for name in names]],
        readers={REFERENCE: "reference"} | {expert.name: "benchmark" for expert in EXPERTS},
        native_sizes=[(size, size)] * len(records),
        patient=whose,
        study=[record.study for record in records],
        view=[record.view for record in records],
        # All ten labels decide the split, so that it does not depend on which are listed.
        split=split_by_patient(whose, labels, fractions, seed),
    )
    description = parameters | {
        "source": "synthetic radiographs with known truth",
        "images": len(records),
        "built_in_effects": BUILT_IN_EFFECTS,
    }
    # Known without rendering: each reader marks one point per mask and draws no boxes.
    index.attrs.update(n_points=1, n_boxes=0)
    if gaze is not None:
        index.attrs["n_fixations"] = MOST_FIXATIONS
    return PhantomCollection(index, fingerprint(parameters), description, size, seed, gaze,
                             _records={record.name: record for record in records})


def _checked(patients: int, size: int, seed: int, findings: tuple[str, ...],
             split_fractions: Sequence[float]) -> tuple[float, float, float]:
    if patients < 1:
        raise UsageError(f"a phantom needs at least 1 patient, not patients={patients}")
    if size < 32:
        raise UsageError(f"a phantom of size={size} pixels shows nothing: at least 32 are needed")
    if seed < 0:
        raise UsageError(f"the seed of a phantom must not be negative, as seed={seed} is")
    for name in findings:
        if name not in CHEXLOCALIZE_FINDINGS:
            raise UsageError(f"the phantom has no finding {name!r}: "
                             f"{nearest(name, CHEXLOCALIZE_FINDINGS)}")
        if findings.count(name) > 1:
            raise UsageError(f"the finding {name!r} is listed twice: name it once")
    fractions = tuple(float(share) for share in split_fractions)
    if (len(fractions) != 3 or any(not 0 <= share <= 1 for share in fractions)
            or not math.isclose(sum(fractions), 1.0, abs_tol=1e-6)):
        raise UsageError("split_fractions must be three shares (train, val, test) that add up "
                         f"to 1, not {list(fractions)}")
    return fractions[0], fractions[1], fractions[2]
