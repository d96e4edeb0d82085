"""Maximum (restricted) likelihood with a residual variance per level.

The parameters are the ratios of the random intercepts' variances to the reference level's
residual variance, as ``log(g + w)``, which ends at zero as in the model of equal variances, and
logarithms of the other levels' relative standard deviations.  Gradients are exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from saltrust.analysis.mixed.frame import FloatArray
from saltrust.analysis.mixed.unequal.pieces import LevelLikelihood, LevelPieces

#: Relative standard deviations lie between its inverse and it: beyond is none at all.
LARGEST_SD = 1e3
_LARGEST_RATIO = 1e7  # in units of one over the size of a group
_NEGLIGIBLE = 1e-18
_STEP = 4e-3
_OUT_OF_REACH = 1e15


@dataclass(frozen=True)
class LevelProfile:
    """The deviance at some ratios and relative standard deviations, all else profiled out.

    Attributes
    ----------
    ratios, sds : ndarray of float64, shapes (m,), (L,)
        Of the random intercepts' variances, and of the levels' residual standard deviations, to
        those of the reference level.
    deviance : float
        As :class:`saltrust.analysis.mixed.likelihood.profile.Profile` has it.
    information : ndarray of float64, shape (p, p)
        ``X'V^-1 X`` of the orthonormal basis.
    coefficients : ndarray of float64, shape (p,)
    quadratic : float
        ``y'Py``.
    degrees : int
        ``n - p`` under REML, else ``n``.
    log_dets_1, quadratic_1 : ndarray of float64, shape (m + L,)
        Derivatives in the ratios and the logarithms of the standard deviations.
    pieces : LevelPieces
    """

    ratios: FloatArray
    sds: FloatArray
    deviance: float
    information: FloatArray
    coefficients: FloatArray
    quadratic: float
    degrees: int
    log_dets_1: FloatArray
    quadratic_1: FloatArray
    pieces: LevelPieces

    @property
    def variance(self) -> float:
        """Residual variance of the reference level, on the scale of the data handed in."""
        return self.quadratic / self.degrees

    @property
    def gradient(self) -> FloatArray:
        """Of the deviance, in the ratios and the logarithms of the standard deviations."""
        result: FloatArray = self.log_dets_1 + self.quadratic_1 / self.variance
        return result


def profile(likelihood: LevelLikelihood, ratios: FloatArray, sds: FloatArray, *, reml: bool,
            ) -> LevelProfile:
    """Profile the deviance at given ratios, shape (m,), and relative deviations, shape (L,)."""
    variances = sds**2
    pieces = likelihood(ratios, variances)
    p = pieces.form.shape[0] - 1
    n = len(likelihood.rows)
    information = pieces.form[:p, :p]
    inverse = np.linalg.inv(information)
    coefficients = inverse @ pieces.form[:p, p]
    residual = np.append(-coefficients, 1.0)
    whole = float(likelihood.grams[:, p, p].sum())
    quadratic = max(float(residual @ pieces.form @ residual), _NEGLIGIBLE * whole)
    # In the logarithm of a standard deviation: 2 d times the derivative in d.
    slopes = np.concatenate([pieces.form_ratios, 2 * variances[:, None, None]
                             * pieces.form_levels])
    log_dets_1 = np.concatenate([pieces.of_ratios, 2 * variances * pieces.of_levels])
    log_det, degrees = pieces.log_det, n
    if reml:
        degrees = n - p
        log_det += float(np.linalg.slogdet(information)[1])
        log_dets_1 = log_dets_1 - np.einsum("ab,jba->j", inverse, slopes[:, :p, :p])
    return LevelProfile(
        ratios, sds, log_det + degrees * (1 + float(np.log(2 * np.pi * quadratic / degrees))),
        information, coefficients, quadratic, degrees, log_dets_1,
        -np.einsum("a,jab,b->j", residual, slopes, residual), pieces)


def fit_equal(likelihood: LevelLikelihood, *, reml: bool) -> LevelProfile:
    """Find the ratios of the largest likelihood where all levels have one variance."""
    floor = _floor(likelihood)
    ones = np.ones(len(likelihood.counts))

    def at(place: FloatArray) -> LevelProfile:
        return profile(likelihood, _ratios(place, floor), ones, reml=reml)

    def slope(here: LevelProfile) -> FloatArray:
        result: FloatArray = here.gradient[:len(floor)] * (here.ratios + floor)
        return result

    bounds = np.array([(np.log(w), np.log(_LARGEST_RATIO * w)) for w in floor])
    return min((_minimize(at, slope, np.log(floor * (1 + scale)), bounds)
                for scale in (1.0, 30.0)), key=lambda minimum: minimum.deviance)


def fit(likelihood: LevelLikelihood, equal: LevelProfile, *, reml: bool) -> LevelProfile:
    """Find the ratios and relative standard deviations of the largest likelihood.

    Parameters
    ----------
    likelihood : LevelLikelihood
    equal : LevelProfile
        The maximum where all levels have one variance.
    reml : bool

    Returns
    -------
    LevelProfile
        At the better of the minima from two starts.
    """
    floor = _floor(likelihood)
    m, levels = len(floor), len(likelihood.counts)
    spread = _spreads(likelihood, likelihood.rows[:, -1])
    reference = int(np.argmax(spread))
    others = np.setdiff1d(np.arange(levels), [reference])

    def at(place: FloatArray) -> LevelProfile:
        sds = np.ones(levels)
        sds[others] = np.exp(place[m:])
        return profile(likelihood, _ratios(place[:m], floor), sds, reml=reml)

    def slope(here: LevelProfile) -> FloatArray:
        return np.concatenate([here.gradient[:m] * (here.ratios + floor),
                               here.gradient[m:][others]])

    bounds = np.array([*((np.log(w), np.log(_LARGEST_RATIO * w)) for w in floor),
                       *[(-np.log(LARGEST_SD), np.log(LARGEST_SD))] * (levels - 1)])
    # Spreads of what is left of the rows beside the predictions of the equal-variances fit.
    left = _spreads(likelihood, equal.pieces.solved @ np.append(-equal.coefficients, 1.0))
    best: LevelProfile | None = None
    for ratios, sds in ((equal.ratios, left), (0.1 * floor, spread)):
        place = np.concatenate([np.log(ratios + floor), np.log(sds / sds[reference])[others]])
        minimum = _minimize(at, slope, np.clip(place, bounds[:, 0], bounds[:, 1]), bounds)
        if best is None or minimum.deviance < best.deviance - 1e-9:
            best = minimum
    assert best is not None
    return best


def _floor(likelihood: LevelLikelihood) -> FloatArray:
    """Ratios at which a factor weighs as much as the residual: one over its groups' size."""
    return np.array([size / len(likelihood.rows) for size in likelihood.sizes])


