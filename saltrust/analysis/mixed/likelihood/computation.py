"""How to compute the pieces of the likelihood: exact whichever way, chosen by what is cheap.

All are sums over groups: the groups of the largest factor are eliminated one by one (Woodbury),
the others through the Schur complement that is left: with a dense inverse where it is small or
would fill up, by nesting or a sparse factorisation where it would not.  Where the rows fall into
blocks that share few random effects (readers of images), and for random slopes, the blocks are
eliminated.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from saltrust.analysis.mixed.frame import FloatArray
from saltrust.analysis.mixed.likelihood.block_elimination import BlockElimination
from saltrust.analysis.mixed.likelihood.blocks import MOST_CROSSED as MOST_CROSSED_BY_BLOCKS
from saltrust.analysis.mixed.likelihood.blocks import divide
from saltrust.analysis.mixed.likelihood.nested import NestedSchurComplement, outer_factor
from saltrust.analysis.mixed.likelihood.pieces import Likelihood, Pieces
from saltrust.analysis.mixed.likelihood.schur_complement import SchurComplement
from saltrust.analysis.mixed.likelihood.sparse import SparseSchurComplement
from saltrust.analysis.mixed.likelihood.sufficient import Sufficient
from saltrust.errors import DataError

#: Most levels of all but the largest grouping factor together for a dense Schur complement.
DENSE_LEVELS = 1000

#: Up to so many the dense complement takes no time.
FEW_LEVELS = 200

#: Most operations that the elimination of blocks may take before others are tried.
MOST_WORK = 1e12

#: Most such levels for a dense Schur complement that a sparse one would fill anyway.
LARGEST_DENSE = 6000

#: Most such levels where factors cross; what is left of them may fill to 7 GB.
MOST_CROSSED = 30_000


def likelihood(data: Sufficient) -> Likelihood:
    """Choose how to compute the pieces: a function of the variance ratios, shape (m,)."""
    if any(group.columns is not None for group in data.groups):
        return _with_slopes(data)
    if len(data.groups) == 1:
        return SingleIntercept(data)
    others = sum(group.size for group in data.groups[1:])
    if others <= min(FEW_LEVELS, DENSE_LEVELS):
        return SchurComplement(data)
    outer = outer_factor(data)
    if outer is None or others - data.groups[outer].size > FEW_LEVELS:
        # Estimated for blocks that all differ; where they are alike it is much less.
        division = divide(data)
        if division is not None and division.cost < min(float(others)**3, MOST_WORK):
            return BlockElimination(data, division)
    if others <= DENSE_LEVELS:
        return SchurComplement(data)
    if outer is not None:
        return NestedSchurComplement(data, outer)
    crossed = sum(group.size for group in data.groups[1:])
    if crossed > MOST_CROSSED:
        raise DataError(f"the grouping factors {', '.join(g.name for g in data.groups[1:])} have "
                        f"{crossed:,} levels and cross {data.groups[0].name}, which asks for a "
                        f"matrix of {crossed:,} by {crossed:,}, more than {MOST_CROSSED:,}; leave "
                        "one of them out, or nest it, (1|a/b)")
    return SchurComplement(data) if _fills_up(data) else SparseSchurComplement(data)


def _with_slopes(data: Sufficient) -> Likelihood:
    division = divide(data)
    if division is None:
        widths = ", ".join(f"{group.name} {group.size * len(group.effects):,}"
                           for group in data.groups)
        raise DataError("the random slopes cannot be fitted: their groups neither fall into blocks "
                        f"nor are few (random effects: {widths}; at most "
                        f"{MOST_CROSSED_BY_BLOCKS:,} may cross the largest factor); write (1|g) "
                        "in the place of a slope, or nest one factor, (1|a/b)")
    return BlockElimination(data, division)


def _fills_up(data: Sufficient) -> bool:
    """Whether the system left after the largest factor is too full to gain by sparsity.

    A system whose graph has no cycles is factorised without fill; one with as many independent
    cycles as a tenth of its levels is well on the way to a dense one.
    """
    shared = sparse.hstack([data.shared(0, other) for other in range(1, len(data.groups))])
    width = shared.shape[1]
    if width > LARGEST_DENSE:
        return False
    pattern = shared.T @ shared
    edges = (pattern.nnz - width) // 2
    parts, _ = connected_components(pattern, directed=False)
    return bool(edges - width + parts > 0.1 * width)


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
