"""Restricted maximum likelihood of random-intercept models, by profiling the variance ratios.

The fixed effects and the residual variance are profiled out (D. Bates et al. (2015), J. Stat.
Softw. 67(1), section 3.4); what is left is a function of the ratios ``g_j`` of the random
intercepts' variances to the residual's.  It is minimised by Newton's method with exact second
derivatives on a logarithmic scale with a finite end at ``g_j = 0``: the relative standard
deviation, which lme4 works with, makes zero stationary whether it is a minimum or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from saltrust.analysis.mixed.frame import FloatArray
from saltrust.analysis.mixed.likelihood.computation import SingleIntercept, likelihood
from saltrust.analysis.mixed.likelihood.pieces import Likelihood, Pieces
from saltrust.analysis.mixed.likelihood.sufficient import Sufficient
from saltrust.errors import DataError

#: Share of the residual sum of squares below which the model fits perfectly.
PERFECT_SHARE = 1e-13

#: Ratio to the residual variance, in units of one over the group size, that only a residual
#: which is rounding can give.
LARGEST = 1e11

#: lme4 calls a fit singular where a relative standard deviation is below this.
SINGULAR = 1e-4

_STEPS = 100
_ROUNDING = 1e-14  # of the deviance, relative
_IDENTIFIED = 1e-11
_NEGLIGIBLE = 1e-18
_SUSPICIOUS = 1e5


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


def fit(data: Sufficient, *, reml: bool = True) -> Profile:
    """Find the variance ratios that maximise the (restricted) likelihood.

    Parameters
    ----------
    data : Sufficient
    reml : bool
        Restricted likelihood; ordinary likelihood otherwise.

    Returns
    -------
    Profile
        At the best of the minima found from several starts.

    Raises
    ------
    DataError
        If the variances cannot be told apart, or the model fits perfectly.
    """
    evaluate = likelihood(data)
    null = profile(data, evaluate, np.zeros(len(data.groups)), reml=True)
    _check_identified(data, null)
    _check_not_perfect(data)
    # A factor weighs as much as the residual where its ratio is one over its groups' size.
    weight = np.array([1 / counts.mean() for counts in data.counts])
    best: Profile | None = None
    for start in _starts(data, evaluate, weight, reml=reml):
        found = _newton(data, evaluate, start, weight, reml=reml)
        if best is None or found.deviance < best.deviance - 1e-9:
            best = found
    assert best is not None
    if best.quadratic < PERFECT_SHARE * data.gram[-1, -1] or _residual_vanishes(
            data, evaluate, best, weight):
        raise _perfect(data)
    return best


def _residual_vanishes(data: Sufficient, evaluate: Likelihood, best: Profile,
                       weight: FloatArray) -> bool:
    """Whether large ratios stand for no residual at all, rather than for a small one.

    Where random intercepts and fixed effects reproduce the response, the quadratic form goes
    to zero as the ratios grow, else to the residual sum of squares.
    """
    large = best.ratios > _SUSPICIOUS * weight
    if not large.any():
        return False
    further = profile(data, evaluate, np.where(large, 1e3, 1.0) * best.ratios, reml=True)
    return further.quadratic < 0.05 * best.quadratic


def _check_identified(data: Sufficient, null: Profile) -> None:
    """Refuse variances that the fixed effects or another variance explain away.

    Their expected information, at ratios of zero and scaled to a correlation matrix, is then
    singular: no row of the data says how the sum of the two divides.
    """
    degrees = data.n - data.rank
    counts = f"{data.rank} fixed effects, {degrees} residual degrees of freedom"
    for group, information, size in zip(data.groups, -np.diag(null.log_dets_2), data.counts,
                                        strict=True):
        if information <= _IDENTIFIED * (size @ size):
            raise DataError(f"the random intercept of {group.name} ({group.size} groups) cannot "
                            f"be told from the fixed effects, which differ between its groups "
                            f"as much as these do ({counts}); drop one of them")
    matrix = np.empty((len(data.groups) + 1,) * 2)
    matrix[0, 0] = degrees
    matrix[0, 1:] = matrix[1:, 0] = null.log_dets_1
    matrix[1:, 1:] = -null.log_dets_2
    root = np.sqrt(np.diag(matrix))
    values, vectors = np.linalg.eigh(matrix / np.outer(root, root))
    if values[0] < _IDENTIFIED:
        names = ["the residual", *(f"{group.name} ({group.size} groups)"
                                   for group in data.groups)]
        involved = [name for name, share in zip(names, np.abs(vectors[:, 0]), strict=True)
                    if share > 0.1]
        raise DataError(f"the variances of {' and '.join(involved)} cannot be told apart: they "
                        f"divide the {data.n} rows alike ({counts}); drop one random intercept")


def _check_not_perfect(data: Sufficient) -> None:
    """Refuse data that group means and fixed effects reproduce, which leave no residual."""
    if len(data.groups) > 1:
        return  # seen at the optimum, where the residual variance vanishes
    p = data.rank
    within = data.within
    values, vectors = np.linalg.eigh(within[:p, :p])
    kept = values > 1e-10
    if data.n - len(data.counts[0]) - kept.sum() <= 0:
        return  # no residual is left within groups, and none is missed
    pulled = vectors[:, kept].T @ within[:p, p]
    if within[p, p] - pulled @ (pulled / values[kept]) < PERFECT_SHARE * data.gram[p, p]:
        raise _perfect(data)


def _perfect(data: Sufficient) -> DataError:
    groups = ", ".join(f"{group.name} ({group.size} groups)" for group in data.groups)
    return DataError(f"the fixed effects and the means of {groups} reproduce all {data.n} "
                     "responses (a perfect fit): no residual variance is left to estimate "
                     "errors from")


def _starts(data: Sufficient, evaluate: Likelihood, weight: FloatArray, *, reml: bool,
            ) -> Iterator[FloatArray]:
    """Ratios to start from, over the range where the likelihood can have minima."""
    m = len(weight)
    if isinstance(evaluate, SingleIntercept):
        # Evaluations cost nothing: see every change of sign of the slope.
        grid = np.concatenate([[0.0], weight[0] * np.geomspace(1e-4, LARGEST, 61)])
        slopes = [profile(data, evaluate, np.array([ratio]), reml=reml).gradient[0]
                  for ratio in grid]
        falling = [slope < 0 for slope in slopes]
        minima = np.flatnonzero(np.array(falling[:-1]) & ~np.array(falling[1:]))
        if not falling[0]:
            yield np.zeros(1)
        for index in minima:
            yield np.array([(grid[index] + grid[index + 1]) / 2])
        # With no residual left within groups, the likelihood is flat towards infinity: a finite
        # maximum counts, where there is one.
        if falling[0] and not len(minima):
            raise _perfect(data)
        return
    yield np.ones(m)  # where lme4 starts
    if sum(group.size for group in data.groups[1:]) > 500:
        return
    yield np.zeros(m)
    if data.n <= 20_000 and m <= 3:
        yield from (weight * np.array(scales) for scales in product((0.1, 30.0), repeat=m))


def _newton(data: Sufficient, evaluate: Likelihood, start: FloatArray, weight: FloatArray, *,
            reml: bool) -> Profile:
    """Projected Newton in ``f = log(g + w)``, bounded below by ``log(w)``."""

    def at(place: FloatArray) -> Profile | None:
        ratios = np.where(place <= floor, 0.0, np.maximum(np.exp(place) - weight, 0.0))
        try:
            return profile(data, evaluate, ratios, reml=reml)
        except np.linalg.LinAlgError:
            return None  # a trial step to where rounding is all that is left

    floor = np.log(weight)
    place = np.log(start + weight)
    here = profile(data, evaluate, start, reml=reml)
    for _ in range(_STEPS):
        rate = here.ratios + weight  # d g / d f
        gradient = here.gradient * rate
        held = (here.ratios == 0) & (gradient >= 0)
        free = ~held
        if not free.any():
            break
        hessian = here.hessian * np.outer(rate, rate) + np.diag(gradient)
        step = np.zeros_like(place)
        step[free] = _descent(hessian[np.ix_(free, free)], gradient[free])
        step /= max(1.0, float(np.abs(step).max()) / 3.0)
        there = _line_search(here, gradient, step, place, floor, at)
        if there is None:
            break
        place, here = there
        if (here.ratios > LARGEST * weight).any():
            raise _perfect(data)
        if np.abs(step).max() < 1e-8:  # converging quadratically: the next would be 1e-16
            break
    return here


def _descent(hessian: FloatArray, gradient: FloatArray) -> FloatArray:
    """Newton's step, with negative curvature turned round."""
    values, vectors = np.linalg.eigh(hessian)
    size = np.maximum(np.abs(values), 1e-8 * max(1.0, float(np.abs(values).max())))
    result: FloatArray = -vectors @ ((vectors.T @ gradient) / size)
    return result


def _line_search(here: Profile, gradient: FloatArray, step: FloatArray, place: FloatArray,
                 floor: FloatArray, at: Callable[[FloatArray], Profile | None],
                 ) -> tuple[FloatArray, Profile] | None:
    """Halve the step until the deviance falls enough; None where it does not."""
    rounding = _ROUNDING * max(1.0, abs(here.deviance))
    scale = 1.0
    for _ in range(40):
        there = np.maximum(place + scale * step, floor)
        moved = at(there)
        expected = min(float(gradient @ (there - place)), 0.0)
        if moved is not None and moved.deviance <= here.deviance + 1e-4 * expected + rounding:
            return there, moved
        scale /= 2
    return None
