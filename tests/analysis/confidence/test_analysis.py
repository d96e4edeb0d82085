"""Confidence against localization: independent fits, pooling, slices, missing pieces."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import statsmodels.formula.api as smf
from hypothesis import given, settings
from hypothesis import strategies as st

from saltrust.analysis.confidence.analysis import (
    EXTRA,
    IDENTIFY,
    POOLED,
    WITHIN,
    confidence,
    relate,
    table3,
)
from saltrust.analysis.inference.correlation import fisher_interval
from saltrust.analysis.options import Resampling, Scoring, Testing
from saltrust.analysis.result import ESTIMATE_COLUMNS, Result
from saltrust.analysis.scores.score_rows import select_scores
from saltrust.errors import DataError, UsageError

#: Level of probability, level of overlap: across findings the two go in opposite directions.
FINDINGS = {"Cardiomegaly": (0.2, 0.6), "Edema": (0.4, 0.4), "Lung Lesion": (0.6, 0.1)}


def study(images: int = 60, seed: int = 0, *, slope: float = 0.5, positive: float = 0.7,
          models: tuple[str, ...] = ("m",)) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores whose overlap rises by ``slope`` over probability within every finding."""
    generator = np.random.default_rng(seed)
    scores: list[dict[str, Any]] = []
    predicted: list[dict[str, Any]] = []
    for i in range(images):
        for finding, (level, overlap) in FINDINGS.items():
            present = generator.random() < positive
            for model in models:
                name = {"image": f"image{i}", "finding": finding, "model": model}
                p = level + generator.uniform(-0.15, 0.15)
                predicted.append({**name, "probability": p})
                iou = overlap + slope * (p - level) + generator.normal(0, 0.03)
                scores.append({
                    **name, "patient": f"patient{i // 2}", "explainer": "gradcam",
                    "reader": "radiologists", "iou": max(iou, 0.0) if present else np.nan,
                    "hit": float(generator.random() < iou) if present else np.nan,
                    "area_predicted": 50.0, "area_reference": 100.0 if present else 0.0})
    return pd.DataFrame(scores), pd.DataFrame(predicted)


def estimates(*arguments: Any, **options: Any) -> pd.DataFrame:
    return relate(*arguments, **options).tables["estimates"]


def one(table: pd.DataFrame, **labels: str) -> Any:
    for column, value in labels.items():
        table = table[table[column] == value]
    assert len(table) == 1
    return table.iloc[0]


def strict(result: Result) -> dict[str, Any]:
    """The result through JSON that refuses NaN."""
    content: dict[str, Any] = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    return content


def joined(scores: pd.DataFrame, predicted: pd.DataFrame) -> pd.DataFrame:
    return scores.merge(predicted, on=["image", "finding", "model"])


def test_rows_and_columns() -> None:
    table = estimates(*study(models=("a", "b")))
    assert list(table.columns) == [*IDENTIFY, *ESTIMATE_COLUMNS, *EXTRA]
    assert set(table["errors"]) == {"cr2"}
    # Two models, two schemes, three findings and two pooled rows, two terms.
    assert len(table) == 2 * 2 * 5 * 2
    assert set(table["response"]) == {"saliency"}
    assert table["finding"].iloc[:10:2].tolist() == [*FINDINGS, WITHIN, POOLED]
    assert table["term"].tolist() == ["probability", "spearman"] * 20
    assert table["note"].eq("").all()


