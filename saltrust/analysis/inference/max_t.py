"""Many means tested at once, by the largest statistic of shared resamples (Romano and Wolf)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from saltrust.analysis.inference.resampling import cluster_codes, resample_blocks
from saltrust.analysis.inference.threads import one_blas_thread
from saltrust.errors import DataError

FloatArray = npt.NDArray[np.float64]

#: Resamples of tests: with fewer, the least p-value there can be is too large for a family.
RESAMPLES = 9_999
#: Resamples for each test of a family, up to these: 20 / alpha at 5%.
_FOR_EACH = 400


class StepDown(NamedTuple):
    """Result of :func:`step_down`.

    Attributes
    ----------
    statistic : ndarray of float64, shape (q,)
        Mean over its error, clustered by patient; NaN where nothing varies.
    p_value, p_adjusted : ndarray of float64, shape (q,)
        Two-sided, for the test alone and for its family; NaN with the statistic.
    least : float
        No p-value can be below it.
    """

    statistic: FloatArray
    p_value: FloatArray
    p_adjusted: FloatArray
    least: float


@one_blas_thread()
def step_down(values: npt.ArrayLike, clusters: npt.ArrayLike, averaged: Sequence[npt.ArrayLike],
              families: Sequence[str], *, resamples: int = RESAMPLES, seed: int = 0) -> StepDown:
    r"""Whether means of columns, or of several columns, are zero, adjusted by step-down max-T.

    A mean changes by :math:`\sum_g w_g u_g` where patient g is drawn :math:`w_g` times,
    :math:`u_g` being what the patient adds to it.  The statistic is the mean over its
    error from the :math:`u_g`, and in every resample that change over the error of the resample
    itself: without the latter, patients of unequal numbers of images reject too often.  A test
    is adjusted by how often the largest of its family, of those no larger than its own, reaches
    it, so that tests which go together cost less than under Holm's correction.

    Parameters
    ----------
    values : array_like of float, shape (n, k)
        NaN where a row does not belong to the column.
    clusters : array_like, shape (n,)
        Patients: all rows of one are drawn together.
    averaged : sequence of array_like of int, length q
        Columns whose means are averaged in each tested quantity; one, or several.
    families : sequence of str, length q
        Which tests are adjusted for each other.
    resamples : int
        All tests share them.
    seed : int

    Returns
    -------
    StepDown

    Raises
    ------
    DataError
        If the shapes do not fit.

    References
    ----------
    J. P. Romano and M. Wolf (2005), J. Am. Stat. Assoc. 100, 94-108 (algorithm 3.1).

    Examples
    --------
    >>> values = np.random.default_rng(0).normal([3.0, 0.0], 1, (40, 2))
    >>> made = step_down(values, np.arange(40), [[0], [1]], ["f", "f"], resamples=999)
    >>> float(made.p_adjusted[0]), bool(made.p_adjusted[1] >= made.p_value[1])
    (0.001, True)
    """
    table = np.asarray(values, dtype=np.float64)
    columns = [np.asarray(places, dtype=np.intp).ravel() for places in averaged]
    if len(columns) != len(families):
        raise DataError(f"{len(columns)} tests and {len(families)} families do not fit")
    codes, count = cluster_codes(clusters)
    known = ~np.isnan(table)
    sums, counts = np.zeros((2, count, table.shape[1]))
    np.add.at(sums, codes, np.where(known, table, 0.0))
    np.add.at(counts, codes, known)
    total = counts.sum(axis=0)
    means = np.divide(sums.sum(axis=0), total, out=np.zeros_like(total), where=total > 0)
    # What every patient adds to a mean.
    added = np.divide(sums - counts * means, total, out=np.zeros_like(sums), where=total > 0)
    estimate = np.array([means[places].mean() if len(places) else 0.0 for places in columns])
    of_patient = np.stack([added[:, places].mean(axis=1) if len(places) else np.zeros(count)
                           for places in columns], axis=1)
    error = np.sqrt(count / max(count - 1, 1) * (of_patient**2).sum(axis=0))
    empty = np.array([not len(places) or (total[places] == 0).any() for places in columns])
    tested = np.flatnonzero((error > 1e-12 * (1 + np.abs(estimate))) & ~empty & (count > 1))
    statistic, p_value, p_adjusted = np.full((3, len(families)), np.nan)
    statistic[tested] = estimate[tested] / error[tested]
    orders = _orders(np.abs(statistic), tested, families)
    alone, together = np.zeros((2, len(families)))
    drawn_total = 0
    scaled = of_patient[:, tested] / error[tested]
    at = {column: place for place, column in enumerate(tested.tolist())}
    for block in resample_blocks(count, resamples, seed):
        drawn = block.astype(np.float64)
        change = drawn @ scaled
        spread = count / max(count - 1, 1) * (drawn @ scaled**2 - change**2 / count)
        # A resample of one patient only has no error, and says nothing against chance.
        away = np.divide(np.abs(change), np.sqrt(np.maximum(spread, 0)),
                         out=np.full_like(change, np.inf), where=spread > 1e-12)
        alone[tested] += (away >= np.abs(statistic[tested])).sum(axis=0)
        for order in orders:
            # From the smallest statistic of the family up: the largest of all so far.
            largest = np.maximum.accumulate(away[:, [at[k] for k in order]], axis=1)
            together[order] += (largest >= np.abs(statistic[order])).sum(axis=0)
        drawn_total += len(block)
    p_value[tested] = (alone[tested] + 1) / (drawn_total + 1)
    for order in orders:
        stepped = (together[order] + 1) / (drawn_total + 1)
        # Nobody is rejected before one with a larger statistic.
        p_adjusted[order] = np.maximum.accumulate(stepped[::-1])[::-1]
    return StepDown(statistic, p_value, p_adjusted, 1 / (drawn_total + 1))


def resamples_for(tests: int, resamples: int) -> int:
    """How many resamples a family needs, where this many are drawn for intervals.

    Examples
    --------
    >>> resamples_for(2, 1000), resamples_for(36, 1000), resamples_for(2, 20000)
    (1000, 9999, 20000)
    """
    return max(resamples, min(RESAMPLES, _FOR_EACH * tests))


def _orders(size: FloatArray, tested: npt.NDArray[np.intp], families: Sequence[str]
            ) -> list[list[int]]:
    """Tests of each family, the smallest statistic first."""
    members: dict[str, list[int]] = {}
    for k in tested.tolist():
        members.setdefault(families[k], []).append(k)
    return [sorted(of_family, key=lambda k: size[k]) for of_family in members.values()]
