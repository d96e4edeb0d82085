"""Random terms within blocks eliminated block by block, the few that cross them by a dense system.

With ``V_0 = I + Z K Z'`` of the terms within blocks and ``A = [M W]`` of fixed effects, response
and crossed effects, all follows from ``A'V_0^-1 A``, ``A'V_0^-1 G_j V_0^-1 A`` and
``A'V_0^-1 G_j V_0^-1 G_k V_0^-1 A``, which are sums over the patterns of blocks
(:mod:`.blocks`); the crossed effects are then taken in by Woodbury's identity.  Random slopes
are columns of ``Z`` like others.
"""

from __future__ import annotations

import numpy as np

from saltrust.analysis.inference.threads import one_blas_thread
from saltrust.analysis.mixed.frame import FloatArray
from saltrust.analysis.mixed.likelihood.blocks import (
    Batch,
    Division,
    Rows,
    crossed_columns,
)
from saltrust.analysis.mixed.likelihood.covariances import Element, elements, matrices, root
from saltrust.analysis.mixed.likelihood.pieces import Pieces
from saltrust.analysis.mixed.likelihood.sufficient import Sufficient


class _Sums:
    """What the blocks add up to: log determinant, forms and traces, with their derivatives."""

    def __init__(self, count: int, columns: int) -> None:
        self.log_det = 0.0
        self.form = np.zeros((columns, columns))
        self.form_1 = np.zeros((count, columns, columns))
        self.form_2 = np.zeros((count, count, columns, columns))
        self.trace = np.zeros(count)
        self.norms = np.zeros((count, count))


