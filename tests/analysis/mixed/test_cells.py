"""Simple effects, cells of two factors and differences of differences, against emmeans."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from saltrust.analysis.mixed.cells import named_factors
from saltrust.analysis.mixed.model import mixed_model
from saltrust.analysis.mixed.options import Contrasts, Fitting
from saltrust.analysis.result import Result
from saltrust.choices import ContrastAdjustment, DegreesOfFreedom
from saltrust.cli import main
from saltrust.errors import DataError, UsageError

TWO = "auprc ~ explainer * model + age + (1|image)"
BUILTIN = Fitting(engine="builtin")
ADJUST: dict[str, ContrastAdjustment] = {
    "tukey": "tukey", "dunnettx": "dunnett", "none": "none", "sidak": "sidak", "holm": "holm",
    "bonferroni": "bonferroni"}
CASES = ("by", "by control", "cells", "cells control", "interaction", "interaction control",
         "by two", "cells by", "interaction by", "averaged by", "averaged interaction", "empty by",
         "empty cells")


@pytest.fixture(scope="module")
def comparisons(golden_folder: Path) -> dict[str, dict[str, Any]]:
    values = json.loads((golden_folder / "comparisons.json").read_text())
    return {case["name"]: case for case in values}


@pytest.fixture
def scores(golden_folder: Path) -> pd.DataFrame:
    return pd.read_csv(golden_folder / "interaction.csv")


def scores_of(case: dict[str, Any], folder: Path) -> pd.DataFrame:
    table = pd.read_csv(folder / f"{case['table']}.csv")
    if case["empty"]:
        explainer, model = case["empty"]
        table = table[(table["explainer"] != explainer) | (table["model"] != model)]
    return table


def compare(case: dict[str, Any], table: pd.DataFrame, adjustment: ContrastAdjustment,
            fitting: Fitting) -> Result:
    control = None
    if case["control"]:
        factors = case["over"][:1] if case["crossed"] else case["over"]
        levels = [table[name].unique() for name in factors]
        control = [" ".join(reversed(parts)) for parts in
                   pd.MultiIndex.from_product(levels[::-1]).tolist()][case["control"] - 1] \
            if len(levels) > 1 else str(levels[0][case["control"] - 1])
    return mixed_model(table, case["formula"], over=case["over"], fitting=fitting,
                       contrasts=Contrasts(control=control, adjustment=adjustment, by=case["by"],
                                           interaction=case["crossed"]))


def numbers(values: list[float | None]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([np.nan if value is None else value for value in values])


def check(table: pd.DataFrame, expected: dict[str, list[float | None]]) -> None:
    """Estimates and bounds, which may lie near zero, are seen against their error."""
    error = numbers(expected["se"])
    for column, name in (("estimate", "estimate"), ("std_error", "se"), ("df", "df"),
                         ("conf_low", "lo"), ("conf_high", "hi")):
        known = numbers(expected[name])
        np.testing.assert_array_equal(np.isnan(table[column]), np.isnan(known))
        gap = np.abs(table[column] - known) / np.fmax(np.abs(known), error)
        assert np.nanmax(gap) < 2e-6, (column, np.nanmax(gap))


@pytest.mark.parametrize("df", ["satterthwaite", "kenward-roger"])
@pytest.mark.parametrize("name", CASES)
def test_comparisons_of_emmeans(name: str, df: DegreesOfFreedom, golden_folder: Path,
                                comparisons: dict[str, dict[str, Any]]) -> None:
    case = comparisons[name]
    table = scores_of(case, golden_folder)
    for adjust, expected in case[df].items():
        if df == "kenward-roger" and adjust in ("sidak", "holm", "bonferroni"):
            continue  # the same functions of t and df
        made = compare(case, table, ADJUST.get(adjust, "none"), Fitting(engine="builtin", df=df))
        if adjust == "means":
            check(made["means"], expected)
            continue
        contrasts = made["contrasts"]
        missing = contrasts["estimate"].isna()
        if missing.any() and adjust != "none":
            continue  # emmeans counts only the contrasts that it could estimate, we those planned
        check(contrasts, expected)
        np.testing.assert_allclose(contrasts["statistic"], numbers(expected["t"]), rtol=1e-6,
                                   atol=1e-6)
        np.testing.assert_allclose(contrasts["p_value"], numbers(expected["raw"]), rtol=1e-5,
                                   atol=2e-9)
        if adjust != "none":
            np.testing.assert_allclose(contrasts["p_adjusted"], numbers(expected["p"]), rtol=5e-6,
                                       atol=2e-9)


@pytest.mark.needs_r
@pytest.mark.parametrize("name", ["by control", "interaction by",
                                  "interaction control", "empty cells"])
def test_all_engines_compare_the_same(name: str, golden_folder: Path,
                                      comparisons: dict[str, dict[str, Any]]) -> None:
    case = comparisons[name]
    table = scores_of(case, golden_folder)
    ours = compare(case, table, "bonferroni", BUILTIN)
    verbatim = {**case, "formula": case["formula"] + " + offset(log(one))"}
    for other in (compare(case, table, "bonferroni", Fitting(engine="pymer4")),
                  compare(verbatim, table.assign(one=1), "bonferroni", Fitting(engine="pymer4"))):
        for part in ("means", "contrasts"):
            one, two = ours[part], other[part]
            texts = [column for column in one if not pd.api.types.is_numeric_dtype(one[column])]
            pd.testing.assert_frame_equal(one[texts], two[texts])
            for column in ("n", "estimate", "std_error", "df", "conf_low", "conf_high"):
                np.testing.assert_allclose(two[column], one[column], rtol=1e-5, atol=1e-7)
            if not one["estimate"].isna().any():
                np.testing.assert_allclose(two["p_adjusted"], one["p_adjusted"], rtol=1e-4,
                                           atol=1e-12)


@pytest.mark.needs_r
def test_hits_are_compared_within_levels_too(scores: pd.DataFrame) -> None:
    table = scores.assign(hit=(scores["auprc"] > scores["auprc"].median()).astype(int))
    table.loc[::5, "hit"] = 1 - table.loc[::5, "hit"]
    formula = "hit ~ explainer * model + (1|image)"
    parts = [mixed_model(table, formula, over=over, contrasts=contrasts,
                         fitting=Fitting(family="binomial"))["contrasts"] for over, contrasts in (
        ("explainer", Contrasts(by="model")), (None, Contrasts(interaction=True)))]
    simple, crossed = parts
    np.testing.assert_allclose(simple["estimate"][:6].to_numpy() - simple["estimate"][6:],
                               crossed["estimate"], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(np.exp(crossed["estimate"]), crossed["odds_ratio"])
    with pytest.raises(UsageError, match=r"no interaction of explainer and model.*write"):
        mixed_model(table, "hit ~ explainer + model + (1|image)", over="explainer,model",
                    contrasts=Contrasts(interaction=True), fitting=Fitting(family="binomial"))


def test_every_contrast_is_a_difference_of_the_means_printed(scores: pd.DataFrame) -> None:
    cells = mixed_model(scores, TWO, over="explainer,model", fitting=BUILTIN)
    mean = dict(zip(cells["means"]["level"], cells["means"]["estimate"], strict=True))
    count = dict(zip(cells["means"]["level"], cells["means"]["n"], strict=True))
    assert count == scores.groupby(scores["explainer"] + " " + scores["model"]).size().to_dict()
    for _, row in cells["contrasts"].iterrows():
        assert row["estimate"] == pytest.approx(mean[row["level_a"]] - mean[row["level_b"]])
        assert row["n"] == count[row["level_a"]] + count[row["level_b"]]
    simple = mixed_model(scores, TWO, fitting=BUILTIN, contrasts=Contrasts(by="model"))
    assert simple.meta["over"] == "explainer"
    for _, row in simple["contrasts"].iterrows():
        names = [f"{row[side]} {row['by_level']}" for side in ("level_a", "level_b")]
        assert row["estimate"] == pytest.approx(mean[names[0]] - mean[names[1]])
        assert row["family"] == f"all pairs within model {row['by_level']} (6 contrasts)"
    crossed = mixed_model(scores, TWO, fitting=BUILTIN, contrasts=Contrasts(interaction=True))
    by = simple["contrasts"].set_index(["contrast", "by_level"])["estimate"]
    for _, row in crossed["contrasts"].iterrows():
        (one, p), (two, q) = (row[side][1:].split(") at ") for side in ("level_a", "level_b"))
        assert one == two
        assert row["estimate"] == pytest.approx(by[one, p] - by[two, q])
    assert set(crossed["contrasts"]["adjustment"]) == {"sidak"}


def test_effect_sizes_and_variances_of_levels_follow(scores: pd.DataFrame) -> None:
    for over, contrasts in (("explainer", Contrasts(by="model")), (
            "explainer,model", Contrasts(interaction=True))):
        made = mixed_model(scores, TWO, over=over, contrasts=contrasts, fitting=BUILTIN)
        sizes, table = made["effect_sizes"], made["contrasts"]
        assert sizes["contrast"].tolist() == table["contrast"].tolist()
        np.testing.assert_allclose(sizes["d"] * sizes["sd"], table["estimate"])
    unequal = Fitting(engine="builtin", variance="level")
    made = mixed_model(scores, TWO, over="explainer", contrasts=Contrasts(by="model"),
                       fitting=unequal)
    np.testing.assert_allclose(made["effect_sizes"]["d"] * made["effect_sizes"]["sd"],
                               made["contrasts"]["estimate"])
    assert made["effect_sizes"]["by_level"].tolist() == made["contrasts"]["by_level"].tolist()
    with pytest.raises(UsageError, match="--variance level"):
        mixed_model(scores, TWO, over="explainer,model", fitting=unequal)


def test_the_largest_of_correlated_differences(scores: pd.DataFrame) -> None:
    """Single-step lies between no adjustment and Sidak's, and gives the bound of its interval."""
    made = {word: mixed_model(scores, TWO, fitting=BUILTIN, contrasts=Contrasts(
        interaction=True, adjustment=word))["contrasts"]["p_adjusted"].to_numpy()
        for word in ("none", "single-step", "sidak")}  # type: ignore[arg-type]
    assert (made["none"] <= made["single-step"] + 1e-12).all()
    assert (made["single-step"] <= made["sidak"] + 1e-4).all()
    assert (made["single-step"] < 0.99 * made["sidak"]).any()


