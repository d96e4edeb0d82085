"""Combinations of coefficients of several groups, tested alone and together, by patient.

Every group has a small linear model of its own: a mean, a slope, a mean of means.  All of them
are one least-squares fit whose rows are clustered by patient, so that patients with rows in two
groups are accounted for.  Errors are CR2; single combinations are t with Satterthwaite's degrees
of freedom, several together Hotelling's T squared with approximate ones (HTZ), which hold their
level with few patients and groups of unequal sizes and spreads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.linalg import block_diag
from scipy.special import fdtrc

from saltrust.analysis.inference.linear import least_squares
from saltrust.analysis.inference.threads import one_blas_thread
from saltrust.errors import DataError

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Block:
    """The linear model of one group.

    Attributes
    ----------
    design : ndarray of float64, shape (n, p)
    response : ndarray of float64, shape (n,)
    clusters : ndarray, shape (n,)
        Patient of each row; the same label in two groups is one patient.
    weights : ndarray of float64, shape (m, p)
        Combinations of the coefficients that are of interest, one or more.
    """

    design: FloatArray
    response: FloatArray
    clusters: npt.NDArray[Any]
    weights: FloatArray


class Joint(NamedTuple):
    """A test that several combinations are zero; all NaN where it cannot be had.

    Attributes
    ----------
    statistic : float
        F.
    df : float
        Degrees of freedom of the numerator: the number of combinations.
    df_denominator : float
    p_value : float
    """

    statistic: float
    df: float
    df_denominator: float
    p_value: float


@dataclass(frozen=True)
class Combined:
    """The combinations of all groups, one group after the other.

    Attributes
    ----------
    estimates : ndarray of float64, shape (k,)
    scores : ndarray of float64, shape (clusters, k)
        What every patient adds to them; the CR2 covariance is the sum of their squares.
    squares : ndarray of float64, shape (clusters, k, k)
        Of the adjusted loadings of the rows of each patient.
    shared : ndarray of float64, shape (clusters, p, k)
        How these loadings project on the fit.
    unscaled : ndarray of float64, shape (k,)
        Variances where all rows have a variance of 1.
    """

    estimates: FloatArray
    scores: FloatArray
    squares: FloatArray
    shared: FloatArray
    unscaled: FloatArray

    @property
    def settled_by_one(self) -> npt.NDArray[np.bool_]:
        """Whether one patient alone settles a part of each, whose error then misses that part."""
        expected = (np.einsum("css->s", self.squares)
                    - np.einsum("cps,cps->s", self.shared, self.shared))
        return np.asarray(expected < (1 - 1e-8) * self.unscaled)

    @property
    def covariance(self) -> FloatArray:
        """CR2, shape (k, k)."""
        return self.scores.T @ self.scores

    def single(self, contrast: npt.ArrayLike) -> tuple[float, float, float]:
        """Value, CR2 error and Satterthwaite's degrees of freedom of one contrast of them."""
        row = np.asarray(contrast, dtype=np.float64)
        error = float(np.sqrt(((self.scores @ row) ** 2).sum()))
        return float(row @ self.estimates), error, _wishart(*self._of(row[None]))

    def joint(self, contrasts: npt.ArrayLike) -> Joint:
        """Approximate Hotelling test that all these contrasts are zero.

        Parameters
        ----------
        contrasts : array_like of float, shape (q, k)
            Linearly independent.

        Returns
        -------
        Joint
            All NaN where the patients are too few for so many contrasts at once, or where the
            contrasts have no variation.

        References
        ----------
        E. Tipton and J. E. Pustejovsky (2015), J. Educ. Behav. Stat. 40, 604-634 (HTZ);
        J. E. Pustejovsky and E. Tipton (2018), J. Bus. Econ. Stat. 36, 672-683.
        """
        rows = np.atleast_2d(np.asarray(contrasts, dtype=np.float64))
        q = len(rows)
        nothing = Joint(float("nan"), float(q), float("nan"), float("nan"))
        covariance = rows @ self.covariance @ rows.T
        squares, shared = self._of(rows)
        expected = squares.sum(axis=0) - np.einsum("cps,cpt->st", shared, shared)
        for matrix in (covariance, expected):
            values = np.linalg.eigvalsh(matrix)
            if not values[0] > 1e-12 * max(values[-1], 1e-300):
                return nothing
        values, vectors = np.linalg.eigh(expected)
        root = (vectors / np.sqrt(values)) @ vectors.T
        eta = _wishart(root @ squares @ root, shared @ root)
        if not eta > q - 1 + 1e-9:
            return nothing
        value = rows @ self.estimates
        quadratic = float(value @ np.linalg.solve(covariance, value))
        df = eta - q + 1
        statistic = df / (eta * q) * quadratic
        return Joint(statistic, float(q), df, float(fdtrc(q, df, statistic)))

    def _of(self, rows: FloatArray) -> tuple[FloatArray, FloatArray]:
        return rows @ self.squares @ rows.T, self.shared @ rows.T


