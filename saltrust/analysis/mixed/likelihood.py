"""The pieces of a mixed model's likelihood and their derivatives in the variance ratios.

With ``V = I + sum_j g_j Z_j Z_j'``, where ``g_j`` is the variance of the j-th random intercept
over the residual variance, everything that REML, Satterthwaite and Kenward-Roger need are
``log |V|`` and ``F = M' V^-1 M`` for ``M = [X y]``, with first and second derivatives in ``g``.
All are exact here, from sums over groups: the groups of the largest factor are eliminated one
by one (Woodbury), the others through the Schur complement that is left: dense where it is
small, by nesting or a sparse factorisation where it is not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import sparse

from saltrust.analysis.mixed.frame import FloatArray
from saltrust.analysis.mixed.sufficient import Sufficient

#: Most levels of all but the largest grouping factor together for a dense Schur complement.
DENSE_LEVELS = 1000

#: Most such levels for a dense Schur complement that a sparse one would fill anyway.
LARGEST_DENSE = 6000


@dataclass(frozen=True)
class Pieces:
    """``log |V|`` and ``F = M' V^-1 M`` at some variance ratios, with derivatives.

    Attributes
    ----------
    log_det : float
    log_det_1 : ndarray of float64, shape (m,)
        First derivatives, ``tr(V^-1 G_j)`` with ``G_j = Z_j Z_j'``.
    log_det_2 : ndarray of float64, shape (m, m)
        Second derivatives, ``-tr(V^-1 G_j V^-1 G_k)``.
    form : ndarray of float64, shape (p + 1, p + 1)
        ``F``.
    form_1 : ndarray of float64, shape (m, p + 1, p + 1)
        First derivatives, ``-M' V^-1 G_j V^-1 M``.
    form_2 : ndarray of float64, shape (m, m, p + 1, p + 1)
        Second derivatives, ``M' V^-1 (G_j V^-1 G_k + G_k V^-1 G_j) V^-1 M``.
    """

    log_det: float
    log_det_1: FloatArray
    log_det_2: FloatArray
    form: FloatArray
    form_1: FloatArray
    form_2: FloatArray


Likelihood = Callable[[FloatArray], Pieces]


def likelihood(data: Sufficient) -> Likelihood:
    """Choose how to compute the pieces: a function of the variance ratios, shape (m,)."""
    if len(data.groups) == 1:
        return SingleIntercept(data)
    if sum(group.size for group in data.groups[1:]) <= DENSE_LEVELS:
        return SchurComplement(data)
    # They share Pieces with this module.
    from saltrust.analysis.mixed.nested_likelihood import NestedSchurComplement, outer_factor
    from saltrust.analysis.mixed.sparse_likelihood import SparseSchurComplement

    outer = outer_factor(data)
    if outer is not None:
        return NestedSchurComplement(data, outer)
    return SchurComplement(data) if _fills_up(data) else SparseSchurComplement(data)


def _fills_up(data: Sufficient) -> bool:
    """Whether the system left after the largest factor is too full to gain by sparsity."""
    shared = sparse.hstack([data.shared(0, other) for other in range(1, len(data.groups))])
    width = shared.shape[1]
    pattern = shared.T @ shared
    return width <= LARGEST_DENSE and pattern.nnz > 0.02 * width**2


class SingleIntercept:
    """One random intercept: sums over groups of each size are all that is needed.

    There are at most ``sqrt(2 n)`` distinct sizes, so that an evaluation costs microseconds
    whatever the number of rows.
    """

    def __init__(self, data: Sufficient) -> None:
        counts, sums = data.counts[0], data.sums[0]
        self.size, which = np.unique(counts, return_inverse=True)
        self.number = np.bincount(which).astype(np.float64)
        self.gram = data.gram
        order = np.argsort(which, kind="stable")
        ends = np.cumsum(self.number).astype(int)
        self.products = np.stack([
            sums[order[end - int(number):end]].T @ sums[order[end - int(number):end]]
            for end, number in zip(ends, self.number, strict=True)])

    def __call__(self, ratios: FloatArray) -> Pieces:
        """Evaluate at ``ratios``, shape (1,)."""
        shrink = 1 / (1 + ratios[0] * self.size)
        amount = self.number * self.size * shrink

        def weighted(weights: FloatArray) -> FloatArray:
            result: FloatArray = np.tensordot(weights, self.products, axes=1)
            return result

        return Pieces(
            log_det=float(self.number @ np.log1p(ratios[0] * self.size)),
            log_det_1=np.array([amount.sum()]),
            log_det_2=np.array([[-(amount * self.size * shrink).sum()]]),
            form=self.gram - ratios[0] * weighted(shrink),
            form_1=-weighted(shrink**2)[None],
            form_2=2 * weighted(self.size * shrink**3)[None, None])


class SchurComplement:
    """Several random intercepts: the largest factor eliminated, a dense system for the rest.

    Notation as in the module: index 1 is the largest factor, 2 all others side by side,
    ``D = (I + g_1 N)^-1`` with the group sizes ``N``, ``B = Z_1'Z_2``,
    ``H = Z_2'V_1^-1 Z_2 = Z_2'Z_2 - g_1 B'DB`` for ``V_1 = I + g_1 Z_1Z_1'``, and
    ``K = (G_2^-1 + H)^-1``, written so that ratios of zero are allowed.
    """

    def __init__(self, data: Sufficient) -> None:
        self.data = data
        others = range(1, len(data.groups))
        shared = sparse.hstack([data.shared(0, other) for other in others], format="csr")
        ends = np.cumsum([0] + [data.groups[other].size for other in others])
        self.blocks = [slice(start, end) for start, end in pairwise(ends)]
        width = int(ends[-1])
        # With few levels beside the largest factor, dense products are faster than sparse.
        self.shared = shared.toarray() if width <= 64 else shared
        self.gram_others = np.zeros((width, width))
        for one, first in enumerate(self.blocks, start=1):
            for two, second in enumerate(self.blocks, start=1):
                self.gram_others[first, second] = (
                    np.diag(data.counts[one]) if one == two else data.shared(one, two).toarray())
        self.sums_others = np.vstack(data.sums[1:])

    def _product(self, weights: FloatArray) -> FloatArray:
        """``B' diag(weights) B``."""
        if sparse.issparse(self.shared):
            scaled = sparse.diags(weights) @ self.shared
            return (self.shared.T @ scaled).toarray()
        return self.shared.T @ (weights[:, None] * self.shared)

    def __call__(self, ratios: FloatArray) -> Pieces:
        """Evaluate at ``ratios``, shape (m,)."""
        data, first = self.data, ratios[0]
        shrink = 1 / (1 + first * data.counts[0])
        amount = data.counts[0] * shrink  # the diagonal of Z_1' V_1^-1 Z_1
        system = self.gram_others - first * self._product(shrink)
        root = np.sqrt(np.concatenate([np.full(block.stop - block.start, ratio)
                                       for block, ratio in zip(self.blocks, ratios[1:],
                                                               strict=True)]))
        inner = np.eye(len(root)) + root[:, None] * system * root
        factor = np.linalg.cholesky(inner)
        half = np.linalg.solve(factor, np.diag(root))
        middle = half.T @ half  # K
        rest = np.eye(len(root)) - middle @ system  # I - K H
        corner = system @ rest  # Z_2' V^-1 Z_2
        sums, shared = data.sums[0], self.shared
        weighted = shrink[:, None] * sums
        others = self.sums_others - first * (shared.T @ weighted)
        solved = middle @ others
        largest = weighted - shrink[:, None] * (shared @ solved)  # Z_1' V^-1 M
        smaller = others - system @ solved  # Z_2' V^-1 M
        second = self._product(shrink**2)
        third = self._product(shrink**2 * amount)
        crossed = shared.T @ (shrink[:, None] * largest)  # B' D Z_1' V^-1 M
        through = np.einsum("ji,ji->i", rest, second @ rest)
        folded = middle @ second

        m = len(ratios)
        trace = np.array([amount.sum() - np.sum(middle * second),
                          *(np.trace(corner[block, block]) for block in self.blocks)])
        norms = np.empty((m, m))
        norms[0, 0] = (amount @ amount - 2 * np.sum(middle * third)
                       + np.sum(folded * folded.T))
        width = data.rank + 1
        forms = np.empty((m, m, width, width))
        forms[0, 0] = (largest.T @ (amount[:, None] * largest) - crossed.T @ middle @ crossed)
        effects = [largest, *(smaller[block] for block in self.blocks)]
        for one, block in enumerate(self.blocks, start=1):
            norms[0, one] = norms[one, 0] = through[block].sum()
            forms[0, one] = crossed.T @ rest[:, block] @ smaller[block]
            forms[one, 0] = forms[0, one].T
            for two, other in enumerate(self.blocks, start=1):
                norms[one, two] = np.sum(corner[block, other] ** 2)
                forms[one, two] = smaller[block].T @ corner[block, other] @ smaller[other]
        return Pieces(
            log_det=float(np.log1p(first * data.counts[0]).sum()
                          + 2 * np.log(np.diag(factor)).sum()),
            log_det_1=trace,
            log_det_2=-norms,
            form=data.gram - first * (sums.T @ weighted) - others.T @ solved,
            form_1=np.stack([-(effect.T @ effect) for effect in effects]),
            form_2=forms + forms.swapaxes(2, 3))