def test_notes_say_what_was_averaged_and_adjusted(scores: pd.DataFrame) -> None:
    def notes(formula: str, **options: Any) -> str:
        return " / ".join(mixed_model(scores, formula, fitting=BUILTIN, **options).meta["notes"])

    assert "--by model compares within levels" in notes(TWO, over="explainer")
    by = Contrasts(by="model")
    assert "averages" not in notes(TWO, contrasts=by)
    assert "not adjusted for 2 families" in notes(TWO, contrasts=by)
    additive = "auprc ~ explainer + model + (1|image)"
    assert "model does not interact with explainer" in notes(additive, contrasts=by)
    assert "do not" not in notes(TWO, over="explainer,model")


@pytest.mark.parametrize(("formula", "over", "contrasts", "words"), [
    (TWO, "explainer,modle", {}, "'modle' is no fixed effect.*did you mean 'model'"),
    (TWO, "explainer,explainer", {}, "named twice"),
    (TWO, "explainer", {"by": "image"}, "'image' is no fixed effect"),
    (TWO, "explainer", {"by": 3}, "3 names no factor"),
    (TWO, "explainer", {"by": "explainer"}, "within its own levels"),
    (TWO, "explainer", {"interaction": True}, "of two factors: name them"),
    (TWO, "explainer,model", {"control": "UNET"}, "no level 'UNET'; "),
    (TWO, "explainer,model", {"control": "dense", "interaction": True}, "no level 'dense'"),
    ("auprc ~ explainer + (1|image)", None, {"interaction": True}, "no two factors"),
    ("auprc ~ explainer + (1|image)", None, {"by": "explainer"}, "no factor is left"),
    ("auprc ~ explainer + model + (1|image)", None, {"interaction": True},
     r"no interaction of explainer and model.*write explainer \* model"),
])
def test_wrong_calls(scores: pd.DataFrame, formula: str, over: str | None,
                     contrasts: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        mixed_model(scores, formula, over=over, contrasts=Contrasts(**contrasts), fitting=BUILTIN)


def test_adjustments_that_are_for_means_alone() -> None:
    for word in ("tukey", "dunnett"):
        with pytest.raises(UsageError, match="take sidak"):
            Contrasts(interaction=True, adjustment=word)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="--posthoc means"):
        Contrasts(interaction=True, posthoc="tukey")


