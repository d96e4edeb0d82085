"""Balanced designs, where everything can be written down."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from saltrust.analysis.mixed.model import mixed_model
from saltrust.analysis.mixed.options import Contrasts, Fitting
from saltrust.choices import DegreesOfFreedom

fit = partial(mixed_model, fitting=Fitting(engine="builtin"))


def balanced(levels: int, images: int = 15, seed: int = 3, image_sd: float = 1.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    effects = rng.normal(scale=image_sd, size=images)
    return pd.DataFrame({
        "image": np.repeat([f"i{i}" for i in range(images)], levels),
        "explainer": np.tile([f"e{i}" for i in range(levels)], images),
        "y": np.repeat(effects, levels) + rng.normal(scale=0.5, size=levels * images)
        + np.tile(0.2 * np.arange(levels), images)})


def test_two_levels_are_the_paired_t_test() -> None:
    table = balanced(2)
    wide = table.pivot_table(index="image", columns="explainer", values="y")
    test = stats.ttest_rel(wide["e0"], wide["e1"])
    row = fit(table, "y ~ explainer + (1|image)").tables["contrasts"].iloc[0]
    assert row["estimate"] == pytest.approx(float((wide["e0"] - wide["e1"]).mean()), rel=1e-12)
    assert row["statistic"] == pytest.approx(test.statistic, rel=1e-9)
    assert row["df"] == pytest.approx(14, rel=1e-9)
    # One contrast needs no adjustment.
    assert row["p_value"] == row["p_adjusted"] == pytest.approx(test.pvalue, rel=1e-9)
    interval = test.confidence_interval()
    assert row["conf_low"] == pytest.approx(interval.low, rel=1e-9)
    assert row["conf_high"] == pytest.approx(interval.high, rel=1e-9)


@pytest.mark.parametrize("method", ["satterthwaite", "kenward-roger"])
def test_variances_are_the_method_of_moments(method: DegreesOfFreedom) -> None:
    levels, images = 4, 15
    table = balanced(levels, images)
    y = table["y"].to_numpy().reshape(images, levels)
    by_image, by_level, grand = y.mean(axis=1), y.mean(axis=0), y.mean()
    between = levels * ((by_image - grand) ** 2).sum() / (images - 1)
    rest = y - by_image[:, None] - by_level + grand
    within = (rest**2).sum() / ((images - 1) * (levels - 1))
    tables = fit(table, "y ~ explainer + (1|image)",
                 fitting=Fitting(engine="builtin", df=method)).tables
    np.testing.assert_allclose(tables["random_effects"]["variance"],
                               [(between - within) / levels, within], rtol=1e-9)
    # The F test of the explainers is that of the two-way analysis of variance.
    effect = images * ((by_level - grand) ** 2).sum() / (levels - 1)
    test = tables["anova"].iloc[0]
    assert test["statistic"] == pytest.approx(effect / within, rel=1e-9)
    assert test["df_denominator"] == pytest.approx((images - 1) * (levels - 1), rel=1e-9)
    np.testing.assert_allclose(tables["contrasts"]["std_error"], np.sqrt(2 * within / images),
                               rtol=1e-9)
    np.testing.assert_allclose(tables["means"]["estimate"], by_level, rtol=1e-12)


def test_tukey_on_balanced_data_is_the_studentized_range_of_scipy() -> None:
    table = balanced(4)
    row = fit(table, "y ~ explainer + (1|image)").tables["contrasts"].iloc[2]
    expected = stats.studentized_range.sf(np.sqrt(2) * abs(row["statistic"]), 4, 42)
    assert row["p_adjusted"] == pytest.approx(expected, rel=1e-8)


def test_the_intercept_alone_is_the_t_test_of_the_group_means() -> None:
    table = balanced(3)
    means = table.groupby("image")["y"].mean()
    test = stats.ttest_1samp(means, 0.1)
    row = fit(table, "y ~ 1 + (1|image)").tables["fixed_effects"].iloc[0]
    assert row["df"] == pytest.approx(14, rel=1e-8)
    assert (row["estimate"] - 0.1) / row["std_error"] == pytest.approx(test.statistic, rel=1e-9)


def test_means_can_be_tested_against_a_constant() -> None:
    table = balanced(3)
    result = fit(table, "y ~ explainer + (1|image)", contrasts=Contrasts(against_value=0.5))
    means = result.tables["means"]
    np.testing.assert_allclose(means["statistic"],
                               (means["estimate"] - 0.5) / means["std_error"], rtol=1e-12)
    np.testing.assert_allclose(means["p_value"],
                               2 * stats.t.sf(means["statistic"].abs(), means["df"]), rtol=1e-9)
    assert result.meta["means_tested_against"] == 0.5


def test_a_negative_variance_is_a_singular_fit_and_ordinary_least_squares() -> None:
    table = balanced(3, image_sd=0.0)
    table["y"] -= table.groupby("image")["y"].transform("mean")
    result = fit(table, "y ~ explainer + (1|image)")
    assert bool(result.tables["fit"]["singular"].iloc[0])
    assert result.tables["random_effects"]["variance"].iloc[0] == 0
    assert "zero" in result.meta["notes"][0]
    ordinary = stats.f_oneway(*(group["y"] for _, group in table.groupby("explainer")))
    assert result.tables["anova"]["statistic"].iloc[0] == pytest.approx(ordinary.statistic)
    np.testing.assert_allclose(result.tables["contrasts"]["df"], len(table) - 3, rtol=1e-9)


def test_balanced_crossed_variances_are_the_method_of_moments() -> None:
    rng = np.random.default_rng(4)
    a, b, r = 9, 7, 3
    y = (rng.normal(size=(a, 1, 1)) + 0.8 * rng.normal(size=(1, b, 1))
         + 0.5 * rng.normal(size=(a, b, r)))
    index = np.indices(y.shape).reshape(3, -1)
    table = pd.DataFrame({"y": y.ravel(), "a": index[0], "b": index[1]})
    grand = y.mean()
    of_a = b * r * ((y.mean(axis=(1, 2)) - grand) ** 2).sum() / (a - 1)
    of_b = a * r * ((y.mean(axis=(0, 2)) - grand) ** 2).sum() / (b - 1)
    rest = y - y.mean(axis=(1, 2), keepdims=True) - y.mean(axis=(0, 2), keepdims=True) + grand
    within = (rest**2).sum() / (y.size - a - b + 1)
    variances = fit(table, "y ~ 1 + (1|a) + (1|b)").tables["random_effects"]
    np.testing.assert_allclose(
        variances["variance"], [(of_a - within) / (b * r), (of_b - within) / (a * r), within],
        rtol=1e-8)


def test_large_offsets_and_tiny_scales_do_not_cancel() -> None:
    table = balanced(4)
    plain = fit(table, "y ~ explainer + (1|image)").tables
    table["y"] = 1e9 + 1e-3 * table["y"]
    moved = fit(table, "y ~ explainer + (1|image)").tables
    # 1e-3 beside 1e9 keeps four digits of the scores themselves.
    np.testing.assert_allclose(moved["contrasts"]["statistic"], plain["contrasts"]["statistic"],
                               rtol=1e-3)
    np.testing.assert_allclose(moved["contrasts"]["df"], 42, rtol=1e-6)
