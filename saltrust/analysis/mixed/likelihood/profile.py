"""The deviance of random-intercept models as a function of the variance ratios alone.

The fixed effects and the residual variance are profiled out (D. Bates et al. (2015), J. Stat.
Softw. 67(1), section 3.4); what is left is a function of the ratios ``g_j`` of the random
intercepts' variances to the residual's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from saltrust.analysis.mixed.frame import FloatArray
from saltrust.analysis.mixed.likelihood.pieces import Likelihood, Pieces
from saltrust.analysis.mixed.likelihood.sufficient import Sufficient

_NEGLIGIBLE = 1e-18


@dataclass(frozen=True)
class Profile:
    """The deviance at some variance ratios, with everything else profiled out.

    Attributes
    ----------
    ratios : ndarray of float64, shape (m,)
    deviance : float
        Minus twice the (restricted) log-likelihood of the scaled data, constants of the scale
        left out.
    gradient, hessian : ndarray of float64, shapes (m,), (m, m)
        In the ratios.
    information : ndarray of float64, shape (p, p)
        ``X'V^-1 X`` of the orthonormal basis.
    coefficients : ndarray of float64, shape (p,)
        Of the basis, for the scaled residual.
    quadratic : float
        ``y'Py``, whose share per degree of freedom is the residual variance.
    quadratic_1, quadratic_2 : ndarray of float64, shapes (m,), (m, m)
        Its derivatives.
    log_dets_1, log_dets_2 : ndarray of float64, shapes (m,), (m, m)
        Derivatives of ``log |V|``, under REML with ``log |X'V^-1 X|``.
    degrees : int
        ``n - p`` under REML, else ``n``.
    pieces : Pieces
    """

    ratios: FloatArray
    deviance: float
    gradient: FloatArray
    hessian: FloatArray
    information: FloatArray
    coefficients: FloatArray
    quadratic: float
    quadratic_1: FloatArray
    quadratic_2: FloatArray
    log_dets_1: FloatArray
    log_dets_2: FloatArray
    degrees: int
    pieces: Pieces

    @property
    def variance(self) -> float:
        """Residual variance on the scale of the data handed in."""
        return self.quadratic / self.degrees


def profile(data: Sufficient, evaluate: Likelihood, ratios: FloatArray, *, reml: bool) -> Profile:
    """Profile the deviance at given variance ratios, shape (m,)."""
    pieces = evaluate(ratios)
    p = data.rank
    information = pieces.form[:p, :p]
    inverse = np.linalg.inv(information)
    coefficients = inverse @ pieces.form[:p, p]
    residual = np.append(-coefficients, 1.0)  # M @ residual is y - X b
    # Where the residual vanishes, rounding may leave it negative.
    quadratic = max(float(residual @ pieces.form @ residual), _NEGLIGIBLE * data.gram[p, p])
    pulls = pieces.form_1 @ residual
    quadratic_1 = pulls @ residual
    quadratic_2 = (np.einsum("a,jkab,b->jk", residual, pieces.form_2, residual)
                   - 2 * pulls[:, :p] @ inverse @ pulls[:, :p].T)
    log_dets_1, log_dets_2 = pieces.log_det_1.copy(), pieces.log_det_2.copy()
    log_det = pieces.log_det
    degrees = data.n
    if reml:
        degrees = data.n - p
        log_det += float(np.linalg.slogdet(information)[1])
        solved = inverse @ pieces.form_1[:, :p, :p]
        log_dets_1 += np.trace(solved, axis1=1, axis2=2)
        log_dets_2 += (np.einsum("ab,jkba->jk", inverse, pieces.form_2[:, :, :p, :p])
                       - np.einsum("jab,kba->jk", solved, solved))
    share = quadratic_1 / quadratic
    return Profile(
        ratios=ratios, information=information, coefficients=coefficients,
        deviance=log_det + degrees * (1 + float(np.log(2 * np.pi * quadratic / degrees))),
        gradient=log_dets_1 + degrees * share,
        hessian=log_dets_2 + degrees * (quadratic_2 / quadratic - np.outer(share, share)),
        quadratic=quadratic, quadratic_1=quadratic_1, quadratic_2=quadratic_2,
        log_dets_1=log_dets_1, log_dets_2=log_dets_2, degrees=degrees, pieces=pieces)