class BlockElimination:
    """Terms within blocks and a few levels of terms that cross them."""

    def __init__(self, data: Sufficient, division: Division) -> None:
        self.data, self.division = data, division
        everything = elements(data.groups)
        self.inner = [k for k, element in enumerate(everything)
                      if element.term in division.within]
        self.outer = [k for k, element in enumerate(everything)
                      if element.term in division.crossed]
        self.elements = everything
        self.batches = Rows(data, division).batches()
        self.places: dict[tuple[int, int], slice] = {}
        end = 0
        for term in division.crossed:
            group = data.groups[term]
            for effect in range(len(group.effects)):
                self.places[term, effect] = slice(end, end + group.size)
                end += group.size
        every_row = np.arange(data.n)
        crossed = crossed_columns(data, division, every_row)
        both = np.column_stack([data.basis[data.cell], data.residual])
        p = data.rank + 1
        self.gram = np.empty((p + end, p + end))
        self.gram[:p, :p] = data.gram
        self.gram[p:, :p] = crossed.T @ both
        self.gram[:p, p:] = self.gram[p:, :p].T
        self.gram[p:, p:] = (crossed.T @ crossed).toarray()

    def __call__(self, ratios: FloatArray) -> Pieces:
        """Evaluate at ``ratios``, shape (m,)."""
        covariances = matrices(self.data.groups, ratios)
        sums = _Sums(len(self.inner), len(self.gram))
        sums.form += self.gram
        with one_blas_thread():  # of many small matrices
            for batch in self.batches:
                self._add(sums, batch, covariances)
            return self._crossed(sums, covariances)

    def _add(self, sums: _Sums, batch: Batch, covariances: list[FloatArray]) -> None:
        """The share of a batch of patterns."""
        y = self.data.rank
        spread_root = _expand(batch.places, covariances, batch.gram.shape[1])
        inner = spread_root.T @ batch.gram @ spread_root
        inner += np.eye(inner.shape[1])
        sums.log_det += 2 * float(batch.number @ np.log(
            np.linalg.cholesky(inner).diagonal(axis1=1, axis2=2)).sum(axis=1))
        middle = spread_root @ np.linalg.solve(inner, np.broadcast_to(
            spread_root.T, inner.shape))
        rest = np.eye(inner.shape[1]) - middle @ batch.gram
        corner = batch.gram @ rest
        effects = rest.swapaxes(1, 2) @ batch.sums  # Z' V_0^-1 A
        sums.form -= _product(batch.sums, middle @ batch.sums)
        sums.form[y, y] -= np.vdot(middle, batch.spread)
        turned = rest.swapaxes(1, 2) @ batch.spread @ rest
        counted = batch.number[:, None, None] * corner
        chosen = [self.elements[k] for k in self.inner]
        for k, element in enumerate(chosen):
            for a, b in _slices(batch.places, element):
                sums.form_1[k] += _product(effects[:, a], effects[:, b])
                sums.form_1[k, y, y] += _trace(turned[:, a, b])
                sums.trace[k] += _trace(counted[:, a, b])
            through = np.zeros_like(effects)
            for c, d in _slices(batch.places, element):
                through += corner[:, :, c] @ effects[:, d]
            for j, other in enumerate(chosen[:k + 1]):
                for a, b in _slices(batch.places, other):
                    sums.form_2[j, k] += _product(effects[:, a], through[:, b])
                    for c, d in _slices(batch.places, element):
                        sums.form_2[j, k, y, y] += np.vdot(corner[:, b, c], turned[:, a, d])
                        sums.norms[j, k] += np.vdot(corner[:, b, c], counted[:, a, d])

    def _crossed(self, sums: _Sums, covariances: list[FloatArray]) -> Pieces:
        """Take in the effects that cross the blocks."""
        p = self.data.rank + 1
        for j in range(len(self.inner)):
            for k in range(j):
                sums.form_2[j, k] = sums.form_2[k, j].T
                sums.norms[j, k] = sums.norms[k, j]
        system = sums.form[p:, p:]
        spread = _expand(self.places, covariances, len(system))
        factor = np.linalg.cholesky(np.eye(len(system)) + spread.T @ system @ spread)
        half = np.linalg.solve(factor, spread.T)
        middle = half.T @ half
        rest = np.eye(len(system)) - middle @ system
        corner = system @ rest
        turn = np.vstack([np.eye(p), -middle @ sums.form[p:, :p]])  # V^-1 M = V_0^-1 A turn
        effects = rest.T @ sums.form[p:, :p]  # W' V^-1 M
        m = len(self.elements)
        log_det_1, norms = np.empty(m), np.empty((m, m))
        form_1, forms = np.empty((m, p, p)), np.empty((m, m, p, p))
        for j, first in enumerate(self.inner):
            inside = sums.form_1[j][p:, p:]
            log_det_1[first] = sums.trace[j] - np.vdot(middle, inside)
            form_1[first] = -turn.T @ sums.form_1[j] @ turn
            left = turn.T @ sums.form_1[j][:, p:]
            folded = middle @ inside
            for k, second in enumerate(self.inner):
                forms[first, second] = (
                    turn.T @ sums.form_2[j, k] @ turn
                    - left @ middle @ (sums.form_1[k][p:] @ turn))
                norms[first, second] = (
                    sums.norms[j, k] - 2 * np.vdot(middle, sums.form_2[j, k][p:, p:])
                    + np.vdot(folded.T, middle @ sums.form_1[k][p:, p:]))
            across = rest.T @ inside @ rest
            for second in self.outer:
                pairs = _slices(self.places, self.elements[second])
                forms[first, second] = sum(left @ rest[:, a] @ effects[b] for a, b in pairs)
                forms[second, first] = forms[first, second].T
                norms[first, second] = norms[second, first] = sum(
                    np.trace(across[a, b]) for a, b in pairs)
        for first in self.outer:
            pairs = _slices(self.places, self.elements[first])
            log_det_1[first] = sum(np.trace(corner[a, b]) for a, b in pairs)
            form_1[first] = -sum(effects[a].T @ effects[b] for a, b in pairs)
            for second in self.outer:
                both = [(a, b, c, d) for a, b in pairs
                        for c, d in _slices(self.places, self.elements[second])]
                forms[first, second] = sum(effects[a].T @ corner[b, c] @ effects[d]
                                           for a, b, c, d in both)
                norms[first, second] = sum(np.vdot(corner[b, c], corner[a, d])
                                           for a, b, c, d in both)
        return Pieces(
            log_det=sums.log_det + 2 * float(np.log(np.diag(factor)).sum()),
            log_det_1=log_det_1, log_det_2=-norms,
            form=sums.form[:p, :p] - sums.form[:p, p:] @ middle @ sums.form[p:, :p],
            form_1=form_1, form_2=forms + forms.swapaxes(2, 3))


def _slices(places: dict[tuple[int, int], slice], element: Element) -> list[tuple[slice, slice]]:
    return [(places[element.term, a], places[element.term, b]) for a, b in element.pairs]


def _expand(places: dict[tuple[int, int], slice], covariances: list[FloatArray], size: int,
            ) -> FloatArray:
    """The root of the covariance of all effects, from the roots of every term's."""
    made = np.zeros((size, size))
    for (term, effect), place in places.items():
        factor = root(covariances[term])
        for other in range(len(factor)):
            target = places[term, other]
            made[np.arange(place.start, place.stop),
                 np.arange(target.start, target.stop)] = factor[effect, other]
    return made


def _product(one: FloatArray, other: FloatArray) -> FloatArray:
    """``sum_p one_p' other_p``."""
    width = one.shape[2]
    result: FloatArray = one.reshape(-1, width).T @ other.reshape(-1, width)
    return result


def _trace(blocks: FloatArray) -> float:
    return float(np.trace(blocks, axis1=1, axis2=2).sum())
