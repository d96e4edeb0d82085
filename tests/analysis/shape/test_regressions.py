"""Shape regressions: identities, truth recovery, independent fits, missing pieces."""

from __future__ import annotations

import json
import logging
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from saltrust.analysis.inference.multiplicity import adjust
from saltrust.analysis.options import Scoring, Testing
from saltrust.analysis.result import ESTIMATE_COLUMNS, Result
from saltrust.analysis.scores.score_rows import select_scores
from saltrust.analysis.shape.regressions import (
    DESCRIPTORS,
    EXTRA,
    IDENTIFY,
    RESPONSES,
    regress,
    regressions,
    table2,
)
from saltrust.errors import DataError, UsageError

FINDINGS = ("Cardiomegaly", "Edema", "Lung Lesion")
READER = "radiologists"
CLASSICAL = Testing(errors="classical")
PEER = Scoring(definition="peer")


def study(images: int = 60, seed: int = 0, *, readers: tuple[str, ...] = ("expert1", "expert2"),
          explainers: tuple[str, ...] = ("gradcam",), positive: float = 0.6,
          ) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores and descriptors whose overlap rises by 0.4 over raw area ratio, experts' by 0.1."""
    generator = np.random.default_rng(seed)
    scores: list[dict[str, Any]] = []
    shapes: list[dict[str, Any]] = []
    for i in range(images):
        for finding in FINDINGS:
            present = generator.random() < positive
            area = float(generator.uniform(0.01, 0.5)) if present else 0.0
            name = {"image": f"image{i}", "finding": finding, "reader": READER}
            shapes.append({**name, "n_instances": int(generator.integers(1, 4)) if present else 0,
                           "area_ratio": area,
                           "elongation": generator.uniform(1, 6) if present else np.nan,
                           "irrectangularity": generator.uniform(0, 0.8) if present else np.nan})
            common = {**name, "patient": f"patient{i // 2}", "area_reference": area * 1e4,
                      "area_predicted": 100.0}
            people = [("expert", reader, 0.5, 0.1) for reader in readers]
            for explainer, model, base, slope in [*((e, "m", 0.1, 0.4) for e in explainers),
                                                  *people]:
                noise = generator.normal(0, 0.05)
                iou = float(np.clip(base + slope * area + noise, 0, 1))
                scores.append({**common, "explainer": explainer, "model": model,
                               "iou": iou if present else np.nan,
                               "hit": float(generator.random() < iou) if present else np.nan})
    return pd.DataFrame(scores), pd.DataFrame(shapes)


def estimates(*arguments: Any, **options: Any) -> pd.DataFrame:
    return regress(*arguments, **options).tables["estimates"]


def pick(table: pd.DataFrame, **labels: str) -> pd.DataFrame:
    for column, value in labels.items():
        table = table[table[column] == value]
    return table


def strict(result: Result) -> dict[str, Any]:
    """The result through JSON that refuses NaN."""
    content: dict[str, Any] = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    return content


def test_there_are_24_rows_per_map_in_the_agreed_columns() -> None:
    scores, shapes = study(explainers=("grad", "gradcam"))
    table = estimates(scores, shapes)
    assert list(table.columns) == [*IDENTIFY, *ESTIMATE_COLUMNS, *EXTRA]
    assert len(table) == 48
    assert table[list(IDENTIFY)].drop_duplicates().shape[0] == 48
    assert table["explainer"].tolist() == ["grad"] * 24 + ["gradcam"] * 24
    block = table.iloc[:24]
    assert block["scheme"].tolist() == ["iou"] * 12 + ["hit"] * 12
    assert block["response"].tolist() == [r for r in RESPONSES for _ in range(4)] * 2
    assert block["descriptor"].tolist() == list(DESCRIPTORS) * 6
    assert (block["term"] == block["descriptor"]).all()


