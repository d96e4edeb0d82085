"""Two models' areas under the ROC curve on the same cases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from saltrust.analysis.inference.auc_covariance import auc_covariance, exchange_parts
from saltrust.analysis.inference.sign_flips import sign_flip_test
from saltrust.analysis.power.comparisons.declaration import Comparison, Tested
from saltrust.analysis.power.designs import Design
from saltrust.analysis.power.options import PowerTest, Stated
from saltrust.analysis.power.samples import (
    FloatArray,
    Sample,
    owners,
    second_group,
    standard_scores,
)
from saltrust.errors import UsageError

#: Halvings of the interval in which a shift is searched.
_HALVINGS = 40


def _areas(sample: Sample) -> FloatArray:
    return auc_covariance(sample.covariate > 0.5, sample.values.mean(axis=2)).auc


def _difference(sample: Sample) -> float:
    first, second = _areas(sample)
    return float(first - second)


def _decide(sample: Sample, _test: PowerTest, _seed: int) -> Tested:
    positive = sample.covariate > 0.5
    if positive.all() or not positive.any():
        return Tested(float("nan"), float("nan"))
    means = sample.values.mean(axis=2)
    parts = exchange_parts(positive, means[:, 0], means[:, 1], sample.patients)
    return Tested(float(parts.sum()), float(sign_flip_test(parts).p_value))


def _draw(generator: np.random.Generator, design: Design, stated: Stated, _test: PowerTest
          ) -> Sample:
    """Binormal scores; a patient has the finding on all images or on none."""
    areas = np.array([stated.mean + design.effect, stated.mean])
    if not ((areas > 0) & (areas < 1)).all():
        raise UsageError(f"mean {stated.mean:g} and effect {design.effect:g} make areas under the "
                         f"curve of {areas[1]:g} and {areas[0]:g}, which must lie between 0 and 1; "
                         "state others")
    owner = owners(generator, design)
    positive = second_group(design.patients, stated.prevalence)[owner]
    z = standard_scores(generator, owner, 2, design.models, stated)
    apart = np.sqrt(2) * ndtri(areas)
    return Sample(z + apart[None, :, None] * positive[:, None, None], owner, positive)


def _shift(_generator: np.random.Generator, sample: Sample, by: float, _test: PowerTest) -> Sample:
    """Move the first model's scores of positives until the areas differ by so much more."""
    first, second = _areas(sample)
    wanted = first + by
    if not 0 < wanted < 1:
        raise UsageError(f"an area of {wanted:g} would be needed for this effect, beside one of "
                         f"{second:g} in the pilot; name a smaller effect")
    positive = sample.covariate > 0.5
    reach = float(np.ptp(sample.values[:, 0])) + 1.0
    low, high = -reach, reach
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        moved = _moved(sample, positive, middle)
        low, high = (middle, high) if _areas(moved)[0] < wanted else (low, middle)
    return _moved(sample, positive, high)


def _moved(sample: Sample, positive: npt.NDArray[np.bool_], by: float) -> Sample:
    values = sample.values.copy()
    values[positive, 0] += by
    return replace(sample, values=values)


COMPARISONS: dict[str, Comparison] = {
    "auc": Comparison("classification, comparisons",
                      "exchange of the ranks of two models within patients", _draw, _decide,
                      _difference, _shift, "auc", ("models",)),
}
