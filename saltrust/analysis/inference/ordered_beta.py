"""Ordered beta regression of shares in 0..1: a latent line, two cut points, a beta density between.

One slope moves the odds of 0, of 1 and the mean between them, which the two-part model keeps
apart.  Fitted by maximum likelihood here, since neither scipy nor statsmodels has the model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import digamma, expit, gammaln, log_expit, logit

from saltrust.analysis.inference.clustered import few_degrees
from saltrust.analysis.inference.estimate import Estimate, check_confidence_level, t_estimate
from saltrust.analysis.inference.shares import checked_shares
from saltrust.analysis.inference.threads import one_blas_thread

FloatArray = npt.NDArray[np.float64]

#: Newton's steps after the search, and what is left of the gradient per row where they end well.
_STEPS, _CONVERGED = 20, 1e-8
_STEP = 1e-5
#: Curvatures below this part of the largest are none.
_FLAT = 1e-10
_NO_MAXIMUM = "the likelihood has no maximum, or nothing varies"


@dataclass(frozen=True)
class OrderedBeta:
    """A model at its maximum.

    Attributes
    ----------
    intercept, slope : float
        Of the logit of the mean between 0 and 1.
    lower, upper : float
        Cut points on the scale of the logit; infinite where no share is 0, or 1.
    precision : float
        Of the beta density.
    log_likelihood : float
    effect : Estimate
        Average change of the mean share with the regressor.
    """

    intercept: float
    slope: float
    lower: float
    upper: float
    precision: float
    log_likelihood: float
    effect: Estimate


class _Likelihood:
    """Of parameters intercept, slope, log precision, lower cut point, log gap of the upper one.

    Cut points that no share needs are no parameters; an upper one alone stands for itself.
    """

    def __init__(self, x: FloatArray, y: FloatArray) -> None:
        self.x = x
        self.zero, self.one = y == 0, y == 1
        self.inner = ~(self.zero | self.one)
        inner = y[self.inner]
        self.log_y, self.log_rest = np.log(inner), np.log1p(-inner)
        self.design = np.column_stack([np.ones(len(x)), x])

    def cuts(self, parameters: FloatArray) -> tuple[float, float]:
        rest = parameters[3:].tolist()
        lower = rest.pop(0) if self.zero.any() else -np.inf
        if not rest:
            return lower, np.inf
        return lower, lower + float(np.exp(rest[0])) if self.zero.any() else rest[0]

    def start(self, y: FloatArray) -> FloatArray:
        between = float(y[self.inner].mean())
        precision = max(between * (1 - between) / max(float(y[self.inner].var()), 1e-6) - 1, 0.5)
        center = float(logit(between))
        lower = center - float(logit(1 - self.zero.mean())) if self.zero.any() else -np.inf
        upper = center - float(logit(self.one.mean())) if self.one.any() else np.inf
        cuts = ([lower] if self.zero.any() else []) + (
            [] if not self.one.any() else
            [float(np.log(upper - lower))] if self.zero.any() else [upper])
        return np.array([center, 0.0, np.log(precision), *cuts])

    def rows(self, parameters: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Log-likelihood of every row, and its gradient."""
        eta = self.design @ parameters[:2]
        precision = float(np.exp(parameters[2]))
        lower, upper = self.cuts(parameters)
        gap = upper - lower
        above, topmost = expit(eta - lower), expit(eta - upper)
        mean = expit(eta)[self.inner]
        first, second = mean * precision, (1 - mean) * precision
        value, by_eta = np.empty(len(eta)), np.empty(len(eta))
        zero, one, inner = self.zero, self.one, self.inner
        value[zero] = log_expit(lower - eta[zero])
        value[one] = log_expit(eta[one] - upper)
        # P(inner) is expit(a) (1 - expit(b)) (1 - exp(b - a)).
        value[inner] = (log_expit(eta[inner] - lower) + log_expit(upper - eta[inner])
                        + np.log(-np.expm1(-gap)) + gammaln(precision) - gammaln(first)
                        - gammaln(second) + (first - 1) * self.log_y
                        + (second - 1) * self.log_rest)
        by_eta[zero], by_eta[one] = -above[zero], 1 - topmost[one]
        by_cut = np.where(inner, above - 1 + topmost, -by_eta)
        by_eta[inner] = -by_cut[inner] + precision * mean * (1 - mean) * (
            self.log_y - self.log_rest - digamma(first) + digamma(second))
        by_precision = np.zeros(len(eta))
        by_precision[inner] = precision * (
            digamma(precision) - mean * digamma(first) - (1 - mean) * digamma(second)
            + mean * self.log_y + (1 - mean) * self.log_rest)
        columns = [by_eta, by_eta * self.x, by_precision]
        if zero.any():
            columns.append(by_cut)
        if one.any():
            by_upper = np.where(one, topmost - 1, np.where(inner, topmost, 0.0))
            columns.append((by_upper + np.where(inner, 1 / np.expm1(gap), 0.0)) * gap
                           if zero.any() else by_upper)
        return value, np.column_stack(columns)

    def curvatures(self, parameters: FloatArray) -> FloatArray:
        """Second derivatives of every row, from differences of the gradients."""
        parts = []
        for k in range(len(parameters)):
            step = np.zeros(len(parameters))
            step[k] = _STEP
            parts.append((self.rows(parameters + step)[1] - self.rows(parameters - step)[1])
                         / (2 * _STEP))
        halves = np.stack(parts, axis=2)
        return np.asarray((halves + halves.transpose(0, 2, 1)) / 2)

    def maximum(self, start: FloatArray) -> FloatArray | None:
        """Parameters of the largest likelihood; None where a search finds no such point."""
        n = len(self.x)

        def lost(parameters: FloatArray) -> tuple[float, FloatArray]:
            value, gradient = self.rows(parameters)
            total = float(value.sum())
            return (-total / n if np.isfinite(total) else 1e10,
                    -np.nan_to_num(gradient).sum(axis=0) / n)

        at = np.asarray(minimize(lost, start, jac=True, method="BFGS").x, dtype=np.float64)
        for _ in range(_STEPS):
            gradient = self.rows(at)[1].sum(axis=0)
            curvature = self.curvatures(at).sum(axis=0)
            if not (np.isfinite(curvature).all() and np.isfinite(gradient).all()):
                return None
            if not _is_peaked(curvature):
                return None
            if np.abs(gradient).max() < _CONVERGED * n:
                return at
            at = at - np.linalg.solve(curvature, gradient)
        return None


