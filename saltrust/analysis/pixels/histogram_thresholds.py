"""Where the histogram of a map is cut: the thresholds of scikit-image, and Li's.

scikit-image adds up counts in float32, which tells splits whose criteria agree to seven digits
apart by chance.  Of 300 steep histograms none is cut elsewhere than in float64 at 1 million pixels;
at 6.4 million 2 are by Otsu's threshold and 3 by Yen's, whose tails of a few pixels are lost.
``threshold_li`` takes no histogram, so that its iteration stands here.  Otsu's threshold under
``peer`` is that of OpenCV (:func:`saltrust.analysis.pixels.segmentation.otsu_threshold`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from saltrust.choices import ThresholdMethod

Counts = npt.NDArray[np.int64]

#: Between two steps of Li's iteration, as scikit-image has it for whole numbers.
_TOLERANCE = 0.5


def histogram_threshold(counts: Counts, method: ThresholdMethod) -> float:
    """Threshold of a histogram; the pixels of higher levels are the segmentation.

    Parameters
    ----------
    counts : ndarray of int64, shape (levels,)
        Pixels of each level, of at least two levels.
    method : {"otsu", "yen", "isodata", "li"}

    Returns
    -------
    float
        A level, or with ``li`` between two.

    References
    ----------
    N. Otsu (1979), IEEE Trans. Syst. Man Cybern. 9, 62-66; J. C. Yen, F. J. Chang and S. Chang
    (1995), IEEE Trans. Image Process. 4, 370-378; T. W. Ridler and S. Calvard (1978), IEEE Trans.
    Syst. Man Cybern. 8, 630-632; C. H. Li and P. K. S. Tam (1998), Pattern Recognit. Lett. 19,
    771-776.

    Examples
    --------
    >>> counts = np.array([50, 20, 5, 0, 1, 2, 9, 8])
    >>> [histogram_threshold(counts, method) for method in ("otsu", "yen", "isodata")]
    [2.0, 1.0, 3.0]
    """
    if method == "li":
        return _li(counts)
    from skimage.filters import thresholding

    cut: Any = getattr(thresholding, f"threshold_{method}")
    # Sums in float32 may leave nothing above a level although there are a few pixels.
    with np.errstate(divide="ignore", invalid="ignore"):
        if method == "isodata":
            levels = cut(hist=counts, return_all=True)
            # Only such lost pixels leave none: then all but the topmost level are below.
            return float(levels[0]) if len(levels) else float(np.flatnonzero(counts)[-2])
        return float(cut(hist=counts))


def _li(counts: Counts) -> float:
    """Threshold of least cross-entropy, as ``threshold_li`` of scikit-image iterates it."""
    levels = np.flatnonzero(counts)
    weights, lowest = counts[levels].astype(np.float64), float(levels[0])
    shades = levels - lowest
    following, current = float(np.average(shades, weights=weights)), -np.inf
    while abs(following - current) > _TOLERANCE:
        current = following
        below = shades <= current
        low = float(np.average(shades[below], weights=weights[below]))
        high = float(np.average(shades[~below], weights=weights[~below]))
        if low == 0:
            break
        following = (low - high) / (np.log(low) - np.log(high))
    return following + lowest
