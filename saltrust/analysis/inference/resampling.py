"""Drawing clusters (patients) with replacement, as integer weights of rows."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd

from saltrust.errors import UsageError
from saltrust.reading import shown

#: Of a bootstrap; the command line has the same.  Twice as many change the third digit.
MOST_RESAMPLES = 1_000_000
#: Below, the bounds of a 95% interval are of five resamples or fewer.
FEW_RESAMPLES = 200
_log = logging.getLogger(__name__)
#: What all generators of numbers take.
MOST_SEED = 2**63 - 1
#: Elements of one block of weights: few enough to stay in the processor's cache.
_BLOCK = 100_000


def resample_weights(clusters: npt.ArrayLike, resamples: int, seed: int) -> npt.NDArray[np.int64]:
    """How often each row is drawn when whole clusters are drawn with replacement.

    Parameters
    ----------
    clusters : array_like, shape (n,)
        Label of the cluster of each row, such as its patient; ``np.arange(n)`` resamples rows.
        A missing label (None, NaN or an empty string) makes the row its own cluster.
    resamples : int
        Number of resamples, at least 1.
    seed : int
        Not negative.  The same seed and clusters give the same weights.

    Returns
    -------
    ndarray of int64, shape (resamples, n)
        Weights; rows of the same cluster have the same one, and the weights of one row of each
        cluster add up to the number of clusters.

    Raises
    ------
    UsageError
        If ``resamples`` or ``seed`` is out of range.

    Examples
    --------
    >>> weights = resample_weights(["a", "a", "b"], resamples=4, seed=0)
    >>> bool((weights[:, 0] == weights[:, 1]).all())
    True
    >>> weights[:, 0] + weights[:, 2]
    array([2, 2, 2, 2])
    """
    codes, count = cluster_codes(clusters)
    return np.concatenate(list(resample_blocks(count, resamples, seed)))[:, codes]


def cluster_codes(clusters: npt.ArrayLike) -> tuple[npt.NDArray[np.int64], int]:
    """Number the clusters by first appearance.

    Returns
    -------
    codes : ndarray of int64, shape (n,)
    count : int
        Number of clusters; a row without a label is one of its own.
    """
    labels = pd.Series(np.asarray(clusters).ravel())
    if not pd.api.types.is_numeric_dtype(labels.dtype):
        labels = labels.astype(object).where(labels.astype(str) != "", None)
    codes, known = pd.factorize(labels)
    codes = codes.astype(np.int64)
    missing = np.flatnonzero(codes < 0)
    codes[missing] = len(known) + np.arange(len(missing))
    return codes, len(known) + len(missing)


def resample_blocks(count: int, resamples: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """Weights of ``count`` clusters in blocks of resamples, so that memory is bounded.

    Parameters
    ----------
    count : int
        Number of clusters.
    resamples : int
        Number of resamples, at least 1.
    seed : int
        Not negative.

    Yields
    ------
    ndarray of int64, shape (block, count)
        The size of the blocks changes no draw.
    """
    check_resampling(resamples, seed)
    generator = np.random.default_rng(seed)
    step = max(1, _BLOCK // max(count, 1))
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = generator.integers(0, max(count, 1), size=(rows, count))
        drawn += count * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)


def check_resampling(resamples: int, seed: int) -> None:
    """Refuse a number of resamples or a seed out of range with a UsageError."""
    check_whole(resamples, "resamples", 1, MOST_RESAMPLES)
    check_seed(seed)


def warn_of_few(resamples: int) -> None:
    """Say where p-values and bounds of intervals are of a few resamples only."""
    if resamples < FEW_RESAMPLES:
        _log.warning("%d resamples leave bounds of intervals and p-values to chance; say "
                     "--resamples %d or more", resamples, FEW_RESAMPLES)


def check_seed(seed: int) -> None:
    """Refuse a seed that is none with a UsageError."""
    check_whole(seed, "seed", 0, MOST_SEED)


def check_whole(value: object, name: str, least: int, most: int) -> None:
    """Refuse what is no whole number, or out of range, with a UsageError."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
        raise UsageError(f"{name} = {shown(value)} must be a whole number of at least {least}")
    if value > most:
        raise UsageError(f"{name} = {shown(value)} must be at most {most:,}")
