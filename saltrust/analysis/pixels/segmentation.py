"""From a heatmap to a segmentation: quantize, threshold by Otsu, fill.

The steps follow the code released with CheXlocalize: the map is stretched to 0..255 between its
minimum and maximum, cut to whole numbers, and Otsu's threshold on their histogram splits it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from saltrust.analysis.pixels import runs
from saltrust.analysis.pixels.histogram_thresholds import histogram_threshold
from saltrust.analysis.pixels.upsampling import BilinearMap, Peak
from saltrust.cache.flatness import is_flat
from saltrust.choices import Definition

Mask = npt.NDArray[np.bool_]

#: OpenCV passes over splits that leave a class with less than this share of the pixels.
_SMALLEST_CLASS = float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class Segmentation:
    """A map cut by Otsu's threshold.

    Attributes
    ----------
    mask : ndarray of bool, shape (height, width)
    threshold : int
        On 0..255; pixels above it are in.
    peak : Peak
        Of the map itself, before quantising.
    """

    mask: Mask
    threshold: int
    peak: Peak


def quantize(values: npt.NDArray[np.float32], low: float, high: float) -> npt.NDArray[np.uint8]:
    """Stretch a map to 0..255 and cut off the decimals.

    Parameters
    ----------
    values : ndarray of float32
        Between ``low`` and ``high``.
    low, high : float
        Minimum and maximum of the whole map, ``low < high``.

    Returns
    -------
    ndarray of uint8, same shape
        ``255 * ((values - low) / (high - low))`` in float32, truncated.

    Examples
    --------
    >>> quantize(np.float32([0, 0.5, 0.999, 1]), 0.0, 1.0)
    array([  0, 127, 254, 255], dtype=uint8)
    """
    scaled = values - np.float32(low)
    scaled /= np.float32(high) - np.float32(low)
    scaled *= np.float32(255)
    return scaled.astype(np.uint8)


def histogram(levels: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Count the pixels of each of the 256 levels.

    Returns
    -------
    ndarray of int64, shape (256,)
    """
    flat = np.ascontiguousarray(levels).reshape(-1)
    # Pairs of pixels are counted at once, which halves the work.
    pairs = np.bincount(flat[:flat.size // 2 * 2].view(np.uint16), minlength=1 << 16)
    counts = pairs.reshape(256, 256)
    total = counts.sum(axis=0) + counts.sum(axis=1)
    if flat.size % 2:
        total[flat[-1]] += 1
    return total


def otsu_threshold(counts: npt.NDArray[np.int64]) -> int:
    """Otsu's threshold of a histogram: the split with the largest variance between classes.

    Parameters
    ----------
    counts : ndarray of int, shape (levels,)

    Returns
    -------
    int
        Level t; the classes are ``<= t`` and ``> t``.  The first of equal maxima in the running
        sums of OpenCV, level by level in float64, so that ties fall as they do there; 0 where
        no split leaves pixels on both sides.

    References
    ----------
    N. Otsu (1979), IEEE Trans. Syst. Man Cybern. 9, 62-66, eqs. 12 and 18.

    Examples
    --------
    >>> otsu_threshold(np.array([5, 4, 0, 0, 3, 6]))
    1
    """
    total = int(counts.sum())
    if total == 0:
        return 0
    scale = 1.0 / total
    levels = counts.tolist()
    mean = sum(float(level) * count for level, count in enumerate(levels)) * scale
    best, threshold = 0.0, 0
    weight = center = 0.0
    for level, count in enumerate(levels):
        share = count * scale
        moment = center * weight
        weight += share
        rest = 1.0 - weight
        if min(weight, rest) < _SMALLEST_CLASS or max(weight, rest) > 1.0 - _SMALLEST_CLASS:
            # OpenCV leaves the first moment undivided here; ties depend on it.
            center = moment
            continue
        center = (moment + level * share) / weight
        opposite = (mean - weight * center) / rest
        variance = weight * rest * (center - opposite) * (center - opposite)
        if variance > best:
            best, threshold = variance, level
    return threshold


def otsu_level(counts: npt.NDArray[np.int64], definition: Definition) -> int:
    """Otsu's threshold: scikit-image's, or OpenCV's (:func:`otsu_threshold`) under ``peer``.

    Parameters
    ----------
    counts : ndarray of int, shape (levels,)
    definition : {"default", "peer"}

    Returns
    -------
    int
        0 where no split leaves pixels on both sides.

    Examples
    --------
    >>> otsu_level(np.array([5, 4, 0, 0, 3, 6]), "default")
    1
    """
    if definition == "peer":
        return otsu_threshold(counts)
    return int(histogram_threshold(counts, "otsu")) if np.count_nonzero(counts) > 1 else 0


def fill_contours(mask: Mask) -> Mask:
    """Fill the outer contours of a mask, as the released CheXlocalize code draws them.

    Single pixels without a neighbour (8-connectivity) vanish, since their contour has one point
    only; then holes (4-connected background that does not reach the border) are filled.

    Parameters
    ----------
    mask : ndarray of bool, shape (height, width)

    Returns
    -------
    ndarray of bool, shape (height, width)

    Examples
    --------
    >>> fill_contours(np.array([[1, 1, 1, 0, 0], [1, 0, 1, 0, 1], [1, 1, 1, 0, 0]], dtype=bool)
    ...               ).astype(int)
    array([[1, 1, 1, 0, 0],
           [1, 1, 1, 0, 0],
           [1, 1, 1, 0, 0]])
    """
    frame = runs.framed(mask)
    flat = frame.reshape(-1)
    foreground = runs.foreground_runs(frame)
    single = runs.isolated_pixels(foreground)
    if len(single):
        flat[single] = False
        foreground = runs.foreground_runs(frame)
    gaps = runs.background_runs(foreground, len(frame))
    count, component = runs.components(gaps, diagonal=False)
    if count > 1:
        # The first gap is the frame itself: everything it reaches is outside.
        flat[runs.positions(gaps, component != component[0])] = True
    return frame[1:-1, 1:-1]


def segment(heatmap: BilinearMap, definition: Definition = "default") -> Segmentation | None:
    """Segment a map by Otsu's threshold.

    Parameters
    ----------
    heatmap : BilinearMap
        The map at the size at which it is scored.
    definition : {"default", "peer"}
        ``"peer"`` also fills contours (:func:`fill_contours`).

    Returns
    -------
    Segmentation or None
        None where all pixels are equal, so that there is nothing to split.

    """
    peak = heatmap.peak()
    low = heatmap.minimum()
    if is_flat(low, peak.value):
        return None
    levels = np.empty((heatmap.height, heatmap.width), dtype=np.uint8)
    for band in heatmap.bands():
        levels[band] = quantize(heatmap.rows(band), low, peak.value)
    threshold = otsu_level(histogram(levels), definition)
    mask = levels > threshold
    if definition == "peer":
        mask = fill_contours(mask)
    return Segmentation(mask, threshold, peak)
