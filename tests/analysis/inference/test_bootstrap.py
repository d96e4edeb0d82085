"""Bootstrap means: closed forms, scipy, coverage with known truth, clusters, degenerate input."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import example, given, settings
from hypothesis import strategies as st

from saltrust.analysis.inference import resampling
from saltrust.analysis.inference.bootstrap import (
    FEWEST_PATIENTS,
    MANY_PATIENTS,
    interval_of_function,
    left_out_means,
    mean_interval,
    percentile_interval,
    resample_weights,
    resampled_means,
)
from saltrust.errors import DataError, UsageError


def test_weights_are_multinomial_draws_of_clusters() -> None:
    clusters = np.array(["p1", "p2", "p1", "p3", "p4"])
    weights = resample_weights(clusters, 20_000, seed=3)
    assert weights.shape == (20_000, 5)
    assert weights.dtype.kind == "i"
    np.testing.assert_array_equal(weights[:, 0], weights[:, 2])
    np.testing.assert_array_equal(weights[:, [0, 1, 3, 4]].sum(axis=1), 4)
    # Multinomial(4, 1/4): mean 1, variance 4 * 1/4 * 3/4, covariance -4/16.
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.03)
    covariance = np.cov(weights[:, [0, 1, 3, 4]].T)
    np.testing.assert_allclose(np.diag(covariance), 0.75, atol=0.03)
    np.testing.assert_allclose(covariance[np.triu_indices(4, 1)], -0.25, atol=0.03)


def test_weights_depend_on_the_seed_alone() -> None:
    clusters = np.arange(40)
    first = resample_weights(clusters, 50, seed=1)
    np.testing.assert_array_equal(first, resample_weights(clusters, 50, seed=1))
    assert (first != resample_weights(clusters, 50, seed=2)).any()
    # Names do not matter, only who is whose.
    names = np.array([f"patient{i}" for i in range(40)])
    np.testing.assert_array_equal(first, resample_weights(names, 50, seed=1))


def test_blocks_do_not_change_the_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=(31, 3))
    whole = resample_weights(np.arange(31), 101, seed=9)
    means = resampled_means(values, resamples=101, seed=9)
    monkeypatch.setattr(resampling, "_BLOCK", 70)
    np.testing.assert_array_equal(whole, resample_weights(np.arange(31), 101, seed=9))
    np.testing.assert_allclose(means, resampled_means(values, resamples=101, seed=9), rtol=1e-13)


@pytest.mark.parametrize("missing", [None, float("nan"), ""])
def test_unknown_patients_are_not_taken_for_one(missing: object) -> None:
    clusters = np.array(["a", missing, "a", missing], dtype=object)
    codes, count = resampling.cluster_codes(clusters)
    assert count == 3
    assert codes.tolist() == [0, 1, 0, 2]


def test_matrix_product_is_the_mean_of_the_drawn_rows() -> None:
    generator = np.random.default_rng(5)
    values = generator.normal(size=(12, 3))
    values[generator.random((12, 3)) < 0.4] = np.nan
    clusters = generator.integers(0, 5, 12)
    weights = resample_weights(clusters, 30, seed=4)
    means = resampled_means(values, clusters, resamples=30, seed=4)
    for b in range(30):
        rows = np.repeat(values, weights[b], axis=0)
        for k in range(3):
            drawn = rows[~np.isnan(rows[:, k]), k]
            if len(drawn):
                assert means[b, k] == pytest.approx(drawn.mean(), abs=1e-12)
            else:
                assert np.isnan(means[b, k])


def test_variance_has_its_closed_form() -> None:
    # Var*(mean) = sum((x - mean)^2) / n^2.
    values = np.array([0.0, 0.1, 0.5, 0.9, 2.0, 2.5, 2.5, 7.0])
    interval = mean_interval(values, resamples=40_000, seed=0)
    assert float(interval.std_error) == pytest.approx(values.std() / np.sqrt(8), rel=0.015)
    assert float(interval.mean) == pytest.approx(values.mean(), abs=1e-14)
    assert interval.mean.shape == ()


def test_two_rows_have_a_known_distribution() -> None:
    # Means of two draws from {0, 1}: 0, 0.5, 1 with probabilities 1/4, 1/2, 1/4.
    drawn = resampled_means([0.0, 1.0], resamples=20_000, seed=1)
    shares = [np.mean(drawn == value) for value in (0, 0.5, 1)]
    np.testing.assert_allclose(shares, [0.25, 0.5, 0.25], atol=0.015)
    interval = mean_interval([0.0, 1.0], resamples=2000, confidence_level=0.6, seed=1)
    assert (float(interval.conf_low), float(interval.conf_high)) == (0.0, 1.0)
    narrow = mean_interval([0.0, 1.0], resamples=2000, confidence_level=0.4, seed=1)
    assert (float(narrow.conf_low), float(narrow.conf_high)) == (0.5, 0.5)


@pytest.mark.parametrize("method", ["percentile", "bca"])
@pytest.mark.parametrize("kind", ["all different", "many equal"])
def test_agrees_with_scipy(kind: str, method: str) -> None:
    # scipy draws rows by the same generator call, so that equal seeds give equal resamples.
    values = np.random.default_rng(7).gamma(1.2, size=40)
    if kind == "many equal":
        # Hits: a seventh of the resampled means equal that of the data.
        values = (values > 0.7).astype(float)[:20]
    interval = mean_interval(values, resamples=5000, seed=2, method=method)  # type: ignore[arg-type]
    peer = scipy.stats.bootstrap((values,), np.mean, n_resamples=5000, method=method,
                                 rng=np.random.default_rng(2))
    assert float(interval.conf_low) == pytest.approx(peer.confidence_interval.low, rel=1e-9)
    assert float(interval.conf_high) == pytest.approx(peer.confidence_interval.high, rel=1e-9)
    assert float(interval.std_error) == pytest.approx(peer.standard_error, rel=1e-9)
    other = scipy.stats.bootstrap((values,), np.mean, n_resamples=20_000, method=method,
                                  rng=np.random.default_rng(99)).confidence_interval
    near = (0.05 if kind == "all different" else 0.15) * (other.high - other.low)
    assert float(interval.conf_low) == pytest.approx(other.low, abs=near)
    assert float(interval.conf_high) == pytest.approx(other.high, abs=near)


def test_bca_follows_the_skew() -> None:
    values = np.random.default_rng(1).lognormal(sigma=1.2, size=30)
    plain = mean_interval(values, resamples=5000, seed=0)
    skewed = mean_interval(values, resamples=5000, seed=0, method="bca")
    assert float(skewed.conf_low) > float(plain.conf_low)
    assert float(skewed.conf_high) > float(plain.conf_high)


def test_coverage_is_close_to_nominal() -> None:
    generator = np.random.default_rng(11)
    covered = 0
    for trial in range(400):
        values = generator.uniform(size=60)
        interval = mean_interval(values, resamples=400, confidence_level=0.9, seed=trial)
        covered += float(interval.conf_low) <= 0.5 <= float(interval.conf_high)
    # Binomial standard error at 0.9 is 0.015; the percentile interval is a little short at n = 60.
    assert 0.85 <= covered / 400 <= 0.94


def test_patients_cover_where_rows_do_not() -> None:
    generator = np.random.default_rng(12)
    clusters = np.repeat(np.arange(30), 6)
    by_patient = by_row = 0
    wider = 0
    for trial in range(200):
        values = np.repeat(generator.normal(size=30), 6) + 0.3 * generator.normal(size=180)
        patient = mean_interval(values, clusters, resamples=300, seed=trial)
        row = mean_interval(values, resamples=300, seed=trial)
        by_patient += float(patient.conf_low) <= 0 <= float(patient.conf_high)
        by_row += float(row.conf_low) <= 0 <= float(row.conf_high)
        wider += float(patient.std_error) > 1.7 * float(row.std_error)
    assert by_patient / 200 >= 0.88
    assert by_row / 200 <= 0.75
    assert wider == 200


def test_one_row_per_patient_is_the_plain_bootstrap() -> None:
    values = np.random.default_rng(3).normal(size=(25, 2))
    plain = mean_interval(values, seed=6)
    named = mean_interval(values, [f"p{i}" for i in range(25)], seed=6)
    np.testing.assert_allclose(plain.conf_low, named.conf_low, rtol=1e-12)
    np.testing.assert_allclose(plain.conf_high, named.conf_high, rtol=1e-12)


def test_columns_are_as_if_alone() -> None:
    values = np.random.default_rng(3).normal(size=(25, 3))
    values[:5, 1] = np.nan
    together = mean_interval(values, seed=6)
    for k in range(3):
        alone = mean_interval(values[:, k], seed=6)
        assert float(alone.conf_low) == pytest.approx(together.conf_low[k], rel=1e-12)
        assert float(alone.mean) == pytest.approx(together.mean[k], rel=1e-12)
    assert together.n.tolist() == [25, 20, 25]


def test_resamples_without_a_row_are_left_out_and_counted() -> None:
    values = np.full((10, 1), np.nan)
    values[:2, 0] = [1.0, 2.0]
    interval = mean_interval(values, resamples=4000, seed=0)
    empty = (resample_weights(np.arange(10), 4000, seed=0)[:, :2].sum(axis=1) == 0).sum()
    assert empty > 0
    assert interval.resamples_used[0] == 4000 - empty
    assert interval.resamples_used[0] / 4000 == pytest.approx(1 - 0.8**10, abs=0.02)
    assert np.isfinite(interval.conf_low).all()


def test_what_has_no_interval_says_why() -> None:
    nan = np.nan
    values = np.array([[nan, 0.3, 0.3], [nan, nan, 0.3], [nan, nan, 0.3]])
    interval = mean_interval(values)
    assert np.isnan(interval.mean[0])
    assert interval.mean[1:].tolist() == [0.3, 0.3]
    assert np.isnan(interval.conf_low[:2]).all()
    assert (interval.conf_low[2], interval.conf_high[2], interval.std_error[2]) == (0.3, 0.3, 0.0)
    assert interval.notes[0] == "no rows"
    assert interval.notes[1] == "1 row: no interval"
    assert "equal" in interval.notes[2]
    of_one = mean_interval([0.1, 0.4], ["p", "p"])
    assert np.isnan(of_one.conf_low)
    assert of_one.notes == ("2 rows of 1 patient: no interval",)
    none = mean_interval(np.empty((0, 2)))
    assert none.notes == ("no rows", "no rows")
    assert mean_interval([0.1, 0.9], resamples=1).notes[0].startswith("fewer than 2 resamples")


def test_percentile_interval_ignores_what_is_not_finite() -> None:
    replicates = np.array([[1.0, np.nan], [2.0, np.inf], [3.0, 5.0], [np.nan, -np.inf]])
    low, high, used = percentile_interval(replicates, 0.5)
    assert used.tolist() == [3, 1]
    assert (low[0], high[0]) == (1.5, 2.5)
    assert np.isnan([low[1], high[1]]).all()


@example([0.0, 4.8e-130], "bca")
@given(st.lists(st.one_of(st.floats(-1e3, 1e3), st.just(float("nan"))), min_size=1, max_size=30),
       st.sampled_from(["percentile", "bca"]))
@settings(deadline=None, max_examples=50)
def test_any_column_gives_ordered_bounds_or_a_note(values: list[float], method: str) -> None:
    interval = mean_interval(values, resamples=60, method=method)  # type: ignore[arg-type]
    if np.isnan(interval.conf_low):
        assert interval.notes[0]
        assert np.isnan(interval.conf_high)
    else:
        present = [value for value in values if value == value]
        assert min(present) - 1e-9 <= interval.conf_low <= interval.conf_high <= max(present) + 1e-9


def test_wrong_calls_say_what_is_wrong() -> None:
    with pytest.raises(UsageError, match="resamples = 0"):
        mean_interval([1.0, 2.0], resamples=0)
    with pytest.raises(UsageError, match="seed = -1"):
        resample_weights([1, 2], 10, -1)
    with pytest.raises(UsageError, match="confidence_level = 95"):
        mean_interval([1.0, 2.0], confidence_level=95)
    with pytest.raises(UsageError, match="did you mean 'bca'"):
        mean_interval([1.0, 2.0], method="bcaa")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"shape \(n,\) or \(n, k\)"):
        mean_interval(np.zeros((2, 2, 2)))
    with pytest.raises(DataError, match="infinite"):
        mean_interval([1.0, np.inf])
    with pytest.raises(DataError, match="3 cluster labels were given for 2 rows"):
        mean_interval([1.0, 2.0], ["a", "b", "c"])


def inflated(generator: np.random.Generator, patients: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores of one to ten images a patient, a third of them zero; mean .217."""
    owner = np.repeat(np.arange(patients), generator.integers(1, 11, patients))
    latent = (np.sqrt(0.5) * generator.normal(size=patients)[owner]
              + np.sqrt(0.5) * generator.normal(size=len(owner)))
    u = scipy.stats.norm.cdf(latent)
    positive = scipy.stats.beta.ppf(np.clip((u - 0.35) / 0.65, 1e-9, 1), 2, 4)
    return np.where(u < 0.35, 0.0, np.round(positive, 3)), owner


