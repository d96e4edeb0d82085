"""Model matrices and frames: columns as R builds them, complete rows, levels in order."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from saltrust.analysis.mixed.design import coding, fixed_design
from saltrust.analysis.mixed.formula import parse
from saltrust.analysis.mixed.frame import model_frame

LEVELS = {"a": ("p", "q", "r"), "b": ("u", "v")}


@pytest.mark.parametrize(("terms", "names"), [
    ("a", ["(Intercept)", "aq", "ar"]),
    ("a + x", ["(Intercept)", "aq", "ar", "x"]),
    ("a*b", ["(Intercept)", "aq", "ar", "bv", "aq:bv", "ar:bv"]),
    ("a:b", ["(Intercept)", "ap:bu", "aq:bu", "ar:bu", "ap:bv", "aq:bv", "ar:bv"]),
    ("a + a:b", ["(Intercept)", "aq", "ar", "ap:bv", "aq:bv", "ar:bv"]),
    ("b + a:b", ["(Intercept)", "bv", "bu:aq", "bv:aq", "bu:ar", "bv:ar"]),
    ("0 + a + b", ["ap", "aq", "ar", "bv"]),
    ("a:x", ["(Intercept)", "ap:x", "aq:x", "ar:x"]),
    ("a*x", ["(Intercept)", "aq", "ar", "x", "aq:x", "ar:x"]),
    ("x*z", ["(Intercept)", "x", "z", "x:z"]),
])
def test_columns_are_those_of_model_matrix(terms: str, names: list[str]) -> None:
    assert coding(parse(f"y ~ {terms} + (1|g)"), LEVELS).names() == names


def test_rows_of_an_interaction_with_a_covariate() -> None:
    code = coding(parse("y ~ a*x + (1|g)"), LEVELS)
    values = {"a": np.array([0, 1, 2]), "x": np.array([2.0, 3.0, 5.0])}
    np.testing.assert_array_equal(code.matrix(values, 3), [
        [1, 0, 0, 2, 0, 0], [1, 1, 0, 3, 3, 0], [1, 0, 1, 5, 0, 5]])


def test_the_basis_is_orthonormal_and_spans_the_kept_columns(scores: pd.DataFrame) -> None:
    formula = parse("auprc ~ explainer*age + (1|image)")
    frame = model_frame(scores, formula)
    design = fixed_design(frame, formula)
    basis = design.basis[design.cell]
    np.testing.assert_allclose(basis.T @ basis, np.eye(6), atol=1e-13)
    columns = design.coding.matrix({"explainer": frame.factors["explainer"].codes,
                                    "age": frame.covariates["age"]}, frame.n)
    np.testing.assert_allclose(basis @ design.triangle, columns, atol=1e-11)


def test_dependent_columns_are_dropped_and_say_what_is_estimable() -> None:
    table = pd.DataFrame({"y": np.arange(12.0), "a": ["p", "p", "q", "q"] * 3,
                          "b": ["u", "v", "u", "u"] * 3, "g": np.repeat([1, 2, 3], 4)})
    formula = parse("y ~ a*b + (1|g)")
    design = fixed_design(model_frame(table, formula), formula)
    assert design.names == ["(Intercept)", "aq", "bv"]
    assert design.dropped == ["aq:bv"]
    mean_of_p, mean_of_q = [1, 0, 0.5, 0], [1, 1, 0.5, 0.5]
    assert design.estimable(np.array([mean_of_p, mean_of_q])).tolist() == [True, False]


def test_levels_keep_the_order_of_first_appearance_and_look_like_the_file() -> None:
    table = pd.DataFrame({"y": [1.0, 2, 3, 4, 5, 6], "day": ["10", "9", "10", "9", "1", "1"],
                          "g": ["b", "a"] * 3})
    frame = model_frame(table, parse("y ~ day + (1|g)"), categorical=["day"])
    assert frame.factors["day"].levels == ("10", "9", "1")
    assert "day" in model_frame(table, parse("y ~ day + (1|g)")).covariates


def test_numbers_that_group_or_stand_in_factor_are_categorical() -> None:
    table = pd.DataFrame({"y": np.arange(8.0), "g": [1.0, 1, 2, 2, 3, 3, 4, 4],
                          "day": [0.5, 2] * 4})
    frame = model_frame(table, parse("y ~ factor(day) + (1|g)"))
    assert frame.factors["day"].levels == ("0.5", "2")
    assert frame.groups[0].size == 4


def test_incomplete_rows_are_dropped_and_counted_by_column() -> None:
    table = pd.DataFrame({"y": [1.0, None, 3, 4, 5, 6, 7],
                          "a": ["p", "q", None, "q", "p", "q", "z"],
                          "g": [1, 1, 1, 2, 2, 2, None], "unused": None})
    frame = model_frame(table, parse("y ~ a + (1|g)"))
    assert (frame.n, frame.rows_read) == (4, 7)
    assert frame.missing == {"y": 1, "a": 1, "g": 1}
    # A level without complete rows is gone; the others keep their order.
    assert frame.factors["a"].levels == ("p", "q")


def test_groups_of_several_columns_are_the_combinations_that_occur() -> None:
    table = pd.DataFrame({"y": np.arange(8.0), "p": [1, 1, 1, 1, 2, 2, 2, 2],
                          "i": [1, 1, 2, 2, 1, 1, 1, 1]})
    inner, outer = model_frame(table, parse("y ~ 1 + (1|p/i)")).groups
    assert (inner.name, inner.size, outer.name, outer.size) == ("i:p", 3, "p", 2)
    assert inner.codes.tolist() == [0, 0, 1, 1, 2, 2, 2, 2]


@pytest.mark.parametrize("kind", ["string", "category", "object"])
def test_pandas_column_types_give_the_same_frame(scores: pd.DataFrame, kind: str) -> None:
    formula = parse("auprc ~ explainer + (1|image)")
    plain = model_frame(scores, formula)
    typed = model_frame(scores.astype({"explainer": kind, "image": kind}), formula)
    assert typed.factors["explainer"].levels == plain.factors["explainer"].levels
    np.testing.assert_array_equal(typed.groups[0].codes, plain.groups[0].codes)


def test_a_response_of_hits_may_be_boolean(scores: pd.DataFrame) -> None:
    hits = scores.assign(hit=scores["auprc"] > 0.35)
    frame = model_frame(hits, parse("hit ~ explainer + (1|image)"))
    assert set(frame.response) == {0.0, 1.0}
