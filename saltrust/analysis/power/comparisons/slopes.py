"""A score on a descriptor, or between two groups of patients: least squares with CR2 errors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from saltrust.analysis.inference.clustered import robust_slope
from saltrust.analysis.inference.linear import simple_regression
from saltrust.analysis.power.comparisons.declaration import Comparison, Tested
from saltrust.analysis.power.comparisons.paired import shift_first
from saltrust.analysis.power.designs import Design
from saltrust.analysis.power.options import PowerTest, Stated
from saltrust.analysis.power.samples import (
    FloatArray,
    Sample,
    owners,
    scored,
    second_group,
    standard_scores,
)
from saltrust.errors import UsageError


def _response(sample: Sample) -> FloatArray:
    return np.asarray(sample.values[:, 0].mean(axis=1), dtype=np.float64)


def _slope(sample: Sample, _test: PowerTest, _seed: int) -> Tested:
    x, y = sample.covariate, _response(sample)
    made = robust_slope(simple_regression(x, y), x, y, sample.patients)
    return Tested(made.estimate, made.p_value)


def _estimated(sample: Sample) -> float:
    return float(simple_regression(sample.covariate, _response(sample)).estimate)


def _draw_slope(generator: np.random.Generator, design: Design, stated: Stated, test: PowerTest
                ) -> Sample:
    """A standardized descriptor, and a score that grows by the effect with one SD of it."""
    if test.outcome == "hit":
        raise UsageError("the slope of hits is that of a logit; take the outcome score, or groups "
                         "for the difference of two hit rates")
    if abs(design.effect) >= stated.sd:
        raise UsageError(f"a slope of {design.effect:g} per SD of the descriptor explains more "
                         f"than the whole variance of scores of SD {stated.sd:g}; name a smaller "
                         "effect or a larger sd")
    owner = owners(generator, design)
    x = standard_scores(generator, owner, 1, 1, replace(stated, model_share=0.0))[:, 0, 0]
    z = standard_scores(generator, owner, 1, design.models, stated)
    rest = replace(stated, sd=float(np.sqrt(stated.sd**2 - design.effect**2)))
    values = scored(generator, z, [stated.mean], rest, test)
    return Sample(values + design.effect * x[:, None, None], owner, x)


def _shift_slope(_generator: np.random.Generator, sample: Sample, by: float, _test: PowerTest
                 ) -> Sample:
    return replace(sample, values=sample.values + by * sample.covariate[:, None, None])


def _draw_groups(generator: np.random.Generator, design: Design, stated: Stated, test: PowerTest
                 ) -> Sample:
    """One score of every image; patients of the second group have the effect more."""
    owner = owners(generator, design)
    group = second_group(design.patients, stated.prevalence)[owner]
    z = standard_scores(generator, owner, 1, design.models, stated)
    means = stated.mean + design.effect * group
    return Sample(scored(generator, z, means[:, None], stated, test), owner, group)


def _shift_group(generator: np.random.Generator, sample: Sample, by: float, test: PowerTest
                 ) -> Sample:
    moved = shift_first(generator, sample, by, test)
    inside = sample.covariate[:, None, None] > 0
    return replace(sample, values=np.where(inside, moved.values, sample.values))


COMPARISONS: dict[str, Comparison] = {
    "slope": Comparison("regressions, estimates; confidence, estimates",
                        "slope by least squares with errors by patient (CR2)", _draw_slope, _slope,
                        _estimated, _shift_slope, "slope", ("models",)),
    "groups": Comparison("differences between subgroups of patients",
                         "difference of means by least squares with errors by patient (CR2)",
                         _draw_groups, _slope, _estimated, _shift_group, "", ("models",)),
}
