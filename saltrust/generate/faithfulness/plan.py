"""What curves of faithfulness a job will compute, settled before anything is computed."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from saltrust.cache.readings import READING
from saltrust.cache.schema import FAITHFULNESS_METRICS, Label
from saltrust.choices import MapReading
from saltrust.errors import UsageError
from saltrust.generation_settings import FaithfulnessSpec
from saltrust.study import Study

_log = logging.getLogger(__name__)

#: Of the noise on imputed pixels, as a part of the range from black to white (Rong et al. 2022).
NOISE_SIGMA = 0.01
#: Of the blurred image, as a part of its shorter side: 5 of 224 pixels (Petsiuk et al. 2018).
BLUR_SIGMA = 0.022
#: Gray levels by name, as parts of the range from black to white.
LEVELS = {"black": 0.0, "gray": 0.5, "white": 1.0}
_OF_CAPTUM = ("infidelity", "sensitivity")


@dataclass(frozen=True)
class FaithfulnessPlan:
    """Curves of some maps of a job.

    Attributes
    ----------
    spec : FaithfulnessSpec
    seed : int
        Of the study: of random orders, of the order of ties and of noise.
    size : (int, int)
        Height and width of every map.
    asked : ndarray of bool, shape (image, finding)
        Of all images of the store: of which maps there are to be curves.
    readings : dict of str to str
        By explainer: by what of its maps pixels are ordered.  Evidence has a sign, which counts:
        a pixel that speaks against the finding comes last.
    """

    spec: FaithfulnessSpec
    seed: int
    size: tuple[int, int]
    asked: npt.NDArray[np.bool_]
    readings: Mapping[str, MapReading]

    @property
    def curves(self) -> tuple[str, ...]:
        """Which curves, in the order of the cubes."""
        return tuple(name for name in FAITHFULNESS_METRICS if name in self.spec.metrics)

    @property
    def fractions(self) -> npt.NDArray[np.float64]:
        """Nominal fractions, both ends included."""
        return np.linspace(0, 1, self.spec.steps + 1)

    @property
    def squares(self) -> tuple[int, int]:
        """Into how many parts the height and the width are cut for `morf` and `lerf`."""
        return squares_of(self.spec.squares, self.size)

    def labels(self) -> xr.Dataset:
        """Coordinates of ``/faithfulness`` beside those of explainers and models."""
        return xr.Dataset(coords={
            "metric": ("metric", list(self.curves)), "fraction": ("fraction", self.fractions),
            "order": ("order", np.arange(self.spec.orders, dtype=np.int64)),
            READING: ("explainer", list(self.readings.values()))})

    def facts(self) -> dict[str, Any]:
        """What was removed with what: plain values for the root of the store."""
        spec = self.spec
        return {"metrics": list(spec.metrics), "baseline": spec.baseline,
                **({"blur_sigma": BLUR_SIGMA} if spec.baseline == "blur" else {}),
                "squares": list(self.squares), "noise_sigma": NOISE_SIGMA, "orders": spec.orders,
                "labels": spec.labels, "passes": spec.passes, "seed": self.seed,
                "reading": dict(self.readings)}

    def describe(self) -> dict[str, Any]:
        """What a resumed job must have in common with the one it goes on with."""
        # What is drawn follows from these, the labels and the seed; images without a radiograph
        # change nothing for the others.
        return {**self.facts(), "steps": self.spec.steps, "images": self.spec.images}


def plan_faithfulness(study: Study, readings: Mapping[str, MapReading],
                      images: npt.NDArray[np.intp], labels: npt.NDArray[np.int8]
                      ) -> FaithfulnessPlan | None:
    """Settle what ``[faithfulness]`` of a study asks for; None where it asks for nothing.

    Parameters
    ----------
    study : Study
    readings : mapping
        How the maps of each explainer are read, in the order of the cubes.
    images : ndarray of int
        Positions of the images that get heatmaps.
    labels : ndarray of int8, shape (image, finding)
        Of all images of the store.

    Raises
    ------
    UsageError
        If more images are asked for than there are, none of them shows a finding, or captum is
        asked for and not there.
    """
    spec = study.faithfulness
    if not spec.metrics:
        return None
    if not readings:
        raise UsageError("[faithfulness] judges heatmaps, but the study has no model that is "
                         "explained; name [[models]] and explainers")
    for name in _OF_CAPTUM:
        if name in spec.metrics and importlib.util.find_spec("captum") is None:
            raise UsageError(f"{name!r} of [faithfulness] is computed by captum, which is not "
                             "installed; install saltrust[generate], or leave it out")
    if spec.images > len(images):
        raise UsageError(f"images = {spec.images} of [faithfulness] is more than the {len(images)} "
                         f"of split {study.generate.split!r}; ask for fewer, or choose another "
                         "split under [generate]")
    explained = np.zeros(len(labels), dtype=bool)
    explained[images] = True
    wanted = explained[:, None] & ((labels == Label.POSITIVE) | (spec.labels == "all"))
    # Of all images of the store, so that one that is lost does not change what others get.
    order = np.random.default_rng([study.seed, 3]).permutation(len(labels))
    candidates = order[wanted[order].any(axis=1)]
    if not len(candidates):
        raise UsageError(f"no image of split {study.generate.split!r} shows a finding, of whose "
                         "maps [faithfulness] is asked; set labels = \"all\" there, or choose "
                         "another split under [generate]")
    chosen = np.isin(np.arange(len(labels)), candidates[:spec.images or len(images)])
    asked = _within_budget(study, wanted & chosen[:, None], len(readings))
    return FaithfulnessPlan(spec, study.seed, study.size, asked, {
        name: "raw" if word == "positive" else word for name, word in readings.items()})


def findings_within(spec: FaithfulnessSpec, n_explainers: int) -> int:
    """How many findings of an image have curves within the budget of forward passes.

    Parameters
    ----------
    spec : FaithfulnessSpec
    n_explainers : int

    Returns
    -------
    int
        At least 1.

    Examples
    --------
    >>> findings_within(FaithfulnessSpec(("deletion", "insertion")), 8)
    2
    """
    curves = [name for name in FAITHFULNESS_METRICS if name in spec.metrics]
    inside = spec.steps - 1
    # `lerf` shares the random orders of `morf`; two ends are shared by all.
    at_random = len(curves) - ({"morf", "lerf"} <= set(curves))
    left = spec.passes - spec.orders * at_random * inside - 3
    return max(1, left // (n_explainers * len(curves) * inside))


def _within_budget(study: Study, wanted: npt.NDArray[np.bool_], n_explainers: int
                   ) -> npt.NDArray[np.bool_]:
    """Of every image as many findings as its forward passes allow, drawn by seed."""
    if not study.faithfulness.passes:
        return wanted
    most = findings_within(study.faithfulness, n_explainers)
    drawn = np.random.default_rng([study.seed, 4]).random(wanted.shape)
    # Those that are not wanted come last.
    place = np.argsort(np.argsort(np.where(wanted, drawn, 2), axis=1), axis=1)
    kept = wanted & (place < most)
    if kept.sum() < wanted.sum():
        _log.warning("[faithfulness] judges the maps of %d of %d findings of images, drawn by "
                     "seed: %d forward passes of an image are enough for %d; `passes` there allows "
                     "more, 0 all", kept.sum(), wanted.sum(), study.faithfulness.passes, most)
    return np.asarray(kept)


def squares_of(wanted: int, size: tuple[int, int]) -> tuple[int, int]:
    """Into how many equal parts height and width are cut, near what is wanted of the shorter.

    Parameters
    ----------
    wanted : int
        Along the shorter side.
    size : (int, int)

    Returns
    -------
    (int, int)
        Each a divisor of its side, the nearest one by ratio, so that all parts are equal.

    Examples
    --------
    >>> squares_of(32, (320, 320)), squares_of(32, (320, 256)), squares_of(32, (299, 299))
    ((32, 32), (40, 32), (23, 23))
    """
    side = min(size) / wanted

    def nearest_divisor(length: int) -> int:
        divisors = [part for part in range(1, length + 1) if length % part == 0]
        return min(divisors, key=lambda part: abs(np.log(part * side / length)))

    return nearest_divisor(size[0]), nearest_divisor(size[1])
