"""Model matrices of fixed effects: treatment coding, as R's ``model.matrix``, by distinct rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy.linalg import solve_triangular

from saltrust.analysis.mixed.formula import Formula
from saltrust.analysis.mixed.frame import FloatArray, IntArray, ModelFrame
from saltrust.errors import DataError
from saltrust.reading import shown

#: Of a model matrix; every fixed effect costs its square, and nobody reads as many.
MOST_COLUMNS = 2000
#: Of a model matrix: 1 GB.
MOST_ELEMENTS = 2**27
#: A column counts as a combination of earlier ones below this share of its norm, as in R.
RANK_TOLERANCE = 1e-7


@dataclass(frozen=True)
class Coding:
    """How the fixed effects become columns.

    Attributes
    ----------
    formula : Formula
    levels : dict of str to tuple of str
        Levels of every categorical fixed effect; the first is the reference.
    full : tuple of frozenset of str
        Of each term, the factors that keep a column for every level.
    """

    formula: Formula
    levels: dict[str, tuple[str, ...]]
    full: tuple[frozenset[str], ...]

    def names(self) -> list[str]:
        """Names of the columns, as R writes them."""
        names = ["(Intercept)"] if self.formula.intercept else []
        for term, full in zip(self.formula.terms, self.full, strict=True):
            parts = []
            for name in term:
                label = self.formula.label(name)
                if name in self.levels:
                    shown = self.levels[name] if name in full else self.levels[name][1:]
                    parts.append([f"{label}{level}" for level in shown])
                else:
                    parts.append([label])
            # The first variable of an interaction varies fastest.
            names += [":".join(reversed(chosen)) for chosen in product(*reversed(parts))]
        return names

    def term_of_column(self) -> IntArray:
        """Index of the term of every column; -1 for the intercept."""
        owners = [-1] if self.formula.intercept else []
        for index, (term, full) in enumerate(zip(self.formula.terms, self.full, strict=True)):
            width = 1
            for name in term:
                if name in self.levels:
                    width *= len(self.levels[name]) - (name not in full)
            owners += [index] * width
        return np.asarray(owners, dtype=np.int64)

    def matrix(self, values: Mapping[str, npt.NDArray[np.generic]], rows: int) -> FloatArray:
        """Rows of the model matrix.

        Parameters
        ----------
        values : mapping of str to ndarray, shape (rows,)
            Level codes of categorical and numbers of numeric fixed effects.
        rows : int

        Returns
        -------
        ndarray of float64, shape (rows, columns)
        """
        blocks = [np.ones((rows, 1))] if self.formula.intercept else []
        for term, full in zip(self.formula.terms, self.full, strict=True):
            block = np.ones((rows, 1))
            for name in term:
                if name in self.levels:
                    indicators = np.eye(len(self.levels[name]))
                    part = indicators[:, int(name not in full):][values[name]]
                else:
                    part = np.asarray(values[name], dtype=np.float64)[:, None]
                block = (part[:, :, None] * block[:, None, :]).reshape(rows, -1)
            blocks.append(block)
        return np.hstack(blocks)


def coding(formula: Formula, levels: dict[str, tuple[str, ...]]) -> Coding:
    """Choose the columns of every term by R's rule.

    A factor in a term is coded against its reference where the term without that factor is in
    the model too (the intercept counts as there), else it keeps all its levels; without an
    intercept the first factor of the first term that has one keeps all its levels.

    Examples
    --------
    >>> from saltrust.analysis.mixed.formula import parse
    >>> coding(parse("y ~ a + a:b + (1|g)"), {"a": ("p", "q"), "b": ("u", "v")}).names()
    ['(Intercept)', 'aq', 'ap:bv', 'aq:bv']
    """
    present = {frozenset(term) for term in formula.terms} | {frozenset[str]()}
    full = [{name for name in term
             if name in levels and frozenset(term) - {name} not in present}
            for term in formula.terms]
    if not formula.intercept:
        first = next(((index, name) for index, term in enumerate(formula.terms)
                      for name in term if name in levels), None)
        if first is not None:
            full[first[0]].add(first[1])
    return Coding(formula, levels, tuple(map(frozenset, full)))


@dataclass(frozen=True)
class FixedDesign:
    """The model matrix by its distinct rows, with an orthonormal basis of its columns.

    Attributes
    ----------
    coding : Coding
    cell : ndarray of int64, shape (n,)
        Distinct row of the model matrix that each observation has.
    basis : ndarray of float64, shape (cells, p)
        Rows of a matrix whose columns, repeated over the observations, are orthonormal.
    triangle : ndarray of float64, shape (p, p)
        Upper triangular: the kept columns are ``basis @ triangle``.
    kept : ndarray of int64, shape (p,)
        Columns that are no combination of earlier ones.
    dependence : ndarray of float64, shape (p, dropped)
        Dropped columns as combinations of kept ones.
    """

    coding: Coding
    cell: IntArray
    basis: FloatArray
    triangle: FloatArray
    kept: IntArray
    dependence: FloatArray

    @property
    def rank(self) -> int:
        """Number of estimable fixed effects."""
        return len(self.kept)

    @property
    def names(self) -> list[str]:
        """Names of the kept columns."""
        names = self.coding.names()
        return [names[index] for index in self.kept]

    @property
    def dropped(self) -> list[str]:
        """Names of the columns that are combinations of others."""
        kept = set(self.kept.tolist())
        return [name for index, name in enumerate(self.coding.names()) if index not in kept]

    def in_basis(self, rows: FloatArray) -> FloatArray:
        """Turn combinations of all columns, shape (m, columns), into those of the basis.

        Columns that were dropped are taken as zero, which is right for estimable rows.
        """
        solved: FloatArray = solve_triangular(self.triangle, rows[:, self.kept].T, trans="T")
        return solved.T

    def estimable(self, rows: FloatArray) -> npt.NDArray[np.bool_]:
        """Whether each combination of all columns is determined by the data.

        Parameters
        ----------
        rows : ndarray of float64, shape (m, columns)
            Coefficients of the combinations.
        """
        all_columns = rows.shape[1]
        dropped = np.setdiff1d(np.arange(all_columns), self.kept)
        if not len(dropped):
            return np.ones(len(rows), dtype=bool)
        gap = rows[:, dropped] - rows[:, self.kept] @ self.dependence
        size = np.abs(rows).max(axis=1, initial=1.0)
        result: npt.NDArray[np.bool_] = np.abs(gap).max(axis=1) < 1e-8 * size
        return result


def fixed_design(frame: ModelFrame, formula: Formula) -> FixedDesign:
    """Build the model matrix of a frame and orthonormalise it.

    Columns that depend on earlier ones are left out, as lme4 does.
    """
    code = coding(formula, {name: factor.levels for name, factor in frame.factors.items()})
    cell, values, weights = _cells(frame)
    _check_size(code, len(weights))
    matrix = code.matrix(values, len(weights))
    basis, triangle, kept, dependence = _orthonormalize(matrix * np.sqrt(weights)[:, None])
    return FixedDesign(code, cell, basis / np.sqrt(weights)[:, None], triangle, kept, dependence)


def _check_size(code: Coding, cells: int) -> None:
    """Refuse a model matrix that no machine holds before it is made."""
    columns = int(code.formula.intercept) + sum(
        math.prod(len(code.levels[name]) - (name not in full) if name in code.levels else 1
                  for name in term)
        for term, full in zip(code.formula.terms, code.full, strict=True))
    if columns > MOST_COLUMNS or columns * cells > MOST_ELEMENTS:
        raise DataError(f"the fixed effects of {shown(code.formula.text)} ask for a matrix of "
                        f"{cells:,} by {columns:,}, more than {MOST_COLUMNS:,} columns or "
                        f"{MOST_ELEMENTS:,} elements; make factors of many levels random "
                        "intercepts, (1|factor), or leave out interactions")


def _cells(frame: ModelFrame) -> tuple[IntArray, dict[str, npt.NDArray[np.generic]], FloatArray]:
    """Distinct combinations of the fixed effects: cell of each row, values and counts of each."""
    if frame.covariates:
        values: dict[str, npt.NDArray[np.generic]] = {
            **{name: factor.codes for name, factor in frame.factors.items()}, **frame.covariates}
        return np.arange(frame.n), values, np.ones(frame.n)
    joint = np.zeros(frame.n, dtype=np.int64)
    possible = 1
    for factor in frame.factors.values():
        joint = joint * len(factor.levels) + factor.codes
        possible *= len(factor.levels)
        if possible > frame.n:
            _, joint = np.unique(joint, return_inverse=True)
            possible = int(joint.max()) + 1
    counts = np.bincount(joint, minlength=possible)
    observed = np.flatnonzero(counts)
    cell = joint if len(observed) == possible else (np.cumsum(counts > 0) - 1)[joint]
    representative = np.empty(len(observed), dtype=np.int64)
    representative[cell] = np.arange(frame.n)
    return (cell, {name: factor.codes[representative] for name, factor in frame.factors.items()},
            counts[observed].astype(np.float64))


def _orthonormalize(matrix: FloatArray) -> tuple[FloatArray, FloatArray, IntArray, FloatArray]:
    """Gram-Schmidt, twice for every column, which is orthogonal to rounding."""
    basis = np.empty_like(matrix, order="F")
    coefficients = np.zeros((matrix.shape[1], matrix.shape[1]))
    kept: list[int] = []
    for index in range(matrix.shape[1]):
        column = matrix[:, index].copy()
        norm = np.linalg.norm(column)
        done = basis[:, :len(kept)]
        for _ in range(2):
            projection = done.T @ column
            column -= done @ projection
            coefficients[:len(kept), index] += projection
        rest = np.linalg.norm(column)
        if rest > RANK_TOLERANCE * norm:
            basis[:, len(kept)] = column / rest
            coefficients[len(kept), index] = rest
            kept.append(index)
    rank = len(kept)
    dropped = [index for index in range(matrix.shape[1]) if index not in kept]
    triangle = coefficients[:rank, kept]
    dependence = np.asarray(np.linalg.solve(triangle, coefficients[:rank, dropped]),
                            dtype=np.float64)
    return (np.ascontiguousarray(basis[:, :rank]), triangle, np.asarray(kept, dtype=np.int64),
            dependence)
