"""The covariance matrices of random terms as one vector, in which the model is linear.

Every random term has a matrix of relative covariances, 1 x 1 for an intercept.  Its elements on
and below the diagonal, term after term, are the *ratios* that the likelihood is a function of:
``V = I + sum_k g_k G_k``, with ``G_k = Z_a Z_b' + Z_b Z_a'`` for a covariance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from saltrust.analysis.mixed.frame import FloatArray, Groups


@dataclass(frozen=True)
class Element:
    """One element of the covariance matrix of a term: its row and column, ``row >= column``."""

    term: int
    row: int
    column: int

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Where the element stands in the symmetric matrix."""
        if self.row == self.column:
            return ((self.row, self.row),)
        return (self.row, self.column), (self.column, self.row)


def elements(groups: Sequence[Groups]) -> list[Element]:
    """The elements of all terms, in the order of the ratios.

    Examples
    --------
    >>> [(e.row, e.column) for e in elements([Groups("g", np.zeros(3, int), 1, ("1", "x"))])]
    [(0, 0), (1, 0), (1, 1)]
    """
    return [Element(term, row, column) for term, group in enumerate(groups)
            for row in range(len(group.effects)) for column in range(row + 1)]


def matrices(groups: Sequence[Groups], ratios: FloatArray) -> list[FloatArray]:
    """The covariance matrix of every term."""
    made = [np.zeros((len(group.effects),) * 2) for group in groups]
    for element, ratio in zip(elements(groups), ratios, strict=True):
        for row, column in element.pairs:
            made[element.term][row, column] = ratio
    return made


def vector(groups: Sequence[Groups], made: Sequence[FloatArray]) -> FloatArray:
    """The inverse of :func:`matrices`."""
    return np.array([made[element.term][element.row, element.column]
                     for element in elements(groups)])


def root(matrix: FloatArray) -> FloatArray:
    """A square root ``R`` with ``R R'`` the matrix, which may be singular."""
    if len(matrix) == 1:
        return np.sqrt(matrix.clip(min=0.0))
    values, vectors = np.linalg.eigh(matrix)
    result: FloatArray = vectors * np.sqrt(values.clip(min=0.0))
    return result


def factor(groups: Sequence[Groups], ratios: FloatArray) -> FloatArray:
    """The Cholesky factors of all matrices, as lme4's ``theta`` but row by row."""
    return vector(groups, [_cholesky(matrix) for matrix in matrices(groups, ratios)])


def of_factor(groups: Sequence[Groups], theta: FloatArray) -> FloatArray:
    """The inverse of :func:`factor`."""
    lower = [np.tril(part) for part in matrices(groups, theta)]
    return vector(groups, [part @ part.T for part in lower])


def jacobian(groups: Sequence[Groups], theta: FloatArray) -> FloatArray:
    """Derivatives of the ratios (rows) in the factors' elements (columns)."""
    lower = [np.tril(part) for part in matrices(groups, theta)]
    every = elements(groups)
    made = np.zeros((len(every),) * 2)
    for k, of in enumerate(every):
        for j, by in enumerate(every):
            if of.term == by.term:
                part = lower[of.term]
                made[k, j] = ((of.row == by.row) * part[of.column, by.column]
                              + (of.column == by.row) * part[of.row, by.column])
    return made


def bend(groups: Sequence[Groups], gradient: FloatArray) -> FloatArray:
    """Second derivatives of the ratios in the factors' elements, weighted by a gradient."""
    every = elements(groups)
    slope = {(e.term, *pair): value for e, value in zip(every, gradient, strict=True)
             for pair in e.pairs}
    made = np.zeros((len(every),) * 2)
    for j, one in enumerate(every):
        for k, two in enumerate(every):
            if one.term == two.term and one.column == two.column:
                made[j, k] = slope[one.term, one.row, two.row] * (2 if one.row == two.row else 1)
    return made


def _cholesky(matrix: FloatArray) -> FloatArray:
    """Lower triangular factor of a matrix that may be singular."""
    size = len(matrix)
    lower = np.zeros_like(matrix)
    for column in range(size):
        rest = matrix[column:, column] - lower[column:, :column] @ lower[column, :column]
        if rest[0] > 1e-14 * matrix[column, column]:
            lower[column:, column] = rest / np.sqrt(rest[0])
    return lower
