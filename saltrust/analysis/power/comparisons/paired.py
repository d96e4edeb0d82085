"""Two scores of the same images: maps, agreement with gaze, equivalence, non-inferiority."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import stats

from saltrust.analysis.inference.bootstrap import FEWEST_PATIENTS
from saltrust.analysis.inference.clustered import clustered_mean
from saltrust.analysis.inference.max_t import step_down
from saltrust.analysis.inference.paired_differences import equivalence
from saltrust.analysis.power.comparisons.declaration import Comparison, Tested
from saltrust.analysis.power.options import PowerTest
from saltrust.analysis.power.samples import FloatArray, Sample, two_arms

_NAN = float("nan")


def differences(sample: Sample) -> FloatArray:
    """First minus second arm of every image, means over models."""
    means = sample.values.mean(axis=2)
    return np.asarray(means[:, 0] - means[:, 1], dtype=np.float64)


def _maps(sample: Sample, test: PowerTest, seed: int) -> Tested:
    values = differences(sample)
    if len(np.unique(sample.patients)) < FEWEST_PATIENTS:
        # So few have no interval, and then no test either.
        return Tested(float(values.mean()), _NAN)
    made = step_down(values[:, None], sample.patients, [np.array([0])], ["all"],
                     resamples=test.resamples, seed=seed)
    return Tested(float(values.mean()), float(made.p_value[0]))


def _clustered(sample: Sample, _test: PowerTest, _seed: int) -> Tested:
    made = clustered_mean(differences(sample), sample.patients)
    return Tested(made.estimate, made.p_value)


def _equivalence(sample: Sample, test: PowerTest, _seed: int) -> Tested:
    assert test.margin is not None
    made = equivalence(differences(sample), sample.patients, test.margin)
    return Tested(made.estimate, made.p_value)


def _non_inferiority(sample: Sample, test: PowerTest, _seed: int) -> Tested:
    assert test.margin is not None
    made = clustered_mean(differences(sample), sample.patients, null=-test.margin)
    return Tested(made.estimate, float(stats.t.sf(made.statistic, made.df)))


def mean_difference(sample: Sample) -> float:
    """The effect of a pilot."""
    return float(differences(sample).mean())


def shift_first(generator: np.random.Generator, sample: Sample, by: float, test: PowerTest
                ) -> Sample:
    """Move the first arm by so much; of hits, turn as many as it takes at random."""
    values = sample.values.copy()
    if test.outcome == "score":
        values[:, 0] += by
        return replace(sample, values=values)
    turned = values[:, 0] < 0.5 if by > 0 else values[:, 0] > 0.5
    share = abs(by) / max(float(turned.mean()), 1e-12)
    chosen = turned & (generator.random(turned.shape) < share)
    values[:, 0] = np.where(chosen, 1 - values[:, 0], values[:, 0])
    return replace(sample, values=values)


def _paired(table: str, test: str, decide: object, *questions: str) -> Comparison:
    return Comparison(table, test, two_arms, decide,  # type: ignore[arg-type]
                      mean_difference, shift_first, "maps", ("models", *questions))


COMPARISONS: dict[str, Comparison] = {
    "maps": _paired("localization, differences",
                    "studentized bootstrap of patients (max-T of one contrast)", _maps),
    "clustered": _paired("gaze, comparisons", "t test of the mean difference with errors by "
                                              "patient (CR2)", _clustered),
    "equivalence": _paired("utility, decisions (tost_p)",
                           "two one-sided t tests with errors by patient (CR2)", _equivalence,
                           "margin"),
    "non-inferiority": _paired("differences, no worse than by the margin",
                               "one-sided t test against the margin with errors by patient (CR2)",
                               _non_inferiority, "margin"),
}
