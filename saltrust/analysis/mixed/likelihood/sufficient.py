"""What the likelihood of a mixed model needs to know of the data: sums over groups.

The response is replaced by its residual from the fixed effects, scaled to unit variance, and
the fixed effects by an orthonormal basis: the model is equivariant under both, and sums of
large offsets, which would cancel, never arise.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from saltrust.analysis.mixed.design import FixedDesign
from saltrust.analysis.mixed.frame import FloatArray, Groups, IntArray, ModelFrame
from saltrust.errors import DataError

#: A residual below this share of the response is rounding.
PERFECT = 1e-12


@dataclass(frozen=True)
class Sufficient:
    """Sums over groups of the orthonormal fixed effects and the scaled residual.

    With ``M = [Q r]``, n x (p + 1), of the basis and the residual, and indicator matrices
    ``Z_j``, n x q_j, of the grouping factors:

    Attributes
    ----------
    n : int
        Number of rows.
    gram : ndarray of float64, shape (p + 1, p + 1)
        ``M'M``.
    sums : tuple of ndarray of float64, shape (q_j, p + 1)
        ``Z_j'M``.
    counts : tuple of ndarray of float64, shape (q_j,)
        Rows of every group.
    groups : tuple of Groups
    least_squares : ndarray of float64, shape (p,)
        Coefficients of the basis that were taken out of the response.
    scale : float
        What the residual was divided by, in units of the response.
    cell, basis : ndarray
        Of the fixed design: distinct row of every observation, and the basis of these.
    residual : ndarray of float64, shape (n,)
        ``r``.
    """

    n: int
    gram: FloatArray
    sums: tuple[FloatArray, ...]
    counts: tuple[FloatArray, ...]
    groups: tuple[Groups, ...]
    least_squares: FloatArray
    scale: float
    cell: IntArray
    basis: FloatArray
    residual: FloatArray

    @property
    def rank(self) -> int:
        """Number of fixed effects."""
        return len(self.least_squares)

    def shared(self, first: int, second: int) -> sparse.csr_matrix:
        """``Z_first' Z_second``: rows that two groups of different factors share."""
        one, two = self.groups[first], self.groups[second]
        entries = sparse.coo_matrix((np.ones(self.n), (one.codes, two.codes)),
                                    shape=(one.size, two.size))
        return entries.tocsr()

    @cached_property
    def within(self) -> FloatArray:
        """``M'M`` within the groups of the largest factor, the group means taken out."""
        means = self.sums[0] / self.counts[0][:, None]
        result: FloatArray = self.gram - self.sums[0].T @ means
        return result


def sufficient(frame: ModelFrame, design: FixedDesign) -> Sufficient:
    """Reduce a frame to sums over groups.

    Raises
    ------
    DataError
        If there are no more rows than fixed effects, the response is constant, or the fixed
        effects reproduce it.
    """
    n, rank = frame.n, design.rank
    if n <= rank:
        raise DataError(f"{n} complete rows are too few for {rank} fixed effects: add rows or "
                        "drop effects")
    residual = frame.response.copy()
    least_squares = np.zeros(rank)
    for _ in range(2):  # the second pass takes out what rounding left of a large offset
        change = design.basis.T @ np.bincount(design.cell, weights=residual,
                                              minlength=len(design.basis))
        least_squares += change
        residual -= (design.basis @ change)[design.cell]
    scale = float(np.sqrt(residual @ residual / (n - rank)))
    size = float(np.abs(frame.response).max())
    if frame.response.min() == frame.response.max():
        raise DataError(f"the response is {frame.response[0]:g} in all {n} complete rows: there "
                        "is no variance to model")
    if scale <= PERFECT * size:
        raise DataError(f"the fixed effects reproduce all {n} responses (a perfect fit): no "
                        "variance is left to estimate errors from")
    residual /= scale
    gram = np.zeros((rank + 1, rank + 1))
    gram[:rank, :rank] = np.eye(rank)
    gram[rank, rank] = n - rank
    return Sufficient(
        n=n, gram=gram,
        sums=tuple(_group_sums(group, design, residual) for group in frame.groups),
        counts=tuple(np.bincount(group.codes, minlength=group.size).astype(np.float64)
                     for group in frame.groups),
        groups=frame.groups, least_squares=least_squares, scale=scale, cell=design.cell,
        basis=design.basis, residual=residual)


def _group_sums(group: Groups, design: FixedDesign, residual: FloatArray) -> FloatArray:
    cells, rank = design.basis.shape
    sums = np.empty((group.size, rank + 1))
    if cells < len(residual) and group.size * cells <= 4 * len(residual) + 1_000_000:
        table = np.bincount(group.codes * cells + design.cell, minlength=group.size * cells)
        sums[:, :rank] = table.reshape(group.size, cells) @ design.basis
    else:
        for column in range(rank):
            sums[:, column] = np.bincount(group.codes, weights=design.basis[design.cell, column],
                                          minlength=group.size)
    sums[:, rank] = np.bincount(group.codes, weights=residual, minlength=group.size)
    return sums
