"""Decisions against independent implementations and the paper's rule."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired

from saltrust.analysis.inference.multiplicity import adjust
from saltrust.analysis.options import Margins
from saltrust.analysis.trustworthiness.decisions import (
    METHODS,
    Decision,
    adjust_together,
    decide,
    decision_tables,
    verdict,
)
from saltrust.errors import UsageError

OPTIONS = Decision(resamples=1000, margin=0.05)
#: The model of the paper, with one variance for all explainers.
PAPER = Decision(resamples=1000, variance="equal")


def scores(shifts: dict[str, float], n: int = 30, seed: int = 0, spread: float = 0.1,
           per_patient: int = 1) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    image = generator.normal(0.4, 0.1, n)
    return pd.DataFrame([
        {"image": f"i{i}", "patient": f"p{i // per_patient}", "level": level,
         "value": image[i] + shift + generator.normal(0, spread)}
        for i in range(n) for level, shift in shifts.items()])


def run(table: pd.DataFrame, contrasts, options: Decision = OPTIONS, **more
        ) -> dict[str, pd.DataFrame]:
    decided = decide(table, contrasts, identify={"finding": "f"}, options=options, **more)
    return decision_tables(*decided, ["finding"])


def test_what_stands_beside_the_mixed_model() -> None:
    table = scores({"base": 0, "up": 0.08, "same": 0.0, "down": -0.2})
    levels = ["up", "same", "down"]
    tables = run(table, [(level, "base") for level in levels])
    decisions, methods = tables["decisions"].set_index("explainer"), tables["methods"]
    wide = table.pivot_table(index="image", columns="level", values="value", sort=False)
    signed = methods[methods["method"] == "Wilcoxon"].set_index("explainer")
    raw = [stats.wilcoxon(wide[level], wide["base"], method="approx", correction=False).pvalue
           for level in levels]
    np.testing.assert_allclose(signed.loc[levels, "p_value"], raw)
    np.testing.assert_allclose(signed.loc[levels, "p_adjusted"], adjust(raw, "holm"))
    for level in levels:
        difference = wide[level] - wide["base"]
        assert decisions.loc[level, "estimate"] == pytest.approx(difference.mean())
        assert decisions.loc[level, "effect_size"] == pytest.approx(
            difference.mean() / difference.std(ddof=1))
        assert decisions.loc[level, "tost_p"] == pytest.approx(
            ttost_paired(wide[level], wide["base"], -0.05, 0.05)[0])
    assert decisions["decision"].to_dict() == {"up": "pass", "same": "uncertain",
                                               "down": "did not pass"}
    boot = methods[methods["method"] == "paired bootstrap"].set_index("explainer")
    for level in levels:
        difference = wide[level] - wide["base"]
        assert boot.loc[level, "std_error"] == pytest.approx(
            difference.std(ddof=1) / np.sqrt(len(difference)), rel=0.1)
    np.testing.assert_allclose(decisions["p_study"], adjust(decisions["p_value"], "holm"))


def test_the_balanced_mixed_model_is_the_two_way_layout() -> None:
    table = scores({"base": 0, "up": 0.05, "same": 0.0})
    row = run(table, [("up", "base")], PAPER)["decisions"].iloc[0]
    wide = table.pivot_table(index="image", columns="level", values="value", sort=False)
    residual = wide.sub(wide.mean(axis=1), axis=0).sub(wide.mean(), axis=1) + wide.values.mean()
    df = (len(wide) - 1) * 2
    error = np.sqrt(2 * (residual.values**2).sum() / df / len(wide))
    assert row["std_error"] == pytest.approx(error, rel=1e-5)
    assert row["df"] == pytest.approx(df, rel=1e-4)
    q = abs(row["estimate"]) / error * np.sqrt(2)
    assert row["p_adjusted"] == pytest.approx(stats.studentized_range.sf(q, 3, df), rel=1e-4)


def test_the_order_of_a_pair_turns_its_sign() -> None:
    table = scores({"a": 0, "b": 0.05})
    forth, back = (run(table, [pair])["decisions"].iloc[0] for pair in (("a", "b"), ("b", "a")))
    assert forth["estimate"] == pytest.approx(-back["estimate"])
    assert forth["conf_low"] == pytest.approx(-back["conf_high"])
    assert forth["p_adjusted"] == pytest.approx(back["p_adjusted"])
    assert forth["term"] == "a - b"


def test_unequal_variances_change_decisions_and_are_flagged() -> None:
    quiet = scores({"base": 0, "steady": 0.02}, spread=0.01, seed=1)
    loud = scores({"wild": 0.0}, spread=0.8, seed=2)
    tables = run(pd.concat([quiet, loud]), [("steady", "base"), ("wild", "base")],
                 Decision(resamples=4000, variance="equal", posthoc="control"))
    row = tables["decisions"].set_index("explainer").loc["steady"]
    assert row["decision"] == "uncertain"
    assert row["bootstrap_decision"] == row["wilcoxon_decision"] == "pass"
    assert row["changes"]


def test_a_variance_per_level_sees_small_steady_differences() -> None:
    quiet = scores({"base": 0, "steady": 0.02}, spread=0.01, seed=1)
    loud = scores({"wild": 0.0}, spread=0.8, seed=2)
    tables = run(pd.concat([quiet, loud]), [("steady", "base"), ("wild", "base")])
    rows = tables["decisions"].set_index("explainer")
    assert rows["decision"].to_dict() == {"steady": "pass", "wild": "uncertain"}
    assert not rows["changes"].any()
    wide = pd.concat([quiet, loud]).pivot_table(index="image", columns="level", values="value")
    for level in ("steady", "wild"):
        # One row per image and level: the paired t test, whatever the working model.
        paired = stats.ttest_rel(wide[level], wide["base"])
        assert rows.loc[level, "p_value"] == pytest.approx(paired.pvalue, rel=1e-5)
        assert rows.loc[level, "df"] == pytest.approx(len(wide) - 1, rel=1e-5)
        assert paired.pvalue <= rows.loc[level, "p_adjusted"] <= 2 * paired.pvalue + 1e-12
    assert "equal residual variances: chi-squared" in rows.loc["steady", "note"]


def test_every_method_has_the_family_of_the_mixed_model() -> None:
    table = scores({"a": 0, "b": 0.02, "c": 0.1, "d": 0.1}, n=20)
    pairs = [(level, base) for base in ("c", "d") for level in "ab"]
    for options, size in ((OPTIONS, 4), (PAPER, 6),
                          (Decision(resamples=1000, posthoc="control"), 2),
                          (Decision(resamples=1000, posthoc="control", variance="equal"), 3)):
        methods = run(table, pairs, options)["methods"]
        assert methods["family"].str.contains(rf"\({size} ").all()


def test_levels_of_few_rows_have_one_variance_and_it_is_said() -> None:
    rows = run(scores({"a": 0, "b": 0.1, "c": 0.1}, n=9), [("a", "c"), ("b", "c")])["decisions"]
    assert rows["note"].str.contains("fewer than 10 rows").all()
    assert (rows["adjustment"] == "tukey").all()


def test_few_patients_are_said_to_be_few() -> None:
    table = scores({"a": 0, "b": 0.1}, n=12, per_patient=4)
    note = run(table, [("a", "b")])["decisions"]["note"].iloc[0]
    assert "degrees of freedom: too few patients" in note


def test_models_that_are_averaged_are_said_to_be() -> None:
    methods = run(several_models(3, 0.08), [("a", "b")], random="model")["methods"]
    notes = methods.set_index("method")["note"]
    assert notes[["paired bootstrap", "Wilcoxon"]].str.contains("conditional on these models").all()
    assert "conditional" not in notes["mixed model"]


def test_constants_are_tested_by_marginal_means() -> None:
    table = scores({"a": 0.0, "b": 0.3})
    rows = run(table, [("a", "0.5"), ("b", "0.5")], options=PAPER,
               constants={"0.5": 0.5})["decisions"]
    means = table.groupby("level")["value"].mean()
    np.testing.assert_allclose(rows["estimate"], means - 0.5)
    assert rows["decision"].tolist() == ["did not pass", "pass"]
    assert (rows["adjustment"] == "holm").all()
    # A t interval about the difference from the constant.
    reach = rows["std_error"] * stats.t.ppf(0.975, rows["df"])
    np.testing.assert_allclose(rows["conf_low"], rows["estimate"] - reach)
    np.testing.assert_allclose(rows["conf_high"], rows["estimate"] + reach)


def test_contrasts_that_were_fitted_apart_are_adjusted_as_one_family() -> None:
    alone = [decide(scores({"base": 0, name: shift}, seed=k), [(name, "base")],
                    identify={"finding": "f"}, options=OPTIONS)
             for k, (name, shift) in enumerate((("a", 0.05), ("b", 0.045), ("c", 0.2)))]
    decisions, methods = adjust_together(alone, "explainers", OPTIONS)
    raw = [rows[0]["p_value"] for rows, _ in alone]
    np.testing.assert_allclose([row["p_adjusted"] for row in decisions], adjust(raw, "holm"))
    assert raw[0] < 0.05
    assert [row["decision"] for row in decisions] == ["uncertain", "uncertain", "pass"]
    assert {row["family"] for row in decisions} == {"explainers (3 tests)"}
    for method in METHODS:
        of_method = [row for row in methods if row["method"] == method]
        np.testing.assert_allclose([row["p_adjusted"] for row in of_method], adjust(
            [row["p_value"] for row in of_method], "holm"))


def several_models(models: int, disagreement: float, seed: int = 0) -> pd.DataFrame:
    """Scores of 20 images under several models that may disagree on the explainers."""
    generator = np.random.default_rng(seed)
    parts = []
    image = generator.normal(0.4, 0.1, 20)
    shared = generator.normal(0, 0.05, (20, 3))  # what images do to explainers in every model
    for m in range(models):
        of_model = generator.normal(0, disagreement, 3)
        values = (image[:, None] + shared + of_model + generator.normal(0, 0.02)
                  + generator.normal(0, 0.03, (20, 3)))
        parts.append(pd.DataFrame([
            {"image": f"i{i}", "patient": f"p{i}", "level": level, "model": f"m{m}",
             "value": values[i, k]} for i in range(20) for k, level in enumerate("abc")]))
    return pd.concat(parts, ignore_index=True)


def test_models_as_a_random_factor_are_the_mixed_analysis_of_variance() -> None:
    """Balanced, the contrast's error is sqrt(2 (MS_AB + MS_AC - MS_E) / (b c))."""
    table = several_models(4, 0.08)
    row = run(table, [("a", "b")], PAPER, random="model")["decisions"].iloc[0]
    cube = table.pivot_table(index="image", columns=["model", "level"], values="value",
                             sort=False).to_numpy().reshape(20, 4, 3)
    images, models, levels = cube.shape
    centred = cube - cube.mean(axis=(0, 1), keepdims=True)

    def interaction(axis: int) -> np.ndarray:
        kept = centred.mean(axis=axis, keepdims=True)
        other = 1 - axis
        return kept - kept.mean(axis=other, keepdims=True) - kept.mean(axis=2, keepdims=True) \
            + kept.mean(axis=(other, 2), keepdims=True)

    by_image, by_model = interaction(1), interaction(0)
    across = centred.mean(axis=2, keepdims=True)
    rest = (centred - across.mean(axis=0, keepdims=True) - across.mean(axis=1, keepdims=True)
            - by_image - by_model)
    square_image = models * (by_image**2).sum() / ((images - 1) * (levels - 1))
    square_model = images * (by_model**2).sum() / ((models - 1) * (levels - 1))
    square_rest = (rest**2).sum() / ((images - 1) * (models - 1) * levels)
    variance = 2 * (square_image + square_model - square_rest) / (images * models)
    assert square_image > square_rest
    assert row["std_error"] == pytest.approx(np.sqrt(variance), rel=1e-6)
    # Levels are held against their variation between four models: few degrees of freedom.
    assert 4 < row["df"] < 12


