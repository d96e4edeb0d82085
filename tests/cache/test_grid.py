"""Masks on the grid: exact area, nothing vanishes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saltrust.cache import grid
from saltrust.cache.grid import mask_to_grid


def test_whole_blocks_are_exact() -> None:
    coarse = np.random.default_rng(0).random((8, 6)) < 0.4
    fine = np.kron(coarse, np.ones((5, 7), dtype=bool))
    assert np.array_equal(mask_to_grid(fine, (8, 6)), coarse)
    assert np.array_equal(mask_to_grid(coarse, (40, 42)), fine)


def test_half_covered_is_in_and_less_is_out() -> None:
    fine = np.zeros((4, 8), dtype=bool)
    fine[:, :6] = True
    fine[0, 6] = True
    assert mask_to_grid(fine, (1, 2)).tolist() == [[True, True]]
    fine[:, 4:] = False
    fine[:3, 4:6] = True
    assert mask_to_grid(fine, (1, 2)).tolist() == [[True, False]]


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 50), st.integers(2, 50), st.integers(1, 20), st.integers(1, 20),
       st.integers(0, 2**32 - 1))
def test_agrees_with_area_of_every_cell(height: int, width: int, rows: int, columns: int,
                                        seed: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    # Common multiples make every cell a whole number of pixels.
    fine = np.repeat(np.repeat(mask, rows, axis=0), columns, axis=1)
    share = fine.reshape(rows, height, columns, width).mean(axis=(1, 3))
    got = mask_to_grid(mask, (rows, columns))
    if (share >= 0.5).any():
        assert np.array_equal(got, share >= 0.5)
    else:
        assert got.any() == mask.any()


def test_columns_are_summed_in_parts_as_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = np.random.default_rng(0).random((37, 53)) < 0.4
    whole = mask_to_grid(mask, (11, 7))
    for pixels in (1, 37 * 5, 37 * 52):
        monkeypatch.setattr(grid, "_PIXELS_AT_ONCE", pixels)
        assert np.array_equal(mask_to_grid(mask, (11, 7)), whole)


def test_a_thin_line_survives() -> None:
    mask = np.zeros((400, 400), dtype=bool)
    mask[200, 35:345] = True
    got = mask_to_grid(mask, (20, 20))
    assert got.any(axis=1).tolist() == [i == 10 for i in range(20)]
    assert np.flatnonzero(got[10]).tolist() == list(range(2, 17))
