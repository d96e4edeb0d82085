"""Figures of merit of marks: ratings that tie, images without marks, patients of both kinds."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from saltrust.analysis.froc.figures_of_merit import (
    FindingMarks,
    difference_rows,
    figures_of,
    summary_rows,
)
from saltrust.analysis.inference.free_response import UNMARKED, FreeResponse, figure_of_merit
from saltrust.analysis.options import Resampling
from tests.calibration.designs import Design, Images, drawn_patients
from tests.calibration.outcome import Cell, Outcome, against

FloatArray = npt.NDArray[np.float64]
#: By how much lesions are rated above what is none, and the shares of both that are not marked.
_ABOVE, _MISSED, _CLEAN = 1.2, 0.2, 0.25


def cells() -> Iterator[Cell]:
    for patients in (12, 40, 200):
        for images in ("one", "many"):
            design = Design(patients, images)
            yield Cell("wAFROC", str(design), lambda g, d=design: _figure(g, d), ("coverage",),
                       patients, 2000 if patients < 200 else 1000)
            yield Cell("wAFROC of two maps", str(design), lambda g, d=design: _pair(g, d),
                       ("type I", "coverage"), patients, 1000 if patients < 200 else 500)


def _marks(generator: np.random.Generator, design: Design, series: int) -> FindingMarks:
    """Series of equal distribution on the same images; a half of the images have 1 to 3 lesions.

    Images of one patient are alike in whether they have lesions, and in how these are rated.
    """
    owner, levels = drawn_patients(generator, design)
    n = len(owner)
    sick = np.sqrt(0.7) * generator.normal(size=design.patients)[owner] + np.sqrt(
        0.3) * generator.normal(size=n) > 0
    lesions = np.where(sick, generator.integers(1, 4, n), 0)
    image = np.repeat(np.arange(n), lesions)
    made = {}
    for k in range(series):
        # Half of what a patient's images share is of the series alone.
        level_of = np.sqrt(0.5) * (levels + generator.normal(size=design.patients))
        false = _rated(generator, level_of[owner], 0.0, _CLEAN)
        rated = _rated(generator, level_of[owner][image], _ABOVE, _MISSED)
        made[f"e{k}", "net"] = FreeResponse(false, ~sick, rated, image,
                                            false[np.isfinite(false)])
    return FindingMarks("F", made, owner)


def _rated(generator: np.random.Generator, shared: FloatArray, above: float, missed: float
           ) -> FloatArray:
    rating = np.round(above + np.sqrt(0.5) * shared + np.sqrt(0.5) * generator.normal(
        size=len(shared)), 1)
    return np.where(generator.random(len(shared)) < missed, UNMARKED, rating)


@lru_cache
def _truth(images: Images) -> float:
    """Of a set so large that its figure is the expected one to .001."""
    data = _marks(np.random.default_rng(20_260_101), Design(40_000, images), 1)
    return figure_of_merit(data.series["e0", "net"])


def _both_kinds(generator: np.random.Generator, design: Design, series: int) -> FindingMarks:
    """A study that has normal images and images with lesions, as any that is analysed."""
    while True:
        data = _marks(generator, design, series)
        if not data.problem():
            return data


def _figure(generator: np.random.Generator, design: Design) -> Outcome:
    data = _both_kinds(generator, design, 1)
    row = next(summary_rows(figures_of([data], "wafroc"), "wafroc", 0.95))
    return against(row, _truth(design.images))


def _pair(generator: np.random.Generator, design: Design) -> Outcome:
    figures = figures_of([_both_kinds(generator, design, 2)], "wafroc")
    made: dict[str, Any] = difference_rows(figures, "wafroc", Resampling(
        resamples=400, seed=int(generator.integers(2**31))))[0]
    return against(made, 0.0)
