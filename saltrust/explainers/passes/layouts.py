"""How the values of a layer lie on the image: planes, channels last, tokens, windows.

Class activation maps are made from planes (B, C, h, w).  Networks also hand on

- ``channels last``: (B, h, w, C);
- ``tokens``: (B, N, C), the patches of the image row by row, with class, distillation or register
  tokens before them or after;
- ``channels first``: (B, C, N), tokens turned round, as between the parts of a mixer;
- ``sequence first``: (N, B, C), tokens of attention with ``batch_first=False``;
- ``windows``: (B * windows, N, C), the tokens of each window, shifted or not;
- ``unrolled``: (B, N, C), where of each 2 x 2 block the first patches come first, then the second
  (Hiera).

A :class:`Layout` takes a plane out of such a tensor and puts it back, so that the gradient of a
plane is that of the layer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["plane", "channels last", "tokens", "channels first", "sequence first", "windows",
               "unrolled"]
Grid = tuple[int, int]

# Tokens that stand for no patch: class, distillation, registers; published networks have up to 9.
_MOST_EXTRA_TOKENS = 16
_MOST_FOLDS = 4


@dataclass(frozen=True)
class Layout:
    """Where the values of a layer lie.

    Attributes
    ----------
    kind : str
        See the module's docstring.
    grid : (int, int)
        Height and width of the plane.
    before : int
        Tokens before the patches; what is left over follows them.
    window : (int, int)
        Height and width of a window, of ``windows``.
    shift : (int, int)
        Rows and columns by which the image was rolled up and left before it was cut into windows.
    folds : int
        How often the patches were sorted by their place in 2 x 2 blocks, of ``unrolled``.
    """

    kind: Kind
    grid: Grid
    before: int = 0
    window: Grid = (1, 1)
    shift: tuple[int, int] = (0, 0)
    folds: int = 0

    def __str__(self) -> str:
        height, width = self.grid
        text = f"{self.kind}, {height} x {width}"
        if self.before:
            text += f" after {self.before}"
        if self.kind == "windows":
            text += f" in windows of {self.window[0]} x {self.window[1]}"
        return text

    @property
    def positions(self) -> int:
        """How many places of the image there are."""
        return self.grid[0] * self.grid[1]

    def plane(self, values: Tensor) -> Tensor:
        """The plane in what a layer returned.

        Parameters
        ----------
        values : Tensor
            As the layer returned it.

        Returns
        -------
        Tensor, shape (B, C, h, w)
            ``values`` itself where it is a plane, else a tensor that depends on it.
        """
        if self.kind == "plane":
            return values
        tokens = self._tokens(values)[:, self.before:self.before + self.positions]
        shape, order = self._split(len(tokens), tokens.shape[2])
        plane = tokens.reshape(shape).permute(order).reshape(len(tokens), -1, *self.grid)
        return plane.roll(self.shift, (2, 3)) if any(self.shift) else plane

    def values(self, plane: Tensor, like: Tensor) -> Tensor:
        """What a layer would have returned with another plane.

        Parameters
        ----------
        plane : Tensor, shape (B, C, h, w)
        like : Tensor
            What it returned; gives the shape, and the tokens that are no patches.

        Returns
        -------
        Tensor, shape of ``like``
        """
        if self.kind == "plane":
            return plane
        back = (-self.shift[0], -self.shift[1])
        plane = plane.roll(back, (2, 3)) if any(self.shift) else plane
        shape, order = self._split(len(plane), plane.shape[1])
        permuted = plane.reshape([shape[axis] for axis in order])
        inverse = [order.index(axis) for axis in range(len(order))]
        tokens = permuted.permute(inverse).reshape(len(plane), self.positions, -1)
        others = self._tokens(like)
        if others.shape[1] > self.positions:
            tokens = torch.cat([others[:, :self.before], tokens,
                                others[:, self.before + self.positions:]], dim=1)
        if self.kind == "channels first":
            return tokens.transpose(1, 2)
        return tokens.transpose(0, 1) if self.kind == "sequence first" else tokens.reshape(
            like.shape)

    def _tokens(self, values: Tensor) -> Tensor:
        """The values as (B, N, C)."""
        if self.kind == "channels last":
            return values.flatten(1, 2)
        if self.kind == "channels first":
            return values.transpose(1, 2)
        if self.kind == "sequence first":
            return values.transpose(0, 1)
        if self.kind == "windows":
            return values.reshape(-1, self.positions, values.shape[-1])
        return values

    def _split(self, images: int, channels: int) -> tuple[list[int], list[int]]:
        """Shape in which tokens show rows and columns, and the order that makes a plane."""
        height, width = self.grid
        if self.kind == "windows":
            rows, columns = self.window
            return ([images, height // rows, width // columns, rows, columns, channels],
                    [0, 5, 1, 3, 2, 4])
        k = self.folds
        scale = 2 ** k
        shape = [images, *[2] * (2 * k), height // scale, width // scale, channels]
        vertical = [2 * k + 1, *range(2 * k - 1, 0, -2)]
        horizontal = [2 * k + 2, *range(2 * k, 1, -2)]
        return shape, [0, 2 * k + 3, *vertical, *horizontal]


@dataclass(frozen=True)
class FeatureLayer:
    """A layer whose values can be brought to a plane.

    Attributes
    ----------
    name : str
        Dotted name of the submodule.
    call : int
        Which of its calls in a forward pass, from 0.
    channels : int
    layout : Layout
    tokens : int
        How many there are, those included that are no patches; 0 where values are no tokens.
    """

    name: str
    call: int
    channels: int
    layout: Layout
    tokens: int = 0

    def __str__(self) -> str:
        return f"{self.name} ({self.layout}, {self.channels} channels)"


def possible_layouts(shape: Sequence[int], images: int, size: Grid, grids: Sequence[Grid],
                     before: int) -> Iterator[Layout]:
    """Layouts that a tensor may have by its shape, the likeliest first.

    Parameters
    ----------
    shape : sequence of int
        Of the tensor.
    images : int
        How many went through the network.
    size : (int, int)
        Height and width of the images.
    grids : sequence of (int, int)
        Heights and widths of planes that are known in this network.
    before : int
        How many tokens before the patches the network states; 0 where it states none.
    """
    if len(shape) == 4 and shape[0] == images:
        if shape[2] * shape[3] > 1:
            yield Layout("plane", (shape[2], shape[3]))
        if shape[1] * shape[2] > 1 and _similar((shape[1], shape[2]), size):
            yield Layout("channels last", (shape[1], shape[2]))
    if len(shape) != 3:
        return
    if shape[0] == images:
        for grid, extra in _token_grids(shape[1], size, grids, before):
            yield from (Layout("tokens", grid, first) for first in dict.fromkeys((extra, 0)))
        for grid, extra in _token_grids(shape[2], size, grids, before):
            yield from (Layout("channels first", grid, first)
                        for first in dict.fromkeys((extra, 0)))
        for grid, extra in _token_grids(shape[1], size, grids, before):
            if extra == 0:
                yield from (Layout("unrolled", grid, folds=folds)
                            for folds in range(1, _MOST_FOLDS + 1)
                            if not (grid[0] % 2 ** folds or grid[1] % 2 ** folds))
    elif shape[1] == images:
        for grid, extra in _token_grids(shape[0], size, grids, before):
            yield from (Layout("sequence first", grid, first)
                        for first in dict.fromkeys((extra, 0)))
    elif shape[0] % images == 0:
        yield from _window_layouts(shape[0] // images, shape[1], size)


def _token_grids(tokens: int, size: Grid, grids: Sequence[Grid],
                 before: int) -> list[tuple[Grid, int]]:
    """Grids that so many tokens may stand for, with the number of tokens that are no patches."""
    possible = [(grid, extra) for extra in range(min(_MOST_EXTRA_TOKENS, tokens - 2) + 1)
                for grid in _grids_of(tokens - extra, size)]
    # So many tokens have come from that plane before.
    possible = [item for item in possible if item[0] in grids] or possible
    return sorted(possible, key=lambda item: (item[1] != before, item[0] not in grids, item[1]))


@cache
def _grids_of(places: int, size: Grid) -> tuple[Grid, ...]:
    return tuple((height, places // height) for height in range(1, places + 1)
                 if places % height == 0 and _similar((height, places // height), size))


def _window_layouts(windows: int, tokens: int, size: Grid) -> Iterator[Layout]:
    side = math.isqrt(tokens)
    if side * side != tokens or side == 1 or windows == 1:
        return
    for rows in range(1, windows + 1):
        grid = (rows * side, windows // rows * side)
        if windows % rows == 0 and _similar((rows, windows // rows), size):
            half = side // 2
            for shift in dict.fromkeys(((0, 0), (half, half), (half, 0), (0, half))):
                yield Layout("windows", grid, window=(side, side), shift=shift)


def _similar(grid: Grid, size: Grid) -> bool:
    """Whether a grid has the proportions of the images, but for rounding by one row or column."""
    (height, width), (rows, columns) = grid, size
    if rows == columns:
        return height == width
    return abs(height * columns - width * rows) <= max(rows, columns)
