"""Means with intervals by patient and tests adjusted together: faithfulness, complexity."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from saltrust.analysis.inference.tested_means import means_with_tests
from tests.calibration.designs import Design, drawn_patients, explainers, latent, overlaps
from tests.calibration.outcome import Cell, Outcome, against


def cells() -> Iterator[Cell]:
    for patients in (12, 40):
        for images in ("one", "many"):
            design = Design(patients, images)
            yield _cell("mean with a test", design, _one, ("type I", "coverage"), 4000)
            yield _cell("any of nine means with tests", design, _nine, ("familywise",), 1000)


def _cell(name: str, design: Design, draw: Any, asked: tuple[str, ...], replications: int
          ) -> Cell:
    return Cell(name, str(design), lambda generator: draw(generator, design), asked,
                design.patients, replications)


def _one(generator: np.random.Generator, design: Design) -> Outcome:
    """Differences of two scores of equal distribution, some of them zero."""
    owner, levels = drawn_patients(generator, design)
    first = overlaps(latent(generator, owner, levels))
    second = overlaps(latent(generator, owner, generator.normal(size=design.patients)))
    (row,) = means_with_tests((first - second)[:, None], owner, ["f"], resamples=1000,
                              seed=int(generator.integers(2**31)))
    return against(row, 0.0)


def _nine(generator: np.random.Generator, design: Design) -> Outcome:
    owner, levels = drawn_patients(generator, design)
    rows = means_with_tests(explainers(generator, owner, levels) - 0.5, owner, ["f"] * 9,
                            resamples=1000, seed=int(generator.integers(2**31)))
    return Outcome(rejected=float(min(row["p_adjusted"] for row in rows) <= 0.05))
