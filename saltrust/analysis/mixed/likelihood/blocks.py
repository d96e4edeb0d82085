"""Rows in blocks that share no random effect but those of a few small, crossed factors.

In a study of readers the intercepts of images, of readings of images and of maps of images all
lie within images: the matrix of the model falls into one small block for each image, and what
crosses images (readers, readers by explainers) has few levels.  Blocks of the same pattern,
alike in all but the response, are one block that counts several times: where every reader saw
every map there is a single one, however many images there are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from saltrust.analysis.mixed.frame import FloatArray, Groups, IntArray
from saltrust.analysis.mixed.likelihood.sufficient import Sufficient

#: Most levels of crossed factors, and random effects of one block.
MOST_CROSSED = 1000
LARGEST_BLOCK = 1500
#: Most elements of all sums over rows: 2 GB.
_MOST_ELEMENTS = 250_000_000


@dataclass(frozen=True)
class Division:
    """Which terms lie within blocks, which cross them, and the block of every row."""

    within: list[int]
    crossed: list[int]
    block: IntArray
    cost: float


@dataclass(frozen=True)
class Batch:
    """Patterns with equally many random effects of every term.

    Attributes
    ----------
    number : ndarray of float64, shape (P,)
        Blocks of each pattern.
    gram : ndarray of float64, shape (P, q, q)
        ``Z'Z`` of a block of each pattern.
    sums : ndarray of float64, shape (P, q, a)
        ``Z'A`` for ``A = [M W]``: the fixed effects, the response (its mean over the blocks of
        the pattern) and the crossed effects; times the root of ``number``.
    spread : ndarray of float64, shape (P, q, q)
        Sums of squares and products of ``Z'y`` over the blocks of each pattern, about the mean.
    places : dict of (int, int) to slice
        Of each term and effect, where its levels stand among the ``q``.
    """

    number: FloatArray
    gram: FloatArray
    sums: FloatArray
    spread: FloatArray
    places: dict[tuple[int, int], slice]


def width(group: Groups) -> int:
    """Random effects of a term."""
    return group.size * len(group.effects)


def divide(data: Sufficient) -> Division | None:
    """The cheapest division into blocks, the smallest terms crossing them; None if too dear."""
    by_size = sorted(range(len(data.groups)), key=lambda term: width(data.groups[term]))
    best: Division | None = None
    for few in range(len(by_size)):
        crossed, within = sorted(by_size[:few]), sorted(by_size[few:])
        wide = sum(width(data.groups[term]) for term in crossed)
        if wide > MOST_CROSSED:
            break
        block = _components([data.groups[term] for term in within])
        size = np.zeros(int(block.max()) + 1)
        for term in within:
            group = data.groups[term]
            owner = np.empty(group.size, dtype=np.int64)
            owner[group.codes] = block
            size += len(group.effects) * np.bincount(owner, minlength=len(size))
        columns = data.rank + 1 + wide
        if size.max() > LARGEST_BLOCK or size.sum() * columns + (
                size @ size) > _MOST_ELEMENTS:
            continue
        cost = float((size**3).sum() + (size**2).sum() * columns
                     + len(within) ** 2 * (size.sum() * columns**2 + columns**3))
        if best is None or cost < best.cost:
            best = Division(within, crossed, block, cost)
    return best


def _components(groups: list[Groups]) -> IntArray:
    """Of every row, which of the parts that share no level of any factor it is in."""
    first, rest = groups[0], groups[1:]
    if not rest:
        return first.codes
    offset, edges = first.size, []
    for group in rest:
        edges.append(np.stack([first.codes, offset + group.codes]))
        offset += group.size
    one, two = np.hstack(edges)
    graph = sparse.coo_matrix((np.ones(len(one)), (one, two)), shape=(offset, offset))
    labels = connected_components(graph, directed=False)[1].astype(np.int64)
    result: IntArray = labels[first.codes]
    return result


class Rows:
    """The rows block by block, in an order that is the same for blocks of one pattern."""

    def __init__(self, data: Sufficient, division: Division) -> None:
        self.data, self.division = data, division
        crossed = [data.groups[term].codes for term in division.crossed]
        order = np.lexsort([*reversed([division.block, data.cell, *crossed])])
        self.order = order
        self.block = division.block[order]
        self.size = np.bincount(self.block)
        self.start = np.cumsum(self.size) - self.size
        #: Of each term within blocks: the rank of a row's level within its block.
        self.local = {term: self._ranks(data.groups[term].codes[order])
                      for term in division.within}
        self.pattern = self._patterns([data.cell[order], *(codes[order] for codes in crossed),
                                       *self.local.values(), *self._slopes()])

    def _ranks(self, codes: IntArray) -> IntArray:
        """Levels counted within their block by where they first appear."""
        _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
        by_place = np.argsort(first)
        place = np.empty(len(first), dtype=np.int64)
        place[by_place] = np.arange(len(first))
        owner = self.block[first[by_place]]
        number = np.bincount(owner, minlength=len(self.size))
        before = np.cumsum(number) - number
        result: IntArray = place[inverse] - before[self.block]
        return result

    def _slopes(self) -> list[IntArray]:
        """Codes of the distinct values of every column that is no intercept."""
        return [np.unique(column[self.order], return_inverse=True)[1]
                for group in self.data.groups if group.columns is not None
                for column in group.columns.T]

    def _patterns(self, keys: list[IntArray]) -> IntArray:
        """Of every block, a number that only blocks with the same rows have."""
        joint = keys[0]
        for key in keys[1:]:
            joint = pd.factorize(joint * (int(key.max()) + 1) + key)[0].astype(np.int64)
        pattern = np.empty(len(self.size), dtype=np.int64)
        seen = 0
        for size in np.unique(self.size):
            blocks = np.flatnonzero(self.size == size)
            rows = np.ascontiguousarray(joint[self.start[blocks][:, None] + np.arange(size)])
            alike = pd.factorize(rows.view(np.dtype((np.void, rows.itemsize * int(size))))
                                 .ravel().astype(object))[0] if size > 1 else (
                                     pd.factorize(rows.ravel())[0])
            pattern[blocks] = seen + alike
            seen += int(alike.max()) + 1
        return pattern

    def batches(self) -> list[Batch]:
        """Patterns of about the same shape together, filled up with effects of no rows."""
        number = np.bincount(self.pattern)
        example = np.empty(len(number), dtype=np.int64)
        example[self.pattern] = np.arange(len(self.pattern))
        shape = np.stack([_rounded(self._levels(local))[example]
                          for local in self.local.values()], axis=1)
        shapes, which = np.unique(shape, axis=0, return_inverse=True)
        which = which.ravel()
        return [self._batch(np.flatnonzero(which == index), levels, number, example)
                for index, levels in enumerate(shapes)]

    def _levels(self, local: IntArray) -> IntArray:
        """Levels of a term in every block."""
        most = np.zeros(len(self.size), dtype=np.int64)
        np.maximum.at(most, self.block, local + 1)
        return most

    def _batch(self, patterns: IntArray, levels: IntArray, number: IntArray, example: IntArray,
               ) -> Batch:
        data = self.data
        places, end = {}, 0
        for term, count in zip(self.local, levels.tolist(), strict=True):
            for effect in range(len(data.groups[term].effects)):
                places[term, effect] = slice(end, end + count)
                end += count
        to_pattern = np.full(len(number), -1)
        to_pattern[patterns] = np.arange(len(patterns))
        blocks = np.flatnonzero(to_pattern[self.pattern] >= 0)
        blocks = blocks[np.argsort(to_pattern[self.pattern[blocks]], kind="stable")]
        response = self._sums_of_response(blocks, places, end)
        counts = number[patterns]
        starts = np.cumsum(counts) - counts
        mean = np.add.reduceat(response, starts) / counts[:, None]
        response -= np.repeat(mean, counts, axis=0)
        spread = np.zeros((len(patterns), end, end))
        for pattern in np.flatnonzero(counts > 1):
            part = response[starts[pattern]:starts[pattern] + counts[pattern]]
            spread[pattern] = part.T @ part
        rows, effects = self._effects(example[patterns], places, end)
        gram = np.zeros((len(patterns), end, end))
        products = (effects @ effects.T).tocoo()
        gram[products.row // end, products.row % end, products.col % end] = products.data
        sums = np.concatenate([
            effects @ data.basis[data.cell[rows]], mean.reshape(-1, 1),
            (effects @ crossed_columns(data, self.division, rows)).toarray()], axis=1)
        sums = sums.reshape(len(patterns), end, -1) * np.sqrt(counts)[:, None, None]
        return Batch(counts.astype(np.float64), gram, sums, spread, places)

    def _members(self, blocks: IntArray) -> tuple[IntArray, IntArray]:
        """Rows of some blocks, in the sorted order, and which of the blocks each is in."""
        size = self.size[blocks]
        owner = np.repeat(np.arange(len(blocks)), size)
        within = np.arange(len(owner)) - np.repeat(np.cumsum(size) - size, size)
        return self.start[blocks][owner] + within, owner

    def _effects(self, blocks: IntArray, places: dict[tuple[int, int], slice], end: int,
                 ) -> tuple[IntArray, sparse.csr_matrix]:
        """Rows of some blocks, and ``Z'`` of these: an effect of a block per row."""
        members, owner = self._members(blocks)
        rows = self.order[members]
        entries, columns = [], []
        for (term, effect), place in places.items():
            columns.append(owner * end + place.start + self.local[term][members])
            entries.append(column_of(self.data.groups[term], effect, rows))
        made = sparse.coo_matrix(
            (np.concatenate(entries), (np.concatenate(columns),
                                       np.tile(np.arange(len(rows)), len(entries)))),
            shape=(len(blocks) * end, len(rows)))
        return rows, made.tocsr()

    def _sums_of_response(self, blocks: IntArray, places: dict[tuple[int, int], slice], end: int,
                          ) -> FloatArray:
        """``Z'y`` of every block, shape (blocks, q)."""
        members, owner = self._members(blocks)
        rows = self.order[members]
        residual = self.data.residual[rows]
        made = np.zeros(len(blocks) * end)
        for (term, effect), place in places.items():
            made += np.bincount(
                owner * end + place.start + self.local[term][members],
                weights=residual * column_of(self.data.groups[term], effect, rows),
                minlength=len(made))
        return made.reshape(len(blocks), end)


def column_of(group: Groups, effect: int, rows: IntArray) -> FloatArray:
    """Values of one effect of a term."""
    return np.ones(len(rows)) if group.columns is None else group.columns[rows, effect]


def crossed_columns(data: Sufficient, division: Division, rows: IntArray) -> sparse.csr_matrix:
    """``W``: the columns of the crossed effects, term by term, effect by effect."""
    parts = [sparse.csr_matrix((len(rows), 0))]
    for term in division.crossed:
        group = data.groups[term]
        parts += [sparse.csr_matrix(
            (column_of(group, effect, rows), (np.arange(len(rows)), group.codes[rows])),
            shape=(len(rows), group.size)) for effect in range(len(group.effects))]
    return sparse.hstack(parts, format="csr")


def _rounded(levels: IntArray) -> IntArray:
    """Numbers rounded up by at most a third, so that few differ."""
    steps = np.unique(np.concatenate([2**np.arange(12), 3 * 2**np.arange(11)]))
    result: IntArray = steps[np.searchsorted(steps, levels)]
    return result
