"""The sign-flip test against enumeration by scipy, its normal limit, and its error rate."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from saltrust.analysis.inference.sign_flips import EXACT_BELOW, sign_flip_test


@pytest.mark.parametrize("seed", range(6))
def test_few_parts_are_enumerated_as_scipy_does(seed: int) -> None:
    generator = np.random.default_rng(seed)
    # Whole numbers, so that ties between sums are exact.
    parts = generator.integers(-6, 9, 4 + seed).astype(float)
    parts[parts == 0] = 1.0
    expected = stats.permutation_test((parts,), lambda x, axis: np.sum(x, axis=axis),
                                      permutation_type="samples", vectorized=True,
                                      n_resamples=np.inf)
    made = sign_flip_test(np.r_[parts, 0.0, 0.0])
    assert made.exact
    assert made.p_value == pytest.approx(expected.pvalue, abs=1e-12)


def test_it_is_the_exact_signed_rank_test_of_single_images() -> None:
    values = np.random.default_rng(3).normal(0.4, 1, 13)
    ranks = np.sign(values) * stats.rankdata(np.abs(values))
    assert sign_flip_test(ranks).p_value == pytest.approx(
        stats.wilcoxon(values, mode="exact").pvalue, abs=1e-12)


def test_many_parts_are_normal_and_scale_does_not_matter() -> None:
    parts = np.random.default_rng(5).normal(0.2, 1, EXACT_BELOW)
    made = sign_flip_test(parts)
    z = parts.sum() / np.sqrt((parts**2).sum())
    assert not made.exact
    assert (made.statistic, made.p_value) == pytest.approx((z, 2 * stats.norm.sf(abs(z))))
    for scale in (1e-200, 1e200, -1.0):
        assert sign_flip_test(parts * scale).p_value == pytest.approx(made.p_value)


def test_nothing_to_turn() -> None:
    assert sign_flip_test([]).p_value == 1
    assert sign_flip_test([0.0, 0.0]).p_value == 1
    assert sign_flip_test([3.0]).p_value == 1


def test_error_rate_of_unequal_patients() -> None:
    generator = np.random.default_rng(7)
    rejected = [sign_flip_test(generator.normal(size=n) * generator.integers(1, 11, n)).p_value
                < 0.05 for n in [12, 40] * 1000]
    assert 0.03 <= np.mean(rejected) <= 0.06