def test_every_row_is_the_regression_of_statsmodels() -> None:
    scores, shapes = study()
    table = regress(scores, shapes).tables["classical"]
    wide = scores.pivot_table(index=["image", "finding"], columns="explainer",
                              values=["iou", "hit"], aggfunc="mean").dropna()
    assert len(wide) > 50
    row: Any
    for row in table.itertuples():
        saliency = wide[row.scheme, "gradcam"].to_numpy()
        expert = wide[row.scheme, "expert"].to_numpy()
        y = {"saliency": saliency, "expert": expert, "difference": expert - saliency}[row.response]
        raw = shapes.set_index(["image", "finding"]).loc[wide.index, row.descriptor].to_numpy()
        x = (raw - raw.min()) / (raw.max() - raw.min())
        peer = sm.OLS(y, sm.add_constant(x)).fit()
        assert row.estimate == pytest.approx(peer.params[1], rel=1e-9)
        assert row.std_error == pytest.approx(peer.bse[1], rel=1e-9)
        assert row.p_value == pytest.approx(peer.pvalues[1], rel=1e-8)
        assert (row.conf_low, row.conf_high) == pytest.approx(tuple(peer.conf_int()[1]), rel=1e-8)
        assert row.r_squared == pytest.approx(peer.rsquared, abs=1e-10)
        assert (row.n, row.df) == (len(wide), len(wide) - 2)
        in_raw_units = sm.OLS(y, sm.add_constant(raw)).fit().params[1]
        assert row.estimate_raw == pytest.approx(in_raw_units, rel=1e-8)
        assert row.estimate_per_sd == pytest.approx(in_raw_units * raw.std(ddof=1), rel=1e-8)


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=15)
def test_slope_of_the_difference_is_the_difference_of_the_slopes(seed: int) -> None:
    scores, shapes = study(20, seed)
    generator = np.random.default_rng(seed)
    # Scores missing here and there must not break the identity.
    scores.loc[generator.random(len(scores)) < 0.1, "hit"] = np.nan
    scores.loc[generator.random(len(scores)) < 0.1, "iou"] = np.nan
    wide = estimates(scores, shapes).pivot_table(
        index=["scheme", "descriptor"], columns="response", values=["estimate", "n"])
    np.testing.assert_allclose(wide["estimate", "difference"],
                               wide["estimate", "expert"] - wide["estimate", "saliency"],
                               atol=1e-12)
    np.testing.assert_array_equal(wide["n", "difference"], wide["n", "expert"])
    np.testing.assert_array_equal(wide["n", "difference"], wide["n", "saliency"])


def test_recovers_the_effects_built_in() -> None:
    table = pick(estimates(*study(600, seed=3)), scheme="iou", descriptor="area_ratio")
    for name, truth in (("saliency", 0.4), ("expert", 0.1), ("difference", -0.3)):
        row = pick(table, response=name).iloc[0]
        width = row.estimate / row.estimate_raw
        assert row.conf_low <= truth * width <= row.conf_high
        assert row.estimate_raw == pytest.approx(truth, abs=0.03)
        assert row.p_adjusted < 0.001


def test_no_effect_is_found_where_there_is_none() -> None:
    significant = []
    for seed in range(60):
        table = pick(estimates(*study(15, seed=seed)), scheme="iou", response="saliency")
        significant += (pick(table, descriptor="elongation")["p_value"] < 0.05).tolist()
    assert sum(significant) <= 9


def test_families_are_declared_and_bonferroni_is_times_four() -> None:
    scores, shapes = study(20)
    result = regress(scores, shapes)
    table = result.tables["estimates"]
    np.testing.assert_allclose(table["p_adjusted"], np.minimum(4 * table["p_value"], 1))
    assert result.meta["multiplicity"]["factor"] == 4
    assert table["family"].iloc[0] == "gradcam, m, iou, saliency (4 tests)"
    assert table["family"].nunique() == 6
    for family, size in (("scheme", 12), ("explainer", 24), ("study", 24)):
        wider = estimates(scores, shapes, family=family)
        np.testing.assert_allclose(wider["p_adjusted"], np.minimum(size * wider["p_value"], 1))
    holm = estimates(scores, shapes, adjustment="holm", family="study")
    np.testing.assert_allclose(holm["p_adjusted"], adjust(holm["p_value"], "holm"))
    assert (estimates(scores, shapes, adjustment="none")["p_adjusted"] == table["p_value"]).all()


def test_expert_is_the_mean_or_the_one_reader_named() -> None:
    scores, shapes = study(30)
    both = regress(scores, shapes)
    one = regress(scores, shapes, benchmark="expert2")
    assert both.meta["expert"].endswith("expert1, expert2")
    assert one.meta["expert"] == "reader expert2"
    alone = regress(scores[scores["model"] != "expert1"], shapes)
    pd.testing.assert_frame_equal(one.tables["estimates"], alone.tables["estimates"])
    assert not np.allclose(both.tables["estimates"]["estimate"],
                           one.tables["estimates"]["estimate"])


