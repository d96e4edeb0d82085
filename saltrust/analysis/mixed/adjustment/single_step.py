"""The largest of several correlated t statistics: exact single-step adjustment.

T. Hothorn, F. Bretz and P. Westfall (2008), Biom. J. 50, 346-363 (multcomp), take the
correlation of the contrasts as it is.  With normal reference distributions this is what
multcomp does for mixed models; with t, emmeans' ``mvt``.  Both programs integrate by Monte
Carlo.  Here contrasts that correlate as products ``l_i l_j``, as those against a control do in
balanced data, take a two-dimensional quadrature, exact to 1e-10.  Others take a spherical-radial
rule (I. Deak (1980), Numer. Math. 35, 81-94): the direction of the estimates is sampled by a
randomised low-discrepancy sequence, the distance is integrated exactly, so that small p-values
keep their relative accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.optimize import brentq
from scipy.special import chdtrc, fdtrc, log_ndtr, ndtr, ndtri
from scipy.stats import qmc

from saltrust.analysis.mixed.adjustment.scale_mixture import NORMAL_DF, over_scale
from saltrust.analysis.mixed.frame import FloatArray

_POINTS = 12  # base-2 logarithm of the points of one randomisation
_RANDOMIZATIONS = 8
_FACTOR_STEP = 0.14
_FACTOR_WIDTH = 8.6
_SAME = 1e-9
_MOST_FACTORED = 1000  # contrasts whose correlations are looked at one by one
_CHUNK = 1024


@dataclass(frozen=True)
class LargestStatistic:
    """Distribution of the largest absolute value of correlated t variables of mean zero.

    Attributes
    ----------
    root : ndarray of float64, shape (m, r)
        Rows of length one; their products are the correlations of the estimates.
    seed : int
        Of the randomised points, where they are needed.
    """

    root: FloatArray
    seed: int = 0

    @cached_property
    def loadings(self) -> FloatArray | None:
        """``l`` where the correlation is ``l l'`` off the diagonal, else None."""
        if len(self.root) > _MOST_FACTORED:
            return None
        return _one_factor(self.root @ self.root.T)

    @property
    def exact(self) -> bool:
        """Whether no sampling is needed."""
        return self.loadings is not None

    @cached_property
    def _directions(self) -> tuple[int, FloatArray]:
        """Rank, and the largest statistic on the unit sphere, shape (randomisations, points)."""
        # A basis of the rows' space: every direction outside it would be wasted.
        _, size, basis = np.linalg.svd(self.root, full_matrices=False)
        kept = size > 1e-8 * size[0]
        inner = self.root @ basis[kept].T
        rank = int(kept.sum())
        largest = np.empty((_RANDOMIZATIONS, 2**_POINTS))
        for number in range(_RANDOMIZATIONS):
            sequence = qmc.Sobol(rank, scramble=True,
                                 rng=np.random.default_rng([self.seed, number]))
            # Points of the scrambled net may lie on the cube's faces, to its 30 bits.
            normal = ndtri(sequence.random_base2(_POINTS).clip(1e-10, 1 - 1e-10))
            direction = (normal / np.linalg.norm(normal, axis=1)[:, None]).T
            largest[number] = 0.0
            for start in range(0, len(inner), _CHUNK):
                part = np.abs(inner[start:start + _CHUNK] @ direction).max(axis=0)
                largest[number] = np.maximum(largest[number], part)
        return rank, largest

    def survival(self, t: FloatArray, df: FloatArray) -> FloatArray:
        """Probability that the largest exceeds each ``t``, with that statistic's df.

        Parameters
        ----------
        t, df : ndarray of float64, shape (k,)
            Absolute statistics; degrees of freedom, infinity for normal variables.

        Returns
        -------
        ndarray of float64, shape (k,)
        """
        if self.loadings is not None:
            return _factor_survival(self.loadings, t, df)
        return np.array([self._sampled(value, freedom).mean()
                         for value, freedom in zip(t, df, strict=True)])

    def error(self, t: FloatArray, df: FloatArray) -> FloatArray:
        """Standard errors of :meth:`survival` that are due to sampling; 0 where exact."""
        if self.exact:
            return np.zeros(len(t))
        each = np.stack([self._sampled(value, freedom)
                         for value, freedom in zip(t, df, strict=True)])
        result: FloatArray = each.std(axis=1, ddof=1) / np.sqrt(_RANDOMIZATIONS)
        return result

    def _sampled(self, t: float, df: float) -> FloatArray:
        """Estimates of the survival function from each randomisation."""
        rank, largest = self._directions
        if t <= 0:
            return np.ones(_RANDOMIZATIONS)
        square = (t / largest) ** 2
        tail = chdtrc(rank, square) if df > NORMAL_DF else fdtrc(rank, df, square / rank)
        result: FloatArray = tail.mean(axis=1)
        return result

    def critical_value(self, confidence_level: float, df: FloatArray) -> FloatArray:
        """Half width of simultaneous intervals of that level, in standard errors."""
        solved: dict[float, float] = {}
        for value in df:
            freedom = float(value)
            if freedom not in solved:
                solved[freedom] = self._solve(confidence_level, np.array([freedom]))
        return np.array([solved[float(value)] for value in df])

    def _solve(self, confidence_level: float, df: FloatArray) -> float:
        def excess(log_t: float) -> float:
            tail = self.survival(np.array([np.exp(log_t)]), df)[0]
            return float(np.log(max(tail, 1e-300)) - np.log(1 - confidence_level))

        low, high = np.log(1e-3), np.log(1e6)
        while excess(high) > 0 and high < 500:  # fractions of a degree of freedom
            high *= 2
        return float(np.exp(brentq(excess, low, high, xtol=1e-11)))


