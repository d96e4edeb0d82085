"""How well a heatmap agrees with where people looked.

The measures of saliency research, as Bylinskii et al. (2019) define and compare them.  Four read
the static gaze heatmap (correlation, SSIM, similarity, Kullback-Leibler divergence), three the
discrete fixations (AUC-Judd, shuffled AUC, NSS).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from saltrust.analysis.pixels.ssim import SSIM_SETTINGS, SsimSettings, ssim
from saltrust.cache.flatness import is_flat
from saltrust.errors import DataError

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

#: Regularises the divergence where a map is zero, as in the code released with the paper.
EPSILON = float(np.finfo(np.float64).eps)


class Agreement(NamedTuple):
    """Agreement of one map with k gazes; arrays of float64, shape (k,).

    Attributes
    ----------
    correlation : ndarray
        Pearson's, over pixels; 1 at best.
    ssim : ndarray
        Structural similarity of map and gaze heatmap, each scaled to [0, 1]; 1 at best.
    similarity : ndarray
        Shared mass of the two as densities (histogram intersection), 0 to 1.
    kl : ndarray
        Kullback-Leibler divergence of the map from the gaze, in nats; 0 at best.
    auc_judd : ndarray
        Probability that a fixated pixel lies higher in the map than one that is not.
    nss : ndarray
        Normalised scanpath saliency: mean z-score of the map at fixated pixels; 0 is chance.
    """

    correlation: FloatArray
    ssim: FloatArray
    similarity: FloatArray
    kl: FloatArray
    auc_judd: FloatArray
    nss: FloatArray


def agreement(heatmap: npt.ArrayLike, gaze: npt.ArrayLike, fixated: npt.ArrayLike,
              settings: SsimSettings = SSIM_SETTINGS["default"]) -> Agreement:
    """Agreement of one map with the gaze on one or several images.

    Parameters
    ----------
    heatmap : array_like of float, shape (height, width)
    gaze : array_like of float, shape (k, height, width)
        Static gaze heatmaps, not negative.
    fixated : array_like of bool, shape (k, height, width)
        Pixels that were fixated (:func:`fixated_pixels`).
    settings : SsimSettings
        Of the structural similarity.

    Returns
    -------
    Agreement
        A map that is flat or has a value that is not finite tells nothing: correlation, SSIM
        and NSS are 0, AUC-Judd 0.5, similarity and divergence those of the uniform density.
        AUC-Judd and NSS are NaN where no pixel was fixated, or all were for the AUC.

    Raises
    ------
    DataError
        If shapes differ, or a gaze heatmap is flat, negative or not finite: such a heatmap is
        no gaze.

    Notes
    -----
    With density p of the map and q of the gaze (each divided by its sum, the map less its minimum
    where that is negative): similarity is ``sum min(p, q)``, divergence
    ``sum q log(eps + q / (eps + p))`` with eps = 2.2e-16.  AUC-Judd takes every value of the map as
    a threshold and counts ties half, the area under the whole ROC curve of fixated against other
    pixels; the released code takes thresholds at fixated pixels alone and breaks ties at random,
    which lies above it by at most 1 / (2 n) for n fixated pixels.

    References
    ----------
    Z. Bylinskii et al. (2019), What do different evaluation metrics tell us about saliency
    models?, IEEE Trans. Pattern Anal. Mach. Intell. 41, 740-757.

    Examples
    --------
    >>> gaze = np.zeros((1, 12, 12)); gaze[0, 3, 4] = 1
    >>> measures = agreement(gaze[0], gaze, gaze > 0)
    >>> [round(float(value[0]), 3) for value in measures]
    [1.0, 1.0, 1.0, 0.0, 1.0, 11.958]
    """
    values = np.asarray(heatmap, dtype=np.float64)
    seen = np.asarray(gaze, dtype=np.float64)
    where = np.asarray(fixated, dtype=bool)
    if values.ndim != 2 or seen.ndim != 3 or seen.shape[1:] != values.shape or (
            where.shape != seen.shape):
        raise DataError(f"a map of shape {values.shape}, gaze of {seen.shape} and fixated pixels "
                        f"of {where.shape} do not go together; bring all to one size")
    k = len(seen)
    flat_gaze = seen.reshape(k, -1)
    # The comparison is false for NaN.
    if k and not ((flat_gaze.min(axis=1) >= 0)
                  & (flat_gaze.max(axis=1) > flat_gaze.min(axis=1))).all():
        raise DataError("a gaze heatmap is flat, negative or not finite; leave out images without "
                        "gaze")
    target = flat_gaze / flat_gaze.sum(axis=1, keepdims=True)
    if not is_informative(values):
        uniform = np.full(values.size, 1 / values.size)
        none = np.zeros(k)
        return Agreement(none, none.copy(), *_shared_mass(uniform, target), np.full(k, 0.5),
                         none.copy())
    z = standardize(values).ravel()
    centered = flat_gaze - flat_gaze.mean(axis=1, keepdims=True)
    spread = centered.std(axis=1)
    correlation = (centered @ z) / (z.size * spread)
    low = min(float(values.min()), 0.0)
    shifted = values.ravel() - low
    fixed = where.reshape(k, -1)
    return Agreement(
        np.clip(correlation, -1, 1), ssim(values, seen, settings),
        *_shared_mass(shifted / shifted.sum(), target), _auc(values, fixed),
        _mean_at(z, fixed))


def is_informative(heatmap: npt.NDArray[Any]) -> bool:
    """Whether a map is finite and not the same everywhere (but for rounding)."""
    low, high = float(np.min(heatmap)), float(np.max(heatmap))
    return bool(np.isfinite(low) and np.isfinite(high) and not is_flat(low, high))


def standardize(heatmap: npt.NDArray[Any]) -> FloatArray:
    """A map less its mean, divided by its standard deviation over pixels (n)."""
    # Scaled first: the squares of very large or small numbers overflow.
    values = np.asarray(heatmap, dtype=np.float64)
    low, high = float(values.min()), float(values.max())
    unit = (values / 2 - low / 2) / (high / 2 - low / 2)
    centered: FloatArray = unit - unit.mean()
    return centered / centered.std()


def auc_shuffled(heatmap: npt.ArrayLike, fixated: npt.ArrayLike, others: npt.ArrayLike) -> float:
    """Shuffled AUC: fixated pixels against those fixated on other images.

    A map that knows nothing but that people look at the centre gets 0.5, since the others
    do so too.

    Parameters
    ----------
    heatmap : array_like of float, shape (height, width)
    fixated : array_like of bool, shape (height, width)
        Pixels fixated on this image.
    others : array_like of float, shape (height, width)
        On how many other images each pixel was fixated: its weight as a negative.

    Returns
    -------
    float
        0.5 for a map that is flat or not finite; NaN where nothing was fixated on this image or
        on others.

    Notes
    -----
    All fixations of all other images are negatives; the literature draws some of them at random,
    of which this is the expectation.  A pixel fixated on this image and on others stands on
    both sides.

    References
    ----------
    L. Zhang et al. (2008), SUN, J. Vis. 8(7), 32; A. Borji et al. (2013), IEEE Trans. Image
    Process. 22, 55-69.

    Examples
    --------
    >>> heatmap = np.array([[3.0, 2.0], [1.0, 0.0]])
    >>> auc_shuffled(heatmap, heatmap == 2, np.array([[1, 0], [1, 2]]))
    0.75
    """
    values = np.asarray(heatmap, dtype=np.float64).ravel()
    viewed = np.asarray(fixated, dtype=bool).ravel()
    weights = np.asarray(others, dtype=np.float64).ravel()
    if not viewed.any() or not weights.sum() > 0:
        return float("nan")
    if not is_informative(values):
        return 0.5
    elsewhere = weights > 0
    order = np.argsort(values[elsewhere], kind="stable")
    levels = values[elsewhere][order]
    below = np.concatenate([[0.0], np.cumsum(weights[elsewhere][order])])
    left = below[np.searchsorted(levels, values[viewed], side="left")]
    right = below[np.searchsorted(levels, values[viewed], side="right")]
    return float(((left + right) / 2).mean() / below[-1])


def fixated_pixels(y: npt.ArrayLike, x: npt.ArrayLike, size: tuple[int, int],
                   grid: tuple[int, int]) -> BoolArray:
    """Pixels of the grid in which a fixation lies.

    Parameters
    ----------
    y, x : array_like of float, shape (n,)
        Native pixels, whole numbers at their centres; NaN pads.
    size, grid : (int, int)
        Height and width, native and of the result.

    Returns
    -------
    ndarray of bool, shape grid

    Examples
    --------
    >>> fixated_pixels([0, 3, np.nan], [3, 0, np.nan], (4, 4), (2, 2)).astype(int)
    array([[0, 1],
           [1, 0]])
    """
    rows, columns = np.asarray(y, dtype=np.float64), np.asarray(x, dtype=np.float64)
    known = np.isfinite(rows) & np.isfinite(columns)
    place = [np.floor((values[known] + 0.5) * (cells / length)).astype(np.intp)
             for values, cells, length in zip((rows, columns), grid, size, strict=True)]
    inside = np.ones(len(place[0]), dtype=bool)
    for at, cells in zip(place, grid, strict=True):
        inside &= (at >= 0) & (at < cells)
    fixated = np.zeros(grid, dtype=bool)
    fixated[place[0][inside], place[1][inside]] = True
    return fixated


def _shared_mass(density: FloatArray, target: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Similarity and divergence of a density, shape (n,), from targets, shape (k, n)."""
    similarity = np.minimum(density, target).sum(axis=1)
    divergence = (target * np.log(EPSILON + target / (EPSILON + density))).sum(axis=1)
    return similarity, divergence


def _auc(values: FloatArray, fixated: BoolArray) -> FloatArray:
    """Area under the ROC curve by ranks, ties counted half."""
    ranks = rankdata(values.ravel())
    n = fixated.sum(axis=1)
    others = fixated.shape[1] - n
    wins = np.array([ranks[row].sum() for row in fixated]) - n * (n + 1) / 2
    return np.divide(wins, n * others, out=np.full(len(fixated), np.nan), where=n * others > 0)


def _mean_at(z: FloatArray, fixated: BoolArray) -> FloatArray:
    sums = np.array([z[row].sum() for row in fixated], dtype=np.float64).reshape(len(fixated))
    n = fixated.sum(axis=1)
    return np.divide(sums, n, out=np.full(len(fixated), np.nan), where=n > 0)