def test_what_all_models_share_is_no_new_observation() -> None:
    """A baseline repeated for every model weighs as one: its error does not shrink."""
    once = several_models(1, 0)
    fixed = once[once["level"] == "a"]
    errors = []
    for models in (2, 8):
        maps = several_models(models, 0)
        both = pd.concat([maps[maps["level"] == "b"],
                          *(fixed.assign(model=f"m{m}") for m in range(models))],
                         ignore_index=True)
        errors.append(run(both, [("b", "a")], random="model")["decisions"]["std_error"].iloc[0])
    wide = fixed.set_index("image")["value"] - several_models(8, 0).query("level == 'b'").groupby(
        "image", sort=False)["value"].mean()
    # If every repetition counted, it would be a third of this.
    assert errors[1] == pytest.approx(wide.std(ddof=1) / np.sqrt(20), rel=0.3)
    assert errors[0] > 0.8 * errors[1]


def test_alpha_is_the_users() -> None:
    table = scores({"base": 0, "up": 0.06})
    p = run(table, [("up", "base")])["decisions"]["p_adjusted"].iloc[0]
    for alpha, decision in ((p * 1.01, "pass"), (p * 0.99, "uncertain")):
        tables = run(table, [("up", "base")], Decision(alpha=float(alpha), resamples=200))
        assert tables["decisions"]["decision"].iloc[0] == decision