def _one_factor(correlation: FloatArray) -> FloatArray | None:
    m = len(correlation)
    if m == 1:
        return np.zeros(1)
    if m == 2:
        root = np.sqrt(abs(correlation[0, 1]))
        if root > 1 - 1e-6:
            return None
        return np.array([root, np.copysign(root, correlation[0, 1])])
    strongest = np.argsort(-np.abs(correlation - np.eye(m)).sum(axis=1))[:3]
    i, j, k = sorted(strongest.tolist())
    product = correlation[i, j] * correlation[i, k]
    if abs(correlation[j, k]) < _SAME:
        independent = np.abs(correlation - np.eye(m)).max() < _SAME
        return np.zeros(m) if independent else None
    square = product / correlation[j, k]
    if not 0 < square < 1:
        return None
    loadings = correlation[i] / np.sqrt(square)
    loadings[i] = np.sqrt(square)
    gap = np.abs(np.outer(loadings, loadings) - correlation)
    np.fill_diagonal(gap, 0.0)
    if gap.max() > _SAME or np.abs(loadings).max() > 1 - 1e-6:
        return None
    return loadings


def _factor_survival(loadings: FloatArray, t: FloatArray, df: FloatArray) -> FloatArray:
    """Integrate over the common factor and, for finite df, over the scale."""
    rest = np.sqrt(1 - loadings**2)
    # As sharp as the most strongly loaded statistic is, given the factor.
    step = _FACTOR_STEP * min(1.0, 2 * float(rest.min()))
    nodes = int(np.ceil(_FACTOR_WIDTH / step))

    def tail(w: FloatArray) -> FloatArray:
        # Exceeding needs a factor near w at most; the density is symmetric about zero.
        flat = w.ravel()
        result = np.empty(len(flat))
        for index, value in enumerate(flat):
            centers = np.arange(-nodes, nodes + 1) * step
            # For large w the mass moves out to where factor and rest share the distance.
            pull = value * float(np.abs(loadings).max())
            u = np.concatenate([centers - pull, centers, centers + pull]) if pull > 4 else centers
            u = np.unique(np.round(u / step)) * step
            beyond = (ndtr((-value - np.outer(u, loadings)) / rest)
                      + ndtr((-value + np.outer(u, loadings)) / rest))
            exceed = -np.expm1(np.log1p(-np.minimum(beyond, 1 - 1e-16)).sum(axis=1))
            result[index] = (np.exp(-u * u / 2) @ exceed) * step / np.sqrt(2 * np.pi)
        return result.clip(max=1.0).reshape(w.shape)

    def bound(w: FloatArray) -> FloatArray:
        result: FloatArray = np.log(2 * len(loadings)) + log_ndtr(-w)
        return result

    survival = np.ones(len(t))
    normal = (df > NORMAL_DF) & (t > 0)
    if normal.any():
        survival[normal] = tail(t[normal])
    for index in np.flatnonzero((df <= NORMAL_DF) & (t > 0)):
        value = t[index:index + 1]

        def integrand(scale: FloatArray, value: FloatArray = value) -> tuple[FloatArray, ...]:
            return (tail(value[:, None] * scale),)

        survival[index] = over_scale(integrand, bound, value, df[index:index + 1])[0][0]
    return survival.clip(max=1.0)
