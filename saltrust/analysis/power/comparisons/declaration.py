"""What a comparison declares of itself: how its data are drawn and shifted, and its test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from saltrust.analysis.power.designs import Design
from saltrust.analysis.power.options import PowerTest, Stated
from saltrust.analysis.power.samples import Sample

#: Where the scores of a pilot come from.
PilotScores = Literal["maps", "readers", "utility", "slope", "auc", ""]


class Tested(NamedTuple):
    """Estimate and p-value of one simulated study; NaN where there is none."""

    estimate: float
    p_value: float


Draw = Callable[[np.random.Generator, Design, Stated, PowerTest], Sample]
Decide = Callable[[Sample, PowerTest, int], Tested]
#: Makes the effect of a sample what is asked for, given the sample's own.
Shift = Callable[[np.random.Generator, Sample, float, PowerTest], Sample]
Effect = Callable[[Sample], float]


@dataclass(frozen=True)
class Comparison:
    """One kind of comparison.

    Attributes
    ----------
    table : str
        Where its test stands in results, for people.
    test : str
        What it is, for people.
    draw : callable
        A sample from a generator, a design, stated values and the test.
    decide : callable
        The test of the package, of a sample and a seed.
    effect : callable
        The effect that a whole pilot has.
    shift : callable
        Puts another effect in its place.
    pilot : {"maps", "readers", "utility", "slope", "auc", ""}
        Where scores of pilot cubes come from; empty: stated values only.
    questions : sequence of str
        Dimensions of a design that it knows beside patients, images and effect; ``margin`` where
        it needs one.
    """

    table: str
    test: str
    draw: Draw
    decide: Decide
    effect: Effect
    shift: Shift
    pilot: PilotScores = ""
    questions: Sequence[str] = ()
