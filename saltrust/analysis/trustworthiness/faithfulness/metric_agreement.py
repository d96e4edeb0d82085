"""Do the metrics of faithfulness agree on which explainer is better?"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from saltrust.analysis.inference.tested_means import means_with_tests
from saltrust.analysis.options import Resampling

FloatArray = npt.NDArray[np.float64]

#: With two explainers every rank correlation is 1 or -1.
FEWEST_EXPLAINERS = 3


def row_correlations(first: FloatArray, second: FloatArray) -> FloatArray:
    """Spearman's correlation of every row, over the columns that both have.

    Parameters
    ----------
    first, second : ndarray of float64, shape (n, e)
        NaN where there is no value.

    Returns
    -------
    ndarray of float64, shape (n,)
        NaN of rows with fewer than :data:`FEWEST_EXPLAINERS` columns, or where all are equal.

    Examples
    --------
    >>> row_correlations(np.array([[1.0, 2, 3], [1, 2, 3]]), np.array([[1.0, 5, 9], [3, 2, 1]]))
    array([ 1., -1.])
    """
    known = np.isfinite(first) & np.isfinite(second)
    count = known.sum(axis=1)
    ranks = []
    for values in (first, second):
        # What is missing ranks last, so that the others have the ranks they have among themselves.
        ranked = rankdata(np.where(known, values, np.inf), axis=1)
        centered = ranked - (count[:, None] + 1) / 2
        ranks.append(np.where(known, centered, 0.0))
    products = (ranks[0] * ranks[1]).sum(axis=1)
    scale = np.sqrt((ranks[0]**2).sum(axis=1) * (ranks[1]**2).sum(axis=1))
    usable = (count >= FEWEST_EXPLAINERS) & (scale > 0)
    made = np.divide(products, scale, out=np.full(len(first), np.nan), where=usable)
    return np.asarray(np.clip(made, -1, 1))


def agreement_rows(merit: FloatArray, patients: npt.NDArray[Any], metrics: list[str], family: str,
                   resampling: Resampling) -> Iterator[dict[str, Any]]:
    """Rank correlation of explainers between every two metrics: per image, and of the means.

    Parameters
    ----------
    merit : ndarray of float64, shape (n, explainer, metric)
        More is better.
    patients : ndarray, shape (n,)
    metrics : list of str
    family : str
        The pairs of metrics are adjusted for each other.
    resampling : Resampling

    Yields
    ------
    dict
        ``metric_a, metric_b``; the uniform columns of the mean over images; ``of_means``, the
        correlation of the explainers' means; ``explainers``, how many have both.
    """
    pairs = list(combinations(range(len(metrics)), 2))
    if not pairs:
        return
    correlations = np.stack([row_correlations(merit[:, :, a], merit[:, :, b])
                             for a, b in pairs], axis=1)
    made = means_with_tests(
        correlations, patients, [family] * len(pairs), resamples=resampling.resamples,
        kind=resampling.kind, confidence_level=resampling.confidence_level, seed=resampling.seed)
    for (a, b), row in zip(pairs, made, strict=True):
        both = np.isfinite(merit[:, :, a]) & np.isfinite(merit[:, :, b])
        count = both.sum(axis=0)
        means = [np.divide(np.where(both, merit[:, :, k], 0.0).sum(axis=0), count,
                           out=np.full(len(count), np.nan), where=count > 0) for k in (a, b)]
        explainers = int((count > 0).sum())
        few = explainers < FEWEST_EXPLAINERS
        yield {"metric_a": metrics[a], "metric_b": metrics[b], **row, "term": "rank correlation",
               "of_means": float(row_correlations(means[0][None], means[1][None])[0]),
               "explainers": explainers,
               "note": f"fewer than {FEWEST_EXPLAINERS} explainers" if few else row["note"]}
