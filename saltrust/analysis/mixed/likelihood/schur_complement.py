"""Several random intercepts: the largest factor eliminated, a dense inverse for the rest."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from scipy import sparse
from scipy.linalg import lapack

from saltrust.analysis.mixed.frame import FloatArray
from saltrust.analysis.mixed.likelihood.pieces import Pieces
from saltrust.analysis.mixed.likelihood.sufficient import Sufficient

#: Dense or sparse.
Matrix = Any

#: Share of elements that differ from zero above which dense products are faster than sparse.
_CROWDED = 0.05


class SchurComplement:
    """Groups of the largest factor eliminated one by one (Woodbury), the others by a dense system.

    Index 1 is the largest factor, 2 all others side by side, ``D = (I + g_1 N)^-1`` with the
    group sizes ``N``, ``B = Z_1'Z_2``, ``H = Z_2'V_1^-1 Z_2 = Z_2'Z_2 - g_1 B'DB`` for
    ``V_1 = I + g_1 Z_1Z_1'``, and ``K = (G_2^-1 + H)^-1``, written so that ratios of zero are
    allowed.  ``K`` is dense; ``H`` stays sparse where few groups share rows, so that with
    thousands of levels the inverse is all that costs their cube.
    """

    def __init__(self, data: Sufficient) -> None:
        self.data = data
        others = range(1, len(data.groups))
        shared = sparse.hstack([data.shared(0, other) for other in others], format="csr")
        ends = np.cumsum([0] + [data.groups[other].size for other in others])
        self.blocks = [slice(int(start), int(end)) for start, end in pairwise(ends)]
        width = int(ends[-1])
        # With few levels beside the largest factor, dense products are faster than sparse.
        self.shared: Matrix = shared.toarray() if width <= 64 else shared
        self.gram_others: Matrix = sparse.block_array(
            [[sparse.diags(data.counts[one]) if one == two else data.shared(one, two)
              for two in others] for one in others], format="csr")
        pattern = shared.T @ shared
        self.sparse = width > 64 and pattern.nnz < _CROWDED * width**2
        if not self.sparse:
            self.gram_others = self.gram_others.toarray()
        self.sums_others = np.vstack(data.sums[1:])

    def _product(self, weights: FloatArray) -> Matrix:
        """``B' diag(weights) B``."""
        if not sparse.issparse(self.shared):
            return self.shared.T @ (weights[:, None] * self.shared)
        product = self.shared.T @ (sparse.diags(weights) @ self.shared)
        return product.tocsr() if self.sparse else product.toarray()

    def _middle(self, system: Matrix, root: FloatArray) -> tuple[FloatArray, float]:
        """``K``, and the log determinant of ``I + G_2^1/2 H G_2^1/2``."""
        dense = system.toarray() if self.sparse else system
        inner = root[:, None] * dense * root
        inner[np.diag_indices_from(inner)] += 1.0
        factor, failed = lapack.dpotrf(inner, lower=True, overwrite_a=True)
        if failed:
            raise np.linalg.LinAlgError("the system is not positive definite")
        log_det = 2 * float(np.log(np.diag(factor)).sum())
        inverse, _ = lapack.dpotri(factor, lower=True, overwrite_c=True)
        lower = np.tril(inverse)
        middle = lower + np.tril(lower, -1).T
        middle *= root
        middle *= root[:, None]
        return np.ascontiguousarray(middle), log_det

    def __call__(self, ratios: FloatArray) -> Pieces:
        """Evaluate at ``ratios``, shape (m,)."""
        data, first = self.data, ratios[0]
        shrink = 1 / (1 + first * data.counts[0])
        amount = data.counts[0] * shrink  # the diagonal of Z_1' V_1^-1 Z_1
        system = self.gram_others - first * self._product(shrink)
        root = np.sqrt(np.concatenate([np.full(block.stop - block.start, ratio)
                                       for block, ratio in zip(self.blocks, ratios[1:],
                                                               strict=True)]))
        middle, log_det = self._middle(system, root)
        rest = -np.ascontiguousarray((system @ middle).T)  # I - K H, both symmetric
        rest[np.diag_indices_from(rest)] += 1.0
        corner = system @ rest  # Z_2' V^-1 Z_2
        sums, shared = data.sums[0], self.shared
        weighted = shrink[:, None] * sums
        others = self.sums_others - first * (shared.T @ weighted)
        solved = middle @ others
        largest = weighted - shrink[:, None] * (shared @ solved)  # Z_1' V^-1 M
        smaller = others - system @ solved  # Z_2' V^-1 M
        crossed = shared.T @ (shrink[:, None] * largest)  # B' D Z_1' V^-1 M
        trace, norms = self._traces(shrink, amount, middle, rest, corner)

        m, width = len(ratios), data.rank + 1
        forms = np.empty((m, m, width, width))
        forms[0, 0] = largest.T @ (amount[:, None] * largest) - crossed.T @ middle @ crossed
        effects = [largest, *(smaller[block] for block in self.blocks)]
        for one, block in enumerate(self.blocks, start=1):
            forms[0, one] = crossed.T @ rest[:, block] @ smaller[block]
            forms[one, 0] = forms[0, one].T
            for two, other in enumerate(self.blocks, start=1):
                forms[one, two] = smaller[block].T @ corner[block, other] @ smaller[other]
        return Pieces(
            log_det=float(np.log1p(first * data.counts[0]).sum()) + log_det,
            log_det_1=trace,
            log_det_2=-norms,
            form=data.gram - first * (sums.T @ weighted) - others.T @ solved,
            form_1=np.stack([-(effect.T @ effect) for effect in effects]),
            form_2=forms + forms.swapaxes(2, 3))

    def _traces(self, shrink: FloatArray, amount: FloatArray, middle: FloatArray,
                rest: FloatArray, corner: FloatArray) -> tuple[FloatArray, FloatArray]:
        """``tr(V^-1 G_j)`` and ``tr(V^-1 G_j V^-1 G_k)``."""
        second, third = self._product(shrink**2), self._product(shrink**2 * amount)
        through = np.einsum("ji,ji->i", rest, second @ rest)
        folded = second @ middle
        trace = np.array([amount.sum() - _dot(second, middle),
                          *(np.trace(corner[block, block]) for block in self.blocks)])
        norms = np.empty((len(trace),) * 2)
        norms[0, 0] = (amount @ amount - 2 * _dot(third, middle)
                       + np.einsum("ij,ji->", folded, folded))
        for one, block in enumerate(self.blocks, start=1):
            norms[0, one] = norms[one, 0] = through[block].sum()
            for two, other in enumerate(self.blocks, start=1):
                norms[one, two] = np.sum(corner[block, other] ** 2)
        return trace, norms


def _dot(one: Matrix, other: FloatArray) -> float:
    """Sum of the products of all elements."""
    if not sparse.issparse(one):
        return float(np.vdot(one, other))
    entries = one.tocoo()
    return float(entries.data @ other[entries.row, entries.col])
