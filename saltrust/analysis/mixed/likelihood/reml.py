"""Restricted maximum likelihood of random-intercept models, by Newton's method.

The profiled deviance is a function of the ratios ``g_j`` of the random intercepts' variances to
the residual's (:mod:`saltrust.analysis.mixed.likelihood.profile`).  It is minimized with exact
second derivatives on a logarithmic scale with a finite end at ``g_j = 0``: the relative standard
deviation, which lme4 works with, makes zero stationary whether it is a minimum or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np

from saltrust.analysis.mixed.frame import FloatArray
from saltrust.analysis.mixed.likelihood.computation import SingleIntercept, likelihood
from saltrust.analysis.mixed.likelihood.pieces import Likelihood
from saltrust.analysis.mixed.likelihood.profile import Profile, profile
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
_SUSPICIOUS = 1e5


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
    check_estimable(data, evaluate)
    # A factor weighs as much as the residual where its ratio is one over its groups' size.
    weight = np.array([1 / counts.mean() for counts in data.counts])
    best: Profile | None = None
    for start in _starts(data, evaluate, weight, reml=reml):
        minimum = _newton(data, evaluate, start, weight, reml=reml)
        if best is None or minimum.deviance < best.deviance - 1e-9:
            best = minimum
    assert best is not None
    if best.quadratic < PERFECT_SHARE * data.gram[-1, -1] or _residual_vanishes(
            data, evaluate, best, weight):
        raise perfect(data)
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


def check_estimable(data: Sufficient, evaluate: Likelihood | None = None) -> None:
    """Refuse variances that cannot be told apart, and a residual that there is none of."""
    _check_identified(data, profile(data, evaluate or likelihood(data),
                                    np.zeros(len(data.groups)), reml=True))
    _check_not_perfect(data)


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
        raise perfect(data)


def perfect(data: Sufficient) -> DataError:
    """What is raised where random intercepts and fixed effects reproduce the response."""
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
            raise perfect(data)
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
        step[free] = descent(hessian[np.ix_(free, free)], gradient[free])
        step /= max(1.0, float(np.abs(step).max()) / 3.0)
        moved = line_search(here, gradient, step, place, floor, at)
        if moved is None:
            break
        place, here = moved
        if (here.ratios > LARGEST * weight).any():
            raise perfect(data)
        if np.abs(step).max() < 1e-8:  # converging quadratically: the next would be 1e-16
            break
    return here


def descent(hessian: FloatArray, gradient: FloatArray) -> FloatArray:
    """Newton's step, with negative curvature turned round."""
    values, vectors = np.linalg.eigh(hessian)
    size = np.maximum(np.abs(values), 1e-8 * max(1.0, float(np.abs(values).max())))
    result: FloatArray = -vectors @ ((vectors.T @ gradient) / size)
    return result


def line_search(here: Profile, gradient: FloatArray, step: FloatArray, place: FloatArray,
                floor: FloatArray, at: Callable[[FloatArray], Profile | None],
                ) -> tuple[FloatArray, Profile] | None:
    """Halve the step until the deviance falls enough; None where it does not."""
    rounding = _ROUNDING * max(1.0, abs(here.deviance))
    scale = 1.0
    for _ in range(40):
        trial = np.maximum(place + scale * step, floor)
        moved = at(trial)
        expected = min(float(gradient @ (trial - place)), 0.0)
        if moved is not None and moved.deviance <= here.deviance + 1e-4 * expected + rounding:
            return trial, moved
        scale /= 2
    return None
