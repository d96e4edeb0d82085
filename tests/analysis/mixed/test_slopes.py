"""Random slopes against lme4 and lmerTest (``Rscripts/reference_slopes.R``)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from saltrust.analysis.mixed.model import mixed_model
from saltrust.analysis.mixed.options import Fitting, Inspection
from saltrust.analysis.result import Result
from saltrust.errors import DataError, UsageError

#: Models by name; what lmer's optimiser leaves of the variances where there are many.
MODELS = {"correlated": 2e-6, "uncorrelated": 2e-6, "no_intercept": 2e-6, "crossed": 2e-6,
          "two": 2e-4, "three": 2e-4, "full": 2e-4, "nested": 1e-5, "years": 2e-3,
          "singular": 2e-4, "intercepts": 2e-6}


def inspected(**asked: Any) -> Fitting:
    """The built-in engine, and what is looked at beside the fit."""
    return Fitting(engine="builtin", inspection=Inspection(**asked))


@pytest.fixture(scope="session")
def slopes(golden_folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((golden_folder / "slopes.json").read_text())
    return values


def table_of(folder: Path, name: str) -> pd.DataFrame:
    table = pd.read_csv(folder / f"{name}.csv")
    return table.assign(day=table["Days"]) if name == "sleepstudy" else table


def fitted(folder: Path, expected: dict[str, Any], **fitting: Any) -> Result:
    over = "explainer" if "explainer" in expected["formula"] else None
    return mixed_model(table_of(folder, expected["table"]), expected["formula"], over=over,
                       fitting=Fitting(engine="builtin", **fitting))


@pytest.mark.parametrize(("name", "limit"), MODELS.items())
def test_models_with_slopes_are_those_of_lme4(
        name: str, limit: float, slopes: dict[str, Any], golden_folder: Path) -> None:
    expected = slopes[name]
    tables = fitted(golden_folder, expected).tables
    fit = tables["fit"].iloc[0]
    # A covariate far from zero, such as a year, stops lmer a little short of the maximum.
    assert -1e-6 < fit["log_likelihood"] - expected["log_likelihood"] < 1e-5
    assert bool(fit["singular"]) is expected["singular"]
    check_covariances(tables, expected, limit)
    fixed, of_r = tables["fixed_effects"], expected["fixed"]
    assert fixed["term"].tolist() == of_r["term"]
    gap = (fixed["estimate"] - of_r["estimate"]) / of_r["se"]
    assert gap.abs().max() < limit
    np.testing.assert_allclose(fixed["std_error"], of_r["se"], rtol=limit)
    # lmerTest differentiates numerically.
    np.testing.assert_allclose(fixed["df"], of_r["df"], rtol=max(10 * limit, 1e-4))
    rows = expected["anova"]
    np.testing.assert_allclose(tables["anova"]["statistic"], rows["F"], rtol=5 * limit)
    np.testing.assert_allclose(tables["anova"]["df_denominator"], rows["DenDF"],
                               rtol=max(10 * limit, 1e-4))
    if "contrasts" in expected:
        np.testing.assert_allclose(tables["contrasts"]["estimate"],
                                   expected["contrasts"]["estimate"],
                                   atol=limit * max(expected["contrasts"]["se"]))
        np.testing.assert_allclose(tables["contrasts"]["p_adjusted"], expected["contrasts"]["p"],
                                   rtol=max(10 * limit, 1e-4), atol=1e-9)


def check_covariances(tables: dict[str, pd.DataFrame], expected: dict[str, Any], limit: float,
                      ) -> None:
    """Variances and covariances by term and effect, in the order of as.data.frame(VarCorr)."""
    named = tables["random_effects"].replace({"group": {"image.1": "image"}})
    effects = named.set_index(["group", "effect"])["variance"]
    # Of several terms of one grouping R and we number different ones; the effects tell them.
    named_by_r = {"explainer.image": "explainer:image", "image.1": "image"}
    groups = [named_by_r.get(group, group) for group in expected["group"]]
    largest = max(expected["vcov"])
    for group, one, two, value in zip(groups, expected["var1"], expected["var2"],
                                      expected["vcov"], strict=True):
        if two is None:
            value_here = effects[group, one or ""]
        else:
            pairs = tables["random_correlations"].set_index(["group", "effect_a", "effect_b"])
            value_here = pairs.loc[(group, one, two), "covariance"]
        assert value_here == pytest.approx(value, rel=limit, abs=1e-2 * limit * largest)


@pytest.mark.parametrize("name", ["correlated", "uncorrelated", "crossed", "full", "intercepts"])
def test_explained_variance_is_that_of_nakagawa_and_johnson(
        name: str, slopes: dict[str, Any], golden_folder: Path) -> None:
    expected = slopes[name]["r2"]
    rows = fitted(golden_folder, slopes[name]).tables["explained_variance"]
    whole = rows[rows["group"] == ""].set_index("quantity")["value"]
    limit = 100 * MODELS[name]
    assert whole["r2_marginal"] == pytest.approx(expected["marginal"], rel=limit)
    assert whole["r2_conditional"] == pytest.approx(expected["conditional"], rel=limit)
    assert whole["icc"] == pytest.approx(expected["icc"], rel=limit)
    assert rows.loc[rows["group"] != "", "value"].sum() == pytest.approx(whole["icc"])


def test_effect_sizes_are_contrasts_over_the_total_deviation(slopes: dict[str, Any],
                                                             golden_folder: Path) -> None:
    expected = slopes["intercepts"]
    tables = fitted(golden_folder, expected).tables
    sizes, contrasts = tables["effect_sizes"], tables["contrasts"]
    total = np.sqrt(sum(expected["vcov"]))
    np.testing.assert_allclose(sizes["sd"], total, rtol=1e-6)
    for size, of_contrast in (("d", "estimate"), ("conf_low",) * 2, ("conf_high",) * 2):
        np.testing.assert_allclose(sizes[size], contrasts[of_contrast] / total, rtol=1e-6)
    assert sizes["contrast"].tolist() == contrasts["contrast"].tolist()


@pytest.mark.parametrize("name", ["correlated", "uncorrelated", "crossed", "two", "intercepts"])
def test_likelihood_ratio_tests_of_random_terms_are_ranova(
        name: str, slopes: dict[str, Any], golden_folder: Path) -> None:
    expected = slopes[name]["ranova"]
    rows = fitted(golden_folder, slopes[name],
                  inspection=Inspection(random_tests=True)).tables["random_tests"]
    assert sorted(rows["df"]) == sorted(as_list(expected["df"]))
    np.testing.assert_allclose(sorted(rows["statistic"]), sorted(as_list(expected["lrt"])),
                               rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(sorted(rows["p_value"]), sorted(as_list(expected["p"])), rtol=1e-3)


@pytest.mark.parametrize("name", ["correlated", "uncorrelated", "crossed", "three", "intercepts"])
def test_influence_of_groups_is_that_of_dense_matrices(
        name: str, slopes: dict[str, Any], golden_folder: Path) -> None:
    expected = slopes[name]["influence"]
    rows = fitted(golden_folder, slopes[name],
                  inspection=Inspection(influence=expected["group"])).tables["influence"]
    assert rows["cooks_distance"].is_monotonic_decreasing
    distances = rows.set_index("level")["cooks_distance"][
        [str(level) for level in expected["level"]]]
    np.testing.assert_allclose(distances, expected["cooks_distance"],
                               rtol=max(1e-4, 100 * MODELS[name]))


def test_influence_is_of_a_grouping_factor_and_says_what_is_undetermined(golden_folder: Path,
                                                                         ) -> None:
    table = table_of(golden_folder, "slopes")
    with pytest.raises(UsageError, match="no grouping factor"):
        mixed_model(table, "auprc ~ year + (1|image)",
                    fitting=inspected(influence="explainer"))
    table["rare"] = np.where(table["image"] == table["image"][0], "yes", "no")
    rows = mixed_model(table, "auprc ~ rare + year + (1|image)",
                       fitting=inspected(influence="image")).tables["influence"]
    last = rows.iloc[-1]
    assert last["level"] == table["image"][0]
    assert np.isnan(last["cooks_distance"])
    assert "do not determine" in last["note"]


@pytest.mark.parametrize("name", ["uncorrelated", "no_intercept", "intercepts"])
def test_profile_intervals_are_those_of_lme4(name: str, slopes: dict[str, Any],
                                             golden_folder: Path) -> None:
    expected = slopes[name]["profile"]
    rows = fitted(golden_folder, slopes[name],
                  inspection=Inspection(profile=True)).tables["variance_intervals"]
    # lme4 interpolates its profile.
    np.testing.assert_allclose(rows["conf_low"], expected["low"], rtol=1e-4)
    np.testing.assert_allclose(rows["conf_high"], expected["high"], rtol=1e-4)


def test_profile_intervals_begin_at_zero_and_leave_out_correlated_effects(
        golden_folder: Path) -> None:
    rows = mixed_model(golden_folder / "singular.csv", "auprc ~ explainer + (1|image)",
                       fitting=inspected(profile=True)).tables
    image = rows["variance_intervals"].iloc[0]
    assert image["sd"] == image["conf_low"] == 0
    assert image["conf_high"] > 0.01
    rows = mixed_model(table_of(golden_folder, "slopes"), "auprc ~ year + (year|image)",
                       fitting=inspected(profile=True)).tables
    table = rows["variance_intervals"]
    assert np.isnan(table["conf_low"][:2]).all()
    assert table["note"][:2].str.contains("not profiled").all()


def as_list(value: Any) -> list[float]:
    """R writes a vector of one as a number."""
    return value if isinstance(value, list) else [value]


@pytest.mark.parametrize("name", ["correlated", "uncorrelated", "crossed", "nested"])
def test_kenward_roger_with_slopes_is_that_of_pbkrtest(
        name: str, slopes: dict[str, Any], golden_folder: Path) -> None:
    expected = slopes[name]["fixed_kr"]
    fixed = fitted(golden_folder, slopes[name], df="kenward-roger").tables["fixed_effects"]
    np.testing.assert_allclose(fixed["std_error"], expected["se"], rtol=1e-5)
    np.testing.assert_allclose(fixed["df"], expected["df"], rtol=1e-4)


@pytest.mark.parametrize("name", ["correlated", "crossed", "three", "singular"])
def test_maximum_likelihood_with_slopes(name: str, slopes: dict[str, Any], golden_folder: Path,
                                        ) -> None:
    fit = fitted(golden_folder, slopes[name], reml=False).tables["fit"].iloc[0]
    assert fit["log_likelihood"] == pytest.approx(slopes[name]["log_likelihood_ml"], abs=1e-6)


@pytest.mark.parametrize(("scale", "shift"), [(1e-6, 0.0), (1e5, 0.0), (1.0, 2000.0)])
def test_the_units_of_a_covariate_do_not_matter(scale: float, shift: float, golden_folder: Path,
                                                ) -> None:
    table = table_of(golden_folder, "slopes")
    moved = table.assign(year=scale * table["year"] + shift)
    one, two = (mixed_model(t, "auprc ~ explainer + year + (1 + year|image)",
                            fitting=Fitting(engine="builtin")).tables for t in (table, moved))
    assert two["fit"]["log_likelihood"][0] == pytest.approx(
        one["fit"]["log_likelihood"][0] - np.log(scale), abs=1e-6)
    np.testing.assert_allclose(two["contrasts"]["statistic"], one["contrasts"]["statistic"],
                               rtol=1e-6)
    np.testing.assert_allclose(two["fixed_effects"]["df"][1:], one["fixed_effects"]["df"][1:],
                               rtol=1e-5)


@pytest.mark.parametrize(("formula", "reason"), [
    ("auprc ~ year + (1 + year|image) + (1|image)", r"nearest that are accepted are \(1 \+ year"),
    ("auprc ~ year + (year + 0 + year|image) + (year||image)", "slope year of image stands twice"),
    ("auprc ~ year + (1 + year:explainer|image)", r"nearest that is accepted is \(1 \+ year\|"),
    ("auprc ~ year + (1 + year*explainer|image)", "make a column of a product"),
    ("auprc ~ year + (0|image)", "has no effect"),
    ("auprc ~ year + (log(year)|image)", "cannot be computed"),
    ("auprc ~ year + (1 + auprc|image)", "also a random slope"),
    ("auprc ~ year + (1 + |image)", "a column or 1 is missing"),
    ("auprc ~ year + (1 + nothing|image)", "no column"),
])
def test_slopes_that_are_refused(formula: str, reason: str, golden_folder: Path) -> None:
    with pytest.raises(UsageError, match=reason):
        mixed_model(table_of(golden_folder, "slopes"), formula)


@pytest.mark.parametrize(("change", "formula", "reason"), [
    ({"year": 1.0}, "auprc ~ explainer + (1 + year|image)", "a covariate is constant"),
    ({"twice": 2.0}, "auprc ~ explainer + (1 + year + twice|image)", "combinations of each other"),
    ({}, "auprc ~ year + (1 + explainer|case)", "random effects of"),
])
def test_data_that_cannot_give_slopes(change: dict[str, float], formula: str, reason: str,
                                      golden_folder: Path) -> None:
    table = table_of(golden_folder, "slopes")
    table["case"] = np.arange(len(table)) // 2
    for column, value in change.items():
        table[column] = value * (table["year"] if column == "twice" else 1.0)
    with pytest.raises(DataError, match=reason):
        mixed_model(table, formula, fitting=Fitting(engine="builtin"))