def test_a_row_one_reader_lacks_is_the_mean_of_the_others() -> None:
    scores, shapes = study(30)
    lacking = (scores["model"] == "expert1") & (scores["image"] == "image3")
    fewer = estimates(scores[~lacking], shapes)
    blank = scores.assign(iou=scores["iou"].mask(lacking), hit=scores["hit"].mask(lacking))
    pd.testing.assert_frame_equal(fewer, estimates(blank, shapes))
    assert (fewer["n"] == estimates(scores, shapes)["n"]).all()


def test_without_a_benchmark_reader_saliency_is_still_regressed() -> None:
    scores, shapes = study(30, readers=())
    result = regress(scores, shapes)
    table = result.tables["estimates"]
    assert len(table) == 24
    people = table["response"] != "saliency"
    assert table.loc[people, "estimate"].isna().all()
    assert set(table.loc[people, "note"]) == {"no benchmark reader"}
    assert set(table.loc[people, "n"]) == {0}
    assert table.loc[~people, "estimate"].notna().all()
    assert result.meta["expert"] is None
    strict(result)


def test_without_points_of_the_reader_the_hit_panel_has_saliency_alone() -> None:
    scores, shapes = study(30)
    scores.loc[scores["explainer"] == "expert", "hit"] = np.nan
    table = estimates(scores, shapes)
    assert pick(table, scheme="iou")["estimate"].notna().all()
    hits = pick(table, scheme="hit")
    assert pick(hits, response="saliency")["estimate"].notna().all()
    assert hits.loc[hits["response"] != "saliency", "estimate"].isna().all()
    assert set(pick(hits, response="expert")["note"]) == {
        "no benchmark reader scored a row in this scheme"}


def test_rows_left_out_are_counted() -> None:
    scores, shapes = study(30)
    saliency = scores.index[scores["explainer"] == "gradcam"]
    empty = int((scores.loc[saliency, "area_reference"] == 0).sum())
    positive = scores.loc[saliency][scores.loc[saliency, "area_reference"] > 0].index
    scores.loc[positive[:2], "iou"] = np.nan
    scores.loc[positive[2], "area_reference"] = np.nan
    gone = scores.loc[positive[3], ["image", "finding"]].tolist()
    shapes = shapes[~((shapes["image"] == gone[0]) & (shapes["finding"] == gone[1]))]
    result = regress(scores, shapes)
    # Two schemes that differ: the two rows lack an overlap, not a hit.
    common = {"an empty reference mask": empty, "no reference annotation": 1, "no n_instances": 1}
    missing = {"no score of the map in this slice": 2}
    assert result.meta["exclusions"] == {"iou": {**common, **missing}, "hit": common}
    table = result.tables["estimates"]
    assert set(pick(table, scheme="iou")["n"]) == {len(positive) - 4}
    assert set(pick(table, scheme="hit")["n"]) == {len(positive) - 2}


def test_peer_slice_needs_both_masks_and_concerns_the_overlap_alone() -> None:
    scores, shapes = study(40)
    positive = scores.index[(scores["explainer"] == "gradcam") & (scores["area_reference"] > 0)]
    people = scores.index[(scores["model"] == "expert1") & (scores["area_reference"] > 0)]
    scores.loc[positive[:5], ["iou", "area_predicted"]] = 0.0
    scores.loc[people[10:12], ["iou", "area_predicted"]] = 0.0
    default = estimates(scores, shapes, benchmark="expert1", testing=CLASSICAL)
    peer = regress(scores, shapes, benchmark="expert1", scoring=PEER)
    assert set(default["n"]) == {len(positive)}
    assert set(pick(peer.tables["estimates"], scheme="iou")["n"]) == {len(positive) - 7}
    assert set(pick(peer.tables["estimates"], scheme="hit")["n"]) == {len(positive)}
    assert peer.meta["slice"] == "both_nonempty"
    again = estimates(scores, shapes, benchmark="expert1",
                      scoring=Scoring(definition="peer", slice="positive"))
    pd.testing.assert_frame_equal(again, default)
    everything = Scoring(slice="all")
    pd.testing.assert_frame_equal(
        estimates(scores, shapes, benchmark="expert1", scoring=everything, testing=CLASSICAL),
        default)


def test_a_constant_descriptor_keeps_its_rows_and_the_others() -> None:
    scores, shapes = study(30)
    shapes["n_instances"] = shapes["n_instances"].clip(upper=1)
    table = estimates(scores, shapes)
    constant = pick(table, descriptor="n_instances")
    assert constant["estimate"].isna().all()
    assert set(constant["note"]) == {"n_instances is constant"}
    assert (constant["n"] > 0).all()
    others = table[table["descriptor"] != "n_instances"]
    assert others["estimate"].notna().all()
    # The planned family has four tests, whether or not they could be run.
    np.testing.assert_allclose(others["p_adjusted"], np.minimum(4 * others["p_value"], 1))


