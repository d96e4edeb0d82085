"""Imputed parts against a dense system written out part by part, and against a Laplace field."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saltrust.generate.faithfulness import imputation
from saltrust.generate.faithfulness.imputation import impute


def written_out(plane: npt.NDArray[np.float64], removed: npt.NDArray[np.bool_]
                ) -> npt.NDArray[np.float64]:
    """One equation per part, known parts too, in a dense matrix."""
    height, width = plane.shape
    matrix, right = np.eye(plane.size), plane.ravel().copy()
    for y, x in np.argwhere(removed):
        row = np.zeros(plane.shape)
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                if (dy, dx) != (0, 0) and 0 <= y + dy < height and 0 <= x + dx < width:
                    row[y + dy, x + dx] = 1 / 6 if 0 in (dy, dx) else 1 / 12
        row /= -row.sum()
        row[y, x] = 1
        matrix[y * width + x], right[y * width + x] = row.ravel(), 0
    return np.linalg.solve(matrix, right).reshape(plane.shape)


@settings(deadline=None, derandomize=True, max_examples=25)
@given(st.integers(2, 9), st.integers(2, 9), st.floats(0.05, 0.98), st.integers(0, 10_000))
def test_parts_are_the_solution_of_the_equations(height: int, width: int, fraction: float,
                                                 seed: int) -> None:
    generator = np.random.default_rng(seed)
    plane = generator.random((height, width))
    removed = generator.random((3, height, width)) < fraction
    removed[:, generator.integers(height), generator.integers(width)] = False
    for steps in (None, 0, 3):
        result = impute(torch.from_numpy(plane), torch.from_numpy(removed), most_steps=steps)
        for got, mask in zip(result.numpy(), removed, strict=True):
            np.testing.assert_allclose(got, written_out(plane, mask), atol=2e-6)


def test_a_ramp_is_imputed_exactly_and_known_parts_stay() -> None:
    ramp = torch.linspace(0, 1, 40, dtype=torch.float64).expand(30, 40).contiguous()
    removed = torch.zeros(1, 30, 40, dtype=torch.bool)
    removed[0, 4:26, 3:37] = True
    result = impute(ramp, removed)
    # A plane solves Laplace's equation, and so does every part of it away from the border.
    assert float((result[0] - ramp).abs().max()) < 1e-5
    assert torch.equal(result[~removed], ramp[~removed[0]])


def test_it_is_bounded_and_finite_whatever_is_removed() -> None:
    generator = torch.Generator().manual_seed(3)
    plane = torch.rand(48, 48, generator=generator)
    removed = torch.ones(4, 48, 48, dtype=torch.bool)
    removed[0, 47, 47] = False
    removed[1, ::13, ::11] = False
    removed[3] = False
    result = impute(plane, removed)
    assert torch.isfinite(result).all()
    # One known part is all there is to know; without any it is the mean; with all, the plane.
    np.testing.assert_allclose(result[0].numpy(), float(plane[47, 47]), atol=1e-4)
    np.testing.assert_allclose(result[2].numpy(), float(plane.double().mean()), atol=1e-9)
    assert torch.equal(result[3], plane.double())
    assert plane.min() <= result.min()
    assert result.max() <= plane.max()


def test_a_plane_does_not_change_with_those_solved_beside_it() -> None:
    generator = torch.Generator().manual_seed(1)
    plane, removed = torch.rand(16, 16, generator=generator), torch.rand(
        5, 16, 16, generator=generator) < 0.7
    together = impute(plane, removed)
    alone = torch.cat([impute(plane, one[None]) for one in removed])
    np.testing.assert_allclose(together.numpy(), alone.numpy(), atol=1e-6)


def test_what_conjugate_gradients_leave_is_solved_directly(
        monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    direct = imputation._solve_directly
    monkeypatch.setattr(imputation, "_solve_directly",
                        lambda known, unknown: asked.append(1) or direct(known, unknown))
    plane, removed = torch.rand(6, 6), torch.rand(2, 6, 6) < 0.5
    impute(plane, removed)
    assert asked == []
    impute(plane, removed, most_steps=0)
    assert asked == [1, 1]