@one_blas_thread()
def combine(blocks: Sequence[Block]) -> Combined | None:
    """Fit all groups and take their combinations.

    Parameters
    ----------
    blocks : sequence of Block

    Returns
    -------
    Combined or None
        None where the columns of a group are linearly dependent or there is one patient only.

    Raises
    ------
    DataError
        If a number is not finite or the lengths differ.

    Notes
    -----
    The fit is that of :func:`saltrust.analysis.inference.clustered.cr2`, for several coefficients
    at once.

    Examples
    --------
    >>> one = Block(np.ones((3, 1)), np.array([1.0, 2, 3]), np.arange(3), np.ones((1, 1)))
    >>> two = Block(np.ones((2, 1)), np.array([1.0, 3]), np.arange(3, 5), np.ones((1, 1)))
    >>> value, error, df = combine([one, two]).single([1, -1])
    >>> abs(value) < 1e-12, round(error, 4), round(df, 4)
    (True, 1.1547, 2.2727)
    """
    if not blocks:
        return None
    x = block_diag(*(block.design for block in blocks))
    y = np.concatenate([block.response for block in blocks])
    weights = block_diag(*(block.weights for block in blocks))
    _, codes = np.unique(np.concatenate([np.asarray(block.clusters).astype(str)
                                         for block in blocks]), return_inverse=True)
    count = int(codes.max(initial=-1)) + 1
    if len(codes) != len(x):
        raise DataError(f"{len(codes)} cluster labels were given for {len(x)} rows; "
                        "every row needs one")
    fit = least_squares(x, y)
    if fit is None or count < 2:
        return None
    values, vectors = np.linalg.eigh(fit.unscaled_covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    scaled = x @ root
    order = np.argsort(codes, kind="stable")
    starts = np.r_[0, np.cumsum(np.bincount(codes, minlength=count))[:-1]]
    scaled, residuals = scaled[order], fit.residuals[order]
    gram = np.add.reduceat(scaled[:, :, None] * scaled[:, None, :], starts)
    shares, axes = np.linalg.eigh(gram)
    # An eigenvalue of 1 is a direction that this cluster alone settles: it has no residual.
    free = 1 - shares > 1e-10
    factor = np.where(free, 1 / np.sqrt(np.where(free, 1 - shares, 1.0)), 0.0)
    adjusted = np.einsum("cij,cj,ckj,kl->cil", axes, factor, axes, root @ weights.T)
    loads = np.einsum("np,npk->nk", scaled, adjusted[codes[order]])
    scores, squares, shared = (np.add.reduceat(part, starts) for part in (
        residuals[:, None] * loads, loads[:, :, None] * loads[:, None, :],
        scaled[:, :, None] * loads[:, None, :]))
    unscaled = np.einsum("kp,pq,kq->k", weights, fit.unscaled_covariance, weights)
    return Combined(weights @ fit.coefficients, scores, squares, shared, unscaled)


def _wishart(squares: FloatArray, shared: FloatArray) -> float:
    """Degrees of freedom of the Wishart distribution that the covariance is nearest to.

    Parameters
    ----------
    squares : ndarray of float64, shape (clusters, q, q)
        For q > 1 on the scale on which the expected covariance is the identity.
    shared : ndarray of float64, shape (clusters, p, q)
    """
    q = squares.shape[1]
    of_cluster = np.einsum("cps,cpt->cst", shared, shared)
    cross = np.einsum("cps,crt->psrt", shared, shared)
    variance = 0.0
    for s in range(q):
        for t in range(q):
            crossed = (squares[:, s, t] ** 2 - 2 * squares[:, s, t] * of_cluster[:, s, t]).sum()
            direct = (squares[:, s, s] * squares[:, t, t]
                      - squares[:, s, s] * of_cluster[:, t, t]
                      - squares[:, t, t] * of_cluster[:, s, s]).sum()
            variance += (crossed + direct + (cross[:, s, :, t] * cross[:, t, :, s]).sum()
                         + (cross[:, s, :, t] ** 2).sum())
    expected = np.trace((squares - of_cluster).sum(axis=0))
    # One combination needs no scale; several are on the scale of the identity already.
    scale = expected**2 if q == 1 else 1.0
    return float(q * (q + 1) * scale / variance) if variance > 0 else float("nan")
