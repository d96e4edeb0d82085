"""Precision from what leaving out one patient changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from saltrust.analysis.inference.estimate import Estimate, check_confidence_level, t_estimate

FloatArray = npt.NDArray[np.float64]


def jackknife_estimate(value: float, left_out: npt.ArrayLike, n: int, *, null: float = 0.0,
                       bounds: tuple[float, float] = (-np.inf, np.inf),
                       confidence_level: float = 0.95) -> Estimate:
    r"""An estimate with the error of the jackknife over patients.

    :math:`s^2 = \frac{G-1}{G} \sum_g (\hat\theta_{(g)} - \bar\theta_{(\cdot)})^2` for G patients,
    with a t interval and a t test of G - 1 degrees of freedom.  It serves any statistic that is
    smooth in the patients, such as means over pairs of images, where resamples that draw a
    patient twice would count pairs of an image with itself.

    Parameters
    ----------
    value : float
        Of all patients.
    left_out : array_like of float, shape (G,)
        Without each patient.
    n : int
        Rows it is made from.
    null : float
        Tested value.
    bounds : (float, float)
        Of the quantity; the interval does not leave them.
    confidence_level : float
        Between 0 and 1.

    Returns
    -------
    Estimate
        Without an interval, and with a note, where there is no patient to leave out, where one
        patient alone settles the quantity, or where nothing changes it.

    References
    ----------
    B. Efron and C. Stein (1981), Annals of Statistics 9, 586-596.

    Examples
    --------
    >>> made = jackknife_estimate(2.0, [2.5, 2.0, 1.5], n=3)
    >>> round(made.std_error, 4), made.df
    (0.5774, 2.0)
    """
    check_confidence_level(confidence_level)
    without = np.asarray(left_out, dtype=np.float64).ravel()
    count = len(without)
    if np.isnan(value):
        return Estimate(n=n)
    why = ""
    if count < 2:
        why = f"{count} patient{'s' * (count != 1)}: no interval"
    elif not np.isfinite(without).all():
        why = "one patient alone settles it: no interval"
    if why:
        return Estimate(estimate=float(value), n=n, note=why)
    error = float(np.sqrt((count - 1) / count * ((without - without.mean()) ** 2).sum()))
    if error < 1e-12 * max(abs(value), 1.0):
        return Estimate(estimate=float(value), std_error=0.0, n=n,
                        note="no variation between patients: no interval")
    made = t_estimate(float(value), error, float(count - 1), n, null=null,
                      confidence_level=confidence_level)
    return replace(made, conf_low=max(bounds[0], made.conf_low),
                   conf_high=min(bounds[1], made.conf_high))


def share_jackknife(value: float, left_out: npt.ArrayLike, n: int, *, null: float = 0.5,
                    confidence_level: float = 0.95) -> Estimate:
    """:func:`jackknife_estimate` of what lies between 0 and 1, on the scale of its log-odds.

    Near 1, where the error goes with the distance from it, an interval that is symmetric about the
    value covers too rarely; one that is symmetric in log-odds stays inside and does.

    Parameters
    ----------
    value : float
    left_out : array_like of float, shape (G,)
        Without each patient.
    n : int
        Rows it is made from.
    null : float
        Tested value, in (0, 1).
    confidence_level : float
        Between 0 and 1.

    Returns
    -------
    Estimate
        The error is that of the jackknife itself; so is all else where the value, or one without
        a patient, is 0 or 1.
    """
    without = np.asarray(left_out, dtype=np.float64).ravel()
    plain = jackknife_estimate(value, without, n, null=null, bounds=(0, 1),
                               confidence_level=confidence_level)
    if np.isnan(plain.p_value) or not (0 < value < 1 and ((without > 0) & (without < 1)).all()):
        return plain
    made = jackknife_estimate(float(logit(value)), logit(without), n, null=float(logit(null)),
                              confidence_level=confidence_level)
    return replace(made, estimate=value, std_error=plain.std_error,
                   conf_low=float(expit(made.conf_low)), conf_high=float(expit(made.conf_high)))


def jackknife_covariance(left_out: npt.ArrayLike) -> FloatArray:
    r"""Covariance of several figures of the same patients.

    :math:`\frac{G-1}{G} \sum_g (\hat\theta_{(g)} - \bar\theta_{(\cdot)})
    (\hat\theta_{(g)} - \bar\theta_{(\cdot)})^T` for G patients.

    Parameters
    ----------
    left_out : array_like of float, shape (G, k)
        Figures without each patient; of all where a patient has no part in one.

    Returns
    -------
    ndarray of float64, shape (k, k)
        NaN in the rows and columns of figures that one patient alone settles.

    Examples
    --------
    >>> jackknife_covariance([[2.5, 1.0], [2.0, 2.0], [1.5, 3.0]]).round(4)
    array([[ 0.3333, -0.6667],
           [-0.6667,  1.3333]])
    """
    without = np.asarray(left_out, dtype=np.float64)
    around = without - without.mean(axis=0)
    return np.asarray((len(without) - 1) / len(without) * around.T @ around)
