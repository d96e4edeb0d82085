"""Precision-recall and ROC areas from histograms: pixels of one bin are ties.

A map in 256 levels has hardly more distinct values than that, so that its curves are those of
the map as quantised, whatever its size.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def average_precision(total: npt.NDArray[np.integer], inside: npt.NDArray[np.integer]
                      ) -> FloatArray:
    """Average precision: precision at each bin, weighted by the recall it adds.

    Parameters
    ----------
    total, inside : ndarray of int, shape (..., bins)
        Pixels in each bin, ascending, and those of them inside the mask.

    Returns
    -------
    ndarray of float64, shape (...)
        NaN where the mask is empty.

    Examples
    --------
    >>> float(average_precision(np.array([2, 1, 1]), np.array([0, 1, 1])))
    1.0
    """
    hits = np.asarray(inside)[..., ::-1].astype(np.float64)
    true = np.cumsum(hits, axis=-1)
    called = np.cumsum(np.asarray(total)[..., ::-1], axis=-1, dtype=np.float64)
    precision = np.divide(true, called, out=np.zeros_like(true), where=called > 0)
    positives = true[..., -1]
    return np.divide((precision * hits).sum(axis=-1), positives,
                     out=np.full(positives.shape, np.nan), where=positives > 0)


def area_under_roc(total: npt.NDArray[np.integer], inside: npt.NDArray[np.integer]) -> FloatArray:
    """Probability that a pixel inside lies above one outside, ties counting one half.

    Parameters
    ----------
    total, inside : ndarray of int, shape (..., bins)
        Pixels in each bin, ascending, and those of them inside the mask.

    Returns
    -------
    ndarray of float64, shape (...)
        NaN where no pixel, or every pixel, is inside.

    Examples
    --------
    >>> float(area_under_roc(np.array([2, 2]), np.array([0, 1])))
    0.8333333333333334
    """
    hits = np.asarray(inside).astype(np.float64)
    others = np.asarray(total).astype(np.float64) - hits
    below = np.cumsum(others, axis=-1) - others / 2
    pairs = hits.sum(axis=-1) * others.sum(axis=-1)
    return np.divide((hits * below).sum(axis=-1), pairs, out=np.full(pairs.shape, np.nan),
                     where=pairs > 0)
