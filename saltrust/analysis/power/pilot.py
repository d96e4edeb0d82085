"""Scores of a pilot: drawn again by patient, or taken apart into components of variance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from saltrust.analysis.inference.bootstrap import left_out_means
from saltrust.analysis.inference.jackknife import jackknife_covariance
from saltrust.analysis.inference.resampling import cluster_codes
from saltrust.analysis.power.options import PowerTest, Stated
from saltrust.analysis.power.samples import NO_COVARIATE, FloatArray, Sample
from saltrust.errors import DataError

#: Fewer say little of how patients vary.
FEWEST_TO_TRUST = 10


@dataclass(frozen=True)
class PilotSample:
    """A pilot whose patients are drawn with replacement, all images of one together.

    Attributes
    ----------
    sample : Sample
        With the effect that is asked for.
    rows : tuple of ndarray
        Images of every patient.
    """

    sample: Sample
    rows: tuple[npt.NDArray[np.int64], ...]

    def drawn(self, generator: np.random.Generator, patients: int) -> Sample:
        """A study of so many patients."""
        chosen = generator.integers(0, len(self.rows), patients)
        rows = np.concatenate([self.rows[k] for k in chosen])
        owner = np.repeat(np.arange(patients), [len(self.rows[k]) for k in chosen])
        covariate = self.sample.covariate
        return Sample(self.sample.values[rows], owner,
                      covariate[rows] if len(covariate) else covariate)


def resampled(sample: Sample) -> PilotSample:
    """A pilot to draw from.

    Raises
    ------
    DataError
        If it has fewer than two patients.
    """
    codes, count = cluster_codes(sample.patients)
    if count < 2:
        raise DataError(f"the pilot has complete scores of {count} "
                        f"patient{'s' * (count != 1)}, and power needs to know how patients vary; "
                        "take a pilot with more, or state values with --sd and --icc")
    return PilotSample(sample, tuple(np.flatnonzero(codes == k) for k in range(count)))


def sample_of(values: FloatArray, patients: Sequence[Any] | npt.NDArray[Any],
              covariate: FloatArray = NO_COVARIATE) -> Sample:
    """Scores of shape (image, arm) as a sample, images without all of them left out."""
    known = np.isfinite(values).all(axis=1)
    if len(covariate):
        known &= np.isfinite(covariate)
    return Sample(values[known][:, :, None], np.asarray(patients, dtype=object)[known],
                  covariate[known] if len(covariate) else covariate)


def components(sample: Sample, test: PowerTest, otherwise: Stated) -> Stated:
    """Mean, spread, intraclass and mutual correlation of a pilot.

    Parameters
    ----------
    sample : Sample
    test : PowerTest
    otherwise : Stated
        What of it the pilot cannot tell is taken from here.

    Returns
    -------
    Stated
        The mean is that of the last arm; ``sd`` the root of the arms' mean variance; ``icc`` of
        a one-way analysis of variance by patient, not below 0, of the difference of two arms;
        ``correlation`` what gives that difference its variance, or the mean one of several arms.

    Raises
    ------
    DataError
        If the scores do not vary.
    """
    values = sample.values.mean(axis=2)
    variances = values.var(axis=0, ddof=1) if len(values) > 1 else np.zeros(values.shape[1])
    if not (variances > 0).all():
        raise DataError("the scores of the pilot do not vary, so that they say nothing of power; "
                        "take a larger pilot, or state values with --sd and --icc")
    arms = values.shape[1]
    correlation = otherwise.correlation
    columns = list(values.T)
    if arms == 2:
        # What is tested is their difference, whose spread and clusters must be the pilot's.
        difference = values[:, 0] - values[:, 1]
        correlation = float(np.clip(1 - difference.var(ddof=1) / variances.sum(), 0, 1))
        columns = [difference]
    elif arms > 2:
        pairs = np.corrcoef(values.T)[np.triu_indices(arms, 1)]
        correlation = float(np.clip(pairs.mean(), 0, 1))
    shares = [intraclass(column, sample.patients) for column in columns]
    known = [share for share in shares if not np.isnan(share)]
    icc = float(np.clip(np.mean(known), 0, 1)) if known else otherwise.icc
    # Effects are added to the AI where there are readers, else to the second of the two.
    mean = float(values[:, 0 if arms > 2 else -1].mean())
    if test.outcome == "hit":
        mean = min(max(mean, 0.5 / len(values)), 1 - 0.5 / len(values))
    if arms > 2:
        otherwise = replace(otherwise, reader_sd=reader_spread(sample))
    return replace(otherwise, mean=mean, sd=float(np.sqrt(variances.mean())), icc=icc,
                   correlation=correlation,
                   model_share=min(otherwise.model_share, 1 - icc))


def reader_spread(sample: Sample) -> float:
    """Standard deviation of readers' means beyond what their patients explain, not below 0.

    Parameters
    ----------
    sample : Sample
        The AI first, then two readers or more.
    """
    values = sample.values.mean(axis=2)[:, 1:]
    left_out, _ = left_out_means(values, sample.patients)
    covariance = jackknife_covariance(left_out)
    count = values.shape[1]
    shared = float(covariance[~np.eye(count, dtype=bool)].mean())
    chance = float(np.diag(covariance).mean()) - shared
    return float(np.sqrt(max(float(values.mean(axis=0).var(ddof=1)) - chance, 0.0)))


def intraclass(values: FloatArray, patients: npt.NDArray[Any]) -> float:
    """Share of the variance between patients, by a one-way analysis of variance.

    Returns
    -------
    float
        May be negative; NaN where no patient has two images, or nothing varies.

    Examples
    --------
    >>> made = intraclass(np.array([1.0, 1.2, 2.0, 2.2, 3.1, 2.9]), np.array([0, 0, 1, 1, 2, 2]))
    >>> round(made, 4)
    0.9781
    """
    codes, count = cluster_codes(patients)
    sizes = np.bincount(codes)
    n = len(values)
    if count < 2 or n == count:
        return float("nan")
    means = np.bincount(codes, weights=values) / sizes
    within = float(((values - means[codes]) ** 2).sum() / (n - count))
    between = float((sizes * (means - values.mean()) ** 2).sum() / (count - 1))
    size = (n - (sizes**2).sum() / n) / (count - 1)
    total = between + (size - 1) * within
    return float((between - within) / total) if total > 0 else float("nan")