@one_blas_thread()
def ordered_beta(x: npt.ArrayLike, y: npt.ArrayLike, clusters: npt.ArrayLike, *,
                 confidence_level: float = 0.95) -> OrderedBeta:
    """Fit an ordered beta regression on one regressor, with errors clustered by patient.

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
    OrderedBeta
        The error of the effect is that of leaving out one patient, to first order with the
        curvature of the patient's own rows (as Mancl and DeRouen's); t with G - p degrees of
        freedom for G patients and p parameters.  NaN, and a note, where it cannot be fitted.

    Raises
    ------
    DataError
        If a number is not finite or y lies outside 0..1.

    References
    ----------
    R. Kubinec (2022), Polit. Anal. 31, 519-536.
    """
    check_confidence_level(confidence_level)
    x, y, codes, count = checked_shares(x, y, clusters, "an ordered beta regression")
    inner = y[(y > 0) & (y < 1)]
    if len(inner) < 3 or np.ptp(inner) == 0 or np.ptp(x) == 0:
        return _without(len(y), "the regressor is constant" if len(x) and np.ptp(x) == 0 else
                        f"{len(inner)} shares between 0 and 1, or all alike")
    likelihood = _Likelihood(x, y)
    # Steps of the search may leave the region where numbers are finite.
    with np.errstate(all="ignore"):
        at = likelihood.maximum(likelihood.start(y))
        if at is None:
            return _without(len(y), _NO_MAXIMUM)
        effect, gradient = _effect(likelihood, at)
        changes = _changes(likelihood, at, gradient, codes, count)
        value = float(likelihood.rows(at)[0].sum())
    intercept, slope, log_precision = at[:3].tolist()
    return OrderedBeta(intercept, slope, *likelihood.cuts(at), math.exp(log_precision), value,
                       _tested(effect, changes, count - len(at), len(y), confidence_level))


def _without(n: int, note: str) -> OrderedBeta:
    nan = float("nan")
    return OrderedBeta(nan, nan, nan, nan, nan, nan, Estimate(n=n, note=note))


def _is_peaked(curvature: FloatArray) -> bool:
    """Whether a likelihood falls in every direction."""
    falls = np.linalg.eigvalsh(curvature)
    return bool(falls.max() < -_FLAT * np.abs(falls).max())


def _mean_change(likelihood: _Likelihood, parameters: FloatArray) -> float:
    """Average change of P(1) + P(inner) mean with the regressor."""
    eta = likelihood.design @ parameters[:2]
    lower, upper = likelihood.cuts(parameters)
    above, topmost, mean = expit(eta - lower), expit(eta - upper), expit(eta)
    steep = [p * (1 - p) for p in (above, topmost, mean)]
    return float(parameters[1] * (steep[1] + (steep[0] - steep[1]) * mean
                                  + (above - topmost) * steep[2]).mean())


def _effect(likelihood: _Likelihood, at: FloatArray) -> tuple[float, FloatArray]:
    """The average change of the mean share, and its gradient in the parameters."""
    steps = np.eye(len(at)) * _STEP
    gradient = [(_mean_change(likelihood, at + step) - _mean_change(likelihood, at - step))
                / (2 * _STEP) for step in steps]
    return _mean_change(likelihood, at), np.array(gradient)


def _changes(likelihood: _Likelihood, at: FloatArray, gradient: FloatArray,
             codes: npt.NDArray[np.int64], count: int) -> FloatArray:
    """How the effect changes, to first order, without each patient."""
    scores, curvatures = likelihood.rows(at)[1], likelihood.curvatures(at)
    whole = curvatures.sum(axis=0)
    changes = np.zeros(count)
    for c in range(count):
        rows = codes == c
        left = whole - curvatures[rows].sum(axis=0)
        changes[c] = (gradient @ np.linalg.solve(left, scores[rows].sum(axis=0))
                      if _is_peaked(left) else np.nan)
    return changes


def _tested(effect: float, changes: FloatArray, degrees: int, n: int, confidence_level: float
            ) -> Estimate:
    df, error = float(degrees), float(np.sqrt(changes @ changes))
    if df < 1 or not error > 0:
        few = (f"{len(changes)} patient{'s' * (len(changes) != 1)}" if df < 1 else
               "one patient alone settles it")
        return Estimate(estimate=effect, n=n, note=f"{few}: no clustered error")
    return t_estimate(effect, error, df, n, confidence_level=confidence_level,
                      note=few_degrees(df))