def test_few_patients_get_none_then_bootstrap_t_then_percentiles() -> None:
    generator = np.random.default_rng(5)
    for patients, like in ((9, ""), (10, "bootstrap-t"), (30, "bootstrap-t"), (31, "percentile")):
        values, owner = inflated(generator, patients)
        made = mean_interval(values, owner, method="auto", resamples=200)
        assert (FEWEST_PATIENTS, MANY_PATIENTS) == (10, 30)
        if like:
            other = mean_interval(values, owner, method=like, resamples=200)
            assert (made.conf_low, made.conf_high) == (other.conf_low, other.conf_high)
            assert made.notes == ("",)
        else:
            assert np.isnan([made.conf_low, made.conf_high]).all()
            assert made.notes == ("9 patients, fewer than 10: no bootstrap interval",)
            assert made.std_error > 0
            drawn = resampled_means(values, owner, resamples=20, fewest=FEWEST_PATIENTS)
            assert np.isnan(drawn).all()


def test_bootstrap_t_is_that_of_a_mean_over_its_error() -> None:
    values = np.array([0.1, 0.4, 0.0, 0.9, 0.5, 0.2, 0.2, 0.7, 0.3, 0.6, 0.0])
    made = mean_interval(values, method="bootstrap-t", resamples=500, seed=2)
    weights = resample_weights(np.arange(11), 500, seed=2)
    rows = [np.repeat(values, row) for row in weights]
    t = np.array([(row.mean() - values.mean()) / (np.std(row) * np.sqrt(11 / 10) / np.sqrt(11))
                  for row in rows])
    error = np.std(values, ddof=1) / np.sqrt(11)
    low, high = values.mean() - np.quantile(t, [0.975, 0.025]) * error
    np.testing.assert_allclose([made.conf_low, made.conf_high], [low, high], rtol=1e-10)


