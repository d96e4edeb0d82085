"""A level against its baseline by a mixed model: utility and the other criteria, and lme4's."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd

from saltrust.analysis.options import Decision
from saltrust.analysis.power.comparisons.declaration import Comparison, Tested
from saltrust.analysis.power.comparisons.paired import mean_difference, shift_first
from saltrust.analysis.power.options import PowerTest
from saltrust.analysis.power.samples import Sample, two_arms
from saltrust.analysis.trustworthiness.decisions import mixed_contrasts
from saltrust.choices import Variance

_PAIR = ("level", "baseline")


def long_scores(sample: Sample) -> pd.DataFrame:
    """Scores in the form of :func:`saltrust.analysis.trustworthiness.decisions.decide`."""
    images, _, models = sample.values.shape
    names = {name: np.char.add(name[0], np.arange(count).astype(str))
             for name, count in (("image", images), ("model", models))}
    owners = np.char.add("p", np.asarray(sample.patients).astype(str))
    return pd.DataFrame({
        "image": np.repeat(names["image"], 2 * models), "patient": np.repeat(owners, 2 * models),
        "level": np.tile(np.repeat(_PAIR, models), images),
        "model": np.tile(names["model"], 2 * images), "value": sample.values.ravel()})


def _decided(sample: Sample, test: PowerTest, seed: int, variance: Variance) -> Tested:
    options = Decision(alpha=test.alpha, resamples=1000, seed=seed, variance=variance)
    random = "model" if sample.values.shape[2] > 1 else ""
    with warnings.catch_warnings():
        # Of a thousand fits some are singular.
        warnings.simplefilter("ignore")
        row: dict[str, Any] = mixed_contrasts(long_scores(sample), [_PAIR], options, random, {})[0]
    return Tested(float(row["estimate"]), float(row["p_value"]))


def _by_patient(sample: Sample, test: PowerTest, seed: int) -> Tested:
    return _decided(sample, test, seed, "level")


def _of_model(sample: Sample, test: PowerTest, seed: int) -> Tested:
    return _decided(sample, test, seed, "equal")


COMPARISONS: dict[str, Comparison] = {
    "criteria": Comparison(
        "utility, repeatability, reproducibility: decisions",
        "mixed model with a variance per level, contrast with errors by patient (CR2)",
        two_arms, _by_patient, mean_difference, shift_first, "utility", ("models",)),
    "mixed": Comparison(
        "mixed, contrasts; decisions with --variance equal",
        "mixed model with random intercepts for image and patient (REML, Satterthwaite)",
        two_arms, _of_model, mean_difference, shift_first, "utility", ("models",)),
}
