"""Covariance of areas under ROC curves of treatments by readers, in three ways."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from saltrust.analysis.inference.auc_covariance import auc_covariance, left_out_aucs
from saltrust.analysis.inference.jackknife import jackknife_covariance
from saltrust.analysis.inference.resampling import cluster_codes
from saltrust.analysis.inference.threads import one_blas_thread
from saltrust.choices import AreaCovariance
from saltrust.errors import DataError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

#: Pairs of a positive and a negative case, times scores, that are compared at once.
_BLOCK = 4_000_000


class Areas(NamedTuple):
    """Areas and their covariance.

    Attributes
    ----------
    auc : ndarray of float64, shape (k,)
    covariance : ndarray of float64, shape (k, k)
        NaN where it cannot be had.
    """

    auc: FloatArray
    covariance: FloatArray


def areas_with_covariance(labels: npt.ArrayLike, scores: npt.ArrayLike, clusters: npt.ArrayLike,
                          method: AreaCovariance = "jackknife") -> Areas:
    """Empirical areas under the ROC curves of k scores, and their covariance over cases.

    Parameters
    ----------
    labels : array_like of bool, shape (n,)
    scores : array_like of float, shape (n, k)
        NaN where a case has no score, which the jackknife alone allows: an area is of the cases
        that have one.
    clusters : array_like, shape (n,)
        Patients, or the cases themselves.
    method : {"jackknife", "delong", "unbiased"}
        Leaving out patients; DeLong's, clustered as Obuchowski's
        (:func:`saltrust.analysis.inference.auc_covariance.auc_covariance`); or
        :func:`unbiased_covariance`.

    Raises
    ------
    DataError
        If scores are missing and the method is not the jackknife.
    """
    table = np.asarray(scores, dtype=np.float64)
    if method == "jackknife":
        left_out, auc = areas_without_each(labels, table, clusters)
        return Areas(auc, jackknife_covariance(left_out))
    if np.isnan(table).any():
        raise DataError(f"the covariance {method!r} needs a score of every case; take the "
                        "jackknife where some are missing")
    made = auc_covariance(labels, table, clusters)
    covariance = (made.covariance if method == "delong" else
                  unbiased_covariance(labels, table, clusters))
    return Areas(made.auc, covariance)


def areas_without_each(labels: npt.ArrayLike, scores: npt.ArrayLike, clusters: npt.ArrayLike
                       ) -> tuple[FloatArray, FloatArray]:
    """Areas under the ROC curves of k scores without each cluster, and of all cases.

    Parameters
    ----------
    labels : array_like of bool, shape (n,)
    scores : array_like of float, shape (n, k)
        NaN where a case has no score.
    clusters : array_like, shape (n,)

    Returns
    -------
    left_out : ndarray of float64, shape (clusters, k)
        Clusters by first appearance; the area of all cases where a cluster has none with a score,
        NaN where a class has no case but of the cluster.
    auc : ndarray of float64, shape (k,)
        NaN where a class has no case.
    """
    positive = np.asarray(labels).astype(bool)
    table = np.asarray(scores, dtype=np.float64)
    codes, count = cluster_codes(clusters)
    left_out = np.empty((count, table.shape[1]))
    auc = np.empty(table.shape[1])
    for k, column in enumerate(table.T):
        known = ~np.isnan(column)
        auc[k] = auc_covariance(positive[known], column[known, None]).auc[0]
        left_out[:, k] = auc[k]
        if np.isnan(auc[k]):
            continue
        # Those that are left are numbered by first appearance again.
        present = codes[known][np.sort(np.unique(codes[known], return_index=True)[1])]
        left_out[present, k] = left_out_aucs(positive[known], column[known, None],
                                             codes[known])[:, 0]
    return left_out, auc


@one_blas_thread()
def unbiased_covariance(labels: npt.ArrayLike, scores: npt.ArrayLike,
                        clusters: npt.ArrayLike) -> FloatArray:
    r"""Unbiased covariance of areas under the ROC curves of k scores of the same cases.

    An area is the mean of :math:`s(x_i, y_j)`, 1, one half or 0 for a positive above, at or below
    a negative.  The product of two areas, minus the mean of :math:`s_a(x_i, y_j)\,
    s_b(x_{i'}, y_{j'})` over pairs of pairs that share nobody, estimates their covariance without
    bias ("one-shot" of Gallas).  With clusters, pairs of pairs share nobody where they share no
    cluster.  Variances may come out negative.

    Parameters
    ----------
    labels : array_like of bool, shape (n,)
    scores : array_like of float, shape (n, k)
        Without NaN.
    clusters : array_like, shape (n,)

    Returns
    -------
    ndarray of float64, shape (k, k)
        NaN where all pairs share somebody.

    References
    ----------
    B. D. Gallas (2006), Academic Radiology 13, 353-362.
    B. D. Gallas, G. A. Pennello and K. J. Myers (2007), J. Opt. Soc. Am. A 24, B70-B80.
    """
    positive = np.asarray(labels).astype(bool)
    codes, count = cluster_codes(clusters)
    sums = _summed_over_clusters(positive, np.asarray(scores, dtype=np.float64), codes, count)
    # The last column counts pairs, so that what is subtracted is a mean.
    rows, columns, diagonal, inner, crossed = sums
    either = rows + columns
    total = rows.sum(axis=0)
    disjoint = (np.outer(total, total) - rows.T @ either - columns.T @ either
                + either.T @ diagonal + inner + crossed
                + diagonal.T @ (either - 3 * diagonal))
    if not disjoint[-1, -1] > 0:
        return np.full((len(total) - 1, len(total) - 1), np.nan)
    product = np.outer(total, total) / total[-1]**2
    return np.asarray((product - disjoint / disjoint[-1, -1])[:-1, :-1])


def _summed_over_clusters(positive: npt.NDArray[np.bool_], scores: FloatArray, codes: IntArray,
                          count: int) -> tuple[FloatArray, ...]:
    """Sums of comparisons between clusters, with a column of ones for their numbers.

    Of S(g, h), the sum over positives of cluster g and negatives of cluster h: its sums over h
    and over g and its values at g = h, shape (clusters, k + 1); then sums over g and h of
    S_a(g, h) S_b(g, h) and of S_a(g, h) S_b(h, g), shape (k + 1, k + 1).
    """
    table = np.column_stack([scores, np.zeros(len(scores))])
    width = table.shape[1]
    rows, columns, diagonal = np.zeros((3, count, width))
    inner = np.zeros((width, width))
    sides = [np.flatnonzero(side)[np.argsort(codes[side], kind="stable")]
             for side in (positive, ~positive)]
    above, below = sides
    of_rows, row_starts = np.unique(codes[above], return_index=True)
    of_columns, column_starts = np.unique(codes[below], return_index=True)
    both, at_row, at_column = np.intersect1d(of_rows, of_columns, return_indices=True)
    square = np.empty((len(both), len(both), width))
    bounds = np.append(row_starts, len(above))
    step = max(1, _BLOCK // max(len(below) * width, 1))
    start = 0
    while start < len(of_rows):
        # As many whole clusters as fit.
        stop = max(start + 1, int(np.searchsorted(bounds, bounds[start] + step, "right")) - 1)
        cases = above[bounds[start]:bounds[stop]]
        compared = np.heaviside(table[cases, None, :] - table[None, below, :], 0.5)
        compared[..., -1] = 1.0
        summed = np.add.reduceat(compared, row_starts[start:stop] - bounds[start], axis=0)
        summed = np.add.reduceat(summed, column_starts, axis=1)
        rows[of_rows[start:stop]] = summed.sum(axis=1)
        columns[of_columns] += summed.sum(axis=0)
        flat = summed.reshape(-1, width)
        inner += flat.T @ flat
        here = np.flatnonzero((at_row >= start) & (at_row < stop))
        square[here] = summed[at_row[here] - start][:, at_column]
        start = stop
    diagonal[both] = square[np.arange(len(both)), np.arange(len(both))]
    crossed = np.einsum("ghk,hgl->kl", square, square)
    return rows, columns, diagonal, inner, crossed
