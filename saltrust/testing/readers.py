"""Simulated patients and readers: images, labels, what readers drew, where they looked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from saltrust.cache import rle
from saltrust.cache.collection import Annotation, Fixations, Radiograph
from saltrust.cache.schema import Label
from saltrust.testing.fields import FloatArray, bump, fill_ellipses, noise

#: Raised whenever the same arguments give other data.
SIMULATOR_VERSION = 1
READERS = {"radiologists": "reference", "reader-1": "benchmark", "reader-2": "benchmark"}
#: Streams of random numbers: what one part draws never changes another.
(LABELS, LESIONS, DRAWN, LOOKED, PIXELS, TEXTURE, PREDICTED, MAPS, FAILED, RANDOM, LOCALIZED,
 CURVES, PERTURBED) = range(13)

#: Most fixations of one image.
N_FIXATIONS = 14
#: Half of the patients are for testing, a third for training.
_SPLITS = ("test", "train", "test", "val", "test", "train")
#: Height and width as acquired, in twelfths of the grid.
_NATIVE = ((36, 30), (30, 36), (42, 33))


@dataclass(frozen=True)
class SimulatedStudy:
    """A :class:`saltrust.cache.collection.Collection` and source of gaze, drawn from a seed.

    Attributes
    ----------
    index : xarray.Dataset
    seed, grid : int
    lesions : list of list of ndarray of float64, shape (n, 4)
        Ellipses (:func:`saltrust.testing.fields.fill_ellipses`) by image and finding; where the
        finding is absent, where it usually is.
    difficulty : ndarray of float64, shape (image, finding)
        In [0, 1): how hard the finding is to see, for readers and models.
    has_radiographs, has_gaze : bool
    fingerprint : str
        SHA-256 of the arguments.
    description : dict
    """

    index: xr.Dataset
    seed: int
    grid: int
    lesions: list[list[FloatArray]]
    difficulty: FloatArray
    has_radiographs: bool
    has_gaze: bool
    fingerprint: str
    description: dict[str, Any]

    def stream(self, topic: int, image: int = 0) -> np.random.Generator:
        """Random numbers for one topic and image, always from the beginning."""
        return np.random.default_rng([self.seed, topic, image])

    def position(self, image: str) -> int:
        """Position of an image in the index."""
        return int(np.flatnonzero(self.index["image"].values == image)[0])

    def native_size(self, image: int) -> tuple[int, int]:
        """Height and width of an image as acquired."""
        return (int(self.index["native_height"].values[image]),
                int(self.index["native_width"].values[image]))

    def labels(self) -> npt.NDArray[np.int8]:
        """Labels, shape (image, finding)."""
        return np.asarray(self.index["label"].values)

    def texture(self, image: int) -> FloatArray:
        """What an image shows beside its findings, shape (grid, grid)."""
        return noise(self.stream(TEXTURE, image), (), self.grid)

    def radiograph(self, image: str, grid: tuple[int, int]) -> Radiograph:
        """Dark lungs, texture, and findings a little brighter."""
        i = self.position(image)
        lungs = bump(np.array([[0.5, 0.28], [0.5, 0.72]]), 0.25, self.grid)
        gray = 170 - 90 * (lungs[0] + lungs[1]) + 25 * self.texture(i)
        for f in np.flatnonzero(self.labels()[i] == Label.POSITIVE):
            gray += 40 * fill_ellipses(self.lesions[i][f], grid)
        return Radiograph(np.clip(gray, 0, 255).astype(np.uint8), *self.native_size(i))

    def annotations(self, image: str) -> Mapping[tuple[str, str], Annotation]:
        """Of each reader what was drawn; readers shift, miss and invent, and skip images."""
        i = self.position(image)
        generator = self.stream(DRAWN, i)
        drawn = {}
        for f, finding in enumerate(self.index["finding"].values):
            label, difficulty = int(self.labels()[i, f]), float(self.difficulty[i, f])
            for reader, role in READERS.items():
                chance = generator.random(2)
                shift = (2 * generator.random(4) - 1) * (0.02 + 0.06 * difficulty)
                if label == Label.NOT_STATED or chance[0] < 0.06:
                    continue
                ellipses = self.lesions[i][f]
                if role == "reference":
                    if label == Label.UNCERTAIN and difficulty < 0.5:
                        continue
                    seen = label != Label.NEGATIVE
                else:
                    ellipses = np.maximum(ellipses + shift, 0.05)
                    seen = chance[1] > (0.15 if label == Label.POSITIVE else 0.92)
                drawn[str(finding), reader] = _annotation(
                    ellipses if seen else ellipses[:0], self.native_size(i),
                    has_points=role == "benchmark")
        return drawn

    def gaze(self, image: str, grid: tuple[int, int]) -> Mapping[str, npt.NDArray[np.float32]]:
        """Heatmaps of the reference reader, and of one more, of whom no fixations are kept."""
        i = self.position(image)
        if i % 12 == 7:
            return {}
        at, duration = self._looked(i)
        maps = {"radiologists": _heatmap(at, duration, grid[0])}
        if i % 3:
            maps["reader-1"] = _heatmap(at[::-2], duration[::-2], grid[0])
        return maps

    def fixations(self, image: str) -> Mapping[str, Fixations]:
        """Fixations of the reference reader."""
        i = self.position(image)
        if i % 12 == 7:
            return {}
        at, duration = self._looked(i)
        height, width = self.native_size(i)
        return {"radiologists": Fixations(at[:, 0] * height - 0.5, at[:, 1] * width - 0.5,
                                          duration, np.cumsum(duration) - duration)}

    def _looked(self, image: int) -> tuple[FloatArray, FloatArray]:
        """Relative positions, shape (n, 2), and seconds: findings draw two looks of three."""
        generator = self.stream(LOOKED, image)
        n = int(generator.integers(6, N_FIXATIONS + 1))
        at = 0.1 + 0.8 * generator.random((n, 2))
        shown = np.flatnonzero(self.labels()[image] == Label.POSITIVE)
        for k in range(n if len(shown) else 0):
            if generator.random() < 0.67:
                ellipse = self.lesions[image][int(generator.choice(shown))][0]
                at[k] = ellipse[:2] + (generator.random(2) - 0.5) * ellipse[2:]
        return np.clip(at, 0.02, 0.98), 0.1 + 0.5 * generator.random(n)


def draw_study(patients: int, images_per_patient: int, findings: Sequence[str], grid: int,
               seed: int, *, has_radiographs: bool, has_gaze: bool) -> SimulatedStudy:
    """Draw patients, their images and labels, and the lesions in them.

    Parameters
    ----------
    patients, images_per_patient : int
    findings : sequence of str
    grid, seed : int
    has_radiographs, has_gaze : bool

    Returns
    -------
    SimulatedStudy
    """
    n = patients * images_per_patient
    patient = np.arange(n) // images_per_patient
    view = np.arange(n) % images_per_patient
    # Every third patient came once for each image; the others had two views at a visit.
    visit = np.where(patient % 3 == 2, view, view // 2)
    native = np.array([_NATIVE[k] for k in (patient + view) % len(_NATIVE)]) * grid // 12
    arguments = {"kind": "simulated", "simulator": SIMULATOR_VERSION, "patients": patients,
                 "images_per_patient": images_per_patient, "findings": list(findings),
                 "grid": grid, "seed": seed}
    index = xr.Dataset(
        {"label": (("image", "finding"), _labels(patient, len(findings), seed))},
        coords={
            "image": [f"patient-{p:03d}-{'frontal' if v % 2 == 0 else 'lateral'}-{v}"
                      for p, v in zip(patient, view, strict=True)],
            "finding": list(findings),
            "reader": list(READERS), "reader_role": ("reader", list(READERS.values())),
            "patient": ("image", [f"patient-{p:03d}" for p in patient]),
            "study": ("image", [f"patient-{p:03d}-visit-{k}"
                                for p, k in zip(patient, visit, strict=True)]),
            "view": ("image", ["frontal" if v % 2 == 0 else "lateral" for v in view]),
            "split": ("image", [_SPLITS[p % len(_SPLITS)] for p in patient]),
            "native_height": ("image", native[:, 0].astype(np.int32)),
            "native_width": ("image", native[:, 1].astype(np.int32)),
        },
        # Of every annotation: no finding has more than two lesions.
        attrs={"n_points": 2, "n_boxes": 2, "n_fixations": N_FIXATIONS})
    generator = np.random.default_rng([seed, LESIONS])
    lesions = [[_lesions(generator, f) for f in range(len(findings))] for _ in range(n)]
    return SimulatedStudy(
        index, seed, grid, lesions, generator.random((n, len(findings))), has_radiographs,
        has_gaze, hashlib.sha256(json.dumps(arguments).encode()).hexdigest(), arguments)


def _labels(patient: npt.NDArray[np.intp], n_findings: int, seed: int) -> npt.NDArray[np.int8]:
    """Half of the images show a finding, more so where the patient's others do."""
    generator = np.random.default_rng([seed, LABELS])
    n = len(patient)
    severity = generator.random((patient.max() + 1, n_findings))[patient]
    order = np.argsort(-(severity + 0.6 * generator.random((n, n_findings))), axis=0)
    positive, uncertain = n // 2, max(1, n // 12)
    labels = np.full((n, n_findings), int(Label.NEGATIVE), dtype=np.int8)
    for f in range(n_findings):
        labels[order[:positive, f], f] = Label.POSITIVE
        labels[order[positive:positive + uncertain, f], f] = Label.UNCERTAIN
        negative = np.flatnonzero(labels[:, f] == Label.NEGATIVE)
        labels[generator.permutation(negative)[:max(1, n // 16)], f] = Label.NOT_STATED
    return labels


def _lesions(generator: np.random.Generator, finding: int) -> FloatArray:
    """One or two ellipses where the finding usually is."""
    usual = np.array([0.35 + 0.3 * (finding * 5 % 7) / 6, 0.35 + 0.3 * (finding * 3 % 4) / 3])
    first = usual + 0.3 * (generator.random(2) - 0.5)
    axes = 0.08 + 0.12 * generator.random((2, 2))
    second = first + np.where(generator.random(2) < 0.5, -1, 1) * axes.sum(axis=0)
    ellipses = np.column_stack([np.clip([first, second], 0.15, 0.85), axes])
    return np.asarray(ellipses[:1 if generator.random() < 0.6 else 2])


def _annotation(ellipses: FloatArray, size: tuple[int, int], *, has_points: bool) -> Annotation:
    native = np.array(size, dtype=np.float64)
    low = np.maximum(ellipses[:, :2] - ellipses[:, 2:], 0) * native
    high = np.minimum(ellipses[:, :2] + ellipses[:, 2:], 1) * native
    at = ellipses[:, :2] * native - 0.5
    return Annotation(
        rle.encode(fill_ellipses(ellipses, size)), len(ellipses),
        points=tuple((y, x) for y, x in at.tolist()) if has_points else (),
        boxes=() if has_points else tuple(
            (y0, x0, y1, x1) for y0, x0, y1, x1 in np.column_stack([low, high]).tolist()))


def _heatmap(at: FloatArray, duration: FloatArray, grid: int) -> npt.NDArray[np.float32]:
    total = np.zeros((grid, grid))
    for position, seconds in zip(at, duration, strict=True):
        total += seconds * bump(position, 0.08, grid)
    return np.asarray(total / total.max(), dtype=np.float32)
