"""Localization of true positives, of false negatives, and by bin of probability."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from saltrust.analysis.confidence.analysis import relate
from saltrust.analysis.confidence.strata import (
    ALL,
    CONTRAST,
    FALSE_NEGATIVE,
    TRUE_POSITIVE,
    confidence_strata,
)
from saltrust.analysis.options import Resampling
from saltrust.analysis.scores.segmentation_rules import Choice
from saltrust.errors import UsageError

HALF = Choice(everywhere=0.5)


def _table(iou: list[float], probability: list[float], hit: list[float] | None = None,
           finding: str = "Edema", area_reference: float = 10.0) -> pd.DataFrame:
    n = len(iou)
    return pd.DataFrame({
        "image": [f"i{k}" for k in range(n)], "finding": finding, "explainer": "grad",
        "model": "net", "reader": "truth", "iou": iou, "hit": hit or [1.0] * n,
        "area_reference": area_reference, "area_predicted": 5.0, "probability": probability,
        "cluster": range(n)})


def _cell(strata: pd.DataFrame, scheme: str, stratum: str, finding: str = "Edema"
          ) -> dict[str, object]:
    (row,) = strata[(strata["scheme"] == scheme) & (strata["stratum"] == stratum)
                   & (strata["finding"] == finding)].to_dict("records")
    return row


def test_strata_have_the_means_of_their_rows() -> None:
    table = _table([0.1, 0.2, 0.3, 0.5, 0.9], [0.1, 0.5, 0.6, 0.8, 1.0], [0, 0, 1, 1, 1])
    strata = confidence_strata(table, HALF, resamples=200)
    called, missed = (_cell(strata, "iou", name) for name in (TRUE_POSITIVE, FALSE_NEGATIVE))
    # A probability equal to the operating point does not exceed it.
    assert (called["n"], missed["n"]) == (3, 2)
    assert called["estimate"] == pytest.approx(np.mean([0.3, 0.5, 0.9]))
    assert missed["estimate"] == pytest.approx(0.15)
    assert called["probability"] == pytest.approx(0.8)
    assert _cell(strata, "iou", CONTRAST)["estimate"] == pytest.approx(17 / 30 - 0.15)
    bins = {name: _cell(strata, "iou", name)["n"] for name in strata["stratum"].unique()
            if name.startswith("[")}
    assert bins == {"[0, 0.2)": 1, "[0.2, 0.4)": 0, "[0.4, 0.6)": 1, "[0.6, 0.8)": 1,
                    "[0.8, 1]": 2}
    assert _cell(strata, "iou", "[0.2, 0.4)")["note"] == "no rows"
    hits = _cell(strata, "hit", TRUE_POSITIVE)
    assert hits["estimate"] == 1
    assert "Wilson" in str(hits["note"])


def test_the_contrast_agrees_with_welchs_test() -> None:
    generator = np.random.default_rng(3)
    p = generator.uniform(size=300)
    score = np.clip(0.4 + 0.1 * (p > 0.5) + generator.normal(0, 0.15, 300), 0, 1)
    row = _cell(confidence_strata(_table(score.tolist(), p.tolist()), HALF, resamples=4000),
                "iou", CONTRAST)
    test = stats.ttest_ind(score[p > 0.5], score[p <= 0.5], equal_var=False)
    interval = test.confidence_interval()
    assert row["estimate"] == pytest.approx(score[p > 0.5].mean() - score[p <= 0.5].mean())
    assert (row["conf_low"], row["conf_high"]) == pytest.approx(tuple(interval), abs=1e-3)
    # With a row a patient CR2 is Welch's error; its degrees of freedom are of equal variances.
    assert row["statistic"] == pytest.approx(test.statistic)
    assert row["df"] == pytest.approx(test.df, rel=0.03)
    assert np.log(row["p_value"]) == pytest.approx(np.log(test.pvalue), rel=0.03)
    assert row["n"] == 300


def test_strata_of_few_rows_are_compared_and_not_tested() -> None:
    generator = np.random.default_rng(2)
    for called, tested in ((9, False), (10, True)):
        table = _table(generator.random(40).tolist(), [0.9] * called + [0.1] * (40 - called))
        contrast = _cell(confidence_strata(table, HALF, resamples=20), "iou", CONTRAST)
        assert np.isfinite(contrast["estimate"])
        assert np.isfinite(contrast["p_value"]) == tested
        assert ("fewer than 10" in str(contrast["note"])) != tested


def test_findings_are_a_family_and_the_pooled_row_another() -> None:
    generator = np.random.default_rng(1)
    parts = [_table(generator.uniform(size=40).tolist(), generator.uniform(size=40).tolist(),
                    finding=name) for name in ("Edema", "Mass", "Nodule")]
    strata = confidence_strata(pd.concat(parts), HALF, resamples=400)
    tested = strata[(strata["stratum"] == CONTRAST) & (strata["scheme"] == "iou")]
    of_findings, pooled = tested[tested["finding"] != ALL], tested[tested["finding"] == ALL]
    assert of_findings["p_adjusted"].tolist() == np.minimum(3 * of_findings["p_value"], 1).tolist()
    assert (of_findings["family"] == "grad, net, iou (3 tests)").all()
    assert pooled["p_adjusted"].tolist() == pooled["p_value"].tolist()
    assert pooled["n"].item() == 120


def test_operating_points_by_finding() -> None:
    table = pd.concat([_table([0.1, 0.2], [0.3, 0.7]), _table([0.1, 0.2], [0.3, 0.7],
                                                              finding="Mass")])
    point = Choice(table={("Edema", "", ""): 0.2, ("Mass", "", ""): 0.8})
    strata = confidence_strata(table, point, resamples=50)
    assert _cell(strata, "iou", TRUE_POSITIVE)["n"] == 2
    assert _cell(strata, "iou", TRUE_POSITIVE, "Mass")["n"] == 0
    contrast = _cell(strata, "iou", CONTRAST)
    assert np.isnan(contrast["estimate"])
    assert contrast["note"] == ("2 true positives and 0 false negatives: both are needed")


def test_negatives_and_unknown_probabilities_are_left_out() -> None:
    table = pd.concat([_table([0.5, 0.6], [0.9, float("nan")]),
                       _table([float("nan")], [0.9], finding="Mass", area_reference=0.0)])
    strata = confidence_strata(table, HALF, resamples=50)
    assert _cell(strata, "iou", TRUE_POSITIVE, ALL)["n"] == 1
    assert _cell(strata, "iou", TRUE_POSITIVE, "Mass")["note"] == "no rows"


def test_the_analysis_has_the_table_and_names_a_bad_operating_point() -> None:
    table = _table([0.1, 0.2, 0.3, 0.5, 0.9], [0.1, 0.5, 0.6, 0.8, 0.7])
    scores, predicted = table.drop(columns=["probability", "cluster"]), table[
        ["image", "finding", "model", "probability"]]
    result = relate(scores, predicted, resampling=Resampling(resamples=50))
    assert _cell(result.tables["strata"], "iou", TRUE_POSITIVE)["n"] == 3
    assert result.meta["operating_point"] == "0.5"
    with pytest.raises(UsageError, match="operating point 7 must be between 0 and 1"):
        relate(scores, predicted, operating_point=7)
