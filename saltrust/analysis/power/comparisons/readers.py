"""Readers, who are a sample of readers, against the AI: Hillis's test over readers and patients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from saltrust.analysis.inference.bootstrap import FEWEST_PATIENTS, left_out_means
from saltrust.analysis.inference.multireader.random_readers import readers_against_one
from saltrust.analysis.power.comparisons.declaration import Comparison, Tested
from saltrust.analysis.power.comparisons.paired import shift_first
from saltrust.analysis.power.designs import Design
from saltrust.analysis.power.options import PowerTest, Stated
from saltrust.analysis.power.samples import (
    NO_COVARIATE,
    FloatArray,
    Sample,
    owners,
    scored,
    standard_scores,
)


def _means(sample: Sample) -> FloatArray:
    return np.asarray(sample.values.mean(axis=2), dtype=np.float64)


def _draw(generator: np.random.Generator, design: Design, stated: Stated, test: PowerTest
          ) -> Sample:
    """The AI first; readers have the effect more than it, and their spread, on average."""
    owner = owners(generator, design)
    z = standard_scores(generator, owner, 1 + design.readers, design.models, stated)
    luck = stated.reader_sd * generator.normal(size=design.readers)
    means = np.concatenate([[stated.mean], stated.mean + design.effect + luck])
    return Sample(scored(generator, z, means, replace(stated, model_sd=0.0), test), owner,
                  NO_COVARIATE)


def _decide(sample: Sample, _test: PowerTest, _seed: int) -> Tested:
    values = _means(sample)
    figures = values.mean(axis=0)
    left_out, _ = left_out_means(values, sample.patients)
    made = readers_against_one(figures[1:], figures[0], left_out[:, 1:], left_out[:, 0],
                               len(values))
    few = len(left_out) < FEWEST_PATIENTS
    return Tested(made.estimate, float("nan") if few else made.p_value)


def _effect(sample: Sample) -> float:
    figures = _means(sample).mean(axis=0)
    return float(figures[1:].mean() - figures[0])


def _shift(generator: np.random.Generator, sample: Sample, by: float, test: PowerTest) -> Sample:
    """Move the AI, so that readers stay as they are to each other."""
    return shift_first(generator, sample, -by, test)


COMPARISONS: dict[str, Comparison] = {
    "readers": Comparison("localization, decrease: maps against random readers",
                          "readers against the AI over readers and patients (Hillis 2007)", _draw,
                          _decide, _effect, _shift, "readers", ("readers", "models")),
}