@pytest.mark.parametrize("scheme", ["iou", "hit"])
def test_every_row_agrees_with_statsmodels_and_scipy(scheme: str) -> None:
    scores, predicted = study()
    table = relate(scores, predicted).tables["classical"]
    assert set(table["errors"]) == {"classical"}
    rows = joined(scores, predicted).dropna(subset=[scheme])
    formulas = {finding: (rows[rows["finding"] == finding], f"{scheme} ~ probability")
                for finding in FINDINGS}
    formulas[POOLED] = (rows, f"{scheme} ~ probability")
    formulas[WITHIN] = (rows, f"{scheme} ~ probability + C(finding)")
    for finding, (data, formula) in formulas.items():
        fit = smf.ols(formula, data).fit()
        slope = one(table, scheme=scheme, finding=finding, term="probability")
        assert slope.estimate == pytest.approx(fit.params["probability"], rel=1e-9)
        assert slope.std_error == pytest.approx(fit.bse["probability"], rel=1e-9)
        assert slope.p_value == pytest.approx(fit.pvalues["probability"], rel=1e-7)
        assert (slope.conf_low, slope.conf_high) == pytest.approx(
            tuple(fit.conf_int().loc["probability"]), rel=1e-8)
        assert (slope.n, slope.df) == (len(data), fit.df_resid)
        rho = one(table, scheme=scheme, finding=finding, term="spearman")
        assert rho.n == len(data)
        if finding != WITHIN:
            peer = scipy.stats.spearmanr(data["probability"], data[scheme])
            assert rho.estimate == pytest.approx(peer.statistic, abs=1e-12)
            assert rho.p_value == pytest.approx(peer.pvalue, rel=1e-8)


def test_pooling_within_findings_sees_what_plain_pooling_turns_around() -> None:
    table = estimates(*study(150, seed=1))
    within = one(table, scheme="iou", finding=WITHIN, term="probability")
    assert within.conf_low <= 0.5 <= within.conf_high
    assert one(table, scheme="iou", finding=POOLED, term="probability").conf_high < 0
    rho = one(table, scheme="iou", finding=WITHIN, term="spearman").estimate
    alone = [one(table, scheme="iou", finding=finding, term="spearman").estimate
             for finding in FINDINGS]
    assert min(alone) <= rho <= max(alone)
    assert one(table, scheme="iou", finding=POOLED, term="spearman").estimate < min(alone)


def test_intervals_cover_the_slope_built_in() -> None:
    covered = 0
    for seed in range(40):
        row = one(estimates(*study(25, seed=seed)), scheme="iou", finding="Cardiomegaly",
                  term="probability")
        covered += row.conf_low <= 0.5 <= row.conf_high
    assert covered >= 34


@pytest.mark.parametrize("interval", ["bonett-wright", "fisher"])
def test_every_correlation_uses_the_n_of_its_own_row(interval: Any) -> None:
    scores, predicted = study(40)
    few = scores.index[scores["finding"] == "Lung Lesion"][8:]
    table = estimates(scores.drop(index=few), predicted, interval=interval)
    for row in table[(table["term"] == "spearman") & (table["finding"] != WITHIN)].itertuples():
        low, high, _ = fisher_interval(row.estimate, row.n,  # type: ignore[arg-type]
                                       interval=interval)
        assert (row.conf_low, row.conf_high) == pytest.approx((low, high), rel=1e-12)
    assert one(table, scheme="iou", finding="Lung Lesion", term="spearman").n <= 8


def test_robust_table_has_the_same_slopes_with_clustered_errors() -> None:
    scores, predicted = study(60)
    result = relate(scores, predicted)
    slopes = result.tables["classical"]
    headline = result.tables["estimates"]
    headline = headline[headline["term"] == "probability"].reset_index(drop=True)
    pd.testing.assert_frame_equal(headline[result.tables["robust"].columns],
                                  result.tables["robust"])
    slopes = slopes[slopes["term"] == "probability"].reset_index(drop=True)
    robust = result.tables["robust"]
    same = [*IDENTIFY, "term", "estimate", "n", "family"]
    pd.testing.assert_frame_equal(robust[same], slopes[same])
    assert (robust["clusters"] <= 30).all()
    assert (robust["df"] < slopes["df"]).all()
    # A factor of about one: the rows of a patient are made independently here.
    np.testing.assert_allclose(robust["std_error"] / slopes["std_error"], 1, atol=0.5)


