"""Shares with many zeros in two parts: whether there is any, and how much where there is.

Which zeros are of another kind than small shares is an assumption; the fractional logit needs
none, and this stands beside it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from saltrust.analysis.inference.clustered import few_degrees
from saltrust.analysis.inference.clustered_glm import cluster_changes
from saltrust.analysis.inference.estimate import Estimate, check_confidence_level, t_estimate
from saltrust.analysis.inference.logistic import newton_logit
from saltrust.analysis.inference.shares import checked_shares
from saltrust.analysis.inference.threads import one_blas_thread

FloatArray = npt.NDArray[np.float64]


@one_blas_thread()
def two_part_effect(x: npt.ArrayLike, y: npt.ArrayLike, clusters: npt.ArrayLike, *,
                    confidence_level: float = 0.95) -> Estimate:
    """How the mean share changes with the regressor, averaged over the rows.

    Parameters
    ----------
    x : array_like of float, shape (n,)
    y : array_like of float, shape (n,)
        In 0..1.
    clusters : array_like, shape (n,)
        Patient of each row; a row without a label is its own.
    confidence_level : float
        Between 0 and 1.

    Returns
    -------
    Estimate
        Of the product of a logit of ``y > 0`` and a fractional logit of ``y`` where it is above
        0.  Its error is that of leaving out one patient, to first order with the leverage of the
        patient, in both parts at once; t of G - 4 degrees of freedom for G patients.  Without an
        estimate, and with a note, where a part cannot be fitted.

    Raises
    ------
    DataError
        If a number is not finite or y lies outside 0..1.
    """
    check_confidence_level(confidence_level)
    x, y, codes, count = checked_shares(x, y, clusters, "a two-part model")
    n, some = len(y), y > 0
    if some.all() or not some.any():
        return Estimate(n=n, note="no share is 0" if some.any() else "every share is 0")
    design = np.column_stack([np.ones(n), x])
    fits = [None if np.ptp(of_x) == 0 or np.ptp(of_y) == 0 else newton_logit(
        np.column_stack([np.ones(len(of_x)), of_x]), of_y, firth=False)
        for of_x, of_y in ((x, some.astype(np.float64)), (x[some], y[some]))]
    if fits[0] is None or fits[1] is None:
        part = "whether a share is 0" if fits[0] is None else "the shares above 0"
        return Estimate(n=n, note=f"{part}: the likelihood has no maximum, or nothing varies")
    first, second = fits[0][0], fits[1][0]
    p, m = expit(design @ first), expit(design @ second)
    v, w = p * (1 - p), m * (1 - m)
    # d (p m) / dx = a v m + b p w with slopes a and b; its gradient in both intercepts and slopes.
    a, b = float(first[1]), float(second[1])
    effect = float((a * v * m + b * p * w).mean())
    bent, bowed = a * v * (1 - 2 * p) * m + b * v * w, a * v * w + b * p * w * (1 - 2 * m)
    of_first = np.array([bent.mean(), (bent * x + v * m).mean()])
    of_second = np.array([bowed.mean(), (bowed * x + p * w).mean()])
    changes = (cluster_changes(design, v, some - p, codes, count, of_first)
               + cluster_changes(design[some], w[some], (y - m)[some], codes[some], count,
                                 of_second))
    df, error = float(count - 4), float(np.sqrt(changes @ changes))
    if df < 1 or not error > 0:
        few = f"{count} patient{'s' * (count != 1)}" if df < 1 else "one patient alone settles it"
        return Estimate(estimate=effect, n=n, note=f"{few}: no clustered error")
    return t_estimate(effect, error, df, n, confidence_level=confidence_level,
                      note=few_degrees(df))
