"""Tests by exchange: what a sum could be, were the sign of every patient's part a coin's throw."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

FloatArray = npt.NDArray[np.float64]

#: With fewer patients every assignment of signs is looked at.
EXACT_BELOW = 15


class SignFlips(NamedTuple):
    """Result of :func:`sign_flip_test`.

    Attributes
    ----------
    statistic : float
        The sum over its standard deviation under the hypothesis.
    p_value : float
        Two-sided; 1 where every part is zero.
    exact : bool
        Whether all assignments were counted, or the sum is taken as normal.
    """

    statistic: float
    p_value: float
    exact: bool


def sign_flip_test(parts: npt.ArrayLike) -> SignFlips:
    """Whether parts, one a patient, add up to more than their signs would by chance.

    The parts are taken as symmetric about zero under the hypothesis, each by itself, so that
    neither their sizes nor how many images a patient has matter.

    Parameters
    ----------
    parts : array_like of float, shape (patients,)

    Returns
    -------
    SignFlips
        With fewer than :data:`EXACT_BELOW` parts that are not zero the share of all assignments
        whose sum is as far from zero, the one that was seen among them; else normal, with the
        variance sum(parts^2).

    Examples
    --------
    >>> sign_flip_test([1.0, 2.0, 3.0]).p_value
    0.25
    """
    values = np.asarray(parts, dtype=np.float64).ravel()
    values = values[values != 0]
    if not len(values):
        return SignFlips(0.0, 1.0, True)
    # In units of the largest, so that squares neither vanish nor overflow.
    scaled = values / np.abs(values).max()
    total = float(scaled.sum())
    statistic = total / float(np.sqrt((scaled**2).sum()))
    if len(values) >= EXACT_BELOW:
        return SignFlips(statistic, float(2 * ndtr(-abs(statistic))), False)
    sums = np.zeros(1)
    for part in scaled[1:]:
        sums = np.concatenate([sums + part, sums - part])
    # The first sign is left as it is: the other half of the assignments are these, mirrored.
    sums += scaled[0]
    reached = np.abs(sums) >= abs(total) - 1e-9 * len(values)
    return SignFlips(statistic, float(reached.mean()), True)