def test_bootstrap_resamples_patients_and_is_seeded() -> None:
    scores, predicted = study(30)
    options: dict[str, Any] = {"interval": "bootstrap"}
    first = relate(scores, predicted, resampling=Resampling(200, seed=1), **options)
    again = relate(scores, predicted, resampling=Resampling(200, seed=1), **options)
    other = relate(scores, predicted, resampling=Resampling(200, seed=2), **options)
    pd.testing.assert_frame_equal(first.tables["estimates"], again.tables["estimates"])
    assert (first.meta["resamples"], first.meta["seed"]) == (200, 1)
    rho = first.tables["estimates"]["term"] == "spearman"
    one_low, other_low = (result.tables["estimates"].loc[rho, "conf_low"].to_numpy()
                          for result in (first, other))
    assert not np.allclose(one_low, other_low)
    np.testing.assert_allclose(one_low, other_low, atol=0.2)


def test_images_that_repeat_those_of_their_patients_narrow_no_bootstrap_interval() -> None:
    scores, predicted = study(40)
    twice = [pd.concat([table, table.assign(image=table["image"] + " again")])
             for table in (scores, predicted)]
    widths = []
    for tables in ((scores, predicted), twice):
        table = estimates(*tables, testing=Testing(interval="bootstrap"),
                          resampling=Resampling(400))
        table = table[table["term"] == "spearman"]
        widths.append((table["conf_high"] - table["conf_low"]).to_numpy())
    assert len(widths[0]) >= 6
    # By images they would be narrower by the square root of two.
    np.testing.assert_allclose(widths[1], widths[0], rtol=0.1)


@pytest.mark.parametrize("interval", [None, "bootstrap", "fisher"])
def test_correlations_are_tested_by_patient(interval: Any) -> None:
    scores, predicted = study(30)
    result = relate(scores, predicted, testing=Testing(interval=interval),
                    resampling=Resampling(200))
    table, classical = (result.tables[name] for name in ("estimates", "classical"))
    rho = table["term"] == "spearman"
    if interval == "fisher":
        # By name: what takes rows as independent says so.
        assert set(table.loc[rho, "errors"]) == {"classical"}
        pd.testing.assert_frame_equal(table[rho], classical[rho])
        return
    assert set(table.loc[rho, "errors"]) == {"cr2"}
    assert (table.loc[rho, "df"] == table.loc[rho, "clusters"] - 1).all()
    assert not np.isclose(table.loc[rho, "p_value"], classical.loc[rho, "p_value"],
                          atol=0).any()
    same = np.isclose(table.loc[rho, "conf_low"], classical.loc[rho, "conf_low"])
    assert same.all() if interval == "bootstrap" else not same.any()


def test_rows_of_one_patient_are_said() -> None:
    scores, predicted = study(30)
    result = relate(scores.assign(patient="p"), predicted)
    assert result.tables["estimates"]["p_value"].isna().all()
    assert set(result.tables["estimates"]["note"]) == {"1 patient: no clustered error"}
    assert set(result.tables["classical"]["note"]) == {"rows of 1 patient, taken as independent"}


def test_a_sign_that_pooling_turns_is_said() -> None:
    turned = relate(*study(60)).meta["turned_signs"]
    assert any("(gradcam, m, iou): -" in phrase for phrase in turned)


def test_families_and_factors() -> None:
    scores, predicted = study(30)
    result = relate(scores, predicted)
    table = result.tables["estimates"]
    pooled = table["finding"].isin([WITHIN, POOLED])
    np.testing.assert_allclose(table["p_adjusted"],
                               np.minimum(np.where(pooled, 2, 3) * table["p_value"], 1))
    assert table["family"].unique().tolist()[:3] == [
        "gradcam, m, iou, probability (3 tests)", "gradcam, m, iou, spearman (3 tests)",
        "gradcam, m, iou, probability, pooled (2 tests)"]
    assert result.meta["multiplicity"]["factor"] == 3