def _ratios(place: FloatArray, floor: FloatArray) -> FloatArray:
    result: FloatArray = np.where(place <= np.log(floor), 0.0,
                                  np.maximum(np.exp(place) - floor, 0.0))
    return result


def _spreads(likelihood: LevelLikelihood, values: FloatArray) -> FloatArray:
    """Root mean square of every level, none below a thousandth of the largest."""
    made = np.array([np.sqrt(np.mean(values[part]**2)) for part in likelihood.slices])
    result: FloatArray = np.maximum(made, 1e-3 * made.max())
    return result


def _minimize(at: Callable[[FloatArray], LevelProfile],
              slope: Callable[[LevelProfile], FloatArray], start: FloatArray,
              bounds: FloatArray) -> LevelProfile:
    """Quasi-Newton to the neighborhood of the minimum, then Newton on the free parameters."""

    def value(place: FloatArray) -> tuple[float, FloatArray]:
        try:
            here = at(place)
        except np.linalg.LinAlgError:
            # A trial step to where rounding is all that is left.
            return _OUT_OF_REACH, np.zeros_like(place)
        return here.deviance, slope(here)

    place = np.asarray(minimize(value, start, jac=True, method="L-BFGS-B", bounds=bounds,
                                options={"maxiter": 300, "ftol": 1e-12, "gtol": 1e-5}).x)
    here = at(place)
    for _ in range(8):
        gradient = slope(here)
        held = (((place <= bounds[:, 0]) & (gradient >= 0))
                | ((place >= bounds[:, 1]) & (gradient <= 0)))
        free = np.flatnonzero(~held)
        if not len(free):
            break
        hessian = _differences(lambda x: slope(at(x)), place, free)
        values, vectors = np.linalg.eigh(hessian)
        size = np.maximum(np.abs(values), 1e-8 * max(1.0, float(np.abs(values).max())))
        step = np.zeros_like(place)
        step[free] = -vectors @ ((vectors.T @ gradient[free]) / size)
        step /= max(1.0, float(np.abs(step).max()))
        trial = np.clip(place + step, bounds[:, 0], bounds[:, 1])
        moved = at(trial)
        if moved.deviance > here.deviance + 1e-10 * max(1.0, abs(here.deviance)):
            break
        place, here = trial, moved
        if np.abs(step).max() < 1e-7:
            break
    return here


