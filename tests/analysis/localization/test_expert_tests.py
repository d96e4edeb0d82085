"""The test of expert against map, beside every decrease."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from scipy import stats

from saltrust.analysis.localization.decreases import decrease
from saltrust.analysis.localization.expert_tests import expert_tests
from saltrust.analysis.localization.summary import AVERAGE

FloatArray = npt.NDArray[np.float64]


def _scores(series: dict[tuple[str, str], tuple[FloatArray, FloatArray]],
            patients: npt.NDArray[np.int64] | None = None) -> pd.DataFrame:
    """Scores of (finding, explainer): IoU and hits, one row per image."""
    rows = []
    for (finding, explainer), (iou, hit) in series.items():
        owner = np.arange(len(iou)) if patients is None else patients
        rows += [{"image": f"i{k}", "patient": f"p{owner[k]}", "finding": finding,
                  "explainer": explainer, "model": "" if explainer == "expert" else "net",
                  "reader": "truth", "iou": iou[k], "hit": hit[k]} for k in range(len(iou))]
    return pd.DataFrame(rows)


def _row(table: pd.DataFrame, **labels: str) -> dict[str, Any]:
    for name, value in labels.items():
        table = table[table[name] == value]
    (row,) = table.to_dict("records")
    return row


@pytest.fixture(scope="module")
def two_findings() -> pd.DataFrame:
    generator = np.random.default_rng(8)
    series = {}
    for finding, loss in (("Edema", 0.15), ("Mass", 0.02)):
        expert = generator.uniform(0.3, 0.9, 60)
        series[finding, "expert"] = expert, (generator.random(60) < 0.8).astype(float)
        series[finding, "gradcam"] = (expert * generator.uniform(0.7, 1.1, 60) - loss,
                                      (generator.random(60) < 0.5).astype(float))
    return _scores(series)


def test_on_the_same_images_it_is_the_test_of_paired_differences(
        two_findings: pd.DataFrame) -> None:
    falls, _ = decrease(two_findings, resamples=5000)
    wide = two_findings.pivot_table(index="image", columns=["finding", "explainer"],
                                    values=["iou", "hit"])
    for metric in ("iou", "hit"):
        for finding in ("Edema", "Mass"):
            row = _row(falls, finding=finding, metric=metric)
            expected = stats.ttest_rel(wide[metric, finding, "expert"],
                                       wide[metric, finding, "gradcam"])
            assert row["statistic"] == pytest.approx(expected.statistic)
            assert row["p_value"] == pytest.approx(expected.pvalue, abs=0.015)
            assert row["p_value"] <= row["p_adjusted"] <= 2 * row["p_value"] + 1e-12
            assert row["family"] == f"{metric}, gradcam, net (2 tests)"
            assert row["adjustment"] == "max-t"
        mean = _row(falls, finding=AVERAGE, metric=metric)
        difference = sum(wide[metric, finding, "expert"] - wide[metric, finding, "gradcam"]
                         for finding in ("Edema", "Mass")) / 2
        assert mean["statistic"] == pytest.approx(stats.ttest_1samp(difference, 0).statistic)
        assert mean["p_adjusted"] == mean["p_value"]
        assert mean["family"] == f"{metric}, gradcam, net, average (1 test)"


def test_images_of_their_own_are_two_samples() -> None:
    generator = np.random.default_rng(3)
    expert, saliency = np.full((2, 90), np.nan)
    expert[:40], saliency[40:] = generator.normal(0.6, 0.1, 40), generator.normal(0.5, 0.2, 50)
    column = ("Edema", "gradcam", "net")
    made = expert_tests(expert[:, None], saliency[:, None], [column], np.arange(90),
                        resamples=4000)[column]
    error = np.sqrt(90 / 89 * sum((part.size - 1) * part.var(ddof=1) / part.size**2
                                  for part in (expert[:40], saliency[40:])))
    assert made.statistic == pytest.approx((expert[:40].mean() - saliency[40:].mean()) / error)
    welch = stats.ttest_ind(expert[:40], saliency[40:], equal_var=False)
    assert made.p_value == pytest.approx(welch.pvalue, abs=0.01)


def test_images_of_one_patient_are_one_observation(two_findings: pd.DataFrame) -> None:
    first = two_findings[two_findings["finding"] == "Edema"]
    copies = pd.concat([first.assign(image=first["image"] + f"-{k}") for k in range(4)],
                       ignore_index=True)
    for one, four in zip(decrease(first, resamples=300), decrease(copies, resamples=300),
                         strict=True):
        assert four["statistic"].to_numpy() == pytest.approx(one["statistic"].to_numpy())
        assert four["p_value"].to_numpy() == pytest.approx(one["p_value"].to_numpy())


def test_change_is_tested_by_leaving_out_patients(two_findings: pd.DataFrame) -> None:
    _, change = decrease(two_findings, resamples=200)
    edema = two_findings[two_findings["finding"] == "Edema"]

    def value(rows: pd.DataFrame) -> float:
        means = rows.groupby("explainer")[["iou", "hit"]].mean()
        return float((100 * (1 - means.loc["gradcam"] / means.loc["expert"])) @ [1, -1])

    without = np.array([value(edema[edema["patient"] != name])
                        for name in edema["patient"].unique()])
    error = np.sqrt(59 / 60 * ((without - without.mean())**2).sum())
    row, other = _row(change, finding="Edema"), _row(change, finding="Mass")
    assert row["estimate"] == pytest.approx(value(edema))
    assert row["statistic"] == pytest.approx(value(edema) / error)
    assert row["df"] == 59
    assert row["p_value"] == pytest.approx(2 * stats.t.sf(abs(value(edema) / error), 59))
    small, large = sorted([row, other], key=lambda one: one["p_value"])
    assert small["p_adjusted"] == pytest.approx(min(2 * small["p_value"], 1))
    assert large["p_adjusted"] == pytest.approx(max(large["p_value"], small["p_adjusted"]))
    assert _row(change, finding=AVERAGE)["family"] == "gradcam, net, average (1 test)"


def test_a_map_that_always_misses_is_tested_and_few_patients_are_not() -> None:
    expert, nothing = np.array([0.5, 0.6, 0.0] * 4), np.zeros(12)
    hits = np.array([1.0, 0.0, 1.0] * 4)
    table = _scores({("Edema", "expert"): (expert, hits), ("Edema", "gradcam"): (nothing, nothing)})
    row = _row(decrease(table, resamples=500)[0], finding="Edema", metric="hit")
    assert np.isnan(row["conf_low"])
    assert row["statistic"] == pytest.approx(stats.ttest_1samp(hits, 0).statistic)
    assert row["p_value"] < 0.01
    few, change = decrease(table[table["image"].isin([f"i{k}" for k in range(9)])], resamples=500)
    for part in (few, change):
        assert part[["statistic", "p_value", "p_adjusted"]].isna().all(axis=None)
    assert few["family"].iloc[0] == "iou, gradcam, net (0 tests)"
    reversed_roles, _ = decrease(_scores({("Edema", "expert"): (nothing, nothing),
                                          ("Edema", "gradcam"): (expert, hits)}), resamples=500)
    assert reversed_roles["p_value"].isna().all()