def test_slices() -> None:
    scores, predicted = study(60)
    reference, shown = scores["area_reference"], scores["area_predicted"]
    empty = scores.index[reference > 0][:6]
    scores.loc[empty, ["iou", "hit", "area_predicted"]] = 0.0
    true_negatives = scores.index[reference == 0][:4]
    scores.loc[true_negatives, "area_predicted"] = 0.0
    assert (shown >= 0).all()

    def pooled(**scoring: Any) -> Any:
        return one(estimates(scores, predicted, scoring=Scoring(**scoring)), scheme="iou",
                   finding=POOLED, term="probability")

    positives = int((reference > 0).sum())
    assert pooled().n == positives
    assert pooled(slice="both_nonempty").n == positives - 6
    everything = pooled(slice="all")
    assert everything.n == len(scores) - 4
    # False positives score 0, whatever slice the scores were made with.
    rows = joined(scores, predicted).drop(index=true_negatives)
    fit = smf.ols("iou ~ probability", rows.fillna({"iou": 0.0})).fit()
    assert everything.estimate == pytest.approx(fit.params["probability"], rel=1e-9)
    # A hit needs a reference, so that its rows are the same under every slice.
    for iou_slice in ("all", "both_nonempty"):
        table = estimates(scores, predicted, scoring=Scoring(slice=iou_slice))
        assert one(table, scheme="hit", finding=POOLED, term="probability").n == positives


def test_peer_definition_is_the_papers() -> None:
    scores, predicted = study(40)
    peer = relate(scores, predicted, scoring=Scoring(definition="peer"))
    spelled = relate(scores, predicted, scoring=Scoring(slice="all"), normalize=True,
                     testing=Testing(errors="classical", interval="fisher"))
    pd.testing.assert_frame_equal(peer.tables["estimates"], spelled.tables["estimates"])
    assert (peer.meta["slice"], peer.meta["spearman_interval"]) == ("all", "fisher")


def test_normalizing_stretches_each_finding_before_pooling_alone() -> None:
    scores, predicted = study(40)
    plain, stretched = (estimates(scores, predicted, normalize=flag) for flag in (False, True))
    single = ~plain["finding"].isin([WITHIN, POOLED])
    pd.testing.assert_frame_equal(plain[single], stretched[single])
    rows = joined(scores, predicted).dropna(subset=["iou"])
    by_finding = rows.groupby("finding")["probability"]
    low, high = by_finding.transform("min"), by_finding.transform("max")
    rows["x"] = (rows["probability"] - low) / (high - low)
    row = one(stretched, scheme="iou", finding=POOLED, term="probability")
    assert row.estimate == pytest.approx(smf.ols("iou ~ x", rows).fit().params["x"], rel=1e-9)
    # Ranks within findings do not notice.
    rho = [one(table, scheme="iou", finding=WITHIN, term="spearman").estimate
           for table in (plain, stretched)]
    assert rho[0] == pytest.approx(rho[1], abs=1e-12)


@given(st.integers(0, 1000))
@settings(deadline=None, max_examples=10)
def test_monotone_recalibration_leaves_rank_correlations(seed: int) -> None:
    scores, predicted = study(15, seed)
    curved = predicted.assign(probability=predicted["probability"] ** 3)
    first, second = estimates(scores, predicted), estimates(scores, curved)
    rho = first["term"] == "spearman"
    pd.testing.assert_frame_equal(first[rho], second[rho])


def test_experts_and_other_models_do_not_matter() -> None:
    scores, predicted = study(20)
    expert = scores.assign(explainer="expert", model="reader2", iou=0.9)
    more = pd.concat([predicted, predicted.assign(model="other", probability=0.5)])
    pd.testing.assert_frame_equal(estimates(pd.concat([scores, expert]), more),
                                  estimates(scores, predicted))


def test_a_finding_without_positives_keeps_its_rows() -> None:
    scores, predicted = study(30)
    gone = scores["finding"] == "Edema"
    scores.loc[gone, ["iou", "hit"]] = np.nan
    scores.loc[gone, "area_reference"] = 0.0
    result = relate(scores, predicted)
    table = result.tables["estimates"]
    edema = table[table["finding"] == "Edema"]
    assert edema["estimate"].isna().all()
    assert (edema["n"] == 0).all()
    assert edema["note"].tolist() == ["no rows: at least 3 are needed",
                                      "no rows: at least 4 are needed"] * 2
    assert table.loc[table["finding"] != "Edema", "estimate"].notna().all()
    # The family was planned with three findings.
    assert one(table, scheme="iou", finding="Cardiomegaly", term="spearman").family.endswith(
        "(3 tests)")
    strict(result)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_rows_of_a_finding(n: int) -> None:
    scores, predicted = study(30)
    lesions = scores.index[(scores["finding"] == "Lung Lesion") & (scores["area_reference"] > 0)]
    result = relate(scores.drop(index=lesions[n:]), predicted)
    table = result.tables["estimates"]
    rho = one(table, scheme="iou", finding="Lung Lesion", term="spearman")
    slope = one(table, scheme="iou", finding="Lung Lesion", term="probability")
    assert (rho.n, slope.n) == (n, n)
    assert np.isnan(rho.estimate)
    assert np.isnan(slope.estimate) == (n < 3)
    assert rho.note.endswith("at least 4 are needed")
    strict(result)


