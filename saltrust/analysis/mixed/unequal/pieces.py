"""The likelihood of a random-intercept model with a residual variance per level, and its slope.

With ``R`` diagonal, ``d_l`` in rows of level ``l``, and ``V = R + sum_j g_j Z_j Z_j'``, what is
needed are ``log |V|`` and ``F = M'V^-1 M`` for ``M = [X y]`` with first derivatives in the ``g_j``
and ``d_l``.  Crossproducts weighted by ``1 / d`` are sums over levels of unweighted ones, which
are made once.  Groups of the largest factor are eliminated one by one, then those of a factor
that they are nested in, as images in patients; the few levels of other factors are left dense.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import sparse

from saltrust.analysis.mixed.design import FixedDesign
from saltrust.analysis.mixed.frame import FloatArray, IntArray, ModelFrame
from saltrust.analysis.mixed.likelihood.sufficient import Sufficient
from saltrust.errors import DataError

#: Most levels of crossed factors that are left as a dense system.
MOST_CROSSED = 3000
#: Most elements of a table of groups by crossed levels, or of levels by groups by columns.
LARGEST = 60_000_000


@dataclass(frozen=True)
class LevelPieces:
    """``log |V|`` and ``F`` with first derivatives in the ratios and the level variances.

    Attributes
    ----------
    log_det : float
    of_ratios, of_levels : ndarray of float64, shapes (m,), (L,)
        Derivatives of ``log_det``: ``tr(V^-1 G_j)`` and ``tr(V^-1 I_l)``.
    form : ndarray of float64, shape (p + 1, p + 1)
    form_ratios, form_levels : ndarray of float64, shapes (m, p + 1, p + 1), (L, p + 1, p + 1)
        Minus the derivatives of ``form``: ``M'V^-1 G_j V^-1 M`` and ``M'V^-1 I_l V^-1 M``.
    solved : ndarray of float64, shape (n, p + 1)
        ``V^-1 M``, rows in the order of :attr:`LevelLikelihood.order`.
    """

    log_det: float
    of_ratios: FloatArray
    of_levels: FloatArray
    form: FloatArray
    form_ratios: FloatArray
    form_levels: FloatArray
    solved: FloatArray


class LevelLikelihood:
    """Evaluates :class:`LevelPieces`.

    Attributes
    ----------
    order : ndarray of int64, shape (n,)
        Rows of the frame, sorted by level.
    counts : ndarray of float64, shape (L,)
        Rows of every level.
    rows : ndarray of float64, shape (n, p + 1)
        ``M``, in that order.
    """

    def __init__(self, frame: ModelFrame, design: FixedDesign, data: Sufficient,
                 levels: IntArray) -> None:
        size = int(levels.max()) + 1
        self.order = np.argsort(levels, kind="stable")
        self.counts = np.bincount(levels, minlength=size).astype(np.float64)
        ends = np.concatenate([[0], np.cumsum(self.counts)]).astype(int)
        self.slices = [slice(start, end) for start, end in pairwise(ends)]
        fitted = design.basis @ data.least_squares
        response = (frame.response - fitted[design.cell]) / data.scale
        self.rows = np.column_stack([design.basis[design.cell], response])[self.order]
        self.codes = [group.codes[self.order] for group in data.groups]
        self.sizes = [group.size for group in data.groups]
        self.outer = _outer(self.codes, self.sizes)
        self.rest = [j for j in range(1, len(self.codes)) if j != self.outer]
        width = sum(self.sizes[j] for j in self.rest)
        inner = self.sizes[0]
        _check_size(data, size, inner, width, self.rows.shape[1])
        outer_codes = (np.zeros(len(levels), np.int64) if self.outer is None
                       else self.codes[self.outer])
        self.parent = np.empty(inner, dtype=np.int64)
        self.parent[self.codes[0]] = outer_codes
        self.members = sparse.csr_matrix((np.ones(inner), (self.parent, np.arange(inner))))
        #: Rows of every level and inner group, and sums of ``M`` over them.
        self.number = np.stack([np.bincount(self.codes[0][part], minlength=inner)
                                for part in self.slices]).astype(np.float64)
        self.grams = np.stack([self.rows[part].T @ self.rows[part] for part in self.slices])
        self.sums = self._sums(self.codes[0], inner)
        starts = np.cumsum([0] + [self.sizes[j] for j in self.rest])
        self.blocks = [slice(int(a), int(b)) for a, b in pairwise(starts)]
        places = [start + self.codes[j] for start, j in zip(starts, self.rest, strict=False)]
        self.crossed_sums = (np.concatenate([self._sums(self.codes[j], self.sizes[j])
                                             for j in self.rest], axis=1) if self.rest
                             else np.zeros((size, 0, self.rows.shape[1])))
        self.inner_pairs = self._pairs([(self.codes[0], place) for place in places], width)
        self.crossed_pairs = self._pairs([(a, b) for a in places for b in places], width)
        self.width = width

    def _sums(self, codes: IntArray, size: int) -> FloatArray:
        """``Z'I_l M`` for every level, shape (L, size, p + 1)."""
        made = np.empty((len(self.slices), size, self.rows.shape[1]))
        for level, part in enumerate(self.slices):
            for column in range(self.rows.shape[1]):
                made[level, :, column] = np.bincount(codes[part], minlength=size,
                                                     weights=self.rows[part, column])
        return made

    def _pairs(self, pairs: list[tuple[IntArray, IntArray]], width: int,
               ) -> tuple[IntArray, IntArray, sparse.csr_matrix]:
        """Elements of a crossproduct of indicators, and the rows of every level in each."""
        if not pairs:
            empty = np.zeros(0, dtype=np.int64)
            return empty, empty, sparse.csr_matrix((0, len(self.slices)))
        levels = np.repeat(np.arange(len(self.slices)), self.counts.astype(int))
        keys = np.concatenate([first * width + second for first, second in pairs])
        known, which = np.unique(keys, return_inverse=True)
        count = sparse.coo_matrix(
            (np.ones(len(keys)), (which, np.tile(levels, len(pairs)))),
            shape=(len(known), len(self.slices)))
        return known // width, known % width, count.tocsr()

    def __call__(self, ratios: FloatArray, variances: FloatArray) -> LevelPieces:
        """Evaluate at ``ratios``, shape (m,), and level variances, shape (L,)."""
        weights = 1 / variances
        inner = ratios[0]
        outer = 0.0 if self.outer is None else ratios[self.outer]
        spread = np.concatenate([np.empty(0), *(
            np.full(block.stop - block.start, ratios[j])
            for block, j in zip(self.blocks, self.rest, strict=True))])
        number = weights @ self.number
        shared, crossed = np.zeros((self.sizes[0], self.width)), np.zeros((self.width,) * 2)
        for table, (one, two, count) in ((shared, self.inner_pairs),
                                         (crossed, self.crossed_pairs)):
            table[one, two] = count @ weights
        # Inner groups, then outer ones eliminated; names as in the nested Schur complement.
        shrink = 1 / (1 + inner * number)
        amount = number * shrink
        before = self.members @ amount
        loss, kept = outer / (1 + outer * before), 1 / (1 + outer * before)
        across = self.members @ (shrink[:, None] * shared)
        left = (crossed - inner * shared.T @ (shrink[:, None] * shared)
                - across.T @ (loss[:, None] * across))
        root = np.sqrt(spread)
        factor = np.linalg.cholesky(np.eye(self.width) + root[:, None] * left * root)
        half = np.linalg.solve(factor, np.diag(root))
        middle = half.T @ half
        # Best predictions of all columns of M.
        sums = np.tensordot(weights, self.sums, axes=1)
        sums_crossed = np.tensordot(weights, self.crossed_sums, axes=1)
        reduced = shrink[:, None] * sums
        reduced_outer = self.members @ reduced
        reduced_crossed = (sums_crossed - inner * shared.T @ reduced
                           - across.T @ (loss[:, None] * reduced_outer))
        predicted_crossed = middle @ reduced_crossed
        gap = reduced_outer - across @ predicted_crossed
        predicted_outer = loss[:, None] * gap
        effect = (reduced - amount[:, None] * predicted_outer[self.parent]
                  - shrink[:, None] * (shared @ predicted_crossed))
        effects = [effect, kept[:, None] * gap, reduced_crossed - left @ predicted_crossed]
        form = (np.tensordot(weights, self.grams, axes=1) - inner * sums.T @ effect
                - (self.members @ sums).T @ predicted_outer - sums_crossed.T @ predicted_crossed)
        solved = self._solved(inner * effect, predicted_outer, predicted_crossed, weights)
        # tr(V^-1 G_j): the diagonals of Z_j'V^-1 Z_j.
        inner_crossed = shrink[:, None] * shared - (amount * loss[self.parent])[:, None] \
            * across[self.parent]
        outer_crossed = kept[:, None] * across
        corner = left - left @ middle @ left
        of_ratios = np.empty(len(ratios))
        of_ratios[0] = (amount.sum() - loss @ (self.members @ amount**2)
                        - np.sum((inner_crossed @ middle) * inner_crossed))
        form_ratios = np.empty((len(ratios), *form.shape))
        form_ratios[0] = effects[0].T @ effects[0]
        if self.outer is not None:
            of_ratios[self.outer] = (before @ kept
                                     - np.sum((outer_crossed @ middle) * outer_crossed))
            form_ratios[self.outer] = effects[1].T @ effects[1]
        for block, j in zip(self.blocks, self.rest, strict=True):
            of_ratios[j] = np.trace(corner[block, block])
            form_ratios[j] = effects[2][block].T @ effects[2][block]
        return LevelPieces(
            log_det=float(self.counts @ np.log(variances) + np.log1p(inner * number).sum()
                          + np.log1p(outer * before).sum()
                          + 2 * np.log(np.diag(factor)).sum()),
            of_ratios=of_ratios,
            of_levels=weights * self.counts - weights**2 * self._leverages(
                inner, shrink, number, shared, loss, across, middle),
            form=form, form_ratios=form_ratios,
            form_levels=np.stack([solved[part].T @ solved[part] for part in self.slices]),
            solved=solved)

    def _solved(self, inner: FloatArray, outer: FloatArray, crossed: FloatArray,
                weights: FloatArray) -> FloatArray:
        """``V^-1 M = R^-1 (M - Z b)`` of the predictions ``b``."""
        solved = self.rows - (inner + outer[self.parent])[self.codes[0]]
        for block, j in zip(self.blocks, self.rest, strict=True):
            solved -= crossed[block][self.codes[j]]
        solved *= np.repeat(weights, self.counts.astype(int))[:, None]
        return solved

    def _leverages(self, inner: float, shrink: FloatArray, number: FloatArray,
                   shared: FloatArray, loss: FloatArray, across: FloatArray,
                   middle: FloatArray) -> FloatArray:
        """``sum of z_i'C z_i`` over the rows of every level, ``C`` the errors of predictions."""
        parent = self.parent
        behind = -loss[:, None] * (across @ middle)  # covariance of outer and crossed effects
        of_outer = loss - np.sum(behind * across, axis=1) * loss
        through = number[:, None] * behind[parent] + shared @ middle
        to_outer = number * of_outer[parent] + np.sum(shared * behind[parent], axis=1)
        both = number * to_outer + np.sum(through * shared, axis=1)
        alone = (inner * shrink + (inner * shrink)**2 * both - 2 * inner * shrink * to_outer
                 + of_outer[parent])
        beside = behind[parent] - (inner * shrink)[:, None] * through
        one, two, count = self.inner_pairs
        total: FloatArray = self.number @ alone + 2 * (count.T @ beside[one, two])
        one, two, count = self.crossed_pairs
        total += count.T @ middle[one, two]
        return total


def _outer(codes: list[IntArray], sizes: list[int]) -> int | None:
    """Factor with most groups that the largest is nested in."""
    for index in range(1, len(codes)):
        parent = np.empty(sizes[0], dtype=np.int64)
        parent[codes[0]] = codes[index]
        if (parent[codes[0]] == codes[index]).all():
            return index
    return None


def _check_size(data: Sufficient, levels: int, inner: int, width: int, columns: int) -> None:
    """Refuse tables that no machine holds before they are made."""
    if width > MOST_CROSSED or inner * width > LARGEST or levels * inner * columns > 4 * LARGEST:
        names = ", ".join(f"{group.name} ({group.size:,})" for group in data.groups)
        raise DataError(f"a variance for each of {levels} levels cannot be fitted with the "
                        f"groups {names}: they cross too widely; say --variance equal, or leave "
                        "out a random intercept")
