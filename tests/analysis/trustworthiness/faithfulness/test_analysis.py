"""Maps that are faithful are told from chance and from each other, those of chance are not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from saltrust.analysis.inference.bootstrap import mean_interval
from saltrust.analysis.options import Resampling
from saltrust.analysis.select import select
from saltrust.analysis.trustworthiness.faithfulness.analysis import faithfulness
from saltrust.errors import UsageError

FEW = Resampling(resamples=300)
CURVED = ["deletion", "insertion", "morf", "lerf"]


def one(table: pd.DataFrame, **wanted: object) -> pd.Series:
    for name, value in wanted.items():
        table = table[table[name] == value]
    assert len(table) == 1
    return table.iloc[0]


def test_what_is_faithful_is_above_random_orders_in_every_metric(build_curves) -> None:
    result = faithfulness(build_curves(), resampling=FEW)
    for metric in CURVED:
        good, chance = (one(result["decisions"], metric=metric, explainer=name)
                        for name in ("good", "chance"))
        assert (good["decision"], good["wilcoxon_decision"]) == ("pass", "pass")
        assert good["p_adjusted"] < 0.01
        assert good["conf_low"] > 0.08
        assert chance["decision"] != "pass"
        assert abs(chance["estimate"]) < 0.03
        assert good["family"] == f"explainers, Edema, m, {metric} (3 tests)"
        pair = one(result["comparisons"], metric=metric, a="good", b="chance")
        assert pair["estimate"] == pytest.approx(0.2 * 0.66, abs=0.04)
        assert pair["p_adjusted"] < 0.01
    assert set(result["decisions"]["metric"]) == set(CURVED)
    assert one(result["comparisons"], metric="infidelity", a="good", b="chance")["estimate"] > 0.1
    agreement = result["agreement"]
    assert (agreement["of_means"] == 1).all()
    assert agreement.query("metric_a == 'deletion' and metric_b == 'infidelity'")[
        "estimate"].iloc[0] == pytest.approx(1)
    assert len(agreement) == 10


def test_estimates_are_means_by_patient(build_curves) -> None:
    result = faithfulness(build_curves(), resampling=FEW, images="all", metrics=["deletion"])
    scores = result["scores"].query("explainer == 'good'")
    made = mean_interval(scores["gain"], scores["patient"], resamples=300, seed=0, method="auto")
    row = one(result["decisions"], explainer="good")
    assert (row["estimate"], row["conf_low"], row["conf_high"]) == pytest.approx(
        (scores["gain"].mean(), float(made.conf_low), float(made.conf_high)))
    summary = one(result["summary"], explainer="good")
    assert (summary["estimate"], summary["random"], summary["n"], summary["patients"]) == (
        pytest.approx(scores["value"].mean()), pytest.approx(scores["random"].mean()), 48, 24)
    assert list(result.tables) == ["summary", "decisions", "comparisons", "curves", "scores"]


def test_curves_have_bands_and_those_of_random_orders_beside_them(build_curves) -> None:
    cubes = build_curves()
    curves = faithfulness(cubes, resampling=FEW)["curves"]
    assert len(curves) == 4 * 4 * 11
    positives = cubes["faithfulness/curve"].values[:46, 0, 1, 0, 2].astype(np.float64)
    middling = curves.query("explainer == 'middling' and metric == 'morf'")
    np.testing.assert_allclose(middling["estimate"], positives.mean(axis=0))
    assert (middling["conf_low"] <= middling["estimate"]).all()
    random = curves.query("explainer == 'random orders' and metric == 'insertion'")
    np.testing.assert_allclose(random["removed"], 1 - np.arange(11) / 10, atol=1e-7)
    orders = cubes["faithfulness/random"].values[:46, 0, 0, 1].astype(np.float64)
    np.testing.assert_allclose(random["estimate"], orders.mean(axis=(0, 1)))


def test_findings_are_pooled_and_models_judged_apart(build_curves) -> None:
    cubes = build_curves(findings=("Edema", "Mass"), models=("m", "n"), patients=12)
    result = faithfulness(cubes, resampling=FEW, metrics=["morf"])
    decisions = result["decisions"]
    assert decisions["finding"].unique().tolist() == ["Edema", "Mass", "all"]
    of_both = one(decisions, finding="all", explainer="good", model="n")
    assert of_both["n"] == sum(one(decisions, finding=f, explainer="good", model="n")["n"]
                               for f in ("Edema", "Mass"))
    scores = result["scores"].query("explainer == 'good' and model == 'n'")
    assert of_both["estimate"] == pytest.approx(scores["gain"].mean())
    part = faithfulness(select(cubes, finding="Mass", model="n", explainer=["good", "chance"]),
                        resampling=FEW, metrics=["morf"])
    assert one(part["summary"], explainer="good")["estimate"] == pytest.approx(
        one(result["summary"], finding="Mass", explainer="good", model="n")["estimate"])
    scalar = faithfulness(cubes.sel(finding="Mass", model="n"), resampling=FEW, metrics=["morf"])
    assert one(scalar["summary"], explainer="good")["estimate"] == pytest.approx(
        one(part["summary"], explainer="good")["estimate"])


def test_few_patients_have_means_and_no_tests(build_curves) -> None:
    result = faithfulness(build_curves(patients=6), resampling=FEW)
    assert result["decisions"]["p_value"].isna().all()
    assert (result["decisions"]["decision"] == "not decided").all()
    assert result["decisions"]["note"].str.contains("fewer than 10").all()
    assert result["summary"]["conf_low"].isna().all()
    assert result["summary"]["estimate"].notna().all()


def test_sentences_and_words(build_curves) -> None:
    cubes = build_curves()
    cubes.attrs["faithfulness"] = {"metrics": CURVED, "baseline": "blur", "squares": [8, 8]}
    text = faithfulness(cubes, resampling=FEW).methods()
    assert "46 images (positive)" in text
    assert "ROAD" in text
    assert "squares [8, 8]" in text
    with pytest.raises(UsageError, match="images"):
        faithfulness(cubes, images="negative")
    with pytest.raises(UsageError, match="failures"):
        faithfulness(cubes, failures="keep")