def test_constant_probability_and_all_hits() -> None:
    scores, predicted = study(30)
    predicted.loc[predicted["finding"] == "Edema", "probability"] = 0.4
    scores.loc[(scores["finding"] == "Lung Lesion") & scores["hit"].notna(), "hit"] = 1.0
    result = relate(scores, predicted)
    table = result.tables["estimates"]
    for term in ("probability", "spearman"):
        row = one(table, scheme="iou", finding="Edema", term=term)
        assert np.isnan(row.estimate)
        assert row.note == "the probability is constant"
    rho = one(table, scheme="hit", finding="Lung Lesion", term="spearman")
    assert (np.isnan(rho.estimate), rho.note) == (True, "the score is constant")
    slope = one(table, scheme="hit", finding="Lung Lesion", term="probability")
    assert (slope.estimate, slope.note) == (0.0, "the score is constant: no test")
    strict(result)


def test_rows_without_a_probability_are_left_out_and_counted() -> None:
    scores, predicted = study(30)
    positives = joined(scores, predicted)["area_reference"].to_numpy() > 0
    lacking = predicted.index[positives][:5]
    result = relate(scores, predicted.drop(index=lacking))
    assert result.meta["exclusions"] == {
        "an empty reference mask": int((~positives).sum()), "no predicted probability": 5}
    assert one(result.tables["estimates"], scheme="iou", finding=POOLED,
               term="probability").n == positives.sum() - 5


def test_nothing_to_compute_names_the_reason() -> None:
    scores, predicted = study(10)
    with pytest.raises(DataError, match=r"no rows.*left out with no predicted probability"):
        relate(scores, predicted.assign(model="another"))
    with pytest.raises(DataError, match="left out with an empty reference mask"):
        relate(scores.assign(area_reference=0.0, iou=np.nan, hit=np.nan), predicted)


def test_wrong_calls() -> None:
    scores, predicted = study(6)
    with pytest.raises(UsageError, match="did you mean 'fisher'"):
        relate(scores, predicted, interval="fischer")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="'negative' is not known"):
        Scoring(slice="negative")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="'tukey' is not known"):
        relate(scores, predicted, adjustment="tukey")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="did you mean 'peer'"):
        Scoring(definition="pear")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="probabilities have no column 'probability'"):
        relate(scores, predicted.drop(columns="probability"))
    with pytest.raises(DataError, match="probabilities have more than one row for image"):
        relate(scores, pd.concat([predicted, predicted]))
    with pytest.raises(UsageError, match="no model 'n'"):
        select_scores(scores, {"model": ["n"]})
    with pytest.raises(UsageError, match=r"saltrust\.confidence_from_scores"):
        confidence(scores)  # type: ignore[arg-type]


def test_table3_reads_like_the_paper() -> None:
    scores, predicted = study(60)
    result = relate(scores, predicted)
    table = table3(result)
    assert table.columns.tolist() == ["scheme", "finding", "n", "linear regression coefficient",
                                      "Spearman correlation"]
    assert table["scheme"].tolist() == ["IoU"] * 5 + ["Hit/Miss"] * 5
    row = one(result.tables["estimates"], scheme="iou", finding=WITHIN, term="spearman")
    assert table.loc[3, "Spearman correlation"] == (
        f"{row.estimate:.3f} ({row.conf_low:.3f}, {row.conf_high:.3f}) ***")
    assert table.loc[3, "n"] == row.n
