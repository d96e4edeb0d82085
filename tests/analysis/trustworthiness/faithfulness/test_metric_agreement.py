"""Rank correlations of explainers between metrics."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from saltrust.analysis.options import Resampling
from saltrust.analysis.trustworthiness.faithfulness.metric_agreement import (
    agreement_rows,
    row_correlations,
)


def test_rows_are_scipys_with_ties_and_values_that_are_missing() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.integers(0, 4, (2, 60, 6)).astype(np.float64)
    first[generator.random(first.shape) < 0.2] = np.nan
    made = row_correlations(first, second)
    checked = 0
    for row, a, b in zip(made, first, second, strict=True):
        known = np.isfinite(a)
        if known.sum() < 3 or np.ptp(a[known]) == 0 or np.ptp(b[known]) == 0:
            assert np.isnan(row)
            continue
        assert row == pytest.approx(spearmanr(a[known], b[known]).statistic)
        checked += 1
    assert checked > 40


def test_agreement_is_averaged_over_images_and_taken_of_means() -> None:
    generator = np.random.default_rng(1)
    merit = np.arange(4.0)[None, :, None] + generator.normal(0, 0.8, (60, 4, 3))
    merit[..., 2] = -merit[..., 2]
    rows = list(agreement_rows(merit, np.arange(60) // 2, ["a", "b", "c"], "f",
                               Resampling(resamples=300)))
    assert [(row["metric_a"], row["metric_b"]) for row in rows] == [
        ("a", "b"), ("a", "c"), ("b", "c")]
    assert rows[0]["conf_low"] > 0.3
    assert rows[0]["p_adjusted"] < 0.01
    assert (rows[0]["of_means"], rows[1]["of_means"]) == (pytest.approx(1), pytest.approx(-1))
    assert rows[1]["conf_high"] < 0
    assert rows[0]["explainers"] == 4


def test_two_explainers_have_no_order_to_agree_on() -> None:
    (row,) = agreement_rows(np.ones((20, 2, 2)), np.arange(20), ["a", "b"], "f",
                            Resampling(resamples=300))
    assert np.isnan([row["estimate"], row["of_means"], row["p_value"]]).all()
    assert row["note"] == "fewer than 3 explainers"
