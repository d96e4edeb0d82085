"""The built-in engine against lme4, lmerTest, emmeans, pbkrtest and multcomp.

lmer's own optimiser leaves 1e-7 in the variances, so that values are compared at 1e-6, and
estimates and bounds, which may lie near zero, against their standard error.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from saltrust.analysis.mixed.model import mixed_model
from saltrust.analysis.mixed.options import Contrasts, Fitting
from saltrust.analysis.result import Result
from saltrust.choices import ContrastAdjustment

NAMES = ("sleepstudy", "cake_recipe", "cake_temp", "machines", "machines_nested", "pastes",
         "unbalanced", "singular", "crossed", "nested", "interaction", "missing", "three",
         "readings", "covariate", "models", "tiny")
PLAIN = tuple(name for name in NAMES if name != "interaction")
DF = {"satt": "satterthwaite", "kr": "kenward-roger"}


class Case:
    """One model and R's values for it."""

    def __init__(self, name: str, values: dict[str, Any], folder: Path) -> None:
        self.values = values[name]
        self.path = folder / f"{name}.csv"

    def fit(self, contrasts: Contrasts = Contrasts(), **fitting: Any) -> Result:
        return mixed_model(self.path, self.values["formula"], over=self.values["factor"],
                           contrasts=contrasts, fitting=Fitting(engine="builtin", **fitting))


@pytest.fixture(params=NAMES)
def case(request: pytest.FixtureRequest, golden: dict[str, Any], golden_folder: Path) -> Case:
    return Case(request.param, golden, golden_folder)


@pytest.fixture(params=PLAIN)
def plain_case(request: pytest.FixtureRequest, golden: dict[str, Any], golden_folder: Path,
               ) -> Case:
    return Case(request.param, golden, golden_folder)


def close(actual: npt.ArrayLike, expected: npt.ArrayLike, scale: npt.ArrayLike = 0.0,
          limit: float = 1e-6) -> None:
    one, two = np.asarray(actual, dtype=float), np.asarray(expected, dtype=float)
    gap = np.abs(one - two) / np.maximum(np.abs(two), np.maximum(scale, 1e-300))
    assert gap.max() < limit, gap.max()


def close_p(actual: pd.Series[float], expected: list[float], rtol: float = 2e-6) -> None:
    """R's studentized range has an absolute error of 1e-9."""
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=2e-9)


def test_fixed_effects(case: Case) -> None:
    for key, options in (("fixed", {}), ("fixed_kr", {"df": "kenward-roger"}),
                         ("fixed_ML", {"reml": False})):
        expected = case.values[key]
        actual = case.fit(**options).tables["fixed_effects"]
        assert actual["term"].tolist() == expected["term"]
        close(actual["estimate"], expected["estimate"], expected["se"])
        close(actual["std_error"], expected["se"])
        close(actual["df"], expected["df"])
        close_p(actual["p_value"], expected["p"])


def test_variances_and_likelihood(case: Case) -> None:
    for key, likelihood, options in (("varcomp", "logLik_REML", {}),
                                     ("varcomp_ML", "logLik_ML", {"reml": False})):
        expected = case.values[key]
        tables = case.fit(**options).tables
        effects, fit = tables["random_effects"], tables["fit"].iloc[0]
        assert effects["group"].tolist() == expected["grp"]
        close(effects["variance"], expected["vcov"], 1e-6 * max(expected["vcov"]))
        assert fit["log_likelihood"] == pytest.approx(case.values[likelihood], rel=1e-9)
    fit = case.fit().tables["fit"].iloc[0]
    assert fit["n"] == case.values["n"]
    assert bool(fit["singular"]) is case.values["singular"]
    assert fit["criterion"] == pytest.approx(case.values["REMLcrit"], rel=1e-9)
    assert fit["aic"] == pytest.approx(case.values["AIC"], rel=1e-9)
    assert fit["bic"] == pytest.approx(case.values["BIC"], rel=1e-9)


@pytest.mark.parametrize(("scale", "shift"), [(1e-9, 0.0), (1e9, 0.0), (1e-3, 1e3)])
def test_extreme_scales(case: Case, scale: float, shift: float) -> None:
    """lmerTest's own numeric derivatives lose their digits there; the answer may not change."""
    formula = case.values["formula"]
    table = pd.read_csv(case.path, dtype=object)
    response = formula.split(" ~ ")[0]
    table[response] = scale * table[response].astype(float) + shift
    actual = mixed_model(table, formula, over=case.values["factor"],
                        fitting=Fitting(engine="builtin")).tables
    expected = case.values["fixed"]
    limit = 1e-6 if not shift else 1e-5
    close(actual["fixed_effects"]["df"], expected["df"], limit=limit)
    close(actual["fixed_effects"]["std_error"], scale * np.array(expected["se"]), limit=limit)
    pairs = case.values["pairs_tukey_satt"]
    close(actual["contrasts"]["statistic"], pairs["t"], 1.0, limit)
    np.testing.assert_allclose(actual["contrasts"]["p_adjusted"], pairs["p"], rtol=2e-5, atol=2e-9)


