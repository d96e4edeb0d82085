"""Studentized range, Dunnett's approximation, and the largest of correlated t statistics."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from saltrust.analysis.mixed.adjustment import dunnett, studentized_range
from saltrust.analysis.mixed.adjustment.single_step import LargestStatistic
from saltrust.errors import UsageError

INF = float("inf")


@pytest.mark.parametrize(("k", "df", "q"), [
    (2, 1.0, 17.97), (2, 3.3, 4.0), (3, 10.0, 3.877676), (3, 8.52, 0.5), (5, 46.0, 7.0),
    (9, 153.0, 4.45), (10, 5.0, 2.0), (10, 1000.5, 3.5), (40, 22.0, 6.0)])
def test_survival_agrees_with_scipy(k: int, df: float, q: float) -> None:
    expected = stats.studentized_range.sf(q, k, df)
    assert studentized_range.survival([q], k, [df])[0] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("k", "df"), [(2, 4.0), (3, 8.52), (9, 30.0), (10, 800.0)])
def test_quantiles_agree_with_scipy(k: int, df: float) -> None:
    expected = stats.studentized_range.ppf(0.95, k, df)
    assert studentized_range.quantile(0.05, k, [df])[0] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("k", "df", "upper", "table"), [
    # H. L. Harter (1960), Ann. Math. Stat. 31, 1122-1147.
    (2, 10, 0.05, 3.151), (3, 10, 0.05, 3.877), (10, 20, 0.05, 5.008), (5, 60, 0.01, 4.818),
    (20, 120, 0.05, 5.126), (10, INF, 0.05, 4.474), (3, 5, 0.01, 6.976)])
def test_quantiles_are_those_of_the_tables(k: int, df: float, upper: float, table: float) -> None:
    assert studentized_range.quantile(upper, k, [df])[0] == pytest.approx(table, abs=6e-4)


@settings(deadline=None, max_examples=50)
@given(t=st.floats(1e-3, 40), df=st.floats(1, 1e7))
def test_two_means_are_students_t_down_to_the_smallest_tails(t: float, df: float) -> None:
    tail = studentized_range.survival([np.sqrt(2) * t], 2, [df])[0]
    assert tail == pytest.approx(2 * stats.t.sf(t, df), rel=1e-8, abs=1e-250)


@settings(deadline=None, max_examples=25)
@given(k=st.floats(2, 60), df=st.floats(1.5, 1e6), upper=st.floats(1e-8, 0.5))
def test_quantiles_invert_the_tail_for_any_number_of_means(k: float, df: float, upper: float,
                                                           ) -> None:
    q = studentized_range.quantile(upper, k, [df])
    assert studentized_range.survival(q, k, [df])[0] == pytest.approx(upper, rel=1e-8)


def test_the_range_of_normal_variables_is_its_integral() -> None:
    for k, w in ((3, 2.5), (2.56, 1.0), (9, 6.0)):
        tail, density = studentized_range.range_tail([w], k)
        inside = integrate.quad(lambda z, k=k, w=w: k * stats.norm.pdf(z) * (
            stats.norm.cdf(z) - stats.norm.cdf(z - w)) ** (k - 1), -9, 12, epsabs=1e-13)[0]
        assert tail[0] == pytest.approx(1 - inside, rel=1e-9)
        step = 1e-4
        up, down = studentized_range.range_tail([w + step, w - step], k)[0]
        assert density[0] == pytest.approx((down - up) / (2 * step), rel=1e-6)


def test_many_similar_df_are_solved_together_as_exactly_as_alone() -> None:
    df = np.linspace(80, 200, 36)
    together = studentized_range.quantile(0.05, 9, df)
    alone = [studentized_range.quantile(0.05, 9, [value])[0] for value in df]
    np.testing.assert_allclose(together, alone, rtol=1e-9)


def test_36_contrasts_take_milliseconds() -> None:
    df = np.linspace(150, 160, 36)
    studentized_range.quantile(0.05, 9, df)
    start = time.process_time()
    for _ in range(5):
        studentized_range.quantile(0.05, 9, df)
    # About 10 ms on a free core; scipy needs seconds.
    assert (time.process_time() - start) / 5 < 0.2


def test_impossible_questions_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 2"):
        studentized_range.survival([1.0], 1, [3.0])
    with pytest.raises(UsageError, match="positive"):
        studentized_range.survival([1.0], 3, [0.0])
    with pytest.raises(UsageError, match="between 0 and 1"):
        studentized_range.quantile(1.5, 3, [3.0])
    assert np.isnan(studentized_range.survival([float("nan")], 3, [5.0])[0])


def test_dunnetts_approximation_mixes_tukey_and_sidak() -> None:
    t, df, contrasts = np.array([2.1]), np.array([17.3]), 3
    tukey = stats.studentized_range.cdf(np.sqrt(2) * 2.1, 3, 17.3)  # 3 means have 3 pairs
    sidak = stats.f.cdf(2.1**2, 1, 17.3) ** 3
    expected = 1 - (2 / 3 * tukey + sidak / 3)
    assert dunnett.survival(t, contrasts, df)[0] == pytest.approx(expected, rel=1e-9)
    width = dunnett.critical_value(0.95, contrasts, df)
    # emmeans' root is good to 5e-4.
    assert dunnett.survival(width, contrasts, df)[0] == pytest.approx(0.05, abs=1e-4)


def correlated(loadings: list[float]) -> np.ndarray:
    common = np.array(loadings)
    return np.column_stack([common, np.diag(np.sqrt(1 - common**2))])


@pytest.mark.parametrize(("contrasts", "df", "table"), [
    # C. W. Dunnett (1964), Biometrics 20, 482-491: two-sided 5%, correlation one half.
    (2, 10, 2.57), (3, 20, 2.54), (9, 30, 2.86), (5, 60, 2.58), (9, INF, 2.69)])
def test_equal_correlation_is_dunnetts_table(contrasts: int, df: float, table: float) -> None:
    largest = LargestStatistic(correlated([np.sqrt(0.5)] * contrasts))
    assert largest.exact
    assert largest.critical_value(0.95, np.array([df]))[0] == pytest.approx(table, abs=6e-3)


def test_product_correlations_agree_with_the_multivariate_normal_of_scipy() -> None:
    root = correlated([0.9, -0.3, 0.6, 0.5])
    largest = LargestStatistic(root)
    assert largest.exact
    for t in (0.8, 2.0, 3.0):
        inside = stats.multivariate_normal(cov=root @ root.T).cdf(
            np.full(4, t), lower_limit=np.full(4, -t), rng=np.random.default_rng(0))
        assert largest.survival(np.array([t]), np.array([INF]))[0] == pytest.approx(
            1 - inside, abs=1e-4)


def test_independent_statistics_are_sidaks() -> None:
    largest = LargestStatistic(np.eye(4))
    tail = largest.survival(np.array([1.5, 6.0]), np.array([INF, INF]))
    np.testing.assert_allclose(tail, -np.expm1(4 * np.log1p(-2 * stats.norm.sf([1.5, 6.0]))),
                               rtol=1e-8)


@pytest.mark.parametrize("df", [4.0, 25.0, INF])
def test_sampling_agrees_with_the_studentized_range_where_that_is_exact(df: float) -> None:
    first, second = np.triu_indices(5, 1)
    root = (np.eye(5)[first] - np.eye(5)[second]) / np.sqrt(2)
    largest = LargestStatistic(root)
    assert not largest.exact
    t, freedom = np.array([0.5, 2.0, 4.0, 7.0]), np.full(4, df)
    exact = studentized_range.survival(np.sqrt(2) * t, 5, freedom)
    error = largest.error(t, freedom)
    tail = largest.survival(t, freedom)
    assert (np.abs(tail - exact) < 5 * error + 1e-6).all()
    np.testing.assert_allclose(tail, exact, rtol=3e-2)
    assert largest.critical_value(0.95, freedom[:1])[0] == pytest.approx(
        studentized_range.quantile(0.05, 5, freedom[:1])[0] / np.sqrt(2), rel=1e-3)


def test_sampling_repeats_with_its_seed() -> None:
    root = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    root = np.vstack([root, root.sum(axis=0) / np.linalg.norm(root.sum(axis=0))])
    t, df = np.array([2.2]), np.array([9.0])
    one, two, other = (LargestStatistic(root, seed).survival(t, df)[0] for seed in (3, 3, 4))
    assert one == two != other
