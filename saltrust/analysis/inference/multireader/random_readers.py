"""One reader who is given, such as a model, against several who are a sample of readers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from saltrust.analysis.inference.estimate import Estimate, check_confidence_level, t_estimate
from saltrust.analysis.inference.jackknife import jackknife_covariance

FloatArray = npt.NDArray[np.float64]


def readers_against_one(readers: npt.ArrayLike, one: npt.ArrayLike, readers_left_out: npt.ArrayLike,
                        one_left_out: npt.ArrayLike, n: int = 0, *,
                        confidence_level: float = 0.95) -> Estimate:
    r"""Whether readers, who stand for more of their kind, differ from one on average.

    :math:`\psi_j = \theta_j - \theta_{AI}` of J readers; :math:`Cov_2` is the mean covariance of
    two of them by the jackknife over patients, which is also what all share through the one they
    are compared with.  :math:`D = MS_R + \max(J\,Cov_2, 0)` with :math:`MS_R` their variance,
    :math:`t = \bar\psi / \sqrt{D / J}` with :math:`D^2 / (MS_R^2 / (J - 1))` degrees of freedom.
    It serves any figure of merit that can be had without a patient: a mean IoU, a hit rate, an
    area under a ROC or AFROC curve.

    Parameters
    ----------
    readers : array_like of float, shape (J,)
        Figure of each reader.
    one : array_like of float, shape () or (J,)
        Figure of the one, on all cases or on those of each reader.
    readers_left_out : array_like of float, shape (G, J)
        Figures without each of G patients; those of all where a patient has no part in them.
    one_left_out : array_like of float, shape (G,) or (G, J)
    n : int
        Cases.
    confidence_level : float
        Of the interval of the mean difference.

    Returns
    -------
    Estimate
        Readers minus the one.  Without an interval, and with a note, of fewer than two readers or
        patients, where one patient alone settles a figure, or where nothing varies.

    References
    ----------
    S. L. Hillis (2007), Statistics in Medicine 26, 596-619, section 5.3.

    Examples
    --------
    >>> left_out = np.array([[0.70, 0.62], [0.72, 0.60], [0.68, 0.58]])
    >>> made = readers_against_one([0.7, 0.6], 0.5, left_out, [0.52, 0.49, 0.49])
    >>> round(made.estimate, 3), round(made.std_error, 4), round(made.df, 2)
    (0.15, 0.0526, 1.22)
    """
    check_confidence_level(confidence_level)
    psi = np.asarray(readers, dtype=np.float64) - np.asarray(one, dtype=np.float64)
    without = np.asarray(readers_left_out, dtype=np.float64)
    of_one = np.asarray(one_left_out, dtype=np.float64)
    without = without - (of_one[:, None] if of_one.ndim == 1 else of_one)
    count = len(psi)
    if not count or np.isnan(psi).any():
        return Estimate(n=n, note="no reader" if not count else "a reader without cases")
    plain = Estimate(estimate=float(psi.mean()), n=n)
    why = ""
    if count < 2:
        why = "1 reader: nothing is known of other readers"
    elif len(without) < 2:
        why = f"{len(without)} patient{'s' * (len(without) != 1)}: no interval"
    elif not np.isfinite(without).all():
        why = "one patient alone settles it: no interval"
    if why:
        return replace(plain, note=why)
    covariance = jackknife_covariance(without)
    spread = float(psi.var(ddof=1))
    shared = max(float(covariance[~np.eye(count, dtype=bool)].mean()), 0.0)
    total = spread + count * shared
    if total <= 1e-24 * max(float((psi**2).max()), 1.0):
        return replace(plain, std_error=0.0, note="no variation: no interval")
    df = total**2 / (spread**2 / (count - 1)) if spread > 0 else np.inf
    return t_estimate(float(psi.mean()), float(np.sqrt(total / count)), float(df), n,
                      confidence_level=confidence_level)