@pytest.mark.parametrize("df", ["satt", "kr"])
def test_tests_of_terms(case: Case, df: str) -> None:
    expected = case.values[f"anova_{df}"]
    actual = case.fit(df=DF[df]).tables["anova"]
    assert actual["term"].tolist() == expected["term"]
    close(actual["statistic"], expected["F"])
    close(actual["df_numerator"], expected["NumDF"])
    close(actual["df_denominator"], expected["DenDF"])
    close_p(actual["p_value"], expected["p"])


@pytest.mark.parametrize("df", ["satt", "kr"])
def test_marginal_means(case: Case, df: str) -> None:
    expected = case.values[f"emmeans_{df}"]
    actual = case.fit(df=DF[df]).tables["means"]
    assert actual["level"].tolist() == expected["level"] == case.values["levels"]
    close(actual["estimate"], expected["emmean"], expected["se"])
    close(actual["std_error"], expected["se"])
    close(actual["df"], expected["df"])
    close(actual["conf_low"], expected["lo"], expected["se"])
    close(actual["conf_high"], expected["hi"], expected["se"])


def check_contrasts(actual: pd.DataFrame, expected: dict[str, Any], factor: str) -> None:
    # emmeans writes the factor's name before levels that are numbers.
    assert actual["contrast"].tolist() == [
        name.replace(factor, "") if name[-1].isdigit() else name for name in expected["contrast"]]
    close(actual["estimate"], expected["estimate"], expected["se"])
    close(actual["std_error"], expected["se"])
    close(actual["df"], expected["df"])
    close(actual["statistic"], expected["t"], 1.0)
    # R's ptukey and qtukey are less exact at 3 degrees of freedom.
    few = min(expected["df"]) < 5
    limit = 2e-5 if few else 1e-6
    close(actual["conf_low"], expected["lo"], expected["se"], limit)
    close(actual["conf_high"], expected["hi"], expected["se"], limit)
    close_p(actual["p_adjusted"], expected["p"], 1e-5 if few else 2e-6)


@pytest.mark.parametrize("df", ["satt", "kr"])
@pytest.mark.parametrize("adjust", ["tukey", "none", "bonferroni", "holm", "sidak"])
def test_all_pairs(case: Case, df: str, adjust: ContrastAdjustment) -> None:
    actual = case.fit(Contrasts(posthoc="tukey", adjustment=adjust), df=DF[df]).tables["contrasts"]
    check_contrasts(actual, case.values[f"pairs_{adjust}_{df}"], case.values["factor"])


@pytest.mark.parametrize("df", ["satt", "kr"])
@pytest.mark.parametrize("adjust", ["dunnett", "none", "bonferroni", "holm", "sidak"])
def test_against_a_control(case: Case, df: str, adjust: ContrastAdjustment) -> None:
    actual = case.fit(Contrasts(control=case.values["control"], adjustment=adjust), df=DF[df])
    name = "dunnettx" if adjust == "dunnett" else adjust
    check_contrasts(actual.tables["contrasts"], case.values[f"dunnett_{name}_{df}"],
                    case.values["factor"])


# mvtnorm takes whole degrees of freedom only, which the 3.1 of tiny are far from.
@pytest.mark.parametrize("name", [name for name in NAMES if name != "tiny"])
def test_the_exact_test_against_a_control(name: str, golden: dict[str, Any], golden_folder: Path,
                                          ) -> None:
    case = Case(name, golden, golden_folder)
    actual = case.fit(Contrasts(control=case.values["control"], adjustment="single-step"))
    np.testing.assert_allclose(actual.tables["contrasts"]["p_adjusted"],
                               case.values["dunnett_mvt_satt"]["p"], rtol=0, atol=2e-3)


def test_single_step_z_tests_of_multcomp(plain_case: Case) -> None:
    fitted = plain_case.fit(Contrasts(adjustment="single-step"), df="asymptotic")
    actual = fitted.tables["contrasts"]
    expected = plain_case.values["glht_tukey"]
    # multcomp writes B - A where emmeans writes A - B, in the same order.
    assert actual["contrast"].tolist() == [
        " - ".join(reversed(name.split(" - "))) for name in expected["contrast"]]
    close(-actual["estimate"], expected["estimate"], expected["se"])
    close(-actual["statistic"], expected["z"], 1.0)
    np.testing.assert_allclose(actual["p_adjusted"], expected["p"], rtol=0, atol=2e-3)