def test_a_descriptor_nobody_has_costs_no_rows() -> None:
    scores, shapes = study(30)
    full = estimates(scores, shapes)
    shapes["elongation"] = np.nan
    table = estimates(scores, shapes)
    assert set(pick(table, descriptor="elongation")["note"]) == {"no row has elongation"}
    rest = table["descriptor"] != "elongation"
    pd.testing.assert_frame_equal(table[rest], full[rest])


def test_all_hits_have_a_slope_of_zero_and_no_test() -> None:
    scores, shapes = study(30)
    experts = (scores["explainer"] == "expert") & scores["hit"].notna()
    scores.loc[experts, "hit"] = 1.0
    result = regress(scores, shapes)
    hits = pick(result.tables["estimates"], scheme="hit")
    flat = pick(hits, response="expert")
    assert (flat["estimate"] == 0).all()
    assert flat["p_value"].isna().all()
    assert set(flat["note"]) == {"the response is constant: no test"}
    assert pick(hits, response="difference")["p_value"].notna().all()
    strict(result)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_rows_say_so(n: int) -> None:
    scores, shapes = study(20)
    positive = scores[(scores["explainer"] == "gradcam") & (scores["area_reference"] > 0)]
    kept = positive.iloc[:n].set_index(["image", "finding"]).index
    keys = scores.set_index(["image", "finding"]).index
    few = scores[keys.isin(kept) | (scores["area_reference"] == 0).to_numpy()]
    with pytest.raises(DataError, match=r"none of the 24 regressions can be computed: .*"
                                        "at least 3 are needed.*left out with an empty reference"):
        regress(few, shapes)


def test_three_rows_are_enough() -> None:
    scores, shapes = study(20)
    positive = scores[(scores["explainer"] == "gradcam") & (scores["area_reference"] > 0)]
    keys = scores.set_index(["image", "finding"]).index
    few = scores[keys.isin(positive.iloc[:3].set_index(["image", "finding"]).index)]
    result = regress(few, shapes)
    assert set(result.tables["estimates"]["n"]) == {3}
    strict(result)


def test_one_map_with_rows_is_enough_for_a_result() -> None:
    scores, shapes = study(20, explainers=("grad", "gradcam"))
    scores.loc[scores["explainer"] == "grad", ["iou", "hit"]] = np.nan
    result = regress(scores, shapes)
    table = result.tables["estimates"]
    assert pick(table, explainer="grad")["estimate"].isna().all()
    assert pick(table, explainer="gradcam")["estimate"].notna().all()
    assert result.meta["counts"]["computed"] == 24
    text = json.dumps(strict(result))
    assert "NaN" not in text


def test_rows_are_joined_by_label_not_by_position() -> None:
    scores, shapes = study(30)
    shuffled = estimates(scores.sample(frac=1, random_state=1),
                         shapes.sample(frac=1, random_state=2))
    pd.testing.assert_frame_equal(
        shuffled.sort_values(list(IDENTIFY), ignore_index=True),
        estimates(scores, shapes).sort_values(list(IDENTIFY), ignore_index=True), rtol=1e-9)


def test_images_without_a_patient_are_their_own_cluster() -> None:
    scores, shapes = study(30)
    by_patient = regress(scores, shapes).tables["robust"]
    by_image = regress(scores.drop(columns="patient"), shapes).tables["robust"]
    assert set(by_patient["clusters"]) == {15}
    positive = scores[(scores["explainer"] == "gradcam") & (scores["area_reference"] > 0)]
    assert set(by_image["clusters"]) == {len(positive["image"].unique())}
    pd.testing.assert_frame_equal(
        by_image, regress(scores.assign(patient=None), shapes).tables["robust"])
    assert not np.allclose(by_patient["std_error"], by_image["std_error"])


