"""The pieces of the likelihood for many groups within many others, as images within patients.

As :class:`~.schur_complement.SchurComplement` with one more step: once the groups of the largest
factor are eliminated, those of a factor that they are nested in do not share rows any more,
so that they can be eliminated one by one too.  Few levels of other, crossed factors remain.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import sparse

from saltrust.analysis.mixed.frame import FloatArray, IntArray
from saltrust.analysis.mixed.likelihood.pieces import Pieces
from saltrust.analysis.mixed.likelihood.sufficient import Sufficient

#: Most elements of the dense matrix of inner groups by levels of crossed factors.
_LARGEST = 30_000_000


def outer_factor(data: Sufficient) -> int | None:
    """Index of the factor with most groups that the largest factor is nested in, else None.

    None too where the other factors have too many levels for this way.
    """
    inner = data.groups[0]
    for index, group in enumerate(data.groups[1:], start=1):
        parent = np.empty(inner.size, dtype=np.int64)
        parent[inner.codes] = group.codes
        if (parent[inner.codes] == group.codes).all():
            rest = sum(other.size for other in data.groups[1:]) - group.size
            return index if rest * inner.size <= _LARGEST else None
    return None


@dataclass(frozen=True)
class _Inner:
    """Blocks ``Z_a' V^-1 Z_b`` once inner (1) and outer (2) groups are eliminated.

    ``amount`` (q_1) and ``outer`` (q_2) are the diagonals of the blocks 11 and 22 that do not
    see what is eliminated later; ``loss`` (q_2) is what the elimination of a group of 2 takes
    off the block 11, ``across`` (q_1) the one element of each row of the block 12.
    """

    amount: FloatArray
    loss: FloatArray
    across: FloatArray
    outer: FloatArray
    inner_crossed: FloatArray
    outer_crossed: FloatArray
    crossed: FloatArray


class NestedSchurComplement:
    """Random intercepts of inner and outer groups, and of a few levels crossed with them."""

    def __init__(self, data: Sufficient, outer: int) -> None:
        self.data = data
        rest = [index for index in range(1, len(data.groups)) if index != outer]
        self.order = [0, outer, *rest]
        self.parent: IntArray = np.empty(data.groups[0].size, dtype=np.int64)
        self.parent[data.groups[0].codes] = data.groups[outer].codes
        self.members = sparse.csr_matrix(
            (np.ones(len(self.parent)), (self.parent, np.arange(len(self.parent)))))
        ends = np.cumsum([0] + [data.groups[index].size for index in rest])
        self.blocks = [slice(int(start), int(end))
                       for start, end in pairwise(ends)]
        width = data.rank + 1
        self.inner_shared = _beside([data.shared(0, index).toarray() for index in rest],
                                    data.groups[0].size)
        self.outer_shared = _beside([data.shared(outer, index).toarray() for index in rest],
                                    data.groups[outer].size)
        self.crossed_shared = np.zeros((int(ends[-1]),) * 2)
        for one, first in zip(rest, self.blocks, strict=True):
            for two, second in zip(rest, self.blocks, strict=True):
                self.crossed_shared[first, second] = (
                    np.diag(data.counts[one]) if one == two else data.shared(one, two).toarray())
        self.sums_inner, self.sums_outer = data.sums[0], data.sums[outer]
        self.sums_crossed = np.vstack([np.empty((0, width)), *(data.sums[i] for i in rest)])

    def _blocks_left(self, ratios: FloatArray) -> _Inner:
        inner, outer = ratios[0], ratios[self.order[1]]
        shrink = 1 / (1 + inner * self.data.counts[0])
        amount = self.data.counts[0] * shrink
        before = self.members @ amount
        loss = outer / (1 + outer * before)
        outer_crossed = self.outer_shared - inner * (
            self.members @ (amount[:, None] * self.inner_shared))
        crossed = self.crossed_shared - inner * (
            self.inner_shared.T @ (shrink[:, None] * self.inner_shared))
        kept = 1 / (1 + outer * before)
        return _Inner(
            amount=amount, loss=loss, across=amount * kept[self.parent], outer=before * kept,
            inner_crossed=(shrink[:, None] * self.inner_shared
                           - (amount * loss[self.parent])[:, None] * outer_crossed[self.parent]),
            outer_crossed=outer_crossed * kept[:, None],
            crossed=crossed - outer_crossed.T @ (loss[:, None] * outer_crossed))

    def __call__(self, ratios: FloatArray) -> Pieces:
        """Evaluate at ``ratios``, shape (m,)."""
        data, members = self.data, self.members
        inner, outer = ratios[0], ratios[self.order[1]]
        left = self._blocks_left(ratios)
        before = members @ left.amount  # diagonal of block 22 when 1 is eliminated
        root = np.sqrt(np.concatenate([np.empty(0), *(
            np.full(block.stop - block.start, ratio) for block, ratio in
            zip(self.blocks, ratios[self.order[2:]], strict=True))]))
        factor = np.linalg.cholesky(np.eye(len(root)) + root[:, None] * left.crossed * root)
        half = np.linalg.solve(factor, np.diag(root))
        middle = half.T @ half
        rest = np.eye(len(root)) - middle @ left.crossed

        shrink = 1 / (1 + inner * data.counts[0])
        sums = shrink[:, None] * self.sums_inner
        sums_outer = self.sums_outer - inner * (members @ (data.counts[0][:, None] * sums))
        sums_crossed = self.sums_crossed - inner * (self.inner_shared.T @ sums)
        form = (data.gram - inner * (self.sums_inner.T @ sums)
                - sums_outer.T @ (left.loss[:, None] * sums_outer))
        sums_crossed = sums_crossed - outer * (left.outer_crossed.T @ sums_outer)
        solved = middle @ sums_crossed
        effects = [
            sums - (left.amount * left.loss[self.parent])[:, None] * sums_outer[self.parent]
            - left.inner_crossed @ solved,
            sums_outer / (1 + outer * before)[:, None] - left.outer_crossed @ solved,
            *((rest.T @ sums_crossed)[block] for block in self.blocks)]
        trace, norms = self._log_det_derivatives(left, middle, rest)
        forms = self._forms(left, middle, rest, effects)
        first = np.stack([-(effect.T @ effect) for effect in effects])
        back = np.argsort(self.order)
        both = np.ix_(back, back)
        return Pieces(
            log_det=float(np.log1p(inner * data.counts[0]).sum()
                          + np.log1p(outer * before).sum()
                          + 2 * np.log(np.diag(factor)).sum()),
            log_det_1=trace[back], log_det_2=-norms[both], form=form - sums_crossed.T @ solved,
            form_1=first[back], form_2=(forms + forms.swapaxes(2, 3))[both])

    def _log_det_derivatives(self, left: _Inner, middle: FloatArray, rest: FloatArray,
                             ) -> tuple[FloatArray, FloatArray]:
        """Traces and squared norms of the blocks, in the order inner, outer, crossed."""
        members, blocks = self.members, self.blocks
        corner = left.crossed @ rest
        of_inner = left.inner_crossed.T @ left.inner_crossed
        of_outer = left.outer_crossed.T @ left.outer_crossed
        squares = members @ left.amount**2
        weighted = members @ (left.amount[:, None] * left.inner_crossed)
        across = members @ (left.across[:, None] * left.inner_crossed)
        inner_inner = (left.inner_crossed.T @ (left.amount[:, None] * left.inner_crossed)
                       - weighted.T @ (left.loss[:, None] * weighted))
        trace = np.array([
            left.amount.sum() - left.loss @ squares - np.sum(middle * of_inner),
            left.outer.sum() - np.sum(middle * of_outer),
            *(np.trace(corner[block, block]) for block in blocks)])
        m = len(trace)
        norms = np.empty((m, m))
        folded_inner, folded_outer = middle @ of_inner, middle @ of_outer
        norms[0, 0] = (left.amount @ left.amount
                       - 2 * left.loss @ (members @ left.amount**3)
                       + (left.loss * squares) @ (left.loss * squares)
                       - 2 * np.sum(middle * inner_inner)
                       + np.sum(folded_inner * folded_inner.T))
        norms[0, 1] = norms[1, 0] = (
            left.across @ left.across - 2 * np.sum(middle * (left.outer_crossed.T @ across))
            + np.sum(folded_inner * folded_outer.T))
        norms[1, 1] = (left.outer @ left.outer
                       - 2 * np.sum(middle * (left.outer_crossed.T
                                              @ (left.outer[:, None] * left.outer_crossed)))
                       + np.sum(folded_outer * folded_outer.T))
        for number, gram in enumerate((of_inner, of_outer)):
            through = rest.T @ gram @ rest
            for one, block in enumerate(blocks, start=2):
                norms[number, one] = norms[one, number] = np.trace(through[block, block])
        for one, block in enumerate(blocks, start=2):
            for two, other in enumerate(blocks, start=2):
                norms[one, two] = np.sum(corner[block, other] ** 2)
        return trace, norms

    def _forms(self, left: _Inner, middle: FloatArray, rest: FloatArray,
               effects: list[FloatArray]) -> FloatArray:
        """``W_j' Z_j' V^-1 Z_k W_k`` for the effects ``W``, in the order inner, outer, crossed."""
        members, blocks = self.members, self.blocks
        inner, outer = effects[0], effects[1]
        m, width = len(effects), inner.shape[1]
        corner = left.crossed @ rest
        to_crossed = (left.inner_crossed.T @ inner, left.outer_crossed.T @ outer)
        weighted = members @ (left.amount[:, None] * inner)
        forms = np.empty((m, m, width, width))
        forms[0, 0] = (inner.T @ (left.amount[:, None] * inner)
                       - weighted.T @ (left.loss[:, None] * weighted)
                       - to_crossed[0].T @ middle @ to_crossed[0])
        forms[0, 1] = ((members @ (left.across[:, None] * inner)).T @ outer
                       - to_crossed[0].T @ middle @ to_crossed[1])
        forms[1, 0] = forms[0, 1].T
        forms[1, 1] = (outer.T @ (left.outer[:, None] * outer)
                       - to_crossed[1].T @ middle @ to_crossed[1])
        for one, block in enumerate(blocks, start=2):
            for number in (0, 1):
                forms[number, one] = to_crossed[number].T @ rest[:, block] @ effects[one]
                forms[one, number] = forms[number, one].T
            for two, other in enumerate(blocks, start=2):
                forms[one, two] = effects[one].T @ corner[block, other] @ effects[two]
        return forms


def _beside(matrices: list[FloatArray], rows: int) -> FloatArray:
    return np.hstack([np.empty((rows, 0)), *matrices])