def _differences(function: Callable[[FloatArray], FloatArray], place: FloatArray,
                 free: np.ndarray[tuple[int], np.dtype[np.int64]]) -> FloatArray:
    """Symmetric matrix of central differences of a gradient in the free parameters."""
    matrix = np.empty((len(free), len(free)))
    for row, which in enumerate(free):
        up, down = place.copy(), place.copy()
        up[which] += 1e-4
        down[which] -= 1e-4
        matrix[row] = (function(up) - function(down))[free] / 2e-4
    return (matrix + matrix.T) / 2


def full_hessian(likelihood: LevelLikelihood, here: LevelProfile, free: FloatArray, *,
                 reml: bool) -> FloatArray:
    """Second derivatives of the deviance with nothing of the variances profiled out.

    Parameters
    ----------
    likelihood : LevelLikelihood
    here : LevelProfile
        The optimum.
    free : ndarray of bool, shape (m + L,)
        Which relative standard deviations, of intercepts and of levels, are parameters.
    reml : bool

    Returns
    -------
    ndarray of float64
        In the relative standard deviations of the intercepts, the logarithms of those of the
        levels, and the logarithm of the reference's; extrapolated differences of the exact
        gradient.
    """
    m = len(here.ratios)
    place = np.concatenate([np.sqrt(here.ratios), np.log(here.sds)])

    def gradient(x: FloatArray) -> FloatArray:
        made = profile(likelihood, x[:m]**2, np.exp(x[m:]), reml=reml)
        slope = made.log_dets_1 + made.quadratic_1 / here.variance
        slope[:m] *= 2 * x[:m]
        last = 2 * (made.degrees - made.quadratic / here.variance)
        return np.append(slope[free], last)

    chosen = np.flatnonzero(free)
    weight = np.sqrt(_floor(likelihood))
    hessian = np.empty((len(chosen) + 1,) * 2)
    for row, which in enumerate(chosen):
        step = _STEP * (max(place[which], 0.1 * weight[which]) if which < m else 1.0)
        estimates = []
        for width in (step, step / 2):
            up, down = place.copy(), place.copy()
            up[which] += width
            down[which] -= width
            estimates.append((gradient(up) - gradient(down)) / (2 * width))
        hessian[row] = (4 * estimates[1] - estimates[0]) / 3
    hessian[-1, :-1] = hessian[:-1, -1]
    hessian[-1, -1] = 4 * here.quadratic / here.variance
    return (hessian + hessian.T) / 2
