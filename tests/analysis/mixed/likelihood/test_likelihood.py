"""Every way to the pieces of the likelihood against dense matrices."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from saltrust.analysis.mixed.design import FixedDesign, fixed_design
from saltrust.analysis.mixed.formula import parse
from saltrust.analysis.mixed.frame import ModelFrame, model_frame
from saltrust.analysis.mixed.likelihood import computation as ways
from saltrust.analysis.mixed.likelihood import reml
from saltrust.analysis.mixed.likelihood.block_elimination import BlockElimination
from saltrust.analysis.mixed.likelihood.blocks import divide
from saltrust.analysis.mixed.likelihood.nested import NestedSchurComplement, outer_factor
from saltrust.analysis.mixed.likelihood.pieces import Likelihood
from saltrust.analysis.mixed.likelihood.profile import profile
from saltrust.analysis.mixed.likelihood.schur_complement import SchurComplement
from saltrust.analysis.mixed.likelihood.sparse import SparseSchurComplement
from saltrust.analysis.mixed.likelihood.sufficient import Sufficient, sufficient


def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    n = 120
    return pd.DataFrame({
        "y": rng.normal(size=n) + 50, "a": rng.choice(list("xyz"), n), "x": rng.normal(size=n),
        "g": rng.integers(0, 25, n), "h": rng.integers(0, 7, n), "k": rng.integers(0, 5, n)})


def prepared(text: str) -> tuple[ModelFrame, FixedDesign, Sufficient]:
    formula = parse(f"y ~ {text}")
    frame = model_frame(table(), formula)
    design = fixed_design(frame, formula)
    return frame, design, sufficient(frame, design)


def nested(data: Sufficient) -> Likelihood:
    outer = outer_factor(data)
    assert outer is not None
    return NestedSchurComplement(data, outer)


def blocks(data: Sufficient) -> Likelihood:
    division = divide(data)
    assert division is not None
    return BlockElimination(data, division)


def with_sparse_products(data: Sufficient) -> Likelihood:
    way = SchurComplement(data)
    way.sparse = True
    way.shared = sparse.csr_array(way.shared)
    way.gram_others = sparse.csr_array(way.gram_others)
    return way


CASES: list[tuple[str, list[float], Callable[[Sufficient], Likelihood]]] = [
    ("a + (1|g)", [0.7], ways.SingleIntercept),
    ("a*x + (1|g)", [0.0], ways.SingleIntercept),
    ("a + (1|g) + (1|h)", [0.5, 1.2], SchurComplement),
    ("a + (1|g) + (1|h)", [0.5, 1.2], SparseSchurComplement),
    ("a + x + (1|g) + (1|h) + (1|k)", [0.0, 0.3, 2.0], SchurComplement),
    ("a + x + (1|g) + (1|h) + (1|k)", [0.0, 0.3, 2.0], SparseSchurComplement),
    ("a + x + (1|g) + (1|h) + (1|k)", [0.4, 0.3, 0.0], with_sparse_products),
    ("a + (1|g/h)", [0.5, 0.0], SchurComplement),
    ("a + (1|g/h)", [0.5, 0.0], SparseSchurComplement),
    ("a + (1|g/h)", [0.5, 0.0], nested),
    ("1 + (1|g/h)", [0.0, 0.4], nested),
    ("x + (1|g/h) + (1|k)", [0.4, 0.2, 0.9], nested),
    ("a + (1|k) + (1|k:h) + (1|g)", [0.2, 0.6, 0.9], nested),
    ("a + (1|g)", [0.7], blocks),
    ("a + (1|g/h)", [0.5, 0.0], blocks),
    ("a + x + (1|g) + (1|h)", [0.5, 1.2], blocks),
    ("a + (1|g/h) + (1|k) + (1|k:a)", [0.4, 0.2, 0.0, 0.9], blocks),
]


@pytest.mark.parametrize(("text", "ratios", "way"), CASES)
def test_pieces_and_derivatives_equal_those_of_dense_matrices(
        text: str, ratios: list[float], way: Callable[[Sufficient], Likelihood]) -> None:
    frame, design, data = prepared(text)
    basis = design.basis[design.cell]
    rest = (frame.response - basis @ data.least_squares) / data.scale
    both = np.column_stack([basis, rest])
    grams = [np.equal.outer(group.codes, group.codes).astype(float) for group in frame.groups]
    covariance = np.eye(frame.n) + sum(r * g for r, g in zip(ratios, grams, strict=True))
    inverse = np.linalg.inv(covariance)
    pieces = way(data)(np.array(ratios))

    assert pieces.log_det == pytest.approx(np.linalg.slogdet(covariance)[1], abs=1e-10)
    np.testing.assert_allclose(pieces.form, both.T @ inverse @ both, atol=1e-9)
    for j, one in enumerate(grams):
        left = inverse @ one @ inverse
        assert pieces.log_det_1[j] == pytest.approx(np.trace(inverse @ one), rel=1e-10)
        np.testing.assert_allclose(pieces.form_1[j], -both.T @ left @ both, atol=1e-9)
        for k, two in enumerate(grams):
            assert pieces.log_det_2[j, k] == pytest.approx(-np.trace(left @ two), rel=1e-9)
            symmetric = left @ two @ inverse
            np.testing.assert_allclose(pieces.form_2[j, k],
                                       both.T @ (symmetric + symmetric.T) @ both, atol=1e-9)


@pytest.mark.parametrize("restricted", [True, False])
def test_the_profiled_deviance_has_the_derivatives_it_says(restricted: bool) -> None:
    _, _, data = prepared("a + x + (1|g) + (1|h)")
    evaluate = ways.likelihood(data)
    at = np.array([0.4, 0.7])
    here = profile(data, evaluate, at, reml=restricted)
    step = 1e-4
    for j in range(2):
        move = np.eye(2)[j] * step
        up = profile(data, evaluate, at + move, reml=restricted)
        down = profile(data, evaluate, at - move, reml=restricted)
        assert here.gradient[j] == pytest.approx((up.deviance - down.deviance) / (2 * step),
                                                 rel=1e-6)
        np.testing.assert_allclose(here.hessian[j], (up.gradient - down.gradient) / (2 * step),
                                   rtol=1e-6)


def test_the_way_is_chosen_by_size_and_nesting(monkeypatch: pytest.MonkeyPatch) -> None:
    crossed, within = prepared("a + (1|g) + (1|h)")[2], prepared("a + (1|g/h)")[2]
    assert isinstance(ways.likelihood(crossed), SchurComplement)
    monkeypatch.setattr(ways, "DENSE_LEVELS", 3)
    assert isinstance(ways.likelihood(within), NestedSchurComplement)
    # Every two of the 7 levels share rows: a sparse system would fill up.
    assert isinstance(ways.likelihood(crossed), SchurComplement)
    monkeypatch.setattr(ways, "LARGEST_DENSE", 3)
    assert isinstance(ways.likelihood(crossed), SparseSchurComplement)
    monkeypatch.setattr(ways, "FEW_LEVELS", 3)
    readers = prepared("a + (1|g) + (1|g:h) + (1|k) + (1|g:k)")[2]
    assert isinstance(ways.likelihood(readers), BlockElimination)


def study_of_readers(kept: float) -> tuple[pd.DataFrame, Sufficient]:
    rng = np.random.default_rng(3)
    image, reader, explainer = (axis.ravel() for axis in np.meshgrid(
        np.arange(60), np.arange(3), np.arange(4), indexing="ij"))
    rows = pd.DataFrame({"image": image, "reader": reader, "explainer": explainer,
                         "y": rng.normal(size=60)[image] + rng.normal(size=3)[reader]
                         + rng.normal(size=(60, 4))[image, explainer] + rng.normal(size=720)})
    rows = rows[rng.random(720) < kept].sample(frac=1.0, random_state=1)
    formula = parse("y ~ factor(explainer) + (1|image) + (1|reader) + (1|image:reader)"
                    " + (1|image:explainer) + (1|reader:explainer)")
    frame = model_frame(rows, formula)
    return rows, sufficient(frame, fixed_design(frame, formula))


@pytest.mark.parametrize("kept", [1.0, 0.95])
def test_images_that_are_read_alike_are_one_block(kept: float) -> None:
    rows, data = study_of_readers(kept)
    by_blocks, dense = blocks(data), SchurComplement(data)
    assert isinstance(by_blocks, BlockElimination)
    readings = (10 * rows["reader"] + rows["explainer"]).groupby(rows["image"]).agg(frozenset)
    assert sum(len(batch.number) for batch in by_blocks.batches) == readings.nunique()
    at = np.array([0.9, 0.2, 0.5, 0.0, 1.5])
    one, two = by_blocks(at), dense(at)
    for name in ("log_det", "log_det_1", "log_det_2", "form", "form_1", "form_2"):
        np.testing.assert_allclose(getattr(one, name), getattr(two, name), rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("text", ["a + (1|g) + (1|h)", "a + (1|g/h)", "a + (1|g/h) + (1|k)"])
def test_all_ways_reach_the_same_optimum(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = prepared(text)[2]
    dense = reml.fit(data)
    monkeypatch.setattr(ways, "DENSE_LEVELS", 3)
    monkeypatch.setattr(ways, "LARGEST_DENSE", 3)
    other = reml.fit(data)
    assert other.deviance == pytest.approx(dense.deviance, abs=1e-9)
    np.testing.assert_allclose(other.ratios, dense.ratios, rtol=1e-7, atol=1e-9)