def test_patients_with_several_images_widen_the_interval() -> None:
    generator = np.random.default_rng(0)
    copies = [{"image": f"{patient}-{copy}", "patient": f"p{patient}", "level": level,
               "value": shift * (level == "a") + generator.normal(0, 0.01)}
              for patient, shift in enumerate(generator.normal(0.1, 0.2, 12))
              for copy in range(4) for level in "ab"]
    by_patient = pd.DataFrame(copies)
    by_image = by_patient.assign(patient=by_patient["image"])
    widths = [float((t := run(table, [("a", "b")])["methods"].query(
        "method == 'paired bootstrap'").iloc[0])["conf_high"] - t["conf_low"])
        for table in (by_patient, by_image)]
    assert widths[0] > 1.6 * widths[1]


def test_no_difference_at_all_and_too_few_images() -> None:
    table = scores({"base": 0.0})
    same = pd.concat([table, table.assign(level="same")])
    row = run(same, [("same", "base")])["decisions"].iloc[0]
    assert (row["decision"], row["equivalent"]) == ("uncertain", "yes")
    assert np.isnan(row["effect_size"])
    few = run(scores({"a": 0, "b": 1}, n=1), [("a", "b")])["decisions"].iloc[0]
    assert few["decision"] == "not decided"
    absent = run(table, [("nothing", "base")])["decisions"].iloc[0]
    assert absent["decision"] == "not decided"
    assert absent["note"]


