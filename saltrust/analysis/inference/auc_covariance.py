"""Sampling variance of areas under ROC curves, of several scores of the same cases at once."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from saltrust.analysis.inference.resampling import cluster_codes, resample_blocks
from saltrust.analysis.inference.threads import one_blas_thread

FloatArray = npt.NDArray[np.float64]


class AucCovariance(NamedTuple):
    """Areas and their covariance.

    Attributes
    ----------
    auc : ndarray of float64, shape (k,)
    covariance : ndarray of float64, shape (k, k)
        NaN where a class has fewer than two cases (clusters).
    df : ndarray of float64, shape (k,)
        Satterthwaite's degrees of freedom of each variance, from the two it is the sum of; NaN
        with it, and where it is zero.
    """

    auc: FloatArray
    covariance: FloatArray
    df: FloatArray


@one_blas_thread()
def auc_covariance(labels: npt.ArrayLike, scores: npt.ArrayLike,
                   clusters: npt.ArrayLike | None = None) -> AucCovariance:
    r"""Areas under the ROC curves of k scores and their covariance, without a model.

    The placement of a case is the share of cases of the other class on the right side of it,
    ties counting one half; an area is the mean placement of either class.  DeLong's covariance
    is :math:`S_{10}/m + S_{01}/n`, of the placements of the m positives and n negatives.  With
    clusters it is Obuchowski's, which adds up placements within clusters first and has a term
    for clusters that hold both classes.

    Parameters
    ----------
    labels : array_like of bool, shape (n,)
    scores : array_like of float, shape (n, k)
        Without NaN.
    clusters : array_like, shape (n,), optional
        Patients.  Where each case is its own, both estimators are the same.

    Returns
    -------
    AucCovariance

    References
    ----------
    E. R. DeLong, D. M. DeLong and D. L. Clarke-Pearson (1988), Biometrics 44, 837-845.
    N. A. Obuchowski (1997), Biometrics 53, 567-578.
    X. Sun and W. Xu (2014), IEEE Signal Processing Letters 21, 1389-1393 (ranks for placements).

    Examples
    --------
    >>> areas = auc_covariance([0, 0, 1, 1], [[0.1], [0.4], [0.4], [0.8]])
    >>> areas.auc, areas.covariance, areas.df
    (array([0.875]), array([[0.03125]]), array([2.]))
    """
    positive = np.asarray(labels).astype(bool)
    table = np.asarray(scores, dtype=np.float64)
    m, n = int(positive.sum()), int((~positive).sum())
    k = table.shape[1]
    if not m or not n:
        return AucCovariance(np.full(k, np.nan), np.full((k, k), np.nan), np.full(k, np.nan))
    ranks = rankdata(table, axis=0)
    of_positives = (ranks[positive] - rankdata(table[positive], axis=0)) / n
    of_negatives = 1 - (ranks[~positive] - rankdata(table[~positive], axis=0)) / m
    auc: FloatArray = of_positives.mean(axis=0)
    codes, count = cluster_codes(np.arange(m + n) if clusters is None else clusters)
    sums = np.zeros((2, count, k))
    np.add.at(sums[0], codes[positive], of_positives - auc)
    np.add.at(sums[1], codes[~positive], of_negatives - auc)
    with_positive, with_negative = (len(np.unique(codes[side])) for side in (positive, ~positive))
    if with_positive < 2 or with_negative < 2:
        return AucCovariance(auc, np.full((k, k), np.nan), np.full(k, np.nan))
    first = with_positive / (with_positive - 1) * (sums[0].T @ sums[0]) / m**2
    second = with_negative / (with_negative - 1) * (sums[1].T @ sums[1]) / n**2
    both = count / (count - 1) * (sums[0].T @ sums[1]) / (m * n)
    with np.errstate(invalid="ignore"):
        of_first, of_second = np.diag(first), np.diag(second)
        df = (of_first + of_second) ** 2 / (of_first**2 / (with_positive - 1)
                                            + of_second**2 / (with_negative - 1))
    return AucCovariance(auc, first + second + both + both.T, df)


def exchange_parts(labels: npt.ArrayLike, scores: npt.ArrayLike, others: npt.ArrayLike,
                   clusters: npt.ArrayLike) -> FloatArray:
    r"""What every patient adds to the difference of two areas of the same cases.

    Scores are replaced by their ranks, each among all cases.  Were the two exchanged in some
    patients, the difference would be the sum of all parts with the signs of these turned, so
    that :func:`saltrust.analysis.inference.sign_flips.sign_flip_test` of the parts is the
    permutation test.

    Parameters
    ----------
    labels : array_like of bool, shape (n,)
        With both classes.
    scores, others : array_like of float, shape (n,)
        Without NaN.
    clusters : array_like, shape (n,)
        Patients: all cases of one are exchanged together.

    Returns
    -------
    ndarray of float64, shape (clusters,)
        Their sum is the area of ``scores`` minus that of ``others``.

    References
    ----------
    A. I. Bandos, H. E. Rockette and D. Gur (2005), Statistics in Medicine 24, 2873-2893.

    Examples
    --------
    >>> exchange_parts([0, 1], [0.2, 0.7], [0.6, 0.1], ["a", "b"])
    array([0.5, 0.5])
    """
    positive = np.asarray(labels).astype(bool)
    ranks = rankdata(np.column_stack([scores, others]).astype(np.float64), axis=0)
    (of_one, of_other), (against_one, against_other) = ranks[positive].T, ranks[~positive].T
    m, n = len(of_one), len(against_one)
    parts = np.zeros(m + n)
    parts[positive] = (_above(of_one, against_one) - _above(of_other, against_other)
                       + _above(of_one, against_other) - _above(of_other, against_one))
    parts[~positive] = (_above(against_other, of_other) - _above(against_one, of_one)
                        + _above(against_other, of_one) - _above(against_one, of_other))
    codes, count = cluster_codes(clusters)
    return np.bincount(codes, weights=parts, minlength=count) / (2 * m * n)


def _above(values: FloatArray, others: FloatArray) -> FloatArray:
    """How many of the others each value is above, ties counting one half."""
    joint: FloatArray = rankdata(np.concatenate([values, others]))
    return joint[:len(values)] - rankdata(values)


def left_out_aucs(labels: npt.ArrayLike, scores: npt.ArrayLike, clusters: npt.ArrayLike
                  ) -> FloatArray:
    """Areas under the ROC curves of k scores with one cluster left out.

    Parameters
    ----------
    labels : array_like of bool, shape (n,)
    scores : array_like of float, shape (n, k)
        Without NaN.
    clusters : array_like, shape (n,)
        Patients, numbered by first appearance
        (:func:`saltrust.analysis.inference.resampling.cluster_codes`).

    Returns
    -------
    ndarray of float64, shape (clusters, k)
        NaN where a class has no case but of this cluster.

    Examples
    --------
    >>> left_out_aucs([0, 0, 1, 1], [[0.1], [0.4], [0.4], [0.8]], [0, 1, 2, 3]).ravel()
    array([0.75, 1.  , 1.  , 0.75])
    """
    positive = np.asarray(labels).astype(bool)
    table = np.asarray(scores, dtype=np.float64)
    codes, count = cluster_codes(clusters)
    counts = np.array([np.bincount(codes[side], minlength=count)
                       for side in (positive, ~positive)])
    pairs = np.prod(counts.sum(axis=1, keepdims=True) - counts, axis=0)
    areas = np.empty((count, table.shape[1]))
    both = np.flatnonzero((counts > 0).all(axis=0))
    members = {cluster: np.flatnonzero(codes == cluster) for cluster in both.tolist()}
    for k, column in enumerate(table.T):
        above = _above(column[positive], column[~positive])
        below = positive.sum() - _above(column[~positive], column[positive])
        right = above.sum() - (np.bincount(codes[positive], weights=above, minlength=count)
                               + np.bincount(codes[~positive], weights=below, minlength=count))
        for cluster, rows in members.items():
            # Pairs within the cluster were taken away twice.
            right[cluster] += _above(column[rows[positive[rows]]],
                                     column[rows[~positive[rows]]]).sum()
        areas[:, k] = np.divide(right, pairs, out=np.full(count, np.nan), where=pairs > 0)
    return areas


def resampled_aucs(labels: npt.ArrayLike, scores: npt.ArrayLike, clusters: npt.ArrayLike, *,
                   resamples: int, seed: int) -> FloatArray:
    """Areas under the ROC curves of k scores in bootstrap resamples of clusters.

    Parameters
    ----------
    labels : array_like of bool, shape (n,)
    scores : array_like of float, shape (n, k)
        Without NaN.
    clusters : array_like, shape (n,)
        Patients: all cases of one are drawn together.
    resamples, seed : int

    Returns
    -------
    ndarray of float64, shape (resamples, k)
        The scores share the resamples.  NaN where a resample drew one class only.
    """
    codes, count = cluster_codes(clusters)
    blocks = [weighted_aucs(labels, scores, weights[:, codes])
              for weights in resample_blocks(count, resamples, seed)]
    return np.concatenate(blocks)


def weighted_aucs(labels: npt.ArrayLike, scores: npt.ArrayLike,
                  weights: npt.NDArray[Any]) -> FloatArray:
    """Areas under the ROC curves when case i counts ``weights[b, i]`` times.

    Parameters
    ----------
    labels : array_like of bool, shape (n,)
    scores : array_like of float, shape (n, k)
    weights : ndarray, shape (b, n)
        Not negative.

    Returns
    -------
    ndarray of float64, shape (b, k)
        NaN where a class weighs nothing.

    Examples
    --------
    >>> weighted_aucs([0, 1, 1], [[0.5], [0.5], [0.9]], np.array([[1, 1, 1], [2, 0, 3]]))
    array([[0.75],
           [1.  ]])
    """
    positive = np.asarray(labels).astype(bool)
    table = np.asarray(scores, dtype=np.float64)
    areas = np.empty((len(weights), table.shape[1]))
    for column in range(table.shape[1]):
        order = np.argsort(table[:, column], kind="stable")
        values, drawn = table[order, column], weights[:, order].astype(np.float64)
        starts = np.flatnonzero(np.r_[True, values[1:] != values[:-1]])
        # Weight of either class at each distinct score.
        above = np.add.reduceat(drawn * positive[order], starts, axis=1)
        below = np.add.reduceat(drawn * ~positive[order], starts, axis=1)
        right = (above * (np.cumsum(below, axis=1) - below / 2)).sum(axis=1)
        with np.errstate(invalid="ignore"):
            areas[:, column] = right / (above.sum(axis=1) * below.sum(axis=1))
    return areas