def test_names_that_hold_commas_and_blanks(scores: pd.DataFrame) -> None:
    assert named_factors("a,b", ("a", "b", "a,b"), "y") == ("a,b",)
    renamed = scores.rename(columns={"model": "net, kind"})
    formula = TWO.replace("model", "`net, kind`")
    made = mixed_model(renamed, formula, contrasts=Contrasts(by="net, kind"), fitting=BUILTIN)
    assert set(made["contrasts"]["by"]) == {"net, kind"}
    same = scores.assign(explainer=scores["explainer"].replace({"grad": "a", "xrai": "a b"}),
                         model=scores["model"].replace({"dense": "b c", "inception": "c"}))
    with pytest.raises(DataError, match="are called 'a b c'; rename a level"):
        mixed_model(same, TWO, over="explainer,model", fitting=BUILTIN)


def test_too_many_cells_are_refused_before_they_are_made() -> None:
    rows = np.arange(1200)
    table = pd.DataFrame({"y": rows % 7 + 0.1 * (rows % 11), "a": [f"a{k}" for k in rows % 400],
                          "b": [f"b{k}" for k in rows // 3], "g": rows % 5})
    with pytest.raises(DataError, match=r"a and b have 160,000 combinations"):
        mixed_model(table, "y ~ a + b + (1|g)", over="a,b", fitting=BUILTIN)


def test_the_command(golden_folder: Path) -> None:
    call = ["analyze", "mixed", "--scores", str(golden_folder / "interaction.csv"), "--formula",
            TWO, "--engine", "builtin", "--format", "json"]
    done = CliRunner().invoke(main, [*call, "--by", "model", "--control", "UNET"])
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    assert [row["by_level"] for row in printed["tables"]["contrasts"]] == ["dense"] * 3 + [
        "inception"] * 3
    assert printed["meta"]["by"] == ["model"]
    assert "are a family of their own" in done.stderr
    done = CliRunner().invoke(main, [*call, "--over", "explainer, model", "--interaction"])
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    assert printed["meta"]["over"] == ["explainer", "model"]
    assert len(printed["tables"]["contrasts"]) == 6
    done = CliRunner().invoke(main, [*call, "--over", "explainer", "--interaction"])
    assert (done.exit_code, done.stdout) == (2, "")
    assert "--over explainer,model" in done.stderr