def test_robust_table_has_the_same_slopes_with_clustered_errors() -> None:
    scores, shapes = study(40, seed=2)
    result = regress(scores, shapes)
    table, robust = result.tables["classical"], result.tables["robust"]
    headline = result.tables["estimates"]
    assert set(headline["errors"]) == {"cr2"}
    pd.testing.assert_frame_equal(headline[robust.columns], robust)
    first = regress(scores, shapes, testing=CLASSICAL)
    assert first.meta["errors"] == "classical"
    pd.testing.assert_frame_equal(first.tables["estimates"], table)
    pd.testing.assert_frame_equal(regress(scores, shapes, scoring=PEER).tables["robust"],
                                  first.tables["robust"])
    assert list(robust.columns) == [*IDENTIFY, *ESTIMATE_COLUMNS, "clusters"]
    pd.testing.assert_frame_equal(robust[[*IDENTIFY, "estimate", "n", "family"]],
                                  table[[*IDENTIFY, "estimate", "n", "family"]])
    np.testing.assert_allclose(robust["statistic"], robust["estimate"] / robust["std_error"])
    np.testing.assert_allclose(robust["p_adjusted"], np.minimum(4 * robust["p_value"], 1))
    assert (robust["df"] < table["df"]).all()
    # One row per cluster: the error is HC2.
    single = scores[scores["finding"] == "Edema"].assign(patient=None)
    row = pick(regress(single, shapes).tables["robust"], scheme="iou", response="saliency",
               descriptor="area_ratio").iloc[0]
    data = single[single["explainer"] == "gradcam"].merge(shapes, on=["image", "finding"])
    data = data.dropna(subset=["iou"])
    x = data["area_ratio"] / np.ptp(data["area_ratio"])
    peer = sm.OLS(data["iou"], sm.add_constant(x)).fit(cov_type="HC2")
    assert row.std_error == pytest.approx(peer.bse.iloc[1], rel=1e-9)


def test_one_patient_has_no_clustered_error() -> None:
    scores, shapes = study(20)
    result = regress(scores.assign(patient="p"), shapes)
    robust = result.tables["robust"]
    assert robust["estimate"].notna().all()
    assert robust["std_error"].isna().all()
    assert set(robust["note"]) == {"1 patient: no clustered error"}
    assert result.tables["estimates"]["p_value"].isna().all()
    assert set(result.tables["classical"]["note"]) == {"rows of 1 patient, taken as independent"}
    strict(result)


def test_few_patients_are_said() -> None:
    scores, shapes = study(6)
    table = estimates(scores, shapes)
    few = table[table["df"] < 4]
    assert len(few)
    assert few["note"].str.contains("rough below 4").all()
    assert not table.loc[table["df"] >= 4, "note"].str.contains("rough").any()


def test_the_keyword_of_0_1_works_and_warns() -> None:
    scores, shapes = study(20)
    with pytest.warns(DeprecationWarning, match="testing=saltrust.Testing"):
        former = regress(scores, shapes, confidence_level=0.9)  # type: ignore[call-arg]
    pd.testing.assert_frame_equal(former.tables["estimates"], estimates(
        scores, shapes, testing=Testing(confidence_level=0.9)))


def test_a_sign_that_intercepts_turn_is_said() -> None:
    scores, shapes = study(40, seed=5)
    # Findings with ragged masks are localized better, and within them ragged masks worse.
    base = shapes["finding"].map(dict(zip(FINDINGS, (0.0, 0.4, 0.8), strict=True)))
    wiggle = np.random.default_rng(0).uniform(0, 0.2, len(shapes))
    shapes["irrectangularity"] = (base + wiggle).where(shapes["n_instances"] > 0)
    raised = scores["finding"].map(dict(zip(FINDINGS, (0.1, 0.4, 0.7), strict=True)))
    lower = shapes.set_index(["image", "finding"])["irrectangularity"] - base.to_numpy()
    iou = raised - 0.5 * lower.reindex(scores.set_index(["image", "finding"]).index).to_numpy()
    noise = np.random.default_rng(1).normal(0, 0.02, len(iou))
    scores["iou"] = (iou + noise).where(scores["iou"].notna())
    turned = regress(scores, shapes, fits=("mixed",)).meta["turned_signs"]
    assert any(phrase.startswith("irrectangularity (saliency, iou, m, gradcam): +")
               for phrase in turned)
    assert "turned_signs" not in regress(scores, shapes).meta


def test_selecting_explainers_and_models() -> None:
    scores, shapes = study(20, explainers=("grad", "gradcam"))
    chosen = select_scores(scores, {"explainer": ["gradcam"], "model": ["m"]})
    only = estimates(chosen, shapes)
    assert set(only["explainer"]) == {"gradcam"}
    # People stay whatever maps are chosen.
    assert only.loc[only["response"] == "expert", "estimate"].notna().all()
    with pytest.raises(UsageError, match="no explainer 'gradcm'; did you mean 'gradcam'"):
        select_scores(scores, {"explainer": ["gradcm"]})
    with pytest.raises(UsageError, match="no model 'x'"):
        select_scores(scores, {"model": ["x"]})
    with pytest.raises(UsageError, match="no benchmark reader 'expert3'; did you mean"):
        regress(scores, shapes, benchmark="expert3")
    with pytest.raises(UsageError, match="hold none at all"):
        regress(scores[scores["explainer"] != "expert"], shapes, benchmark="expert1")


