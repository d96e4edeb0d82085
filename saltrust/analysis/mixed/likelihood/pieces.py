"""The pieces of a mixed model's likelihood and their derivatives in the variance ratios.

With ``V = I + sum_j g_j Z_j Z_j'``, where ``g_j`` is the variance of the j-th random intercept
over the residual variance, everything that REML, Satterthwaite and Kenward-Roger need are
``log |V|`` and ``F = M' V^-1 M`` for ``M = [X y]``, with first and second derivatives in ``g``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from saltrust.analysis.mixed.frame import FloatArray


@dataclass(frozen=True)
class Pieces:
    """``log |V|`` and ``F = M' V^-1 M`` at some variance ratios, with derivatives.

    Attributes
    ----------
    log_det : float
    log_det_1 : ndarray of float64, shape (m,)
        First derivatives, ``tr(V^-1 G_j)`` with ``G_j = Z_j Z_j'``.
    log_det_2 : ndarray of float64, shape (m, m)
        Second derivatives, ``-tr(V^-1 G_j V^-1 G_k)``.
    form : ndarray of float64, shape (p + 1, p + 1)
        ``F``.
    form_1 : ndarray of float64, shape (m, p + 1, p + 1)
        First derivatives, ``-M' V^-1 G_j V^-1 M``.
    form_2 : ndarray of float64, shape (m, m, p + 1, p + 1)
        Second derivatives, ``M' V^-1 (G_j V^-1 G_k + G_k V^-1 G_j) V^-1 M``.
    """

    log_det: float
    log_det_1: FloatArray
    log_det_2: FloatArray
    form: FloatArray
    form_1: FloatArray
    form_2: FloatArray


#: A function of the variance ratios, shape (m,).
Likelihood = Callable[[FloatArray], Pieces]
