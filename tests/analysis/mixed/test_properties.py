"""What must not change the answer, and how it must follow the response."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from saltrust.analysis.mixed.model import mixed_model
from saltrust.analysis.mixed.options import Contrasts, Fitting
from saltrust.analysis.result import Result
from saltrust.choices import ContrastAdjustment, words

FORMULAS = ("auprc ~ explainer + (1|image)", "auprc ~ explainer + age + (1|image)",
            "auprc ~ explainer + (1|image) + (1|age)")
SETTINGS = settings(deadline=None, max_examples=15,
                    suppress_health_check=[HealthCheck.function_scoped_fixture])
UNITS = ["estimate", "std_error", "conf_low", "conf_high"]


def fit(table: pd.DataFrame, formula: str, contrasts: Contrasts = Contrasts(),
        **fitting: Any) -> Result:
    return mixed_model(table, formula, over="explainer", contrasts=contrasts,
                       fitting=Fitting(engine="builtin", **fitting))


@SETTINGS
@given(seed=st.integers(0, 1000), formula=st.sampled_from(FORMULAS))
def test_the_order_of_rows_within_levels_does_not_matter(
        scores: pd.DataFrame, seed: int, formula: str) -> None:
    crossed = scores.assign(age=(scores["age"] * 7 % 5).map("r{}".format)
                            if "(1|age)" in formula else scores["age"])
    shuffled = crossed.sample(frac=1, random_state=seed)
    one, two = fit(crossed, formula), fit(shuffled, formula)
    # Levels follow first appearance: compare means and pairs by name.
    for name, key in (("means", ["level"]), ("random_effects", ["group"])):
        left = one.tables[name].set_index(key).select_dtypes("number")
        right = two.tables[name].set_index(key).select_dtypes("number")
        pd.testing.assert_frame_equal(left, right.loc[left.index], rtol=1e-7)
    first, second = (
        {frozenset((row["level_a"], row["level_b"])): (abs(row["estimate"]), row["p_adjusted"])
         for row in result.tables["contrasts"].to_dict("records")} for result in (one, two))
    assert first.keys() == second.keys()
    for pair, values in first.items():
        assert second[pair] == pytest.approx(values, rel=1e-6)


@SETTINGS
@given(shift=st.floats(-1e4, 1e4), power=st.integers(-6, 6), sign=st.sampled_from([1, -1]),
       formula=st.sampled_from(FORMULAS[:2]),
       df=st.sampled_from(["satterthwaite", "kenward-roger"]))
def test_shifting_and_scaling_the_response_shifts_and_scales_the_answer(
        scores: pd.DataFrame, shift: float, power: int, sign: int, formula: str, df: str) -> None:
    scale = sign * 2.0**power
    moved = fit(scores.assign(auprc=scale * scores["auprc"] + shift), formula, df=df)
    plain = fit(scores, formula, df=df)
    one, two = plain.tables["contrasts"], moved.tables["contrasts"]
    digits = 1e-6 + 1e-10 * abs(shift / scale)
    np.testing.assert_allclose(two["estimate"], scale * one["estimate"], rtol=digits)
    np.testing.assert_allclose(two["std_error"], abs(scale) * one["std_error"], rtol=digits)
    np.testing.assert_allclose(two["df"], one["df"], rtol=10 * digits)
    np.testing.assert_allclose(moved.tables["random_effects"]["variance"],
                               scale**2 * plain.tables["random_effects"]["variance"],
                               rtol=10 * digits)
    np.testing.assert_allclose(moved.tables["means"]["estimate"],
                               scale * plain.tables["means"]["estimate"] + shift, rtol=digits)


@SETTINGS
@given(shift=st.floats(-1e3, 1e3), power=st.integers(-8, 8))
def test_the_units_of_a_covariate_do_not_matter(scores: pd.DataFrame, shift: float, power: int,
                                                ) -> None:
    moved = scores.assign(age=2.0**power * scores["age"] + shift)
    one, two = fit(scores, FORMULAS[1]).tables, fit(moved, FORMULAS[1]).tables
    for name in ("means", "contrasts"):
        np.testing.assert_allclose(two[name][[*UNITS, "df"]], one[name][[*UNITS, "df"]],
                                   rtol=1e-6)


def test_renaming_levels_and_groups_does_not_matter(scores: pd.DataFrame) -> None:
    renamed = scores.replace({"explainer": {"grad": "7", "gradcam": "a - b", "xrai": "ü (1)"}})
    renamed["image"] = renamed["image"].map({name: index for index, name in
                                             enumerate(scores["image"].unique())})
    one, two = fit(scores, FORMULAS[0]).tables, fit(renamed, FORMULAS[0]).tables
    assert two["means"]["level"].tolist() == ["7", "a - b", "ü (1)"]
    np.testing.assert_array_equal(one["contrasts"][UNITS], two["contrasts"][UNITS])


def test_the_reference_level_changes_coefficients_but_not_comparisons(scores: pd.DataFrame,
                                                                      ) -> None:
    turned = pd.concat([scores[scores["explainer"] == "xrai"],
                        scores[scores["explainer"] != "xrai"]])
    one, two = fit(scores, FORMULAS[0]).tables, fit(turned, FORMULAS[0]).tables
    assert one["fixed_effects"]["term"].iloc[1] != two["fixed_effects"]["term"].iloc[1]
    left, right = (tables["means"].set_index("level") for tables in (one, two))
    np.testing.assert_allclose(right.loc[left.index, UNITS].to_numpy(dtype=float),
                               left[UNITS].to_numpy(dtype=float), rtol=1e-8)
    assert one["fit"]["log_likelihood"].iloc[0] == pytest.approx(
        two["fit"]["log_likelihood"].iloc[0], rel=1e-10)


def test_an_added_image_with_one_missing_score_is_still_used(scores: pd.DataFrame) -> None:
    more = pd.concat([scores, pd.DataFrame({
        "image": ["new", "new"], "explainer": ["grad", "xrai"], "auprc": [0.4, None],
        "age": [50.0, 50.0]})], ignore_index=True)
    result = fit(more, FORMULAS[0])
    assert result.meta["n"] == len(scores) + 1
    assert result.meta["excluded"] == {"incomplete rows": 1}
    assert result.meta["missing"] == {"auprc": 1}


def test_adjusted_p_values_are_ordered_as_theory_has_it(scores: pd.DataFrame) -> None:
    adjusted_by = {adjust: fit(scores, FORMULAS[0], Contrasts(adjustment=adjust)
                               ).tables["contrasts"]
                   for adjust in words(ContrastAdjustment) if adjust != "dunnett"}
    raw = adjusted_by["none"]["p_adjusted"].to_numpy()
    np.testing.assert_array_equal(raw, adjusted_by["none"]["p_value"])
    bonferroni = adjusted_by["bonferroni"]["p_adjusted"].to_numpy()
    np.testing.assert_allclose(bonferroni, np.minimum(3 * raw, 1), rtol=1e-12)
    for adjust in ("tukey", "sidak", "holm", "single-step"):
        adjusted = adjusted_by[adjust]["p_adjusted"].to_numpy()
        assert (raw <= adjusted).all()
        assert (adjusted <= bonferroni + 1e-12).all()
    for adjust in ("none", "tukey", "sidak", "bonferroni", "single-step"):
        table = adjusted_by[adjust]
        # An interval excludes zero just where its p-value is below 5%.
        excluded = (table["conf_low"] > 0) | (table["conf_high"] < 0)
        assert (excluded == (table["p_adjusted"] < 0.05)).all()