def test_several_reference_readers_are_not_pooled(caplog: pytest.LogCaptureFixture) -> None:
    scores, shapes = study(20)
    second = scores.assign(reader="other", iou=scores["iou"] / 2)
    both = pd.concat([scores, second])
    shapes_of_both = pd.concat([shapes, shapes.assign(reader="other")])
    with caplog.at_level(logging.WARNING):
        first = estimates(both, shapes_of_both)
    assert "2 reference readers" in caplog.text
    pd.testing.assert_frame_equal(first, estimates(scores, shapes))
    other = regress(both[both["reader"] == "other"], shapes_of_both)
    assert other.meta["reference_readers"] == ["other"]
    pd.testing.assert_frame_equal(
        other.tables["estimates"], estimates(second, shapes.assign(reader="other")))


def test_wrong_tables_and_options() -> None:
    scores, shapes = study(6)
    with pytest.raises(DataError, match="scores have no column 'iou'"):
        regress(scores.drop(columns="iou"), shapes)
    with pytest.raises(DataError, match="descriptors have no column 'elongation'"):
        regress(scores, shapes.drop(columns="elongation"))
    with pytest.raises(DataError, match="scores have more than one row for image 'image0'"):
        regress(pd.concat([scores, scores.iloc[:1]]), shapes)
    with pytest.raises(DataError, match="'hit' of the scores must hold numbers"):
        regress(scores.assign(hit="yes"), shapes)
    with pytest.raises(DataError, match="hold no saliency map"):
        regress(scores[scores["explainer"] == "expert"], shapes)
    with pytest.raises(DataError, match="reference reader"):
        regress(scores.assign(reader=None), shapes)
    for options in ({"adjustment": "tukey"}, {"family": "none"}, {"confidence_level": 1.0}):
        with pytest.raises(UsageError):
            regress(scores, shapes, **options)
    for wrong in ({"definition": "pear"}, {"slice": "negative"}):
        with pytest.raises(UsageError):
            Scoring(**wrong)
    with pytest.raises(UsageError, match=r"saltrust\.regressions_from_scores"):
        regressions(scores)  # type: ignore[arg-type]


def test_table2_reads_like_the_paper() -> None:
    scores, shapes = study(60)
    result = regress(scores, shapes)
    table = table2(result)
    assert table.columns.tolist() == ["scheme", "characteristic", "n", "saliency", "expert",
                                      "difference (expert - saliency)"]
    positive = scores[(scores["explainer"] != "expert") & (scores["area_reference"] > 0)]
    assert table["n"].tolist() == [len(positive)] * 8
    assert table["scheme"].tolist() == ["IoU"] * 4 + ["Hit/Miss"] * 4
    row = pick(result.tables["estimates"], scheme="iou", response="saliency",
               descriptor="area_ratio").iloc[0]
    assert row.p_adjusted < 0.001
    shown = f"{row.estimate:.3f} ({row.conf_low:.3f}, {row.conf_high:.3f}) ***"
    assert table.loc[1, "saliency"] == shown
    without, shapes = study(60, readers=(), explainers=("grad", "gradcam"))
    several = table2(regress(without, shapes))
    assert several["explainer"].tolist() == ["grad"] * 8 + ["gradcam"] * 8
    assert set(several["expert"]) == {"n/a (no benchmark reader)"}


def test_stars_follow_the_adjusted_p_value() -> None:
    scores, shapes = study(60)
    result = regress(scores, shapes)
    table = result.tables["estimates"]
    for p_adjusted, mark in ((0.02, "*"), (0.002, "**"), (0.0002, "***"), (0.06, "")):
        changed = Result(result.meta, {"estimates": table.assign(p_adjusted=p_adjusted)})
        cells = table2(changed)["saliency"]
        assert all(text.rpartition(")")[2].strip() == mark for text in cells)


def test_estimates_are_finite_or_noted() -> None:
    table = estimates(*study(12, seed=5, readers=()))
    assert (table["estimate"].notna() | (table["note"] != "")).all()
