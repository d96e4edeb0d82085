"""Least squares and CR2 errors: R, statsmodels, exact fractions, dense formulas, hard cases."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from saltrust.analysis.inference.clustered import clustered_mean, cr2
from saltrust.analysis.inference.estimate import Estimate, estimates_table
from saltrust.analysis.inference.linear import least_squares, simple_regression
from saltrust.analysis.result import ESTIMATE_COLUMNS
from saltrust.errors import DataError, UsageError

REFERENCE = Path(__file__).parents[2] / "reference" / "linear"
GOLDEN = json.loads((REFERENCE / "golden.json").read_text(encoding="utf-8"))
FIELDS = ("estimate", "std_error", "statistic", "p_value", "conf_low", "conf_high", "df",
          "r_squared")


def table(name: str) -> pd.DataFrame:
    return pd.read_csv(REFERENCE / f"{name}.csv")


def dummies(labels: pd.Series) -> np.ndarray:
    return pd.get_dummies(labels).to_numpy(dtype=float)


@pytest.mark.parametrize("name", GOLDEN["tables"])
def test_agrees_with_r(name: str) -> None:
    rows, golden = table(name), GOLDEN["tables"][name]
    plain = simple_regression(rows["x"], rows["y"])
    fixed = simple_regression(rows["x"], rows["y"], groups=rows["group"])
    assert plain.n == golden["n"]
    for field in FIELDS:
        assert getattr(plain, field) == pytest.approx(golden["simple"][field], rel=1e-10), field
        assert getattr(fixed, field) == pytest.approx(golden["fixed_effects"][field],
                                                      rel=1e-10), field


@pytest.mark.parametrize("name", GOLDEN["tables"])
def test_cr2_agrees_with_r(name: str) -> None:
    rows, golden = table(name), GOLDEN["tables"][name]
    x = rows["x"].to_numpy() - rows["x"].mean()
    for intercepts, key in ((np.ones((len(x), 1)), "cr2_std_error"),
                            (dummies(rows["group"]), "cr2_std_error_fixed")):
        design = np.column_stack([intercepts, x])
        fit = least_squares(design, rows["y"])
        assert fit is not None
        robust = cr2(design, fit, rows["patient"].to_numpy())
        assert robust.std_error == pytest.approx(golden[key], rel=1e-9)
        assert robust.clusters == rows["patient"].nunique()


@given(st.integers(4, 60), st.integers(0, 10_000), st.floats(0.5, 0.999))
@settings(deadline=None, max_examples=40)
def test_agrees_with_statsmodels(n: int, seed: int, confidence_level: float) -> None:
    generator = np.random.default_rng(seed)
    x, y = generator.normal(size=(2, n))
    slope = simple_regression(x, y, confidence_level=confidence_level)
    peer = sm.OLS(y, sm.add_constant(x)).fit()
    assert slope.estimate == pytest.approx(peer.params[1], rel=1e-9, abs=1e-12)
    assert slope.std_error == pytest.approx(peer.bse[1], rel=1e-10)
    assert slope.p_value == pytest.approx(peer.pvalues[1], rel=1e-8)
    assert slope.r_squared == pytest.approx(peer.rsquared, abs=1e-10)
    low, high = peer.conf_int(alpha=1 - confidence_level)[1]
    assert (slope.conf_low, slope.conf_high) == pytest.approx((low, high), rel=1e-9, abs=1e-12)


def test_several_columns_agree_with_statsmodels() -> None:
    generator = np.random.default_rng(4)
    design = np.column_stack([np.ones(30), generator.normal(size=(30, 3))])
    y = generator.normal(size=30)
    fit = least_squares(design, y)
    peer = sm.OLS(y, design).fit()
    assert fit is not None
    np.testing.assert_allclose(fit.coefficients, peer.params, rtol=1e-10)
    np.testing.assert_allclose(fit.std_errors, peer.bse, rtol=1e-10)


def test_a_large_offset_costs_no_digits() -> None:
    generator = np.random.default_rng(0)
    x = 1e8 + np.round(generator.uniform(0, 4, 25), 3)
    y = generator.normal(size=25)
    exact_x, exact_y = [Fraction(v) for v in x.tolist()], [Fraction(v) for v in y.tolist()]
    mean_x, mean_y = sum(exact_x) / 25, sum(exact_y) / 25
    slope = (sum((a - mean_x) * (b - mean_y) for a, b in zip(exact_x, exact_y, strict=True))
             / sum((a - mean_x) ** 2 for a in exact_x))
    assert simple_regression(x, y).estimate == pytest.approx(float(slope), rel=1e-11)


def test_fixed_effects_are_the_within_regression() -> None:
    generator = np.random.default_rng(2)
    groups = np.repeat([0, 1, 2], [5, 9, 20])
    x = generator.normal(size=34) + 3.0 * groups
    y = 0.7 * x - 5.0 * groups + 0.1 * generator.normal(size=34)
    slope = simple_regression(x, y, groups=groups)
    assert slope.estimate == pytest.approx(0.7, abs=0.1)
    assert simple_regression(x, y).estimate < 0
    demeaned = [v - pd.Series(v).groupby(groups).transform("mean").to_numpy() for v in (x, y)]
    assert slope.estimate == pytest.approx(np.dot(*demeaned) / np.dot(demeaned[0], demeaned[0]))
    assert slope.df == 34 - 3 - 1


def test_intervals_cover_the_true_slope() -> None:
    generator = np.random.default_rng(8)
    x = generator.uniform(size=12)
    covered = 0
    for _ in range(500):
        slope = simple_regression(x, 0.3 + 2 * x + generator.normal(size=12), confidence_level=0.9)
        covered += slope.conf_low <= 2 <= slope.conf_high
    assert 0.87 <= covered / 500 <= 0.93


@pytest.mark.parametrize(("x", "y", "note"), [
    ([], [], "no rows: at least 3 are needed"),
    ([1], [2], "1 row: at least 3 are needed"),
    ([1, 2], [2, 5], "2 rows: at least 3 are needed"),
    ([1, 1, 1], [2, 5, 6], "the regressor is constant"),
    ([0.1, 0.1, np.nextafter(0.1, 1)], [2, 5, 6], "the regressor is constant"),
])
def test_what_cannot_be_fitted_says_why(x: list[float], y: list[float], note: str) -> None:
    slope = simple_regression(x, y)
    assert (slope.n, slope.note) == (len(x), note)
    assert all(math.isnan(getattr(slope, field)) for field in FIELDS)


def test_no_residual_variation_gives_an_estimate_without_a_test() -> None:
    line = simple_regression([0, 1, 2, 3], [0.1, 0.3, 0.5, 0.7])
    assert line.estimate == pytest.approx(0.2, abs=1e-15)
    assert (line.std_error, line.note) == (0.0, "perfect fit: no test")
    assert math.isnan(line.p_value)
    flat = simple_regression([0, 1, 2, 3], [0.1] * 4)
    assert (flat.estimate, flat.note) == (0.0, "the response is constant: no test")
    assert math.isnan(flat.p_value)


def test_groups_of_one_value_have_no_slope() -> None:
    slope = simple_regression([1, 1, 2, 2], [1, 2, 3, 5], groups=list("aabb"))
    assert slope.note == "the regressor is constant within every group"
    flat = simple_regression([1, 2, 1, 2], [1, 1, 2, 2], groups=list("aabb"))
    assert flat.note == "the response is constant within every group: no test"
    few = simple_regression([1, 2, 3], [1, 3, 2], groups=list("aab"))
    assert few.note == "3 rows: at least 4 are needed with 2 fixed effects"


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), max_size=12))
@settings(deadline=None, max_examples=50)
def test_any_input_gives_an_estimate_or_a_note(pairs: list[tuple[float, float]]) -> None:
    x, y = [a for a, _ in pairs], [b for _, b in pairs]
    slope = simple_regression(x, y)
    assert slope.note or (slope.conf_low <= slope.estimate <= slope.conf_high
                          and 0 <= slope.p_value <= 1)


@given(st.integers(0, 10_000), st.floats(0.01, 100), st.floats(-50, 50))
@settings(deadline=None, max_examples=30)
def test_scale_and_shift_of_the_regressor(seed: int, scale: float, shift: float) -> None:
    x, y = np.random.default_rng(seed).normal(size=(2, 15))
    first, second = simple_regression(x, y), simple_regression(shift + scale * x, y)
    assert second.estimate * scale == pytest.approx(first.estimate, rel=1e-8, abs=1e-10)
    assert second.p_value == pytest.approx(first.p_value, rel=1e-7)


def test_single_rows_as_clusters_are_hc2() -> None:
    generator = np.random.default_rng(3)
    design = np.column_stack([np.ones(25), generator.exponential(size=25)])
    y = design[:, 1] * (1 + generator.normal(size=25))
    fit = least_squares(design, y)
    assert fit is not None
    peer = sm.OLS(y, design).fit(cov_type="HC2")
    assert cr2(design, fit, np.arange(25)).std_error == pytest.approx(peer.bse[1], rel=1e-10)


def test_cr2_is_its_dense_formula() -> None:
    generator = np.random.default_rng(6)
    clusters = np.sort(generator.integers(0, 9, 40))
    design = np.column_stack([np.ones(40), generator.normal(size=40) + 0.3 * clusters])
    y = generator.normal(size=9)[clusters] + generator.normal(size=40)
    fit = least_squares(design, y)
    assert fit is not None
    inverse = np.linalg.inv(design.T @ design)
    residual_maker = np.eye(40) - design @ inverse @ design.T
    columns, total = [], 0.0
    for cluster in range(9):
        rows = np.flatnonzero(clusters == cluster)
        values, vectors = np.linalg.eigh(residual_maker[np.ix_(rows, rows)])
        adjust = (vectors / np.sqrt(values)) @ vectors.T
        weights = adjust @ design[rows] @ inverse[:, 1]
        total += (weights @ fit.residuals[rows]) ** 2
        columns.append(residual_maker[:, rows] @ weights)
    cross = np.array(columns) @ np.array(columns).T
    robust = cr2(design, fit, clusters)
    assert robust.std_error == pytest.approx(np.sqrt(total), rel=1e-10)
    assert robust.df == pytest.approx(np.trace(cross) ** 2 / (cross**2).sum(), rel=1e-10)


def test_cr2_holds_its_level_where_classical_errors_do_not() -> None:
    generator = np.random.default_rng(10)
    clusters = np.repeat(np.arange(12), 5)
    x = np.repeat(generator.normal(size=12), 5)
    design = np.column_stack([np.ones(60), x])
    robust = classical = 0
    for _ in range(400):
        y = np.repeat(generator.normal(size=12), 5) + 0.5 * generator.normal(size=60)
        fit = least_squares(design, y)
        assert fit is not None
        robust += cr2(design, fit, clusters).p_value < 0.05
        classical += simple_regression(x, y).p_value < 0.05
    assert robust / 400 < 0.09
    assert classical / 400 > 0.25


def test_cr2_without_two_clusters_or_residuals_is_missing() -> None:
    design = np.column_stack([np.ones(4), np.arange(4.0)])
    fit = least_squares(design, [0.0, 1.0, 1.5, 3.0])
    line = least_squares(design, [0.0, 1.0, 2.0, 3.0])
    assert fit is not None
    assert line is not None
    assert math.isnan(cr2(design, fit, ["p"] * 4).std_error)
    assert math.isnan(cr2(design, line, list("abcd")).std_error)
    # Cluster b alone settles the slope: it has no residual along it, and nothing divides by 0.
    alone = np.column_stack([np.ones(4), [0.0, 0.0, 0.0, 1.0]])
    settled = least_squares(alone, [1.0, 2.0, 4.0, 3.0])
    assert settled is not None
    assert math.isfinite(cr2(alone, settled, list("aacb")).std_error)


def test_dependent_columns_have_no_fit() -> None:
    assert least_squares([[1, 2, 3], [1, 3, 4], [1, 5, 6], [1, 8, 9]], [1, 2, 3, 4]) is None
    assert least_squares([[1.0, 2.0]], [1.0]) is None


def test_wrong_input_is_refused() -> None:
    with pytest.raises(DataError, match="finite"):
        simple_regression([1, 2, 3, float("nan")], [1, 2, 3, 4])
    with pytest.raises(DataError, match="one regressor per value"):
        simple_regression([1, 2, 3], [1, 2])
    with pytest.raises(DataError, match="one row per value"):
        least_squares([[1.0], [2.0]], [1.0])
    with pytest.raises(DataError, match="2 group labels were given for 3 rows"):
        simple_regression([1, 2, 3], [1, 2, 3], groups=["a", "b"])
    with pytest.raises(UsageError, match=r"confidence_level = 1\.5"):
        simple_regression([1, 2, 3], [1, 2, 4], confidence_level=1.5)
    fit = least_squares([[1.0, 0.0], [1.0, 1.0], [1.0, 3.0]], [1.0, 2.0, 2.5])
    assert fit is not None
    with pytest.raises(DataError, match="2 cluster labels were given for 3 rows"):
        cr2([[1.0, 0.0], [1.0, 1.0], [1.0, 3.0]], fit, ["a", "b"])


def test_rows_carry_the_uniform_columns() -> None:
    row = {"scheme": "iou", **Estimate(estimate=1.0, n=5).row("slope"), "extra": 2}
    table = estimates_table([row], ["scheme"], ["extra"])
    assert list(table.columns) == ["scheme", *ESTIMATE_COLUMNS, "extra"]
    assert table["n"].dtype == "int64"
    assert table["estimate"].dtype == "float64"
    empty = estimates_table([], ["scheme"])
    assert list(empty.columns) == ["scheme", *ESTIMATE_COLUMNS]


def test_a_mean_of_single_rows_is_the_t_test_and_of_patients_is_r() -> None:
    values = np.random.default_rng(2).exponential(size=14)
    expected = stats.ttest_1samp(values, 0.5)
    made = clustered_mean(np.r_[values, np.nan], np.arange(15), null=0.5)
    assert (made.statistic, made.p_value, made.df, made.n) == pytest.approx(
        (expected.statistic, expected.pvalue, 13, 14))
    # lm(y ~ 1) with clubSandwich's CR2 of three patients, written out: 1 - n_c / n is what each
    # cluster's residual keeps.
    patients = np.repeat(["a", "b", "c"], [2, 5, 7])
    residual, numbers = values - values.mean(), np.array([2, 5, 7])
    sums = np.array([residual[patients == name].sum() for name in "abc"]) / 14
    error = np.sqrt((sums**2 / (1 - numbers / 14)).sum())
    assert clustered_mean(values, patients).std_error == pytest.approx(error)
    for values, why in (([], "no rows"), ([1.0, 1.0], "all values are equal"),
                        ([1.0, 2.0], "1 patient")):
        made = clustered_mean(values, ["a"] * len(values))
        assert why in made.note
        assert math.isnan(made.p_value)