def test_bootstrap_t_covers_where_percentiles_do_not() -> None:
    generator = np.random.default_rng(8)
    truth, hits = 0.65 / 3, {"auto": 0, "percentile": 0}
    for _ in range(300):
        values, owner = inflated(generator, 12)
        for method in hits:
            made = mean_interval(values, owner, method=method, resamples=400)
            hits[method] += bool(made.conf_low <= truth <= made.conf_high)
    assert 0.92 * 300 <= hits["auto"] <= 0.985 * 300
    assert hits["percentile"] < hits["auto"] - 5


def test_means_without_each_patient_are_those_of_the_other_rows() -> None:
    values = np.array([[1.0, np.nan], [2.0, 5.0], [4.0, np.nan], [3.0, 7.0]])
    means, present = left_out_means(values, ["a", "b", "a", "c"])
    np.testing.assert_allclose(means, [[2.5, 6], [8 / 3, 7], [7 / 3, 5]])
    np.testing.assert_array_equal(present, [[True, False], [True, True], [True, True]])
    alone, _ = left_out_means(values[:2, 1:], ["a", "b"])
    assert np.isnan(alone[1, 0])


def test_a_mean_of_few_patients_has_the_t_interval_of_one_sample() -> None:
    values = np.random.default_rng(1).exponential(size=31)
    for n in (10, 30, 31):
        chosen = values[:n]
        drawn = resampled_means(chosen, np.arange(n), resamples=300)
        left_out, _ = left_out_means(chosen[:, None], np.arange(n))
        made = interval_of_function(chosen.mean(), drawn, left_out[:, 0], 0.95)
        expected = (scipy.stats.ttest_1samp(chosen, 0).confidence_interval() if n <= 30
                    else np.quantile(drawn, [0.025, 0.975]))
        np.testing.assert_allclose(made, tuple(expected))
    nothing = interval_of_function(1.0, np.full(5, np.nan), left_out[:12, 0], 0.95)
    assert np.isnan(nothing).all()


def test_patients_that_do_not_differ_leave_an_interval_without_width_and_no_nan() -> None:
    values, owner = np.tile([0.0, 1.0], 12), np.repeat(np.arange(12), 2)
    for method in ("auto", "bootstrap-t", "percentile"):
        made = mean_interval(values, owner, method=method, resamples=50)
        assert (made.conf_low, made.conf_high) == (0.5, 0.5)