def test_verdicts_and_options() -> None:
    assert verdict(float("nan"), 0.5, 0.05) == "not decided"
    assert verdict(0.1, 0.05, 0.05) == "uncertain"
    with pytest.raises(UsageError, match="resamples"):
        Decision(resamples=0)
    with pytest.raises(UsageError, match="confidence"):
        Decision(alpha=0)


def test_ten_levels_are_forty_five_pairs() -> None:
    levels = {name: 0.02 * k for k, name in enumerate(
        ["grad", "sg", "ig", "sig", "gcam", "xrai", "gbp", "ggcam", "average-mask", "unet"])}
    table = scores(levels, n=20)
    pairs = [(level, base) for base in ("average-mask", "unet") for level in list(levels)[:8]]
    tables = run(table, pairs, PAPER)
    assert tables["decisions"]["family"].str.contains("45").all()
    assert len(tables["decisions"]) == 16
    assert len(tables["methods"]) == 48


def test_too_few_resamples_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    Decision(resamples=50)
    assert "50 resamples leave" in caplog.text
    assert "--resamples 200" in caplog.text


def test_no_worse_is_one_sided_adjusted_and_only_where_asked_for() -> None:
    table = scores({"base": 0.0, "same": 0.0, "worse": -0.3})
    contrasts = [("same", "base"), ("worse", "base")]
    asked = Decision(resamples=500, margin=Margins(non_inferiority=0.1))
    decided, methods = decide(table, contrasts, identify={}, options=asked)
    wide = table.pivot_table(index="image", columns="level", values="value")
    p_values = [stats.ttest_1samp(wide[a] - wide[b], -0.1, alternative="greater").pvalue
                for a, b in contrasts]
    assert [row["noninferiority_p"] for row in decided] == pytest.approx(p_values, rel=1e-6)
    assert [row["noninferiority_adjusted"] for row in decided] == pytest.approx(
        adjust(p_values, "holm"), rel=1e-6)
    assert [row["noninferior"] for row in decided] == ["yes", "no"]
    low = stats.ttest_1samp(wide["same"] - wide["base"], 0).confidence_interval(0.9).low
    assert decided[0]["noninferiority_low"] == pytest.approx(low)
    # No margin of equivalence was given.
    assert [row["equivalent"] for row in decided] == ["", ""]
    tables = decision_tables(decided, methods, [])
    assert tables["decisions"]["noninferior"].tolist() == ["yes", "no"]
    plain = decision_tables(*decide(table, contrasts, identify={}, options=OPTIONS), [])
    assert not [name for name in plain["decisions"] if name.startswith("noninferior")]
    with pytest.raises(UsageError, match="non-inferiority margin = 0 must be positive"):
        Margins(non_inferiority=0)
