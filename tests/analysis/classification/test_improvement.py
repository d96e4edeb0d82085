"""Improvement in percent: known values, and the paired bootstrap that pairs of models have."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import saltrust
from saltrust.analysis.classification.auc_rows import MACRO, Cases, cases_by_finding
from saltrust.analysis.classification.improvement import COLUMNS, improvements
from saltrust.analysis.options import Resampling

RESAMPLING = Resampling(resamples=300, seed=4)


def drawn(n: int = 60, seed: int = 2, findings: int = 2) -> dict[str, Cases]:
    """Three models, each better than the one before; patients have two images."""
    rng = np.random.default_rng(seed)
    made = {}
    for f in range(findings):
        positive = rng.random(n) < 0.4
        scores = positive[:, None] * np.array([0.5, 1.2, 2.5]) + rng.normal(size=(n, 3))
        patients = np.array([f"p{k // 2}" for k in range(n)], dtype=object)
        made[f"finding {f}"] = Cases(positive, 1 / (1 + np.exp(-scores)), patients)
    return made


MODELS = ("plain", "decoder", "guided")


def naive_auc(positive: np.ndarray, score: np.ndarray) -> float:
    ahead = score[positive][:, None] - score[~positive][None]
    return float(((ahead > 0) + 0.5 * (ahead == 0)).mean())


def test_values_are_differences_of_areas_and_ratios() -> None:
    cases = drawn()
    table = improvements(cases, MODELS, [("guided", "decoder"), ("guided", "plain")], RESAMPLING)
    assert tuple(table.columns) == COLUMNS
    assert table["finding"].tolist() == [MACRO] * 2 + ["finding 0"] * 2 + ["finding 1"] * 2
    means = {}
    for finding, one in cases.items():
        areas = [naive_auc(one.positive, one.probability[:, k]) for k in range(3)]
        means[finding] = areas
        rows = table[table["finding"] == finding].set_index("baseline")
        for k, baseline in enumerate(MODELS[:2]):
            row = rows.loc[baseline]
            assert row["auc"] == pytest.approx(areas[2])
            assert row["auc_baseline"] == pytest.approx(areas[k])
            assert row["improvement_percent"] == pytest.approx(100 * (areas[2] - areas[k]))
            assert row["improvement_percent_relative"] == pytest.approx(
                100 * (areas[2] / areas[k] - 1))
            assert (row["n"], row["patients"]) == (60, 30)
    plain, _, guided = np.mean(list(means.values()), axis=0)
    macro = table[table["finding"] == MACRO].set_index("baseline").loc["plain"]
    assert macro["improvement_percent"] == pytest.approx(100 * (guided - plain))
    # The ratio of the means, not the mean of the ratios.
    assert macro["improvement_percent_relative"] == pytest.approx(100 * (guided / plain - 1))


def test_intervals_are_those_of_the_paired_bootstrap() -> None:
    cubes = saltrust.simulate_cubes(patients=30, grid=8, parts=())
    result = saltrust.classification(cubes, interval="bootstrap", resampling=RESAMPLING)
    models = list(dict.fromkeys(result["cases"]["model"]))
    pairs = result["comparisons"]
    made = improvements(cases_by_finding(result["cases"], models), models,
                        list(dict.fromkeys(zip(pairs["model_a"], pairs["model_b"], strict=True))),
                        RESAMPLING)
    both = made.merge(pairs, left_on=["finding", "model", "baseline"],
                      right_on=["finding", "model_a", "model_b"], validate="1:1")
    assert len(both) == len(pairs) == len(made)
    for percent, plain in (("improvement_percent", "estimate"),
                           ("improvement_percent_low", "conf_low"),
                           ("improvement_percent_high", "conf_high")):
        np.testing.assert_allclose(both[percent], 100 * both[plain], rtol=1e-9)


def test_models_that_agree_do_not_improve_and_the_paper_is_met() -> None:
    one = drawn(findings=1)["finding 0"]
    same = Cases(one.positive, one.probability[:, [2, 2]], one.patients)
    row = improvements({"CHF": same}, ("a", "b"), [("a", "b")], RESAMPLING).iloc[0]
    assert row[[name for name in COLUMNS if name.startswith("improvement")]].eq(0).all()
    # Areas of .913 and .872 over a thousand pairs are the paper's 4.1 percent.
    positive = np.arange(2000) < 1000
    scores = np.tile(np.where(positive, 1.0, 0.0)[:, None], 2)
    scores[:174, 0] = scores[:256, 1] = 0.0
    paper = Cases(positive, scores, np.arange(2000).astype(str).astype(object))
    row = improvements({"CHF": paper}, ("new", "old"), [("new", "old")],
                       Resampling(resamples=20)).iloc[0]
    assert row[["auc", "auc_baseline"]].tolist() == pytest.approx([0.913, 0.872])
    assert row["improvement_percent"] == pytest.approx(4.1)
    assert row["improvement_percent_relative"] == pytest.approx(4.1 / 0.872)


def test_a_finding_of_one_class_has_no_number_and_says_why() -> None:
    cases = drawn()
    one = cases["finding 0"]
    cases["finding 0"] = Cases(np.ones_like(one.positive), one.probability, one.patients)
    table = improvements(cases, MODELS, [("guided", "plain")], RESAMPLING).set_index("finding")
    assert table.loc["finding 0", "note"] == "no negative case"
    assert pd.isna(table.loc["finding 0", "improvement_percent"])
    assert "without finding 0" in table.loc[MACRO, "note"]
    assert table.loc[MACRO, "improvement_percent"] == pytest.approx(
        table.loc["finding 1", "improvement_percent"])
