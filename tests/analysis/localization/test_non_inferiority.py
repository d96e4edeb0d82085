"""Non-inferiority of maps, and one family for the whole study, on known tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from saltrust.analysis.localization.contrasts import map_differences
from saltrust.analysis.localization.decreases import decrease
from saltrust.analysis.localization.non_inferiority import non_inferiorities
from saltrust.analysis.localization.study_wide import families_of, study_wide


def _scores(values: dict[tuple[str, str], Any], patients: int) -> pd.DataFrame:
    """By (finding, explainer), scores of the same images, of which patients have equal numbers."""
    parts = []
    for (finding, explainer), scores in values.items():
        n = len(scores)
        parts.append(pd.DataFrame({
            "image": [f"i{k}" for k in range(n)], "patient": [f"p{k % patients}" for k in range(n)],
            "finding": finding, "explainer": explainer,
            "model": "reader-1" if explainer == "expert" else "net", "reader": "truth",
            "iou": scores, "hit": np.nan}))
    return pd.concat(parts, ignore_index=True)


def _row(table: pd.DataFrame, **labels: str) -> Any:
    kept = table
    for name, label in labels.items():
        kept = kept[kept[name] == label]
    (row,) = kept.itertuples()
    return row


def test_single_images_have_the_one_sided_t_test() -> None:
    generator = np.random.default_rng(0)
    one, two = generator.random((2, 20))
    made = non_inferiorities(_scores({("Edema", "grad"): one, ("Edema", "expert"): two}, 20), 0.2)
    row = _row(made, contrast="grad - expert", metric="iou")
    expected = stats.ttest_1samp(one - two, -0.2, alternative="greater")
    assert row.p_value == pytest.approx(expected.pvalue)
    assert row.statistic == pytest.approx(expected.statistic)
    assert row.df == pytest.approx(19)
    tested = stats.ttest_1samp(one - two, 0)
    assert (row.conf_low, row.conf_high) == pytest.approx(tuple(tested.confidence_interval(0.95)))
    # The one-sided bound lies above minus the margin where the test rejects.
    assert row.lower_bound == pytest.approx(tested.confidence_interval(0.9).low)
    assert (row.lower_bound > -0.2) == (row.p_value < 0.05)
    assert row.non_inferior == ("yes" if row.p_value < 0.05 else "no")


def test_the_direction_is_that_higher_is_better() -> None:
    generator = np.random.default_rng(1)
    worse, better = generator.random(40) * 0.1, 0.5 + generator.random(40) * 0.1
    made = non_inferiorities(_scores({("Edema", "bad"): worse, ("Edema", "good"): better,
                                      ("Edema", "expert"): better}, 20), 0.05)
    made = made[made["metric"] == "iou"]
    verdicts = dict(zip(made["contrast"], made["non_inferior"], strict=True))
    assert verdicts["bad - expert"] == "no"
    assert verdicts["bad - good"] == "no"
    assert verdicts["good - bad"] == "yes"


def test_families_and_few_patients() -> None:
    generator = np.random.default_rng(2)
    values = {(finding, name): generator.random(18) for finding in ("Edema", "Fracture")
              for name in ("a", "b", "c", "expert")}
    made = non_inferiorities(_scores(values, 18), 0.1)
    iou = made[made["metric"] == "iou"]
    assert len(iou) == 3 * (3 + 6)
    assert set(iou["family"]) == {f"iou, {f}, {what}" for f in ("Edema", "Fracture", "average")
                                  for what in ("expert (3 tests)", "pairs of maps (6 tests)")}
    row = _row(iou, finding="average", contrast="a - b")
    means = [np.mean(values[f, "a"] - values[f, "b"]) for f in ("Edema", "Fracture")]
    assert row.estimate == pytest.approx(np.mean(means))
    few = non_inferiorities(_scores(values, 9), 0.1)
    few = few[few["metric"] == "iou"]
    assert set(few["note"]) == {"9 patients, fewer than 10: not tested"}
    assert set(few["non_inferior"]) == {""}
    # There are no hits at all.
    assert set(made.loc[made["metric"] == "hit", "note"]) == {"no image that both have"}


def test_a_study_is_adjusted_as_a_whole() -> None:
    generator = np.random.default_rng(3)
    values = {(finding, name): generator.random(40) for finding in ("Edema", "Fracture")
              for name in ("a", "b", "expert")}
    values["Edema", "expert"] = values["Edema", "a"] + 2 + 0.1 * generator.random(40)
    table = _scores(values, 40).assign(hit=lambda t: (t["iou"] > 0.5).astype(float))
    apart = dict(zip(("decrease", "decrease_change"), decrease(table, resamples=500),
                     strict=True)) | {"differences": map_differences(table, resamples=500)}
    made = dict(zip(("decrease", "decrease_change"),
                    decrease(table, resamples=500, together=True), strict=True))
    made["differences"] = map_differences(table, resamples=500, together=True)
    wide = study_wide(made)
    # Two metrics of decreases and of differences, and their change.
    assert "one of 5 families" in wide["decrease"]["family"].iloc[0]
    assert set(wide["decrease"]["adjustment"]) == {"max-t, bonferroni"}
    assert set(wide["decrease_change"]["adjustment"]) == {"holm, bonferroni"}
    assert families_of(wide, "study").startswith("5, controlled together")
    assert families_of(apart, "finding").endswith("each controlled by itself (--family study "
                                                  "controls all together)")
    assert int(families_of(apart, "finding").partition(",")[0]) > 5
    for name, one in wide.items():
        assert (one["p_adjusted"].fillna(1) >= one["p_value"].fillna(0)).all()
        assert (one["p_adjusted"].dropna() <= 1).all()
        pd.testing.assert_series_equal(one["estimate"], apart[name]["estimate"])
    raw = made["decrease"].set_index(["metric", "finding", "explainer"])["p_adjusted"]
    final = wide["decrease"].set_index(["metric", "finding", "explainer"])["p_adjusted"]
    assert final["iou", "Edema", "a"] == pytest.approx(5 * raw["iou", "Edema", "a"])
    assert final["iou", "Edema", "a"] < 0.05
    # Verdicts are those of the study.
    both = {**made, "non_inferiority": non_inferiorities(table, 0.2)}
    judged = study_wide(both)["non_inferiority"]
    assert (judged["non_inferior"] == np.where(judged["p_adjusted"] < 0.05, "yes", "no")).all()
    assert (judged["non_inferior"] != both["non_inferiority"]["non_inferior"]).any()
